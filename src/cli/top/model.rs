//! What is known and what is looked at: pure. `feed` tells it news, `keys` what is pressed, `draw` shows it.

use std::collections::VecDeque;

use evenkeel::admin::events::{EventView, EventsView};
use evenkeel::admin::view::Overview;

use super::rows::{PoolRow, Row, Sort, rows};
use super::window::Window;
use crate::cli::order::{Of, Verb};

/// Events that are kept.
const KEPT_EVENTS: usize = 200;
/// What was said is shown for so long.
const SAID: f64 = 20.0;
/// Without a view for so long, that is said: views come once a second.
const QUIET: f64 = 5.0;

/// What comes from the balancer.
#[derive(Debug)]
pub(super) enum News {
    /// How everything is.
    View(Box<Overview>),
    /// What has happened; all that is kept, or what came since.
    Events { fresh: bool, events: EventsView },
    /// The line is gone, and why.
    Lost(String),
}

/// What has the keyboard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Focus {
    /// The table.
    #[default]
    Table,
    /// The words that rows must have.
    Filter,
    /// How many percent of its weight a backend is to have.
    Weight(Of, String),
    /// Whether this is meant.
    Confirm(Wish),
    /// Why a backend is what it is: the lines, and the first that is seen.
    Why { of: Of, lines: Vec<String>, top: usize },
    /// What the keys do.
    Help,
}

/// What an operator wants of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) of: Of,
    pub(super) verb: Verb,
}

/// A line of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Line<'m> {
    Pool(&'m PoolRow),
    Backend(&'m Row),
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) view: Option<Overview>,
    pub(super) pools: Vec<PoolRow>,
    pub(super) rows: Vec<Row>,
    pub(super) events: VecDeque<EventView>,
    pub(super) sort: Sort,
    pub(super) backwards: bool,
    pub(super) filter: String,
    pub(super) focus: Focus,
    pub(super) selected: Option<Of>,
    /// What was last said of an order or of the balancer, and when.
    said: Option<(String, f64)>,
    pub(super) lost: Option<String>,
    /// Seconds, by a clock that only goes forward.
    pub(super) now: f64,
    last_view: f64,
    run: Option<String>,
    /// Whether it is another process that speaks since the last view.
    is_another: bool,
    window: Window,
}

impl Model {
    /// Nothing is known yet.
    pub(super) fn new(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }

    /// Takes what has come.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::View(view) => self.take_view(*view),
            News::Events { fresh, events } => self.take_events(fresh, events),
            News::Lost(why) => self.lost = Some(why),
        }
    }

    fn take_view(&mut self, view: Overview) {
        if std::mem::take(&mut self.is_another)
            && let Some(before) = &self.view
        {
            let words = if before.version == view.version {
                format!("another process answers now, version {} as before", view.version)
            } else {
                format!("another process answers now: version {}, {} before", view.version, before.version)
            };
            self.say(words);
        } else if self.lost.is_some() {
            self.say("it answers again");
        }
        self.lost = None;
        self.last_view = self.now;
        self.window.add(&view, self.now);
        (self.pools, self.rows) = rows(&view, &self.window);
        self.view = Some(view);
        self.keep_selection(None);
    }

    fn take_events(&mut self, fresh: bool, events: EventsView) {
        // Events come before the first view.
        if self.run.as_ref().is_some_and(|run| *run != events.run) {
            self.is_another = true;
            self.window = Window::default();
        }
        if fresh || self.is_another {
            self.events.clear();
        }
        self.run = Some(events.run);
        self.events.extend(events.events);
        let too_many = self.events.len().saturating_sub(KEPT_EVENTS);
        self.events.drain(..too_many);
    }

    /// Says something to whoever looks.
    pub(super) fn say(&mut self, words: impl Into<String>) {
        self.said = Some((words.into(), self.now));
    }

    /// What was said last, for a while.
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_ref().filter(|(_, at)| self.now - at < SAID).map(|(words, _)| words.as_str())
    }

    /// Says it no more.
    pub(super) fn hush(&mut self) {
        self.said = None;
    }

    /// Shows why a backend is what it is, if that is still looked at.
    pub(super) fn explain(&mut self, of: &Of, said: Vec<String>) {
        if let Focus::Why { of: shown, lines, top } = &mut self.focus
            && shown == of
        {
            *top = (*top).min(said.len().saturating_sub(1));
            *lines = said;
        }
    }

    /// What is wrong with the line, if anything is.
    pub(super) fn trouble(&self) -> Option<String> {
        if let Some(why) = &self.lost {
            return Some(format!("{why}; asking until it answers"));
        }
        let quiet = self.now - self.last_view;
        (self.view.is_some() && quiet >= QUIET).then(|| format!("nothing was heard for {quiet:.0} s"))
    }

    /// The lines of the table: those that have the words of the filter, in order.
    pub(super) fn lines(&self) -> Vec<Line<'_>> {
        let words = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&words);
        let wanted = |row: &&Row| {
            has(&format!("{}/{}", row.pool, row.backend)) || has(&row.state) || row.zone.as_deref().is_some_and(has)
        };
        let mut rows: Vec<&Row> = self.rows.iter().filter(wanted).collect();
        // Stable: what is alike stays as the configuration has it.
        rows.sort_by(|a, b| self.sort.order(a, b));
        if self.sort != Sort::Pool {
            if self.backwards {
                rows.reverse();
            }
            return rows.into_iter().map(Line::Backend).collect();
        }
        let mut pools: Vec<&PoolRow> = self.pools.iter().collect();
        if self.backwards {
            pools.reverse();
        }
        let mut lines = Vec::new();
        for pool in pools {
            let of_pool: Vec<_> =
                rows.iter().filter(|row| row.pool == pool.name).map(|row| Line::Backend(row)).collect();
            if !of_pool.is_empty() || (words.is_empty() && pool.all == 0) {
                lines.push(Line::Pool(pool));
                lines.extend(of_pool);
            }
        }
        lines
    }

    /// The backends of the table, in its order.
    pub(super) fn listed(&self) -> Vec<Of> {
        let backends = self.lines().into_iter().filter_map(|line| match line {
            Line::Backend(row) => Some(row.of()),
            Line::Pool(_) => None,
        });
        backends.collect()
    }

    /// Moves the selection by so many backends, as far as there are any.
    pub(super) fn step(&mut self, by: isize) {
        let listed = self.listed();
        let at = self.selected.as_ref().and_then(|of| listed.iter().position(|it| it == of));
        let next = at.unwrap_or_default().saturating_add_signed(by).min(listed.len().saturating_sub(1));
        self.selected = listed.get(next).cloned();
    }

    /// Keeps the selection on something that is listed: the same one, or what is nearest to where it was.
    pub(super) fn keep_selection(&mut self, before: Option<usize>) {
        let listed = self.listed();
        if self.selected.as_ref().is_none_or(|of| !listed.contains(of)) {
            let at = before.unwrap_or_default().min(listed.len().saturating_sub(1));
            self.selected = listed.get(at).cloned();
        }
    }
}

impl Row {
    /// Which backend it is.
    pub(super) fn of(&self) -> Of {
        Of { pool: self.pool.clone(), backend: self.backend.clone() }
    }
}
