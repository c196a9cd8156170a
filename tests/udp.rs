//! Datagrams through the balancer: answers come from where they were asked, a client stays with its backend, and what a
//! backend that is gone does not get goes to another.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::eventually::DEADLINE;
use support::process::{Process, free_address};
use support::{Balancer, Client, Origin, eventually};

const NOT_YET: Duration = Duration::from_millis(100);

/// A backend that answers each datagram so many times with its name and what it heard, until it is dropped.
struct Backend {
    address: SocketAddr,
    heard: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        Self::at("127.0.0.1:0", name, 1)
    }

    fn at(address: &str, name: &'static str, answers: u32) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (heard, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, told) = (Arc::clone(&heard), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let mut room = vec![0; 65_536];
            while !told.load(Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut room) else { continue };
                count.fetch_add(1, Relaxed);
                for _ in 0..answers {
                    let answer = [name.as_bytes(), &room[..length]].concat();
                    socket.send_to(&answer, client).unwrap();
                }
            }
        });
        Self { address, heard, ends, thread: Some(thread) }
    }

    fn heard(&self) -> u32 {
        self.heard.load(Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ends.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A client that hears only the address that it has asked.
struct Asker(UdpSocket);

impl Asker {
    fn of(address: SocketAddr) -> Self {
        Self::from(if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }, address)
    }

    fn from(own: &str, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(own).unwrap();
        socket.connect(address).unwrap();
        Self(socket)
    }

    fn send(&self, text: &str) {
        self.0.send(text.as_bytes()).unwrap();
    }

    /// What comes within the time.
    fn hears_within(&self, time: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut room = vec![0; 65_536];
        let length = self.0.recv(&mut room).ok()?;
        Some(String::from_utf8_lossy(&room[..length]).into_owned())
    }

    #[track_caller]
    fn hears(&self) -> String {
        self.hears_within(DEADLINE).expect("an answer comes")
    }

    #[track_caller]
    fn ask(&self, text: &str) -> String {
        self.send(text);
        self.hears()
    }
}

fn config(bind: &str, backends: &[SocketAddr], rest: &str) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("'{address}'")).collect();
    // Keys of the pool first, then tables.
    let (pool, tables) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
    format!(
        "[listener.web]\nbind = '{bind}'\nprotocol = 'udp'\npool = 'p'\n\
         [pool.p]\nbackends = [{}]\n{pool}\n{tables}",
        backends.join(", ")
    )
}

fn in_front_of(backends: &[&Backend], rest: &str) -> Balancer {
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    Balancer::start(&config("127.0.0.1:0", &addresses, rest))
}

fn flows(lb: &Balancer, count: u32) {
    lb.counts("evenkeel_listener_open_flows{listener=web}", count.into());
}

fn ended(lb: &Balancer, how: &str, count: u32) {
    lb.counts(&format!("evenkeel_listener_flows_ended_total{{listener=web,how={how}}}"), count.into());
}

fn dropped(lb: &Balancer, reason: &str, count: u32) {
    lb.counts(&format!("evenkeel_listener_dropped_total{{listener=web,reason={reason}}}"), count.into());
}

// === both ways ===

#[test]
fn each_client_hears_the_answers_to_its_own_questions() {
    let backend = Backend::start("a:");
    let lb = in_front_of(&[&backend], "");
    let clients: Vec<Asker> = (0..20).map(|_| Asker::of(lb.addr("web"))).collect();
    for round in 0..3 {
        for (number, client) in clients.iter().enumerate() {
            client.send(&format!("{number}.{round}"));
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.hears(), format!("a:{number}.{round}"));
        }
    }
    flows(&lb, 20);
    lb.counts("evenkeel_listener_flows_total{listener=web}", 20.0);
    for direction in ["received", "sent"] {
        lb.counts(&format!("evenkeel_listener_datagrams_total{{listener=web,direction={direction}}}"), 60.0);
    }
    lb.counts("evenkeel_pool_in_flight{pool=p}", 20.0);
    assert!(
        lb.metric("evenkeel_pool_sent_bytes_total{pool=p}") > lb.metric("evenkeel_pool_received_bytes_total{pool=p}")
    );
}

#[test]
fn datagrams_of_any_length_arrive_whole() {
    let backend = Backend::start("");
    let lb = in_front_of(&[&backend], "");
    let client = Asker::of(lb.addr("web"));
    for length in [0, 1, 1_472, 1_500, 9_000, 60_000, 65_507] {
        let text = "x".repeat(length);
        assert!(client.ask(&text) == text, "{length}");
    }
}

#[test]
fn a_backend_may_answer_often_or_unasked() {
    let backend = Backend::at("127.0.0.1:0", "a:", 5);
    let lb = in_front_of(&[&backend], "");
    let client = Asker::of(lb.addr("web"));
    client.send("x");
    for _ in 0..5 {
        assert_eq!(client.hears(), "a:x");
    }
    assert_eq!(client.hears_within(NOT_YET), None);
    flows(&lb, 1);
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let backend = Backend::start("a:");
    for (bind, asked) in [("0.0.0.0:0", "127.0.0.2"), ("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "::1")] {
        let lb = Balancer::start(&config(bind, &[backend.address], ""));
        let address = SocketAddr::new(asked.parse().unwrap(), lb.addr("web").port());
        assert_eq!(Asker::of(address).ask("x"), "a:x", "{bind} asked at {asked}");
    }
}

#[test]
fn a_client_that_asks_at_two_addresses_has_a_flow_at_each() {
    let backend = Backend::start("a:");
    let lb = Balancer::start(&config("0.0.0.0:0", &[backend.address], ""));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    for host in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
        let asked = SocketAddr::new(host.parse().unwrap(), lb.addr("web").port());
        client.send_to(host.as_bytes(), asked).unwrap();
        let mut room = [0; 100];
        assert_eq!(client.recv_from(&mut room).unwrap().1, asked);
    }
    flows(&lb, 2);
}

#[test]
fn backends_may_be_ipv6() {
    let backend = Backend::at("[::1]:0", "six:", 1);
    let lb = in_front_of(&[&backend], "");
    assert_eq!(Asker::of(lb.addr("web")).ask("x"), "six:x");
}

#[test]
fn tcp_and_udp_may_share_an_address() {
    let (names, stream) = (Backend::start("udp:"), Origin::echo().start());
    let address = free_address();
    let lb = Balancer::start(&format!(
        "[listener.a]\nbind = '{address}'\nprotocol = 'udp'\npool = 'p'\n\
         [listener.b]\nbind = '{address}'\nprotocol = 'tcp'\npool = 'q'\n\
         [pool.p]\nbackends = ['{}']\n[pool.q]\nbackends = ['{}']\n",
        names.address,
        stream.addr()
    ));
    assert_eq!(Asker::of(address).ask("x"), "udp:x");
    assert!(Client::connect(address).echoes("x"));
    drop(lb);
}

// === which backend ===

#[test]
fn a_client_stays_with_its_backend_and_the_next_one_gets_another() {
    let backends = [Backend::start("a:"), Backend::start("b:")];
    let lb = in_front_of(&[&backends[0], &backends[1]], "");
    let clients = [Asker::of(lb.addr("web")), Asker::of(lb.addr("web"))];
    let first = clients[0].ask("x");
    let second = clients[1].ask("x");
    assert_ne!(first, second);
    for _ in 0..5 {
        assert_eq!(clients[0].ask("x"), first);
        assert_eq!(clients[1].ask("x"), second);
    }
}

#[test]
fn balance_by_source_keeps_an_address_with_its_backend_over_flows() {
    let backends = [Backend::start("a:"), Backend::start("b:"), Backend::start("c:")];
    let all: Vec<&Backend> = backends.iter().collect();
    let lb = in_front_of(&all, "balance = 'source'\n");
    let mut met = std::collections::BTreeSet::new();
    for host in 1..20 {
        let own = format!("127.0.9.{host}:0");
        let first = Asker::from(&own, lb.addr("web")).ask("x");
        assert_eq!(Asker::from(&own, lb.addr("web")).ask("x"), first);
        met.insert(first);
    }
    assert_eq!(met.len(), 3);
}

#[test]
fn routes_go_by_the_clients_address() {
    let backends = [Backend::start("a:"), Backend::start("b:")];
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'udp'\n\
         [[listener.web.route]]\nclient = '127.0.0.8/32'\npool = 'p'\n\
         [[listener.web.route]]\nclient = ['127.0.0.9', '10.0.0.0/8']\npool = 'q'\n\
         [pool.p]\nbackends = ['{}']\n[pool.q]\nbackends = ['{}']\n",
        backends[0].address, backends[1].address
    ));
    assert_eq!(Asker::from("127.0.0.8:0", lb.addr("web")).ask("x"), "a:x");
    assert_eq!(Asker::from("127.0.0.9:0", lb.addr("web")).ask("x"), "b:x");
    let nobodys = Asker::from("127.0.0.10:0", lb.addr("web"));
    nobodys.send("x");
    assert_eq!(nobodys.hears_within(NOT_YET), None);
    dropped(&lb, "no_route", 1);
}

// === backends that go ===

#[test]
fn a_backend_that_is_gone_costs_a_new_client_nothing() {
    let (stays, goes) = (Backend::start("a:"), Backend::start("b:"));
    let lb = in_front_of(&[&stays, &goes], "");
    drop(goes);
    for _ in 0..10 {
        assert_eq!(Asker::of(lb.addr("web")).ask("x"), "a:x");
    }
    assert!(lb.metric("evenkeel_pool_retries_total{pool=p}") >= 5.0);
    dropped(&lb, "no_backend", 0);
}

#[test]
fn a_client_goes_on_with_another_backend_when_its_own_is_gone() {
    let mut backends = vec![Backend::start("a:"), Backend::start("b:")];
    let lb = in_front_of(&[&backends[0], &backends[1]], "");
    let client = Asker::of(lb.addr("web"));
    let gone = usize::from(client.ask("x") == "b:x");
    drop(backends.remove(gone));
    let other = if gone == 0 { "b:x" } else { "a:x" };
    // The first datagram is lost: it brings the news.
    eventually("the other one answers", DEADLINE, || {
        client.send("x");
        client.hears_within(NOT_YET).is_some_and(|heard| heard == other)
    });
    assert_eq!(client.ask("x"), other);
    flows(&lb, 1);
}

#[test]
fn with_all_backends_gone_datagrams_are_dropped_and_all_is_well_when_one_is_back() {
    let backend = Backend::start("a:");
    let address = backend.address;
    let lb = in_front_of(&[&backend], "");
    let client = Asker::of(lb.addr("web"));
    assert_eq!(client.ask("x"), "a:x");
    drop(backend);
    for _ in 0..3 {
        client.send("x");
        assert_eq!(client.hears_within(NOT_YET), None);
    }
    let _backend = Backend::at(&address.to_string(), "b:", 1);
    assert_eq!(client.ask("x"), "b:x");
    assert_eq!(Asker::of(lb.addr("web")).ask("y"), "b:y");
}

#[test]
fn a_backend_that_its_check_says_is_down_hears_nothing_more() {
    let backends = [Backend::start("a:"), Backend::start("b:")];
    let health = Origin::http().start();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'udp'\npool = 'p'\n\
         [pool.p]\nbackends = ['{}', {{ address = '{}', backup = true }}]\n\
         [pool.p.check.beside]\ntype = 'tcp'\nport = {}\ninterval = '20ms'\nrise = 1\nfall = 2\nhost = '127.0.0.1'\n",
        backends[0].address,
        backends[1].address,
        health.addr().port()
    ));
    let client = Asker::of(lb.addr("web"));
    assert_eq!(client.ask("x"), "a:x");
    drop(health);
    lb.wait_for_up(0);
    client.send("x");
    assert_eq!(client.hears_within(NOT_YET), None, "both are down by the same check");
    lb.counts("evenkeel_pool_failed_total{pool=p,cause=no_backend}", 1.0);
    dropped(&lb, "no_backend", 1);
    assert_eq!(backends[0].heard() + backends[1].heard(), 1);
}

#[test]
fn a_check_by_script_may_ask_by_datagrams() {
    let backends = [Backend::start("a:"), Backend::at("127.0.0.1:0", "", 0)];
    let check = "[pool.p.check.names]\ntype = 'script'\ntransport = 'udp'\ninterval = '100ms'\nrise = 1\nfall = 1\n\
                 steps = [{ send = 'ping' }, { expect = 'a:ping' }]\n";
    let lb = in_front_of(&[&backends[0], &backends[1]], check);
    let pool = lb.pool();
    assert_eq!(pool.backends_up, 1);
    let [up, silent] = backends;
    assert!(silent.heard() > 0);
    assert_eq!(Asker::of(lb.addr("web")).ask("x"), "a:x");
    drop(up);
    lb.wait_for_up(0);
}

#[test]
fn a_client_that_asks_again_without_the_answer_that_is_due_is_heard_by_another_backend() {
    let (silent, answers) = (Backend::at("127.0.0.1:0", "", 0), Backend::start("b:"));
    let lb = in_front_of(&[&silent, &answers], "balance = 'first'\n[listener.web.udp]\nresponses = 1\n");
    let client = Asker::of(lb.addr("web"));
    client.send("x");
    assert_eq!(client.hears_within(Duration::from_millis(700)), None);
    assert_eq!(client.ask("x"), "b:x");
    assert_eq!((silent.heard(), answers.heard()), (1, 1));
    ended(&lb, "answered", 1);
}

// === the end of a flow ===

#[test]
fn a_flow_with_all_of_its_answers_has_ended() {
    let backend = Backend::at("127.0.0.1:0", "a:", 2);
    let lb = in_front_of(&[&backend], "[listener.web.udp]\nresponses = 2\n");
    let client = Asker::of(lb.addr("web"));
    // Two questions at once from one port, as resolvers ask for both kinds of addresses.
    client.send("x");
    client.send("y");
    let mut heard: Vec<String> = (0..4).map(|_| client.hears()).collect();
    heard.sort_unstable();
    assert_eq!(heard, ["a:x", "a:x", "a:y", "a:y"]);
    flows(&lb, 0);
    lb.counts("evenkeel_pool_in_flight{pool=p}", 0.0);
    assert_eq!(client.ask("z"), "a:z");
    assert_eq!(client.hears(), "a:z");
    flows(&lb, 0);
}

#[test]
fn a_flow_ends_after_its_silence_and_not_before() {
    let backend = Backend::start("a:");
    let lb = in_front_of(&[&backend], "[listener.web.timeouts]\nflow_idle = '400ms'\n");
    let client = Asker::of(lb.addr("web"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        client.ask("x");
        assert_eq!(client.hears_within(NOT_YET), None);
    }
    lb.counts("evenkeel_listener_flows_total{listener=web}", 1.0);
    flows(&lb, 0);
    ended(&lb, "idle", 1);
}

#[test]
fn a_flow_without_the_answer_that_is_due_is_a_failure() {
    let silent = Backend::at("127.0.0.1:0", "", 0);
    let rest = "[listener.web.udp]\nresponses = 1\n[listener.web.timeouts]\nflow_idle = '200ms'\n";
    let lb = in_front_of(&[&silent], rest);
    Asker::of(lb.addr("web")).send("x");
    ended(&lb, "unanswered", 1);
    lb.failed("response_timeout", 1);
    flows(&lb, 0);
}

// === too many ===

#[test]
fn at_the_limit_the_oldest_flow_makes_room_unless_its_client_has_gone_on() {
    let backend = Backend::start("a:");
    let lb = in_front_of(&[&backend], "[listener.web.limits]\nflows = 3\n");
    let clients: Vec<Asker> = (0..5).map(|_| Asker::of(lb.addr("web"))).collect();
    // Has heard an answer and goes on.
    clients[0].ask("x");
    clients[0].ask("x");
    clients[1].ask("x");
    clients[2].ask("x");
    flows(&lb, 3);
    clients[3].ask("x");
    clients[4].ask("x");
    ended(&lb, "displaced", 2);
    flows(&lb, 3);
    lb.counts("evenkeel_listener_flows_total{listener=web}", 5.0);
    // Those who made room are served again; who has gone on never had to.
    for client in &clients[1..3] {
        client.ask("y");
    }
    ended(&lb, "displaced", 4);
    clients[0].ask("y");
    lb.counts("evenkeel_listener_flows_total{listener=web}", 7.0);
}

#[test]
fn at_the_limit_with_none_to_make_room_the_newcomer_is_dropped() {
    let backend = Backend::start("a:");
    let lb = in_front_of(&[&backend], "[listener.web.limits]\nflows = 2\n");
    let clients: Vec<Asker> = (0..3).map(|_| Asker::of(lb.addr("web"))).collect();
    for client in &clients[..2] {
        client.ask("x");
        client.ask("x");
    }
    clients[2].send("x");
    assert_eq!(clients[2].hears_within(NOT_YET), None);
    dropped(&lb, "flows", 1);
    assert_eq!(clients[0].ask("y"), "a:y");
}

// === reload and shutdown ===

#[test]
fn a_reload_leaves_flows_where_they_are_and_moves_those_of_a_backend_that_is_gone() {
    let backends = [Backend::start("a:"), Backend::start("b:"), Backend::start("c:")];
    let lb = in_front_of(&[&backends[0], &backends[1]], "");
    let clients = [Asker::of(lb.addr("web")), Asker::of(lb.addr("web"))];
    let on_b = usize::from(clients[0].ask("x") != "b:x");
    let on_a = 1 - on_b;
    clients[1].ask("x");
    let next = config("127.0.0.1:0", &[backends[1].address, backends[2].address], "balance = 'first'\n");
    assert_eq!(lb.reload(&next).status, 200);
    for _ in 0..3 {
        assert_eq!(clients[on_b].ask("x"), "b:x");
        assert_ne!(clients[on_a].ask("x"), "a:x");
    }
    flows(&lb, 2);
    assert_eq!(backends[0].heard(), 1);
    // Another listener: the socket of the first one is closed, its flows end.
    let other = next.replace("listener.web", "listener.other");
    assert_eq!(lb.reload(&other).status, 200);
    eventually("the port is closed", DEADLINE, || {
        clients[0].send("x");
        clients[0].hears_within(NOT_YET).is_none()
    });
    lb.counts("evenkeel_pool_in_flight{pool=p}", 0.0);
}

#[test]
fn all_workers_serve_and_a_reload_under_load_loses_nothing() {
    let backend = Backend::start("a:");
    let text = format!("workers = 4\n{}", config("127.0.0.1:0", &[backend.address], ""));
    let lb = Balancer::start(&text);
    let clients: Vec<Asker> = (0..40).map(|_| Asker::of(lb.addr("web"))).collect();
    for round in 0..5 {
        for client in &clients {
            client.send("x");
        }
        assert_eq!(lb.reload(&format!("{text}queue = {}\n", 100 + round)).status, 200);
        for client in &clients {
            assert_eq!(client.hears(), "a:x");
        }
    }
    lb.counts("evenkeel_listener_flows_total{listener=web}", 40.0);
}

#[test]
fn flows_go_on_while_the_program_stops_and_nobody_new_is_served() {
    let backend = Backend::start("a:");
    let address = free_address();
    let rest = "[log]\naccess = 'text'\n[listener.web.timeouts]\nflow_idle = '1s'\n";
    let mut process = Process::start(&config(&address.to_string(), &[backend.address], rest));
    let client = Asker::of(address);
    assert_eq!(client.ask("x"), "a:x");
    process.signal("TERM");
    eventually("nobody new is served", DEADLINE, || {
        assert_eq!(client.ask("x"), "a:x");
        let newcomer = Asker::of(address);
        newcomer.send("x");
        newcomer.hears_within(NOT_YET * 3).is_none()
    });
    assert!(!process.has_ended());
    assert_eq!(client.ask("x"), "a:x");
    assert!(process.wait(DEADLINE).success());
    let log = process.stdout();
    let line = log.lines().find(|line| line.contains(" udp p/")).expect("a line of the flow");
    assert!(line.contains(" ok ") && line.contains("127.0.0.1 web"), "{line}");
}
