//! The incidents over the admin port: when each was seen, decided and over, and what it has cost.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use crate::clock;
use crate::control::orders::{Refused, find_pool};
use crate::health::incident::{End, Incident};
use crate::pool::incidents::{Numbered, toll};

/// `GET /api/v1/incidents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentsView {
    /// Oldest first; those that go on among them.
    pub incidents: Vec<IncidentView>,
}

/// An incident. Moments are RFC 3339; lengths of time begin with its first sign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentView {
    /// Its number, from 1 since the start.
    pub number: u64,
    /// The pool.
    pub pool: String,
    /// The backend.
    pub backend: String,
    /// `failure` or `drill`.
    pub origin: String,
    /// Why the backend went down.
    pub because: String,
    /// `open`, `recovered` or `removed`.
    pub state: String,
    /// The first request that failed, or got no answer for suspiciously long, where traffic saw it.
    pub first_failed_request: Option<String>,
    /// The first probe that failed, where one did before the verdict.
    pub first_failed_probe: Option<String>,
    /// The backend was found to be down.
    pub detected: String,
    /// No request was given to it any more.
    pub out_of_rotation: Option<String>,
    /// The last request that failed.
    pub last_failed_request: Option<String>,
    /// It was up again, or gone.
    pub ended: Option<String>,
    /// From the first sign until it was found to be down.
    pub detection_seconds: f64,
    /// From the first sign until no request was given to it any more.
    pub out_of_rotation_seconds: Option<f64>,
    /// From the first sign to the end, or until now.
    pub duration_seconds: f64,
    /// Requests and connections that failed for the client.
    pub requests_failed: u64,
    /// Attempts that were made again elsewhere.
    pub requests_retried: u64,
    /// Requests of the pool that waited because nobody could serve.
    pub requests_held: u64,
    /// Connections, tunnels and answers that broke off or were cut.
    pub connections_cut: u64,
}

/// Those of all pools, or of one.
///
/// # Errors
/// There is no such pool.
pub fn incidents(state: &AdminState, pool: Option<&str>) -> Result<IncidentsView, Refused> {
    if let Some(name) = pool {
        find_pool(&state.table.load(), name)?;
    }
    let list = state.events.incidents.list();
    let wanted = list.into_iter().filter(|it| pool.is_none_or(|name| *it.incident.pool == *name));
    Ok(IncidentsView { incidents: wanted.map(|it| view(state, it)).collect() })
}

/// A moment by the clock on the wall.
fn at(moment: Duration) -> String {
    let ago = SignedDuration::try_from(clock::now().saturating_sub(moment)).unwrap_or_default();
    let at = Timestamp::now().checked_sub(ago).unwrap_or_default();
    // The two clocks are read one after the other: what they say of one moment differs by microseconds.
    format!("{at:.3}")
}

pub(super) fn view(state: &AdminState, Numbered { number, incident }: Numbered) -> IncidentView {
    let cost = if incident.ended.is_some() { incident.toll } else { so_far(state, &incident) };
    let last = if incident.ended.is_some() { incident.last_failed_request } else { last_failure(state, &incident) };
    let until = incident.ended.map_or_else(clock::now, |(moment, _)| moment);
    IncidentView {
        number,
        pool: incident.pool.to_string(),
        backend: incident.backend.to_string(),
        origin: incident.origin.word().to_owned(),
        because: incident.because.clone(),
        state: match incident.ended {
            None => "open",
            Some((_, End::Recovered)) => "recovered",
            Some((_, End::Removed)) => "removed",
        }
        .to_owned(),
        first_failed_request: incident.first_failed_request.map(at),
        first_failed_probe: incident.first_failed_probe.map(at),
        detected: at(incident.detected),
        out_of_rotation: incident.out_of_rotation.map(at),
        last_failed_request: last.map(at),
        ended: incident.ended.map(|(moment, _)| at(moment)),
        detection_seconds: incident.detection().as_secs_f64(),
        out_of_rotation_seconds: incident.rotation().map(|it| it.as_secs_f64()),
        duration_seconds: until.saturating_sub(incident.began()).as_secs_f64(),
        requests_failed: cost.failed,
        requests_retried: cost.retried,
        requests_held: cost.held,
        connections_cut: cost.cut,
    }
}

/// What one that goes on has cost until now.
fn so_far(state: &AdminState, incident: &Incident) -> crate::health::incident::Toll {
    let table = state.table.load();
    let pool = table.pools.iter().find(|pool| pool.config.name == incident.pool);
    let found = pool.and_then(|pool| Some((pool, pool.backends.iter().find(|it| it.name == incident.backend)?)));
    found.map(|(pool, backend)| toll(pool, backend).since(incident.before)).unwrap_or_default()
}

fn last_failure(state: &AdminState, incident: &Incident) -> Option<Duration> {
    let table = state.table.load();
    let pool = table.pools.iter().find(|pool| pool.config.name == incident.pool)?;
    let backend = pool.backends.iter().find(|it| it.name == incident.backend)?;
    backend.last_failure().filter(|last| *last >= incident.began())
}
