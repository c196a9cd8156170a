//! Checks that speak a protocol of their own, against fakes that are well, ill and hostile: what they say byte by byte,
//! what they take for good, and what they call a failure.

mod support;

use std::time::Duration;

use evenkeel::health::{Role, Wish};
use evenkeel::probe::{Layer, Pace, attempt};
use support::asking::{LONG, bad, good, probe, probe_shortly, question};
use support::fake::{Act, Fake, cut, hear, say, tls};
use support::probing::closed_port;

// === every protocol ===

/// A check and the part of a server that is well.
fn well() -> Vec<(&'static str, Vec<Act>)> {
    vec![
        ("type = 'redis'\npassword = 'gate'\nrole = true", redis_master()),
        ("type = 'smtp'", mail()),
        ("type = 'ldap'", directory()),
        ("type = 'postgres'", vec![hear(STARTUP), say(SCRAM)]),
        ("type = 'postgres'\nuser = 'app'\npassword = 'secret'\nrecovery = 'standby'", postgres_primary()),
        ("type = 'script'\nsteps = [{ send = \"a\" }, { expect = 'b' }]", vec![hear("a"), say("b")]),
    ]
}

#[tokio::test]
async fn a_server_that_is_well_hears_what_it_should_and_a_clean_end() {
    for (check, acts) in well() {
        let mut fake = Fake::play(acts.clone()).await;
        good(&probe(check, fake.address).await, "");
        let played = fake.played().await;
        assert_eq!((played.acts, played.instead), (acts.len(), None), "{check}");
        assert!(played.ended_well, "{check}: it ends with FIN");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_at_any_stage_is_given_up_in_time() {
    for (check, acts) in well() {
        for acts in cut(&acts, &Act::Stall) {
            // Whatever comes after the answer that decides is no longer waited for.
            let stage = acts.len();
            let fake = Fake::play(acts).await;
            let report = probe_shortly(check, fake.address).await;
            match &report.result {
                Ok(_) => assert!(check.contains("smtp") || check.contains("redis"), "{check} at {stage}: {report:?}"),
                Err(failure) => assert_eq!(failure.layer, Layer::Timeout, "{check} at {stage}: {failure}"),
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_closes_at_any_stage_is_said_to_have_closed() {
    for (check, acts) in well() {
        for acts in cut(&acts, &Act::Close) {
            let stage = acts.len();
            let fake = Fake::play(acts).await;
            let report = probe(check, fake.address).await;
            match &report.result {
                Ok(_) => assert!(check.contains("smtp") || check.contains("redis"), "{check} at {stage}: {report:?}"),
                Err(failure) => {
                    assert_eq!(failure.layer, Layer::Protocol, "{check} at {stage}: {failure}");
                    let said = failure.what.contains("closed before") || failure.what.contains("reset before");
                    assert!(said, "{check} at {stage}: {failure}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_another_protocol_is_named() {
    let strange: &[&[u8]] =
        &[b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0\xff\xfe\r\n", b"\r\n"];
    for check in ["redis", "smtp", "ldap", "postgres"] {
        for bytes in strange {
            let fake = Fake::play(vec![say(bytes)]).await;
            let report = probe(&format!("type = '{check}'"), fake.address).await;
            bad(&report, Layer::Protocol, "what came is no");
        }
        bad(&probe(&format!("type = '{check}'"), closed_port().await).await, Layer::Connect, "refused");
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    let flood = |line: &[u8]| vec![say(line.repeat(400_000 / line.len()))];
    let rows: [(&str, Vec<Act>); 4] = [
        ("type = 'redis'", flood(b"*1\r\n$3\r\nabc\r\n*9999999\r\n:1\r\n:1\r\n")),
        ("type = 'smtp'", flood(b"220-never ends\r\n")),
        ("type = 'smtp'", flood(b"2")),
        ("type = 'script'\nsteps = [{ expect = 'never' }]", flood(b"always ")),
    ];
    for (check, acts) in rows {
        let fake = Fake::play(acts).await;
        let report = probe(check, fake.address).await;
        assert!(report.result.is_err(), "{check}: {report:?}");
        assert!(report.transcript.lines(80).len() < 70, "{check}");
    }
}

#[tokio::test]
async fn tls_is_spoken_from_the_first_byte_or_where_the_protocol_says() {
    let rows = [
        ("type = 'redis'", vec![Act::Tls, hear(PING), say("+PONG\r\n")], "PONG"),
        ("type = 'smtp'", [vec![Act::Tls], mail()].concat(), "220"),
        ("type = 'ldap'", [vec![Act::Tls], directory()].concat(), "bound"),
        (
            "type = 'postgres'",
            vec![hear(b"\0\0\0\x08\x04\xd2\x16\x2f"), say("S"), Act::Tls, hear(STARTUP), say(SCRAM)],
            "SCRAM-SHA-256",
        ),
        ("type = 'script'\nsteps = [{ send = 'a' }, { expect = 'b' }]", vec![Act::Tls, hear("a"), say("b")], "2 steps"),
    ];
    for (check, acts, words) in rows {
        let fake = Fake::play_secured(acts.clone(), tls()).await;
        good(&probe(&format!("{check}\ntls = {{ verify = false }}"), fake.address).await, words);
        let fake = Fake::play_secured(acts, tls()).await;
        bad(&probe(&format!("{check}\ntls = true"), fake.address).await, Layer::Tls, "");
    }
}

#[tokio::test]
async fn a_password_is_never_seen() {
    let wrong = "-WRONGPASS hunter2-secret is not it\r\n";
    let rows = [
        ("type = 'redis'\npassword = 'hunter2-secret'", vec![Act::HearAny(35), say(wrong)]),
        ("type = 'redis'\npassword = '${SECRET}'", vec![Act::HearAny(35), say(wrong)]),
        (
            "type = 'script'\nsteps = [{ send = \"AUTH ${SECRET}\\r\\n\" }, { expect = '+OK' }]",
            vec![Act::HearAny(21), say("-ERR hunter2-secret is not it"), Act::Close],
        ),
        (
            "type = 'ldap'\nuser = 'cn=a'\npassword = 'hunter2-secret'",
            vec![Act::HearAny(32), say(b"\x30\x1d\x02\x01\x01\x61\x18\x0a\x01\x31\x04\x00\x04\x11no hunter2-secret")],
        ),
    ];
    for (check, acts) in rows {
        let fake = Fake::play(acts).await;
        let report = probe(check, fake.address).await;
        assert!(report.result.is_err(), "{check}: {report:?}");
        let everything = format!("{report:?} {:?}", report.transcript.lines(1000));
        assert!(!everything.contains("hunter2"), "{check}: {everything}");
        assert!(everything.contains("*****"), "{check}: {everything}");
    }
}

// === redis ===

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";
const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

fn redis_master() -> Vec<Act> {
    vec![
        hear(b"*2\r\n$4\r\nAUTH\r\n$4\r\ngate\r\n"),
        say("+OK\r\n"),
        hear(PING),
        say("+PONG\r\n"),
        hear(ROLE),
        say("*3\r\n$6\r\nmaster\r\n:14\r\n*0\r\n"),
        hear(QUIT),
        say("+OK\r\n"),
    ]
}

#[tokio::test]
async fn redis_says_whether_it_works_and_what_it_is() {
    let replica = |link: &str| {
        let length = link.len();
        say(format!("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n${length}\r\n{link}\r\n:14\r\n"))
    };
    let role = "type = 'redis'\nrole = true";
    let linked = "type = 'redis'\nrole = true\nmaster_link = 'up'";
    let after_ping = |answer: Act| vec![hear(PING), say("+PONG\r\n"), hear(ROLE), answer];
    let rows = [
        ("type = 'redis'", vec![hear(PING), say("+PONG\r\n")], Ok((None, "PONG"))),
        ("type = 'redis'", vec![hear(PING), say("-NOAUTH Authentication required.\r\n")], Ok((None, "alive"))),
        (role, vec![hear(PING), say("-NOAUTH Authentication required.\r\n")], Err("give the check one")),
        ("type = 'redis'", vec![hear(PING), say("-LOADING Redis is loading\r\n")], Err("loading its data")),
        (
            "type = 'redis'",
            vec![say("-DENIED Redis is running in protected mode\r\n"), Act::Close],
            Err("protected mode"),
        ),
        ("type = 'redis'", vec![say("-ERR max number of clients reached\r\n"), Act::Close], Err("too many clients")),
        ("type = 'redis'", vec![hear(PING), say("+PANG\r\n")], Err("no answer to PING")),
        (role, after_ping(replica("connected")), Ok((Some(Role::Standby), "replica of 127.0.0.1:6379"))),
        (role, after_ping(replica("connect")), Ok((Some(Role::Standby), "link connect"))),
        (linked, after_ping(replica("connected")), Ok((Some(Role::Standby), "link connected"))),
        (linked, after_ping(replica("sync")), Err("is `sync`")),
        (role, after_ping(say("*2\r\n$8\r\nsentinel\r\n*0\r\n")), Err("sentinel")),
        (role, after_ping(say("-NOPERM this user has no permissions\r\n")), Err("+role")),
    ];
    for (check, acts, expected) in rows {
        let fake = Fake::play(acts).await;
        let report = probe(check, fake.address).await;
        match expected {
            Ok((role, words)) => {
                good(&report, words);
                assert_eq!(report.result.unwrap().says.role, role, "{words}");
            }
            Err(words) => {
                assert!(format!("{:?}", report.result).contains(words), "{report:?} should contain {words}");
                assert!(report.result.is_err(), "{report:?}");
            }
        }
    }
}

#[tokio::test]
async fn redis_is_logged_in_to_as_it_wants() {
    let user = "type = 'redis'\nuser = 'app'\npassword = 'gate'";
    let auth = b"*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$4\r\ngate\r\n";
    let fake = Fake::play(vec![hear(auth), say("+OK\r\n"), hear(PING), say("+PONG\r\n")]).await;
    good(&probe(user, fake.address).await, "PONG");
    let open = "-ERR AUTH <password> called without any password configured for the default user.\r\n";
    let fake = Fake::play(vec![hear(auth), say(open), hear(PING), say("+PONG\r\n")]).await;
    good(&probe(user, fake.address).await, "PONG");
    let fake = Fake::play(vec![hear(auth), say("-WRONGPASS invalid username-password pair\r\n")]).await;
    bad(&probe(user, fake.address).await, Layer::Answer, "user or password is wrong");
}

// === smtp ===

fn mail() -> Vec<Act> {
    vec![
        say("220-mail.example.com\r\n220 ready\r\n"),
        hear("HELO localhost\r\n"),
        say("250 hello\r\n"),
        hear("QUIT\r\n"),
        say("221 bye\r\n"),
    ]
}

#[tokio::test]
async fn a_mail_server_is_good_when_it_greets_and_is_greeted() {
    let rows = [
        (
            "type = 'smtp'\nhelo = 'lb.example.com'",
            vec![say("220 a\r\n"), hear("HELO lb.example.com\r\n"), say("250 b\r\n")],
            Ok("220 a"),
        ),
        (
            "type = 'smtp'\nehlo = 'lb'",
            vec![say("220 a\r\n"), hear("EHLO lb\r\n"), say("250-b\r\n250-SIZE 1\r\n250 HELP\r\n"), hear("QUIT\r\n")],
            Ok("220 a"),
        ),
        (
            "type = 'smtp'",
            vec![say("421 4.3.2 too busy\r\n"), Act::Close],
            Err("no more work for now (it says: 4.3.2 too busy)"),
        ),
        ("type = 'smtp'", vec![say("554 go away\r\n")], Err("serves nobody from here")),
        (
            "type = 'smtp'",
            vec![say("220 a\r\n"), hear("HELO localhost\r\n"), say("501 no\r\n")],
            Err("in answer to HELO"),
        ),
        ("type = 'smtp'", vec![say("220-a\r\n250 b\r\n")], Err("not SMTP")),
    ];
    for (check, acts, expected) in rows {
        let fake = Fake::play(acts).await;
        let report = probe(check, fake.address).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => assert!(format!("{:?}", report.result.unwrap_err()).contains(words), "{words}"),
        }
    }
}

// === ldap ===

fn directory() -> Vec<Act> {
    vec![
        hear(b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
        say(b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x61\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"),
        hear(b"\x30\x05\x02\x01\x02\x42\x00"),
    ]
}

#[tokio::test]
async fn a_directory_binds_or_says_why_not() {
    let bind = hear(b"\x30\x18\x02\x01\x01\x60\x13\x02\x01\x03\x04\x04cn=a\x80\x08letmein8");
    let code =
        |code: u8| say([b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01".as_slice(), &[code], b"\x04\x00\x04\x00"].concat());
    let account = "type = 'ldap'\nuser = 'cn=a'\npassword = 'letmein8'";
    let fake = Fake::play(vec![bind.clone(), code(0)]).await;
    good(&probe(account, fake.address).await, "bound");
    let fake = Fake::play(vec![bind.clone(), code(49)]).await;
    bad(&probe(account, fake.address).await, Layer::Answer, "`user` or `password` is wrong");
    let fake = Fake::play(vec![Act::HearAny(14), code(48)]).await;
    good(&probe("type = 'ldap'", fake.address).await, "alive");
    let fake = Fake::play(vec![Act::HearAny(14), code(52)]).await;
    bad(&probe("type = 'ldap'", fake.address).await, Layer::Answer, "not available");
}

// === postgres ===

const STARTUP: &[u8] = b"\0\0\0\x17\0\x03\0\0user\0evenkeel\0\0";
const SCRAM: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";
const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x08a\0b\0Z\0\0\0\x05I";

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

fn refusal(code: &str, text: &str) -> Act {
    say(message(b'E', format!("SFATAL\0C{code}\0M{text}\0\0").as_bytes()))
}

fn login() -> Act {
    let parameters = b"\0\x03\0\0user\0app\0database\0app\0application_name\0evenkeel\0\0";
    hear([&(parameters.len() as u32 + 4).to_be_bytes()[..], parameters].concat())
}

fn asked(sql: &str) -> Act {
    let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
    hear([parse, message(b'B', &[0; 8]), message(b'E', &[0, 0, 0, 0, 1]), message(b'S', &[])].concat())
}

/// The same with the names of the columns.
fn asked_by_name(sql: &str) -> Act {
    let parse = message(b'P', format!("\0{sql}\0\0\0").as_bytes());
    let rest = [message(b'B', &[0; 8]), message(b'D', b"P\0"), message(b'E', &[0, 0, 0, 0, 1]), message(b'S', &[])];
    hear([parse, rest.concat()].concat())
}

fn row(cells: &[&str]) -> Act {
    let mut body = (cells.len() as u16).to_be_bytes().to_vec();
    for cell in cells {
        body.extend((cell.len() as u32).to_be_bytes());
        body.extend_from_slice(cell.as_bytes());
    }
    let bytes = [message(b'1', b""), message(b'2', b""), message(b'D', &body), message(b'C', b"SELECT 1\0")].concat();
    say([bytes, message(b'Z', b"I")].concat())
}

const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

fn postgres_primary() -> Vec<Act> {
    vec![
        login(),
        say(WELCOME),
        asked("SELECT pg_is_in_recovery()"),
        row(&["f"]),
        asked(TIMELINE),
        row(&["0000000A"]),
        hear(b"X\0\0\0\x04"),
    ]
}

#[tokio::test]
async fn postgres_without_an_account_is_judged_by_its_first_words_and_left_in_silence() {
    let rows = [
        (say(SCRAM), Ok("SCRAM-SHA-256")),
        (say(b"R\0\0\0\x0c\0\0\0\x05abcd"), Ok("md5")),
        (say(b"R\0\0\0\x08\0\0\0\x03"), Ok("in the clear")),
        (say(b"R\0\0\0\x08\0\0\0\x07"), Ok("GSSAPI")),
        (refusal("28000", "no pg_hba.conf entry"), Ok("alive (error 28000")),
        (refusal("3D000", "database does not exist"), Ok("alive")),
        (refusal("57P03", "the database system is starting up"), Err("starting up")),
        (refusal("53300", "sorry, too many clients already"), Err("max_connections")),
    ];
    for (answer, expected) in rows {
        let mut fake = Fake::play(vec![hear(STARTUP), answer]).await;
        let report = probe("type = 'postgres'", fake.address).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => {
                bad(&report, Layer::Answer, words);
                let pace = if words == "max_connections" { Pace::Slow } else { Pace::Usual };
                assert_eq!(report.result.unwrap_err().pace, pace);
            }
        }
        let played = fake.played().await;
        assert_eq!((played.rest, played.ended_well), (vec![], true), "no goodbye before the login");
    }
}

#[tokio::test]
async fn postgres_says_whether_it_is_in_recovery_and_answers_a_query() {
    let account = "type = 'postgres'\nuser = 'app'\n";
    let transaction = || hear(message(b'Q', b"BEGIN; SET LOCAL statement_timeout = 20000\0"));
    let begun = || say([message(b'C', b"BEGIN\0"), message(b'C', b"SET\0"), message(b'Z', b"T")].concat());
    let question = |sql: &str, answer: Act| vec![login(), say(WELCOME), transaction(), begun(), asked(sql), answer];
    let named = |sql: &str, answer: Act| {
        let columns = b"\0\x02id\0------------------lag\0------------------";
        vec![login(), say(WELCOME), transaction(), begun(), asked_by_name(sql), say(message(b'T', columns)), answer]
    };
    let query = "query = 'SELECT a'\n";
    let lag = "column = 'lag'\nabove = 0\nbelow = 5";
    let none = || say([message(b'1', b""), message(b'C', b"SELECT 0\0"), message(b'Z', b"T")].concat());
    let recovery = |answer: Act| vec![login(), say(WELCOME), asked("SELECT pg_is_in_recovery()"), answer];
    let rows = [
        (format!("{account}{query}equals = 'x'"), question("SELECT a", row(&["x"])), Ok("says `x`, as wanted")),
        (format!("{account}{query}below = 5"), question("SELECT a", row(&["4.5"])), Ok("4.5")),
        (format!("{account}{query}below = 5"), question("SELECT a", row(&["5"])), Err("wanted below 5")),
        (format!("{account}{query}not = 1"), question("SELECT a", none()), Err("finds nothing")),
        (format!("{account}{query}{lag}"), named("SELECT a", row(&["x", "4"])), Ok("says `4` in `lag`, as wanted")),
        (format!("{account}{query}{lag}"), named("SELECT a", row(&["4", "0"])), Err("`0` in `lag`, wanted above 0")),
        (format!("{account}{query}{lag}"), named("SELECT a", none()), Err("finds nothing")),
        (format!("{account}{query}{lag}").replace("'lag'", "'lags'"), named("SELECT a", none()), Err("it has id, lag")),
        (
            format!("{account}{query}"),
            question("SELECT a", say([message(b'E', b"C42P01\0Mno table\0\0"), message(b'Z', b"E")].concat())),
            Err("the query is wrong (it says: no table)"),
        ),
        (format!("{account}recovery = 'standby'"), recovery(row(&["t"])), Ok("standby")),
        (format!("{account}recovery = 'down'"), recovery(row(&["t"])), Err("in recovery")),
        (
            format!("{account}recovery = 'down'"),
            [recovery(row(&["f"])), vec![asked(TIMELINE), row(&["x"])]].concat(),
            Ok("primary"),
        ),
        (format!("{account}recovery = 'down'"), vec![login(), say(SCRAM)], Err("give the check a `password`")),
        (account.to_owned(), vec![login(), say(SCRAM)], Ok("alive (it asks for SCRAM-SHA-256)")),
        (account.to_owned(), vec![login(), refusal("28P01", "no")], Ok("alive")),
        (format!("{account}password = 'p'"), vec![login(), refusal("28P01", "no")], Err("password is wrong")),
        (format!("{account}password = 'p'"), vec![login(), say(b"R\0\0\0\x08\0\0\0\x03")], Err("write tls = true")),
        (format!("{account}password = 'p'"), vec![login(), say(b"R\0\0\0\x08\0\0\0\x07")], Err("GSSAPI")),
        (format!("{account}password = 'p'"), vec![login(), say(b"R\0\0\0\x08\0\0\0\x0b")], Err("not begun")),
    ];
    for (check, acts, expected) in rows {
        let fake = Fake::play(acts).await;
        let report = probe(&check, fake.address).await;
        match expected {
            Ok(words) => good(&report, words),
            Err(words) => bad(&report, Layer::Answer, words),
        }
    }
}

#[tokio::test]
async fn a_primary_tells_its_timeline() {
    let fake = Fake::play(postgres_primary()).await;
    let check = "type = 'postgres'\nuser = 'app'\npassword = 'secret'\nrecovery = 'standby'";
    let report = probe(check, fake.address).await;
    good(&report, "primary");
    let says = report.result.unwrap().says;
    assert_eq!((says.role, says.epoch), (Some(Role::Active), Some(10)));
}

#[tokio::test]
async fn a_server_that_does_not_prove_that_it_knows_the_password_is_refused() {
    let check = "type = 'postgres'\nuser = 'app'\npassword = 'secret'";
    let begin = Act::HearAny(5 + "SCRAM-SHA-256\0".len() + 4 + "n,,n=,r=".len() + 24);
    for (last, words) in [
        (message(b'R', b"\0\0\0\x0cv=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), "does not know the password"),
        (WELCOME.to_vec(), "does not know the password"),
    ] {
        // The challenge of somebody who cannot know our nonce is refused before the password is touched.
        let strange = message(b'R', b"\0\0\0\x0br=somebody,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let fake = Fake::play(vec![login(), say(SCRAM), begin.clone(), say(strange), say(&last)]).await;
        bad(&probe(check, fake.address).await, Layer::Protocol, "not for us");
        let fake = Fake::play(vec![login(), say(SCRAM), begin.clone(), say(&last)]).await;
        let report = probe(check, fake.address).await;
        let failure = report.result.unwrap_err();
        assert!(failure.what.contains(words) || failure.what.contains("did not prove"), "{failure}");
    }
}

#[tokio::test]
async fn a_word_slipped_in_before_tls_is_refused() {
    let check = "type = 'postgres'\ntls = { verify = false }";
    let fake = Fake::play(vec![Act::HearAny(8), say([b"S", SCRAM].concat()), Act::Stall]).await;
    bad(&probe_shortly(check, fake.address).await, Layer::Protocol, "before TLS");
    let fake = Fake::play(vec![Act::HearAny(8), say("N")]).await;
    bad(&probe(check, fake.address).await, Layer::Tls, "ssl = on");
}

// === script ===

#[tokio::test]
async fn the_master_of_a_redis_is_found_by_a_script() {
    let check = r#"
type = "script"
steps = [
  { send = "AUTH ${SECRET}\r\n" }, { expect = "+OK" },
  { send = "PING\r\n" }, { expect = "+PONG" },
  { send = "INFO replication\r\n" }, { expect = "role:master" },
  { send = "QUIT\r\n" }, { expect = "+OK" },
]"#;
    let redis = |role: &str| {
        vec![
            hear("AUTH hunter2-secret\r\n"),
            say("+OK\r\n"),
            hear("PING\r\n"),
            say("+PONG\r\n"),
            hear("INFO replication\r\n"),
            say(format!("$29\r\n# Replication\r\nrole:{role}\r\n\r\n")),
            hear("QUIT\r\n"),
            say("+OK\r\n"),
        ]
    };
    let fake = Fake::play(redis("master")).await;
    good(&probe(check, fake.address).await, "all 8 steps are done");
    let fake = Fake::play(redis("slave")).await;
    let report = probe_shortly(check, fake.address).await;
    bad(&report, Layer::Answer, "step 6: `role:master` did not come within 300ms; what came is `");
    assert!(format!("{:?}", report.result).contains("role:slave"), "{report:?}");
    assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
}

#[tokio::test]
async fn a_script_speaks_bytes_patterns_and_several_connections() {
    let mut other = Fake::play(vec![say("hello 42\n"), hear(b"\x16\x03")]).await;
    let mut first = Fake::play(vec![hear(b"\x52\x00\r\n"), say(b"ab\x16cd")]).await;
    let check = format!(
        r#"
type = "script"
steps = [
  {{ send_hex = "52 00 0d0a" }},
  {{ expect_hex = "16" }},
  {{ expect = "cd" }},
  {{ connect = {} }},
  {{ expect_regex = 'hello (\d+)\n' }},
  {{ send_hex = "1603" }},
]"#,
        other.address.port()
    );
    good(&probe(&check, first.address).await, "all 6 steps are done");
    for fake in [&mut first, &mut other] {
        let played = fake.played().await;
        assert!(played.acts == 2 && played.ended_well && played.rest.is_empty(), "{played:?}");
    }
}

#[tokio::test]
async fn tls_can_begin_within_a_script() {
    let check = r#"
type = "script"
steps = [
  { expect = "220 " }, { send = "STARTTLS\r\n" }, { expect = "220 go\r\n" }, { tls = { verify = false } },
  { send = "EHLO x\r\n" }, { expect = "250" },
]"#;
    let acts = vec![
        say("220 mail\r\n"),
        hear("STARTTLS\r\n"),
        say("220 go\r\n"),
        Act::Tls,
        hear("EHLO x\r\n"),
        say("250 fine\r\n"),
    ];
    let fake = Fake::play_secured(acts.clone(), tls()).await;
    good(&probe(check, fake.address).await, "all 6 steps");
    let mut silent = acts[..3].to_vec();
    silent.push(Act::Stall);
    let fake = Fake::play_secured(silent, tls()).await;
    bad(&probe_shortly(check, fake.address).await, Layer::Timeout, "step 4: TLS was not done within 300ms");
}

#[tokio::test]
async fn the_step_that_fails_is_named() {
    let check = "type = 'script'\nsteps = [{ send = 'a' }, { expect = 'good' }]";
    let fake = Fake::play(vec![hear("a"), say("bad"), Act::Close]).await;
    bad(
        &probe(check, fake.address).await,
        Layer::Answer,
        "step 2: connection closed before `good` came; what came is `bad`",
    );
    let fake = Fake::play(vec![Act::Stall]).await;
    bad(&probe_shortly(check, fake.address).await, Layer::Timeout, "step 2: `good` did not come within 300ms");
    let port = closed_port().await.port();
    let check = format!("type = 'script'\nsteps = [{{ connect = {port} }}, {{ expect = 'x' }}]");
    bad(&probe(&check, fake.address).await, Layer::Connect, "step 1: connection refused");
}

// === agent ===

fn agent(line: &str) -> Vec<Act> {
    vec![say(line)]
}

#[tokio::test]
async fn what_an_agent_said_holds_until_it_says_otherwise() {
    let parts =
        ["up 100%\n", "50%,drain\r\nignored", "what?\n", "incomplete", "down # disk full\n", "", "75%\n", "ready up\n"];
    let fake = Fake::play_all(parts.iter().map(|line| [agent(line), vec![Act::Close]].concat()).collect(), None).await;
    let check = format!("{LONG}type = 'agent'\nport = {}", fake.address.port());
    let asked = question(&check, "127.0.0.1:1".parse().unwrap());
    let expected = [
        Ok((Wish::Work, Some(100), "says up, weight 100%")),
        Ok((Wish::Drain, Some(50), "drain, weight 50%")),
        Ok((Wish::Drain, Some(50), "`what?` says nothing")),
        Ok((Wish::Drain, Some(50), "closed before a whole line")),
        Err("the agent says down: disk full"),
        Err("down: disk full; nothing new since: connection closed before a whole line"),
        Err("the agent says down: disk full"),
        Ok((Wish::Work, Some(75), "says up, weight 75%")),
    ];
    for expected in expected {
        let report = attempt(std::sync::Arc::clone(&asked), fake.address).await;
        match expected {
            Ok((wish, share, words)) => {
                good(&report, words);
                let says = report.result.unwrap().says;
                assert_eq!((says.wish, says.share), (wish, share), "{words}");
            }
            Err(words) => bad(&report, Layer::Answer, words),
        }
    }
}

#[tokio::test]
async fn an_agent_that_was_never_heard_says_nothing_against_its_backend() {
    let at = closed_port().await;
    good(
        &probe(&format!("type = 'agent'\nport = {}", at.port()), at).await,
        "no word from the agent yet: connection refused",
    );
    let fake = Fake::play(vec![Act::Stall]).await;
    let check = format!("type = 'agent'\nport = {}", fake.address.port());
    good(&probe_shortly(&check, fake.address).await, "no line within 300ms");
    let fake = Fake::play(vec![say("x".repeat(200_000))]).await;
    let check = format!("type = 'agent'\nport = {}", fake.address.port());
    good(&probe(&check, fake.address).await, "no word from the agent yet");
}

#[tokio::test]
async fn an_agent_hears_what_it_is_to_be_told() {
    let mut fake = Fake::play(vec![hear("web\n"), say("up\n")]).await;
    let check = format!("type = 'agent'\nsend = \"web\\n\"\nport = {}", fake.address.port());
    good(&probe(&check, fake.address).await, "says up");
    assert_eq!(fake.played().await.acts, 2);
}

#[test]
fn an_agent_is_believed_at_once() {
    let asked = "[listener.l]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']\n[pool.p.check.c]\ntype = 'agent'\nport = 1\n";
    let loaded = evenkeel::config::load(&evenkeel::config::Source::text(asked)).unwrap();
    let timing = loaded.config.pools[0].checks[0].timing;
    assert_eq!((timing.rise.get(), timing.fall.get(), timing.interval), (1, 1, Duration::from_secs(2)));
}
