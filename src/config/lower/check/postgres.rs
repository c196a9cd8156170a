//! What a check of type `postgres` asks.

use std::time::Duration;

use super::account::{needs, password, sendable};
use super::{compare, tls};
use crate::config::model::{PostgresAccount, PostgresCheck, Recovery};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};

const RECOVERY: Choice<Recovery> = Choice {
    words: &[("standby", Recovery::Standby { lag_max: None }), ("down", Recovery::Down)],
    foreign: &[
        ("replica", "standby"),
        ("slave", "standby"),
        ("read", "standby"),
        ("fail", "down"),
        ("true", "write \"standby\" or \"down\": what a server in recovery is"),
    ],
    later: &[],
};

/// Keys that need somebody who logs in.
const LOGIN_KEYS: [&str; 9] =
    ["password", "database", "query", "column", "equals", "not", "above", "below", "recovery"];

pub(super) fn postgres(section: &Section<'_>) -> Option<PostgresCheck> {
    let tls = tls::tls(section);
    let login = needs(section, &LOGIN_KEYS, "user", "write user = \"evenkeel\" too: the account that logs in");
    let (recovery, lag) = (section.choice("recovery", &RECOVERY), lag(section));
    let query = compare::query(section);
    let password = password(section);
    let database = section.parsed("database", sendable("database"));
    let user = section.parsed("user", sendable("user"));
    let recovery = match recovery {
        Some(Recovery::Standby { .. }) => Some(Recovery::Standby { lag_max: lag? }),
        Some(Recovery::Down) => lag?.map_or(Some(Recovery::Down), |_| lag_without_standby(section)),
        None => lag?.map_or(Some(()), |_| lag_without_standby(section)).and(None),
    };
    login?;
    let (query, password) = (query?, password?);
    let account = user.map(|user| PostgresAccount {
        database: database.unwrap_or_else(|| user.clone()),
        user,
        password,
        recovery,
        query,
    });
    Some(PostgresCheck { account, tls: tls? })
}

/// `Some(None)`: none is given.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
fn lag(section: &Section<'_>) -> Option<Option<Duration>> {
    if section.has("lag_max") { section.duration("lag_max").map(Some) } else { Some(None) }
}

fn lag_without_standby<T>(section: &Section<'_>) -> Option<T> {
    let entry = section.entry("lag_max")?;
    section.cx.report(
        Problem::error("missing", entry.key_at, "`lag_max` needs recovery = \"standby\"")
            .label("no standby is ever up here")
            .help("write recovery = \"standby\", or take `lag_max` out"),
    );
    None
}
