//! What is asked after the login: recovery, lag, the operator's own query, and the timeline of a primary.

use std::time::Duration;

use super::packet::{self, Message, Names, Refusal};
use super::{MESSAGES_MAX, endless, receive};
use crate::config::model::{PostgresAccount, Recovery};
use crate::health::{Role, Says};
use crate::probe::compare::{Answer, judge};
use crate::probe::report::{Failure, Finding, Layer};
use crate::probe::transcript::{Log, readable};
use crate::probe::wire::Wire;

/// In recovery or not, and how many seconds behind. A standby that has replayed all that it got is not behind, as long
/// as somebody sends it anything; otherwise the age of the last transaction is what it is behind at most.
const RECOVERY: &str = "SELECT pg_is_in_recovery()";
const RECOVERY_AND_LAG: &str = "SELECT pg_is_in_recovery(), CASE WHEN NOT pg_is_in_recovery() THEN 0 \
    WHEN EXISTS (SELECT FROM pg_stat_wal_receiver) AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
    ELSE EXTRACT(EPOCH FROM now() - pg_last_xact_replay_timestamp()) END";
/// The timeline of a primary: each promotion begins a new one, so that of two the greater one is the newer.
const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";

/// The first row of an answer.
type Row = Vec<Option<Vec<u8>>>;

/// Asks whatever the check wants to know.
pub(super) async fn ask(
    wire: &mut Wire,
    account: &PostgresAccount,
    timeout: Duration,
    log: &Log,
) -> Result<Finding, Failure> {
    let mut said = vec![format!("logged in as {}", account.user)];
    let mut says = Says::default();
    if let Some(recovery) = account.recovery {
        let wants_lag = matches!(recovery, Recovery::Standby { lag_max: Some(_) });
        let answer = query(wire, if wants_lag { RECOVERY_AND_LAG } else { RECOVERY }, Names::Spared).await?;
        let role = match answer {
            Ok(answer) => of_recovery(recovery, answer.first.as_deref().unwrap_or_default(), &mut said)?,
            Err(refusal) => return Err(refusal.failure()),
        };
        says.role = Some(role);
        log.note(format!("it is {}", role.word()));
    }
    if let Some(wanted) = &account.query {
        // The server ends the query when nobody waits for it any more; without that, those of a slow server would pile
        // up. For the length of a transaction: behind a pooler, a setting of the session would be left to somebody else.
        let limit = timeout.as_millis();
        wire.send(&packet::simple(&format!("BEGIN; SET LOCAL statement_timeout = {limit}"))).await;
        if let Err(refusal) = answer(wire).await? {
            return Err(refusal.failure());
        }
        let names = if wanted.column.is_some() { Names::Wanted } else { Names::Spared };
        match query(wire, &wanted.sql, names).await? {
            Ok(answer) => said.push(judge(wanted, &answer)?),
            Err(refusal) => return Err(refusal.failure()),
        }
    }
    if says.role == Some(Role::Active) && account.query.is_none() {
        // A relative of PostgreSQL may not know it: then it has no timeline.
        if let Ok(Answer { first: Some(row), .. }) = query(wire, TIMELINE, Names::Spared).await? {
            says.epoch = timeline(&row);
        }
    }
    Ok(Finding::new(said.join(", ")).saying(says))
}

fn of_recovery(recovery: Recovery, row: &[Option<Vec<u8>>], said: &mut Vec<String>) -> Result<Role, Failure> {
    let text = |at: usize| row.get(at).and_then(Option::as_deref);
    match (text(0), recovery) {
        (Some(b"f"), _) => {
            said.push("primary".to_owned());
            Ok(Role::Active)
        }
        (Some(b"t"), Recovery::Down) => Err(Failure::new(Layer::Answer, "it is in recovery (a standby)")),
        (Some(b"t"), Recovery::Standby { lag_max: None }) => {
            said.push("standby".to_owned());
            Ok(Role::Standby)
        }
        (Some(b"t"), Recovery::Standby { lag_max: Some(limit) }) => {
            let Some(lag) = text(1).and_then(seconds) else {
                return Err(Failure::new(
                    Layer::Answer,
                    "a standby whose lag is unknown: it has replayed no transaction yet",
                ));
            };
            if lag > limit {
                let what = format!("a standby that is {:.1}s behind, wanted {limit:?} at most", lag.as_secs_f64());
                return Err(Failure::new(Layer::Answer, what));
            }
            said.push(format!("standby, {:.1}s behind", lag.as_secs_f64()));
            Ok(Role::Standby)
        }
        (other, _) => {
            let came = readable(other.unwrap_or_default(), 20);
            Err(Failure::new(Layer::Protocol, format!("whether it is in recovery is `{came}`")))
        }
    }
}

/// Seconds with a fraction; a clock that runs ahead makes them negative, which is no lag.
fn seconds(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds.max(0.0)).ok()
}

fn timeline(row: &Row) -> Option<u64> {
    let text = std::str::from_utf8(row.first()?.as_deref()?).ok()?;
    u64::from_str_radix(text, 16).ok()
}

/// Asks one question: the answer, or the server's refusal.
async fn query(wire: &mut Wire, sql: &str, names: Names) -> Result<Result<Answer, Refusal>, Failure> {
    wire.send(&packet::query(sql, names)).await;
    answer(wire).await
}

async fn answer(wire: &mut Wire) -> Result<Result<Answer, Refusal>, Failure> {
    let mut found = Ok(Answer::default());
    for _ in 0..MESSAGES_MAX {
        match receive(wire, "an answer to the query").await? {
            Message::Row(row) => {
                if let Ok(answer) = &mut found {
                    answer.first.get_or_insert(row);
                }
            }
            Message::Columns(names) => {
                if let Ok(answer) = &mut found {
                    answer.columns = names;
                }
            }
            Message::Error(refusal) => found = Err(refusal),
            Message::Ready => return Ok(found),
            Message::Auth(_) => return Err(Failure::new(Layer::Protocol, "it asks for a login within a session")),
            Message::Other => {}
        }
    }
    Err(endless())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_a_standby_or_down_and_lag_has_a_limit() {
        type Line = (Recovery, &'static [Option<&'static str>], Result<Role, &'static str>);
        let within = |limit: u64| Recovery::Standby { lag_max: Some(Duration::from_secs(limit)) };
        let any = Recovery::Standby { lag_max: None };
        let rows: &[Line] = &[
            (any, &[Some("f")], Ok(Role::Active)),
            (any, &[Some("t")], Ok(Role::Standby)),
            (Recovery::Down, &[Some("f")], Ok(Role::Active)),
            (Recovery::Down, &[Some("t")], Err("in recovery")),
            (within(5), &[Some("f"), Some("0")], Ok(Role::Active)),
            (within(5), &[Some("t"), Some("0")], Ok(Role::Standby)),
            (within(5), &[Some("t"), Some("4.999999")], Ok(Role::Standby)),
            (within(5), &[Some("t"), Some("-0.3")], Ok(Role::Standby)),
            (within(5), &[Some("t"), Some("5.25")], Err("5.2s behind")),
            (within(5), &[Some("t"), Some("86400.000000")], Err("86400.0s behind, wanted 5s")),
            (within(5), &[Some("t"), None], Err("lag is unknown")),
            (within(5), &[Some("t"), Some("NaN")], Ok(Role::Standby)),
            (within(5), &[Some("t"), Some("inf")], Err("lag is unknown")),
            (within(5), &[Some("t")], Err("lag is unknown")),
            (any, &[], Err("``")),
            (any, &[None], Err("``")),
            (any, &[Some("maybe")], Err("`maybe`")),
        ];
        for (recovery, row, expected) in rows {
            let row: Row = row.iter().map(|cell| cell.map(|text| text.as_bytes().to_vec())).collect();
            let found = of_recovery(*recovery, &row, &mut Vec::new());
            match (&found, expected) {
                (Ok(role), Ok(expected)) => assert_eq!(role, expected, "{recovery:?} {row:?}"),
                (Err(failure), Err(words)) => assert!(failure.what.contains(words), "{failure}"),
                _ => panic!("{recovery:?} {row:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_timeline_is_a_hexadecimal_number() {
        let row = |text: &str| vec![Some(text.as_bytes().to_vec())];
        assert_eq!(timeline(&row("00000001")), Some(1));
        assert_eq!(timeline(&row("0000001F")), Some(31));
        assert_eq!(timeline(&row("x")), None);
        assert_eq!(timeline(&vec![None]), None);
        assert_eq!(timeline(&vec![]), None);
    }
}
