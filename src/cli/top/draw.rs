//! The model on the cells of a terminal: pure, of any size. What does not fit is cut, least important columns first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::columns::{Column, Widths, pool_line};
use super::model::{Focus, Line, Model};
use crate::cli::history::waits;
use crate::cli::status::span;
use crate::cli::terminal::{Ink, Paint};
use crate::cli::transcript::clean;

/// Fewer lines than this show no events.
const EVENTS_FROM: u16 = 14;
/// Lines of events, at most.
const EVENTS: u16 = 8;

const HELP: &[&str] = &[
    "up, down, j, k    choose a backend; page up and down, home and end go further",
    "enter             why it is what it is, with what its last probes saw; esc goes back",
    "d  m  r           drain, maintenance, and ready, which takes either back",
    "w                 its share of its weight, in percent",
    "s  S              the next order of the table; the same backwards",
    "/                 only backends with these words in their name, state or zone; esc shows all",
    "q, ctrl-c         end",
    "",
    "What is ordered is asked for once more first, and is done in your name.",
    "REQ/S and ERR/S are of the last five seconds, TIME is what an answer takes lately.",
];

/// Paints on some cells.
pub(super) struct Brush<'b> {
    pub(super) cells: &'b mut Buffer,
    pub(super) paint: Paint,
}

impl Brush<'_> {
    /// Text from a place on, at most so wide; where it ends.
    pub(super) fn text(&mut self, x: u16, y: u16, text: &str, width: u16, ink: Ink) -> u16 {
        let style = style(ink, self.paint);
        let width = width.min(self.cells.area.right().saturating_sub(x));
        self.cells.set_stringn(x, y, cut(text, usize::from(width)), usize::from(width), style).0
    }

    fn mark(&mut self, area: Rect) {
        self.cells.set_style(area, Style::new().add_modifier(Modifier::REVERSED));
    }
}

/// A text that does not fit says so.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn style(ink: Ink, paint: Paint) -> Style {
    let plain = Style::new();
    match (ink, paint) {
        (Ink::Bold, _) => plain.add_modifier(Modifier::BOLD),
        (Ink::None, _) | (_, Paint::Plain) => plain,
        (Ink::Green, _) => plain.fg(Color::Green),
        (Ink::Red, _) => plain.fg(Color::Red),
        (Ink::Yellow, _) => plain.fg(Color::Yellow),
        (Ink::Dim, _) => plain.add_modifier(Modifier::DIM),
    }
}

/// Paints all of it.
pub(super) fn draw(model: &Model, area: Rect, cells: &mut Buffer, paint: Paint) {
    let mut brush = Brush { cells, paint };
    if area.height < 3 || area.width == 0 {
        return;
    }
    let row = |y: u16, height: u16| Rect { y: area.y + y, height, ..area };
    headline(model, row(0, 1), &mut brush);
    brush_line(&mut brush, row(1, 1), &notice(model));
    let below = area.height - 3;
    let events = if area.height >= EVENTS_FROM && !matches!(model.focus, Focus::Help | Focus::Why { .. }) {
        EVENTS.min(below / 3).min(u16::try_from(model.events.len()).unwrap_or(EVENTS))
    } else {
        0
    };
    let body = row(2, below - events - u16::from(events > 0));
    match &model.focus {
        Focus::Help => page(HELP.iter().copied(), body, &mut brush),
        Focus::Why { lines, top, .. } => page(lines.iter().skip(*top).map(String::as_str), body, &mut brush),
        _ => table(model, body, &mut brush),
    }
    if events > 0 {
        show_events(model, row(2 + body.height, events + 1), &mut brush);
    }
    prompt(model, row(area.height - 1, 1), &mut brush);
}

fn brush_line(brush: &mut Brush<'_>, at: Rect, line: &(String, Ink)) {
    brush.text(at.x, at.y, &line.0, at.width, line.1);
}

fn headline(model: &Model, at: Rect, brush: &mut Brush<'_>) {
    let Some(view) = &model.view else {
        brush.text(at.x, at.y, "evenkeel: no answer yet", at.width, Ink::Bold);
        return;
    };
    let up = model.rows.iter().filter(|row| row.state == "up").count();
    let all = model.rows.len();
    let sum = |of: fn(&super::rows::Row) -> Option<f64>| model.rows.iter().filter_map(of).sum::<f64>();
    let connections: u32 = view.listeners.iter().map(|listener| listener.connections).sum();
    let ink = match up {
        _ if up == all => Ink::Green,
        0 => Ink::Red,
        _ => Ink::Yellow,
    };
    let mut x = brush.text(at.x, at.y, "evenkeel ", at.width, Ink::Bold);
    for (text, ink) in [
        (format!("{up} of {all} up"), ink),
        (
            format!(", {:.0} req/s, {:.1} err/s", sum(|it| it.requests_per_second), sum(|it| it.errors_per_second)),
            Ink::None,
        ),
        (format!(", {connections} connections, {}, configuration {}", view.phase, view.generation), Ink::None),
        (format!(", version {}, for {}", view.version, span(view.uptime_seconds)), Ink::Dim),
    ] {
        x = brush.text(x, at.y, &text, at.right().saturating_sub(x), ink);
    }
}

/// What is out of the ordinary: the most urgent of it.
fn notice(model: &Model) -> (String, Ink) {
    if let Some(trouble) = model.trouble() {
        return (clean(&trouble), Ink::Red);
    }
    if let Some(said) = model.said() {
        return (clean(said), Ink::Yellow);
    }
    if let Some(waiting) = model.view.as_ref().and_then(|view| view.awaiting.as_ref()) {
        return (waits(waiting).trim_end().to_owned(), Ink::Yellow);
    }
    let alarm = model.pools.iter().find_map(|pool| Some(format!("{}: {}", pool.name, pool.alarms.first()?)));
    (alarm.unwrap_or_default(), Ink::Red)
}

fn page<'l>(lines: impl Iterator<Item = &'l str>, at: Rect, brush: &mut Brush<'_>) {
    for (y, line) in (at.y..at.bottom()).zip(lines) {
        brush.text(at.x, y, line, at.width, Ink::None);
    }
}

fn table(model: &Model, at: Rect, brush: &mut Brush<'_>) {
    if at.height == 0 {
        return;
    }
    let lines = model.lines();
    let widths = Widths::of(&lines, at.width);
    let mut x = at.x;
    for (column, width) in widths.columns() {
        x = cell(brush, (x, at.y), column.heading(), *width, *column, Ink::Bold);
    }
    let selected = lines.iter().position(|line| matches!(line, Line::Backend(row) if Some(row.of()) == model.selected));
    let room = usize::from(at.height - 1);
    // So far down that the selected one is seen.
    let first = selected.map_or(0, |at| (at + 1).saturating_sub(room));
    for (y, (index, line)) in (at.y + 1..at.bottom()).zip(lines.iter().enumerate().skip(first)) {
        match line {
            Line::Pool(pool) => {
                let (text, ink) = pool_line(pool);
                brush.text(at.x, y, &text, at.width, ink);
                brush.cells.set_style(Rect { y, height: 1, ..at }, Style::new().add_modifier(Modifier::BOLD));
            }
            Line::Backend(row) => {
                let mut x = at.x;
                for (column, width) in widths.columns() {
                    let (text, ink) = column.cell(row, widths.grouped());
                    x = cell(brush, (x, y), &text, *width, *column, ink);
                }
                if selected == Some(index) {
                    brush.mark(Rect { y, height: 1, ..at });
                }
            }
        }
    }
    if lines.is_empty() && at.height > 1 {
        let text = if model.filter.is_empty() { "no backends" } else { "no backend has these words; esc shows all" };
        brush.text(at.x, at.y + 1, text, at.width, Ink::Dim);
    }
}

/// A cell, and where the next one begins.
fn cell(brush: &mut Brush<'_>, (x, y): (u16, u16), text: &str, width: u16, column: Column, ink: Ink) -> u16 {
    let long = u16::try_from(text.chars().count()).unwrap_or(width).min(width);
    let space = if column.is_number() { width - long } else { 0 };
    brush.text(x + space, y, text, width - space, ink);
    x + width + 2
}

fn show_events(model: &Model, at: Rect, brush: &mut Brush<'_>) {
    brush.text(at.x, at.y, "EVENTS", at.width, Ink::Bold);
    // The last ones, the newest at the bottom.
    let room = usize::from(at.height - 1);
    let skipped = model.events.len().saturating_sub(room);
    for (y, event) in (at.y + 1..at.bottom()).zip(model.events.iter().skip(skipped)) {
        let time = event.at.split_once('T').map_or("", |(_, time)| time).get(..8).unwrap_or_default();
        let of = [event.pool.as_deref(), event.backend.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
        let message = event.message.lines().next().unwrap_or_default();
        let ink = match event.kind.as_str() {
            "up" | "alarm_over" => Ink::Green,
            "down" | "alarm" | "reload_refused" | "taken_back" | "ejected" => Ink::Red,
            _ => Ink::None,
        };
        let x = brush.text(at.x, y, &format!("{time} "), at.width, Ink::Dim);
        let x = brush.text(x, y, &format!("{of} "), at.right().saturating_sub(x), Ink::None);
        brush.text(x, y, &clean(message), at.right().saturating_sub(x), ink);
    }
}

/// What the keyboard is for now.
fn prompt(model: &Model, at: Rect, brush: &mut Brush<'_>) {
    let (text, ink) = match &model.focus {
        Focus::Table => {
            let backwards = if model.backwards { ", backwards" } else { "" };
            let filter = if model.filter.is_empty() { String::new() } else { format!(" with {:?}", model.filter) };
            (
                format!(
                    "by {}{backwards}{filter}  s sort  / filter  enter why  d m r w order  ? help  q quit",
                    model.sort.word()
                ),
                Ink::Dim,
            )
        }
        Focus::Filter => (format!("backends with: {}_", model.filter), Ink::Bold),
        Focus::Weight(of, text) => (format!("percent of the weight of {of}: {text}_  (enter, esc)"), Ink::Bold),
        Focus::Confirm(wish) => {
            (format!("{} {}? y does it, any other key does not", wish.verb.words(), wish.of), Ink::Bold)
        }
        Focus::Why { of, .. } => (format!("why {of}: up and down, esc goes back"), Ink::Dim),
        Focus::Help => ("any key goes back".to_owned(), Ink::Dim),
    };
    brush.text(at.x, at.y, &text, at.width, ink);
}
