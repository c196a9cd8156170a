//! The keys of routes, and of rules for requests.

use super::Words;

pub(in super::super) const ROUTE: Words = Words {
    place: "[[listener.NAME.route]]",
    keys: &[
        "host",
        "path",
        "method",
        "header",
        "cookie",
        "query",
        "client",
        "pool",
        "split",
        "split_by",
        "reads",
        "respond",
        "redirect",
        "allow",
        "deny",
        "cors",
        "rate",
        "basic_auth",
        "forward_auth",
        "compress",
        "rewrite",
        "request_headers",
        "response_headers",
        "hsts",
        "errors",
        "errors_of",
        "mirror",
    ],
    later: &["timeouts", "retry", "sni", "backend_http"],
    foreign: &[
        ("hosts", "host, which takes a list too"),
        ("paths", "path, which takes a list too"),
        ("path_regex", "path = { regex = \"^/v[0-9]+/\" }"),
        ("path_exact", "path = { exact = \"/login\" }"),
        ("cookies", "cookie, which takes a list too"),
        ("query_params", "query"),
        ("methods", "method, which takes a list too"),
        ("headers", "header, which takes a list too"),
        ("hostname", "host"),
        ("domain", "host"),
        ("prefix", "path"),
        ("path_prefix", "path"),
        ("match", "host, path, method, header and client"),
        ("rule", "host, path, method, header and client"),
        ("source", "client"),
        ("src", "client"),
        ("remote_ip", "client"),
        ("clients", "client"),
        ("strip_prefix", "rewrite = { strip_prefix = \"/app\" }"),
        ("stripPrefix", "rewrite = { strip_prefix = \"/app\" }"),
        ("replacePath", "rewrite = { pattern = \"^.*$\", with = \"/path\" }"),
        ("prefix_rewrite", "rewrite = { prefix = \"/v1\", with = \"/api/v1\" }"),
        ("return", "respond"),
        ("limit_req", "rate"),
        ("auth_basic", "basic_auth"),
        ("basicAuth", "basic_auth"),
        ("auth_request", "forward_auth"),
        ("gzip", "compress"),
        ("compression", "compress"),
        ("forwardAuth", "forward_auth"),
        ("rate_limit", "rate"),
        ("add_header", "response_headers = { add = { \"X-Name\" = \"value\" } }"),
        ("proxy_set_header", "request_headers = { set = { \"X-Name\" = \"value\" } }"),
        ("error_page", "errors = { \"503\" = { file = \"503.html\" } }"),
        ("error_pages", "errors"),
        ("proxy_intercept_errors", "errors_of = \"all\""),
        ("mirroring", "mirror"),
        ("shadow", "mirror"),
        ("to", "pool"),
        ("weights", "split = { blue = 90, green = 10 }"),
        ("weighted", "split = { blue = 90, green = 10 }"),
        ("split_clients", "split = { blue = 90, green = 10 }"),
        ("weightedClusters", "split = { blue = 90, green = 10 }"),
        ("backend", "pool"),
        ("service", "pool"),
    ],
};

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
