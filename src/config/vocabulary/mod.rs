//! Every key of every section: those we know, those that come later, and what other programs call them.
//!
//! One long table, read by `unknown`, which answers a key that a section does not know. `config/reference.toml`
//! explains each known key; a test compares the two.

mod check;
mod foreign;
mod gates;
mod pool;
mod rules;

pub(super) use check::*;
pub(super) use foreign::FOREIGN;
pub(super) use gates::*;
pub(super) use pool::*;
pub(super) use rules::*;

/// The keys of one kind of section.
pub(super) struct Words {
    /// The section as an operator writes it.
    pub(super) place: &'static str,
    /// Keys that work.
    pub(super) keys: &'static [&'static str],
    /// Keys whose feature is not there yet.
    pub(super) later: &'static [&'static str],
    /// Words of other programs and near misses, each with our way to say it.
    pub(super) foreign: &'static [(&'static str, &'static str)],
}

pub(super) const ROOT: Words = Words {
    place: "the top of the file",
    keys: &["watch", "workers", "state_file", "admin", "log", "limits", "shutdown", "exec", "listener", "pool"],
    later: &["test", "discovery", "pair", "tracing", "zone", "zones", "user", "security", "include"],
    foreign: &[
        ("listeners", "[listener.NAME]"),
        ("pools", "[pool.NAME]"),
        ("http", "[listener.NAME] with protocol = \"http\""),
        ("tcp", "[listener.NAME] with protocol = \"tcp\""),
        ("stream", "[listener.NAME] with protocol = \"tcp\""),
        ("udp", "[listener.NAME] with protocol = \"udp\""),
        ("global", "[limits], [log] and [shutdown]"),
        ("defaults", "each [pool.NAME] and [listener.NAME] has its own settings"),
        ("metrics", "[admin], which serves /metrics"),
        ("api", "[admin]"),
        ("worker_processes", "workers"),
        ("nbthread", "workers"),
        ("threads", "workers"),
        ("logging", "[log]"),
        ("state", "state_file"),
        ("server_state_file", "state_file"),
    ],
};

pub(super) const ADMIN: Words = Words {
    place: "[admin]",
    keys: &["bind", "socket_mode", "token_file"],
    later: &["tls", "tokens", "roles", "audit", "page"],
    foreign: &[
        ("token", "token_file = \"path\": a secret stands in a file of its own"),
        ("password", "token_file = \"path\""),
        ("address", "bind"),
        ("port", "bind = \"127.0.0.1:8404\""),
        ("socket", "bind = \"unix:/run/evenkeel/admin.sock\""),
        ("mode", "socket_mode"),
        ("enabled", "bind = \"off\" switches it off"),
    ],
};

pub(super) const LOG: Words = Words {
    place: "[log]",
    keys: &["access", "to", "sample", "level", "format"],
    later: &[],
    foreign: &[
        ("access_log", "access"),
        ("error_log", "level"),
        ("verbosity", "level"),
        ("severity", "level"),
        ("file", "to = { file = \"/var/log/evenkeel/access.log\" }"),
        ("path", "to = { file = \"/var/log/evenkeel/access.log\" }"),
        ("syslog", "to = { syslog = \"/dev/log\" }"),
        ("output", "to"),
        ("target", "to"),
        ("fields", "access = { format = \"$client $method $host$target $status\" }"),
        ("log_format", "access = { format = \"$client $method $host$target $status\" }"),
    ],
};

pub(super) const LISTENER_LOG: Words =
    Words { place: "[listener.NAME.log]", keys: &["access", "to", "sample"], later: &[], foreign: LOG.foreign };

pub(super) const ACCESS: Words = Words {
    place: "access = { ... }",
    keys: &["format"],
    later: &["fields", "when"],
    foreign: &[("line", "format"), ("template", "format"), ("log_format", "format")],
};

pub(super) const LOG_TO: Words = Words {
    place: "to = { ... } of a log",
    keys: &["file", "syslog", "facility", "tag"],
    later: &["severity", "rotate", "compress"],
    foreign: &[
        ("path", "file"),
        ("address", "syslog"),
        ("server", "syslog"),
        ("app", "tag"),
        ("app_name", "tag"),
        ("ident", "tag"),
        ("identifier", "tag"),
        ("max_size", "file: logrotate turns it over, and tells by SIGUSR1"),
    ],
};

pub(super) const LIMITS: Words = Words {
    place: "[limits]",
    keys: &["connections", "probes"],
    later: &["memory", "files", "rate"],
    foreign: &[
        ("maxconn", "connections"),
        ("max_connections", "connections"),
        ("worker_connections", "connections"),
        ("head", "[listener.NAME.limits] head"),
        ("body", "[listener.NAME.limits] body"),
    ],
};

pub(super) const SHUTDOWN: Words = Words {
    place: "[shutdown]",
    keys: &["lead", "drain"],
    later: &[],
    foreign: &[
        ("timeout", "drain"),
        ("grace", "drain"),
        ("grace_period", "drain"),
        ("graceful_timeout", "drain"),
        ("delay", "lead"),
    ],
};

pub(super) const EXEC: Words = Words {
    place: "[exec]",
    keys: &["allow"],
    later: &["at_once", "user"],
    foreign: &[
        ("allowed", "allow"),
        ("folders", "allow"),
        ("path", "allow = [\"/usr/lib/evenkeel/checks\"]"),
        ("enabled", "allow = [\"/usr/lib/evenkeel/checks\"]: the folders of the commands that may run"),
    ],
};

pub(super) const LISTENER: Words = Words {
    place: "[listener.NAME]",
    keys: &[
        "bind",
        "socket_mode",
        "protocol",
        "http",
        "tls",
        "redirect",
        "unknown_host",
        "trusted_proxies",
        "accept_proxy",
        "pool",
        "split",
        "split_by",
        "reads",
        "route",
        "limits",
        "timeouts",
        "udp",
        "respond",
        "log",
        "allow",
        "deny",
        "cors",
        "rate",
        "basic_auth",
        "forward_auth",
        "compress",
        "request_headers",
        "response_headers",
        "hsts",
    ],
    later: &["errors", "interface", "fast_open", "mark", "tcp", "normalize", "rewrite"],
    foreign: &[
        ("routes", "[[listener.NAME.route]]"),
        ("http2", "http = [\"1.1\", \"2\"]"),
        ("h2", "http = [\"1.1\", \"2\"]"),
        ("h2c", "http = [\"1.1\", \"2\"]"),
        ("alpn", "http = [\"1.1\", \"2\"]"),
        ("versions", "http = [\"1.1\", \"2\"]"),
        ("max_concurrent_streams", "[listener.NAME.limits] streams"),
        ("address", "bind"),
        ("addresses", "bind"),
        ("port", "bind = \"0.0.0.0:PORT\""),
        ("mode", "protocol, or socket_mode for the rights of a socket file"),
        ("socket", "bind = \"unix:/run/evenkeel/web.sock\""),
        ("permissions", "socket_mode"),
        ("type", "protocol"),
        ("backend", "pool"),
        ("backends", "pool = \"NAME\"; the backends stand in [pool.NAME]"),
        ("ssl", "[listener.NAME.tls]"),
        ("certificates", "[listener.NAME.tls] certificates"),
        ("certificate", "[listener.NAME.tls] certificates"),
        ("default_host", "unknown_host"),
        ("proxy_protocol", "accept_proxy"),
        ("accept-proxy", "accept_proxy"),
        ("set_real_ip_from", "trusted_proxies"),
        ("trustedIPs", "trusted_proxies"),
        ("forwarded_headers", "trusted_proxies"),
        ("https_redirect", "redirect = \"https\""),
        ("maxconn", "[listener.NAME.limits] connections"),
        ("whitelist", "allow"),
        ("allowlist", "allow"),
        ("blocklist", "deny"),
        ("limit_req", "rate"),
        ("auth_basic", "basic_auth"),
        ("basicAuth", "basic_auth"),
        ("auth_request", "forward_auth"),
        ("gzip", "compress"),
        ("compression", "compress"),
        ("forwardAuth", "forward_auth"),
        ("rate_limit", "rate"),
        ("ratelimit", "rate"),
        ("rateLimit", "rate"),
        ("add_header", "response_headers = { add = { \"X-Name\" = \"value\" } }"),
        ("proxy_set_header", "request_headers = { set = { \"X-Name\" = \"value\" } }"),
        ("return", "respond"),
        ("strict_transport_security", "hsts"),
        ("timeout", "[listener.NAME.timeouts]"),
        ("client_max_body_size", "[listener.NAME.limits] body"),
        ("access_log", "[listener.NAME.log] access"),
        ("proxy_responses", "[listener.NAME.udp] responses"),
        ("responses", "[listener.NAME.udp] responses"),
        ("proxy_timeout", "[listener.NAME.timeouts] tunnel_idle, or flow_idle for udp"),
    ],
};

pub(super) const LISTENER_UDP: Words = Words {
    place: "[listener.NAME.udp]",
    keys: &["responses"],
    later: &["datagram_max", "requests", "sticky"],
    foreign: &[
        ("proxy_responses", "responses"),
        ("answers", "responses"),
        ("replies", "responses"),
        ("proxy_requests", "responses: a flow ends when so many answers have come for each datagram"),
        ("idle", "[listener.NAME.timeouts] flow_idle"),
        ("idle_timeout", "[listener.NAME.timeouts] flow_idle"),
        ("timeout", "[listener.NAME.timeouts] flow_idle"),
        ("proxy_timeout", "[listener.NAME.timeouts] flow_idle"),
        ("sessions", "[listener.NAME.limits] flows"),
    ],
};

pub(super) const LISTENER_TLS: Words = Words {
    place: "[listener.NAME.tls]",
    keys: &["certificates", "min_version", "clients", "tickets"],
    later: &["acme", "hsts", "max_version", "ciphers"],
    foreign: &[
        ("cert", "certificates = [{ cert = \"web.pem\", key = \"web.key\" }]"),
        ("certificate", "certificates = [{ cert = \"web.pem\", key = \"web.key\" }]"),
        ("crt", "certificates = [{ cert = \"web.pem\", key = \"web.key\" }]"),
        ("key", "certificates = [{ cert = \"web.pem\", key = \"web.key\" }]"),
        ("folder", "certificates = \"FOLDER\""),
        ("alpn", "[listener.NAME] http = [\"1.1\", \"2\"]"),
        ("ssl_protocols", "min_version"),
        ("ssl_min_ver", "min_version"),
        ("version", "min_version"),
        ("ca", "[listener.NAME.tls.clients] ca"),
        ("client_ca", "[listener.NAME.tls.clients] ca"),
        ("client_auth", "[listener.NAME.tls.clients] with `ca` and `verify`"),
        ("verify", "[listener.NAME.tls.clients] verify"),
        ("crl", "[listener.NAME.tls.clients] crl"),
        ("ssl_client_certificate", "[listener.NAME.tls.clients] ca"),
        ("ssl_verify_client", "[listener.NAME.tls.clients] verify"),
        ("ocsp", "certificates = [{ cert = \"web.pem\", key = \"web.key\", ocsp = \"web.ocsp\" }]"),
        ("ssl_stapling_file", "certificates = [{ cert = \"web.pem\", key = \"web.key\", ocsp = \"web.ocsp\" }]"),
        ("ticket_keys", "tickets = { keys = \"tickets.key\" }"),
        ("tls-ticket-keys", "tickets = { keys = \"tickets.key\" }"),
        ("ssl_session_ticket_key", "tickets = { keys = \"tickets.key\" }"),
        ("ssl_session_tickets", "tickets = \"off\""),
        ("no-tls-tickets", "tickets = \"off\""),
        ("session_tickets", "tickets"),
    ],
};

pub(super) const TICKETS: Words = Words {
    place: "tickets = { ... }",
    keys: &["keys"],
    later: &["lifetime", "rotate"],
    foreign: &[("key", "keys, which takes a list too"), ("file", "keys"), ("path", "keys")],
};

pub(super) const CLIENTS: Words = Words {
    place: "[listener.NAME.tls.clients]",
    keys: &["ca", "verify", "crl", "headers"],
    later: &["names", "depth", "ocsp"],
    foreign: &[
        ("ca_file", "ca"),
        ("cafile", "ca"),
        ("cert", "ca: the certificates of those who sign the clients'"),
        ("certificates", "ca: the certificates of those who sign the clients'"),
        ("roots", "ca"),
        ("trusted_ca", "ca"),
        ("ssl_client_certificate", "ca"),
        ("mode", "verify"),
        ("type", "verify"),
        ("auth", "verify"),
        ("ssl_verify_client", "verify"),
        ("required", "verify = \"required\""),
        ("optional", "verify = \"optional\""),
        ("crls", "crl, which takes a list too"),
        ("crl_file", "crl"),
        ("ssl_crl", "crl"),
        ("header", "headers"),
        ("pass", "headers = true"),
    ],
};

pub(super) const CERTIFICATE: Words = Words {
    place: "certificates = [{ ... }]",
    keys: &["cert", "key", "ocsp"],
    later: &["names"],
    foreign: &[
        ("certificate", "cert"),
        ("chain", "cert: a file holds the certificate and, after it, those that signed it"),
        ("crt", "cert"),
        ("file", "cert"),
        ("private_key", "key"),
        ("keyfile", "key"),
        ("certfile", "cert"),
        ("staple", "ocsp"),
        ("ssl_stapling_file", "ocsp"),
    ],
};

pub(super) const LISTENER_LIMITS: Words = Words {
    place: "[listener.NAME.limits]",
    keys: &["connections", "head", "target", "headers", "body", "streams", "flows"],
    later: &["rate", "connections_per_client", "header_list", "handshakes"],
    foreign: &[
        ("maxconn", "connections"),
        ("max_connections", "connections"),
        ("header", "head"),
        ("header_size", "head"),
        ("max_concurrent_streams", "streams"),
        ("http2_max_concurrent_streams", "streams"),
        ("concurrent_streams", "streams"),
        ("uri", "target"),
        ("url", "target"),
        ("body_size", "body"),
        ("client_max_body_size", "body"),
        ("sessions", "flows"),
        ("max_sessions", "flows"),
    ],
};

pub(super) const LISTENER_TIMEOUTS: Words = Words {
    place: "[listener.NAME.timeouts]",
    keys: &["head", "client_idle", "body_idle", "tunnel_idle", "flow_idle"],
    later: &["handshake", "lifetime", "request"],
    foreign: &[
        ("idle", "client_idle"),
        ("keepalive", "client_idle"),
        ("keep_alive", "client_idle"),
        ("client", "client_idle"),
        ("header", "head"),
        ("request_header", "head"),
        ("body", "body_idle"),
        ("tunnel", "tunnel_idle"),
        ("websocket", "tunnel_idle"),
        ("udp", "flow_idle"),
        ("session", "flow_idle"),
        ("proxy_timeout", "tunnel_idle, or flow_idle for udp"),
    ],
};

pub(super) const ROUTE: Words = Words {
    place: "[[listener.NAME.route]]",
    keys: &[
        "host",
        "path",
        "method",
        "header",
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
        "request_headers",
        "response_headers",
        "hsts",
    ],
    later: &["query", "rewrite", "mirror", "errors", "timeouts", "retry", "sni", "cookie", "backend_http"],
    foreign: &[
        ("hosts", "host, which takes a list too"),
        ("paths", "path"),
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
        ("to", "pool"),
        ("weights", "split = { blue = 90, green = 10 }"),
        ("weighted", "split = { blue = 90, green = 10 }"),
        ("split_clients", "split = { blue = 90, green = 10 }"),
        ("weightedClusters", "split = { blue = 90, green = 10 }"),
        ("backend", "pool"),
        ("service", "pool"),
    ],
};

pub(super) const ROUTE_HEADER: Words = Words {
    place: "header = { ... }",
    keys: &["name", "value"],
    later: &["regex", "prefix", "contains", "not"],
    foreign: &[("key", "name"), ("equals", "value")],
};

/// All of them.
pub(super) const EVERY: &[&Words] = &[
    &ROOT,
    &ADMIN,
    &LOG,
    &LISTENER_LOG,
    &ACCESS,
    &LOG_TO,
    &LIMITS,
    &SHUTDOWN,
    &EXEC,
    &LISTENER,
    &LISTENER_TLS,
    &CLIENTS,
    &TICKETS,
    &LISTENER_UDP,
    &CERTIFICATE,
    &LISTENER_LIMITS,
    &LISTENER_TIMEOUTS,
    &ROUTE,
    &ROUTE_HEADER,
    &FIELD_EDITS,
    &HSTS,
    &RESPOND,
    &REDIRECT,
    &RATE,
    &CORS,
    &BASIC_AUTH,
    &FORWARD_AUTH,
    &COMPRESS,
    &POOL,
    &SEND_PROXY_OF_POOL,
    &NO_LEADER,
    &STICKY,
    &ALL_DOWN,
    &FLAPS,
    &OUTLIERS,
    &DISAGREE,
    &BACKEND,
    &RETRY,
    &POOL_TIMEOUTS,
    &CHECK_TCP,
    &CHECK_TLS_ONLY,
    &CHECK_HTTP,
    &CHECK_MYSQL,
    &CHECK_APACHE,
    &CHECK_GRPC,
    &CHECK_POSTGRES,
    &CHECK_REDIS,
    &CHECK_SMTP,
    &CHECK_LDAP,
    &CHECK_SCRIPT,
    &CHECK_AGENT,
    &CHECK_EXEC,
    &STEP,
    &BODY,
    &REPLICA,
    &CHECK_TLS,
    &POOL_TLS,
];
