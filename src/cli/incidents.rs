//! `evenkeel incidents`: failures of backends in figures, how soon they were found and what they cost.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::incidents::{IncidentView, IncidentsView};
use hyper::Method;

use super::Ending;
use super::client::{AdminPort, encoded};
use super::form::Form;
use super::terminal::{Grid, Ink, Paint, Side, say};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only incidents of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn incidents(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let pool = arguments.pool.as_ref().map_or_else(String::new, |pool| format!("?pool={}", encoded(pool)));
    let body = arguments.port.ask(Method::GET, &format!("/api/v1/incidents{pool}"), PATIENCE)?.good()?;
    if form == Form::Json {
        say(&body);
        return Ok(Ending::Good);
    }
    let view: IncidentsView = serde_json::from_str(&body).context("the answer is not what an evenkeel says")?;
    say(&table(&view, Paint::of_output()));
    Ok(Ending::Good)
}

fn table(view: &IncidentsView, paint: Paint) -> String {
    if view.incidents.is_empty() {
        return "no backend that was up has failed since the start\n".to_owned();
    }
    let mut grid = Grid::new(&[
        ("NO", Side::Right),
        ("DETECTED", Side::Left),
        ("BACKEND", Side::Left),
        ("STATE", Side::Left),
        ("FOUND IN", Side::Right),
        ("OUT IN", Side::Right),
        ("LASTED", Side::Right),
        ("FAILED", Side::Right),
        ("RETRIED", Side::Right),
        ("HELD", Side::Right),
        ("CUT", Side::Right),
        ("WHY", Side::Left),
    ]);
    for one in &view.incidents {
        grid.row(row(one));
    }
    grid.render(paint)
}

fn row(one: &IncidentView) -> Vec<(String, Ink)> {
    let plain = |text: String| (text, Ink::None);
    let count = |count: u64| (count.to_string(), if count == 0 { Ink::Dim } else { Ink::None });
    let drill = if one.origin == "drill" { " (drill)" } else { "" };
    let state = if one.state == "open" { Ink::Red } else { Ink::None };
    let detected = one.detected.split('.').next().unwrap_or_default().replace('T', " ");
    vec![
        plain(one.number.to_string()),
        plain(detected),
        plain(format!("{}/{}{drill}", one.pool, one.backend)),
        (one.state.clone(), state),
        plain(length(one.detection_seconds)),
        plain(one.out_of_rotation_seconds.map_or_else(|| "-".to_owned(), length)),
        plain(length(one.duration_seconds)),
        (one.requests_failed.to_string(), if one.requests_failed == 0 { Ink::Dim } else { Ink::Red }),
        count(one.requests_retried),
        count(one.requests_held),
        count(one.connections_cut),
        plain(one.because.clone()),
    ]
}

/// A length of time with as many digits as say something.
pub(super) fn length(seconds: f64) -> String {
    let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    match length.as_secs() {
        0 => format!("{:.1} ms", seconds * 1e3),
        1..60 => format!("{seconds:.1} s"),
        _ => evenkeel::control::span(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_unit_that_suits_them() {
        for (seconds, text) in [(0.0034, "3.4 ms"), (0.0, "0.0 ms"), (1.25, "1.2 s"), (75.0, "1m 15s")] {
            assert_eq!(length(seconds), text);
        }
    }
}
