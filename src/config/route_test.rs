//! Tests of routes that have failed, as problems of the configuration that they stand in.

use super::Loaded;
use super::model::Expected;
use super::problem::{Problem, Problems};

/// A test that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTest {
    /// Its position in [`Loaded::tests`].
    pub test: usize,
    /// What became of the request, as in: goes to pool `a`.
    pub came: String,
    /// Who has decided that.
    pub decider: Decider,
}

/// Who decides what becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decider {
    /// The route at this position of the listener.
    Route(usize),
    /// What the listener says of requests that no route matches.
    Listener,
    /// Nobody: no route matches, and the listener says nothing of such requests; or it was refused before that.
    Nobody,
}

impl Loaded {
    /// What refuses this configuration: its tests that have failed, beside its warnings.
    pub fn refused_by(&self, failed: &[FailedTest]) -> Problems {
        let mut list = self.warnings.list.clone();
        list.extend(failed.iter().filter_map(|failed| self.problem(failed)));
        let mut problems = Problems { list, files: self.warnings.files.clone() };
        problems.sort();
        problems
    }

    fn problem(&self, failed: &FailedTest) -> Option<Problem> {
        let test = self.tests.get(failed.test)?;
        let message = format!("`{}` {}", test.request, failed.came);
        let wanted = format!("wanted: {}", self.wanted(&test.expected));
        let listener = &test.listener;
        let (at, what) = match failed.decider {
            Decider::Route(position) => (test.deciders.get(position + 1), "this route decides".to_owned()),
            Decider::Listener => (test.deciders.first(), format!("no route of listener `{listener}` matches")),
            Decider::Nobody => (test.deciders.first(), format!("by listener `{listener}`; none of its routes decides")),
        };
        let problem = Problem::error("test-failed", test.at, message).label(wanted);
        let problem = match at {
            Some(at) => problem.second(*at, what),
            None => problem,
        };
        Some(problem.help("the first route that matches decides: change the routes, or what the test expects"))
    }

    fn wanted(&self, expected: &Expected) -> String {
        match expected {
            Expected::Pools(pools) => {
                let name = |index: &super::model::PoolIndex| {
                    let pool = self.config.pools.get(index.0 as usize);
                    format!("`{}`", pool.map_or("", |pool| &pool.name))
                };
                let names: Vec<String> = pools.iter().map(name).collect();
                let s = if names.len() == 1 { "pool" } else { "each of the pools" };
                format!("{s} {}", names.join(", "))
            }
            Expected::Answer { status, redirect: Some(place) } => {
                let status = status.map(|status| format!(" by {status}")).unwrap_or_default();
                format!("a redirect{status} to {place}")
            }
            Expected::Answer { status: Some(status), redirect: None } => format!("the balancer's own answer {status}"),
            Expected::Answer { status: None, redirect: None } => "an answer of the balancer's own".to_owned(),
            Expected::Closed => "the connection is closed".to_owned(),
        }
    }
}
