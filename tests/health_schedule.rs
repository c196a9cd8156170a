//! The schedule over real sockets: verdicts, shared questions, reloads, evidence of traffic, names.

#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use evenkeel::balance::Balance;
use evenkeel::config::model::{
    self, Address, Check, CheckKind, HttpCheck, HttpQuestion, Initial, Member, OnDown, PoolTimeouts, Retry, Standing,
    Timing, Zones,
};
use evenkeel::health::{Expression, Policy, State, Symptom};
use evenkeel::pool::events::Events;
use evenkeel::pool::{Backend, Bell, Evidence, Notice, Pool};
use evenkeel::probe::Schedule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Waits for `holds`; fails after a while that no machine should need.
#[track_caller]
fn eventually(holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + 20 * SECOND;
        while !holds() {
            assert!(Instant::now() < deadline, "not in time: {place}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

// === a server that can be ill, and gone ===

struct Server {
    at: SocketAddr,
    ill: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let mut server =
            Self { at: "127.0.0.1:0".parse().unwrap(), ill: Arc::default(), asked: Arc::default(), task: None };
        server.come_back();
        server
    }

    fn come_back(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.at).unwrap();
        let listener = socket.listen(1024).unwrap();
        self.at = listener.local_addr().unwrap();
        self.task = Some(tokio::spawn(serve(listener, Arc::clone(&self.ill), Arc::clone(&self.asked))));
    }

    async fn go(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }

    fn fall_ill(&self) {
        self.ill.store(true, SeqCst);
    }

    fn recover(&self) {
        self.ill.store(false, SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }
}

async fn serve(listener: TcpListener, ill: Arc<AtomicBool>, asked: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        asked.fetch_add(1, SeqCst);
        let answer: &[u8] = if ill.load(SeqCst) {
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        };
        tokio::spawn(async move {
            let _ = read_some(&mut stream).await;
            let _ = stream.write_all(answer).await;
        });
    }
}

async fn read_some(stream: &mut TcpStream) -> std::io::Result<usize> {
    stream.read(&mut [0; 1024]).await
}

// === pools ===

fn check(name: &str, kind: CheckKind, interval: Duration) -> Check {
    let timing = Timing {
        interval,
        fast_interval: interval,
        down_interval: interval,
        timeout: interval.min(5 * SECOND),
        rise: NonZeroU32::new(2).unwrap(),
        fall: NonZeroU32::new(3).unwrap(),
        initial: Initial::Unknown,
    };
    Check {
        name: Arc::from(name),
        kind,
        host: None,
        port: None,
        way: None,
        send_proxy: None,
        timing,
        secrets: Vec::new(),
    }
}

fn web() -> CheckKind {
    CheckKind::Http(HttpCheck::new(HttpQuestion::get("/")))
}

struct House {
    schedule: Schedule,
    events: Arc<Events>,
    evidence: UnboundedSender<Evidence>,
    bell: Arc<Bell>,
    notices: UnboundedReceiver<Notice>,
}

impl House {
    fn new() -> Self {
        let events = Arc::new(Events::default());
        let (evidence, inbox) = unbounded_channel();
        let (schedule, runner) = Schedule::new(inbox, Arc::clone(&events));
        tokio::spawn(runner.run());
        let (sender, notices) = unbounded_channel();
        let bell = Arc::new(Bell::default());
        bell.add(sender);
        Self { schedule, events, evidence, bell, notices }
    }

    fn backend(&self, pool: &str, address: Address) -> Arc<Backend> {
        let name = Arc::from(address.to_string());
        Arc::new(Backend::new(Arc::from(pool), name, address, 1, self.evidence.clone()))
    }

    fn pool(&self, name: &str, backends: &[Arc<Backend>], checks: Vec<Check>) -> Arc<Pool> {
        let healthy_when = Expression::all_of(checks.len());
        self.pool_when(name, backends, checks, healthy_when)
    }

    fn pool_when(&self, name: &str, backends: &[Arc<Backend>], checks: Vec<Check>, when: Expression) -> Arc<Pool> {
        let members = backends.iter().map(|backend| Member {
            name: Arc::clone(&backend.name),
            address: backend.address.clone(),
            weight: 1,
            standing: Standing::Regular,
            zone: None,
            connections_max: None,
        });
        let config = model::Pool {
            name: Arc::from(name),
            members: members.collect(),
            balance: Balance::RoundRobin,
            checks,
            policy: Policy::usual(when),
            follows: None,
            on_role_loss: OnDown::Keep,
            tls: None,
            way: None,
            introduce: None,
            http: model::HttpVersion::V1_1,
            zones: Zones { names: vec![], own: None, clients: vec![], spill_below: 0.0, spill_at: None },
            on_down: OnDown::Keep,
            hold: Duration::ZERO,
            queue: 0,
            retry: Retry { attempts: 0, budget_ratio: 0.0, budget_min_per_second: 0, body_bytes: 0, statuses: vec![] },
            timeouts: PoolTimeouts {
                connect: SECOND,
                queue: SECOND,
                response: SECOND,
                idle: SECOND,
                tunnel_idle: None,
            },
            idle_connections: 0,
            tunnels_max: None,
            connections_max: None,
            sticky: None,
        };
        Arc::new(Pool::new(Arc::new(config), backends.to_vec(), 1, Arc::clone(&self.bell)))
    }

    /// One pool with one backend.
    fn single(&self, at: SocketAddr, checks: Vec<Check>) -> (Arc<Backend>, Arc<Pool>) {
        let backend = self.backend("p", Address::Socket(at));
        let pool = self.pool("p", &[Arc::clone(&backend)], checks);
        (backend, pool)
    }

    fn fallen(&mut self) -> usize {
        let mut fallen = 0;
        while let Ok(notice) = self.notices.try_recv() {
            fallen += usize::from(matches!(notice, Notice::Down(_)));
        }
        fallen
    }

    fn said(&self) -> Vec<String> {
        self.events.list().into_iter().map(|event| event.message).collect()
    }
}

async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

// === verdicts ===

#[tokio::test]
async fn the_first_probes_decide_at_once_and_then_everything_is_settled() {
    let mut house = House::new();
    let (well, ill) = (Server::start(), Server::start());
    ill.fall_ill();
    let addresses = [well.at, ill.at, closed_port().await];
    let backends = addresses.map(|at| house.backend("p", Address::Socket(at)));
    let pool = house.pool("p", &backends, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    assert_eq!(backends.each_ref().map(|backend| backend.state()), [State::Up, State::Down, State::Down]);
    assert_eq!(house.fallen(), 2);
    let reasons = backends.each_ref().map(|backend| backend.checks()[0].reason.to_string());
    assert_eq!(reasons, ["HTTP 200", "answer: HTTP 503, wanted 200-399", "connect: connection refused"]);
    let said = house.said();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said.iter().any(|line| line == "down: check web: connect: connection refused; 1 of 3 up"
            || line == "down: check web: connect: connection refused; 0 of 3 up"),
        "{said:?}"
    );
    assert_eq!(backends[0].probes.good.get(), 1);
    assert_eq!(backends[2].probes.bad[1].get(), 1, "counted by layer");
}

#[tokio::test]
async fn rise_and_fall_flip_a_backend_and_each_flip_is_said_once() {
    let mut house = House::new();
    let server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), Duration::from_millis(20))]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    assert_eq!(house.fallen(), 0);
    server.fall_ill();
    let (asked, bad_before) = (server.asked(), backend.probes.bad[5].get());
    eventually(|| backend.state() == State::Down).await;
    assert!(server.asked() >= asked + 3 && backend.probes.bad[5].get() >= bad_before + 3, "fall is 3");
    eventually(|| backend.probes.bad[5].get() > 6).await;
    server.recover();
    eventually(|| backend.state() == State::Up).await;
    assert_eq!(house.fallen(), 1);
    let kinds: Vec<&str> = house.events.list().iter().map(|event| event.kind.word()).collect();
    assert_eq!(kinds, ["up", "down", "up"]);
    assert_eq!((backend.probes.flips_up.get(), backend.probes.flips_down.get()), (2, 1));
}

#[tokio::test]
async fn a_verdict_is_the_expression_over_its_checks() {
    let house = House::new();
    let server = Server::start();
    let closed = closed_port().await;
    let checks = || {
        let mut mysql = check("mysql", CheckKind::Tcp, MINUTE);
        mysql.port = Some(closed.port());
        vec![check("web", web(), MINUTE), mysql]
    };
    let both = house.backend("both", Address::Socket(server.at));
    let either = house.backend("either", Address::Socket(server.at));
    let one_of = Expression::AtLeast(1, vec![Expression::Check(0), Expression::Check(1)]);
    let pools = [
        house.pool("both", &[Arc::clone(&both)], checks()),
        house.pool_when("either", &[Arc::clone(&either)], checks(), one_of),
    ];
    house.schedule.follow(&pools);
    house.schedule.settled().await;
    assert_eq!((both.state(), either.state()), (State::Down, State::Up));
    eventually(|| either.checks()[1].state == State::Down).await;
    assert_eq!(either.state(), State::Up);
}

#[tokio::test]
async fn the_same_question_is_asked_once_for_all_pools() {
    let house = House::new();
    let server = Server::start();
    let backends: Vec<_> = (0..20).map(|i| house.backend(&format!("p{i}"), Address::Socket(server.at))).collect();
    let pools: Vec<_> = backends
        .iter()
        .map(|backend| house.pool(&backend.pool, &[Arc::clone(backend)], vec![check("web", web(), MINUTE)]))
        .collect();
    house.schedule.follow(&pools);
    house.schedule.settled().await;
    assert!(backends.iter().all(|backend| backend.state() == State::Up));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn initial_states_hold_until_probes_say_otherwise() {
    let house = House::new();
    let server = Server::start();
    let starting = |initial| {
        let mut check = check("web", web(), MINUTE);
        check.timing.initial = initial;
        vec![check]
    };
    let (up, down) =
        (house.backend("up", Address::Socket(server.at)), house.backend("down", Address::Socket(server.at)));
    let pools = [
        house.pool("up", &[Arc::clone(&up)], starting(Initial::Up)),
        house.pool("down", &[Arc::clone(&down)], starting(Initial::Down)),
    ];
    house.schedule.follow(&pools);
    assert_eq!((up.state(), down.state()), (State::Up, State::Down), "before any probe");
    house.schedule.settled().await;
}

// === reloads ===

#[tokio::test]
async fn health_survives_a_reload_and_what_is_removed_is_asked_no_more() {
    let house = House::new();
    let (kept, removed, added) = (Server::start(), Server::start(), Server::start());
    added.fall_ill();
    let checks = || vec![check("web", web(), Duration::from_millis(30))];
    let [a, b, c] = [&kept, &removed, &added].map(|server| house.backend("p", Address::Socket(server.at)));
    house.schedule.follow(&[house.pool("p", &[Arc::clone(&a), Arc::clone(&b)], checks())]);
    house.schedule.settled().await;
    let good = a.probes.good.get();
    house.schedule.follow(&[house.pool("p", &[Arc::clone(&a), Arc::clone(&c)], checks())]);
    assert_eq!(a.state(), State::Up);
    house.schedule.settled().await;
    assert_eq!(c.state(), State::Down);
    assert_eq!(house.said().len(), 3, "nothing is said of the one that stayed: {:?}", house.said());
    let gone = removed.asked();
    eventually(|| a.probes.good.get() > good + 10).await;
    assert!(removed.asked() <= gone + 1, "at most the probe that was under way");
    assert_eq!(a.checks()[0].state, State::Up);
}

#[tokio::test]
async fn a_check_that_a_reload_adds_decides_by_its_first_probe_and_takes_nothing_down_before() {
    let mut house = House::new();
    let server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    let mut mysql = check("mysql", CheckKind::Tcp, MINUTE);
    mysql.port = Some(closed_port().await.port());
    let pool = house.pool("p", &[Arc::clone(&backend)], vec![check("web", web(), MINUTE), mysql]);
    assert_eq!(house.fallen(), 0);
    house.schedule.follow(&[pool]);
    eventually(|| backend.state() == State::Down).await;
    assert_eq!(server.asked(), 1, "the old question was not asked again");
    let pool = house.pool("p", &[Arc::clone(&backend)], vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    eventually(|| backend.state() == State::Up).await;
}

#[tokio::test]
async fn a_new_pool_with_a_question_that_is_asked_already_need_not_wait_for_its_interval() {
    let house = House::new();
    let server = Server::start();
    let (_first, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[Arc::clone(&pool)]);
    house.schedule.settled().await;
    let second = house.backend("q", Address::Socket(server.at));
    let another = house.pool("q", &[Arc::clone(&second)], vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool, another]);
    house.schedule.settled().await;
    assert_eq!((second.state(), server.asked()), (State::Up, 2));
}

// === evidence ===

#[tokio::test]
async fn a_killed_backend_leaves_at_once_when_traffic_and_probe_agree() {
    let mut house = House::new();
    let mut server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    // The gap after the last probe is over.
    tokio::time::sleep(Duration::from_millis(25)).await;
    server.go().await;
    let started = Instant::now();
    backend.suspect(Symptom::Refused);
    eventually(|| backend.state() == State::Down).await;
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
    eventually(|| !house.said().is_empty()).await;
    assert!(house.said().last().unwrap().contains("connection refused (traffic failed too)"), "{:?}", house.said());
    tokio::task::yield_now().await;
    assert_eq!(house.fallen(), 1);
}

#[tokio::test]
async fn evidence_against_a_backend_whose_probes_are_good_changes_nothing_and_can_come_again() {
    let house = House::new();
    let server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    for round in 2..5 {
        let asked = server.asked();
        backend.suspect(Symptom::Reset);
        eventually(|| server.asked() > asked).await;
        eventually(|| backend.probes.good.get() >= round).await;
    }
    assert_eq!(backend.state(), State::Up);
    assert_eq!(house.said().len(), 1);
}

#[tokio::test]
async fn a_flood_of_evidence_does_not_become_a_flood_of_probes() {
    let house = House::new();
    let server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(700) {
        backend.suspect(Symptom::Reset);
        tokio::task::yield_now().await;
    }
    // 20 ms, then 40, 80, …: six or seven in this time.
    assert!((3..12).contains(&server.asked()), "{}", server.asked());
}

#[tokio::test]
async fn one_slow_answer_and_one_bad_probe_are_not_enough() {
    let house = House::new();
    let server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    server.fall_ill();
    backend.suspect(Symptom::Silent);
    eventually(|| backend.probes.bad[5].get() == 1).await;
    assert_eq!(backend.state(), State::Up);
    backend.suspect(Symptom::Silent);
    eventually(|| backend.state() == State::Down).await;
}

#[tokio::test]
async fn a_backend_without_checks_is_up_at_once_and_knocked_at_when_traffic_cannot_reach_it() {
    let mut house = House::new();
    let mut server = Server::start();
    let (backend, pool) = house.single(server.at, vec![]);
    house.schedule.follow(&[pool]);
    assert_eq!(backend.state(), State::Up, "when follow returns");
    house.schedule.settled().await;
    for _ in 0..4 {
        backend.suspect(Symptom::Refused);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(backend.state(), State::Up, "the port is open");
    assert!(backend.checks().is_empty());
    server.go().await;
    backend.answered(Duration::from_millis(1));
    let started = Instant::now();
    while backend.state() == State::Up {
        assert!(started.elapsed() < 20 * SECOND);
        backend.suspect(Symptom::Refused);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(started.elapsed() < Duration::from_millis(200), "{:?}", started.elapsed());
    assert_eq!(house.fallen(), 1);
    assert_eq!(backend.checks()[0].state, State::Down);
    server.come_back();
    eventually(|| backend.state() == State::Up).await;
    eventually(|| backend.checks().is_empty()).await;
    assert_eq!(server.asked(), 0, "knocks are invisible");
}

#[tokio::test]
async fn broken_answers_take_a_backend_out_but_never_the_last_one() {
    let house = House::new();
    let (first, second) = (Server::start(), Server::start());
    let backends = [&first, &second].map(|server| house.backend("p", Address::Socket(server.at)));
    let pool = house.pool("p", &backends, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    let mut broken = 0;
    while backends[0].state() == State::Up {
        backends[0].suspect(Symptom::BadAnswer);
        broken += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(broken < 10, "a few must be enough");
    }
    assert!(broken >= 5);
    let said = house.said();
    assert!(said.iter().any(|line| line.contains("answers are broken: ")), "{said:?}");
    assert_eq!(said.last().unwrap(), "probes are fine while traffic fails");
    for _ in 0..20 {
        backends[1].suspect(Symptom::BadAnswer);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(backends[1].state(), State::Up, "it is the last one");
    // When that one goes as well, a broken answer is better than none.
    second.fall_ill();
    backends[1].suspect(Symptom::BadAnswer);
    eventually(|| {
        backends[1].suspect(Symptom::BadAnswer);
        backends[1].state() == State::Down
    })
    .await;
    eventually(|| backends[0].state() == State::Up).await;
}

// === names ===

#[tokio::test]
async fn names_are_resolved_while_running_and_a_name_without_address_is_down() {
    let house = House::new();
    let server = Server::start();
    let local = house.backend("p", Address::Name(Arc::from("localhost"), server.at.port()));
    let nowhere = house.backend("p", Address::Name(Arc::from("nowhere.invalid"), 80));
    let unchecked = house.backend("q", Address::Name(Arc::from("localhost"), server.at.port()));
    let lost = house.backend("q", Address::Name(Arc::from("nowhere.invalid"), 80));
    let pools = [
        house.pool("p", &[Arc::clone(&local), Arc::clone(&nowhere)], vec![check("web", web(), MINUTE)]),
        house.pool("q", &[Arc::clone(&unchecked), Arc::clone(&lost)], vec![]),
    ];
    house.schedule.follow(&pools);
    house.schedule.settled().await;
    assert_eq!(nowhere.state(), State::Down);
    assert_eq!(lost.state(), State::Down);
    assert_eq!(unchecked.state(), State::Up);
    // `localhost` may be ::1 first, where nobody listens.
    let expected = if local.site() == Some(server.at.into()) { State::Up } else { State::Down };
    assert_eq!(local.state(), expected);
    eventually(|| nowhere.probes.bad[0].get() == 1).await;
    assert!(nowhere.checks()[0].reason.starts_with("resolve: `nowhere.invalid` has no address"));
    let said = house.said();
    assert!(
        said.iter().any(|line| line.starts_with("down: resolve: `nowhere.invalid`")
            || line.starts_with("down: check web: resolve: `nowhere.invalid`")),
        "{said:?}"
    );
}

// === questions of operators ===

#[tokio::test]
async fn somebody_who_asks_now_gets_fresh_answers_of_all_checks() {
    let house = House::new();
    let server = Server::start();
    let (backend, pool) =
        house.single(server.at, vec![check("web", web(), MINUTE), check("port", CheckKind::Tcp, MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    server.fall_ill();
    let mut found = house.schedule.probe_now("p", Some(&backend.name)).await.unwrap();
    found.sort_by(|a, b| a.check.cmp(&b.check));
    assert_eq!(found.iter().map(|probed| &*probed.check).collect::<Vec<_>>(), ["port", "web"]);
    assert!(found.iter().all(|probed| probed.backend == backend.name));
    assert!(found[0].report.result.is_ok());
    assert_eq!(found[1].report.result.as_ref().unwrap_err().to_string(), "answer: HTTP 503, wanted 200-399");
    assert_eq!(house.schedule.probe_now("p", None).await.unwrap().len(), 2);
    assert!(house.schedule.probe_now("p", Some("nobody")).await.is_none());
    assert!(house.schedule.probe_now("nowhere", None).await.is_none());
}

#[tokio::test]
async fn an_explanation_has_the_last_good_answer_and_the_last_failure() {
    let house = House::new();
    let server = Server::start();
    let (backend, pool) = house.single(server.at, vec![check("web", web(), MINUTE)]);
    house.schedule.follow(&[pool]);
    house.schedule.settled().await;
    server.fall_ill();
    house.schedule.probe_now("p", None).await.unwrap();
    let why = house.schedule.explain("p", &backend.name).await.unwrap();
    assert_eq!((why.verdict.state, why.checks.len()), (State::Up, 1));
    let check = &why.checks[0];
    assert_eq!((check.state, check.against, check.needed), (State::Up, 1, 3));
    assert_eq!(check.asked_at, Some(server.at.into()));
    assert!(check.next_in.is_some());
    assert_eq!(check.last_good.as_ref().unwrap().report.result.as_ref().unwrap().what, "HTTP 200");
    let bad = check.last_bad.as_ref().unwrap().report.result.as_ref().unwrap_err().to_string();
    assert_eq!(bad, "answer: HTTP 503, wanted 200-399");
    assert!(house.schedule.explain("p", "nobody").await.is_none());
}
