//! Probes by the configuration that stands in the test: `probe("type = 'redis'", address)`.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "support fails by panicking, as tests do")]
#![allow(unreachable_pub, reason = "a test file is a crate of its own, and what is pub here is pub for it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel::config::model::Address;
use evenkeel::config::{self, Source};
use evenkeel::probe::{Question, Report, attempt};

pub use super::probing::{bad, good};

/// A deadline that no test reaches unless something is wrong.
pub const LONG: &str = "interval = '20s'\ntimeout = '20s'\n";
/// A deadline that a test waits for.
pub const SHORT: &str = "interval = '300ms'\ntimeout = '300ms'\n";
/// How much later than its deadline a probe may end on a machine under load.
const SLACK: Duration = Duration::from_secs(2);

/// The question of a check; `rest` holds further sections.
#[track_caller]
pub fn question_with(check: &str, rest: &str, at: SocketAddr) -> Arc<Question> {
    let text = format!(
        "[listener.l]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n[pool.p]\nbackends = ['{at}']\n{rest}\n[pool.p.check.c]\n{check}\n"
    );
    let environment = |name: &str| (name == "SECRET").then(|| "hunter2-secret".to_owned());
    let loaded = config::load_with(&Source::text(text), &environment).unwrap_or_else(|problems| panic!("{problems}"));
    let check = &loaded.config.pools[0].checks[0];
    Arc::new(Question::of(check, &Address::Socket(at)))
}

/// The question of a check.
#[track_caller]
pub fn question(check: &str, at: SocketAddr) -> Arc<Question> {
    question_with(check, "", at)
}

/// Asks once, without hurry.
pub async fn probe(check: &str, at: SocketAddr) -> Report {
    let asked = question(&format!("{LONG}{check}"), at);
    attempt(asked, at).await
}

/// Asks once, in a hurry; it must keep its deadline.
pub async fn probe_shortly(check: &str, at: SocketAddr) -> Report {
    let asked = question(&format!("{SHORT}{check}"), at);
    let started = Instant::now();
    let timeout = asked.timeout;
    let report = attempt(asked, at).await;
    assert!(started.elapsed() < timeout + SLACK, "it keeps its deadline: {report:?}");
    report
}
