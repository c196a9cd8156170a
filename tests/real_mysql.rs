//! The `mysql` check against real `MariaDB`s: every way to log in that they have, roles and replication as they change,
//! ten thousand probes without a trace, and a Galera cluster whose writer is replaced within one interval.
//!
//! A server exempts 127.0.0.1 from blocking. So the probes that are counted come from 127.0.3.1.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::config::model::{
    Address, CheckKind, CheckTls, Comparison, Keep, MostConnections, MysqlCheck, MysqlFacts, Number, Query, ReadOnly,
    Replica, Verify, Wanted,
};
use evenkeel::health::Role;
use evenkeel::net::connect::connect_by;
use evenkeel::net::way::Way;
use evenkeel::probe::{Layer, Pace, Question, Report, attempt};
use support::probing::{LONG, bad, good};
use support::real::{Installed, RealMariaDb};
use support::real_galera::RealGalera;
use support::{Balancer, eventually};
use tokio::io::AsyncReadExt;

const PROBES: usize = 10_000;
const AT_ONCE: usize = 16;
const INTERVAL: Duration = Duration::from_millis(500);

fn login(user: &str, password: &str) -> MysqlCheck {
    MysqlCheck::login(user, password)
}

fn question(check: MysqlCheck, at: SocketAddr) -> Arc<Question> {
    let source: IpAddr = "127.0.3.1".parse().unwrap();
    Arc::new(Question::new(CheckKind::Mysql(check), Address::Socket(at), LONG).ask_from(source))
}

async fn ask(server: &RealMariaDb, check: &MysqlCheck) -> Report {
    attempt(question(check.clone(), server.address), server.address).await
}

fn everything() -> MysqlFacts {
    MysqlFacts {
        read_only: Some(ReadOnly::Standby),
        connections: Some(MostConnections::Percent(90)),
        query: Some(Query {
            sql: "SELECT 'no', 6 * 7 AS answer".into(),
            column: Some("ANSWER".into()),
            wanted: vec![Comparison::Equals(Wanted::Number(Number::parse("42").unwrap()))],
        }),
        ..MysqlFacts::default()
    }
}

#[track_caller]
fn role(report: &Report) -> Option<Role> {
    report.result.as_ref().unwrap_or_else(|failure| panic!("{failure}; {:?}", report.transcript)).says.role
}

struct Pem {
    folder: tempfile::TempDir,
    root: Vec<u8>,
}

/// A certificate for `name` with its key, in files.
fn pem(name: &str) -> Pem {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    Pem { folder, root: made.cert.der().to_vec() }
}

impl Pem {
    fn option(&self, option: &str, file: &str) -> String {
        format!("--{option}={}", self.folder.path().join(file).display())
    }

    fn tls(&self, name: &str) -> CheckTls {
        let verify = Verify::Roots(vec![self.root.as_slice().into()]);
        CheckTls { server_name: Some(name.into()), verify, ..CheckTls::default() }
    }
}

#[tokio::test]
async fn every_login_of_a_real_server_is_spoken_and_none_is_held_against_us() {
    let (mine, other) = (pem("db.example.com"), pem("db.example.com"));
    let options = [mine.option("ssl-cert", "cert.pem"), mine.option("ssl-key", "key.pem")];
    let options = ["--max-connect-errors=5", "--plugin-maturity=unknown", &options[0], &options[1]];
    let server = RealMariaDb::start_with("127.0.3.2", &options).await;
    server.query(
        "INSTALL SONAME 'auth_ed25519'; CREATE DATABASE app; \
         CREATE USER 'native'@'%' IDENTIFIED BY 'secret'; CREATE USER 'open'@'%'; \
         CREATE USER 'signed'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret'); \
         CREATE USER 'sealed'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret') REQUIRE SSL; \
         GRANT SELECT ON app.* TO 'signed'@'%'",
    );
    let plain = |user: &str, password: &str| MysqlCheck { facts: everything(), ..login(user, password) };
    let tls = |check: MysqlCheck, tls: CheckTls| MysqlCheck { tls: Some(tls), ..check };
    for (check, denied) in [
        (plain("native", "secret"), false),
        (plain("signed", "secret"), false),
        (plain("open", ""), false),
        (plain("native", "wrong"), true),
        (plain("signed", "wrong"), true),
        (plain("signed", ""), true),
        (plain("nobody", "secret"), true),
        (plain("sealed", "secret"), true),
        (tls(plain("sealed", "secret"), mine.tls("db.example.com")), false),
        (tls(plain("native", "secret"), mine.tls("db.example.com")), false),
        (tls(plain("signed", "wrong"), mine.tls("db.example.com")), true),
    ] {
        let report = ask(&server, &check).await;
        if denied {
            bad(&report, Layer::Answer, "error 1045: bad password");
        } else {
            good(&report, "takes writes; ");
            good(&report, " of 151 connections; the query says `42` in `ANSWER`, as wanted");
        }
        assert!(!format!("{report:?}").contains("secret"), "{report:?}");
    }
    let aborted = server.status("Aborted_connects");
    // One that is not trusted gets no password, and is not blocked by the server: it would be after five.
    for _ in 0..20 {
        let report = ask(&server, &tls(plain("open", ""), other.tls("db.example.com"))).await;
        bad(&report, Layer::Tls, "ca = \"file\"");
        bad(
            &ask(&server, &tls(plain("open", ""), mine.tls("x.example.com"))).await,
            Layer::Tls,
            "not for x.example.com",
        );
    }
    assert_eq!(server.status("Aborted_connects"), aborted);
    good(&ask(&server, &MysqlCheck { database: Some("app".into()), ..login("signed", "secret") }).await, "logged in");
    let nowhere = MysqlCheck { database: Some("nowhere".into()), ..login("signed", "secret") };
    bad(&ask(&server, &nowhere).await, Layer::Answer, "error 1044: the user has no right to the database");
    assert_eq!(server.status("Aborted_clients"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_probes_leave_no_trace_and_block_nobody() {
    let server = RealMariaDb::start_with("127.0.3.3", &["--max-connect-errors=5"]).await;
    server.query("CREATE USER 'evenkeel'@'%' IDENTIFIED BY 'secret'");
    // This proves that the addresses of the test count: one that leaves without a login is blocked after five.
    let rude: IpAddr = "127.0.3.9".parse().unwrap();
    for _ in 0..6 {
        let mut stream = connect_by(Some(&Way::from_source(rude)), &server.address.into(), LONG).await.unwrap();
        let _ = stream.read(&mut [0; 256]).await;
    }
    eventually("all of them are counted", LONG, || server.status("Aborted_connects") >= 6);
    let blocked = Question::new(CheckKind::Mysql(login("evenkeel", "secret")), Address::Socket(server.address), LONG);
    let report = attempt(Arc::new(blocked.ask_from(rude)), server.address).await;
    bad(&report, Layer::Answer, "FLUSH HOSTS");
    assert_eq!(report.result.unwrap_err().pace, Pace::Slow);

    let aborted = server.status("Aborted_connects");
    let kinds = [
        login("evenkeel", "secret"),
        MysqlCheck { facts: everything(), ..login("evenkeel", "secret") },
        MysqlCheck { keep: Keep::Connection, ..login("evenkeel", "secret") },
        MysqlCheck { keep: Keep::Connection, facts: everything(), ..login("evenkeel", "secret") },
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..AT_ONCE {
        let asked = question(kinds[number % kinds.len()].clone(), server.address);
        let at = server.address;
        tasks.spawn(async move {
            for _ in 0..PROBES / AT_ONCE {
                let report = attempt(Arc::clone(&asked), at).await;
                assert!(report.result.is_ok(), "{report:?}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    eventually("every connection has ended", LONG, || server.status("Threads_connected") == 1);
    assert_eq!((server.status("Aborted_connects"), server.status("Aborted_clients")), (aborted, 0));
    good(&ask(&server, &kinds[0]).await, "logged in");
}

#[tokio::test]
async fn a_replica_is_followed_into_its_lag_and_out_of_it() {
    let installed = Installed::new();
    let start = |ip, id: u32| {
        let options = vec![format!("--server-id={id}"), "--log-bin=log".to_owned(), "--skip-name-resolve".to_owned()];
        RealMariaDb::prepared(&installed, ip, options, None)
    };
    let (mut primary, mut second) = (start("127.0.3.4", 1), start("127.0.3.5", 2));
    primary.launch().await;
    second.launch().await;
    second.query("RESET MASTER");
    primary.query(
        "RESET MASTER; CREATE DATABASE app; CREATE TABLE app.t (id INT AUTO_INCREMENT PRIMARY KEY); \
         CREATE USER 'copy'@'%' IDENTIFIED BY 'copy'; GRANT REPLICATION SLAVE ON *.* TO 'copy'@'%'; \
         CREATE USER 'evenkeel'@'%' IDENTIFIED BY 'secret'",
    );
    let facts = MysqlFacts {
        read_only: Some(ReadOnly::Standby),
        replica: Some(Replica { lag_max: Some(Duration::from_secs(2)) }),
        ..MysqlFacts::default()
    };
    let check = MysqlCheck { facts, ..login("evenkeel", "secret") };
    let begin = |delay: u32| {
        let (host, port) = (primary.address.ip(), primary.address.port());
        second.query(&format!(
            "STOP SLAVE; CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='copy', \
             MASTER_PASSWORD='copy', MASTER_DELAY={delay}, MASTER_CONNECT_RETRY=1; START SLAVE; SET GLOBAL read_only=1"
        ));
    };
    assert_eq!(role(&ask(&primary, &check).await), Some(Role::Active), "the one that takes writes need not replicate");
    begin(0);
    // Its accounts come from the primary.
    until(&second, &check, "it lacks the right to look", |report| {
        report.result.as_ref().is_err_and(|failure| failure.what.contains("error 1227: its user lacks a right"))
    })
    .await;
    primary.query("GRANT SLAVE MONITOR ON *.* TO 'evenkeel'@'%'");
    let keeps_up =
        |report: &Report| report.result.as_ref().is_ok_and(|found| found.what.contains("replica, 0 s behind"));
    until(&second, &check, "it keeps up", keeps_up).await;
    assert_eq!(role(&ask(&second, &check).await), Some(Role::Standby));

    begin(3_600);
    primary.query("INSERT INTO app.t VALUES ()");
    until(&second, &check, "it lags", |report| {
        report.result.as_ref().is_err_and(|failure| failure.what.contains("s behind, wanted at most 2s"))
    })
    .await;
    begin(0);
    until(&second, &check, "it has caught up", keeps_up).await;

    second.query("STOP SLAVE IO_THREAD");
    bad(&ask(&second, &check).await, Layer::Answer, "replica: it receives nothing (Slave_IO_Running = No)");
    second.query("STOP SLAVE; RESET SLAVE ALL");
    bad(&ask(&second, &check).await, Layer::Answer, "replicates from nobody");
    second.query("SET GLOBAL read_only=0");
    assert_eq!(role(&ask(&second, &check).await), Some(Role::Active), "promoted");
}

/// Asks until the report is like this.
async fn until(server: &RealMariaDb, check: &MysqlCheck, what: &str, holds: impl Fn(&Report) -> bool) {
    let deadline = Instant::now() + LONG;
    loop {
        let report = ask(server, check).await;
        if holds(&report) {
            return;
        }
        assert!(Instant::now() < deadline, "not in time: {what}; {:?}", report.result);
        tokio::task::yield_now().await;
    }
}

/// Which node answers through a listener.
fn node_behind(listener: SocketAddr) -> String {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--user=app", "--password=app", "--batch", "--skip-column-names", "--protocol=TCP"])
        .arg(format!("--host={}", listener.ip()))
        .arg(format!("--port={}", listener.port()))
        .arg("--execute=SELECT @@wsrep_node_name")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_galera_node_that_donates_or_takes_no_writes_leaves_the_writers_within_one_interval() {
    let ips = ["127.0.3.6", "127.0.3.7", "127.0.3.8"];
    let cluster = tokio::runtime::Runtime::new().unwrap().block_on(RealGalera::start(ips));
    let nodes = &cluster.nodes;
    nodes[0].query("CREATE USER 'evenkeel'@'%' IDENTIFIED BY 'secret'; CREATE USER 'app'@'%' IDENTIFIED BY 'app'");
    let backends: Vec<String> = nodes
        .iter()
        .map(|node| format!("{{ name = '{}', address = '{}' }}", node.address.ip(), node.address))
        .collect();
    let backends = backends.join(", ");
    let timing = format!("interval = '{INTERVAL:?}', timeout = '{INTERVAL:?}', rise = 1, fall = 1, keep = true");
    let check = format!("type = 'mysql', user = 'evenkeel', password = 'secret', {timing}");
    let listeners = "[listener.write]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'write'\n\
                     [listener.read]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'read'\n";
    let balancer = Balancer::start(&format!(
        "{listeners}\
         [pool.write]\nmode = 'active-standby'\nfailback = 'never'\nbackends = [{backends}]\n\
         check.galera = {{ {check}, galera = 'synced', read_only = 'down' }}\n\
         [pool.read]\nbackends = [{backends}]\ncheck.galera = {{ {check}, galera = 'synced-or-donor' }}\n"
    ));
    let up = |pool: &str, ip: &str| {
        let is_up = balancer.metric(&format!("evenkeel_backend_up{{pool={pool},backend={ip}}}"));
        is_up > 0.5
    };
    for ip in ips {
        assert!(up("write", ip) && up("read", ip), "{ip}");
    }
    let writer = || {
        let name = node_behind(balancer.addr("write"));
        ips.iter().position(|ip| *ip == name).unwrap_or_else(|| panic!("`{name}` is no node"))
    };
    // One interval, and what a probe and a look at the metrics take on a busy machine.
    let limit = INTERVAL + Duration::from_millis(300);

    let first = writer();
    nodes[first].query("SET GLOBAL wsrep_desync=ON");
    eventually("the donor is no writer", limit, || !up("write", ips[first]));
    assert!(up("read", ips[first]), "a donor may still be read");

    let second = writer();
    assert_ne!(second, first);
    nodes[second].query("SET GLOBAL read_only=ON");
    eventually("one that takes no writes is no writer", limit, || !up("write", ips[second]));
    assert!(up("read", ips[second]));
    let third = writer();
    assert!(third != first && third != second);

    nodes[first].query("SET GLOBAL wsrep_desync=OFF");
    nodes[second].query("SET GLOBAL read_only=OFF");
    eventually("all may write again", LONG, || ips.iter().all(|ip| up("write", ip)));
    // Where nothing is asked any more, every connection that was kept ends with a goodbye.
    balancer
        .reload(&format!("{listeners}[pool.write]\nbackends = [{backends}]\n[pool.read]\nbackends = [{backends}]\n"));
    for node in nodes {
        eventually("the kept connections have ended", LONG, || node.status("Threads_connected") == 1);
        assert_eq!(node.status("Aborted_clients"), 0);
    }
}
