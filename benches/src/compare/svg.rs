//! The ratios of `compare` as bars.

use std::fmt::Write as _;

use super::text::is_readable;
use super::{Report, SUBJECT};

const WIDTH: usize = 760;
/// Where bars begin, and how wide a ratio of 1 is.
const LEFT: f64 = 190.0;
const ONE: f64 = 340.0;
/// Longer bars are cut off here.
const RATIO_MAX: f64 = 1.4;
const BAR: usize = 13;
const GAP: usize = 9;
const TOP: usize = 58;

/// One for each peer that the subject is compared with.
const COLOURS: [&str; 5] = ["#4c78a8", "#9ecae9", "#f58518", "#54a24b", "#b279a2"];

impl Report<'_> {
    /// One bar for each kind of work and peer; shorter is better for the subject.
    pub fn svg(&self) -> String {
        let mut bars = String::new();
        let mut y = TOP;
        for row in &self.rows {
            let start = y;
            for (peer, colour) in (SUBJECT + 1..self.peers.len()).zip(COLOURS) {
                let Some(ratio) = row.ratio(peer, |sample| sample.cpu_micros) else { continue };
                let median = ratio.median;
                let width = median.min(RATIO_MAX) * ONE;
                let opacity = if is_readable(row) { 1.0 } else { 0.3 };
                let _ = writeln!(
                    bars,
                    r#"<rect x="{LEFT}" y="{y}" width="{width:.0}" height="{}" fill="{colour}" opacity="{opacity}"/><text x="{:.0}" y="{}">{median:.2}</text>"#,
                    BAR - 2,
                    LEFT + width + 5.0,
                    y + BAR - 4,
                );
                y += BAR;
            }
            let _ = writeln!(
                bars,
                r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                usize::midpoint(start, y) + 3,
                row.kind.name
            );
            y += GAP;
        }
        self.framed(&bars, y)
    }

    fn framed(&self, bars: &str, height: usize) -> String {
        let mut legend = String::new();
        let mut x = LEFT;
        for (peer, colour) in self.peers.iter().skip(SUBJECT + 1).zip(COLOURS) {
            let _ = write!(
                legend,
                r#"<rect x="{x}" y="32" width="10" height="10" fill="{colour}"/><text x="{}" y="41">{}</text>"#,
                x + 14.0,
                peer.name
            );
            x += 30.0 + 7.0 * peer.name.len() as f64;
        }
        let subject = &self.peers[SUBJECT].name;
        let one = LEFT + ONE;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="20" font-size="13">CPU per unit of work: {subject} to its peers (1 = equal, shorter is better; pale: unreadable)</text>
{legend}
<line x1="{one}" y1="50" x2="{one}" y2="{height}" stroke="#888888" stroke-dasharray="3 3"/>
{bars}</svg>
"##
        )
    }
}
