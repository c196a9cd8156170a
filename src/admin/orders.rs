//! Orders of operators over the admin port: the body of a request, the wish that it makes, and what is answered.
//!
//! What an order means and whether it makes sense is for `control` to say; here only its form is judged.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::orders::{Done, Keeping, Standing, Want, Wish};
use crate::control::overrides::{Force, TakeBack, words};
use crate::health::Mode;
use crate::pool::{Backend, Order, OrderKind, Override};
use crate::route::Table;

/// Longest name of an owner, bytes.
pub(super) const MAX_OWNER: usize = 128;
/// Longest reason, bytes.
pub(super) const MAX_REASON: usize = 1_024;
/// Longest time that an order or a drain may be given.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// More percent of a weight than this is a slip of the pen.
const MAX_PERCENT: u16 = 1_000;

/// What may be ordered, as the path says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Maintenance,
    Ready,
    Promote,
    Demote,
    Weight,
}

/// The body of an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WishBody {
    /// Who orders it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// For how long; absent: until it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<f64>,
    /// How long a drain may take before what is left is cut; absent: as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<f64>,
    /// Percent of the configured weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u16>,
    /// Take the promotion or the weight back instead.
    pub reset: bool,
    /// Replace other people's orders, and leave nobody to work if need be.
    pub force: bool,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "OrderDoneView")]
pub struct DoneView {
    /// In one sentence.
    pub message: String,
    /// What the operator should know beside that.
    pub notes: Vec<String>,
    /// The orders that stand for the backend now.
    pub overrides: Vec<OverrideView>,
    /// Whether it survives a restart.
    pub kept: bool,
}

/// `GET /api/v1/overrides`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverridesView {
    /// In the order in which they were said.
    pub overrides: Vec<OverrideView>,
    /// The file that they stand in.
    pub state_file: Option<String>,
    /// Why they would not survive a restart, where that is so.
    pub warning: Option<String>,
}

/// One order of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OverrideView {
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// `drain`, `maintenance`, `weight`, `promote` or `demote`.
    pub order: String,
    /// The order for people: `weight 50%`.
    pub words: String,
    /// Who ordered it.
    pub owner: String,
    /// Why; may be empty.
    pub reason: String,
    /// When it was ordered, RFC 3339.
    pub since: String,
    /// How long ago that was.
    pub age_seconds: f64,
    /// When it ends by itself, RFC 3339.
    pub until: Option<String>,
    /// How long until then.
    pub left_seconds: Option<f64>,
    /// Why it has no effect now, where that is so.
    pub dormant: Option<String>,
}

/// What a request to order something wants, or why it is none.
pub(super) fn wish(verb: Verb, pool: &str, backend: Option<&str>, body: &[u8]) -> Result<Wish, String> {
    let body: WishBody = serde_json::from_slice(body).map_err(|error| format!("the body is no order: {error}"))?;
    let owner = line("owner", &body.owner, MAX_OWNER)?;
    if owner.is_empty() {
        return Err("say who orders it: \"owner\": \"your name\"".to_owned());
    }
    let want = want(verb, &body)?;
    if backend.is_none() && want != Want::TakeBack(TakeBack::Promotion) {
        return Err("name the backend".to_owned());
    }
    Ok(Wish {
        pool: pool.into(),
        backend: backend.map(Into::into),
        want,
        owner,
        reason: line("reason", &body.reason, MAX_REASON)?,
        lasts: time("for_seconds", body.for_seconds)?,
        force: if body.force { Force::Yes } else { Force::No },
    })
}

fn want(verb: Verb, body: &WishBody) -> Result<Want, String> {
    let only = |key: &str, given: bool, belongs: bool| match (given, belongs) {
        (true, false) => Err(format!("`{key}` has no meaning here")),
        _ => Ok(()),
    };
    only("deadline_seconds", body.deadline_seconds.is_some(), verb == Verb::Drain)?;
    only("percent", body.percent.is_some(), verb == Verb::Weight && !body.reset)?;
    only("reset", body.reset, matches!(verb, Verb::Weight | Verb::Promote))?;
    only("for_seconds", body.for_seconds.is_some(), verb != Verb::Ready && !body.reset)?;
    Ok(match verb {
        Verb::Ready => Want::TakeBack(TakeBack::Absence),
        Verb::Weight if body.reset => Want::TakeBack(TakeBack::Weight),
        Verb::Promote if body.reset => Want::TakeBack(TakeBack::Promotion),
        Verb::Drain => Want::Order(Order::Drain { deadline: time("deadline_seconds", body.deadline_seconds)? }),
        Verb::Maintenance => Want::Order(Order::Maintenance),
        Verb::Promote => Want::Order(Order::Promote),
        Verb::Demote => Want::Order(Order::Demote),
        Verb::Weight => match body.percent {
            Some(percent) if percent <= MAX_PERCENT => Want::Order(Order::Weight(percent)),
            Some(_) => return Err(format!("`percent` is {MAX_PERCENT} at most")),
            None => return Err("say how much of its weight: \"percent\": 50".to_owned()),
        },
    })
}

/// A text of one line: it is shown in terminals and logs.
pub(super) fn line(key: &str, text: &str, longest: usize) -> Result<Arc<str>, String> {
    let text = text.trim();
    if text.len() > longest {
        return Err(format!("`{key}` is longer than {longest} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("`{key}` is more than a line of text"));
    }
    Ok(text.into())
}

fn time(key: &str, seconds: Option<f64>) -> Result<Option<Duration>, String> {
    let Some(seconds) = seconds else { return Ok(None) };
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero() && *time <= MAX_TIME);
    time.map(Some)
        .ok_or_else(|| format!("`{key}` is to be more than 0 and at most {} days", MAX_TIME.as_secs() / 86_400))
}

/// The answer to an order.
pub(super) fn done(done: &Done) -> DoneView {
    let mut notes = done.notes.clone();
    notes.extend(done.keeping.warning());
    DoneView {
        message: done.message.clone(),
        notes,
        overrides: done.standing.iter().map(|one| override_view(one, None)).collect(),
        kept: matches!(done.keeping, Keeping::InFile(_)),
    }
}

/// All orders that stand.
pub(super) fn overview(standing: &Standing, table: &Table) -> OverridesView {
    let state_file = match &standing.keeping {
        Keeping::InFile(path) | Keeping::Failing(path, _) => Some(path.display().to_string()),
        Keeping::InMemory => None,
    };
    let overrides = standing.overrides.iter().map(|one| override_view(one, dormant(one, table))).collect();
    OverridesView { overrides, state_file, warning: standing.keeping.warning() }
}

/// Why an order has no effect by the configuration in force.
fn dormant(one: &Override, table: &Table) -> Option<String> {
    let Some(pool) = table.pools.iter().find(|pool| pool.config.name == one.pool) else {
        return Some(format!("no pool has the name `{}` now", one.pool));
    };
    if !pool.backends.iter().any(|backend| backend.name == one.backend) {
        return Some(format!("pool `{}` has no backend `{}` now", one.pool, one.backend));
    }
    let all_work = pool.config.policy.mode == Mode::ActiveActive;
    (all_work && one.order.kind() == OrderKind::Succession)
        .then(|| format!("every backend of pool `{}` works now", one.pool))
}

/// One order as JSON carries it.
pub(super) fn override_view(one: &Override, dormant: Option<String>) -> OverrideView {
    let now = Timestamp::now();
    OverrideView {
        pool: one.pool.to_string(),
        backend: one.backend.to_string(),
        order: one.order.word().to_owned(),
        words: words(one.order),
        owner: one.owner.to_string(),
        reason: one.reason.to_string(),
        since: one.since.to_string(),
        age_seconds: now.duration_since(one.since).as_secs_f64().max(0.0),
        until: one.until.map(|until| until.to_string()),
        left_seconds: one.until.map(|until| until.duration_since(now).as_secs_f64().max(0.0)),
        dormant,
    }
}

/// A drill as if it were an order: it stands for a while, and has an owner and a reason.
pub(super) fn drill_view(backend: &Backend) -> Option<OverrideView> {
    let fault = backend.fault()?;
    let now = Timestamp::now();
    let moment = |away: Result<Timestamp, jiff::Error>| away.unwrap_or(now).to_string();
    let span = |time: Duration| SignedDuration::try_from(time).unwrap_or_default();
    Some(OverrideView {
        pool: backend.pool.to_string(),
        backend: backend.name.to_string(),
        order: "drill".to_owned(),
        words: format!("drill ({})", fault.kind()),
        owner: fault.by.owner.to_string(),
        reason: fault.by.reason.to_string(),
        since: moment(now.checked_sub(span(fault.age()))),
        age_seconds: fault.age().as_secs_f64(),
        until: Some(moment(now.checked_add(span(fault.left())))),
        left_seconds: Some(fault.left().as_secs_f64()),
        dormant: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_or_its_fault_is_named() {
        let drain = |seconds| Want::Order(Order::Drain { deadline: Some(Duration::from_secs(seconds)) });
        let good = [
            (Verb::Drain, r#"{"owner": "me", "deadline_seconds": 300}"#, drain(300)),
            (Verb::Drain, r#"{"owner": "me"}"#, Want::Order(Order::Drain { deadline: None })),
            (Verb::Ready, r#"{"owner": "me", "force": true}"#, Want::TakeBack(TakeBack::Absence)),
            (Verb::Weight, r#"{"owner": "me", "percent": 0}"#, Want::Order(Order::Weight(0))),
            (Verb::Weight, r#"{"owner": "me", "reset": true}"#, Want::TakeBack(TakeBack::Weight)),
            (Verb::Promote, r#"{"owner": "me", "reset": true}"#, Want::TakeBack(TakeBack::Promotion)),
            (Verb::Demote, r#"{"owner": "me", "for_seconds": 0.5}"#, Want::Order(Order::Demote)),
        ];
        for (verb, body, want) in good {
            assert_eq!(wish(verb, "p", Some("b"), body.as_bytes()).map(|wish| wish.want), Ok(want), "{body}");
        }
        let bad = [
            (Verb::Drain, "", "the body is no order"),
            (Verb::Drain, "{}", "say who"),
            (Verb::Drain, r#"{"owner": "  "}"#, "say who"),
            (Verb::Drain, r#"{"owner": "me", "percent": 5}"#, "`percent` has no meaning"),
            (Verb::Drain, r#"{"owner": "me", "reset": true}"#, "`reset` has no meaning"),
            (Verb::Drain, r#"{"owner": "me", "deadline_seconds": 0}"#, "`deadline_seconds` is to be more than 0"),
            (Verb::Drain, r#"{"owner": "me", "for_seconds": -1}"#, "`for_seconds` is to be more than 0"),
            (Verb::Drain, r#"{"owner": "me", "for_seconds": 1e99}"#, "`for_seconds` is to be more than 0"),
            (Verb::Drain, r#"{"owner": "me", "why": ""}"#, "unknown field `why`"),
            (Verb::Drain, r#"{"owner": "me", "reason": "a\u001b[2Jb"}"#, "`reason` is more than a line"),
            (Verb::Ready, r#"{"owner": "me", "for_seconds": 5}"#, "`for_seconds` has no meaning"),
            (Verb::Weight, r#"{"owner": "me"}"#, "say how much"),
            (Verb::Weight, r#"{"owner": "me", "percent": 1001}"#, "1000 at most"),
            (Verb::Weight, r#"{"owner": "me", "percent": -1}"#, "no order"),
        ];
        for (verb, body, words) in bad {
            let fault = wish(verb, "p", Some("b"), body.as_bytes()).unwrap_err();
            assert!(fault.contains(words), "{body}: {fault}");
        }
        assert!(wish(Verb::Drain, "p", None, br#"{"owner": "me"}"#).is_err(), "which backend?");
        assert!(wish(Verb::Promote, "p", None, br#"{"owner": "me", "reset": true}"#).is_ok());
        let long = format!(r#"{{"owner": "{}"}}"#, "x".repeat(MAX_OWNER + 1));
        assert!(wish(Verb::Drain, "p", Some("b"), long.as_bytes()).is_err());
    }
}
