//! TCP through the balancer: bytes both ways, ends and resets as they come, the next backend when one refuses.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::client::Ending;
use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin, eventually};

const NOT_YET: Duration = Duration::from_millis(60);

fn in_front_of(origins: &[&Origin], rest: &str) -> Balancer {
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.addr()).collect();
    Balancer::tcp(&addresses, rest)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// Whether the connection goes all the way through: it is accepted before a backend is known.
fn is_served(lb: &Balancer) -> bool {
    Client::try_connect(lb.addr("web")).is_ok_and(|mut client| client.echoes("x"))
}

#[test]
fn bytes_go_both_ways() {
    let echo = Origin::echo().start();
    let lb = in_front_of(&[&echo], "");
    let mut client = lb.client();
    for part in ["a", "bc", "def"] {
        assert!(client.echoes(part));
    }
    assert_eq!(echo.received_bytes(), 6);
}

#[test]
fn a_backend_may_speak_first() {
    let origin = Origin::tcp_banner("220 ready\r\n").start();
    let lb = in_front_of(&[&origin], "");
    let mut client = lb.client();
    assert_eq!(client.read_exact(11), b"220 ready\r\n");
    assert!(client.echoes("x"));
}

#[test]
fn a_client_that_ends_its_side_still_hears_the_backend() {
    let origin = Origin::tcp_answers_at_end("the answer").start();
    let lb = in_front_of(&[&origin], "");
    let mut client = lb.client();
    client.send("the question");
    assert_eq!(client.ending(NOT_YET), Ending::Open);
    client.end_sending();
    assert_eq!(client.try_read_to_end().unwrap(), b"the answer");
    assert_eq!(origin.received_bytes(), 12);
    lb.counts("evenkeel_pool_in_flight{pool=p}", 0.0);
}

#[test]
fn a_backend_that_ends_its_side_still_hears_the_client() {
    let origin = Origin::tcp_source(100_000).start();
    let lb = in_front_of(&[&origin], "");
    let mut client = lb.client();
    assert_eq!(client.try_read_to_end().unwrap().len(), 100_000);
    client.send("still heard");
    assert_eq!(origin.open_connections(), 1);
    client.end_sending();
    eventually("both sides have ended", DEADLINE, || origin.open_connections() == 0);
    lb.counts("evenkeel_pool_in_flight{pool=p}", 0.0);
}

#[test]
fn a_reset_of_the_backend_is_a_reset_for_the_client() {
    let origin = Origin::tcp_resets_after(4).start();
    let lb = in_front_of(&[&origin], "");
    let mut client = lb.client();
    client.send("four");
    assert_eq!(client.ending(DEADLINE), Ending::Reset);
    lb.failed("reset_in_body", 1);
}

#[test]
fn a_reset_of_the_client_is_a_reset_for_the_backend() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let lb = Balancer::tcp(&[address], "");
    let mut client = lb.client();
    client.send("x");
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut room = [0; 16];
    assert_eq!(std::io::Read::read(&mut stream, &mut room).unwrap(), 1);
    client.reset();
    let error = std::io::Read::read(&mut stream, &mut room).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn large_transfers_arrive_whole_both_ways_at_once() {
    let echo = Origin::echo().start();
    let lb = in_front_of(&[&echo], "");
    let mut client = lb.client();
    let data = pattern(8_000_000);
    let mut sender = client.stream().try_clone().unwrap();
    let sent = data.clone();
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &sent).unwrap();
        sender.shutdown(std::net::Shutdown::Write).unwrap();
    });
    assert!(client.try_read_to_end().unwrap() == data);
    sending.join().unwrap();
    lb.counts("evenkeel_pool_received_bytes_total{pool=p}", 8_000_000.0);
    lb.counts("evenkeel_pool_sent_bytes_total{pool=p}", 8_000_000.0);
    lb.counts("evenkeel_listener_received_bytes_total{listener=web}", 8_000_000.0);
}

#[test]
fn a_bulk_transfer_leaves_others_their_turn() {
    let (bulk, echo) = (Origin::tcp_source(200_000_000).start(), Origin::echo().start());
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n\
         [listener.bulk]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'b'\n[pool.b]\nbackends = ['{}']\n",
        echo.addr(),
        bulk.addr()
    ));
    let address = lb.addr("bulk");
    let reading = std::thread::spawn(move || Client::connect(address).try_read_to_end().unwrap().len());
    let mut client = lb.client();
    for _ in 0..200 {
        assert!(client.echoes("x"));
    }
    assert_eq!(reading.join().unwrap(), 200_000_000);
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    let (bad, good) = (Origin::echo().refuses().start(), Origin::echo().start());
    let lb = in_front_of(&[&bad, &good], "balance = 'first'\n");
    for _ in 0..5 {
        assert!(is_served(&lb));
    }
    assert!(lb.metric("evenkeel_pool_retries_total{pool=p}") >= 1.0);
}

#[test]
fn two_backends_that_refuse_are_passed_over() {
    let (one, two, good) = (Origin::echo().refuses().start(), Origin::echo().refuses().start(), Origin::echo().start());
    let lb = in_front_of(&[&one, &two, &good], "balance = 'first'\n");
    assert!(is_served(&lb));
}

#[test]
fn a_backend_that_goes_away_is_passed_over_by_what_comes_next() {
    let (one, two) = (Origin::echo().start(), Origin::echo().start());
    let lb = in_front_of(&[&one, &two], "[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\n");
    lb.wait_for_up(2);
    one.stop();
    for _ in 0..20 {
        assert!(is_served(&lb));
    }
}

#[test]
fn where_no_backend_serves_the_connection_ends() {
    let gone = Origin::echo().refuses().start();
    let lb = in_front_of(&[&gone], "");
    assert!(!is_served(&lb));
    let checked = in_front_of(&[&gone], "[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\n");
    checked.wait_for_up(0);
    assert!(!is_served(&checked));
    checked.failed("no_backend", 1);
}

#[test]
fn a_connection_is_held_until_a_backend_returns() {
    let echo = Origin::echo().start();
    let lb = in_front_of(
        &[&echo],
        "hold = '10s'\n[pool.p.check.port]\ntype = 'tcp'\ninterval = '100ms'\nrise = 1\nfall = 1\n",
    );
    echo.stop();
    lb.wait_for_up(0);
    let mut client = lb.client();
    client.send("early");
    lb.counts("evenkeel_pool_waiting{pool=p}", 1.0);
    echo.start_again();
    assert_eq!(client.read_exact(5), b"early");
}

#[test]
fn a_connection_on_which_nothing_moves_ends() {
    let echo = Origin::echo().start();
    let lb = in_front_of(&[&echo], "[listener.web.timeouts]\ntunnel_idle = '300ms'\n");
    let mut client = lb.client();
    for _ in 0..4 {
        assert!(client.echoes("x"));
        assert_eq!(client.ending(NOT_YET * 2), Ending::Open);
    }
    assert!(client.closed());
    lb.failed("tunnel_idle", 1);
    eventually("the backend's side is closed", DEADLINE, || echo.open_connections() == 0);
}

#[test]
fn bytes_are_counted_at_listener_pool_and_backend() {
    let origin = Origin::tcp_banner("hello").start();
    let lb = in_front_of(&[&origin], "");
    let mut client = lb.client();
    assert_eq!(client.read_exact(5), b"hello");
    assert!(client.echoes("abc"));
    client.end_sending();
    assert!(client.closed());
    let backend = format!("pool=p,backend={}", origin.addr());
    for (name, labels, value) in [
        ("evenkeel_listener_received_bytes_total", "listener=web", 3.0),
        ("evenkeel_listener_sent_bytes_total", "listener=web", 8.0),
        ("evenkeel_pool_received_bytes_total", "pool=p", 3.0),
        ("evenkeel_pool_sent_bytes_total", "pool=p", 8.0),
        ("evenkeel_backend_sent_bytes_total", &backend, 3.0),
        ("evenkeel_backend_received_bytes_total", &backend, 8.0),
        ("evenkeel_backend_picks_total", &backend, 1.0),
        ("evenkeel_listener_connections_total", "listener=web", 1.0),
        ("evenkeel_listener_open_connections", "listener=web", 0.0),
    ] {
        lb.counts(&format!("{name}{{{labels}}}"), value);
    }
}

#[test]
fn on_down_close_ends_connections_with_a_reset() {
    let echo = Origin::echo().start();
    let health = Origin::http().start();
    let lb = in_front_of(
        &[&echo],
        &format!(
            "on_down = 'close'\n[pool.p.check.web]\ntype = 'http'\nport = {}\ninterval = '50ms'\ntimeout = '50ms'\nrise = 1\nfall = 1\n",
            health.port()
        ),
    );
    lb.wait_for_up(1);
    let mut client = lb.client();
    assert!(client.echoes("x"));
    health.stop();
    assert_eq!(client.ending(DEADLINE), Ending::Reset);
    lb.failed("backend_down", 1);
}

#[test]
fn a_client_that_does_not_read_holds_back_its_backend_and_not_the_memory() {
    let origin = Origin::tcp_source(500_000_000).start();
    let lb = in_front_of(&[&origin], "[listener.web.timeouts]\ntunnel_idle = '300ms'\n");
    let mut client = lb.client();
    client.read_exact(10);
    // Nothing moves once every buffer is full, and so it ends.
    lb.failed("tunnel_idle", 1);
    assert!(lb.metric("evenkeel_pool_sent_bytes_total{pool=p}") < 50_000_000.0);
}
