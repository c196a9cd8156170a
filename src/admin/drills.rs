//! Drills over the admin port: the answer is the drill, a line of JSON for each look at it, and the last one its report.
//!
//! Whoever asked watches: when the connection ends, so does the drill. Its fault has a deadline of its own besides.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::AdminState;
use super::incidents::{self, IncidentView};
use super::orders::line;
use crate::control::Life;
use crate::control::drill::{Abort, Drill, Ending, MAX_LENGTH, Progress, Wish};
use crate::control::orders::Refused;
use crate::control::overrides::Force;
use crate::net::fault::{By, Kind};

/// How often the condition for an abort is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the one who watches is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a report waits for the backend to be up again.
const RECOVERY: Duration = Duration::from_secs(30);
const MAX_DELAY: Duration = Duration::from_secs(60);
/// One more than are read at once: who does not read them is waited for, and the drill ends by its deadline.
const LINES: usize = 8;

/// The body of `POST /api/v1/pools/POOL/backends/BACKEND/drill`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DrillBody {
    /// `refuse`, `blackhole`, `slow` or `errors`.
    pub mode: String,
    /// For how long.
    pub for_seconds: f64,
    /// How much later answers come; of `slow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<f64>,
    /// What requests are answered with; of `errors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What ends it before its time: `errors > 0.1%, p99 > 2x`.
    pub abort_if: String,
    /// Who.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Even if nobody else is up.
    pub force: bool,
}

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DrillLine {
    /// How far it is.
    Progress(DrillProgress),
    /// The fault is gone; the report waits for the backend.
    Over {
        /// `over`, `aborted` or `removed`.
        ending: String,
        /// In a sentence.
        because: String,
    },
    /// The last line.
    Report {
        /// `over`, `aborted` or `removed`.
        ending: String,
        /// In a sentence.
        because: String,
        /// What was counted, from its begin until the backend was up again.
        counted: DrillProgress,
        /// What the backend's fall was in figures; absent where it stayed up.
        incident: Option<Box<IncidentView>>,
    },
}

/// What was counted since a drill began.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillProgress {
    /// Seconds since its begin.
    pub elapsed_seconds: f64,
    /// What the backend is now.
    pub state: String,
    /// Whether no work is given to it.
    pub is_out: bool,
    /// Requests of the pool.
    pub requests: u64,
    /// Those of them that failed or were answered 500 or above.
    pub errors: u64,
    /// Requests and connections that failed for the client because of this backend.
    pub requests_failed: u64,
    /// Attempts that were made again elsewhere.
    pub requests_retried: u64,
    /// Requests that waited because nobody could serve.
    pub requests_held: u64,
    /// Connections, tunnels and answers that broke off or were cut.
    pub connections_cut: u64,
}

/// What a request wants, or why it is none.
pub(super) fn wish(pool: String, backend: String, body: &[u8]) -> Result<Wish, String> {
    let body: DrillBody = serde_json::from_slice(body).map_err(|error| format!("the body is no drill: {error}"))?;
    let owner = line("owner", &body.owner, super::orders::MAX_OWNER)?;
    if owner.is_empty() {
        return Err("say who does it: \"owner\": \"your name\"".to_owned());
    }
    let reason = line("reason", &body.reason, super::orders::MAX_REASON)?;
    let within = |key: &str, seconds: f64, most: Duration| {
        let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero() && *time <= most);
        time.ok_or_else(|| format!("`{key}` is to be more than 0 and at most {} seconds", most.as_secs()))
    };
    let only = |key: &str, given: bool, mode: &str| {
        let is_stray = given && body.mode != mode;
        if is_stray { Err(format!("`{key}` has no meaning but with the mode {mode}")) } else { Ok(()) }
    };
    only("delay_seconds", body.delay_seconds.is_some(), "slow")?;
    only("status", body.status.is_some(), "errors")?;
    let kind = match body.mode.as_str() {
        "refuse" => Kind::Refuse,
        "blackhole" => Kind::Blackhole,
        "slow" => {
            let delay = body.delay_seconds.ok_or("say how much later answers come: \"delay_seconds\": 0.5")?;
            Kind::Slow(within("delay_seconds", delay, MAX_DELAY)?)
        }
        "errors" => match body.status.unwrap_or(503) {
            status @ 400..=599 => Kind::Errors(status),
            status => return Err(format!("`status` goes from 400 to 599, not {status}")),
        },
        other => return Err(format!("`mode` is refuse, blackhole, slow or errors, not {other:?}")),
    };
    Ok(Wish {
        pool,
        backend,
        kind,
        lasts: within("for_seconds", body.for_seconds, MAX_LENGTH)?,
        abort: Abort::read(&body.abort_if)?,
        by: By { owner, reason },
        force: if body.force { Force::Yes } else { Force::No },
    })
}

/// Begins it; what comes is its lines.
pub(super) fn begin(state: &Arc<AdminState>, wish: Wish) -> Result<mpsc::Receiver<Bytes>, Refused> {
    if state.life.is_handing_over() {
        return Err(Refused::Conflict("another process is taking over: ask again in a moment".to_owned()));
    }
    let (pool, backend) = (wish.pool.clone(), wish.backend.clone());
    let drill = Drill::begin(&state.table.load(), wish, &state.events)?;
    let (lines, receiver) = mpsc::channel(LINES);
    let last_before = state.events.incidents.list().last().map_or(0, |incident| incident.number);
    let state = Arc::clone(state);
    tokio::spawn(async move {
        let Some((drill, ending)) = run(drill, &state.life, &lines).await else { return };
        let begun = Instant::now();
        while !drill.has_recovered() && begun.elapsed() < RECOVERY && !lines.is_closed() {
            sleep(LOOK_EVERY).await;
        }
        // The incident is closed in the same turn in which the backend is up, a moment later.
        sleep(LOOK_EVERY).await;
        let mut list = state.events.incidents.list().into_iter();
        let incident =
            list.find(|it| it.number > last_before && *it.incident.pool == *pool && *it.incident.backend == *backend);
        let report = DrillLine::Report {
            ending: ending.word().to_owned(),
            because: ending.sentence(),
            counted: view(&drill.progress()),
            incident: incident.map(|it| Box::new(incidents::view(&state, it))),
        };
        // Whoever watched may have gone.
        let _ = lines.send(line_of(&report)).await;
    });
    Ok(receiver)
}

/// Lets it run to its end; `None`: nobody watches any more.
async fn run(mut drill: Drill, life: &Life, lines: &mpsc::Sender<Bytes>) -> Option<(Drill, Ending)> {
    let mut told = Instant::now();
    // The first line goes at once: it says that the drill runs.
    lines.try_send(line_of(&DrillLine::Progress(view(&drill.progress())))).ok()?;
    let ending = loop {
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = lines.closed() => return None,
        }
        let progress = drill.progress();
        if let Some(ending) = drill.must_end(life, &progress) {
            break ending;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            // Who is slow to read misses some.
            let _ = lines.try_send(line_of(&DrillLine::Progress(view(&progress))));
        }
    };
    drill.end(ending.clone());
    let over = DrillLine::Over { ending: ending.word().to_owned(), because: ending.sentence() };
    let _ = lines.try_send(line_of(&over));
    Some((drill, ending))
}

fn view(progress: &Progress) -> DrillProgress {
    DrillProgress {
        elapsed_seconds: progress.elapsed.as_secs_f64(),
        state: progress.state.word().to_owned(),
        is_out: progress.is_out,
        requests: progress.count.requests,
        errors: progress.count.errors,
        requests_failed: progress.toll.failed,
        requests_retried: progress.toll.retried,
        requests_held: progress.toll.held,
        connections_cut: progress.toll.cut,
    }
}

fn line_of(line: &DrillLine) -> Bytes {
    let mut text = serde_json::to_string(line).expect("views are plain values with string keys");
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_read_or_its_fault_is_named() {
        let read = |body: &str| wish("p".into(), "b".into(), body.as_bytes());
        let good = [
            (r#"{"mode":"refuse","for_seconds":30,"owner":"me"}"#, Kind::Refuse),
            (r#"{"mode":"blackhole","for_seconds":0.5,"owner":"me","abort_if":"errors > 1%"}"#, Kind::Blackhole),
            (
                r#"{"mode":"slow","for_seconds":5,"delay_seconds":0.3,"owner":"me"}"#,
                Kind::Slow(Duration::from_millis(300)),
            ),
            (r#"{"mode":"errors","for_seconds":5,"owner":"me"}"#, Kind::Errors(503)),
            (r#"{"mode":"errors","for_seconds":5,"status":500,"owner":"me"}"#, Kind::Errors(500)),
        ];
        for (body, kind) in good {
            assert_eq!(read(body).map(|wish| wish.kind), Ok(kind), "{body}");
        }
        let bad = [
            ("", "the body is no drill"),
            (r#"{"mode":"refuse","for_seconds":30}"#, "say who"),
            (r#"{"mode":"kill","for_seconds":30,"owner":"me"}"#, "`mode` is refuse"),
            (r#"{"mode":"refuse","owner":"me"}"#, "`for_seconds` is to be"),
            (r#"{"mode":"refuse","for_seconds":541,"owner":"me"}"#, "at most 540 seconds"),
            (r#"{"mode":"slow","for_seconds":3,"owner":"me"}"#, "say how much later"),
            (
                r#"{"mode":"refuse","for_seconds":3,"delay_seconds":1,"owner":"me"}"#,
                "no meaning but with the mode slow",
            ),
            (r#"{"mode":"errors","for_seconds":3,"status":200,"owner":"me"}"#, "400 to 599"),
            (r#"{"mode":"refuse","for_seconds":3,"abort_if":"errors","owner":"me"}"#, "no `>` in it"),
        ];
        for (body, words) in bad {
            let fault = read(body).map(|wish| wish.kind).unwrap_err();
            assert!(fault.contains(words), "{body}: {fault}");
        }
    }
}
