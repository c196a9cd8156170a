//! The keys of checks, by type.

use super::Words;

/// Keys of every check.
macro_rules! check_words {
    ($kind:literal, [$($key:literal),*], [$($later:literal),*]) => {
        check_words!($kind, [$($key),*], [$($later),*], CHECK_FOREIGN)
    };
    ($kind:literal, [$($key:literal),*], [$($later:literal),*], $foreign:expr) => {
        Words {
            place: concat!("a check of type \"", $kind, "\""),
            keys: &[
                "type", "interval", "fast_interval", "down_interval", "timeout", "rise", "fall", "initial", "port", "host",
                "send_proxy" $(, $key)*
            ],
            later: &["jitter", "up_interval", "proxy", "on", "weight", "verdict", "log"
                $(, $later)*],
            foreign: $foreign,
        }
    };
}

/// Other programs' words in every check, behind those of one type.
macro_rules! foreign {
    ($($extra:expr),* $(,)?) => {
        &[
            $($extra,)*
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
            ("address", "host, an IP address"),
            ("username", "user"),
            ("kind", "type"),
            ("protocol", "type"),
            ("send-proxy", "send_proxy = \"v1\""),
            ("send-proxy-v2", "send_proxy = \"v2\""),
            ("check-send-proxy", "send_proxy = \"v1\" or \"v2\""),
            ("proxy_protocol", "send_proxy = \"v1\" or \"v2\""),
        ]
    };
}

const CHECK_FOREIGN: &[(&str, &str)] = foreign![
    ("uri", "path"),
    ("url", "path"),
    ("expect", "status and body"),
    ("expected_status", "status"),
    ("statuses", "status"),
    ("code", "status"),
    ("header", "headers = { NAME = \"value\" }"),
    ("hostname", "headers = { Host = \"name\" }"),
    ("host_header", "headers = { Host = \"name\" }"),
    ("ssl", "tls"),
    ("sni", "server_name"),
    ("insecure", "verify = false"),
    ("expiry", "expires_in"),
    ("days", "expires_in"),
    ("scheme", "tls = true"),
    ("payload", "request_body"),
    ("data", "request_body"),
    ("authority", "headers = { Host = \"name\" }"),
    ("service_name", "service"),
    ("grpc_service", "service"),
    ("metadata", "headers"),
    ("weight", "weights = true in a check of type \"apache\""),
    ("donor", "galera = \"synced-or-donor\""),
    ("available_when_donor", "galera = \"synced-or-donor\""),
    ("max_lag", "replica = { lag_max = \"5s\" }"),
    ("max_replication_lag", "replica = { lag_max = \"5s\" }"),
    ("db", "database"),
    ("dbname", "database"),
    ("sql", "query"),
    ("not_equals", "not"),
];

pub(in super::super) const CHECK_TCP: Words = check_words!("tcp", [], [], STEPS_FOREIGN);
pub(in super::super) const CHECK_TLS_ONLY: Words = check_words!(
    "tls",
    [
        "server_name",
        "verify",
        "ca",
        "cert",
        "key",
        "min_version",
        "max_version",
        "ciphers",
        "groups",
        "expires_in",
        "alpn"
    ],
    ["pin", "starttls"]
);
pub(in super::super) const CHECK_HTTP: Words = check_words!(
    "http",
    ["http", "method", "path", "headers", "request_body", "status", "body", "epoch", "tls"],
    ["redirects", "keep"]
);
pub(in super::super) const CHECK_GRPC: Words = check_words!("grpc", ["service", "headers", "tls"], []);
pub(in super::super) const CHECK_MYSQL: Words = check_words!(
    "mysql",
    [
        "user",
        "password",
        "database",
        "tls",
        "public_key",
        "keep",
        "read_only",
        "replica",
        "galera",
        "group_replication",
        "connections",
        "query",
        "column",
        "equals",
        "not",
        "above",
        "below"
    ],
    []
);
pub(in super::super) const CHECK_APACHE: Words =
    check_words!("apache", ["path", "idle_workers", "weights", "headers", "tls"], []);

pub(in super::super) const CHECK_POSTGRES: Words = check_words!(
    "postgres",
    [
        "user", "password", "database", "query", "column", "equals", "not", "above", "below", "recovery", "lag_max",
        "tls"
    ],
    ["connections", "keep"]
);
pub(in super::super) const CHECK_REDIS: Words = check_words!(
    "redis",
    ["user", "password", "role", "master_link", "tls"],
    ["sentinel", "lag_max", "keep", "database", "query", "cluster"]
);
pub(in super::super) const CHECK_SMTP: Words =
    check_words!("smtp", ["helo", "ehlo", "tls"], ["starttls", "user", "password", "mail"]);
pub(in super::super) const CHECK_LDAP: Words =
    check_words!("ldap", ["user", "password", "tls"], ["starttls", "search", "base", "filter"]);
pub(in super::super) const CHECK_SCRIPT: Words =
    check_words!("script", ["steps", "tls", "transport"], [], STEPS_FOREIGN);
pub(in super::super) const CHECK_AGENT: Words = check_words!("agent", ["send"], ["tls"]);
pub(in super::super) const CHECK_EXEC: Words =
    check_words!("exec", ["command"], ["environment", "env", "user", "folder"], EXEC_FOREIGN);

const STEPS_FOREIGN: &[(&str, &str)] = foreign![
    ("send", "type = \"script\" with steps = [{ send = \"text\" }]"),
    ("expect", "type = \"script\" with steps = [{ expect = \"text\" }]"),
    ("step", "type = \"script\" with steps = [{ send = \"text\" }]"),
    ("udp", "transport = \"udp\""),
    ("protocol", "transport"),
    ("network", "transport"),
    ("ssl", "tls"),
];

const EXEC_FOREIGN: &[(&str, &str)] = foreign![
    ("path", "command"),
    ("cmd", "command"),
    ("run", "command"),
    ("script", "command"),
    ("args", "command = [\"/path/of/command\", \"argument\"]"),
    ("arguments", "command = [\"/path/of/command\", \"argument\"]"),
    ("shell", "command = [\"/path/of/command\", \"argument\"]: no shell is involved"),
];

pub(in super::super) const STEP: Words = Words {
    place: "a step of a check of type \"script\"",
    keys: &["send", "send_hex", "expect", "expect_regex", "expect_hex", "connect", "tls"],
    later: &["expect_not", "repeat"],
    foreign: &[
        ("binary", "send_hex"),
        ("send-binary", "send_hex"),
        ("string", "expect"),
        ("receive", "expect"),
        ("recv", "expect"),
        ("regex", "expect_regex"),
        ("rstring", "expect_regex"),
        ("port", "connect = 6380"),
        ("starttls", "tls = true"),
        ("ssl", "tls"),
    ],
};

pub(in super::super) const BODY: Words = Words {
    place: "body = { ... }",
    keys: &["contains", "regex", "json", "equals", "not", "above", "below"],
    later: &["size"],
    foreign: &[
        ("string", "contains"),
        ("text", "contains"),
        ("match", "regex"),
        ("pointer", "json"),
        ("value", "equals"),
        ("min", "above"),
        ("max", "below"),
        ("lacks", "contains = \"text\" with not = true"),
        ("jsonpath", "json = \"/a/b\", a JSON pointer"),
    ],
};

pub(in super::super) const REPLICA: Words = Words {
    place: "replica = { ... } of a check",
    keys: &["lag_max"],
    later: &[],
    foreign: &[("max_lag", "lag_max"), ("lag", "lag_max"), ("seconds_behind_master", "lag_max = \"5s\"")],
};

pub(in super::super) const CHECK_TLS: Words = Words {
    place: "tls = { ... } of a check",
    keys: &[
        "server_name",
        "verify",
        "ca",
        "cert",
        "key",
        "min_version",
        "max_version",
        "ciphers",
        "groups",
        "expires_in",
    ],
    later: &["pin"],
    foreign: TLS_FOREIGN,
};

pub(super) const TLS_FOREIGN: &[(&str, &str)] = &[
    ("sni", "server_name"),
    ("alpn", "a check of type \"tls\" has alpn; one over HTTP says what it speaks by http = \"2\""),
    ("insecure", "verify = false"),
    ("insecure_skip_verify", "verify = false"),
    ("skip_verify", "verify = false"),
    ("cafile", "ca"),
    ("ca_file", "ca"),
    ("ca-file", "ca"),
    ("name", "server_name"),
    ("certificate", "cert"),
    ("client_cert", "cert"),
    ("crt", "cert"),
    ("private_key", "key"),
    ("client_key", "key"),
    ("minimum_version", "min_version"),
    ("ssl_min_ver", "min_version"),
    ("ssl_max_ver", "max_version"),
    ("version", "min_version and max_version"),
    ("ciphersuites", "ciphers, a list; for TLS 1.3, too"),
    ("cipher_suites", "ciphers"),
    ("curves", "groups"),
    ("expiry", "expires_in"),
    ("days", "expires_in"),
];
