//! The `mysql` check against servers that are well, ill and hostile: every method of login, every fact, every way to
//! fail. Whatever happens, no handshake breaks off by our doing, and no connection ends without a goodbye.
#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel::config::model::{
    Address, Check, CheckKind, CheckTls, Comparison, Galera, Group, Keep, MostConnections, MysqlCheck, MysqlFacts,
    Number, Query, ReadOnly, Replica, Verify, Wanted,
};
use evenkeel::config::{self, Source};
use evenkeel::health::Role;
use evenkeel::probe::{Layer, Pace, Question, Report, attempt};
use support::eventually::DEADLINE;
use support::mysql::{FakeMysql, Fault, Method, Script, Stage, rsa};
use support::probing::{LONG, bad, closed_port, good, probe, probe_within, question, server, tells};
use support::{Balancer, eventually};
use tokio::io::AsyncWriteExt;

const PASSWORD: &str = "correct horse";
const SHORT: Duration = Duration::from_millis(150);

fn login(user: &str, password: &str) -> MysqlCheck {
    MysqlCheck::login(user, password)
}

fn asking(facts: MysqlFacts) -> MysqlCheck {
    MysqlCheck { facts, ..login("evenkeel", "") }
}

fn querying(sql: &str, wanted: Option<Comparison>) -> MysqlCheck {
    let query = Query { sql: sql.into(), column: None, wanted: wanted.into_iter().collect() };
    asking(MysqlFacts { query: Some(query), ..MysqlFacts::default() })
}

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

async fn ask(server: &FakeMysql, check: &MysqlCheck) -> Report {
    probe(CheckKind::Mysql(check.clone()), server.addr()).await
}

#[track_caller]
fn has_role(report: &Report, role: Option<Role>) {
    assert_eq!(report.result.as_ref().unwrap().says.role, role);
}

/// Waits until every connection has ended, and nothing was held against us.
#[track_caller]
fn left_no_trace(server: &FakeMysql) {
    server.wait_for_quits(server.logins());
    assert_eq!((server.broken_handshakes(), server.aborted()), (0, 0), "broken handshakes and aborted connections");
}

// === login ===

#[tokio::test]
async fn every_method_of_login_is_spoken_and_ends_with_a_goodbye() {
    for (version, method) in [
        ("8.0.36", Method::Native),
        ("8.0.36", Method::CachingSha2),
        ("8.0.36", Method::Sha256),
        ("10.11.19-MariaDB", Method::Native),
        ("10.11.19-MariaDB", Method::CachingSha2),
        ("10.11.19-MariaDB", Method::Ed25519),
    ] {
        let server = FakeMysql::start(Script::new().version(version).account("evenkeel", PASSWORD, method));
        // The second time by the cache of caching_sha2_password.
        for _ in 0..2 {
            let report = ask(&server, &login("evenkeel", PASSWORD)).await;
            good(&report, &format!("logged in to {version}"));
            assert!(!format!("{:?}", report.transcript).contains(PASSWORD));
        }
        assert_eq!(server.logins(), 2, "{method:?}");
        for (user, password) in [("evenkeel", "wrong"), ("evenkeel", ""), ("nobody", "")] {
            good(&ask(&server, &login(user, password)).await, "alive (error 1045");
        }
        assert_eq!(server.logins(), 2, "{method:?}");
        left_no_trace(&server);
    }
}

#[tokio::test]
async fn an_account_without_a_password_needs_none() {
    for method in [Method::Native, Method::CachingSha2] {
        let server = FakeMysql::start(Script::new().account("evenkeel", "", method));
        good(&ask(&server, &login("evenkeel", "")).await, "logged in");
        left_no_trace(&server);
    }
}

#[tokio::test]
async fn a_key_that_is_configured_is_the_only_one_that_gets_the_password() {
    let server = FakeMysql::start(Script::new().account("evenkeel", PASSWORD, Method::CachingSha2));
    let pinned = |pem: &str| {
        let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
        MysqlCheck { public_key: Some(key.into()), ..login("evenkeel", PASSWORD) }
    };
    let report = ask(&server, &pinned(&rsa().1)).await;
    good(&report, "logged in");
    assert!(!report.transcript.lines(9_000).join("\n").contains("PUBLIC KEY"), "it was not asked for");
    left_no_trace(&server);
    let server = FakeMysql::start(Script::new().account("evenkeel", PASSWORD, Method::CachingSha2));
    let other = aws_lc_rs::rsa::PrivateDecryptingKey::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let other = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(&other.public_key());
    let other = MysqlCheck { public_key: Some(other.unwrap().as_ref().into()), ..login("evenkeel", PASSWORD) };
    good(&ask(&server, &other).await, "alive (error 1045");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_method_that_is_not_spoken_is_named_with_the_remedy() {
    for (method, words) in [(Method::Unknown, "dialog is not supported"), (Method::Clear, "needs TLS")] {
        let server = FakeMysql::start(Script::new().account("evenkeel", PASSWORD, method));
        good(&ask(&server, &login("evenkeel", PASSWORD)).await, words);
        let strict = MysqlCheck { database: Some("app".into()), ..login("evenkeel", PASSWORD) };
        bad(&ask(&server, &strict).await, Layer::Answer, words);
        left_no_trace(&server);
    }
}

#[tokio::test]
async fn where_something_is_asked_a_refusal_is_no_sign_of_life() {
    let server = FakeMysql::start(Script::new().account("evenkeel", PASSWORD, Method::Native));
    for (user, password) in [("evenkeel", "wrong"), ("nobody", "")] {
        let check = MysqlCheck { ..login(user, password) };
        good(&ask(&server, &check).await, "alive");
        let check = MysqlCheck { database: Some("app".into()), ..check };
        bad(&ask(&server, &check).await, Layer::Answer, "error 1045: bad password, no such user");
        let facts = MysqlFacts { read_only: Some(ReadOnly::Down), ..MysqlFacts::default() };
        let check = MysqlCheck { database: None, facts, ..check };
        bad(&ask(&server, &check).await, Layer::Answer, "error 1045: bad password, no such user");
    }
    let check = MysqlCheck { database: Some("app".into()), ..login("evenkeel", PASSWORD) };
    good(&ask(&server, &check).await, "logged in");
    let check = MysqlCheck { database: Some("other".into()), ..check };
    bad(&ask(&server, &check).await, Layer::Answer, "error 1049: there is no such database");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_refusal_names_the_remedy_and_slows_down_where_asking_does_harm() {
    for (code, words, pace) in [
        (1129, "FLUSH HOSTS", Pace::Slow),
        (1040, "max_connections", Pace::Slow),
        (1203, "max_user_connections", Pace::Slow),
        (1130, "create one", Pace::Usual),
        (1047, "WSREP", Pace::Usual),
        (1053, "shutting down", Pace::Usual),
        (2222, "2222: its own words", Pace::Usual),
    ] {
        for script in [Script::new().refuses(code), Script::new().refuses_login(code)] {
            let server = FakeMysql::start(script);
            let report = ask(&server, &login("evenkeel", "")).await;
            bad(&report, Layer::Answer, words);
            bad(&report, Layer::Answer, "its own words");
            assert_eq!(report.result.unwrap_err().pace, pace, "{code}");
            left_no_trace(&server);
        }
    }
}

// === TLS ===

struct Certificate {
    der: Vec<u8>,
    key: Vec<u8>,
}

fn certificate(name: &str) -> Certificate {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    Certificate { der: made.cert.der().to_vec(), key: made.signing_key.serialize_der() }
}

fn secure(certificate: &Certificate, name: &str, check: MysqlCheck) -> MysqlCheck {
    let verify = Verify::Roots(vec![certificate.der.as_slice().into()]);
    MysqlCheck { tls: Some(CheckTls { server_name: Some(name.into()), verify, ..CheckTls::default() }), ..check }
}

#[tokio::test]
async fn within_tls_every_method_is_spoken_and_the_password_stays_out_of_the_transcript() {
    let mine = certificate("db.example.com");
    for method in [Method::Native, Method::CachingSha2, Method::Sha256, Method::Clear, Method::Ed25519] {
        let script = Script::new().tls(&mine.der, &mine.key).account("evenkeel", PASSWORD, method);
        let server = FakeMysql::start(script);
        let report = ask(&server, &secure(&mine, "db.example.com", login("evenkeel", PASSWORD))).await;
        good(&report, "logged in");
        tells(&report, &["greeted by 8.0.36", "certificate 1", "TLS 1.3", "logging in as evenkeel", "logged in"]);
        let all = format!("{:?}", report.transcript);
        assert!(!all.contains(PASSWORD) && !all.contains("correct"), "{method:?}: {all}");
        let sent: Vec<u8> = report.transcript.steps.iter().flat_map(|step| bytes_of(&step.event)).collect();
        assert!(!sent.windows(7).any(|part| part == b"correct"), "{method:?}");
        assert!(report.transcript.certificate_expires.is_some());
        left_no_trace(&server);
    }
}

fn bytes_of(event: &evenkeel::probe::transcript::Event) -> Vec<u8> {
    use evenkeel::probe::transcript::Event::{Received, Sent};
    match event {
        Sent(bytes) | Received(bytes) => bytes.clone(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_gets_no_password_and_breaks_no_handshake() {
    let (mine, other) = (certificate("db.example.com"), certificate("db.example.com"));
    for method in [Method::Native, Method::Sha256, Method::Clear] {
        let script = Script::new().tls(&mine.der, &mine.key).account("evenkeel", PASSWORD, method);
        let server = FakeMysql::start(script);
        for (check, words) in [
            (secure(&mine, "other.example.com", login("evenkeel", PASSWORD)), "not for other.example.com"),
            (secure(&other, "db.example.com", login("evenkeel", PASSWORD)), "ca = \"file\""),
        ] {
            let report = ask(&server, &check).await;
            bad(&report, Layer::Tls, words);
            tells(&report, &["goes on without the password"]);
        }
        assert_eq!(server.logins(), 0);
        left_no_trace(&server);
    }
    // An account without a password is let in, and says goodbye.
    let server = FakeMysql::start(Script::new().tls(&mine.der, &mine.key));
    bad(&ask(&server, &secure(&other, "db.example.com", login("evenkeel", ""))).await, Layer::Tls, "ca = \"file\"");
    assert_eq!(server.logins(), 1);
    left_no_trace(&server);
}

#[tokio::test]
async fn a_server_without_tls_gets_no_password_where_tls_is_wanted() {
    let mine = certificate("db.example.com");
    let server = FakeMysql::start(Script::new().account("evenkeel", PASSWORD, Method::Sha256));
    let report = ask(&server, &secure(&mine, "db.example.com", login("evenkeel", PASSWORD))).await;
    bad(&report, Layer::Tls, "offers no TLS");
    assert_eq!(server.logins(), 0);
    left_no_trace(&server);
}

#[tokio::test]
async fn a_handshake_of_tls_that_fails_is_asked_less_often() {
    let mine = certificate("db.example.com");
    let server = FakeMysql::start(Script::new().tls(&mine.der, &mine.key).fault(Stage::Tls, Fault::Close));
    let report = ask(&server, &secure(&mine, "db.example.com", login("evenkeel", PASSWORD))).await;
    bad(&report, Layer::Tls, "within the TLS handshake");
    assert_eq!(report.result.unwrap_err().pace, Pace::Slow);
}

// === facts ===

#[tokio::test]
async fn read_only_gives_the_role() {
    let facts = |rule| asking(MysqlFacts { read_only: Some(rule), ..MysqlFacts::default() });
    let server = FakeMysql::start(Script::new());
    for rule in [ReadOnly::Standby, ReadOnly::Read, ReadOnly::Down] {
        let report = ask(&server, &facts(rule)).await;
        good(&report, "logged in to 8.0.36; takes writes");
        has_role(&report, Some(Role::Active));
    }
    server.becomes(Script::new().read_only());
    has_role(&ask(&server, &facts(ReadOnly::Standby)).await, Some(Role::Standby));
    has_role(&ask(&server, &facts(ReadOnly::Read)).await, Some(Role::Read));
    bad(&ask(&server, &facts(ReadOnly::Down)).await, Layer::Answer, "it is read-only");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_replica_is_judged_by_its_threads_and_its_lag() {
    let check =
        |facts| asking(MysqlFacts { replica: Some(Replica { lag_max: Some(Duration::from_secs(5)) }), ..facts });
    let alone = check(MysqlFacts::default());
    for (version, statement) in [
        ("8.0.36", "SHOW REPLICA STATUS"),
        ("5.7.44-log", "SHOW SLAVE STATUS"),
        ("10.11.19-MariaDB", "SHOW ALL SLAVES STATUS"),
    ] {
        let of = |threads, behind| Script::new().version(version).replica("", threads, behind);
        let server = FakeMysql::start(of(["Yes", "Yes"], Some(5)));
        good(&ask(&server, &alone).await, "replica, 5 s behind");
        assert_eq!(server.statements(), [statement]);
        server.becomes(of(["Yes", "Yes"], Some(6)));
        bad(&ask(&server, &alone).await, Layer::Answer, "6 s behind, wanted at most 5s");
        server.becomes(of(["Connecting", "Yes"], None));
        bad(&ask(&server, &alone).await, Layer::Answer, "receives nothing");
        server.becomes(of(["Yes", "Yes"], None));
        bad(&ask(&server, &alone).await, Layer::Answer, "lag is unknown");
        server.becomes(Script::new().version(version));
        bad(&ask(&server, &alone).await, Layer::Answer, "replicates from nobody");
        left_no_trace(&server);
    }
    // One that hides its version is asked by the other name.
    let server = FakeMysql::start(Script::new().version("8.0.36").replica("", ["Yes", "Yes"], Some(0)));
    server.becomes(
        Script::new()
            .version("8.0.36")
            .refuses_statement("SHOW REPLICA", 1064)
            .answers("SHOW SLAVE STATUS", &[Some("x")]),
    );
    bad(&ask(&server, &alone).await, Layer::Answer, "receives nothing");
    assert_eq!(server.statements(), ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]);
    server.becomes(Script::new().refuses_statement("SHOW REPLICA", 1227));
    bad(&ask(&server, &alone).await, Layer::Answer, "replica: error 1227: its user lacks a right");

    // With read_only, the one that takes writes need not replicate.
    let both = check(MysqlFacts { read_only: Some(ReadOnly::Standby), ..MysqlFacts::default() });
    server.becomes(Script::new());
    has_role(&ask(&server, &both).await, Some(Role::Active));
    server.becomes(Script::new().read_only().replica("", ["Yes", "Yes"], Some(1)));
    let report = ask(&server, &both).await;
    good(&report, "read-only; replica, 1 s behind");
    has_role(&report, Some(Role::Standby));
    server.becomes(Script::new().read_only());
    bad(&ask(&server, &both).await, Layer::Answer, "replicates from nobody");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_galera_node_serves_when_it_is_synced() {
    let check = |rule| asking(MysqlFacts { galera: Some(rule), ..MysqlFacts::default() });
    let node = |ready, part, state| Script::new().version("10.11.19-MariaDB").galera(ready, part, state);
    let server = FakeMysql::start(node("ON", "Primary", "4"));
    good(&ask(&server, &check(Galera::Synced)).await, "galera synced");
    server.becomes(node("ON", "Primary", "2"));
    bad(&ask(&server, &check(Galera::Synced)).await, Layer::Answer, "donor or desynced");
    good(&ask(&server, &check(Galera::SyncedOrDonor)).await, "donor");
    server.becomes(node("OFF", "non-Primary", "4"));
    bad(&ask(&server, &check(Galera::SyncedOrDonor)).await, Layer::Answer, "without quorum");
    server.becomes(Script::new());
    bad(&ask(&server, &check(Galera::Synced)).await, Layer::Answer, "no Galera cluster");
    server.becomes(node("ON", "Primary", "4").refuses_statement("SHOW GLOBAL", 1047));
    bad(&ask(&server, &check(Galera::Synced)).await, Layer::Answer, "galera and connections: error 1047");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_member_of_a_group_has_its_role() {
    let check = |rule| asking(MysqlFacts { group: Some(rule), ..MysqlFacts::default() });
    let group = |own: [&'static str; 2], other| {
        let others = Script::new().member("0", other, "SECONDARY").member("0", "ONLINE", "SECONDARY");
        others.member("1", own[0], own[1])
    };
    let server = FakeMysql::start(group(["ONLINE", "PRIMARY"], "ONLINE"));
    has_role(&ask(&server, &check(Group::Primary)).await, Some(Role::Active));
    has_role(&ask(&server, &check(Group::Online)).await, Some(Role::Active));
    server.becomes(group(["ONLINE", "SECONDARY"], "ONLINE"));
    bad(&ask(&server, &check(Group::Primary)).await, Layer::Answer, "a secondary");
    has_role(&ask(&server, &check(Group::Online)).await, Some(Role::Standby));
    server.becomes(group(["RECOVERING", "SECONDARY"], "ONLINE"));
    bad(&ask(&server, &check(Group::Online)).await, Layer::Answer, "RECOVERING");
    server.becomes(Script::new());
    bad(&ask(&server, &check(Group::Online)).await, Layer::Answer, "in no group");
    server.becomes(Script::new().refuses_statement("SELECT MEMBER_ID", 1193));
    bad(&ask(&server, &check(Group::Online)).await, Layer::Answer, "MySQL has it, MariaDB not");
    left_no_trace(&server);
}

#[tokio::test]
async fn connections_are_counted_and_the_number_is_said() {
    let check = |most| asking(MysqlFacts { connections: Some(most), ..MysqlFacts::default() });
    let server = FakeMysql::start(Script::new().connections(90, 100));
    good(&ask(&server, &check(MostConnections::Percent(90))).await, "90 of 100 connections");
    bad(&ask(&server, &check(MostConnections::Percent(89))).await, Layer::Answer, "90 of 100 connections");
    bad(&ask(&server, &check(MostConnections::Count(89))).await, Layer::Answer, "wanted at most 89");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_query_is_compared_by_the_type_that_is_wanted() {
    use Comparison::{Above, Below, Equals, Not};
    let script = Script::new()
        .answers("SELECT 1", &[Some("1"), Some("2")])
        .answers("SELECT NULL", &[None])
        .answers("SELECT word", &[Some("ready")])
        .answers_many("SELECT nothing", "", 0)
        .answers_many("SELECT many", "7", 500)
        .does("INSERT")
        .refuses_statement("SELECT secret", 1142);
    let server = FakeMysql::start(script);
    let one = || Wanted::Number(number("1"));
    for (sql, wanted, expected) in [
        ("SELECT 1", None, Ok("the query says `1`")),
        ("SELECT 1", Some(Equals(one())), Ok("as wanted")),
        ("SELECT 1", Some(Equals(Wanted::True)), Ok("as wanted")),
        ("SELECT 1", Some(Not(one())), Err("wanted anything but 1")),
        ("SELECT 1", Some(Above(number("0.5"))), Ok("as wanted")),
        ("SELECT 1", Some(Below(number("1"))), Err("wanted below 1")),
        ("SELECT many", Some(Equals(Wanted::Number(number("7")))), Ok("as wanted")),
        ("SELECT word", Some(Equals(Wanted::Text("ready".into()))), Ok("as wanted")),
        ("SELECT word", Some(Above(number("1"))), Err("no number")),
        ("SELECT NULL", Some(Not(one())), Err("NULL")),
        ("SELECT nothing", Some(Not(one())), Err("no row")),
        ("INSERT INTO beat VALUES (1)", None, Ok("logged in")),
        ("INSERT INTO beat VALUES (1)", Some(Equals(one())), Err("no row")),
        ("SELECT secret", None, Err("query: error 1142: its user lacks a right")),
        ("SELEKT", None, Err("query: error 1064")),
    ] {
        let report = ask(&server, &querying(sql, wanted)).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => bad(&report, Layer::Answer, words),
        }
    }
    left_no_trace(&server);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_with_a_remedy() {
    let text = "x".repeat(4_000);
    let server = FakeMysql::start(Script::new().answers_many("SELECT long", &text, 1_000));
    bad(&ask(&server, &querying("SELECT long", None)).await, Layer::Answer, "longer than 1024 KiB: add LIMIT 1");
}

#[tokio::test]
async fn several_facts_are_asked_in_one_login_and_all_that_is_wrong_is_said() {
    let facts = MysqlFacts {
        read_only: Some(ReadOnly::Down),
        replica: Some(Replica { lag_max: None }),
        galera: Some(Galera::Synced),
        group: None,
        connections: Some(MostConnections::Percent(50)),
        query: Some(Query { sql: "SELECT 1".into(), column: None, wanted: Vec::new() }),
    };
    let well = || Script::new().galera("ON", "Primary", "4").answers("SELECT 1", &[Some("1")]);
    let server = FakeMysql::start(well());
    let report = ask(&server, &asking(facts.clone())).await;
    good(&report, "logged in to 8.0.36; takes writes; galera synced; 3 of 151 connections; the query says `1`");
    assert_eq!((server.connections(), server.statements().len()), (1, 3), "{:?}", server.statements());
    tells(&report, &["asking SELECT @@global.read_only", "1 row: a = 0, b = 0, c = 151", "asking SHOW GLOBAL STATUS"]);
    server.becomes(well().read_only().galera("ON", "Primary", "2").connections(100, 151));
    let report = ask(&server, &asking(facts)).await;
    for words in ["it is read-only", "donor or desynced", "100 of 151 connections", "replicates from nobody"] {
        bad(&report, Layer::Answer, words);
    }
    left_no_trace(&server);
}

// === a connection that is kept ===

fn kept(facts: MysqlFacts) -> MysqlCheck {
    MysqlCheck { keep: Keep::Connection, ..asking(facts) }
}

#[tokio::test]
async fn a_kept_connection_is_asked_again_and_ends_with_a_goodbye() {
    let server = FakeMysql::start(Script::new().answers("SELECT 1", &[Some("1")]));
    let at = server.addr();
    let ping = question(CheckKind::Mysql(kept(MysqlFacts::default())), at, LONG);
    good(&attempt(Arc::clone(&ping), at).await, "logged in to 8.0.36");
    for _ in 0..3 {
        good(&attempt(Arc::clone(&ping), at).await, "connected to 8.0.36");
    }
    assert_eq!((server.connections(), server.pings()), (1, 3));
    let facts = MysqlFacts { read_only: Some(ReadOnly::Down), ..MysqlFacts::default() };
    let asked = question(CheckKind::Mysql(kept(facts)), at, LONG);
    for _ in 0..3 {
        good(&attempt(Arc::clone(&asked), at).await, "takes writes");
    }
    // A bad answer does not end the connection.
    server.becomes(Script::new().read_only());
    bad(&attempt(Arc::clone(&asked), at).await, Layer::Answer, "read-only");
    assert_eq!((server.connections(), server.statements().len()), (2, 4));
    drop((ping, asked));
    server.wait_for_quits(2);
    left_no_trace(&server);
}

#[tokio::test]
async fn a_kept_connection_that_is_gone_is_replaced_within_the_same_attempt() {
    for fault in [None, Some(Fault::Cut), Some(Fault::Garbage), Some(Fault::Close)] {
        let server = FakeMysql::start(Script::new());
        let at = server.addr();
        let asked = question(CheckKind::Mysql(kept(MysqlFacts::default())), at, LONG);
        good(&attempt(Arc::clone(&asked), at).await, "logged in");
        match fault {
            None => server.drops_connections(),
            Some(fault) => server.becomes(Script::new().fault(Stage::Ping, fault)),
        }
        let report = attempt(Arc::clone(&asked), at).await;
        good(&report, "logged in");
        tells(&report, &["on the connection that was kept", "is gone", "logging in anew", "logged in"]);
        assert_eq!((server.connections(), server.broken_handshakes()), (2, 0), "{fault:?}");
    }
    // Where the server is gone altogether, that is said.
    let server = FakeMysql::start(Script::new());
    let at = server.addr();
    let asked = question(CheckKind::Mysql(kept(MysqlFacts::default())), at, LONG);
    good(&attempt(Arc::clone(&asked), at).await, "logged in");
    drop(server);
    bad(&attempt(asked, at).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn within_tls_a_connection_is_kept_as_well() {
    let mine = certificate("db.example.com");
    let script = Script::new().tls(&mine.der, &mine.key).account("evenkeel", PASSWORD, Method::Native);
    let server = FakeMysql::start(script);
    let check = secure(&mine, "db.example.com", login("evenkeel", PASSWORD));
    let asked = question(CheckKind::Mysql(MysqlCheck { keep: Keep::Connection, ..check }), server.addr(), LONG);
    for _ in 0..3 {
        good(&attempt(Arc::clone(&asked), server.addr()).await, "8.0.36");
    }
    assert_eq!((server.connections(), server.pings()), (1, 2));
    drop(asked);
    server.wait_for_quits(1);
    left_no_trace(&server);
}

/// A balancer with one check of `server`, of this name and with these keys.
fn in_front(server: &FakeMysql, name: &str, keys: &str) -> String {
    format!(
        "[listener.db]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n\
         [pool.p.check.{name}]\ntype = 'mysql'\nuser = 'evenkeel'\nkeep = true\n{keys}",
        server.addr()
    )
}

#[test]
fn a_kept_connection_ends_with_a_goodbye_at_a_reload_and_at_the_end() {
    let server = FakeMysql::start(Script::new());
    let balancer = Balancer::start(&in_front(&server, "often", "interval = '20ms'\n"));
    eventually("some pings", DEADLINE, || server.pings() > 3);
    assert_eq!(server.connections(), 1);
    // Asked once and then not for an hour, so that nothing is under way at the end.
    balancer.reload(&in_front(&server, "rarely", "interval = '1h'\nread_only = 'standby'\n"));
    server.wait_for_quits(1);
    balancer.counts(&format!("evenkeel_check_up{{pool=p,backend={},check=rarely}}", server.addr()), 1.0);
    drop(balancer);
    server.wait_for_quits(2);
    left_no_trace(&server);
}

// === hostile ===

#[tokio::test]
async fn what_is_not_mysql_fails_as_protocol() {
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"SSH-2.0-OpenSSH\r\n",
        b"\x04\0\0\0\x09old",
        b"\x06\0\0\0\x0ashort",
        b"\0\0\0\0",
    ] {
        let at = saying(bytes).await;
        bad(&probe(CheckKind::Mysql(login("u", "")), at).await, Layer::Protocol, "not the MySQL protocol");
    }
    let at = saying(b"").await;
    bad(&probe(CheckKind::Mysql(login("u", "")), at).await, Layer::Protocol, "closed before the greeting");
    let at = closed_port().await;
    bad(&probe(CheckKind::Mysql(login("u", "")), at).await, Layer::Connect, "refused");
}

/// A server that says this and ends.
async fn saying(bytes: &'static [u8]) -> SocketAddr {
    server(move |mut stream| async move {
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await
}

#[tokio::test]
async fn what_breaks_off_or_goes_astray_is_named_by_its_stage() {
    let facts = MysqlFacts { connections: Some(MostConnections::Percent(90)), ..MysqlFacts::default() };
    let check = MysqlCheck { facts, ..login("evenkeel", PASSWORD) };
    for (stage, words) in [
        (Stage::Greeting, "the greeting"),
        (Stage::Method, "the answer to the login"),
        (Stage::Verdict, "the answer to the login"),
        (Stage::Statement, "the answer about read_only"),
        (Stage::Rows, "the answer about read_only"),
    ] {
        for fault in [Fault::Cut, Fault::Close] {
            let script = Script::new().account("evenkeel", PASSWORD, Method::Sha256).fault(stage, fault);
            let server = FakeMysql::start(script);
            let report = ask(&server, &check).await;
            bad(&report, Layer::Protocol, &format!("closed before {words}"));
        }
        let script = Script::new().account("evenkeel", PASSWORD, Method::Sha256).fault(stage, Fault::Garbage);
        let server = FakeMysql::start(script);
        // What is read as a length and is more than an answer may have is said to be too long.
        let report = ask(&server, &check).await;
        assert!(report.result.is_err(), "{stage:?}: {report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn silence_ends_at_the_deadline_and_names_what_did_not_come() {
    let facts = MysqlFacts { connections: Some(MostConnections::Percent(90)), ..MysqlFacts::default() };
    let check = CheckKind::Mysql(MysqlCheck { facts, ..login("evenkeel", PASSWORD) });
    for (stage, words) in [
        (Stage::Greeting, "no greeting within"),
        (Stage::Method, "no answer to the login within"),
        (Stage::Verdict, "no answer to the login within"),
        (Stage::Statement, "no answer about read_only and max_connections within"),
        (Stage::Rows, "no answer about read_only and max_connections within"),
    ] {
        for fault in [Fault::Stall, Fault::StallHalfway] {
            let script = Script::new().account("evenkeel", PASSWORD, Method::Sha256).fault(stage, fault);
            let server = FakeMysql::start(script);
            bad(&probe_within(check.clone(), server.addr(), SHORT).await, Layer::Timeout, words);
            // Nobody has broken anything off: when the server goes on, it ends well.
            server.goes_on();
            eventually("the login ends in the background", DEADLINE, || server.logins() == 1);
            left_no_trace(&server);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_login_that_hangs_says_nothing_of_the_next() {
    let server = FakeMysql::start(Script::new().fault(Stage::Greeting, Fault::Stall));
    let at = server.addr();
    let asked = question(CheckKind::Mysql(login("evenkeel", "")), at, SHORT);
    bad(&attempt(Arc::clone(&asked), at).await, Layer::Timeout, "no greeting within 150ms");
    server.becomes(Script::new());
    let mut report = attempt(Arc::clone(&asked), at).await;
    assert_eq!(server.connections(), 2, "another login is begun while the first one still waits");
    // A busy machine may be late.
    while report.result.is_err() {
        report = attempt(Arc::clone(&asked), at).await;
    }
    good(&report, "logged in");
    server.goes_on();
    eventually("the first one ends as well", DEADLINE, || server.logins() >= 2);
    left_no_trace(&server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_that_stands_still_is_not_filled_with_logins() {
    let server = FakeMysql::start(Script::new().fault(Stage::Greeting, Fault::Stall));
    let at = server.addr();
    let asked = question(CheckKind::Mysql(login("evenkeel", "")), at, SHORT);
    bad(&attempt(Arc::clone(&asked), at).await, Layer::Timeout, "no greeting within 150ms");
    bad(&attempt(Arc::clone(&asked), at).await, Layer::Timeout, "no greeting within 150ms");
    for _ in 0..4 {
        let report = attempt(Arc::clone(&asked), at).await;
        bad(&report, Layer::Timeout, "no answer to earlier attempts within 150ms");
    }
    assert_eq!(server.connections(), 2, "no third login so soon while two are waiting");
    server.becomes(Script::new());
    server.goes_on();
    let mut report = attempt(Arc::clone(&asked), at).await;
    while report.result.is_err() {
        report = attempt(Arc::clone(&asked), at).await;
    }
    good(&report, "logged in");
    left_no_trace(&server);
}

#[tokio::test]
async fn a_login_that_leads_in_circles_ends() {
    let at = server(|mut stream| async move {
        let mut greeting = b"\x0a8.0.36\0\x07\0\0\0abcdefgh\0\xff\xf7\x21\x02\0\xff\x81\x15".to_vec();
        greeting.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0");
        let switch = b"\xfeclient_ed25519\0abcdefghijklmnopqrstuvwxyzabcdef";
        let packet = |number: u8, payload: &[u8]| [&[payload.len() as u8, 0, 0, number], payload].concat();
        let _ = stream.write_all(&packet(0, &greeting)).await;
        for number in 1..20 {
            let _ = stream.write_all(&packet(number * 2, switch)).await;
        }
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    bad(&probe(CheckKind::Mysql(login("u", "p")), at).await, Layer::Protocol, "leads nowhere");
}

// === from the configuration ===

fn check_of(text: &str) -> Check {
    let text = format!(
        "[listener.db]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']\n\
         [pool.p.check.db]\ntype = 'mysql'\nuser = 'evenkeel'\n{text}"
    );
    config::load(&Source::text(text)).unwrap_or_else(|problems| panic!("{problems}")).config.pools[0].checks[0].clone()
}

/// Options of a check, a server, and what the probe says with which role, or why it fails.
type Case = (String, Script, Result<(&'static str, Option<Role>), &'static str>);

async fn each_says(cases: impl IntoIterator<Item = Case>) {
    for (text, script, expected) in cases {
        let server = FakeMysql::start(script);
        let at = Address::Socket(server.addr());
        let check = check_of(&format!("timeout = '2s'\ninterval = '5s'\n{text}\n"));
        let report = attempt(Arc::new(Question::of(&check, &at)), server.addr()).await;
        match expected {
            Ok((words, role)) => {
                good(&report, words);
                has_role(&report, role);
            }
            Err(words) => assert!(report.result.as_ref().unwrap_err().what.contains(words), "{text}: {report:?}"),
        }
        assert!(!format!("{report:?}").contains(PASSWORD));
        left_no_trace(&server);
    }
}

#[tokio::test]
async fn the_keys_of_a_check_mean_what_they_say() {
    let well = || Script::new().account("evenkeel", PASSWORD, Method::Native).answers("SELECT 1", &[Some("1")]);
    let password = format!("password = '{PASSWORD}'\n");
    let cases = [
        (String::new(), well(), Ok(("alive (error 1045", None))),
        (password.clone(), well(), Ok(("logged in", None))),
        ("read_only = 'standby'".to_owned(), well(), Err("bad password")),
        (format!("{password}read_only = 'standby'"), well().read_only(), Ok(("read-only", Some(Role::Standby)))),
        (format!("{password}read_only = 'read'"), well().read_only(), Ok(("read-only", Some(Role::Read)))),
        (format!("{password}read_only = 'down'"), well().read_only(), Err("it is read-only")),
        (format!("{password}replica = {{ lag_max = '5s' }}"), well().replica("", ["Yes", "Yes"], Some(9)), Err("9 s")),
        (format!("{password}replica = true"), well().replica("", ["Yes", "Yes"], Some(9)), Ok(("9 s behind", None))),
        (format!("{password}replica = false"), well(), Ok(("logged in", None))),
        (format!("{password}galera = 'synced'"), well().galera("ON", "Primary", "2"), Err("donor")),
        (format!("{password}galera = 'synced-or-donor'"), well().galera("ON", "Primary", "2"), Ok(("donor", None))),
        (
            format!("{password}group_replication = 'primary'"),
            well().member("1", "ONLINE", "SECONDARY"),
            Err("secondary"),
        ),
        (
            format!("{password}group_replication = 'online'"),
            well().member("1", "ONLINE", "SECONDARY"),
            Ok(("secondary", Some(Role::Standby))),
        ),
        (format!("{password}connections = '50%'"), well().connections(51, 100), Err("wanted at most 50%")),
        (format!("{password}connections = 51"), well().connections(51, 100), Ok(("51 of 100", None))),
        (format!("{password}database = 'app'"), well(), Ok(("logged in", None))),
        (format!("{password}database = 'nope'"), well(), Err("no such database")),
        (format!("{password}tls = true"), well(), Err("offers no TLS")),
    ];
    each_says(cases).await;
}

#[tokio::test]
async fn a_query_compares_the_column_that_is_named_in_every_way_that_is_wanted() {
    let well = || Script::new().account("evenkeel", PASSWORD, Method::Native).answers("SELECT 1", &[Some("1")]);
    let lag = |seconds: &str| well().answers("SELECT lag", &[Some("77"), Some(seconds)]);
    let password = format!("password = '{PASSWORD}'\n");
    let cases = [
        (format!("{password}query = 'SELECT 1'\nequals = 1"), well(), Ok(("as wanted", None))),
        (format!("{password}query = 'SELECT 1'\nequals = false"), well(), Err("wanted false")),
        (format!("{password}query = 'SELECT 1'\nabove = 1.5"), well(), Err("wanted above 1.5")),
        (format!("{password}query = 'SELECT 1'\nabove = 0\nbelow = 2\nnot = 5"), well(), Ok(("as wanted", None))),
        (format!("{password}query = 'SELECT 1'\nabove = 0\nbelow = 1"), well(), Err("wanted below 1")),
        (format!("{password}query = 'SELECT lag'\ncolumn = 'c1'\nbelow = 9"), lag("8"), Ok(("`8` in `c1`", None))),
        (format!("{password}query = 'SELECT lag'\ncolumn = 'c1'\nbelow = 9"), lag("9"), Err("wanted below 9")),
        (format!("{password}query = 'SELECT lag'\ncolumn = 'lag'\nbelow = 9"), lag("8"), Err("it has c0, c1")),
    ];
    each_says(cases).await;
}
