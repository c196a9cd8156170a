//! Checks of Redis against real ones: a master and a replica, passwords, users, and what they say when they cannot work.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use evenkeel::health::Role;
use evenkeel::probe::{Layer, Report};
use support::asking::{bad, good, probe};
use support::eventually::{DEADLINE, eventually_some};
use support::real_redis::RealRedis;

const ROLE: &str = "type = 'redis'\nrole = true\nmaster_link = 'up'";

/// Asks until the answer is as wanted: replication takes its time.
async fn eventually_asked(check: &str, at: SocketAddr, holds: impl Fn(&Report) -> bool) -> Report {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let report = probe(check, at).await;
        if holds(&report) {
            return report;
        }
        assert!(std::time::Instant::now() < deadline, "still: {report:?}");
    }
}

fn role(report: &Report) -> Option<Role> {
    report.result.as_ref().ok()?.says.role
}

#[tokio::test]
async fn master_and_replica_tell_their_roles_and_swap_them() {
    let mut master = RealRedis::start("127.0.2.1", &[]).await;
    let replica = master.replica("127.0.2.2").await;
    good(&probe("type = 'redis'", master.address).await, "PONG");
    let report = eventually_asked(ROLE, master.address, |report| report.result.is_ok()).await;
    assert_eq!(role(&report), Some(Role::Active));
    let report = eventually_asked(ROLE, replica.address, |report| report.result.is_ok()).await;
    assert_eq!(role(&report), Some(Role::Standby));
    good(&report, &format!("replica of {}, link connected", master.address));

    // Cut off from its master it is down, where that counts, and a standby where it does not.
    master.stop();
    let report = eventually_asked(ROLE, replica.address, |report| report.result.is_err()).await;
    bad(&report, Layer::Answer, "its link to its master");
    let report = probe("type = 'redis'\nrole = true", replica.address).await;
    assert_eq!(role(&report), Some(Role::Standby));
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(role(&probe(ROLE, replica.address).await), Some(Role::Active));
}

#[tokio::test]
async fn a_replica_that_gives_no_stale_data_says_so() {
    let nowhere = support::probing::closed_port().await;
    let options = ["--replicaof", "127.0.0.1", &nowhere.port().to_string(), "--replica-serve-stale-data", "no"];
    let replica = RealRedis::start("127.0.2.3", &options).await;
    bad(&probe("type = 'redis'", replica.address).await, Layer::Answer, "cut off from its master");
}

#[tokio::test]
async fn passwords_and_users_are_used_and_needed_where_they_are() {
    let server = RealRedis::start("127.0.2.4", &["--requirepass", "opensesame"]).await;
    let rows = [
        ("type = 'redis'", Ok("alive (it asks for a password)")),
        ("type = 'redis'\nrole = true", Err("give the check one")),
        ("type = 'redis'\npassword = 'opensesame'", Ok("PONG")),
        ("type = 'redis'\npassword = 'opensesame'\nrole = true", Ok("master")),
        ("type = 'redis'\npassword = 'wrong-word'", Err("user or password is wrong")),
    ];
    for (check, expected) in rows {
        let report = probe(check, server.address).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => bad(&report, Layer::Answer, words),
        }
        assert!(!format!("{report:?}").contains("opensesame"), "{report:?}");
    }
    let own = ["--no-auth-warning", "-a", "opensesame"];
    server.ask(&[&own[..], &["ACL", "SETUSER", "probe", "on", ">letmein8", "+ping", "+role"]].concat());
    server.ask(&[&own[..], &["ACL", "SETUSER", "blind", "on", ">letmein8", "+ping"]].concat());
    let role = "type = 'redis'\nrole = true\npassword = 'letmein8'\nuser = ";
    good(&probe(&format!("{role}'probe'"), server.address).await, "master");
    bad(&probe(&format!("{role}'blind'"), server.address).await, Layer::Answer, "allow it +ping and +role");
    let open = RealRedis::start("127.0.2.5", &[]).await;
    good(&probe("type = 'redis'\npassword = 'unneeded'", open.address).await, "PONG");
}

/// A client that was let in.
fn hold(address: SocketAddr) -> TcpStream {
    eventually_some("there is a place", DEADLINE, || {
        let mut client = TcpStream::connect(address).ok()?;
        client.write_all(b"PING\r\n").ok()?;
        let mut answer = [0; 7];
        client.read_exact(&mut answer).ok()?;
        (answer == *b"+PONG\r\n").then_some(client)
    })
}

#[tokio::test]
async fn a_full_a_blocked_and_a_protected_server_are_told_apart() {
    let full = RealRedis::start("127.0.2.6", &["--maxclients", "1"]).await;
    let holder = hold(full.address);
    let report = eventually_asked("type = 'redis'", full.address, |report| report.result.is_err()).await;
    bad(&report, Layer::Answer, "too many clients");
    drop(holder);
    eventually_asked("type = 'redis'", full.address, |report| report.result.is_ok()).await;

    let busy = RealRedis::start("127.0.2.7", &["--busy-reply-threshold", "50"]).await;
    let address = busy.address;
    let script = std::thread::spawn(move || {
        std::process::Command::new("redis-cli")
            .args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()])
            .args(["EVAL", "while true do end", "0"])
            .output()
    });
    let report = eventually_asked("type = 'redis'", busy.address, |report| report.result.is_err()).await;
    bad(&report, Layer::Answer, "SCRIPT KILL");
    busy.ask(&["SCRIPT", "KILL"]);
    script.join().unwrap().unwrap();
    good(&probe("type = 'redis'", busy.address).await, "PONG");
}

#[tokio::test]
async fn a_script_finds_the_master_as_haproxy_does() {
    let master = RealRedis::start("127.0.2.8", &["--requirepass", "opensesame"]).await;
    let check = r#"
type = "script"
steps = [
  { send = "AUTH opensesame\r\n" }, { expect = "+OK" },
  { send = "PING\r\n" }, { expect = "+PONG" },
  { send = "info replication\r\n" }, { expect = "role:master" },
  { send = "QUIT\r\n" }, { expect = "+OK" },
]"#;
    good(&probe(check, master.address).await, "all 8 steps are done");
}
