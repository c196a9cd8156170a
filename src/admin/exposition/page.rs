//! A page of metrics as text: the format 0.0.4 of Prometheus, or OpenMetrics 1.0.
//!
//! Written family by family and straight into the text: 10,000 backends are some 300,000 lines, and a value for each
//! of them first would be several times the page. Says nothing about what is counted.
//!
//! The two formats have the same samples. They differ in what stands above them (OpenMetrics names a counter without
//! `_total`), in the exemplars, which only OpenMetrics has, and in its last line.

use std::fmt::Write;

use crate::clock;
use crate::metrics::family::{Family, Kind};
use crate::metrics::{Exemplar, Exemplars, Histogram, MAX_BOUNDS, bounds_micros};

/// Which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' own, 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Labels as they stand between the braces.
#[derive(Debug, Clone, Default)]
pub(super) struct Labels(String);

/// A page that is being written.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    form: Form,
    /// The process' own moment zero, seconds since 1970: what [`clock`] counts from.
    began_at: f64,
}

/// One family on the page. What stands above its samples is written with the first of them.
pub(super) struct Lines<'p> {
    page: &'p mut Page,
    family: &'p Family,
    has_begun: bool,
}

impl Labels {
    /// One label.
    pub(super) fn of(name: &str, value: &str) -> Self {
        Self::default().and(name, value)
    }

    /// These and one more.
    pub(super) fn and(&self, name: &str, value: &str) -> Self {
        let mut text = String::with_capacity(self.0.len() + name.len() + value.len() + 4);
        text.push_str(&self.0);
        put_label(&mut text, name, value);
        Self(text)
    }
}

/// Appends a label, its value escaped as both formats want it.
fn put_label(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() && !text.ends_with('{') {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(letter),
        }
    }
    text.push('"');
}

/// Appends a number. Whole ones, which most are, the short way.
#[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
fn put_number(text: &mut String, number: f64) {
    const EXACT: f64 = 9e15;
    // Writing into text does not fail.
    let _ = if number.fract() == 0.0 && number.abs() < EXACT {
        write!(text, "{}", number as i64)
    } else {
        write!(text, "{number}")
    };
}

impl Page {
    pub(super) fn new(form: Form) -> Self {
        let now = jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
        Self { text: String::new(), form, began_at: now - clock::millis() as f64 / 1e3 }
    }

    /// Begins a family.
    pub(super) fn family<'p>(&'p mut self, family: &'p Family) -> Lines<'p> {
        Lines { page: self, family, has_begun: false }
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, family: &Family, value: f64) {
        self.family(family).add(&Labels::default(), value);
    }

    /// What another library has collected: counters and gauges.
    pub(super) fn foreign(&mut self, name: &str, help: &str, kind: Kind, value: f64) {
        self.describe(name, help, kind);
        self.text.push_str(name);
        self.text.push(' ');
        put_number(&mut self.text, value);
        self.text.push('\n');
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn describe(&mut self, name: &str, help: &str, kind: Kind) {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let name = match (self.form, kind) {
            (Form::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        // Writing into text does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {word}\n");
    }
}

impl Lines<'_> {
    /// One sample.
    pub(super) fn add(&mut self, labels: &Labels, value: f64) {
        self.begin("", &labels.0);
        self.end(value);
    }

    /// One sample with one more label.
    pub(super) fn with(&mut self, labels: &Labels, name: &str, word: &str, value: f64) {
        self.begin("", &labels.0);
        let text = &mut self.page.text;
        if text.ends_with('}') {
            text.pop();
        } else {
            text.push('{');
        }
        put_label(text, name, word);
        text.push('}');
        self.end(value);
    }

    /// The sum of several histograms.
    pub(super) fn histogram<'h>(&mut self, labels: &Labels, parts: impl Iterator<Item = &'h Histogram>) {
        self.histogram_of(labels, parts, &[]);
    }

    /// The same with requests that stand for its buckets.
    pub(super) fn histogram_of<'h>(
        &mut self,
        labels: &Labels,
        parts: impl Iterator<Item = &'h Histogram>,
        exemplars: &[&Exemplars],
    ) {
        let mut counts = [0_u64; MAX_BOUNDS + 1];
        let mut sum_micros = 0_u64;
        for part in parts {
            for (count, bucket) in counts.iter_mut().zip(&part.buckets) {
                *count += bucket.get();
            }
            sum_micros += part.sum_micros.get();
        }
        let latest = |bucket: usize| exemplars.iter().filter_map(|them| them.of(bucket)).max_by_key(|it| it.at);
        self.buckets(labels, bounds_micros(), &counts, sum_micros as f64 / 1e6, latest);
    }

    /// A histogram of these bounds; `counts` has one more for what is longer than all of them.
    pub(super) fn buckets(
        &mut self,
        labels: &Labels,
        bounds_micros: &[u64],
        counts: &[u64],
        sum_seconds: f64,
        exemplar: impl Fn(usize) -> Option<Exemplar>,
    ) {
        let mut so_far = 0;
        for (at, count) in counts.iter().take(bounds_micros.len() + 1).enumerate() {
            so_far += count;
            self.begin("_bucket", &labels.0);
            let text = &mut self.page.text;
            if text.ends_with('}') {
                text.pop();
                text.push(',');
            } else {
                text.push('{');
            }
            text.push_str("le=\"");
            match bounds_micros.get(at) {
                Some(bound) => put_number(text, *bound as f64 / 1e6),
                None => text.push_str("+Inf"),
            }
            text.push_str("\"} ");
            put_number(text, so_far as f64);
            if self.page.form == Form::OpenMetrics
                && let Some(exemplar) = exemplar(at)
            {
                let when = self.page.began_at + exemplar.at as f64 / 1e3;
                let took = exemplar.took.as_micros() as f64 / 1e6;
                // Writing into text does not fail.
                let _ = write!(self.page.text, " # {{request_id=\"{}\"}} {took} {when:.3}", exemplar.id());
            }
            self.page.text.push('\n');
        }
        self.begin("_sum", &labels.0);
        self.end(sum_seconds);
        self.begin("_count", &labels.0);
        self.end(so_far as f64);
    }

    /// The name and the labels.
    fn begin(&mut self, suffix: &str, labels: &str) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.page.describe(self.family.name, self.family.help, self.family.kind);
        }
        let text = &mut self.page.text;
        text.push_str(self.family.name);
        text.push_str(suffix);
        if !labels.is_empty() {
            text.push('{');
            text.push_str(labels);
            text.push('}');
        }
    }

    fn end(&mut self, value: f64) {
        self.page.text.push(' ');
        put_number(&mut self.page.text, value);
        self.page.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const COUNTER: Family = Family { name: "x_total", kind: Kind::Counter, help: "Counts." };
    const TIMES: Family = Family { name: "t_seconds", kind: Kind::Histogram, help: "Times." };

    #[test]
    fn labels_are_escaped_and_numbers_are_short() {
        let mut page = Page::new(Form::Text);
        let mut lines = page.family(&COUNTER);
        lines.add(&Labels::default(), 3.0);
        lines.with(&Labels::default(), "a", "1", 0.25);
        lines.with(&Labels::of("a", "back\\slash \"quote\"\nline"), "b", "é", 12_345_678_901.0);
        let text = page.finish();
        let expected = "# HELP x_total Counts.\n# TYPE x_total counter\nx_total 3\nx_total{a=\"1\"} 0.25\n\
                        x_total{a=\"back\\\\slash \\\"quote\\\"\\nline\",b=\"é\"} 12345678901\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn open_metrics_names_counters_by_their_stem_and_ends() {
        let mut page = Page::new(Form::OpenMetrics);
        page.family(&COUNTER).add(&Labels::default(), 1.0);
        assert!(!page.family(&TIMES).has_begun, "without samples nothing stands there");
        assert_eq!(page.finish(), "# HELP x Counts.\n# TYPE x counter\nx_total 1\n# EOF\n");
    }

    #[test]
    fn buckets_add_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        one.observe(Duration::from_micros(400));
        other.observe(Duration::from_millis(2));
        other.observe(Duration::from_secs(99));
        let mut page = Page::new(Form::Text);
        page.family(&TIMES).histogram(&Labels::of("p", "x"), [&one, &other].into_iter());
        let text = page.finish();
        for line in [
            "t_seconds_bucket{p=\"x\",le=\"0.0005\"} 1",
            "t_seconds_bucket{p=\"x\",le=\"0.0025\"} 2",
            "t_seconds_bucket{p=\"x\",le=\"10\"} 2",
            "t_seconds_bucket{p=\"x\",le=\"+Inf\"} 3",
            "t_seconds_sum{p=\"x\"} 99.0024",
            "t_seconds_count{p=\"x\"} 3",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
