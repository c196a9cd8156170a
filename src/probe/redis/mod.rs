//! `type = "redis"`: `PING`, and on demand the role, as `ROLE` tells it: master or replica, and how the replica's link
//! to its master is. Valkey, `KeyDB` and Dragonfly speak the same.
//!
//! A server that asks for a password which the check does not have is alive. What it says of itself otherwise (loading,
//! cut off from its master, blocked by a script, unable to save) is passed on in plain words.

mod resp;

use self::resp::{Reply, command};
use super::question::Question;
use super::report::{Failure, Finding, Layer};
use super::transcript::{Log, readable};
use super::wire::{Wire, secured};
use crate::config::model::{MasterLink, RedisCheck, Site, Telling};
use crate::health::Role;

/// Longest text of a server that is quoted.
const WIDTH: usize = 120;

pub(super) async fn ask(
    question: &Question,
    check: &RedisCheck,
    address: &Site,
    log: &Log,
) -> Result<Finding, Failure> {
    let mut wire = Wire::open_with(question, secured(question)?, address, log).await?;
    let found = converse(&mut wire, check, log).await;
    if found.is_ok() {
        wire.send(&command(&["QUIT"])).await;
        // It is read so that we end with FIN; whether it comes no longer matters.
        wire.last_word(async |wire| drop(receive(wire, "a goodbye").await)).await;
    }
    wire.close().await;
    found
}

async fn converse(wire: &mut Wire, check: &RedisCheck, log: &Log) -> Result<Finding, Failure> {
    if let Some(password) = &check.password {
        let words = match &check.user {
            Some(user) => vec!["AUTH", user, password],
            None => vec!["AUTH", password],
        };
        wire.send(&command(&words)).await;
        match receive(wire, "an answer to AUTH").await? {
            Reply::Simple(_) => log.note("logged in"),
            Reply::Error(text) if needs_no_password(&text) => log.note("it asks for no password, and was given one"),
            Reply::Error(text) => return Err(refused(&text)),
            _ => return Err(no_answer_to("AUTH")),
        }
    }
    wire.send(&command(&["PING"])).await;
    let wants_role = check.role == Telling::Told || check.master_link == MasterLink::Up;
    match receive(wire, "an answer to PING").await? {
        Reply::Error(text) => match alive(&text) {
            Some(finding) if !wants_role => return Ok(finding),
            _ => return Err(refused(&text)),
        },
        Reply::Simple(text) if text == "PONG" => {}
        _ => return Err(no_answer_to("PING")),
    }
    if !wants_role {
        return Ok(Finding::new("PONG"));
    }
    wire.send(&command(&["ROLE"])).await;
    match receive(wire, "an answer to ROLE").await? {
        Reply::Error(text) => Err(refused(&text)),
        reply => judge(check, &reply),
    }
}

async fn receive(wire: &mut Wire, waiting_for: &str) -> Result<Reply, Failure> {
    loop {
        match resp::parse(wire.hand()) {
            Ok(Some((reply, length))) => {
                wire.take(length);
                return Ok(reply);
            }
            Ok(None) => wire.fill(waiting_for).await?,
            Err(_garbage) => {
                let came = readable(wire.hand(), WIDTH);
                return Err(Failure::new(Layer::Protocol, format!("what came is not the Redis protocol: `{came}`")));
            }
        }
    }
}

fn no_answer_to(command: &str) -> Failure {
    Failure::new(Layer::Protocol, format!("what came is no answer to {command}"))
}

/// What a server says that was given a password and has none.
fn needs_no_password(text: &str) -> bool {
    text.contains("no password is set") || text.contains("without any password configured")
}

/// An error that proves life where nothing more is asked.
fn alive(text: &str) -> Option<Finding> {
    match text.split(' ').next() {
        Some("NOAUTH") => Some(Finding::new("alive (it asks for a password)")),
        Some("NOPERM") => Some(Finding::new("alive (this user may not PING)")),
        _ => None,
    }
}

/// An error in plain words, with the remedy where there is one.
fn refused(text: &str) -> Failure {
    let words = match text.split(' ').next().unwrap_or_default() {
        "LOADING" => "it is loading its data into memory",
        "MASTERDOWN" => "it is cut off from its master and gives no stale data",
        "BUSY" => "a script blocks it: SCRIPT KILL ends one that has written nothing",
        "MISCONF" => "it cannot save to its disk and refuses writes: look at its log and its disk",
        "NOAUTH" => "it asks for a password: give the check one",
        "NOPERM" => "this user may not ask: allow it +ping and +role",
        "WRONGPASS" => "user or password is wrong",
        "DENIED" => "protected mode lets in nobody from outside: give it a password, or bind it to an address",
        _ if text.contains("max number of clients") => {
            "it has too many clients: raise maxclients, or find out who they are"
        }
        _ if text.contains("invalid password") => "the password is wrong",
        _ if text.contains("number of arguments for 'auth'") => "it knows no users (before Redis 6): take `user` out",
        _ => "it refuses",
    };
    let failure = Failure::new(Layer::Answer, format!("{words} (it says: {})", readable(text.as_bytes(), WIDTH)));
    if text.contains("max number of clients") { failure.slowly() } else { failure }
}

/// What `ROLE` says.
fn judge(check: &RedisCheck, reply: &Reply) -> Result<Finding, Failure> {
    let Reply::List(parts) = reply else { return Err(no_answer_to("ROLE")) };
    let text = |at: usize| parts.get(at).and_then(Reply::text);
    let (role, what) = match text(0).as_deref() {
        Some("master") => (Role::Active, "master".to_owned()),
        Some("slave") => {
            let port = match parts.get(2) {
                Some(Reply::Integer(port)) => *port,
                _ => return Err(no_answer_to("ROLE")),
            };
            let (Some(master), Some(link)) = (text(1), text(3)) else { return Err(no_answer_to("ROLE")) };
            let master = readable(format!("{master}:{port}").as_bytes(), WIDTH);
            let link = readable(link.as_bytes(), WIDTH);
            if check.master_link == MasterLink::Up && link != "connected" {
                let what = format!("its link to its master {master} is `{link}`, wanted `connected`");
                return Err(Failure::new(Layer::Answer, what));
            }
            (Role::Standby, format!("replica of {master}, link {link}"))
        }
        Some("sentinel") => {
            let what = "this is a sentinel, neither master nor replica: ask Redis itself, at its own port";
            return Err(Failure::new(Layer::Answer, what));
        }
        _ => return Err(no_answer_to("ROLE")),
    };
    let finding = Finding::new(what);
    Ok(if check.role == Telling::Told { finding.with_role(role) } else { finding })
}

/// For [`super::parsers`].
pub(super) fn feed(said: &[u8]) {
    let mut rest = said;
    while let Ok(Some((reply, length))) = resp::parse(rest) {
        let _ = reply.text();
        rest = &rest[length.max(1)..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(role: Telling, master_link: MasterLink) -> RedisCheck {
        RedisCheck { user: None, password: None, role, master_link, tls: None }
    }

    fn replica(link: &str) -> Reply {
        let text = |text: &str| Reply::Text(Some(text.as_bytes().to_vec()));
        Reply::List(vec![text("slave"), text("10.0.0.1"), Reply::Integer(6379), text(link), Reply::Integer(-1)])
    }

    #[test]
    fn the_role_is_told_and_the_link_counts_on_demand() {
        use MasterLink::{Any, Up};
        use Telling::{Told, Untold};
        let text = |text: &str| Reply::Text(Some(text.as_bytes().to_vec()));
        let master = || Reply::List(vec![text("master"), Reply::Integer(7), Reply::List(vec![])]);
        let rows = [
            (Told, Any, master(), Ok((Some(Role::Active), "master"))),
            (Told, Up, master(), Ok((Some(Role::Active), "master"))),
            (Untold, Up, master(), Ok((None, "master"))),
            (Told, Any, replica("connected"), Ok((Some(Role::Standby), "10.0.0.1:6379"))),
            (Told, Up, replica("connected"), Ok((Some(Role::Standby), "connected"))),
            (Told, Any, replica("connecting"), Ok((Some(Role::Standby), "connecting"))),
            (Told, Up, replica("connecting"), Err("is `connecting`")),
            (Told, Up, replica("connect"), Err("is `connect`")),
            (Told, Up, replica("sync"), Err("is `sync`")),
            (Told, Up, replica("handshake"), Err("is `handshake`")),
            (Told, Any, Reply::List(vec![text("sentinel"), Reply::List(vec![])]), Err("sentinel")),
            (Told, Any, Reply::List(vec![text("slave"), text("a")]), Err("no answer to ROLE")),
            (Told, Any, Reply::List(vec![]), Err("no answer to ROLE")),
            (Told, Any, Reply::Simple("OK".into()), Err("no answer to ROLE")),
        ];
        for (role, link, reply, expected) in rows {
            let found = judge(&check(role, link), &reply);
            match (&found, expected) {
                (Ok(finding), Ok((role, words))) => {
                    assert_eq!(finding.says.role, role, "{finding:?}");
                    assert!(finding.what.contains(words), "{finding:?}");
                }
                (Err(failure), Err(words)) => assert!(failure.what.contains(words), "{failure}"),
                _ => panic!("{reply:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn errors_are_said_in_plain_words() {
        let rows = [
            ("LOADING Redis is loading the dataset in memory", "loading its data"),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "cut off"),
            ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
            ("MISCONF Redis is configured to save RDB snapshots", "disk"),
            ("NOAUTH Authentication required.", "give the check one"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "wrong"),
            ("ERR invalid password", "the password is wrong"),
            ("DENIED Redis is running in protected mode", "protected mode"),
            ("ERR max number of clients reached", "maxclients"),
            ("ERR wrong number of arguments for 'auth' command", "take `user` out"),
            ("ERR unknown command `PING`", "it refuses (it says: ERR unknown command"),
        ];
        for (text, words) in rows {
            let failure = refused(text);
            assert!(failure.what.contains(words), "{failure}");
            assert_eq!(failure.pace == super::super::report::Pace::Slow, text.contains("clients"), "{failure}");
        }
        assert!(alive("NOAUTH Authentication required.").is_some() && alive("LOADING").is_none());
    }
}
