//! `healthy_when` as text: `web and (mysql or not standby)`, `2 of (a, b, c)`.
//!
//! `not` binds closest, then `and`, then `or`. Reads every expression or says where and why it cannot.

use std::ops::Range;
use std::sync::Arc;

use super::Expression;

/// Deepest nesting: a reader is lost long before, the stack is not.
const DEPTH_MAX: usize = 32;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes of the text that it is about.
    pub span: Range<usize>,
    /// The fault.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "; {help}"))
    }
}

impl std::error::Error for ParseError {}

impl Expression {
    /// Reads an expression over checks with these names.
    pub fn parse(text: &str, names: &[Arc<str>]) -> Result<Self, ParseError> {
        let tokens = tokens(text)?;
        let mut parser = Parser { text, names, tokens, next: 0, depth: 0 };
        let expression = parser.any()?;
        match parser.peek() {
            None => Ok(expression),
            Some((Token::Close, span)) => Err(parser.fault(span, "a `)` without its `(`")),
            Some((Token::Name(_), span)) => Err(ParseError {
                help: Some("join two checks with `and` or `or`".into()),
                ..parser.fault(span, "`and` or `or` is missing before this")
            }),
            Some((_, span)) => Err(parser.fault(span, "nothing may follow here")),
        }
    }

    /// Whether the expression asks for this check.
    pub fn mentions(&self, check: usize) -> bool {
        match self {
            Self::Check(own) => *own == check,
            Self::All(parts) | Self::AtLeast(_, parts) => parts.iter().any(|part| part.mentions(check)),
            Self::Not(part) => part.mentions(check),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    And,
    Or,
    Not,
    Of,
    Open,
    Close,
    Comma,
}

fn tokens(text: &str) -> Result<Vec<(Token<'_>, Range<usize>)>, ParseError> {
    let in_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let name = text[at..].find(|letter| !in_name(letter)).unwrap_or(text.len() - at);
        let width = if name > 0 { name } else { letter.len_utf8() };
        let span = at..at + width;
        at += width;
        let token = match letter {
            _ if letter.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            _ if name > 0 => match &text[span.clone()] {
                "and" => Token::And,
                "or" => Token::Or,
                "not" => Token::Not,
                "of" => Token::Of,
                "AND" | "And" | "OR" | "Or" | "NOT" | "Not" | "OF" | "Of" => {
                    let lower = text[span.clone()].to_ascii_lowercase();
                    let message = format!("`{}` is no word here", &text[span.clone()]);
                    return Err(ParseError { span, message, help: Some(format!("write `{lower}` in lower case")) });
                }
                name => Token::Name(name),
            },
            _ => {
                let word = match letter {
                    '&' => Some("and"),
                    '|' => Some("or"),
                    '!' => Some("not"),
                    _ => None,
                };
                return Err(ParseError {
                    message: format!("`{letter}` has no meaning here"),
                    help: Some(word.map_or_else(
                        || {
                            "an expression is made of checks, `and`, `or`, `not`, parentheses and `2 of (a, b, c)`"
                                .into()
                        },
                        |word| format!("write `{word}`"),
                    )),
                    span,
                });
            }
        };
        tokens.push((token, span));
    }
    Ok(tokens)
}

struct Parser<'a> {
    text: &'a str,
    names: &'a [Arc<str>],
    tokens: Vec<(Token<'a>, Range<usize>)>,
    next: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<(Token<'a>, Range<usize>)> {
        self.tokens.get(self.next).cloned()
    }

    fn take(&mut self, token: Token<'_>) -> bool {
        let found = self.peek().is_some_and(|(next, _)| next == token);
        self.next += usize::from(found);
        found
    }

    #[expect(clippy::unused_self, reason = "reads as the parser's own complaint")]
    fn fault(&self, span: Range<usize>, message: &str) -> ParseError {
        ParseError { span, message: message.into(), help: None }
    }

    fn end(&self) -> Range<usize> {
        let end = self.text.trim_end().len();
        end.saturating_sub(1)..end
    }

    fn any(&mut self) -> Result<Expression, ParseError> {
        let mut parts = vec![self.all()?];
        while self.take(Token::Or) {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::AtLeast(1, parts) })
    }

    fn all(&mut self) -> Result<Expression, ParseError> {
        let mut parts = vec![self.one()?];
        while self.take(Token::And) {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression, ParseError> {
        let Some((token, span)) = self.peek() else {
            let message =
                if self.tokens.is_empty() { "the expression is empty" } else { "a check is missing at the end" };
            return Err(self.fault(self.end(), message));
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault(span, "nested too deeply"));
        }
        self.next += 1;
        let expression = match token {
            Token::Not => Expression::Not(Box::new(self.one()?)),
            Token::Open => {
                let inner = self.any()?;
                self.close(&span)?;
                inner
            }
            Token::Name(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => self.count(digits, &span)?,
            Token::Name(name) => Expression::Check(self.check(name, span)?),
            Token::And | Token::Or | Token::Of | Token::Comma | Token::Close => {
                return Err(self.fault(span.clone(), &format!("a check is missing before `{}`", &self.text[span])));
            }
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn close(&mut self, open: &Range<usize>) -> Result<(), ParseError> {
        if self.take(Token::Close) {
            return Ok(());
        }
        match self.peek() {
            Some((Token::Comma, span)) => Err(ParseError {
                help: Some("a list with commas needs a count: `2 of (a, b, c)`".into()),
                ..self.fault(span, "`,` has no meaning here")
            }),
            Some((_, span)) => Err(self.fault(span, "`and`, `or` or `)` is missing before this")),
            None => Err(self.fault(open.clone(), "this `(` is never closed")),
        }
    }

    fn count(&mut self, digits: &str, span: &Range<usize>) -> Result<Expression, ParseError> {
        let form = || Some("the form is `2 of (a, b, c)`".into());
        if !self.take(Token::Of) {
            return Err(ParseError { help: form(), ..self.fault(span.clone(), "`of` is missing after the number") });
        }
        let Some((Token::Open, open)) = self.peek() else {
            return Err(ParseError {
                help: form(),
                ..self.fault(span.clone(), "a list in parentheses is missing after `of`")
            });
        };
        self.next += 1;
        let mut parts = vec![self.any()?];
        while self.take(Token::Comma) {
            parts.push(self.any()?);
        }
        self.close(&open)?;
        match digits.parse::<usize>() {
            Ok(least) if (1..=parts.len()).contains(&least) => Ok(Expression::AtLeast(least, parts)),
            _ => Err(ParseError {
                help: Some(format!("write a number from 1 to {}", parts.len())),
                ..self.fault(span.clone(), &format!("{digits} of {} can never be right", parts.len()))
            }),
        }
    }

    fn check(&self, name: &str, span: Range<usize>) -> Result<usize, ParseError> {
        if let Some(check) = self.names.iter().position(|known| &**known == name) {
            return Ok(check);
        }
        let near = self.names.iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
        let help = match near.filter(|(distance, known)| *distance <= (known.len() / 3).clamp(1, 3)) {
            Some((_, near)) => format!("did you mean `{near}`?"),
            None if self.names.is_empty() => "this pool has no checks".into(),
            None => format!("its checks are {}", self.names.join(", ")),
        };
        Err(ParseError { span, message: format!("no check is called `{name}`"), help: Some(help) })
    }
}

#[cfg(test)]
mod tests {
    use super::Expression::{All, AtLeast, Check, Not};
    use super::*;

    fn parse(text: &str) -> Result<Expression, ParseError> {
        Expression::parse(text, &["web".into(), "mysql".into(), "disk".into()])
    }

    #[test]
    fn not_binds_closer_than_and_and_that_closer_than_or() {
        assert_eq!(parse("web"), Ok(Check(0)));
        assert_eq!(parse("web and mysql"), Ok(All(vec![Check(0), Check(1)])));
        assert_eq!(
            parse("web or mysql and not disk"),
            Ok(AtLeast(1, vec![Check(0), All(vec![Check(1), Not(Box::new(Check(2)))])]))
        );
        assert_eq!(parse("(web or mysql) and disk"), Ok(All(vec![AtLeast(1, vec![Check(0), Check(1)]), Check(2)])));
    }

    #[test]
    fn so_many_of_a_list_may_hold_expressions() {
        assert_eq!(parse("2 of (web, mysql, disk)"), Ok(AtLeast(2, vec![Check(0), Check(1), Check(2)])));
        assert_eq!(
            parse("not 1 of(web and disk,2 of (web,mysql))"),
            Ok(Not(Box::new(AtLeast(1, vec![All(vec![Check(0), Check(2)]), AtLeast(2, vec![Check(0), Check(1)])]))))
        );
    }

    #[test]
    fn a_fault_is_placed_and_answered() {
        for (text, span, message, help) in [
            ("wbe and mysql", 0..3, "no check is called `wbe`", Some("did you mean `web`?")),
            ("web and cache", 8..13, "no check is called `cache`", Some("its checks are web, mysql, disk")),
            ("web AND mysql", 4..7, "`AND` is no word here", Some("write `and` in lower case")),
            ("web && mysql", 4..5, "`&` has no meaning here", Some("write `and`")),
            ("web and", 6..7, "a check is missing at the end", None),
            ("", 0..0, "the expression is empty", None),
            ("and web", 0..3, "a check is missing before `and`", None),
            ("(web", 0..1, "this `(` is never closed", None),
            ("web)", 3..4, "a `)` without its `(`", None),
            (
                "(web, mysql)",
                4..5,
                "`,` has no meaning here",
                Some("a list with commas needs a count: `2 of (a, b, c)`"),
            ),
            ("4 of (web, mysql, disk)", 0..1, "4 of 3 can never be right", Some("write a number from 1 to 3")),
            ("0 of (web)", 0..1, "0 of 1 can never be right", Some("write a number from 1 to 1")),
            ("2 (web, mysql)", 0..1, "`of` is missing after the number", Some("the form is `2 of (a, b, c)`")),
            ("web mysql", 4..9, "`and` or `or` is missing before this", Some("join two checks with `and` or `or`")),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.span, &*error.message, error.help.as_deref()), (span, message, help), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_fatal() {
        let deep = format!("{}web{}", "(".repeat(100_000), ")".repeat(100_000));
        assert_eq!(parse(&deep).unwrap_err().message, "nested too deeply");
        assert!(parse(&"not ".repeat(100_000)).is_err());
    }

    #[test]
    fn every_check_that_is_named_is_mentioned() {
        let expression = parse("web or 1 of (not disk, web)").unwrap();
        assert!(expression.mentions(0) && !expression.mentions(1) && expression.mentions(2));
    }
}
