//! What a column of a query's first row must be, and whether it is. PURE; used by the checks of databases.
//!
//! Typed by what the configuration wants, not by what the server says: `equals = 1` takes `1.0`, `equals = true` takes
//! the words that databases have for it, and a text is compared as it stands. NULL and no row are never good.

use std::borrow::Cow;

use super::report::{Failure, Layer};
use super::transcript::readable;
use crate::config::model::{Comparison, Number, Query, Wanted};

/// Longest piece of an answer that is quoted.
const WIDTH: usize = 60;

/// What the answer to a query says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The names of its columns; may be empty where the query wants the first one.
    pub(super) columns: Vec<String>,
    /// The values of its first row; `None` is NULL.
    pub(super) first: Option<Vec<Option<Vec<u8>>>>,
}

/// The column of the first row that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell<'a> {
    /// There is no row.
    Missing,
    /// It is NULL.
    Null,
    /// Its text.
    Value(&'a [u8]),
}

/// Whether the answer to `query` is the one that is wanted: what to say of it, or why not.
pub(super) fn judge(query: &Query, answer: &Answer) -> Result<String, Failure> {
    let bad = |what: String| Failure::new(Layer::Answer, what);
    let position = match &query.column {
        None => 0,
        Some(name) => position(name, answer).map_err(bad)?,
    };
    let cell = match answer.first.as_ref().map(|row| row.get(position)) {
        None | Some(None) => Cell::Missing,
        Some(Some(None)) => Cell::Null,
        Some(Some(Some(value))) => Cell::Value(value),
    };
    let said = match &query.column {
        None => format!("the query says {}", said(cell)),
        Some(name) => format!("the query says {} in `{}`", said(cell), readable(name.as_bytes(), WIDTH)),
    };
    let Some(wanted) = query.wanted.iter().find(|wanted| !is_good(wanted, cell)) else {
        return Ok(if query.wanted.is_empty() { said } else { format!("{said}, as wanted") });
    };
    let note = match (wanted, cell) {
        (_, Cell::Missing) => "; a query that finds nothing is never good",
        (_, Cell::Null) => "; NULL is never good",
        (Comparison::Above(_) | Comparison::Below(_), Cell::Value(text)) if number(text).is_none() => {
            ", which is no number"
        }
        _ => "",
    };
    Err(bad(format!("{said}, wanted {wanted}{note}")))
}

/// Where the column of this name is, in any case: databases do not agree on which one they give back. Without rows and
/// columns it does not matter.
fn position(name: &str, answer: &Answer) -> Result<usize, String> {
    let found = answer.columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    if answer.columns.is_empty() && answer.first.is_none() {
        return Ok(0);
    }
    found.ok_or_else(|| {
        let name = readable(name.as_bytes(), WIDTH);
        let names = readable(answer.columns.join(", ").as_bytes(), WIDTH);
        format!("the answer to the query has no column `{name}`; it has {names}")
    })
}

fn is_good(wanted: &Comparison, cell: Cell<'_>) -> bool {
    let Cell::Value(text) = cell else { return false };
    match wanted {
        Comparison::Equals(wanted) => is_equal(wanted, text),
        Comparison::Not(wanted) => !is_equal(wanted, text),
        Comparison::Above(limit) => number(text).is_some_and(|number| number > *limit),
        Comparison::Below(limit) => number(text).is_some_and(|number| number < *limit),
    }
}

fn is_equal(wanted: &Wanted, text: &[u8]) -> bool {
    match wanted {
        Wanted::Text(wanted) => wanted.as_bytes() == text,
        Wanted::Number(wanted) => number(text) == Some(*wanted),
        Wanted::True => {
            ["t", "true", "1", "on", "yes", "y"].iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
        }
        Wanted::False => {
            ["f", "false", "0", "off", "no", "n"].iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
        }
    }
}

fn number(text: &[u8]) -> Option<Number> {
    Number::parse(std::str::from_utf8(text).ok()?.trim())
}

fn said(cell: Cell<'_>) -> Cow<'static, str> {
    match cell {
        Cell::Missing => "nothing (no row)".into(),
        Cell::Null => "NULL".into(),
        Cell::Value(text) => format!("`{}`", readable(text, WIDTH)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    fn text(text: &str) -> Wanted {
        Wanted::Text(text.into())
    }

    #[test]
    fn a_value_is_compared_by_the_type_that_is_wanted() {
        use Comparison::{Above, Below, Equals, Not};
        let of = |text: &str| Wanted::Number(number_of(text));
        let rows: &[(Comparison, &str, bool)] = &[
            (Equals(text("ON")), "ON", true),
            (Equals(text("ON")), "on", false),
            (Equals(text("1")), "1.0", false),
            (Equals(text("")), "", true),
            (Equals(of("1")), "1", true),
            (Equals(of("1")), "1.000", true),
            (Equals(of("1")), "+1", true),
            (Equals(of("1")), " 1 ", true),
            (Equals(of("1")), "one", false),
            (Equals(of("1")), "", false),
            (Equals(of("18446744073709551615")), "18446744073709551615", true),
            (Equals(of("9007199254740993")), "9007199254740992", false),
            (Equals(of("-0.5")), "-.5", true),
            (Equals(of("0")), "-0", true),
            (Equals(Wanted::True), "t", true),
            (Equals(Wanted::True), "ON", true),
            (Equals(Wanted::True), "Yes", true),
            (Equals(Wanted::True), "1", true),
            (Equals(Wanted::True), "2", false),
            (Equals(Wanted::False), "f", true),
            (Equals(Wanted::False), "0", true),
            (Equals(Wanted::False), "OFF", true),
            (Equals(Wanted::False), "", false),
            (Not(text("ERROR")), "OK", true),
            (Not(text("ERROR")), "ERROR", false),
            (Not(of("0")), "0.0", false),
            (Not(of("0")), "3", true),
            (Not(Wanted::True), "f", true),
            (Above(number_of("5")), "5", false),
            (Above(number_of("5")), "5.000000001", true),
            (Above(number_of("-1")), "0", true),
            (Above(number_of("5")), "many", false),
            (Above(number_of("5")), "NaN", false),
            (Above(number_of("5")), "1e3", true),
            (Below(number_of("100")), "99.9", true),
            (Below(number_of("100")), "100", false),
            (Below(number_of("100")), "-1e2", true),
            (Below(number_of("100")), "0x10", false),
            (Below(number_of("0.5")), "2.5e-1", true),
        ];
        for (wanted, value, good) in rows {
            assert_eq!(is_good(wanted, Cell::Value(value.as_bytes())), *good, "{wanted:?} of {value:?}");
        }
        for (wanted, _, _) in rows {
            assert!(!is_good(wanted, Cell::Null) && !is_good(wanted, Cell::Missing), "{wanted:?}");
            assert!(Wanted::True != Wanted::False && !is_good(&Equals(of("1")), Cell::Value(b"\xff\xfe")));
        }
    }

    fn query(column: Option<&str>, wanted: impl IntoIterator<Item = Comparison>) -> Query {
        Query { sql: "SELECT 1".into(), column: column.map(Into::into), wanted: wanted.into_iter().collect() }
    }

    /// With the columns `id` and `Lag`.
    fn answer(first: Option<[Option<&str>; 2]>) -> Answer {
        let row = |cells: [Option<&str>; 2]| cells.map(|cell| cell.map(|text| text.as_bytes().to_vec())).to_vec();
        Answer { columns: vec!["id".to_owned(), "Lag".to_owned()], first: first.map(row) }
    }

    #[test]
    fn every_comparison_must_be_met_by_the_column_that_is_named() {
        type Row<'a> = (Option<&'a str>, [Option<&'a str>; 2], Result<&'a str, &'a str>);
        let within = || [Comparison::Above(number_of("0")), Comparison::Below(number_of("10"))];
        let rows: &[Row<'_>] = &[
            (Some("lag"), [Some("77"), Some("5")], Ok("the query says `5` in `lag`, as wanted")),
            (Some("LAG"), [Some("77"), Some("5")], Ok("the query says `5` in `LAG`, as wanted")),
            (Some("Lag"), [Some("5"), Some("0")], Err("the query says `0` in `Lag`, wanted above 0")),
            (Some("Lag"), [Some("5"), Some("10")], Err("the query says `10` in `Lag`, wanted below 10")),
            (Some("Lag"), [Some("5"), None], Err("the query says NULL in `Lag`, wanted above 0; NULL is never good")),
            (None, [Some("5"), None], Ok("the query says `5`, as wanted")),
            (None, [Some("10"), Some("5")], Err("the query says `10`, wanted below 10")),
            (
                Some("delay"),
                [Some("5"), Some("5")],
                Err("the answer to the query has no column `delay`; it has id, Lag"),
            ),
        ];
        for (column, cells, expected) in rows {
            let judged = judge(&query(*column, within()), &answer(Some(*cells))).map_err(|failure| failure.what);
            assert_eq!(judged.as_deref().map_err(String::as_str), *expected);
        }
        for (column, words) in [("lag", "nothing (no row) in `lag`"), ("delay", "no column `delay`")] {
            let failure = judge(&query(Some(column), within()), &answer(None)).unwrap_err();
            assert!(failure.what.contains(words), "{failure}");
        }
        let done = judge(&query(Some("lag"), within()), &Answer::default()).unwrap_err();
        assert!(done.what.contains("no row"), "a statement that shows nothing: {done}");
    }

    #[test]
    fn the_words_name_what_came_and_what_was_wanted() {
        let long = "x".repeat(500);
        let rows: &[(Option<Comparison>, Cell<'_>, Result<&str, &str>)] = &[
            (None, Cell::Missing, Ok("the query says nothing (no row)")),
            (None, Cell::Value(b"17"), Ok("the query says `17`")),
            (Some(Comparison::Equals(text("a"))), Cell::Value(b"a"), Ok("the query says `a`, as wanted")),
            (Some(Comparison::Equals(text("a"))), Cell::Value(b"b\n"), Err("the query says `b\\n`, wanted `a`")),
            (
                Some(Comparison::Not(Wanted::True)),
                Cell::Value(b"t"),
                Err("the query says `t`, wanted anything but true"),
            ),
            (
                Some(Comparison::Below(number_of("2.50"))),
                Cell::Value(b"3"),
                Err("the query says `3`, wanted below 2.5"),
            ),
            (
                Some(Comparison::Above(number_of("-10"))),
                Cell::Value("grün".as_bytes()),
                Err("the query says `grün`, wanted above -10, which is no number"),
            ),
            (
                Some(Comparison::Equals(Wanted::Number(number_of("1")))),
                Cell::Missing,
                Err("the query says nothing (no row), wanted 1; a query that finds nothing is never good"),
            ),
            (
                Some(Comparison::Not(text("a"))),
                Cell::Null,
                Err("the query says NULL, wanted anything but `a`; NULL is never good"),
            ),
        ];
        for (wanted, cell, expected) in rows {
            let first = match cell {
                Cell::Missing => None,
                Cell::Null => Some(vec![None]),
                Cell::Value(text) => Some(vec![Some(text.to_vec())]),
            };
            let answer = Answer { columns: Vec::new(), first };
            let judged = judge(&query(None, wanted.clone()), &answer).map_err(|failure| failure.what);
            assert_eq!(judged.as_deref().map_err(String::as_str), *expected);
        }
        let judged = judge(&query(None, None), &answer(Some([Some(&long), None]))).unwrap();
        assert!(judged.chars().count() < 90, "{judged}");
    }
}
