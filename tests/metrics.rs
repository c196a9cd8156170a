//! What `/metrics` promises to those who read it: Prometheus and its tools, and boards that were made for HAProxy.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::eventually::{DEADLINE, eventually_some};
use support::process::free_address;
use support::{Balancer, Origin, Process, client};

const BROWSED: &str = "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n";

fn pool(backends: &[SocketAddr]) -> String {
    let backends: Vec<String> =
        backends.iter().enumerate().map(|(at, it)| format!("{{ name = 'b{at}', address = '{it}' }}")).collect();
    format!(
        "[pool.p]\nbackends = [{}]\n[pool.p.check.home]\ntype = 'http'\ninterval = '50ms'\nrise = 1\nfall = 1\n",
        backends.join(", ")
    )
}

/// Metrics as whoever wants this gets them.
fn scrape(admin: SocketAddr, query: &str, accept: &str) -> client::Response {
    let request =
        format!("GET /metrics{query} HTTP/1.1\r\nHost: {admin}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    client::try_request(admin, &request).expect("the admin port answers")
}

/// A balancer with one backend that answers and one that is gone, and some traffic behind it.
fn with_traffic() -> (Balancer, Origin) {
    let good = Origin::http().reply("a").start();
    let lb = Balancer::start(&format!("{BROWSED}{}", pool(&[good.addr(), free_address()])));
    for _ in 0..3 {
        assert_eq!(lb.get("/").status, 200);
    }
    (lb, good)
}

/// Kills what it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `promtool check metrics` says of a page; nothing where it is well.
fn complaints(page: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus)");
    tool.stdin.take().expect("it is piped").write_all(page.as_bytes()).expect("it reads");
    let output = tool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { said } else { format!("{said}(failed)") }
}

/// Families of a page, each with its kind and the names of its labels; a family that stands there twice fails the test.
fn families(page: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            let before = found.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            assert!(before.is_none(), "{name} twice");
        }
    }
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family =
            [Some(name), stem, name.strip_suffix("_total")].into_iter().flatten().find(|it| found.contains_key(*it));
        let family = family.unwrap_or_else(|| panic!("{line} belongs to no family"));
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
        found.get_mut(family).expect("it was found").1.extend(names);
    }
    found
}

#[test]
fn promtool_finds_nothing_to_complain_of() {
    let (lb, _good) = with_traffic();
    for query in ["", "?backends=brief", "?backends=none"] {
        let page = scrape(lb.admin(), query, "*/*").text();
        assert!(page.len() > 1_000, "{page}");
        assert_eq!(complaints(&page), "", "{query}");
    }
    assert_ne!(complaints("# TYPE x counter\nx 1\n"), "", "it does complain where there is reason to");
}

#[test]
fn each_family_stands_there_once_and_no_label_is_one_that_prometheus_adds() {
    let (lb, _good) = with_traffic();
    let open = "application/openmetrics-text";
    for (query, accept) in [("", "*/*"), ("", open), ("?format=haproxy", "*/*"), ("?format=haproxy", open)] {
        let page = scrape(lb.admin(), query, accept).text();
        let families = families(&page);
        assert!(families.len() > 40, "{query}: {}", families.len());
        for (name, (kind, labels)) in &families {
            let about = page.lines().filter(|line| line.starts_with(&format!("# HELP {name} "))).count();
            assert_eq!(about, 1, "{query} {name} {kind}");
            for taken in ["job", "instance", "exported_job", "exported_instance", "__name__"] {
                assert!(!labels.contains(taken), "{query} {name} has {taken}");
            }
        }
    }
}

#[test]
fn how_much_is_said_of_backends_is_a_matter_of_the_query_or_the_configuration() {
    let config = format!("[metrics]\nbackends = 'none'\n{BROWSED}{}", pool(&[free_address()]));
    let lb = Balancer::start(&config);
    let about_backends = |query: &str| {
        let page = scrape(lb.admin(), query, "*/*").text();
        assert!(page.contains("evenkeel_pool_backends{pool=\"p\"} 1\n"), "{page}");
        page.lines().filter(|line| line.starts_with("evenkeel_backend_") || line.starts_with("evenkeel_check_")).count()
    };
    assert_eq!(about_backends(""), 0);
    assert_eq!(about_backends("?backends=brief"), 5);
    assert!(about_backends("?backends=all") > 20);
    let refused = scrape(lb.admin(), "?backends=some", "*/*");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("all, brief or none"), "{}", refused.text());
}

#[test]
fn buckets_are_those_of_the_configuration_and_change_with_the_next_start() {
    let origin = Origin::http().reply("a").start();
    let config = |buckets: &str| format!("[metrics]\nbuckets_seconds = {buckets}\n{BROWSED}{}", pool(&[origin.addr()]));
    let lb = Process::start(&config("[0.000001, 0.25, 20]"));
    let shown = || -> Vec<String> {
        let page = scrape(lb.admin(), "", "*/*").text();
        let buckets =
            page.lines().filter_map(|line| line.strip_prefix("evenkeel_pool_request_duration_seconds_bucket"));
        buckets.filter_map(|line| line.split("le=\"").nth(1)?.split('"').next()).map(str::to_owned).collect()
    };
    assert_eq!(shown(), ["0.000001", "0.25", "20", "+Inf"]);
    let said = lb.reload(&config("[1]"));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("`metrics.buckets_seconds` takes effect at the next start"), "{said}");
    assert_eq!(shown().len(), 4);
}

#[test]
fn boards_for_haproxy_find_its_names_kinds_and_labels() {
    let (lb, good) = with_traffic();
    let ours = families(&scrape(lb.admin(), "?format=haproxy", "*/*").text());
    let theirs = families(&haproxy_exporter(good.addr()));
    assert!(ours.len() > 50 && theirs.len() > ours.len(), "{} {}", ours.len(), theirs.len());
    for (name, (kind, labels)) in &ours {
        if name.starts_with("process_") {
            continue;
        }
        let (their_kind, their_labels) = theirs.get(name).unwrap_or_else(|| panic!("haproxy has no {name}"));
        assert_eq!((kind, labels), (their_kind, their_labels), "{name}");
    }
    let value = |line: &str| lb_value(&scrape(lb.admin(), "?format=haproxy", "*/*").text(), line);
    assert_eq!(value("haproxy_server_status{proxy=\"p\",server=\"b0\",state=\"UP\"}"), 1);
    assert_eq!(value("haproxy_server_status{proxy=\"p\",server=\"b1\",state=\"DOWN\"}"), 1);
    assert_eq!(value("haproxy_server_check_status{proxy=\"p\",server=\"b1\",state=\"L4CON\"}"), 1);
    assert_eq!(value("haproxy_backend_active_servers{proxy=\"p\"}"), 1);
    assert_eq!(value("haproxy_frontend_http_responses_total{proxy=\"web\",code=\"2xx\"}"), 3);
}

fn lb_value(page: &str, sample: &str) -> i64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)).unwrap_or_else(|| panic!("no {sample}"));
    line.trim().parse().expect("a number")
}

/// What the exporter that is built into the real HAProxy says of the same two backends.
fn haproxy_exporter(good: SocketAddr) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let (web, stats) = (free_address(), free_address());
    let gone = free_address();
    let file = folder.path().join("haproxy.cfg");
    let config = format!(
        "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n\
         frontend stats\n bind {stats}\n http-request use-service prometheus-exporter\n\
         frontend web\n bind {web}\n default_backend p\n\
         backend p\n option httpchk GET /\n server b0 {good} check maxconn 10\n server b1 {gone} check\n"
    );
    std::fs::write(&file, config).expect("it can be written");
    let program =
        Command::new("haproxy").arg("-db").arg("-f").arg(&file).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
    let _running = Running(program.expect("haproxy is installed"));
    eventually_some("haproxy has asked its servers", DEADLINE, || {
        let page = client::try_get(stats, "/metrics").ok()?.text();
        page.contains("\nhaproxy_server_check_duration_seconds{").then_some(page)
    })
}

#[test]
fn open_metrics_is_for_those_who_ask_for_it_and_exemplars_are_there_only() {
    let origin = Origin::http().reply("a").start();
    let (web, pool) = (free_address(), pool(&[origin.addr()]));
    let listener = BROWSED.replace("127.0.0.1:0", &web.to_string());
    let lb = Process::start(&format!("[metrics]\nexemplars = true\n{listener}{pool}"));
    let ask = |id: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: {id}\r\nConnection: close\r\n\r\n");
        assert_eq!(client::try_request(web, &request).expect("an answer").status, 200);
    };
    ask("seen-by-the-scrape");
    let open = scrape(lb.admin(), "", "application/openmetrics-text;version=1.0.0");
    assert_eq!(open.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = open.text();
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    assert!(text.contains("# TYPE evenkeel_pool_requests counter\n"), "{text}");
    let exemplars: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
    assert_eq!(exemplars.len(), 1, "{exemplars:?}");
    assert!(exemplars[0].starts_with("evenkeel_pool_response_duration_seconds_bucket{pool=\"p\",le="), "{exemplars:?}");
    assert!(exemplars[0].contains(" # {request_id=\"seen-by-the-scrape\"} 0.0"), "{exemplars:?}");
    let plain = scrape(lb.admin(), "", "text/plain").text();
    assert!(!plain.contains(" # {") && !plain.contains("# EOF"), "{plain}");
}

/// The real Prometheus: what it takes of our page, and what it gives on to another one.
#[test]
fn prometheus_takes_the_page_with_its_exemplars_and_federates_it() {
    let origin = Origin::http().reply("a").start();
    let web = free_address();
    let listener = BROWSED.replace("127.0.0.1:0", &web.to_string());
    let lb = Process::start(&format!("[metrics]\nexemplars = true\n{listener}{}", pool(&[origin.addr()])));
    let request = "GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: found-again\r\nConnection: close\r\n\r\n";
    assert_eq!(client::try_request(web, request).expect("an answer").status, 200);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prometheus.yml");
    let scrape = format!(
        "scrape_configs:\n- job_name: evenkeel\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  static_configs:\n  - targets: ['{}']\n",
        lb.admin()
    );
    std::fs::write(&file, scrape).expect("it can be written");
    let address = free_address();
    let program = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--enable-feature=exemplar-storage")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _running = Running(program.expect("prometheus is installed"));
    let asked = |path: &str| client::try_get(address, path).ok().map(|answer| answer.text());
    let query = "/api/v1/query_exemplars?query=evenkeel_pool_response_duration_seconds_bucket&start=0&end=9999999999";
    let exemplars = eventually_some("prometheus has the exemplar", DEADLINE, || {
        asked(query).filter(|answer| answer.contains("found-again"))
    });
    let exemplars: Value = serde_json::from_str(&exemplars).expect("JSON");
    assert_eq!(exemplars["data"][0]["exemplars"][0]["labels"]["request_id"], "found-again");
    let up = asked("/api/v1/query?query=up").expect("an answer");
    assert!(up.contains(",\"1\"]"), "{up}");
    let federated = asked("/federate?match[]={__name__=~%22evenkeel_.*%22}").expect("an answer");
    assert!(federated.contains("evenkeel_pool_requests_total{"), "{federated}");
    assert!(!federated.contains("exported_"), "a label of ours has been moved out of the way");
}
