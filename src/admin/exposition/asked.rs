//! How a scrape wants its page: by its query, its `Accept`, and what the configuration says.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

use super::page::Form;
use crate::config::model::Breadth;

/// What a scrape asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Whose names the metrics have.
    pub names: Names,
    /// The format.
    pub form: Form,
    /// How much is said of each backend.
    pub breadth: Breadth,
}

/// Whose names the metrics have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Ours.
    Own,
    /// Those of HAProxy's exporter.
    Haproxy,
}

const FORMATS: &str = "`format` is prometheus, openmetrics or haproxy";
const BREADTHS: &str = "`backends` is all, brief or none";

impl Asked {
    /// Reads it; `usual` is how much is said where the query says nothing of that.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub(crate) fn of(query: &str, headers: &HeaderMap, usual: Breadth) -> Result<Self, String> {
        let form = if wants_open_metrics(headers) { Form::OpenMetrics } else { Form::Text };
        let mut asked = Self { names: Names::Own, form, breadth: usual };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("format", "prometheus") => asked.form = Form::Text,
                ("format", "openmetrics") => asked.form = Form::OpenMetrics,
                ("format", "haproxy") => asked.names = Names::Haproxy,
                ("format", _) => return Err(format!("{FORMATS}, not {value:?}")),
                ("backends", word) => {
                    let found = Breadth::WORDS.iter().find(|(known, _)| *known == word);
                    asked.breadth = found.ok_or_else(|| format!("{BREADTHS}, not {word:?}"))?.1;
                }
                _ => return Err(format!("`{key}` is not asked here; there are format and backends")),
            }
        }
        Ok(asked)
    }

    /// The type of the page.
    pub(crate) fn content_type(self) -> &'static str {
        match self.form {
            Form::Text => "text/plain; version=0.0.4; charset=utf-8",
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Whether `Accept` names OpenMetrics, and not with a weight of zero (RFC 9110, section 12.4.2). Who names it can read
/// it; it is what Prometheus likes best.
fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut words = range.split(';').map(str::trim);
        let is_it = words.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        let weight = words.find_map(|word| word.strip_prefix("q=")).and_then(|weight| weight.parse::<f32>().ok());
        is_it && weight != Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str, accept: &str) -> Result<Asked, String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a test writes legal headers"));
        Asked::of(query, &headers, Breadth::All)
    }

    #[test]
    fn the_format_is_what_the_query_or_the_scraper_wants() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (query, accept, form) in [
            ("", "*/*", Form::Text),
            ("", "text/plain", Form::Text),
            ("", prometheus, Form::OpenMetrics),
            ("", "application/openmetrics-text;q=0", Form::Text),
            ("format=prometheus", prometheus, Form::Text),
            ("format=openmetrics", "*/*", Form::OpenMetrics),
        ] {
            assert_eq!(asked(query, accept).map(|it| it.form), Ok(form), "{query} {accept}");
        }
    }

    #[test]
    fn a_query_says_how_much_or_what_is_wrong_with_it() {
        let read = |query: &str| asked(query, "*/*");
        assert_eq!(
            read("format=haproxy&backends=none").map(|it| (it.names, it.breadth)),
            Ok((Names::Haproxy, Breadth::None))
        );
        assert_eq!(read("backends=brief").map(|it| it.breadth), Ok(Breadth::Brief));
        for query in ["format=xml", "backends=some", "scope=server", "format"] {
            assert!(read(query).is_err(), "{query}");
        }
    }
}
