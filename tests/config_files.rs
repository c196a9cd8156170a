//! The files in `config/`: each loads without a word, and the reference gives the defaults it names.

use std::path::{Path, PathBuf};

use evenkeel::config::{self, Color, Source};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn load(name: &str) -> config::Loaded {
    let source = Source::Path(folder().join(name));
    config::load_with(&source, &|_| None).unwrap_or_else(|problems| panic!("{name}:\n{problems}"))
}

#[test]
fn every_example_loads_without_a_warning() {
    let names = [
        "quickstart",
        "reference",
        "grafana",
        "uchiwa",
        "api-portal",
        "vault",
        "yugabyte-platform",
        "active-standby",
        "galera",
        "patroni",
    ];
    for name in names {
        let loaded = load(&format!("{name}.toml"));
        assert!(loaded.warnings.is_empty(), "{name}:\n{}", loaded.warnings.render(Color::Plain, ""));
    }
    let files = std::fs::read_dir(folder()).unwrap().count();
    assert_eq!(files, names.len(), "an example is not in this list");
}

#[test]
fn the_reference_names_the_defaults_of_sections_left_out() {
    let reference = load("reference.toml").config;
    let mut bare = config::load(&Source::text(
        "[listener.web]\nbind = \"127.0.0.1:8080\"\npool = \"web\"\n[pool.web]\nbackends = [\"a:1\"]\ncheck.home = { type = \"http\" }\n",
    ))
    .unwrap()
    .config;
    let own = reference.pools.iter().find(|pool| &*pool.name == "web").unwrap();
    let mut usual_policy = bare.pools[0].policy.clone();
    // Only an example is possible, and what it stands for.
    usual_policy.healthy_when = own.policy.healthy_when.clone();
    assert_eq!(own.policy, usual_policy);
    assert_eq!(own.on_role_loss, bare.pools[0].on_role_loss);
    assert!((own.zones.spill_below - bare.pools[0].zones.spill_below).abs() < f32::EPSILON);
    assert_eq!(reference.probes_at_once, bare.probes_at_once);
    assert_eq!(reference.admin, bare.admin);
    assert_eq!(reference.log, bare.log);
    assert_eq!(reference.limits, bare.limits);
    assert_eq!(reference.shutdown, bare.shutdown);
    assert_eq!(reference.workers, bare.workers);
    assert_eq!(reference.watch, bare.watch);
    assert_eq!(reference.listeners[0].limits, bare.listeners[0].limits);
    assert_eq!(reference.listeners[0].timeouts, bare.listeners[0].timeouts);
    let usual = std::sync::Arc::make_mut(&mut bare.pools[0]);
    // No default, so that the reference can only show an example.
    usual.retry.statuses.clone_from(&own.retry.statuses);
    usual.timeouts.tunnel_idle = own.timeouts.tunnel_idle;
    assert_eq!(own.retry, usual.retry);
    assert_eq!(own.timeouts, usual.timeouts);
    assert_eq!((own.hold, own.queue, own.on_down), (usual.hold, usual.queue, usual.on_down));
    assert_eq!((own.idle_connections, &own.balance), (usual.idle_connections, &usual.balance));
    assert_eq!(own.checks[0].timing, usual.checks[0].timing);
}

#[test]
fn ten_thousand_backends_in_a_thousand_pools_load_fast() {
    use std::fmt::Write;
    let mut text = String::new();
    for pool in 0..1000 {
        let (high, low) = (pool / 200, pool % 200);
        write!(text, "[listener.l{pool}]\nbind = \"127.0.0.1:{}\"\npool = \"p{pool}\"\n", 10_000 + pool).unwrap();
        write!(text, "[pool.p{pool}]\nhealthy_when = \"web\"\nbackends = [").unwrap();
        for backend in 0..10 {
            write!(text, "\"10.{high}.{low}.{backend}:80\", ").unwrap();
        }
        text.push_str("]\n[pool.p");
        write!(text, "{pool}.check.web]\ntype = \"http\"\npath = \"/health\"\ninterval = \"1s\"\n").unwrap();
    }
    let start = std::time::Instant::now();
    let loaded = config::load(&Source::text(text)).unwrap();
    let took = start.elapsed();
    assert_eq!(loaded.config.pools.iter().map(|pool| pool.members.len()).sum::<usize>(), 10_000);
    // A loose bound for a busy machine and an unoptimised build: what is quadratic would take minutes.
    assert!(took.as_secs() < 5, "{took:?}");
}
