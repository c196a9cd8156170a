//! `errors`: pages in place of the short sentences by which clients are told that something is wrong.
//!
//! Part of [`Rules`](super::Rules).

use std::sync::Arc;

use super::Template;

/// `errors` and `errors_of` of a listener or route; those of the listener are in it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPages {
    /// Whose errors.
    pub of: ErrorsOf,
    /// Pages and what they are for: the first that fits is the one. Those of a route stand before those of its listener,
    /// and among either a status before its class.
    pub pages: Vec<(ErrorStatus, Arc<Page>)>,
}

/// `errors_of`: whose errors are told by pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorsOf {
    /// The balancer's own.
    #[default]
    Own,
    /// Those that backends answer with as well.
    All,
}

/// What a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorStatus {
    /// This status, 400 to 599.
    Status(u16),
    /// All of a hundred: 4 or 5.
    Class(u16),
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status that clients get instead of the one that the page is for; 200 to 599.
    pub status: Option<u16>,
    /// `Content-Type`.
    pub kind: Arc<str>,
    /// What it says.
    pub body: PageBody,
}

/// The body of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageBody {
    /// Always the same.
    Fixed(Arc<[u8]>),
    /// With variables, which are those that are known of every error: [`Page::knows`].
    Filled(Template, Escape),
}

/// How a value becomes part of a page: so that nothing that a client has said is more than text there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// As characters are named in HTML and XML.
    Html,
    /// As in a string of JSON.
    Json,
    /// As it is: the page is plain text.
    Plain,
}

impl ErrorPages {
    /// The page for an answer with this status.
    pub fn find(&self, status: u16) -> Option<&Page> {
        self.pages.iter().find(|(what, _)| what.holds(status)).map(|(_, page)| &**page)
    }
}

impl ErrorStatus {
    fn holds(self, status: u16) -> bool {
        match self {
            Self::Status(this) => this == status,
            Self::Class(class) => class == status / 100,
        }
    }
}

impl Page {
    /// Whether a variable is known of every error, also where the request could not be read.
    pub fn knows(variable: &super::Variable) -> bool {
        use super::Variable::{ClientIp, Listener, RequestId, Status};
        matches!(variable, RequestId | Status | ClientIp | Listener)
    }
}

impl Escape {
    /// The way into a page of this media type. What is neither plain text nor JSON may be shown as a document.
    pub fn of(kind: &str) -> Self {
        let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media.as_str() {
            "text/plain" => Self::Plain,
            media if media == "application/json" || media.ends_with("+json") => Self::Json,
            _ => Self::Html,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_that_fits_is_the_one() {
        let page =
            |kind: &str| Arc::new(Page { status: None, kind: kind.into(), body: PageBody::Fixed(Arc::default()) });
        let pages = vec![
            (ErrorStatus::Status(503), page("a")),
            (ErrorStatus::Class(5), page("b")),
            (ErrorStatus::Status(404), page("c")),
            (ErrorStatus::Status(502), page("never")),
        ];
        let pages = ErrorPages { of: ErrorsOf::Own, pages };
        let kind = |status| pages.find(status).map(|page| &*page.kind);
        assert_eq!([kind(503), kind(502), kind(404)], [Some("a"), Some("b"), Some("c")]);
        assert_eq!([kind(400), kind(200), kind(599)], [None, None, Some("b")]);
    }

    #[test]
    fn only_plain_text_takes_values_as_they_are() {
        for (kind, escape) in [
            ("text/html; charset=utf-8", Escape::Html),
            ("TEXT/PLAIN;charset=x", Escape::Plain),
            ("application/json", Escape::Json),
            ("application/problem+json; a=b", Escape::Json),
            ("image/svg+xml", Escape::Html),
            ("nonsense", Escape::Html),
        ] {
            assert_eq!(Escape::of(kind), escape, "{kind}");
        }
    }
}
