//! `evenkeel probe`: asks the checks of a running evenkeel now, and says what they found.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::why::{ProbeView, ProbesView};

use super::Ending;
use super::client::{AdminPort, encoded};
use super::form::Form;
use super::order::Of;
use super::terminal::{Grid, Ink, Page, Paint, Side, say};
use super::transcript::{Bytes, clean, steps, took};

/// Probes have their own timeouts; many of them wait for room.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The pool, or one backend of it
    #[arg(value_name = "POOL[/BACKEND]")]
    of: String,
    /// Show what every probe saw, also the good ones
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Show bytes in hexadecimal
    #[arg(long, conflicts_with = "json")]
    hex: bool,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn probe(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let path = match Of::read(&arguments.of) {
        Ok(of) => format!("{}/probe", of.path()),
        Err(_pool) => format!("/api/v1/pools/{}/probe", encoded(arguments.of.trim_end_matches('/'))),
    };
    let body = arguments.port.post(&path, &serde_json::json!({}), PATIENCE)?.good()?;
    let view: ProbesView = serde_json::from_str(&body).context("the answer is not what an evenkeel says")?;
    if form == Form::Json {
        say(&body);
    } else {
        let bytes = if arguments.hex { Bytes::Hex } else { Bytes::Text };
        let transcripts = if arguments.all || arguments.hex { Transcripts::All } else { Transcripts::Failures };
        say(&page(&view.probes, transcripts, bytes, Paint::of_output()));
        if view.probes.is_empty() {
            say(&format!("{} has no checks: nothing was asked\n", arguments.of));
        }
    }
    Ok(if view.probes.iter().all(|probe| probe.report.good) { Ending::Good } else { Ending::Bad })
}

/// Of which probes it is shown what they saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transcripts {
    Failures,
    All,
}

/// A line for each probe, and what they saw.
pub(super) fn page(probes: &[ProbeView], transcripts: Transcripts, bytes: Bytes, paint: Paint) -> String {
    let columns = [("", Side::Left), ("", Side::Left), ("", Side::Left), ("", Side::Right), ("", Side::Left)];
    let mut grid = Grid::new(&columns);
    for probe in probes {
        let plain = |text: &str| (text.to_owned(), Ink::None);
        let report = &probe.report;
        let layer = report.layer.as_ref().map_or_else(String::new, |layer| format!("{layer}: "));
        let (word, ink) = if report.good { ("good", Ink::Green) } else { ("bad", Ink::Red) };
        let duration = (took(report.took_seconds), Ink::None);
        let what = clean(&format!("{layer}{}", report.what));
        grid.row(vec![plain(&probe.backend), plain(&probe.check), (word.to_owned(), ink), duration, (what, Ink::None)]);
    }
    let mut text = Page::default();
    text.add(grid.render(paint));
    // Where no step was taken, the line above has said it all.
    let telling = probes.iter().filter(|probe| !probe.report.steps.is_empty());
    for probe in telling.filter(|probe| transcripts == Transcripts::All || !probe.report.good) {
        let name = Ink::Bold.on(&format!("{}, check {}", probe.backend, probe.check), paint);
        text.add(format!("\n{name}\n{}", steps(&probe.report, 2, bytes, paint)));
    }
    text.finish()
}
