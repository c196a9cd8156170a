//! What is asked after a login: the facts that the check wants, one statement after the other, and the operator's query.

use super::facts::{self, Said};
use super::packet;
use super::refusal;
use super::rows::{Answer, Rows};
use super::wire::Wire;
use crate::config::model::{MysqlFacts, Query, Replica};
use crate::health::Role;
use crate::probe::compare;
use crate::probe::report::{Failure, Finding, Layer};
use crate::probe::transcript::Log;

/// The error of a server that does not know a statement.
const SYNTAX: u16 = 1064;

/// What was heard so far.
#[derive(Debug, Default)]
struct Heard {
    said: Vec<String>,
    wrong: Vec<String>,
    role: Option<Role>,
}

impl Heard {
    fn take(&mut self, fact: Result<Said, String>) {
        match fact {
            Ok(said) => {
                self.said.push(said.what);
                self.role = self.role.or(said.role);
            }
            Err(wrong) => self.wrong.push(wrong),
        }
    }
}

/// What a check asks, for whoever repeats it by hand: servers of today know all of it.
pub(in crate::probe) fn statements(wanted: &MysqlFacts) -> Vec<&str> {
    let asks = [
        (wanted.read_only.is_some() || wanted.connections.is_some(), facts::VARIABLES),
        (wanted.galera.is_some() || wanted.connections.is_some(), facts::STATUS),
        (wanted.replica.is_some(), "SHOW REPLICA STATUS"),
        (wanted.group.is_some(), facts::GROUP_MEMBERS),
    ];
    let mut statements: Vec<&str> = asks.iter().filter(|(is_asked, _)| *is_asked).map(|(_, sql)| *sql).collect();
    statements.extend(wanted.query.iter().map(|query| &*query.sql));
    if statements.is_empty() {
        statements.push("SELECT 1");
    }
    statements
}

/// Asks for everything that is wanted of a server of `version`; `opening` begins the finding.
pub(super) async fn examine(
    wire: &mut Wire,
    wanted: &MysqlFacts,
    version: &str,
    opening: String,
    log: &Log,
) -> Result<Finding, Failure> {
    let mut heard = Heard { said: vec![opening], ..Heard::default() };
    let mut replicates = wanted.replica;
    if wanted.read_only.is_some() || wanted.connections.is_some() {
        let variables = rows(wire, facts::VARIABLES, "answer about read_only and max_connections", log).await?;
        if let Some(rule) = wanted.read_only {
            heard.take(facts::read_only(rule, &variables));
            // The one that takes writes need not replicate from anybody.
            if facts::is_read_only(&variables) == Ok(false) {
                replicates = None;
            }
        }
        status(wire, wanted, Some(&variables), &mut heard, log).await?;
    } else {
        status(wire, wanted, None, &mut heard, log).await?;
    }
    if let Some(rule) = replicates {
        let fact = replica(wire, rule, version, log).await?;
        heard.take(fact);
    }
    if let Some(rule) = wanted.group {
        let members = rows(wire, facts::GROUP_MEMBERS, "answer about group_replication", log).await?;
        heard.take(facts::group(rule, &members));
    }
    if let Some(wanted) = &wanted.query {
        heard.take(query(wire, wanted, log).await?);
    }
    if !heard.wrong.is_empty() {
        return Err(Failure::new(Layer::Answer, heard.wrong.join("; ")));
    }
    let finding = Finding::new(heard.said.join("; "));
    Ok(match heard.role {
        Some(role) => finding.with_role(role),
        None => finding,
    })
}

/// Galera and the count of connections, from one look at the server's status.
async fn status(
    wire: &mut Wire,
    wanted: &MysqlFacts,
    variables: Option<&Rows>,
    heard: &mut Heard,
    log: &Log,
) -> Result<(), Failure> {
    if wanted.galera.is_none() && wanted.connections.is_none() {
        return Ok(());
    }
    let status = rows(wire, facts::STATUS, "answer about galera and connections", log).await?;
    if let Some(rule) = wanted.galera {
        heard.take(facts::galera(rule, &status));
    }
    if let (Some(most), Some(variables)) = (wanted.connections, variables) {
        heard.take(facts::connections(most, variables, &status));
    }
    Ok(())
}

async fn replica(wire: &mut Wire, rule: Replica, version: &str, log: &Log) -> Result<Result<Said, String>, Failure> {
    let [first, second] = facts::replica_statements(version);
    let what = "answer about replica";
    let answer = match ask(wire, first, what, log).await? {
        Answer::Refused(refusal) if refusal.code == SYNTAX => ask(wire, second, what, log).await?,
        answer => answer,
    };
    Ok(facts::replica(rule, &shown(answer, what)?))
}

async fn query(wire: &mut Wire, query: &Query, log: &Log) -> Result<Result<Said, String>, Failure> {
    let answer = ask(wire, &query.sql, "answer to query", log).await?;
    let rows = shown(answer, "answer to query")?;
    let answer = compare::Answer { columns: rows.columns, first: rows.kept.into_iter().next() };
    Ok(match compare::judge(query, &answer) {
        Ok(what) => Ok(Said { what, role: None }),
        Err(failure) => Err(failure.what),
    })
}

/// The rows that answer a statement of ours.
async fn rows(wire: &mut Wire, sql: &str, what: &'static str, log: &Log) -> Result<Rows, Failure> {
    let answer = ask(wire, sql, what, log).await?;
    shown(answer, what)
}

/// A statement that shows nothing shows no rows.
fn shown(answer: Answer, what: &str) -> Result<Rows, Failure> {
    match answer {
        Answer::Rows(rows) => Ok(rows),
        Answer::Done => Ok(Rows::default()),
        Answer::Refused(refusal) => {
            let subject = what.trim_start_matches("answer about ").trim_start_matches("answer to ");
            Err(refusal::of_statement(&refusal, subject))
        }
    }
}

async fn ask(wire: &mut Wire, sql: &str, what: &'static str, log: &Log) -> Result<Answer, Failure> {
    log.note(format!("asking {sql}"));
    let answer = wire.command(&packet::query(sql), what).await?;
    log.note(match &answer {
        Answer::Done => "done".to_owned(),
        Answer::Rows(rows) => rows.summary(),
        Answer::Refused(refusal) => format!("error {}: {}", refusal.code, refusal.text),
    });
    Ok(answer)
}
