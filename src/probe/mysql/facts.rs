//! What a server says of itself, judged by what the check wants: read-only, replica, Galera, group, connections.
//! PURE: rows in, a few words and a role out, or a sentence that says what is wrong.

use std::time::Duration;

use super::rows::Rows;
use crate::config::model::{Galera, Group, MostConnections, ReadOnly, Replica};
use crate::health::Role;

/// `read_only` (also of `InnoDB`, as on a reader of Aurora) and `max_connections`, in this order.
pub(super) const VARIABLES: &str = "SELECT @@global.read_only, @@global.innodb_read_only, @@global.max_connections";

/// What Galera and the count of connections are judged by.
pub(super) const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'wsrep_ready', \
                                 'wsrep_cluster_status', 'wsrep_local_state', 'wsrep_local_state_comment')";

/// All members of the group, as this one sees them; the first column says which one it is itself.
pub(super) const GROUP_MEMBERS: &str = "SELECT MEMBER_ID = @@server_uuid, MEMBER_STATE, MEMBER_ROLE \
                                        FROM performance_schema.replication_group_members";

/// What a fact says when it is as wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// In a few words.
    pub(super) what: String,
    pub(super) role: Option<Role>,
}

impl Said {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), role: None }
    }

    fn with(what: impl Into<String>, role: Role) -> Self {
        Self { what: what.into(), role: Some(role) }
    }
}

/// The statements that tell about replication, the likelier one first: `MySQL` has renamed it, and dropped the old name.
pub(super) fn replica_statements(version: &str) -> [&'static str; 2] {
    let numbers: Vec<u32> = version.split(['.', '-']).map_while(|part| part.parse().ok()).collect();
    if version.contains("MariaDB") {
        // The one that also tells of further sources.
        ["SHOW ALL SLAVES STATUS", "SHOW SLAVE STATUS"]
    } else if numbers.as_slice() >= [8, 0, 22].as_slice() {
        ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]
    } else {
        ["SHOW SLAVE STATUS", "SHOW REPLICA STATUS"]
    }
}

/// Whether the backend takes no writes, from [`VARIABLES`].
pub(super) fn is_read_only(variables: &Rows) -> Result<bool, String> {
    let is_off = |column| variables.at(0, column).map(|value| ["0", "OFF"].contains(&value));
    match (is_off(0), is_off(1)) {
        (Some(open), Some(open_engine)) => Ok(!(open && open_engine)),
        _ => Err("read_only: the server does not tell".to_owned()),
    }
}

pub(super) fn read_only(rule: ReadOnly, variables: &Rows) -> Result<Said, String> {
    match (is_read_only(variables)?, rule) {
        (false, _) => Ok(Said::with("takes writes", Role::Active)),
        (true, ReadOnly::Standby) => Ok(Said::with("read-only", Role::Standby)),
        (true, ReadOnly::Read) => Ok(Said::with("read-only", Role::Read)),
        (true, ReadOnly::Down) => Err("read_only: it is read-only, wanted one that takes writes".to_owned()),
    }
}

pub(super) fn connections(most: MostConnections, variables: &Rows, status: &Rows) -> Result<Said, String> {
    let used = status.named("Threads_connected").and_then(|text| text.parse::<u32>().ok());
    let all = variables.at(0, 2).and_then(|text| text.parse::<u32>().ok());
    let (Some(used), Some(all)) = (used, all) else {
        return Err("connections: the server does not tell".to_owned());
    };
    let what = format!("{used} of {all} connections");
    let (holds, wanted) = match most {
        MostConnections::Percent(percent) => {
            (u64::from(used) * 100 <= u64::from(all) * u64::from(percent), format!("{percent}%"))
        }
        MostConnections::Count(count) => (used <= count, count.to_string()),
    };
    if holds { Ok(Said::new(what)) } else { Err(format!("connections: {what}, wanted at most {wanted}")) }
}

pub(super) fn galera(rule: Galera, status: &Rows) -> Result<Said, String> {
    let Some(ready) = status.named("wsrep_ready") else {
        return Err("galera: this server is in no Galera cluster".to_owned());
    };
    let part = status.named("wsrep_cluster_status").unwrap_or("unknown");
    let state = status.named("wsrep_local_state").unwrap_or("");
    let comment = status.named("wsrep_local_state_comment").unwrap_or("unknown");
    if part.eq_ignore_ascii_case("disconnected") {
        return Err(format!("galera: not connected to its cluster (wsrep_cluster_status = {part})"));
    }
    if !part.eq_ignore_ascii_case("primary") {
        return Err(format!("galera: in a part of the cluster without quorum (wsrep_cluster_status = {part})"));
    }
    if !ready.eq_ignore_ascii_case("on") {
        return Err(format!("galera: not ready (wsrep_ready = {ready}, state {comment})"));
    }
    match (state, rule) {
        ("4", _) => Ok(Said::new("galera synced")),
        ("2", Galera::SyncedOrDonor) => Ok(Said::new("galera donor or desynced")),
        ("2", Galera::Synced) => Err("galera: donor or desynced (wsrep_local_state = 2), wanted synced".to_owned()),
        _ => Err(format!("galera: not synced (wsrep_local_state = {state}, {comment})")),
    }
}

pub(super) fn replica(rule: Replica, sources: &Rows) -> Result<Said, String> {
    if sources.kept.is_empty() {
        return Err("replica: it replicates from nobody".to_owned());
    }
    let mut longest = 0;
    for row in 0..sources.kept.len() {
        let lag = source(rule, sources, row).map_err(|wrong| {
            let name = sources.value(row, &["Connection_name", "Channel_Name"]).unwrap_or("");
            if name.is_empty() { format!("replica: {wrong}") } else { format!("replica of `{name}`: {wrong}") }
        })?;
        longest = longest.max(lag);
    }
    Ok(Said::new(format!("replica, {longest} s behind")))
}

/// Seconds behind one source.
fn source(rule: Replica, sources: &Rows, row: usize) -> Result<u64, String> {
    let threads = [
        (["Replica_IO_Running", "Slave_IO_Running"], "Last_IO_Error", "receives nothing"),
        (["Replica_SQL_Running", "Slave_SQL_Running"], "Last_SQL_Error", "applies nothing"),
    ];
    for (names, error, what) in threads {
        let state = sources.value(row, &names).unwrap_or("unknown");
        if !state.eq_ignore_ascii_case("yes") {
            let error: String = sources.value(row, &[error]).unwrap_or("").chars().take(160).collect();
            let error = if error.is_empty() { error } else { format!(": {error}") };
            return Err(format!("it {what} ({} = {state}){error}", names[1]));
        }
    }
    let lag = sources.value(row, &["Seconds_Behind_Source", "Seconds_Behind_Master"]);
    let Some(lag) = lag.and_then(|text| text.parse::<u64>().ok()) else {
        return Err("its lag is unknown (NULL)".to_owned());
    };
    match rule.lag_max {
        Some(most) if Duration::from_secs(lag) > most => Err(format!("{lag} s behind, wanted at most {most:?}")),
        _ => Ok(lag),
    }
}

pub(super) fn group(rule: Group, members: &Rows) -> Result<Said, String> {
    let wrong = |what: String| Err(format!("group_replication: {what}"));
    let rows = 0..members.kept.len();
    let Some(own) = rows.clone().find(|row| members.at(*row, 0) == Some("1")) else {
        return wrong("it is in no group: START GROUP_REPLICATION".to_owned());
    };
    let state = members.at(own, 1).unwrap_or("unknown");
    if state != "ONLINE" {
        return wrong(format!("its state is {state}, wanted ONLINE"));
    }
    let lost = rows.filter(|row| members.at(*row, 1) == Some("UNREACHABLE")).count();
    if lost * 2 >= members.kept.len() {
        return wrong(format!("it has lost its majority: {lost} of {} members are unreachable", members.kept.len()));
    }
    match (members.at(own, 2), rule) {
        (Some("PRIMARY"), _) => Ok(Said::with("primary of its group", Role::Active)),
        (Some("SECONDARY"), Group::Online) => Ok(Said::with("secondary of its group", Role::Standby)),
        (Some("SECONDARY"), Group::Primary) => wrong("it is a secondary, wanted the primary".to_owned()),
        (other, _) => wrong(format!("its role is {}", other.unwrap_or("unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(columns: &[&str], rows: &[&[Option<&str>]]) -> Rows {
        Rows {
            columns: columns.iter().map(ToString::to_string).collect(),
            kept: rows
                .iter()
                .map(|row| row.iter().map(|value| value.map(|text| text.as_bytes().to_vec())).collect())
                .collect(),
            count: rows.len(),
        }
    }

    /// `name=value` pairs as `SHOW STATUS` gives them.
    fn status(pairs: &str) -> Rows {
        let pairs: Vec<[Option<&str>; 2]> = pairs
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap())
            .map(|(name, value)| [Some(name), Some(value)])
            .collect();
        rows(&["Variable_name", "Value"], &pairs.iter().map(<[_; 2]>::as_slice).collect::<Vec<_>>())
    }

    fn variables(read_only: &str, engine: &str, most: &str) -> Rows {
        rows(&["a", "b", "c"], &[&[Some(read_only), Some(engine), Some(most)]])
    }

    /// Words and role, or words of what is wrong.
    type Expected<'a> = Result<(&'a str, Option<Role>), &'a str>;

    #[track_caller]
    fn check(found: &Result<Said, String>, expected: Expected<'_>) {
        match (found, expected) {
            (Ok(said), Ok((what, role))) => assert_eq!((said.what.as_str(), said.role), (what, role)),
            (Err(wrong), Err(words)) => assert!(wrong.contains(words), "{wrong} should contain {words}"),
            _ => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn read_only_says_the_role_or_is_down() {
        use ReadOnly::{Down, Read, Standby};
        let rows = [
            (Standby, "0", "0", Ok(("takes writes", Some(Role::Active)))),
            (Standby, "OFF", "0", Ok(("takes writes", Some(Role::Active)))),
            (Standby, "1", "0", Ok(("read-only", Some(Role::Standby)))),
            (Standby, "0", "1", Ok(("read-only", Some(Role::Standby)))),
            (Read, "NO_LOCK", "0", Ok(("read-only", Some(Role::Read)))),
            (Down, "0", "0", Ok(("takes writes", Some(Role::Active)))),
            (Down, "1", "0", Err("it is read-only")),
        ];
        for (rule, global, engine, expected) in rows {
            check(&read_only(rule, &variables(global, engine, "151")), expected);
        }
        check(&read_only(Standby, &Rows::default()), Err("does not tell"));
    }

    #[test]
    fn connections_are_counted_against_a_share_or_a_number() {
        use MostConnections::{Count, Percent};
        let rows = [
            (Percent(90), "90", "100", Ok(("90 of 100 connections", None))),
            (Percent(90), "91", "100", Err("91 of 100 connections, wanted at most 90%")),
            (Count(5), "5", "151", Ok(("5 of 151 connections", None))),
            (Count(5), "6", "151", Err("6 of 151 connections, wanted at most 5")),
            (Count(5), "many", "151", Err("does not tell")),
            (Percent(1), "18446744073709551615", "1", Err("does not tell")),
        ];
        for (most, used, all, expected) in rows {
            let found = connections(most, &variables("0", "0", all), &status(&format!("Threads_connected={used}")));
            check(&found, expected);
        }
    }

    #[test]
    fn a_galera_node_must_be_synced_ready_and_with_the_majority() {
        use Galera::{Synced, SyncedOrDonor};
        let node = |ready: &str, part: &str, state: &str| {
            status(&format!(
                "wsrep_ready={ready} wsrep_cluster_status={part} wsrep_local_state={state} wsrep_local_state_comment=Word"
            ))
        };
        let rows = [
            (Synced, node("ON", "Primary", "4"), Ok(("galera synced", None))),
            (SyncedOrDonor, node("ON", "Primary", "4"), Ok(("galera synced", None))),
            (Synced, node("ON", "Primary", "2"), Err("donor or desynced")),
            (SyncedOrDonor, node("ON", "Primary", "2"), Ok(("galera donor or desynced", None))),
            (SyncedOrDonor, node("ON", "Primary", "3"), Err("not synced (wsrep_local_state = 3, Word)")),
            (Synced, node("ON", "Primary", "1"), Err("not synced")),
            (Synced, node("OFF", "Primary", "4"), Err("not ready")),
            (Synced, node("OFF", "non-Primary", "4"), Err("without quorum")),
            (Synced, node("OFF", "Disconnected", "0"), Err("not connected")),
            (Synced, status("Threads_connected=1"), Err("no Galera cluster")),
            (Synced, Rows::default(), Err("no Galera cluster")),
        ];
        for (rule, status, expected) in rows {
            check(&galera(rule, &status), expected);
        }
    }

    #[test]
    fn a_replica_must_run_and_keep_up() {
        let sources = |new: bool, lines: &[[&str; 5]]| {
            let names = if new {
                ["Channel_Name", "Replica_IO_Running", "Replica_SQL_Running", "Seconds_Behind_Source", "Last_IO_Error"]
            } else {
                ["Connection_name", "Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master", "Last_IO_Error"]
            };
            let lines: Vec<Vec<Option<&str>>> = lines
                .iter()
                .map(|line| line.iter().map(|value| (*value != "NULL").then_some(*value)).collect())
                .collect();
            rows(&names, &lines.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        let five = Replica { lag_max: Some(Duration::from_secs(5)) };
        let any = Replica { lag_max: None };
        let table: Vec<(Replica, Rows, Expected<'_>)> = vec![
            (five, sources(true, &[["", "Yes", "Yes", "5", ""]]), Ok(("replica, 5 s behind", None))),
            (five, sources(false, &[["", "Yes", "Yes", "0", ""]]), Ok(("replica, 0 s behind", None))),
            (five, sources(true, &[["", "Yes", "Yes", "6", ""]]), Err("6 s behind, wanted at most 5s")),
            (any, sources(true, &[["", "Yes", "Yes", "6000", ""]]), Ok(("replica, 6000 s behind", None))),
            (any, sources(true, &[["", "Yes", "Yes", "NULL", ""]]), Err("unknown (NULL)")),
            (any, sources(true, &[["", "No", "Yes", "NULL", ""]]), Err("receives nothing")),
            (
                any,
                sources(false, &[["", "Connecting", "Yes", "NULL", "cannot reach it"]]),
                Err("receives nothing (Slave_IO_Running = Connecting): cannot reach it"),
            ),
            (any, sources(false, &[["", "Yes", "No", "NULL", ""]]), Err("applies nothing")),
            (
                five,
                sources(false, &[["a", "Yes", "Yes", "2", ""], ["b", "Yes", "Yes", "9", ""]]),
                Err("replica of `b`: 9 s behind"),
            ),
            (
                five,
                sources(false, &[["a", "Yes", "Yes", "2", ""], ["b", "Yes", "Yes", "1", ""]]),
                Ok(("replica, 2 s behind", None)),
            ),
            (any, sources(true, &[]), Err("replicates from nobody")),
            (any, rows(&["other"], &[&[Some("x")]]), Err("receives nothing (Slave_IO_Running = unknown)")),
        ];
        for (rule, sources, expected) in table {
            check(&replica(rule, &sources), expected);
        }
    }

    #[test]
    fn the_statement_about_replication_follows_the_version() {
        for (version, first) in [
            ("8.0.36", "SHOW REPLICA STATUS"),
            ("8.4.0", "SHOW REPLICA STATUS"),
            ("9.1.0-log", "SHOW REPLICA STATUS"),
            ("8.0.22-13.1", "SHOW REPLICA STATUS"),
            ("8.0.21", "SHOW SLAVE STATUS"),
            ("5.7.44-log", "SHOW SLAVE STATUS"),
            ("10.11.19-MariaDB-0+deb12u1", "SHOW ALL SLAVES STATUS"),
            ("what is this", "SHOW SLAVE STATUS"),
            ("", "SHOW SLAVE STATUS"),
        ] {
            assert_eq!(replica_statements(version)[0], first, "{version}");
        }
    }

    #[test]
    fn a_member_must_be_online_with_its_majority_and_in_the_wanted_role() {
        use Group::{Online, Primary};
        let members = |lines: &[[&str; 3]]| {
            let lines: Vec<[Option<&str>; 3]> = lines.iter().map(|line| line.map(Some)).collect();
            rows(&["own", "MEMBER_STATE", "MEMBER_ROLE"], &lines.iter().map(<[_; 3]>::as_slice).collect::<Vec<_>>())
        };
        let of = |own: &'static str, role: &'static str, others: &'static str| {
            members(&[["0", others, "SECONDARY"], ["1", own, role], ["0", "ONLINE", "SECONDARY"]])
        };
        let table = [
            (Primary, of("ONLINE", "PRIMARY", "ONLINE"), Ok(("primary of its group", Some(Role::Active)))),
            (Online, of("ONLINE", "PRIMARY", "ONLINE"), Ok(("primary of its group", Some(Role::Active)))),
            (Online, of("ONLINE", "SECONDARY", "ONLINE"), Ok(("secondary of its group", Some(Role::Standby)))),
            (Primary, of("ONLINE", "SECONDARY", "ONLINE"), Err("a secondary, wanted the primary")),
            (Online, of("ONLINE", "PRIMARY", "UNREACHABLE"), Ok(("primary of its group", Some(Role::Active)))),
            (Online, of("RECOVERING", "SECONDARY", "ONLINE"), Err("its state is RECOVERING")),
            (Online, of("ERROR", "", "ONLINE"), Err("its state is ERROR")),
            (Online, of("ONLINE", "", "ONLINE"), Err("its role is ")),
            (
                Primary,
                members(&[["0", "UNREACHABLE", "SECONDARY"], ["1", "ONLINE", "PRIMARY"]]),
                Err("lost its majority: 1 of 2"),
            ),
            (Online, members(&[["0", "ONLINE", "PRIMARY"]]), Err("in no group")),
            (Online, Rows::default(), Err("in no group")),
        ];
        for (rule, members, expected) in table {
            check(&group(rule, &members), expected);
        }
    }
}
