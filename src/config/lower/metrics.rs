//! `[metrics]`: the bounds of histograms, exemplars, and how much is said of each backend.

use super::super::model::{Breadth, Exemplars, Metrics};
use super::super::problem::Problem;
use super::super::section::{Choice, Section};
use super::super::tree::{Node, Value};
use super::super::vocabulary::METRICS;
use crate::metrics::{MAX_BOUNDS, USUAL_BOUNDS_MICROS};

const BREADTH: Choice<Breadth> = Choice {
    words: Breadth::WORDS,
    foreign: &[("full", "all"), ("off", "none"), ("short", "brief"), ("up", "brief")],
    later: &[],
};

/// A bucket that begins beyond an hour holds nothing that is worth a quantile.
const LONGEST_SECONDS: f64 = 3_600.0;
const SHORTEST_SECONDS: f64 = 1e-6;

pub(super) fn metrics(top: &Section<'_>) -> Metrics {
    let section = top.section("metrics", &METRICS);
    let section = section.as_ref();
    Metrics {
        bounds_micros: section.and_then(bounds).unwrap_or_else(|| USUAL_BOUNDS_MICROS.to_vec()),
        exemplars: match section.and_then(|it| it.boolean("exemplars")) {
            Some(true) => Exemplars::Keep,
            _ => Exemplars::Off,
        },
        backends: section.and_then(|it| it.choice("backends", &BREADTH)).unwrap_or(Breadth::All),
    }
}

/// `buckets_seconds`, in microseconds: what a request takes is known no finer.
fn bounds(section: &Section<'_>) -> Option<Vec<u64>> {
    let nodes = section.one_or_more("buckets_seconds")?;
    let report = |node: &Node, message: String, label: &str, help: &str| {
        section.cx.report(Problem::error("buckets", node.at, message).label(label).help(help));
    };
    if let Some(node) = nodes.get(MAX_BOUNDS) {
        let message = format!("`buckets_seconds` has {} bounds, and there may be {MAX_BOUNDS}", nodes.len());
        report(node, message, "one too many", "each is a line for each pool in every scrape: leave some out");
        return None;
    }
    let mut bounds: Vec<u64> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let seconds = match node.value {
            Value::Float(number) => number,
            Value::Integer(number) => number as f64,
            _ => {
                section.wrong_type(node, "buckets_seconds", "numbers", "write seconds: [0.005, 0.01, 0.1, 1]");
                return None;
            }
        };
        if !(SHORTEST_SECONDS..=LONGEST_SECONDS).contains(&seconds) {
            let message = format!("{seconds} cannot be a bound");
            report(node, message, "too small or too large", "bounds are seconds, from 0.000001 to 3600");
            return None;
        }
        #[expect(clippy::cast_sign_loss, reason = "within the range above")]
        let micros = (seconds * 1e6).round() as u64;
        if bounds.last().is_some_and(|last| *last >= micros) {
            let message = format!("{seconds} is not above the bound before it");
            report(node, message, "out of order", "write the bounds in ascending order, each once");
            return None;
        }
        bounds.push(micros);
    }
    Some(bounds)
}
