//! Streams that go past the program's memory, through pipes: all of it arrives, a break stays a break, and a slow reader
//! is waited for.

mod support;

use std::fs;
use std::time::Duration;

use support::eventually::DEADLINE;
use support::process::free_address;
use support::{Client, Origin, Process, eventually};

const LONG: usize = 24_000_000;

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// The program with one worker, which listens at the address, in front of `origin`.
fn in_front_of(origin: &Origin, protocol: &str) -> (Process, std::net::SocketAddr) {
    let web = free_address();
    let lb = Process::start(&format!(
        "workers = 1\n[listener.web]\nbind = '{web}'\nprotocol = '{protocol}'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ));
    (lb, web)
}

/// Ends of pipes that the program has open.
fn pipes(lb: &Process) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", lb.pid())).expect("it runs");
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("pipe:")).count()
}

#[test]
fn an_answer_that_waits_for_a_slow_reader_waits_in_a_pipe_and_arrives_whole() {
    let body = pattern(LONG);
    let origin = Origin::http().reply(&body).start();
    let (lb, web) = in_front_of(&origin, "http");
    let before = pipes(&lb);
    let mut slow = Client::connect(web);
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("a pipe holds what the client does not take", DEADLINE, || pipes(&lb) == before + 2);
    let answer = slow.read_response();
    assert!(answer.body == body);
    assert!(slow.get("/").body == body, "the connection is good for the next request");
}

#[test]
fn an_answer_that_breaks_off_on_its_way_through_a_pipe_is_not_taken_for_whole() {
    let origin = Origin::http().reply(pattern(LONG)).truncates_body().start();
    let (_lb, web) = in_front_of(&origin, "http");
    let mut client = Client::connect(web);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = client.try_read_response("GET").expect_err("half of it came");
    assert!(!matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
}

#[test]
fn a_session_goes_through_pipes_while_it_is_a_stream_and_gives_them_back() {
    let source = Origin::tcp_source(LONG).start();
    let (lb, web) = in_front_of(&source, "tcp");
    let before = pipes(&lb);
    let mut sessions: Vec<Client> = (0..40).map(|_| Client::connect(web)).collect();
    eventually("each waits with a pipe of its own", DEADLINE, || pipes(&lb) == before + 2 * sessions.len());
    for session in &mut sessions {
        session.patience(Duration::from_mins(1));
        assert_eq!(session.try_read_to_end().unwrap().len(), LONG);
    }
    drop(sessions);
    eventually("few are kept for the next ones", DEADLINE, || pipes(&lb) <= before + 2 * 16);
}
