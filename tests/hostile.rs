//! Many hostile clients at once: whatever they hold open has its end, memory stays flat, others are served, and the admin
//! port answers.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use support::client;
use support::eventually::DEADLINE;
use support::h2::{DATA, Raw};
use support::process::{Process, free_address};
use support::tls::Authority;
use support::{Origin, eventually};

/// Hostile clients at once.
const MANY: usize = 300;
/// How long an attack goes on before it is looked at.
const ATTACK: Duration = Duration::from_millis(600);
/// What each hostile connection may cost, and what all of them may besides; the program is not optimized and keeps what it
/// has once needed. A body is kept for another attempt as long as it is small (`retry.body`), in a buffer that doubles.
const EACH: u64 = 128 << 10;
const ALL: u64 = 8 << 20;
/// What a connection of HTTP/2 that carries nothing may cost: the library's buffers (16 KiB to write, 8 KiB to read, 4 KiB
/// for fields), which are of fixed size, and room for the rest in a program that is not optimized.
const EACH_IDLE: u64 = 64 << 10;
/// An answer that an innocent client waits longer for is late, on a machine under load.
const SOON: Duration = Duration::from_secs(10);

/// The program in front of an origin that says `fine`, and of one whose answers have no end at `/endless`.
struct Scene {
    process: Process,
    web: SocketAddr,
    _origins: [Origin; 2],
}

impl Scene {
    fn new(rest: &str) -> Self {
        let (web, origins) =
            (free_address(), [Origin::http().reply("fine").start(), Origin::http().endless_body().start()]);
        let process = Process::start(&format!(
            "workers = 2\n[listener.web]\nbind = \"{web}\"\npool = \"p\"\n\
             [[listener.web.route]]\npath = \"/endless\"\npool = \"endless\"\n\
             [pool.p]\nbackends = [\"{}\"]\n[pool.endless]\nbackends = [\"{}\"]\n{rest}",
            origins[0].addr(),
            origins[1].addr(),
        ));
        Self { process, web, _origins: origins }
    }

    fn open(&self) -> Vec<TcpStream> {
        (0..MANY).map(|_| TcpStream::connect(self.web).unwrap()).collect()
    }

    /// Memory in use, bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the process lives");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Others are served and the admin port answers; twice, so that what is checked has been warm before.
    fn is_well(&self) {
        let begun = Instant::now();
        for _ in 0..3 {
            assert_eq!(client::get(self.web, "/").text(), "fine");
        }
        assert_eq!(client::get(self.process.admin(), "/readyz").status, 200);
        assert!(self.process.metrics().contains("evenkeel_ready 1"));
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    }

    /// Has `strike` called again and again with every connection, and looks meanwhile.
    fn under(&self, attackers: &mut [TcpStream], mut strike: impl FnMut(&mut TcpStream)) {
        self.is_well();
        let before = self.memory();
        let begun = Instant::now();
        while begun.elapsed() < ATTACK {
            attackers.iter_mut().for_each(&mut strike);
            self.is_well();
        }
        let grown = self.memory().saturating_sub(before);
        let most = attackers.len() as u64 * EACH + ALL;
        assert!(grown < most, "{} KiB more for {} clients", grown >> 10, attackers.len());
    }

    /// All hostile connections have ended, and others are served.
    fn recovers(&self) {
        eventually("the hostile connections have ended", DEADLINE, || {
            self.process.metric("evenkeel_listener_open_connections{listener=\"web\"}") == Some(0.0)
        });
        self.is_well();
        assert!(!self.process.stderr().contains("panicked"));
    }

    fn rejected(&self, reason: &str) -> f64 {
        let name = format!("evenkeel_listener_rejected_total{{listener=\"web\",reason=\"{reason}\"}}");
        self.process.metric(&name).unwrap_or(0.0)
    }
}

/// Sends as much as fits; what becomes of it no longer matters.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    let _ = stream.write(bytes);
}

#[test]
fn heads_that_drip_cost_little_and_end_at_their_deadline() {
    let scene = Scene::new("[listener.web.timeouts]\nhead = \"1500ms\"\n");
    let mut attackers = scene.open();
    for stream in &mut attackers {
        send(stream, b"GET / HTTP/1.1\r\nHost: a\r\n");
    }
    scene.under(&mut attackers, |stream| send(stream, b"X-a: b\r\n"));
    scene.recovers();
    assert!(scene.rejected("head_timeout") >= MANY as f64);
}

#[test]
fn bodies_that_drip_cost_little_and_end_when_they_stop() {
    let scene = Scene::new("[listener.web.timeouts]\nbody_idle = \"500ms\"\n");
    let mut attackers = scene.open();
    for stream in &mut attackers {
        send(stream, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    }
    scene.under(&mut attackers, |stream| send(stream, b"x"));
    scene.recovers();
}

#[test]
fn chunks_of_one_byte_cost_little() {
    let scene = Scene::new("[listener.web.timeouts]\nbody_idle = \"500ms\"\n");
    let mut attackers = scene.open();
    for stream in &mut attackers {
        send(stream, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    }
    let chunks = b"1;a=b\r\nx\r\n".repeat(100);
    scene.under(&mut attackers, |stream| send(stream, &chunks));
    scene.recovers();
}

#[test]
fn clients_that_do_not_read_cost_what_one_buffer_does_and_are_cut() {
    let scene = Scene::new("[listener.web.timeouts]\nbody_idle = \"800ms\"\n");
    // Fewer: what fills the system's buffers of each comes from this very process.
    let mut attackers: Vec<TcpStream> = scene.open().drain(..30).collect();
    for stream in &mut attackers {
        send(stream, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    scene.under(&mut attackers, |_| {});
    scene.recovers();
}

#[test]
fn requests_sent_ahead_without_reading_are_not_kept() {
    let scene = Scene::new("[listener.web.timeouts]\nbody_idle = \"800ms\"\nclient_idle = \"800ms\"\n");
    let mut attackers = scene.open();
    let requests = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(500);
    scene.under(&mut attackers, |stream| send(stream, &requests));
    drop(attackers);
    scene.recovers();
}

#[test]
fn silent_clients_end_and_those_beyond_the_limit_wait_their_turn() {
    let scene =
        Scene::new("[listener.web.limits]\nconnections = 100\n[listener.web.timeouts]\nclient_idle = \"500ms\"\n");
    scene.is_well();
    let before = scene.memory();
    let silent = scene.open();
    let full = "evenkeel_listener_open_connections{listener=\"web\"}";
    eventually("the limit is reached", DEADLINE, || scene.process.metric(full) >= Some(100.0));
    // Whoever looks after the program gets through; whoever comes late waits in the system's queue, and is served.
    assert_eq!(client::get(scene.process.admin(), "/readyz").status, 200);
    assert_eq!(client::get(scene.web, "/").text(), "fine");
    assert!(scene.process.metric(full) <= Some(102.0), "each worker may be one too late to see the limit");
    assert!(scene.process.stderr().contains("the limit of connections is reached"));
    assert!(scene.memory().saturating_sub(before) < 100 * EACH + ALL);
    scene.recovers();
    drop(silent);
}

#[test]
fn handshakes_that_do_not_go_on_end_at_their_deadline() {
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["a.example"]);
    let secure = free_address();
    let scene = Scene::new(&format!(
        "[listener.secure]\nbind = \"{secure}\"\npool = \"p\"\ntls = {{ certificates = [{certificate}] }}\n\
         timeouts = {{ head = \"1500ms\" }}\n"
    ));
    let mut attackers: Vec<TcpStream> = (0..MANY).map(|_| TcpStream::connect(secure).unwrap()).collect();
    // The beginning of a client's hello of 512 bytes, which does not go on.
    for stream in &mut attackers {
        send(stream, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    }
    scene.under(&mut attackers, |stream| send(stream, b"\x00"));
    eventually("each handshake has ended", DEADLINE, || {
        let late = "evenkeel_listener_tls_handshakes_total{listener=\"secure\",result=\"late\"}";
        scene.process.metric(late) == Some(MANY as f64)
    });
    for stream in &mut attackers {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The end, or a reset: not a wait.
        let _ = stream
            .read(&mut [0; 64])
            .inspect_err(|error| assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset));
    }
    scene.recovers();
}

#[test]
fn datagrams_from_everywhere_leave_those_alone_who_talk() {
    let (names, origin) = (free_address(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let scene = Scene::new(&format!(
        "[listener.names]\nbind = \"{names}\"\nprotocol = \"udp\"\npool = \"names\"\nlimits = {{ flows = 50 }}\n\
         [pool.names]\nbackends = [\"{}\"]\n",
        origin.local_addr().unwrap()
    ));
    origin.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut room = [0; 100];
    let mut answer = || {
        let (length, from) = origin.recv_from(&mut room).unwrap();
        origin.send_to(&room[..length], from).unwrap();
    };
    let friend = UdpSocket::bind("127.0.0.1:0").unwrap();
    friend.connect(names).unwrap();
    friend.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut heard = [0; 100];
    for _ in 0..2 {
        friend.send(b"friend").unwrap();
        answer();
        friend.recv(&mut heard).unwrap();
    }
    scene.is_well();
    let before = scene.memory();
    for host in 0..2000_u32 {
        let own = std::net::Ipv4Addr::from(0x7f0a_0000 + host);
        let socket = UdpSocket::bind((own, 0)).unwrap();
        socket.send_to(b"x", names).unwrap();
        answer();
    }
    friend.send(b"friend").unwrap();
    answer();
    assert_eq!(friend.recv(&mut heard).unwrap(), 6);
    assert!(scene.memory().saturating_sub(before) < ALL);
    let metric = |name: &str| scene.process.metric(name).unwrap();
    assert!(metric("evenkeel_listener_open_flows{listener=\"names\"}") <= 52.0);
    assert!(metric("evenkeel_listener_flows_ended_total{listener=\"names\",how=\"displaced\"}") > 1900.0);
    scene.is_well();
}

#[test]
fn connections_of_http2_that_idle_cost_little() {
    let two = free_address();
    let listener = format!("[listener.two]\nbind = \"{two}\"\nhttp = [\"1.1\", \"2\"]\npool = \"p\"\n");
    let scene = Scene::new(&listener);
    let idle = || {
        let mut client = Raw::connect(two);
        client.get(1, "/");
        client.until(DATA);
        client
    };
    let _first = idle();
    scene.is_well();
    let before = scene.memory();
    let clients: Vec<Raw> = (0..MANY).map(|_| idle()).collect();
    let each = scene.memory().saturating_sub(before) / clients.len() as u64;
    assert!(each < EACH_IDLE, "{} KiB each", each >> 10);
    scene.is_well();
}
