//! What a server means by an error number: whether it is alive, what to do about it, and whether asking does harm.
//! PURE.

use super::packet::Refusal;
use crate::probe::report::{Failure, Finding, Layer, Pace};

/// What a check wants of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// A sign of life.
    Life,
    /// To be let in.
    Entry,
}

/// The end of a login that was refused. `trouble` is what kept us from logging in by the server's method.
pub(super) fn of_login(refusal: &Refusal, wants: Wants, trouble: Option<&str>) -> Result<Finding, Failure> {
    let Refusal { code, text } = refusal;
    if let Some(why) = denied(*code) {
        return match wants {
            Wants::Life => Ok(Finding::new(match trouble {
                Some(trouble) => format!("alive (error {code}: access denied; {trouble})"),
                None => format!("alive (error {code}: access denied)"),
            })),
            Wants::Entry => Err(failure(*code, trouble.unwrap_or(why), text, pace(*code))),
        };
    }
    Err(of_any(refusal, None))
}

/// The failure of a statement, `what` in a few words.
pub(super) fn of_statement(refusal: &Refusal, what: &str) -> Failure {
    let grant = match refusal.code {
        1142 | 1143 | 1044 | 1370 => Some("its user lacks a right: GRANT SELECT on what it reads"),
        1227 => Some(
            "its user lacks a right: GRANT REPLICATION CLIENT ON *.* (MariaDB: SLAVE MONITOR ON *.*) for `replica`",
        ),
        1193 | 1146 | 1109 if what == GROUP => Some("there is no group replication here: MySQL has it, MariaDB not"),
        1054 if what == GROUP => Some("group replication tells no roles here: MySQL 8.0 and later do"),
        _ => None,
    };
    let mut failure = of_any(refusal, grant);
    failure.what = format!("{what}: {}", failure.what);
    failure
}

/// How the statement about group replication is called.
pub(super) const GROUP: &str = "group_replication";

/// Why nobody was let in, in words that name the remedy; `None`: it is another kind of refusal.
fn denied(code: u16) -> Option<&'static str> {
    Some(match code {
        1045 | 1698 => "bad password, no such user, or not from this address",
        1044 => "the user has no right to the database: GRANT it one",
        1049 => "there is no such database",
        1226 => "the user has used up what it may per hour: raise its MAX_... limits, or ask less often",
        1251 | 1275 => "the server wants another method of login",
        1524 => "the server lacks the plugin of this user's method",
        1820 | 1862 => "the password has expired: ALTER USER ... PASSWORD EXPIRE NEVER",
        3118 | 4151 => "the account is locked: ALTER USER ... ACCOUNT UNLOCK",
        3955 => "the account is locked after too many wrong passwords: correct the password, then ACCOUNT UNLOCK",
        3159 => "the server wants TLS: set tls = true",
        _ => return None,
    })
}

fn of_any(refusal: &Refusal, remedy: Option<&str>) -> Failure {
    let Refusal { code, text } = refusal;
    let remedy = remedy.or(match code {
        1129 => Some(
            "it has blocked the balancer's address: run FLUSH HOSTS there, and find out who breaks off logins; \
             until then it is asked less often",
        ),
        1130 => Some("it lets no user in from the balancer's address: create one for it"),
        1040 => Some(
            "too many connections: raise max_connections or find out who holds them; until then it is asked less often",
        ),
        1203 => Some(
            "this user has too many connections: raise its max_user_connections; until then it is asked less often",
        ),
        1053 => Some("it is shutting down"),
        1047 => Some("this Galera node is not ready (WSREP): wait until it has joined"),
        3032 => Some("it is in offline mode: SET GLOBAL offline_mode = OFF"),
        1043 | 1156 => Some("it did not understand the login"),
        _ => None,
    });
    match remedy {
        Some(remedy) => failure(*code, remedy, text, pace(*code)),
        None => Failure::new(Layer::Answer, format!("error {code}: {text}")),
    }
}

/// Whether asking at the usual pace does harm.
fn pace(code: u16) -> Pace {
    match code {
        1040 | 1129 | 1203 | 3955 => Pace::Slow,
        _ => Pace::Usual,
    }
}

fn failure(code: u16, remedy: &str, text: &str, pace: Pace) -> Failure {
    let what = format!("error {code}: {remedy} (it says: {text})");
    Failure { pace, ..Failure::new(Layer::Answer, what) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16) -> Refusal {
        Refusal { code, text: "its words".to_owned() }
    }

    #[test]
    fn refusals_are_told_apart_and_name_the_remedy() {
        for (code, expected) in [
            (1045, Ok("access denied")),
            (1698, Ok("access denied")),
            (1226, Ok("access denied")),
            (3159, Ok("access denied")),
            (1129, Err("FLUSH HOSTS")),
            (1130, Err("create one")),
            (1040, Err("max_connections")),
            (1203, Err("max_user_connections")),
            (1053, Err("shutting down")),
            (1047, Err("WSREP")),
            (1043, Err("did not understand")),
            (9999, Err("9999: its words")),
        ] {
            let found = of_login(&refusal(code), Wants::Life, None);
            match (&found, expected) {
                (Ok(found), Ok(words)) => assert!(found.what.contains(words), "{code}: {found:?}"),
                (Err(failure), Err(words)) => {
                    assert!(failure.what.contains(words) && failure.what.contains("its words"), "{failure}");
                    assert_eq!(failure.layer, Layer::Answer);
                }
                _ => panic!("{code}: {found:?}"),
            }
        }
    }

    #[test]
    fn who_wants_in_takes_no_refusal_for_life() {
        for (code, words) in [
            (1045, "bad password, no such user"),
            (1044, "no right to the database"),
            (1049, "no such database"),
            (1820, "expired"),
            (3118, "locked"),
            (3159, "tls = true"),
        ] {
            let failure = of_login(&refusal(code), Wants::Entry, None).unwrap_err();
            assert!(failure.what.contains(words), "{failure}");
            assert_eq!(failure.pace, Pace::Usual);
        }
        let failure = of_login(&refusal(1045), Wants::Entry, Some("its method x is not supported")).unwrap_err();
        assert!(failure.what.contains("method x") && !failure.what.contains("bad password"), "{failure}");
    }

    #[test]
    fn where_asking_does_harm_it_is_said_and_done_less_often() {
        for code in [1129, 1040, 1203] {
            let failure = of_login(&refusal(code), Wants::Entry, None).unwrap_err();
            assert_eq!(failure.pace, Pace::Slow, "{failure}");
            assert!(failure.what.contains("asked less often"), "{failure}");
        }
        assert_eq!(of_login(&refusal(1047), Wants::Entry, None).unwrap_err().pace, Pace::Usual);
    }

    #[test]
    fn a_statement_that_is_refused_names_itself_and_the_right_it_lacks() {
        for (code, what, words) in [
            (1227, "replica", "replica: error 1227: its user lacks a right: GRANT REPLICATION CLIENT"),
            (1142, "query", "query: error 1142: its user lacks a right: GRANT SELECT"),
            (1193, GROUP, "there is no group replication"),
            (1064, "query", "query: error 1064: its words"),
            (1047, "query", "query: error 1047: this Galera node is not ready"),
        ] {
            let failure = of_statement(&refusal(code), what);
            assert!(failure.what.starts_with(words) || failure.what.contains(words), "{failure}");
        }
    }
}
