//! The keys of checks, by type.

use super::Words;

/// Keys of every check.
macro_rules! check_words {
    ($kind:literal, [$($key:literal),*], [$($later:literal),*]) => {
        Words {
            place: concat!("a check of type \"", $kind, "\""),
            keys: &[
                "type", "interval", "fast_interval", "down_interval", "timeout", "rise", "fall", "initial", "port", "host",
                "send_proxy" $(, $key)*
            ],
            later: &["jitter", "up_interval", "proxy", "on", "weight", "verdict", "log"
                $(, $later)*],
            foreign: CHECK_FOREIGN,
        }
    };
}

const CHECK_FOREIGN: &[(&str, &str)] = &[
    ("inter", "interval"),
    ("fastinter", "fast_interval"),
    ("downinter", "down_interval"),
    ("period", "interval"),
    ("every", "interval"),
    ("fails", "fall"),
    ("max_fails", "fall"),
    ("failures", "fall"),
    ("unhealthy_threshold", "fall"),
    ("passes", "rise"),
    ("successes", "rise"),
    ("healthy_threshold", "rise"),
    ("uri", "path"),
    ("url", "path"),
    ("expect", "status and body"),
    ("expected_status", "status"),
    ("statuses", "status"),
    ("code", "status"),
    ("header", "headers = { NAME = \"value\" }"),
    ("hostname", "headers = { Host = \"name\" }"),
    ("host_header", "headers = { Host = \"name\" }"),
    ("address", "host, an IP address"),
    ("username", "user"),
    ("kind", "type"),
    ("protocol", "type"),
    ("ssl", "tls"),
    ("send-proxy", "send_proxy = \"v1\""),
    ("send-proxy-v2", "send_proxy = \"v2\""),
    ("check-send-proxy", "send_proxy = \"v1\" or \"v2\""),
    ("proxy_protocol", "send_proxy = \"v1\" or \"v2\""),
    ("scheme", "tls = true"),
];

pub(in super::super) const CHECK_TCP: Words = check_words!("tcp", [], ["send", "expect"]);
pub(in super::super) const CHECK_HTTP: Words =
    check_words!("http", ["method", "path", "headers", "status", "body", "tls"], ["http", "request_body", "redirects"]);
pub(in super::super) const CHECK_MYSQL: Words = check_words!(
    "mysql",
    ["user", "password"],
    [
        "galera",
        "query",
        "equals",
        "replica",
        "read_only",
        "group_replication",
        "tls",
        "connections",
        "keep",
        "database",
        "donor"
    ]
);
pub(in super::super) const CHECK_APACHE: Words =
    check_words!("apache", ["path", "idle_workers", "headers", "tls"], ["weights"]);

pub(in super::super) const BODY: Words = Words {
    place: "body = { ... }",
    keys: &["contains", "regex", "json", "equals"],
    later: &["not", "size", "above", "below"],
    foreign: &[
        ("string", "contains"),
        ("text", "contains"),
        ("match", "regex"),
        ("pointer", "json"),
        ("value", "equals"),
        ("jsonpath", "json = \"/a/b\", a JSON pointer"),
    ],
};

pub(in super::super) const CHECK_TLS: Words = Words {
    place: "tls = { ... } of a check",
    keys: &["server_name", "verify", "ca"],
    later: &["cert", "key", "min_version", "alpn", "pin", "expires_in"],
    foreign: &[
        ("sni", "server_name"),
        ("insecure", "verify = false"),
        ("insecure_skip_verify", "verify = false"),
        ("skip_verify", "verify = false"),
        ("cafile", "ca"),
        ("ca_file", "ca"),
        ("ca-file", "ca"),
        ("name", "server_name"),
    ],
};
