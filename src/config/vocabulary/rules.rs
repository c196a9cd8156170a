//! The keys of rules for requests.

use super::Words;

pub(in super::super) const ROUTE_PATH: Words = Words {
    place: "path = { ... }",
    keys: &["exact", "regex"],
    later: &[],
    foreign: &[("prefix", "path = \"/v1\""), ("pattern", "regex"), ("equals", "exact")],
};

pub(in super::super) const ROUTE_VALUE: Words = Words {
    place: "header = { ... }, cookie and query",
    keys: &["name", "value", "prefix", "contains", "regex", "not"],
    later: &[],
    foreign: &[
        ("key", "name"),
        ("equals", "value"),
        ("exact", "value"),
        ("present", "the name alone"),
        ("absent", "not = true"),
        ("invert", "not"),
        ("pattern", "regex"),
    ],
};

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

pub(in super::super) const REWRITE: Words = Words {
    place: "rewrite = { ... }",
    keys: &["strip_prefix", "prefix", "pattern", "with", "map_back"],
    later: &["host"],
    foreign: &[
        ("strip", "strip_prefix"),
        ("stripPrefix", "strip_prefix"),
        ("add_prefix", "prefix = \"/\", with = \"/base\""),
        ("regex", "pattern"),
        ("match", "pattern"),
        ("path", "prefix, or pattern"),
        ("to", "with"),
        ("replace", "with"),
        ("replacement", "with"),
        ("substitution", "with"),
        ("proxy_redirect", "map_back"),
        ("proxy_cookie_path", "map_back"),
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

pub(in super::super) const ERROR_PAGE: Words = Words {
    place: "errors = { ... }",
    keys: &["file", "text", "type", "status", "variables"],
    later: &["headers", "redirect"],
    foreign: &[
        ("code", "status"),
        ("body", "text"),
        ("content", "text"),
        ("path", "file"),
        ("page", "file"),
        ("content_type", "type"),
        ("template", "variables = true"),
    ],
};

pub(in super::super) const MIRROR: Words = Words {
    place: "mirror = { ... }",
    keys: &["pool", "share", "body_max", "in_flight_max"],
    later: &["timeout"],
    foreign: &[
        ("to", "pool"),
        ("cluster", "pool"),
        ("backend", "pool"),
        ("percent", "share"),
        ("percentage", "share"),
        ("sample", "share"),
        ("maxBodySize", "body_max"),
        ("max_body", "body_max"),
        ("limit", "in_flight_max"),
    ],
};
