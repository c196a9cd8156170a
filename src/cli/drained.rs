//! Waiting until a draining backend may be stopped: nothing is under way at it and no connection to it is open.

use std::time::{Duration, Instant};

use anyhow::Context;
use evenkeel::admin::view::BackendView;
use hyper::Method;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Ending;
use super::client::AdminPort;
use super::form::Form;
use super::order::Of;
use super::status::span;

/// How often the backend is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Without any progress, this is said so often.
const SAY_EVERY: Duration = Duration::from_secs(10);
/// One look.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is cut at the deadline takes a moment to be gone.
const GRACE: Duration = Duration::from_secs(10);

/// How long is waited.
#[derive(Debug)]
pub(super) struct Patience {
    begun: Instant,
    deadline: Option<Duration>,
}

/// How a look at the backend ends the waiting, or does not.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It may be stopped; so many sessions were cut.
    Safe(u64),
    /// Not yet: in words.
    Open(String),
    /// Nothing drains it any more.
    TakenBack,
    /// The time is over, and something is open all the same.
    Stuck(String),
}

impl Patience {
    /// From now on.
    pub(super) fn of(deadline: Option<Duration>) -> Self {
        Self { begun: Instant::now(), deadline }
    }
}

/// Waits until the backend may be stopped, and tells how far it is.
pub(super) fn wait(port: &AdminPort, of: &Of, patience: &Patience, form: Form) -> anyhow::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            ending = until_drained(port, of, patience, form) => ending,
            _ = interrupt.recv() => {
                let words = format!("not waiting any more; {of} stays in drain: `evenkeel ready {of}` takes that back");
                Ok(form.refused(&words))
            }
        }
    })
}

async fn until_drained(port: &AdminPort, of: &Of, patience: &Patience, form: Form) -> anyhow::Result<Ending> {
    let before = look_at(port, of).await?.cut;
    let (mut last, mut last_said) = (String::new(), Instant::now());
    let mut safe_before = false;
    loop {
        let view = look_at(port, of).await?;
        match judge(&view, before, patience.begun.elapsed(), patience.deadline) {
            // Twice: a worker may have had it in its hands at the first look.
            Look::Safe(cut) if safe_before => {
                return safe(of, cut, patience.begun.elapsed(), form);
            }
            Look::Safe(_) => safe_before = true,
            Look::Open(words) => {
                safe_before = false;
                if words != last || last_said.elapsed() >= SAY_EVERY {
                    form.words(&format!("{words}\n"));
                    (last, last_said) = (words, Instant::now());
                }
            }
            Look::TakenBack => {
                let words = format!("{of} is {} and in drain no more: somebody took it back", view.state);
                return Ok(form.refused(&words));
            }
            Look::Stuck(words) => {
                return Ok(form.refused(&format!("{of} cannot be stopped yet: {words} after its deadline")));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn safe(of: &Of, cut: u64, waited: Duration, form: Form) -> anyhow::Result<Ending> {
    let waited_seconds = waited.as_secs_f64();
    let done = json!({
        "pool": &of.pool, "backend": &of.backend, "may_be_stopped": true, "cut": cut, "waited_seconds": waited_seconds,
    });
    let cut = match cut {
        0 => String::new(),
        1 => "; 1 session was cut".to_owned(),
        cut => format!("; {cut} sessions were cut"),
    };
    form.say(&done, || format!("{of} may be stopped now, after {}{cut}\n", span(waited_seconds)))?;
    Ok(Ending::Good)
}

async fn look_at(port: &AdminPort, of: &Of) -> anyhow::Result<BackendView> {
    let answer = port.asking(Method::GET, &of.path(), PATIENCE).await?;
    serde_json::from_str(&answer.good()?).context("the answer is not what an evenkeel says")
}

fn judge(view: &BackendView, cut_before: u64, waited: Duration, deadline: Option<Duration>) -> Look {
    let ordered = view.overrides.iter().any(|one| matches!(one.order.as_str(), "drain" | "maintenance"));
    if !ordered {
        return Look::TakenBack;
    }
    let open = view.in_flight > 0 || view.idle_connections > 0 || view.gets_work || view.gets_reads;
    if !open {
        return Look::Safe(view.cut.saturating_sub(cut_before));
    }
    let idle = match view.idle_connections {
        0 => String::new(),
        idle => format!(", {idle} idle connections"),
    };
    let words = format!("{} in flight{idle}", view.in_flight);
    match deadline {
        Some(deadline) if waited > deadline + GRACE => Look::Stuck(words),
        _ => Look::Open(words),
    }
}
