//! What a query's first column must be, and whether it is. PURE; used by the checks of databases.
//!
//! Typed by what the configuration wants, not by what the server says: `equals = 1` takes `1.0`, `equals = true` takes
//! the words that databases have for it, and a text is compared as it stands. NULL and no row are never good.

use std::borrow::Cow;

use super::report::{Failure, Layer};
use super::transcript::readable;
use crate::config::model::{Comparison, Number, Query, Wanted};

/// Longest piece of an answer that is quoted.
const WIDTH: usize = 60;

/// The first column of the first row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    /// There is no row.
    Missing,
    /// It is NULL.
    Null,
    /// Its text.
    Value(&'a [u8]),
}

/// Whether the answer to `query` is the one that is wanted: what to say of it, or why not.
pub(super) fn judge(query: &Query, cell: Cell<'_>) -> Result<String, Failure> {
    let answer = |what: String| Failure::new(Layer::Answer, what);
    let Some(wanted) = &query.wanted else { return Ok(format!("the query says {}", said(cell))) };
    if is_good(wanted, cell) {
        return Ok(format!("the query says {}, as wanted", said(cell)));
    }
    let note = match (wanted, cell) {
        (_, Cell::Missing) => "; a query that finds nothing is never good",
        (_, Cell::Null) => "; NULL is never good",
        (Comparison::Above(_) | Comparison::Below(_), Cell::Value(text)) if number(text).is_none() => {
            ", which is no number"
        }
        _ => "",
    };
    Err(answer(format!("the query says {}, wanted {wanted}{note}", said(cell))))
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

    #[test]
    fn the_words_name_what_came_and_what_was_wanted() {
        let query = |wanted: Option<Comparison>| Query { sql: "SELECT 1".into(), wanted };
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
            let judged = judge(&query(wanted.clone()), *cell).map_err(|failure| failure.what);
            assert_eq!(judged.as_deref().map_err(String::as_str), *expected);
        }
        let judged = judge(&query(None), Cell::Value(long.as_bytes())).unwrap();
        assert!(judged.chars().count() < 90, "{judged}");
    }
}
