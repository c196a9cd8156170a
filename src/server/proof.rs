//! A configuration is judged by its own tests, too: each is asked of the code that serves traffic, over a table of it that
//! serves none. One whose tests fail is refused like any other that is wrong, wherever it is to be used.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::model::{Asks, Config, Expected, RouteTest};
use crate::config::{self, Decider, FailedTest, Loaded, Problems, Source};
use crate::log::sink::Sinks;
use crate::pool::Bell;
use crate::proxy::http::trial::{End, Outcome, Refused, Trial};
use crate::route::{Foundation, Table};

/// Reads a configuration and runs its tests.
///
/// # Errors
/// Everything that is wrong with it, with its tests that fail where nothing else is.
pub fn load(source: &Source) -> Result<Loaded, Problems> {
    prove(config::load(source)?)
}

/// Runs the tests of a configuration.
///
/// # Errors
/// Those that fail.
pub fn prove(loaded: Loaded) -> Result<Loaded, Problems> {
    if loaded.tests.is_empty() {
        return Ok(loaded);
    }
    // On a thread of its own, which counts as a worker of nobody and may wait for nothing.
    let failed = std::thread::scope(|scope| scope.spawn(|| failed(&loaded)).join());
    let failed = failed.unwrap_or_else(|fault| std::panic::resume_unwind(fault));
    if failed.is_empty() { Ok(loaded) } else { Err(loaded.refused_by(&failed)) }
}

fn failed(loaded: &Loaded) -> Vec<FailedTest> {
    let trial = Trial::new(table(&loaded.config));
    let tests = loaded.tests.iter().enumerate();
    tests.filter_map(|(test, what)| failed_one(&trial, &loaded.config, test, what)).collect()
}

/// A table of its own: nothing of the running one is touched, and no log is opened.
fn table(config: &Config) -> Table {
    let (evidence, _nobody_listens) = mpsc::unbounded_channel();
    let (bell, sinks) = (Arc::new(Bell::default()), Arc::new(Sinks::new(Arc::default())));
    Table::build(Arc::new(config.clone()), None, &Foundation { workers: 1, evidence, bell, sinks, traces: None })
}

fn failed_one(trial: &Trial, config: &Config, test: usize, what: &RouteTest) -> Option<FailedTest> {
    let (listener, client) = (&*what.listener, what.client);
    // Its listener is one of the configuration's.
    let outcome = match &what.asks {
        Asks::Request { head, server_name } => trial.request(listener, client, head, server_name.as_deref()),
        Asks::Connection { server_name } => trial.connection(listener, client, server_name.as_deref()),
    }?;
    if is_expected(&what.expected, &outcome.end) {
        return None;
    }
    let decider = match (&outcome, trial.has_own(listener)) {
        (Outcome { route: Some(position), .. }, _) => Decider::Route(*position),
        (Outcome { end: End::Answer { refused: Refused::Undecided, .. } | End::Closed, .. }, _) | (_, false) => {
            Decider::Nobody
        }
        (_, true) => Decider::Listener,
    };
    Some(FailedTest { test, came: came(config, &outcome.end), decider })
}

fn is_expected(expected: &Expected, end: &End) -> bool {
    match (expected, end) {
        (Expected::Pools(wanted), End::Pools(came)) => {
            let (mut wanted, mut came) = (wanted.clone(), came.clone());
            for pools in [&mut wanted, &mut came] {
                pools.sort_unstable();
                pools.dedup();
            }
            wanted == came
        }
        (Expected::Answer { status: wanted, redirect }, End::Answer { status, location, .. }) => {
            wanted.is_none_or(|wanted| wanted == *status)
                && redirect.as_deref().is_none_or(|place| location.as_deref() == Some(place))
        }
        (Expected::Closed, End::Closed) => true,
        _ => false,
    }
}

/// What became of a request, in words.
fn came(config: &Config, end: &End) -> String {
    match end {
        End::Pools(pools) => {
            let name = |pool: &crate::config::model::PoolIndex| {
                format!("`{}`", config.pools.get(pool.0 as usize).map_or("", |pool| &pool.name))
            };
            let names: Vec<String> = pools.iter().map(name).collect();
            let s = if names.len() == 1 { "pool" } else { "one of the pools" };
            format!("goes to {s} {}", names.join(", "))
        }
        End::Answer { status, location: Some(place), .. } => format!("is sent by {status} to {place}"),
        End::Answer { status, location: None, why, .. } => format!("is answered {status} ({why})"),
        End::Closed => "is closed".to_owned(),
    }
}
