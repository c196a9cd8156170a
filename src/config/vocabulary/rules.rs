//! The keys of rules for requests.

use super::Words;

pub(in super::super) const FIELD_EDITS: Words = Words {
    place: "request_headers = { ... } and response_headers",
    keys: &["set", "add", "remove"],
    later: &[],
    foreign: &[
        ("del", "remove"),
        ("delete", "remove"),
        ("unset", "remove"),
        ("replace", "set"),
        ("append", "add"),
        ("headers", "set = { \"X-Name\" = \"value\" }"),
    ],
};

pub(in super::super) const HSTS: Words = Words {
    place: "hsts = { ... }",
    keys: &["max_age", "subdomains", "preload"],
    later: &[],
    foreign: &[("includeSubDomains", "subdomains"), ("include_subdomains", "subdomains"), ("maxage", "max_age")],
};

pub(in super::super) const REDIRECT: Words = Words {
    place: "redirect = { ... }",
    keys: &["to", "status"],
    later: &[],
    foreign: &[
        ("code", "status"),
        ("url", "to"),
        ("location", "to"),
        ("scheme", "to = \"https\""),
        ("permanent", "status = 308"),
    ],
};

pub(in super::super) const RESPOND: Words = Words {
    place: "respond = { ... }",
    keys: &["status", "text", "file", "type"],
    later: &["headers"],
    foreign: &[
        ("code", "status"),
        ("body", "text"),
        ("content", "text"),
        ("path", "file"),
        ("page", "file"),
        ("content_type", "type"),
    ],
};
