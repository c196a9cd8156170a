//! The page of the admin port: files that are part of the program, and who gets them.
//!
//! It needs nothing from anywhere else, and what it shows it asks this port for, with the token where there is one. Its
//! policy lets a browser run nothing that is not in these files, wherever the text that it shows comes from.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// What a browser may load and run here, and that no other page may frame it.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asset {
    Page,
    Style,
    Script,
    Icon,
}

impl Asset {
    /// The file of a name below `/page/`.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "page.css" => Self::Style,
            "page.js" => Self::Script,
            "icon.svg" => Self::Icon,
            _ => return None,
        })
    }

    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Page => include_bytes!("page.html"),
            Self::Style => include_bytes!("page.css"),
            Self::Script => include_bytes!("page.js"),
            Self::Icon => include_bytes!("icon.svg"),
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Page => "text/html; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Icon => "image/svg+xml",
        }
    }
}

/// Whether a browser asks, and not a tool that takes anything.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|accepted| accepted.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_only_files_that_are_there_and_nothing_elsewhere() {
        let page = std::str::from_utf8(Asset::Page.bytes()).expect("text");
        let named: Vec<&str> = page.split('"').filter_map(|part| part.strip_prefix("/page/")).collect();
        assert!(named.len() > 3, "{named:?}");
        for name in named {
            assert!(Asset::of(name).is_some(), "{name}");
        }
        for asset in [Asset::Page, Asset::Style, Asset::Script] {
            // A name of elements, at which nobody asks.
            let text = std::str::from_utf8(asset.bytes()).expect("text").replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains("://"), "{asset:?} asks somebody else");
            assert!(!text.contains("innerHTML ="), "{asset:?} takes text for markup");
        }
    }
}
