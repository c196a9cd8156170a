//! Probes of type `mysql` that are under way when the balancer stops or takes another configuration: a server counts
//! every login that breaks off against our address, and so none does.

mod support;

use std::time::{Duration, Instant};

use support::eventually::DEADLINE;
use support::mysql::{FakeMysql, Fault, Method, Script, Stage};
use support::{Process, eventually};

const STAGES: [Stage; 5] = [Stage::Greeting, Stage::Method, Stage::Verdict, Stage::Statement, Stage::Rows];

/// A probe that waits at this stage until the server goes on.
fn stalling(stage: Stage) -> FakeMysql {
    FakeMysql::start(Script::new().account("evenkeel", "secret", Method::Sha256).fault(stage, Fault::Stall))
}

/// One check of `server`, which gives up waiting after `timeout` and keeps its connection.
fn asking(server: &FakeMysql, timeout: &str) -> String {
    format!(
        "[listener.db]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n\
         [pool.p.check.db]\ntype = 'mysql'\nuser = 'evenkeel'\npassword = 'secret'\nread_only = 'standby'\n\
         keep = true\ninterval = '1m'\ntimeout = '{timeout}'\n",
        server.addr()
    )
}

/// The program with a probe in the middle of its login. With a `timeout` of less than a minute, nobody waits for it.
fn begun(server: &FakeMysql, timeout: &str) -> Process {
    let process = Process::spawn(&asking(server, timeout));
    eventually("the probe is under way", DEADLINE, || server.stalls() == 1);
    if timeout != "1m" {
        eventually("it is late", DEADLINE, || process.stderr().contains(&format!("within {timeout}")));
    }
    process
}

#[track_caller]
fn ends_with_a_goodbye(server: &FakeMysql, stage: Stage) {
    server.wait_for_quits(server.connections());
    let counts = (server.connections(), server.logins(), server.broken_handshakes(), server.aborted());
    assert_eq!(counts, (1, 1, 0, 0), "connections, logins, broken handshakes, aborted, at {stage:?}");
}

#[test]
fn a_login_that_is_under_way_at_sigterm_comes_to_its_end() {
    for timeout in ["1m", "50ms"] {
        for stage in STAGES {
            let server = stalling(stage);
            let mut process = begun(&server, timeout);
            process.signal("TERM");
            eventually("it stops", DEADLINE, || process.stderr().contains("stopping"));
            let told = Instant::now();
            eventually("it waits", DEADLINE, || {
                assert!(!process.has_ended(), "in the middle of a login, at {stage:?}");
                told.elapsed() > Duration::from_millis(200)
            });
            server.goes_on();
            assert!(process.wait(DEADLINE).success());
            ends_with_a_goodbye(&server, stage);
        }
    }
}

#[test]
fn a_server_that_stands_still_does_not_keep_the_program_alive() {
    let server = stalling(Stage::Verdict);
    let mut process = begun(&server, "1m");
    assert!(process.stop().success());
    assert!(process.stderr().contains("it is broken off"), "{}", process.stderr());
}

#[test]
fn a_login_whose_check_is_taken_out_comes_to_its_end() {
    for timeout in ["1m", "50ms"] {
        for stage in STAGES {
            let server = stalling(stage);
            let process = begun(&server, timeout);
            let without = asking(&server, timeout).replace("type = 'mysql'", "type = 'tcp'");
            let mysql = ["user", "password", "read_only", "keep"];
            let lines = without.lines().filter(|line| !mysql.iter().any(|key| line.starts_with(key)));
            let answer = process.reload(&lines.collect::<Vec<_>>().join("\n"));
            assert!(answer.status.success(), "{answer:?}");
            server.goes_on();
            ends_with_a_goodbye(&server, stage);
        }
    }
}
