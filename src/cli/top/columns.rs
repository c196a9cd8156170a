//! The columns of the table: what is in each, and which of them there is room for.

use super::model::Line;
use super::rows::{PoolRow, Row};
use crate::cli::status::{span, state_ink};
use crate::cli::terminal::Ink;
use crate::cli::transcript::took;

/// The last column takes what is left, and goes where less than this is.
const WHY_LEAST: u16 = 12;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Backend,
    State,
    Role,
    Zone,
    Requests,
    Errors,
    InFlight,
    Latency,
    For,
    Why,
}

impl Column {
    const ALL: [Self; 10] = [
        Self::Backend,
        Self::State,
        Self::Role,
        Self::Zone,
        Self::Requests,
        Self::Errors,
        Self::InFlight,
        Self::Latency,
        Self::For,
        Self::Why,
    ];

    /// Those that go first where there is no room.
    const SPARE: [Self; 6] = [Self::Zone, Self::Role, Self::InFlight, Self::Latency, Self::Errors, Self::Requests];

    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Backend => "BACKEND",
            Self::State => "STATE",
            Self::Role => "ROLE",
            Self::Zone => "ZONE",
            Self::Requests => "REQ/S",
            Self::Errors => "ERR/S",
            Self::InFlight => "NOW",
            Self::Latency => "TIME",
            Self::For => "FOR",
            Self::Why => "WHY",
        }
    }

    /// Whether it keeps to the right.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Requests | Self::Errors | Self::InFlight | Self::Latency | Self::For)
    }

    /// What it says of a backend; below its pool, the name needs no pool.
    pub(super) fn cell(self, row: &Row, grouped: bool) -> (String, Ink) {
        let plain = |text: String| (text, Ink::None);
        match self {
            Self::Backend if grouped => plain(format!("  {}", row.backend)),
            Self::Backend => plain(format!("{}/{}", row.pool, row.backend)),
            Self::State if row.share == 100 => (row.state.clone(), state_ink(&row.state)),
            Self::State => (format!("{} {}%", row.state, row.share), state_ink(&row.state)),
            Self::Role => plain(row.role.clone().unwrap_or_default()),
            Self::Zone => plain(row.zone.clone().unwrap_or_default()),
            Self::Requests => plain(pace(row.requests_per_second)),
            Self::Errors => {
                let ink = if row.errors_per_second.is_some_and(|errors| errors > 0.0) { Ink::Red } else { Ink::Dim };
                (pace(row.errors_per_second), ink)
            }
            Self::InFlight => plain(row.in_flight.to_string()),
            Self::Latency => plain(row.latency_seconds.map_or_else(|| "-".to_owned(), took)),
            Self::For => plain(span(row.since_seconds)),
            Self::Why => (row.why.clone(), if row.state == "up" { Ink::Dim } else { Ink::None }),
        }
    }
}

fn pace(pace: Option<f64>) -> String {
    match pace {
        None => "-".to_owned(),
        Some(pace) if pace < 10.0 => format!("{pace:.1}"),
        Some(pace) => format!("{pace:.0}"),
    }
}

/// The columns that there is room for.
#[derive(Debug)]
pub(super) struct Widths {
    columns: Vec<(Column, u16)>,
    grouped: bool,
}

impl Widths {
    pub(super) fn of(lines: &[Line<'_>], width: u16) -> Self {
        let grouped = lines.iter().any(|line| matches!(line, Line::Pool(_)));
        let widest = |column: Column| {
            let cells = lines.iter().filter_map(|line| match line {
                Line::Backend(row) => Some(column.cell(row, grouped).0.chars().count()),
                Line::Pool(_) => None,
            });
            let widest = cells.chain([column.heading().len()]).max().unwrap_or_default();
            u16::try_from(widest).unwrap_or(u16::MAX)
        };
        let is_used = |column: Column| match column {
            Column::Role | Column::Zone => {
                lines.iter().any(|line| matches!(line, Line::Backend(row) if !column.cell(row, grouped).0.is_empty()))
            }
            Column::Why => false,
            _ => true,
        };
        let all = Column::ALL.into_iter().filter(|column| is_used(*column));
        let mut columns: Vec<_> = all.map(|column| (column, widest(column))).collect();
        let taken = |columns: &[(Column, u16)]| columns.iter().map(|(_, width)| width.saturating_add(2)).sum::<u16>();
        for spare in Column::SPARE {
            if taken(&columns) + WHY_LEAST > width {
                columns.retain(|(column, _)| *column != spare);
            }
        }
        let left = width.saturating_sub(taken(&columns));
        if left >= WHY_LEAST {
            columns.push((Column::Why, left));
        } else if taken(&columns) > width {
            // A name that takes the whole width leaves the state a place.
            let rest: u16 = columns.iter().skip(1).map(|(_, width)| width + 2).sum();
            columns[0].1 = width.saturating_sub(rest + 2).max(6);
        }
        Self { columns, grouped }
    }

    pub(super) fn columns(&self) -> &[(Column, u16)] {
        &self.columns
    }

    /// Whether backends stand below their pools.
    pub(super) fn grouped(&self) -> bool {
        self.grouped
    }
}

/// A pool, in a line.
pub(super) fn pool_line(pool: &PoolRow) -> (String, Ink) {
    let ink = match pool.up {
        up if up == pool.all => Ink::Green,
        0 => Ink::Red,
        _ => Ink::Yellow,
    };
    let mut text = format!("{}: {} of {} up, {}", pool.name, pool.up, pool.all, pool.how);
    if let (Some(requests), Some(errors)) = (pool.requests_per_second, pool.errors_per_second) {
        text.extend([format!(", {} req/s, {} err/s", pace(Some(requests)), pace(Some(errors)))]);
    }
    if let (Some(p50), Some(p99)) = (pool.p50_seconds, pool.p99_seconds) {
        text.extend([format!(", p50 {}, p99 {}", took(p50), took(p99))]);
    }
    if pool.waiting > 0 {
        text.extend([format!(", {} waiting", pool.waiting)]);
    }
    (text, ink)
}
