//! Whether one value of a database's answer is as wanted: `equals`, `not`, `above`, `below`. PURE.
//!
//! Databases answer in text; the type of what is wanted says how it is read.

use std::cmp::Ordering;

use crate::config::model::{Compare, Literal, Number};

/// Longest part of a value that a message shows.
const MAX_SHOWN: usize = 60;

/// A sentence where the value is not as wanted; `None` is NULL.
pub(super) fn judge(rule: &Compare, value: Option<&str>) -> Result<(), String> {
    let Some(value) = value else { return Err(format!("it is NULL, wanted {rule}")) };
    let holds = match rule {
        Compare::Equals(wanted) => is(wanted, value)?,
        Compare::Not(unwanted) => !is(unwanted, value)?,
        Compare::Between { above, below } => {
            let lies = |bound: &Option<Number>, side: Ordering| match bound {
                Some(bound) => Ok::<_, String>(order(value, *bound)? == side),
                None => Ok(true),
            };
            lies(above, Ordering::Greater)? && lies(below, Ordering::Less)?
        }
    };
    if holds { Ok(()) } else { Err(format!("it is {}, wanted {rule}", shown(value))) }
}

/// A value for people: in one short line, in backticks.
pub(super) fn shown(value: &str) -> String {
    let mut line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN).collect();
    if value.chars().count() > MAX_SHOWN {
        line.push('…');
    }
    format!("`{line}`")
}

fn is(wanted: &Literal, value: &str) -> Result<bool, String> {
    match wanted {
        Literal::Text(text) => Ok(**text == *value),
        Literal::Number(number) => Ok(order(value, *number)? == Ordering::Equal),
        Literal::Truth(wanted) => Ok(truth(value).ok_or_else(|| format!("it is {}, neither true nor false", shown(value)))? == *wanted),
    }
}

/// How a value compares with a number. Whole numbers compare exactly, however large.
fn order(value: &str, with: Number) -> Result<Ordering, String> {
    let value = value.trim();
    if let (Ok(value), Number::Whole(with)) = (value.parse::<i128>(), with) {
        return Ok(value.cmp(&i128::from(with)));
    }
    let with = match with {
        Number::Whole(number) => number as f64,
        Number::Real(number) => number,
    };
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .and_then(|number| number.partial_cmp(&with))
        .ok_or_else(|| format!("it is {}, which is no number", shown(value)))
}

fn truth(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "t" | "true" | "y" | "yes" | "on" | "\u{1}" => Some(true),
        "0" | "f" | "false" | "n" | "no" | "off" | "\0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Literal {
        Literal::Text(text.into())
    }

    fn whole(number: i64) -> Literal {
        Literal::Number(Number::Whole(number))
    }

    fn real(number: f64) -> Literal {
        Literal::Number(Number::Real(number))
    }

    fn between(above: Option<Number>, below: Option<Number>) -> Compare {
        Compare::Between { above, below }
    }

    #[test]
    fn a_value_is_read_by_the_type_of_what_is_wanted() {
        let rows = [
            (text("ON"), "ON", true),
            (text("ON"), "on", false),
            (text("1"), "1", true),
            (text("1"), "1.0", false),
            (text(""), "", true),
            (whole(1), "1", true),
            (whole(1), "1.000", true),
            (whole(1), " 1 ", true),
            (whole(-3), "-3", true),
            (whole(1), "1.5", false),
            (whole(9_007_199_254_740_993), "9007199254740992", false),
            (whole(i64::MAX), "18446744073709551615", false),
            (real(1.5), "1.50", true),
            (real(1.0), "1", true),
            (Literal::Truth(true), "1", true),
            (Literal::Truth(true), "ON", true),
            (Literal::Truth(true), "t", true),
            (Literal::Truth(true), "Yes", true),
            (Literal::Truth(true), "\u{1}", true),
            (Literal::Truth(true), "0", false),
            (Literal::Truth(false), "off", true),
            (Literal::Truth(false), "f", true),
            (Literal::Truth(false), "true", false),
        ];
        for (wanted, value, holds) in rows {
            assert_eq!(judge(&Compare::Equals(wanted.clone()), Some(value)).is_ok(), holds, "{wanted} {value:?}");
            assert_eq!(judge(&Compare::Not(wanted.clone()), Some(value)).is_ok(), !holds, "not {wanted} {value:?}");
        }
    }

    #[test]
    fn ends_are_not_included() {
        let five = Some(Number::Whole(5));
        for (above, below, value, holds) in [
            (five, None, "5", false),
            (five, None, "5.01", true),
            (five, None, "6", true),
            (None, five, "5", false),
            (None, five, "-7", true),
            (Some(Number::Real(0.5)), five, "1", true),
            (Some(Number::Real(0.5)), five, "0.5", false),
            (None, None, "anything", true),
        ] {
            assert_eq!(judge(&between(above, below), Some(value)).is_ok(), holds, "{above:?} {below:?} {value}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_a_failure_whatever_the_rule() {
        for (rule, value, words) in [
            (Compare::Equals(whole(1)), None, "NULL, wanted equals = 1"),
            (Compare::Not(text("x")), None, "NULL, wanted not = \"x\""),
            (between(None, Some(Number::Whole(5))), None, "NULL, wanted below = 5"),
            (Compare::Not(whole(1)), Some("abc"), "`abc`, which is no number"),
            (between(Some(Number::Whole(5)), None), Some("NaN"), "no number"),
            (between(Some(Number::Whole(5)), None), Some("inf"), "no number"),
            (Compare::Not(Literal::Truth(true)), Some("perhaps"), "neither true nor false"),
            (Compare::Equals(text("up")), Some("do\nwn"), "`do wn`, wanted equals = \"up\""),
        ] {
            let problem = judge(&rule, value).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
        assert!(shown(&"ü".repeat(100)).chars().count() < 70);
    }
}
