//! The report of `compare` for people.

use std::fmt::Write as _;

use super::measure::{Row, Sample};
use super::{CONTROL_MAX, Report, SUBJECT};
use crate::report::{Spread, table};
use crate::work::Rate;

/// A stretch below this share of the rate was a different test.
const RATE_HELD: f64 = 0.97;

/// Beyond this share of their CPU, origin and load are part of what is measured.
const LOAD_BUSY_MAX: f64 = 0.85;

/// Beyond this share, resumed handshakes were not.
const FULL_HANDSHAKES_MAX: f64 = 0.02;

impl Report<'_> {
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.rows.is_empty() {
            let _ = writeln!(
                text,
                "\nMedians of {} rounds of {:.2} s (least-most in brackets), all at the same rate, one thread each.\n",
                self.rounds,
                self.time.as_secs_f64()
            );
            for table in [self.ratios(), self.cpu(), self.tails(), self.latencies(), self.full_speeds()] {
                text += &table;
                text.push('\n');
            }
        }
        for section in &self.sections {
            text += &section.text;
            text.push('\n');
        }
        let mut notes: String = self.rows.iter().map(|row| self.notes(row)).collect();
        notes.extend(self.sections.iter().map(|section| section.notes.as_str()));
        if self.stolen > 0.01 {
            let _ =
                writeln!(notes, "The hypervisor took {:.1} % of the CPU time: read with care.", self.stolen * 100.0);
        }
        text + &notes
    }

    fn header(&self, what: &str, first: usize) -> Vec<String> {
        let mut cells = vec![what.to_owned()];
        cells.extend(self.peers.iter().skip(first).map(|peer| peer.name.clone()));
        cells
    }

    fn ratios(&self) -> String {
        let subject = &self.peers[SUBJECT].name;
        let mut header = self.header(&format!("{subject}'s CPU, ratio to"), SUBJECT + 1);
        header.insert(1, "its control".to_owned());
        let mut rows = vec![header];
        for row in &self.rows {
            let mut cells = vec![row.kind.name.to_owned(), cell(row.control())];
            cells.extend((SUBJECT + 1..self.peers.len()).map(|peer| cell(row.ratio(peer, |sample| sample.cpu_micros))));
            if !is_readable(row) {
                cells.push("unreadable: the control moved".to_owned());
            }
            rows.push(cells);
        }
        table(&rows)
    }

    fn cpu(&self) -> String {
        let mut header = self.header("CPU µs a unit (*: at a rate of its own)", SUBJECT);
        header.extend(["rate/s", "direct/s"].map(str::to_owned));
        let mut rows = vec![header];
        for row in &self.rows {
            let mut cells = vec![format!("{} ({})", row.kind.name, row.kind.unit)];
            cells.extend((SUBJECT..self.peers.len()).map(|peer| {
                let mark = if row.own_rate(peer).is_some() { "*" } else { "" };
                number(row.median(peer, |sample| sample.cpu_micros), 2) + mark
            }));
            cells.extend([number(Some(row.rate), 0), number(row.direct, 0)]);
            rows.push(cells);
        }
        table(&rows)
    }

    /// Ratios of p99 where the rate was fixed for them.
    fn tails(&self) -> String {
        let mut rows = vec![self.header("p99, ratio to", SUBJECT + 1)];
        for row in self.rows.iter().filter(|row| matches!(row.kind.rate, Rate::OfHaproxy(_))) {
            let mut cells = vec![row.kind.name.to_owned()];
            cells.extend((SUBJECT + 1..self.peers.len()).map(|peer| cell(row.ratio(peer, |sample| sample.p99_micros))));
            rows.push(cells);
        }
        if rows.len() == 1 { String::new() } else { table(&rows) }
    }

    fn latencies(&self) -> String {
        let mut rows = vec![self.header("p50 / p99 / p99.9 µs", SUBJECT)];
        for row in &self.rows {
            let mut cells = vec![row.kind.name.to_owned()];
            cells.extend((SUBJECT..self.peers.len()).map(|peer| {
                let at = |value: fn(&Sample) -> f64| number(row.median(peer, value), 0);
                let [p50, p99, p999] =
                    [at(|sample| sample.p50_micros), at(|sample| sample.p99_micros), at(|sample| sample.p999_micros)];
                format!("{p50} / {p99} / {p999}")
            }));
            rows.push(cells);
        }
        table(&rows)
    }

    fn full_speeds(&self) -> String {
        let mut rows = vec![self.header("full speed, exchanges/s", SUBJECT)];
        for row in &self.rows {
            let mut cells = vec![row.kind.name.to_owned()];
            cells.extend((SUBJECT..self.peers.len()).map(|peer| number(row.full_speed[peer], 0)));
            rows.push(cells);
        }
        table(&rows)
    }

    /// What a reader of the numbers must know.
    fn notes(&self, row: &Row) -> String {
        let mut notes = String::new();
        let name = row.kind.name;
        if row.failed > 0 {
            let failure = row.failure.as_deref().unwrap_or("");
            let _ = writeln!(notes, "{name}: {} exchanges FAILED; the first: {failure}", row.failed);
        }
        if let Some((peer, held)) = row.least_held().filter(|(_, held)| *held < RATE_HELD) {
            let peer = &self.peers[peer].name;
            let _ =
                writeln!(notes, "{name}: the rate was not always held: {peer} once did {:.0} % of it", held * 100.0);
        }
        if row.busiest_load() > LOAD_BUSY_MAX {
            let _ = writeln!(notes, "{name}: origin and load used {:.0} % of their CPU", row.busiest_load() * 100.0);
        }
        if row.full_handshakes > FULL_HANDSHAKES_MAX {
            let share = row.full_handshakes * 100.0;
            let _ = writeln!(notes, "{name}: up to {share:.0} % of a round's handshakes were full, not resumed");
        }
        notes
    }
}

/// Whether the control stayed where it was.
pub fn is_readable(row: &Row) -> bool {
    row.control().is_some_and(|control| (control.median - 1.0).abs() <= CONTROL_MAX)
}

/// A spread in a table.
pub fn cell(spread: Option<Spread>) -> String {
    spread.map_or("-".into(), |Spread { median, least, most }| format!("{median:.2} [{least:.2}-{most:.2}]"))
}

/// A number in a table.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}
