//! Checks of `PostgreSQL` against real servers: every way to log in, a primary and its standby, what a probe leaves in
//! the server's log (nothing), and what a server says that cannot work.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use evenkeel::health::Role;
use evenkeel::probe::{Layer, Pace, Report, attempt};
use support::asking::{LONG, bad, good, probe, probe_shortly, question};
use support::eventually::DEADLINE;
use support::real_postgres::RealPostgres;

/// Everybody, by each method, in a database of its name.
const HBA: &str = "host trust_db all all trust\nhost md5_db all all md5\nhost clear_db all all password\n\
                   hostssl clear_db all all password\nhost closed_db all all reject\nhost all all all scram-sha-256";

async fn eventually_asked(check: &str, at: SocketAddr, holds: impl Fn(&Report) -> bool) -> Report {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let report = probe(check, at).await;
        if holds(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "still: {report:?}");
    }
}

fn login(database: &str, password: &str, rest: &str) -> String {
    format!("type = 'postgres'\nuser = 'app'\ndatabase = '{database}'\npassword = '{password}'\n{rest}")
}

async fn server_with_accounts(ip: &str) -> RealPostgres {
    let server = RealPostgres::start(ip, HBA, "").await;
    server.query("SET password_encryption = 'md5'; CREATE USER hashed PASSWORD 'opensesame'");
    server.query("CREATE USER app PASSWORD 'opensesame'");
    server.query("CREATE USER exotic PASSWORD 'grün,=ß'");
    for database in ["trust_db", "md5_db", "clear_db", "closed_db"] {
        server.query(&format!("CREATE DATABASE {database}"));
    }
    server
}

#[tokio::test]
async fn every_method_of_login_is_known() {
    let server = server_with_accounts("127.0.4.1").await;
    let made = rcgen::generate_simple_self_signed(vec!["127.0.4.1".to_owned()]).unwrap();
    server.give_tls(&made.cert.pem(), &made.signing_key.serialize_pem());
    let md5 = "type = 'postgres'\nuser = 'hashed'\ndatabase = 'md5_db'\npassword = ";
    let rows = [
        (login("postgres", "opensesame", ""), Ok("logged in as app")),
        (login("postgres", "openmystery", ""), Err("user or password is wrong")),
        (login("trust_db", "unneeded", ""), Ok("logged in as app")),
        (format!("{md5}'opensesame'"), Ok("logged in as hashed")),
        (format!("{md5}'openmystery'"), Err("user or password is wrong")),
        (login("clear_db", "opensesame", ""), Err("given over TLS only")),
        (login("clear_db", "opensesame", "tls = { verify = false }"), Ok("logged in as app")),
        (login("postgres", "opensesame", "tls = { verify = false }"), Ok("logged in as app")),
        (login("closed_db", "opensesame", ""), Err("pg_hba.conf")),
        (login("nowhere", "opensesame", ""), Err("there is no such database")),
        (
            "type = 'postgres'\nuser = 'exotic'\ndatabase = 'postgres'\npassword = 'grün,=ß'".to_owned(),
            Ok("logged in as exotic"),
        ),
        ("type = 'postgres'".to_owned(), Ok("alive (it asks for SCRAM-SHA-256)")),
        ("type = 'postgres'\ntls = { verify = false }".to_owned(), Ok("alive (it asks for SCRAM-SHA-256-PLUS or")),
        ("type = 'postgres'\nuser = 'nobody'".to_owned(), Ok("alive (it asks for SCRAM-SHA-256)")),
        ("type = 'postgres'\nuser = 'app'\ndatabase = 'closed_db'".to_owned(), Ok("alive (error 28000")),
        ("type = 'postgres'\nuser = 'app'\nrecovery = 'down'".to_owned(), Err("give the check a `password`")),
    ];
    for (check, expected) in rows {
        // The reload that brings TLS takes a moment.
        let report = eventually_asked(&check, server.address, |report| {
            !format!("{:?}", report.result).contains("it has no TLS")
        })
        .await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => bad(&report, Layer::Answer, words),
        }
        assert!(!format!("{report:?}").contains("opensesame"), "{check}: {report:?}");
    }
    bad(&probe("type = 'postgres'\ntls = true", server.address).await, Layer::Tls, "signed by itself");
}

#[tokio::test]
async fn probes_leave_nothing_in_the_log_and_hash_the_password_once() {
    let server = server_with_accounts("127.0.4.2").await;
    let before = server.said();
    let checks = [
        "type = 'postgres'".to_owned(),
        login("postgres", "opensesame", ""),
        login("postgres", "opensesame", "recovery = 'standby'\nquery = 'SELECT 1'\nequals = 1"),
    ];
    for check in &checks {
        let asked = question(&format!("{LONG}{check}"), server.address);
        for _ in 0..40 {
            let report = attempt(Arc::clone(&asked), server.address).await;
            assert!(report.result.is_ok(), "{report:?}");
        }
    }
    assert_eq!(server.said(), before);
    assert_eq!(server.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'evenkeel'"), "0");
}

#[tokio::test]
async fn a_query_is_compared_and_ends_with_its_time() {
    let server = server_with_accounts("127.0.4.3").await;
    let rows = [
        ("query = 'SELECT 41.5'\nbelow = 42", Ok("41.5")),
        ("query = 'SELECT 42'\nbelow = 42", Err("says `42`, wanted below 42")),
        ("query = 'SELECT 1 AS id, 42 AS lag'\ncolumn = 'LAG'\nabove = 0\nbelow = 43", Ok("says `42` in `LAG`")),
        ("query = 'SELECT 1 AS id, 42 AS lag'\ncolumn = 'lag'\nabove = 0\nbelow = 42", Err("wanted below 42")),
        ("query = 'SELECT 1 AS id, 42 AS lag'\ncolumn = 'lags'\nabove = 0", Err("it has id, lag")),
        ("query = 'SELECT true'\nequals = true", Ok("`t`")),
        ("query = \"SELECT 'ok'\"\nequals = 'ok'", Ok("`ok`")),
        ("query = 'SELECT NULL'\nnot = 1", Err("NULL is never good")),
        ("query = 'SELECT 1 WHERE false'\nequals = 1", Err("finds nothing")),
        ("query = 'SELECT generate_series(1, 1000000)'\nequals = 1", Ok("`1`")),
        ("query = 'SELECT a FROM nowhere'", Err("the query is wrong")),
        ("query = 'SELECT 1; SELECT 2'", Err("the query is wrong")),
        ("query = 'CREATE TABLE made ()'\nnot = 1", Err("")),
        ("query = 'SELECT pg_read_file(''x'')'", Err("may not ask that")),
    ];
    for (query, expected) in rows {
        let query =
            query.replace("''x''", "\"x\"").replace("'SELECT pg_read_file(\"x\")'", "\"SELECT pg_read_file('x')\"");
        let report = probe(&login("postgres", "opensesame", &query), server.address).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => bad(&report, Layer::Answer, words),
        }
    }
    assert_eq!(server.query("SELECT count(*) FROM pg_class WHERE relname = 'made'"), "0", "it was rolled back");
    // Nobody waits for these any more, and so the server does not work on them either.
    let report =
        probe_shortly(&login("postgres", "opensesame", "query = 'SELECT pg_sleep(600)'"), server.address).await;
    assert!(report.result.is_err(), "{report:?}");
    let deadline = Instant::now() + DEADLINE;
    while server
        .query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()")
        != "0"
    {
        assert!(Instant::now() < deadline, "the query goes on");
    }
}

#[tokio::test]
async fn primary_and_standby_tell_their_roles_lag_and_timeline() {
    let primary = server_with_accounts("127.0.4.4").await;
    let mut standby = primary.standby("127.0.4.5").await;
    let check = login("postgres", "opensesame", "recovery = 'standby'\nlag_max = '10s'");
    let says = |report: &Report| report.result.as_ref().map(|finding| (finding.says.role, finding.says.epoch)).ok();
    let report = probe(&check, primary.address).await;
    assert_eq!(says(&report), Some((Some(Role::Active), Some(1))), "{report:?}");
    let report = eventually_asked(&check, standby.address, |report| report.result.is_ok()).await;
    assert_eq!(says(&report), Some((Some(Role::Standby), None)), "{report:?}");
    good(&report, "standby, 0.0s behind");
    let down = login("postgres", "opensesame", "recovery = 'down'");
    bad(&probe(&down, standby.address).await, Layer::Answer, "it is in recovery");

    // A standby that does not replay falls behind, although it receives all.
    primary.query("CREATE TABLE first ()");
    let deadline = Instant::now() + DEADLINE;
    while standby.query("SELECT pg_last_xact_replay_timestamp() IS NULL") == "t" {
        assert!(Instant::now() < deadline, "it replays nothing");
    }
    standby.query("SELECT pg_wal_replay_pause()");
    let tight = login("postgres", "opensesame", "recovery = 'standby'\nlag_max = '200ms'");
    primary.query("CREATE TABLE second ()");
    let report = eventually_asked(&tight, standby.address, |report| report.result.is_err()).await;
    bad(&report, Layer::Answer, "behind, wanted 200ms at most");
    standby.query("SELECT pg_wal_replay_resume()");
    eventually_asked(&tight, standby.address, |report| report.result.is_ok()).await;

    standby.promote();
    let report = eventually_asked(&check, standby.address, |report| {
        says(report).is_some_and(|(role, _)| role == Some(Role::Active))
    })
    .await;
    assert_eq!(says(&report), Some((Some(Role::Active), Some(2))), "the newer of two primaries: {report:?}");
    standby.stop();
    bad(&probe(&check, standby.address).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn a_server_that_is_full_starts_or_hangs_says_so() {
    let options = "max_connections = 5\nsuperuser_reserved_connections = 1\nmax_wal_senders = 0\n";
    let mut server = RealPostgres::start("127.0.4.6", "host all all all trust", options).await;
    server.query("CREATE USER app");
    let hold = || {
        let mut command = std::process::Command::new("psql");
        command.args([
            "-XAtqw",
            "-U",
            "app",
            "-d",
            "postgres",
            "-h",
            "127.0.4.6",
            "-p",
            &server.address.port().to_string(),
        ]);
        command.args(["-c", "SELECT pg_sleep(600)"]).spawn().unwrap()
    };
    let mut holders: Vec<_> = (0..4).map(|_| hold()).collect();
    let account = "type = 'postgres'\nuser = 'app'\ndatabase = 'postgres'\nrecovery = 'down'";
    let report = eventually_asked(account, server.address, |report| report.result.is_err()).await;
    bad(&report, Layer::Answer, "max_connections");
    assert_eq!(report.result.unwrap_err().pace, Pace::Slow);
    for holder in &mut holders {
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
    server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    eventually_asked(account, server.address, |report| report.result.is_ok()).await;

    server.signal_all("STOP");
    bad(&probe_shortly("type = 'postgres'", server.address).await, Layer::Timeout, "not done within 300ms");
    server.signal_all("CONT");

    // After a crash it says that it is starting until it has recovered.
    server.query("CREATE TABLE t AS SELECT generate_series(1, 500000) AS a");
    server.stop();
    bad(&probe(account, server.address).await, Layer::Connect, "refused");
    server.begin();
    let report = eventually_asked(account, server.address, |report| {
        report.result.is_ok() || format!("{:?}", report.result).contains("starting up")
    })
    .await;
    assert!(report.result.is_ok() || format!("{:?}", report.result).contains("57P03"), "{report:?}");
    eventually_asked(account, server.address, |report| report.result.is_ok()).await;
}
