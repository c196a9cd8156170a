//! What a key does: pure. It changes the model, and may ask for something that is not the model's to do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Focus, Model, Wish};
use crate::cli::order::{Of, Verb};

/// Lines that a page key goes.
const PAGE: isize = 10;
/// More percent than this are refused by the balancer, too.
const MAX_DIGITS: usize = 4;

/// What somebody else has to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing.
    None,
    /// End.
    Quit,
    /// Ask why this backend is what it is.
    Why(Of),
    /// Order this.
    Order(Wish),
}

/// What the key does.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> Demand {
    if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'd')) {
        return Demand::Quit;
    }
    match model.focus.clone() {
        Focus::Table => in_table(model, key.code),
        Focus::Filter => in_filter(model, key.code),
        Focus::Weight(of, text) => in_weight(model, of, text, key.code),
        Focus::Confirm(wish) => {
            model.focus = Focus::Table;
            match key.code {
                KeyCode::Char('y' | 'Y') => return Demand::Order(wish),
                _ => model.say("nothing was ordered"),
            }
            Demand::None
        }
        Focus::Why { .. } => in_why(model, key.code),
        Focus::Help => {
            model.focus = Focus::Table;
            if key.code == KeyCode::Char('q') { Demand::Quit } else { Demand::None }
        }
    }
}

fn in_table(model: &mut Model, key: KeyCode) -> Demand {
    if let Some(by) = steps(key) {
        model.step(by);
        return Demand::None;
    }
    let selected = model.selected.clone();
    match key {
        KeyCode::Char('q') => return Demand::Quit,
        KeyCode::Char('s') => {
            model.sort = model.sort.next();
            model.backwards = false;
        }
        KeyCode::Char('S') => model.backwards = !model.backwards,
        KeyCode::Char('/') => model.focus = Focus::Filter,
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => model.focus = Focus::Help,
        KeyCode::Esc => {
            model.filter.clear();
            model.hush();
        }
        KeyCode::Enter => {
            if let Some(of) = selected {
                model.focus = Focus::Why { of: of.clone(), lines: vec!["asking".to_owned()], top: 0 };
                return Demand::Why(of);
            }
        }
        KeyCode::Char('w') => model.focus = selected.map_or(Focus::Table, |of| Focus::Weight(of, String::new())),
        KeyCode::Char('d') => confirm(model, selected, Verb::Drain),
        KeyCode::Char('r') => confirm(model, selected, Verb::Ready),
        KeyCode::Char('m') => confirm(model, selected, Verb::Maintenance),
        _ => {}
    }
    Demand::None
}

fn confirm(model: &mut Model, selected: Option<Of>, verb: Verb) {
    if let Some(of) = selected {
        model.focus = Focus::Confirm(Wish { of, verb });
    }
}

/// How far a key goes, where it goes anywhere.
fn steps(key: KeyCode) -> Option<isize> {
    match key {
        KeyCode::Up | KeyCode::Char('k') => Some(-1),
        KeyCode::Down | KeyCode::Char('j') => Some(1),
        KeyCode::PageUp => Some(-PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => Some(PAGE),
        KeyCode::Home | KeyCode::Char('g') => Some(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => Some(isize::MAX),
        _ => None,
    }
}

fn in_filter(model: &mut Model, key: KeyCode) -> Demand {
    match key {
        KeyCode::Enter => model.focus = Focus::Table,
        KeyCode::Esc => {
            model.filter.clear();
            model.focus = Focus::Table;
        }
        KeyCode::Backspace => {
            model.filter.pop();
        }
        KeyCode::Char(letter) => model.filter.push(letter),
        _ => {}
    }
    model.keep_selection(None);
    Demand::None
}

fn in_weight(model: &mut Model, of: Of, mut text: String, key: KeyCode) -> Demand {
    match key {
        KeyCode::Esc => {
            model.focus = Focus::Table;
            return Demand::None;
        }
        KeyCode::Enter => {
            match text.parse() {
                Ok(percent) => confirm(model, Some(of), Verb::Weight(percent)),
                Err(_empty) => model.focus = Focus::Table,
            }
            return Demand::None;
        }
        KeyCode::Backspace => {
            text.pop();
        }
        KeyCode::Char(digit) if digit.is_ascii_digit() && text.len() < MAX_DIGITS => text.push(digit),
        _ => {}
    }
    model.focus = Focus::Weight(of, text);
    Demand::None
}

fn in_why(model: &mut Model, key: KeyCode) -> Demand {
    let Focus::Why { lines, top, .. } = &mut model.focus else { return Demand::None };
    if let Some(by) = steps(key) {
        *top = top.saturating_add_signed(by).min(lines.len().saturating_sub(1));
    } else if matches!(key, KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q') | KeyCode::Backspace) {
        model.focus = Focus::Table;
    }
    Demand::None
}
