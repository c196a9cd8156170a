//! What the options of pools, listeners and routes come to: the values that the program then obeys.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{Config, OnDown, Pool, PoolIndex, Reads, ZoneIndex};
use evenkeel::config::{self, Color, Source};
use evenkeel::health::{
    AllDown, Expression, Failback, Failover, Mode, Outliers, ProbeFails, Succession, TrafficFails, TwoLeaders,
};

/// A configuration with these pools; the listeners use them all.
fn load(pools: &str) -> Config {
    let mut text = String::from("[listener.web]\nbind = \"127.0.0.1:8080\"\n");
    let names = pools.lines().filter_map(|line| line.strip_prefix("[pool.")?.strip_suffix(']'));
    for name in names.filter(|name| !name.contains('.')) {
        let _ = write!(text, "[[listener.web.route]]\nhost = \"{name}.example.com\"\npool = \"{name}\"\n");
    }
    let loaded = config::load(&Source::text(text + pools)).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(Color::Plain, ""));
    loaded.config
}

/// The one pool with these options and three backends.
fn pool(options: &str) -> Arc<Pool> {
    let text = format!("[pool.a]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\", \"10.0.0.3:80\"]\n{options}\n");
    load(&text).pools[0].clone()
}

/// A check that says who leads.
const ROLE: &str = "check.role = { type = \"http\", status = { 200 = \"active\", 404 = \"standby\" } }\n";

#[test]
fn a_mode_is_what_its_options_say() {
    let standby = |failover, failback| Mode::ActiveStandby(Succession { failover, failback });
    for (options, mode) in [
        ("", Mode::ActiveActive),
        ("mode = \"active-active\"", Mode::ActiveActive),
        ("mode = \"active-standby\"", standby(Failover::Automatic, Failback::AtOnce)),
        ("mode = \"active-standby\"\nfailover = \"manual\"", standby(Failover::Manual, Failback::AtOnce)),
        ("mode = \"active-standby\"\nfailback = \"never\"", standby(Failover::Automatic, Failback::Never)),
        ("mode = \"active-standby\"\nfailback = \"manual\"", standby(Failover::Automatic, Failback::Manual)),
        ("mode = \"active-standby\"\nfailback = \"at once\"", standby(Failover::Automatic, Failback::AtOnce)),
        ("mode = \"active-standby\"\nfailback = \"after 0s\"", standby(Failover::Automatic, Failback::AtOnce)),
        (
            "mode = \"active-standby\"\nfailback = \"after 10m\"",
            standby(Failover::Automatic, Failback::After(Duration::from_secs(600))),
        ),
        ("mode = \"leader\"", Mode::Leader(TwoLeaders::Keep)),
        ("mode = \"leader\"\ntwo_leaders = \"refuse\"", Mode::Leader(TwoLeaders::Refuse)),
        (
            "mode = \"leader\"\ntwo_leaders = \"newest\"\nno_leader = { hold = \"5s\" }",
            Mode::Leader(TwoLeaders::Newest),
        ),
    ] {
        assert_eq!(pool(&format!("{options}\n{ROLE}")).policy.mode, mode, "{options}");
    }
}

#[test]
fn what_happens_when_nobody_is_left_is_said_in_one_way() {
    let checks = "check.api = { type = \"http\" }\ncheck.alive = { type = \"tcp\" }\n";
    for (options, all_down, hold) in [
        ("", AllDown::Fail, 0),
        ("all_down = \"fail\"", AllDown::Fail, 0),
        ("all_down = \"hold\"", AllDown::Hold, 10_000),
        ("all_down = \"hold\"\nhold = \"3s\"", AllDown::Hold, 3_000),
        ("hold = \"3s\"", AllDown::Hold, 3_000),
        ("mode = \"leader\"\nno_leader = { hold = \"3s\" }", AllDown::Hold, 3_000),
        ("all_down = \"serve-anyway\"\nhold = \"1s\"", AllDown::ServeAnyway, 1_000),
        (
            "all_down = { serve_when = \"not alive\" }",
            AllDown::ServeWhen(Expression::Not(Expression::Check(1).into())),
            0,
        ),
    ] {
        let pool = pool(&format!("{options}\n{checks}{ROLE}"));
        assert_eq!((&pool.policy.all_down, pool.hold), (&all_down, Duration::from_millis(hold)), "{options}");
    }
}

#[test]
fn a_check_that_only_serve_when_names_is_used() {
    // `pool` refuses warnings.
    pool(
        "healthy_when = \"api\"\nall_down = { serve_when = \"alive\" }\n\
         check.api = { type = \"http\" }\ncheck.alive = { type = \"tcp\" }",
    );
}

#[test]
fn evidence_and_damping_have_defaults_and_an_off() {
    let usual = Outliers::default();
    assert_eq!(pool("").policy.outliers, usual);
    assert_eq!(pool("outliers = true").policy.outliers, usual);
    let off = pool("outliers = false").policy.outliers;
    assert_eq!((off.failures, off.errors, off.latency), (None, None, None));
    let shares = pool("outliers = { failures = false, errors = 0.25, latency = 3, requests = 5, window = \"4s\" }");
    let shares = shares.policy.outliers;
    assert_eq!((shares.failures, shares.errors, shares.latency), (None, Some(0.25), Some(3.0)));
    assert_eq!((shares.requests, shares.window), (5, Duration::from_secs(4)));
    assert_eq!((shares.time, shares.time_max), (usual.time, usual.time_max));
    let long = pool("outliers = { time = \"1h\" }").policy.outliers;
    assert_eq!((long.time, long.time_max), (Duration::from_secs(3600), Duration::from_secs(3600)));
    let short = pool("outliers = { time_max = \"2s\" }").policy.outliers;
    assert_eq!((short.time, short.time_max), (Duration::from_secs(2), Duration::from_secs(2)));

    assert_eq!(pool("flaps = false").policy.flaps, None);
    let flaps = pool("flaps = { max = 4 }").policy.flaps.unwrap();
    assert_eq!((flaps.max.get(), flaps.within, flaps.hold), (4, Duration::from_secs(60), Duration::from_secs(60)));
    let settle = pool("up_after = \"5s\"\ndown_after = \"1s\"").policy.settle;
    assert_eq!((settle.up, settle.down), (Duration::from_secs(5), Duration::from_secs(1)));
    let disagree = pool("disagree = { probe_fails = \"keep\", traffic_fails = \"report\" }").policy.disagree;
    assert_eq!((disagree.probe_fails, disagree.traffic_fails), (ProbeFails::Keep, TrafficFails::Report));
}

#[test]
fn zones_are_numbered_as_the_backends_name_them() {
    let config = load(
        "[pool.a]\n\
         zone = \"dc-b\"\n\
         client_zones = { \"10.0.0.0/8\" = \"dc-a\", \"10.2.0.0/16\" = \"dc-b\", \"fd00::/64\" = \"dc-a\" }\n\
         spill_at = 20\n\
         backends = [\n\
           { name = \"a1\", address = \"10.0.1.1:80\", zone = \"dc-a\" },\n\
           { name = \"b1\", address = \"10.0.2.1:80\", zone = \"dc-b\" },\n\
           { name = \"a2\", address = \"10.0.1.2:80\", zone = \"dc-a\" },\n\
           \"10.0.3.1:80\",\n\
         ]\n",
    );
    let pool = &config.pools[0];
    let zones: Vec<_> = pool.members.iter().map(|member| member.zone.map(|zone| zone.0)).collect();
    assert_eq!(zones, [Some(0), Some(1), Some(0), None]);
    assert_eq!(pool.zones.own, Some(ZoneIndex(1)));
    assert_eq!((pool.zones.spill_below, pool.zones.spill_at.unwrap().get()), (0.5, 20));
    let clients: Vec<_> = pool.zones.clients.iter().map(|(network, zone)| (network.to_string(), zone.0)).collect();
    assert_eq!(clients, [("fd00::/64".into(), 0), ("10.2.0.0/16".into(), 1), ("10.0.0.0/8".into(), 0)]);
}

#[test]
fn a_pool_that_follows_has_the_backends_of_the_other_at_its_own_port() {
    let config = load(
        "[pool.metrics]\nfollows = \"platform\"\nport = 9090\n\
         [pool.more]\nfollows = \"metrics\"\nhold = \"1s\"\n\
         [pool.same]\nfollows = \"platform\"\n\
         [pool.platform]\nmode = \"active-standby\"\nhold = \"5s\"\non_role_loss = \"close\"\nzone = \"x\"\n\
         backends = [\"10.0.0.31:443\", { name = \"b\", address = \"b.example.com:443\", zone = \"x\", weight = 3 }]\n\
         check.port = { type = \"tcp\" }\n",
    );
    let [metrics, more, same, platform] = &config.pools[..] else { panic!("{config:?}") };
    let places = |pool: &Pool| -> Vec<_> {
        pool.members.iter().map(|member| (member.name.to_string(), member.address.to_string())).collect()
    };
    let moved = [("10.0.0.31:9090", "10.0.0.31:9090"), ("b", "b.example.com:9090")]
        .map(|(name, address)| (name.to_owned(), address.to_owned()));
    assert_eq!(places(metrics), moved);
    assert_eq!(places(more), moved);
    assert_eq!(places(same), places(platform));
    for follower in [metrics, more, same] {
        assert_eq!(follower.follows, Some(PoolIndex(3)));
        assert_eq!(follower.policy.mode, platform.policy.mode);
        assert_eq!((follower.zones.clone(), follower.on_role_loss), (platform.zones.clone(), OnDown::Close));
        assert_eq!((follower.members[1].weight, follower.members[1].zone), (3, Some(ZoneIndex(0))));
        assert!(follower.checks.is_empty());
    }
    assert_eq!((metrics.hold, more.hold), (Duration::from_secs(5), Duration::from_secs(1)));
}

#[test]
fn backends_on_one_machine_keep_their_names_when_a_port_would_make_them_equal() {
    let config = load(
        "[pool.metrics]\nfollows = \"web\"\nport = 9090\n\
         [pool.web]\nbackends = [\"10.0.0.1:80\", \"10.0.0.1:81\"]\n",
    );
    let names: Vec<&str> = config.pools[0].members.iter().map(|member| &*member.name).collect();
    assert_eq!(names, ["10.0.0.1:9090", "10.0.0.1:81"]);
}

#[test]
fn reads_are_said_by_listeners_and_routes() {
    let loaded = config::load(&Source::text(
        "state_file = \"state.json\"\n[limits]\nprobes = 7\n\
         [listener.web]\nbind = \"127.0.0.1:8080\"\npool = \"a\"\nreads = \"standby\"\n\
         [[listener.web.route]]\npath = \"/x\"\npool = \"a\"\n\
         [[listener.web.route]]\npath = \"/y\"\npool = \"a\"\nreads = \"standby\"\n\
         [pool.a]\nmode = \"active-standby\"\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n\
         check.port = { type = \"tcp\", down_interval = \"9s\" }\n",
    ))
    .unwrap();
    let listener = &loaded.config.listeners[0];
    let routes: Vec<Reads> = listener.routes.iter().map(|route| route.reads).collect();
    assert_eq!((listener.reads, routes), (Reads::Standby, vec![Reads::Active, Reads::Standby]));
    assert_eq!(loaded.config.state_file.as_deref(), Some(std::path::Path::new("state.json")));
    assert_eq!(loaded.config.probes_at_once.get(), 7);
    assert_eq!(loaded.config.pools[0].checks[0].timing.down_interval, Duration::from_secs(9));
}
