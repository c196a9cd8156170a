//! The admin port over real sockets, in front of a table built by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use evenkeel::admin::events::EventsView;
use evenkeel::admin::view::{Overview, PoolView};
use evenkeel::admin::{self, AdminState, Asked, Exposition, Form, Names};
use evenkeel::config::model::{Admin, Breadth, Role, Token, TokenSecret};
use evenkeel::config::{self, Color, Source};
use evenkeel::control::orders::{Around, Orders};
use evenkeel::control::{Done, Life, Phase, ReloadRequest, Unchanged};
use evenkeel::health::State;
use evenkeel::health::judge::Disagreement;
use evenkeel::metrics::Rejection;
use evenkeel::pool::events::{Event, EventKind, Events};
use evenkeel::pool::{Alarm, AlarmKind, Backend, CheckStatus, Remarks};
use evenkeel::probe::Schedule;
use evenkeel::route::{Foundation, Published, Table};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

const SECOND: Duration = Duration::from_secs(1);

// === the program around the port ===

const CONFIGURATION: &str = r#"
[listener.front]
bind = "127.0.0.1:8080"
pool = "web"

[pool.web]
backends = [BACKENDS]

[pool.web.check.home]
type = "http"
path = "/"

[pool.web.check.mysql]
type = "tcp"
port = 3306
"#;

fn tokens(text: Option<&str>) -> Vec<Token> {
    let token = |text: &str| Token {
        name: "only".into(),
        role: Role::Operate,
        secret: TokenSecret::Plain(text.into()),
    };
    text.map(token).into_iter().collect()
}

fn table(token: Option<&str>, backends: usize) -> Table {
    let backends = (1..=backends).map(|number| format!("{{ name = 'b{number}', address = '10.0.0.1:{number}' }}"));
    let text = CONFIGURATION.replace("BACKENDS", &backends.collect::<Vec<_>>().join(", "));
    let loaded = config::load(&Source::text(text)).map_err(|problems| problems.render(Color::Plain, ""));
    let mut config = loaded.unwrap().config;
    config.admin = Arc::new(Admin { tokens: tokens(token), ..Admin::clone(&config.admin) });
    let (evidence, _) = mpsc::unbounded_channel();
    Table::build(
        Arc::new(config),
        None,
        &Foundation { workers: 1, evidence, bell: Arc::default(), sinks: Arc::default(), traces: None },
    )
}

struct Program {
    state: Arc<AdminState>,
    reloads: mpsc::Receiver<ReloadRequest>,
}

fn program(token: Option<&str>, backends: usize) -> Program {
    let (reload, reloads) = mpsc::channel(4);
    let (table, life) = (Arc::new(Published::new(table(token, backends))), Arc::new(Life::default()));
    let events = Arc::new(Events::default());
    let (schedule, _) = Schedule::new(mpsc::unbounded_channel().1, Arc::clone(&events));
    let around = Around {
        table: Arc::clone(&table),
        schedule: schedule.clone(),
        events: Arc::clone(&events),
        life: Arc::clone(&life),
    };
    let (orders, _) = Orders::start(around, None, None).unwrap();
    let first = Arc::clone(&table.load().config.admin);
    let state = AdminState {
        table,
        life,
        events,
        orders,
        schedule,
        history: Arc::default(),
        records: Arc::default(),
        load: evenkeel::server::load,
        reload,
        first,
        first_tls: None,
        sinks: Arc::default(),
        started: Timestamp::from_second(1_700_000_000).unwrap(),
        version: "1.2.3",
    };
    state.life.enter(Phase::Ready);
    Program { state: Arc::new(state), reloads }
}

impl Program {
    fn backend(&self, at: usize) -> Arc<Backend> {
        Arc::clone(&self.state.table.load().pools[0].backends[at])
    }

    fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (open, closing) = tokio::sync::watch::channel(());
        let served = admin::serve(listener.into(), Arc::clone(&self.state), closing);
        tokio::spawn(async move {
            // It is never closed.
            let _open = open;
            served.await
        });
        address
    }
}

fn check(name: &str, state: State, reason: &str) -> CheckStatus {
    CheckStatus {
        name: name.into(),
        state,
        reason: reason.into(),
        duration: Duration::from_millis(2),
        at: 0,
        certificate_expires: None,
    }
}

// === a client that says exactly what it is told ===

struct Reply {
    status: u16,
    head: String,
    body: String,
}

async fn send(address: SocketAddr, request: &str) -> Reply {
    let mut stream = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    send(address, &format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n")).await
}

// === metrics ===

#[test]
fn a_scrape_shows_what_the_workers_counted() {
    let program = program(None, 2);
    let table = program.state.table.load();
    let (listener, pool) = (&table.listeners[0].stats, &table.pools[0].stats);
    listener.mine().connections.add(5);
    table.listeners[0].open.store(3, Relaxed);
    listener.mine().responses[1].add(7);
    listener.mine().reject(Rejection::BadRequestLine);
    pool.mine().responses[1].add(7);
    pool.mine().retries.inc();
    pool.mine().failed[2].inc();
    pool.mine().connect.observe(Duration::from_micros(700));
    pool.mine().connect.observe(Duration::from_secs(60));
    let (first, second) = (program.backend(0), program.backend(1));
    first.set_state(State::Up);
    first.stats.mine().responses[1].add(7);
    first.answered(Duration::from_millis(3));
    second.set_state(State::Down);
    second.probes.good.inc();
    second.probes.bad[1].add(3);
    second.probes.flips_down.inc();
    second.probes.duration.observe(Duration::from_millis(2));
    second.probes.ejections.add(4);
    second.set_remarks(Remarks { ejected: true, flapping: true, disagreement: Some(Disagreement::TrafficFails) });
    second.set_checks(vec![
        CheckStatus { certificate_expires: Some(1_900_000_000), ..check("home", State::Up, "HTTP 200") },
        check("mysql", State::Down, "connect: connection refused"),
    ]);
    table.pools[0].set_alarms(&[Alarm { kind: AlarmKind::MinHealthy, message: "1 is up".to_owned() }]);
    program.state.life.reloads.fetch_add(2, Relaxed);

    let asked = Asked { names: Names::Own, form: Form::Text, breadth: Breadth::All };
    let text = Exposition::new(Arc::clone(&program.state)).render(asked);
    let shown = |prefix: &str| {
        let lines = text.lines().filter(|line| line.starts_with(prefix) && !line.contains("_last_change_"));
        lines.flat_map(|line| [line, "\n"]).collect::<String>()
    };
    assert_eq!(sorted(&shown("evenkeel_backend")), sorted(BACKEND_LINES));
    assert_eq!(sorted(&shown("evenkeel_check")), sorted(CHECK_LINES));
    assert_eq!(shown("evenkeel_pool_connect_"), CONNECT_LINES);
    assert_eq!(shown("evenkeel_pool_leader"), "", "all work: nobody leads");
    for line in PROGRAM_LINES.lines() {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("# TYPE evenkeel_pool_requests_total counter\n"), "{text}");
    assert!(text.contains("# TYPE evenkeel_pool_connect_duration_seconds histogram\n"), "{text}");
    assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

const PROGRAM_LINES: &str = r#"evenkeel_build_info{version="1.2.3"} 1
evenkeel_start_time_seconds 1700000000
evenkeel_ready 1
evenkeel_config_generation 1
evenkeel_config_reloads_total{result="ok"} 2
evenkeel_config_reloads_total{result="refused"} 0
evenkeel_config_last_reload_success 1
evenkeel_listener_open_connections{listener="front"} 3
evenkeel_listener_connections_total{listener="front"} 5
evenkeel_listener_requests_total{listener="front",code="2xx"} 7
evenkeel_listener_requests_total{listener="front",code="5xx"} 0
evenkeel_listener_rejected_total{listener="front",reason="bad_request_line"} 1
evenkeel_pool_backends{pool="web"} 2
evenkeel_pool_backends_up{pool="web"} 1
evenkeel_pool_requests_total{pool="web",code="2xx"} 7
evenkeel_pool_retries_total{pool="web"} 1
evenkeel_pool_alarm{pool="web",alarm="min_healthy"} 1
evenkeel_pool_alarm{pool="web",alarm="two_leaders"} 0
evenkeel_pool_failed_total{pool="web",cause="connect_refused"} 1
evenkeel_pool_failed_total{pool="web",cause="no_backend"} 0
evenkeel_pool_probe_duration_seconds_count{pool="web"} 1"#;

const BACKEND_LINES: &str = r#"evenkeel_backend_connect_failures_total{pool="web",backend="b1"} 0
evenkeel_backend_connect_failures_total{pool="web",backend="b2"} 0
evenkeel_backend_connects_total{pool="web",backend="b1"} 0
evenkeel_backend_connects_total{pool="web",backend="b2"} 0
evenkeel_backend_cut_total{pool="web",backend="b1"} 0
evenkeel_backend_cut_total{pool="web",backend="b2"} 0
evenkeel_backend_disagreement{pool="web",backend="b2",kind="traffic_fails"} 1
evenkeel_backend_ejected{pool="web",backend="b2",reason="flapping"} 1
evenkeel_backend_ejected{pool="web",backend="b2",reason="traffic"} 1
evenkeel_backend_ejections_total{pool="web",backend="b1",reason="flapping"} 0
evenkeel_backend_ejections_total{pool="web",backend="b1",reason="traffic"} 0
evenkeel_backend_ejections_total{pool="web",backend="b2",reason="flapping"} 0
evenkeel_backend_ejections_total{pool="web",backend="b2",reason="traffic"} 4
evenkeel_backend_failures_total{pool="web",backend="b1"} 0
evenkeel_backend_failures_total{pool="web",backend="b2"} 0
evenkeel_backend_idle_connections{pool="web",backend="b1"} 0
evenkeel_backend_idle_connections{pool="web",backend="b2"} 0
evenkeel_backend_in_flight{pool="web",backend="b1"} 0
evenkeel_backend_in_flight{pool="web",backend="b2"} 0
evenkeel_backend_info{pool="web",backend="b1",address="10.0.0.1:1"} 1
evenkeel_backend_info{pool="web",backend="b2",address="10.0.0.1:2"} 1
evenkeel_backend_latency_seconds{pool="web",backend="b1"} 0.003
evenkeel_backend_latency_seconds{pool="web",backend="b2"} 0
evenkeel_backend_picks_total{pool="web",backend="b1"} 0
evenkeel_backend_picks_total{pool="web",backend="b2"} 0
evenkeel_backend_probes_total{pool="web",backend="b1",result="good"} 0
evenkeel_backend_probes_total{pool="web",backend="b2",result="connect"} 3
evenkeel_backend_probes_total{pool="web",backend="b2",result="good"} 1
evenkeel_backend_received_bytes_total{pool="web",backend="b1"} 0
evenkeel_backend_received_bytes_total{pool="web",backend="b2"} 0
evenkeel_backend_requests_total{pool="web",backend="b1",code="2xx"} 7
evenkeel_backend_requests_total{pool="web",backend="b1",code="4xx"} 0
evenkeel_backend_requests_total{pool="web",backend="b1",code="5xx"} 0
evenkeel_backend_requests_total{pool="web",backend="b2",code="2xx"} 0
evenkeel_backend_requests_total{pool="web",backend="b2",code="4xx"} 0
evenkeel_backend_requests_total{pool="web",backend="b2",code="5xx"} 0
evenkeel_backend_reused_total{pool="web",backend="b1"} 0
evenkeel_backend_reused_total{pool="web",backend="b2"} 0
evenkeel_backend_sent_bytes_total{pool="web",backend="b1"} 0
evenkeel_backend_sent_bytes_total{pool="web",backend="b2"} 0
evenkeel_backend_share_ratio{pool="web",backend="b1"} 1
evenkeel_backend_share_ratio{pool="web",backend="b2"} 1
evenkeel_backend_state{pool="web",backend="b1",state="up"} 1
evenkeel_backend_state{pool="web",backend="b2",state="down"} 1
evenkeel_backend_transitions_total{pool="web",backend="b1",to="down"} 0
evenkeel_backend_transitions_total{pool="web",backend="b1",to="up"} 0
evenkeel_backend_transitions_total{pool="web",backend="b2",to="down"} 1
evenkeel_backend_transitions_total{pool="web",backend="b2",to="up"} 0
evenkeel_backend_up{pool="web",backend="b1"} 1
evenkeel_backend_up{pool="web",backend="b2"} 0
evenkeel_backend_weight{pool="web",backend="b1"} 1
evenkeel_backend_weight{pool="web",backend="b2"} 1
"#;

const CHECK_LINES: &str = r#"evenkeel_check_certificate_expiry_timestamp_seconds{pool="web",backend="b2",check="home"} 1900000000
evenkeel_check_down_reason{pool="web",backend="b2",check="mysql",layer="connect"} 1
evenkeel_check_duration_seconds{pool="web",backend="b2",check="home"} 0.002
evenkeel_check_duration_seconds{pool="web",backend="b2",check="mysql"} 0.002
evenkeel_check_up{pool="web",backend="b2",check="home"} 1
evenkeel_check_up{pool="web",backend="b2",check="mysql"} 0
"#;

const CONNECT_LINES: &str = r#"evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.0005"} 0
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.001"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.0025"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.005"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.01"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.025"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.05"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.1"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.25"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="0.5"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="1"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="2.5"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="5"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="10"} 1
evenkeel_pool_connect_duration_seconds_bucket{pool="web",le="+Inf"} 2
evenkeel_pool_connect_duration_seconds_sum{pool="web"} 60.0007
evenkeel_pool_connect_duration_seconds_count{pool="web"} 2
"#;

#[tokio::test]
async fn metrics_are_served_as_text_for_prometheus() {
    let address = program(None, 1).start();
    let reply = ask(address, "GET", "/metrics", "").await;
    assert_eq!(reply.status, 200);
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    assert!(reply.body.contains("evenkeel_backend_up{pool=\"web\",backend=\"b1\"} 0\n"), "{}", reply.body);
}

#[tokio::test]
async fn ten_thousand_backends_are_scraped_while_control_goes_on() {
    let program = program(None, 10_000);
    let address = program.start();
    let scrape = tokio::spawn(async move { ask(address, "GET", "/metrics", "").await });
    assert_eq!(ask(address, "GET", "/livez", "").await.status, 200);
    let reply = scrape.await.unwrap();
    assert_eq!(reply.body.matches("\nevenkeel_backend_up{").count(), 10_000);
}

// === health of the balancer itself ===

#[tokio::test]
async fn readiness_follows_the_phase_and_liveness_does_not() {
    let program = program(Some("token"), 1);
    let address = program.start();
    for (phase, status, word) in
        [(Phase::Starting, 503, "starting\n"), (Phase::Ready, 200, "ready\n"), (Phase::Stopping, 503, "stopping\n")]
    {
        program.state.life.enter(phase);
        for path in ["/readyz", "/healthz"] {
            let reply = ask(address, "GET", path, "").await;
            assert_eq!((reply.status, reply.body.as_str()), (status, word), "{path}");
        }
        assert_eq!(ask(address, "GET", "/livez", "").await.status, 200);
    }
}

#[tokio::test]
async fn readiness_may_ask_for_a_pool_with_a_backend_that_is_up() {
    let program = program(None, 2);
    let address = program.start();
    assert_eq!(ask(address, "GET", "/readyz?pool=web", "").await.status, 503);
    program.backend(1).set_state(State::Up);
    assert_eq!(ask(address, "GET", "/readyz?pool=web", "").await.status, 200);
    assert_eq!(ask(address, "GET", "/readyz?pool=nope", "").await.status, 404);
}

// === the API ===

#[tokio::test]
async fn pools_show_backends_and_what_their_checks_said() {
    let program = program(None, 2);
    let address = program.start();
    let first = program.backend(0);
    first.set_state(State::Down);
    first.set_checks(vec![check("mysql", State::Down, "connect: connection refused")]);
    first.stats.mine().responses[1].add(4);

    let reply = ask(address, "GET", "/api/v1/pools", "").await;
    assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
    let overview: Overview = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((overview.phase.as_str(), overview.generation), ("ready", 1));
    assert_eq!(overview.listeners[0].binds, ["127.0.0.1:8080"]);
    let pool = &overview.pools[0];
    assert_eq!((pool.balance.as_str(), pool.healthy_when.as_str()), ("round-robin", "home and mysql"));
    let backend = &pool.backends[0];
    assert_eq!((backend.state.as_str(), backend.address.as_str()), ("down", "10.0.0.1:1"));
    assert_eq!(backend.responses["2xx"], 4);
    assert_eq!(backend.checks[0].reason, "connect: connection refused");

    let reply = ask(address, "GET", "/api/v1/pools/web", "").await;
    let alone: PoolView = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(alone.backends.len(), 2);
    let reply = ask(address, "GET", "/api/v1/pools/nope", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (404, "{\"error\":\"there is no pool `nope`; there are: web\"}\n"));
}

#[tokio::test]
async fn events_are_listed_oldest_first() {
    let program = program(None, 1);
    let address = program.start();
    for (state, message) in [(State::Down, "b1 is down"), (State::Up, "b1 is up")] {
        let (pool, backend) = (Some("web".into()), Some("b1".into()));
        let (at, kind) = (Timestamp::UNIX_EPOCH, EventKind::State(state));
        program.state.events.add(Event { at, pool, backend, kind, message: message.into() });
    }
    let reply = ask(address, "GET", "/api/v1/events", "").await;
    let events: EventsView = serde_json::from_str(&reply.body).unwrap();
    let shown: Vec<_> = events.events.iter().map(|event| (event.at.as_str(), event.kind.as_str())).collect();
    assert_eq!(shown, [("1970-01-01T00:00:00Z", "down"), ("1970-01-01T00:00:00Z", "up")]);
}

fn done(message: &str) -> Done {
    Done { message: message.into(), generation: 2, hash: "abc".into() }
}

#[tokio::test]
async fn a_reload_answers_with_what_became_of_it() {
    let Program { state, mut reloads } = program(None, 1);
    let address = Program { state, reloads: mpsc::channel(1).1 }.start();
    tokio::spawn(async move {
        let _ = reloads.recv().await.unwrap().answer.send(Ok(done("nothing changed")));
        let _ = reloads.recv().await.unwrap().answer.send(Err(Unchanged::Problems("error: no such pool\n".into())));
    });
    let intent = "X-Evenkeel-Request: 1\r\n";
    let reply = ask(address, "POST", "/api/v1/reload", intent).await;
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, "{\"message\":\"nothing changed\",\"generation\":2,\"hash\":\"abc\"}\n")
    );
    let reply = ask(address, "POST", "/api/v1/reload", intent).await;
    assert_eq!((reply.status, reply.body.as_str()), (409, "{\"problems\":\"error: no such pool\\n\"}\n"));
    let reply = ask(address, "POST", "/api/v1/reload", intent).await;
    assert_eq!(reply.status, 503, "nobody takes reloads any more");
}

#[tokio::test]
async fn a_web_page_cannot_ask_for_a_reload() {
    let address = program(None, 1).start();
    for headers in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        assert_eq!(ask(address, "POST", "/api/v1/reload", headers).await.status, 403);
    }
    let named = "GET /api/v1/pools HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";
    assert_eq!(send(address, named).await.status, 403);
}

#[tokio::test]
async fn a_token_guards_all_but_the_health_paths() {
    let address = program(Some("s3cret"), 1).start();
    for path in ["/", "/metrics", "/api/v1/pools", "/api/v1/pools/web", "/api/v1/events"] {
        let reply = ask(address, "GET", path, "").await;
        assert_eq!(reply.status, 401, "{path}");
        assert!(reply.head.contains("www-authenticate: bearer"), "{}", reply.head);
        assert_eq!(ask(address, "GET", path, "Authorization: Bearer wrong!\r\n").await.status, 401, "{path}");
        assert_eq!(ask(address, "GET", path, "Authorization: Bearer s3cret\r\n").await.status, 200, "{path}");
    }
    let reply = ask(address, "POST", "/api/v1/reload", "X-Evenkeel-Request: 1\r\n").await;
    assert_eq!(reply.status, 401);
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!(ask(address, "GET", path, "").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_so() {
    let address = program(None, 1).start();
    let reply = ask(address, "GET", "/api/v1/nothing", "").await;
    assert_eq!((reply.status, reply.body.starts_with("{\"error\":")), (404, true));
    let reply = ask(address, "GET", "/api/v1/reload", "").await;
    assert_eq!(reply.status, 405);
    assert!(reply.head.contains("allow: post"), "{}", reply.head);
    assert_eq!(ask(address, "DELETE", "/metrics", "").await.status, 405);
    let reply = ask(address, "HEAD", "/livez", "").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
}

// === the commands that ask this port ===

async fn evenkeel(arguments: &[&str]) -> (Option<i32>, String, String) {
    let program = env!("CARGO_BIN_EXE_evenkeel");
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env_remove("EVENKEEL_ADMIN").env_remove("EVENKEEL_TOKEN_FILE");
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn status_prints_a_table_or_what_the_api_says() {
    let program = program(None, 2);
    let address = program.start().to_string();
    program.backend(0).set_state(State::Up);
    let (code, out, errors) = evenkeel(&["status", "--admin", &address]).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(out.contains("web: 1 of 2 up, round-robin, up when home and mysql\n"), "{out}");
    assert!(!out.contains('\x1b'), "a pipe gets no colours: {out:?}");
    let (_, out, _) = evenkeel(&["status", "--json", "--admin", &format!("http://{address}/")]).await;
    assert_eq!(serde_json::from_str::<Overview>(&out).unwrap().pools.len(), 1);
}

#[tokio::test]
async fn health_is_an_exit_code() {
    let program = program(None, 1);
    let address = program.start().to_string();
    assert_eq!(evenkeel(&["health", "--admin", &address]).await.0, Some(0));
    assert_eq!(evenkeel(&["health", "--admin", &address, "--pool", "web"]).await.0, Some(1));
    program.state.life.enter(Phase::Stopping);
    let (code, out, _) = evenkeel(&["health", "--admin", &address]).await;
    assert_eq!((code, out.as_str()), (Some(1), "stopping\n"));
}

#[tokio::test]
async fn reload_prints_the_problems_and_fails() {
    let Program { state, mut reloads } = program(None, 1);
    let address = Program { state, reloads: mpsc::channel(1).1 }.start().to_string();
    tokio::spawn(async move {
        let _ = reloads.recv().await.unwrap().answer.send(Ok(done("2 backends added")));
        let _ = reloads.recv().await.unwrap().answer.send(Err(Unchanged::Problems("error: no such pool\n".into())));
    });
    let (code, out, _) = evenkeel(&["reload", "--admin", &address]).await;
    assert_eq!((code, out.as_str()), (Some(0), "2 backends added\n"));
    let (code, out, errors) = evenkeel(&["reload", "--admin", &address]).await;
    assert_eq!((code, out.as_str(), errors.as_str()), (Some(1), "", "error: no such pool\n"));
}

#[tokio::test]
async fn commands_take_the_token_from_a_file() {
    let address = program(Some("s3cret"), 1).start().to_string();
    let (code, _, errors) = evenkeel(&["status", "--admin", &address]).await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("--token-file"), "{errors}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"s3cret\n").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(evenkeel(&["status", "--admin", &address, "--token-file", path]).await.0, Some(0));
}

#[tokio::test]
async fn a_command_says_when_nothing_answers() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, out, errors) = evenkeel(&["status", "--admin", &nobody]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(errors.starts_with(&format!("evenkeel: nothing answers at {nobody}; is evenkeel running")), "{errors}");
}

// === limits ===

#[tokio::test]
async fn a_huge_head_is_refused() {
    let address = program(None, 1).start();
    let mut stream = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
    // The port may close before it has read all of it, so neither the write nor the read need succeed.
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20)).as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(ask(address, "GET", "/livez", "").await.status, 200);
}

#[tokio::test]
async fn a_huge_body_is_refused() {
    let address = program(None, 1).start();
    let head =
        "POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Evenkeel-Request: 1\r\nContent-Length: 2000000\r\n\r\n";
    let mut stream = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
    let _ = stream.write_all(format!("{head}{}", "a".repeat(2_000_000)).as_bytes()).await;
    let mut answer = [0; 12];
    // A reset may overtake the answer; what must not happen is a 200.
    if stream.read_exact(&mut answer).await.is_ok() {
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let address = program(None, 1).start();
    let mut stream = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let begun = tokio::time::Instant::now();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(begun.elapsed() < 10 * SECOND, "{:?}", begun.elapsed());
}
