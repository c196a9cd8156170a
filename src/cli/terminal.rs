//! The terminal: what is said to it, whether it shows colours, and how things line up on it.

use std::io::{IsTerminal, Write};

/// Text to standard output. A reader that has gone (`… | head`) is no failure of ours.
pub(super) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Text to standard error.
pub(super) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether text may carry colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Plain text.
    Plain,
    /// Escape codes.
    Colour,
}

impl Paint {
    /// For standard output: colours on a terminal, unless `NO_COLOR` is set.
    pub(super) fn of_output() -> Self {
        Self::when(std::io::stdout().is_terminal())
    }

    /// For standard error.
    pub(super) fn of_errors() -> Self {
        Self::when(std::io::stderr().is_terminal())
    }

    fn when(terminal: bool) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if terminal && !unwanted { Self::Colour } else { Self::Plain }
    }
}

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// The terminal's own.
    None,
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Neither.
    Yellow,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Green => "\x1b[32m",
            Self::Red => "\x1b[31m",
            Self::Yellow => "\x1b[33m",
            Self::Dim => "\x1b[2m",
            Self::Bold => "\x1b[1m",
        }
    }

    /// `text` in this colour, if colours are wanted.
    pub(super) fn on(self, text: &str, paint: Paint) -> String {
        match paint {
            Paint::Colour if self != Self::None => format!("{}{text}\x1b[0m", self.code()),
            _ => text.to_owned(),
        }
    }
}

/// A text that grows.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// Adds text as it is.
    pub(super) fn add(&mut self, text: impl AsRef<str>) {
        self.0.push_str(text.as_ref());
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        self.add(line);
        self.0.push('\n');
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which side of its column a cell keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows in columns as wide as their widest cell, under headings where any column has one.
#[derive(Debug)]
pub(super) struct Grid {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<(String, Ink)>>,
}

impl Grid {
    /// An empty one.
    pub(super) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell for each column.
    pub(super) fn row(&mut self, cells: Vec<(String, Ink)>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The text, a line for each row.
    pub(super) fn render(&self, paint: Paint) -> String {
        let headings: Vec<_> = self.columns.iter().map(|(name, _)| ((*name).to_owned(), Ink::Bold)).collect();
        let headed = self.columns.iter().any(|(name, _)| !name.is_empty());
        let lines: Vec<_> = headed.then_some(&headings).into_iter().chain(&self.rows).collect();
        let widest = |column: usize| lines.iter().map(|line| line[column].0.chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.columns.len()).map(widest).collect();
        let mut text = String::new();
        for line in lines {
            let cells = line.iter().zip(&widths).zip(&self.columns).map(|(((cell, ink), width), (_, side))| {
                let space = " ".repeat(width - cell.chars().count());
                match side {
                    Side::Left => format!("{}{space}", ink.on(cell, paint)),
                    Side::Right => format!("{space}{}", ink.on(cell, paint)),
                }
            });
            let cells: Vec<_> = cells.collect();
            text.push_str(cells.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new(&[("NAME", Side::Left), ("N", Side::Right), ("NOTE", Side::Left)]);
        grid.row(vec![("façade".into(), Ink::None), ("7".into(), Ink::None), (String::new(), Ink::None)]);
        grid.row(vec![("b".into(), Ink::Green), ("1200".into(), Ink::None), ("fine".into(), Ink::None)]);
        assert_eq!(grid.render(Paint::Plain), "NAME       N  NOTE\nfaçade     7\nb       1200  fine\n");
        let coloured = grid.render(Paint::Colour);
        assert!(coloured.contains("\x1b[32mb\x1b[0m       1200  fine\n"), "{coloured:?}");
    }
}
