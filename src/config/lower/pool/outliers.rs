//! `outliers` and `disagree`: what traffic may decide, and who is believed when probes say otherwise.

use std::num::NonZeroU32;

use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::tree::Value;
use crate::config::units;
use crate::config::vocabulary::{DISAGREE, OUTLIERS};
use crate::health::{Disagree, Outliers, ProbeFails, TrafficFails};

const PROBE_FAILS: Choice<ProbeFails> = Choice {
    words: &[("down", ProbeFails::Down), ("keep", ProbeFails::Keep)],
    foreign: &[("up", "keep"), ("ignore", "keep"), ("report", "keep")],
    later: &[],
};

const TRAFFIC_FAILS: Choice<TrafficFails> = Choice {
    words: &[("eject", TrafficFails::Eject), ("report", TrafficFails::Report)],
    foreign: &[("down", "eject"), ("keep", "report"), ("ignore", "report"), ("log", "report")],
    later: &[],
};

pub(super) fn outliers(pool: &Section<'_>) -> Outliers {
    let usual = Outliers::default();
    let Some(entry) = pool.entry("outliers") else { return usual };
    match entry.node.value {
        Value::Boolean(true) => return usual,
        Value::Boolean(false) => return Outliers { failures: None, errors: None, latency: None, ..usual },
        Value::Table(_) => {}
        _ => {
            let help = "write outliers = { failures = 5, time = \"10s\" }, or false";
            pool.wrong_type(&entry.node, "outliers", "a table or false", help);
            return usual;
        }
    }
    let Some(section) = pool.section("outliers", &OUTLIERS) else { return usual };
    no_effect(&section);
    let count = |key: &str| section.integer(key, 1..=1_000_000).and_then(|number| u32::try_from(number).ok());
    let on = |key: &str| !section.is_off(key);
    Outliers {
        failures: if on("failures") { count("failures").and_then(NonZeroU32::new).or(usual.failures) } else { None },
        errors: if on("errors") { section.share("errors") } else { None },
        latency: if on("latency") { section.number("latency", 1.1..=1000.0).map(|times| times as f32) } else { None },
        requests: count("requests").unwrap_or(usual.requests),
        window: section.positive_duration("window").unwrap_or(usual.window),
        max_ejected: section.share("max_ejected").unwrap_or(usual.max_ejected),
        ..times(&section, usual)
    }
}

/// `time` and `time_max`; where only one is given, the other one is moved so that both fit.
fn times(section: &Section<'_>, usual: Outliers) -> Outliers {
    let (time, time_max) = (section.positive_duration("time"), section.positive_duration("time_max"));
    if let (Some(time), Some(most), Some(entry)) = (time, time_max, section.entry("time_max"))
        && most < time
    {
        let message = format!("`time_max` of {} is shorter than `time`", units::written(most));
        section.cx.report(
            Problem::error("range", entry.node.at, message)
                .label("the longest time")
                .help(format!("make it {} or longer", units::written(time))),
        );
    }
    let shortest = time.unwrap_or(usual.time.min(time_max.unwrap_or(usual.time)));
    Outliers { time: shortest, time_max: time_max.unwrap_or(usual.time_max.max(shortest)), ..usual }
}

/// Warns of what says how to look at shares and latencies where neither is looked at.
fn no_effect(section: &Section<'_>) {
    let looks = ["errors", "latency"].iter().any(|key| section.has(key) && !section.is_off(key));
    for entry in ["requests", "window"].iter().filter_map(|key| section.table.get(key)).filter(|_| !looks) {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, format!("`{}` has no effect here", entry.key))
                .label("for `errors` and `latency` only")
                .help("add errors = \"50%\" or latency = 3.0, or take it out"),
        );
    }
}

pub(super) fn disagree(pool: &Section<'_>) -> Disagree {
    let usual = Disagree::default();
    let Some(section) = pool.section("disagree", &DISAGREE) else { return usual };
    Disagree {
        probe_fails: section.choice("probe_fails", &PROBE_FAILS).unwrap_or(usual.probe_fails),
        traffic_fails: section.choice("traffic_fails", &TRAFFIC_FAILS).unwrap_or(usual.traffic_fails),
    }
}
