//! Every key of every section: those we know, those that come later, and what other programs call them.
//!
//! One long table, read by `unknown`, which answers a key that a section does not know. `config/reference.toml`
//! explains each known key; a test compares the two.

mod check;
mod foreign;
mod gates;
mod listener;
mod pool;
mod route_test;
mod rules;

pub(super) use check::*;
pub(super) use foreign::FOREIGN;
pub(super) use gates::*;
pub(super) use listener::*;
pub(super) use pool::*;
pub(super) use route_test::*;
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
    keys: &[
        "watch",
        "workers",
        "state_file",
        "admin",
        "log",
        "metrics",
        "tracing",
        "limits",
        "shutdown",
        "upgrade",
        "process",
        "exec",
        "listener",
        "pool",
        "test",
    ],
    later: &["discovery", "pair", "zone", "zones", "include"],
    foreign: &[
        ("listeners", "[listener.NAME]"),
        ("pools", "[pool.NAME]"),
        ("http", "[listener.NAME] with protocol = \"http\""),
        ("tcp", "[listener.NAME] with protocol = \"tcp\""),
        ("stream", "[listener.NAME] with protocol = \"tcp\""),
        ("udp", "[listener.NAME] with protocol = \"udp\""),
        ("global", "[limits], [log] and [shutdown]"),
        ("defaults", "each [pool.NAME] and [listener.NAME] has its own settings"),
        ("prometheus", "[metrics]; it is served at /metrics of [admin]"),
        ("api", "[admin]"),
        ("worker_processes", "workers"),
        ("nbthread", "workers"),
        ("threads", "workers"),
        ("logging", "[log]"),
        ("opentelemetry", "[tracing]"),
        ("otel", "[tracing]"),
        ("telemetry", "[tracing]"),
        ("traces", "[tracing]"),
        ("tests", "[[test]]"),
        ("user", "[process] user = \"evenkeel\""),
        ("group", "[process] group = \"evenkeel\""),
        ("security", "[process]"),
        ("sandbox", "[process] with landlock = \"best-effort\" and seccomp = \"best-effort\""),
        ("chroot", "[process] landlock = \"best-effort\""),
        ("state", "state_file"),
        ("server_state_file", "state_file"),
    ],
};

pub(super) const ADMIN: Words = Words {
    place: "[admin]",
    keys: &["bind", "socket_mode", "token_file", "tokens", "tls", "clients", "audit", "rate"],
    later: &["page"],
    foreign: &[
        ("token", "token_file = \"path\": a secret stands in a file of its own"),
        ("password", "token_file = \"path\""),
        ("roles", "tokens = [{ name = \"grafana\", role = \"read\", file = \"grafana.token\" }]"),
        ("users", "tokens = [{ name = \"grafana\", role = \"read\", file = \"grafana.token\" }]"),
        ("address", "bind"),
        ("port", "bind = \"127.0.0.1:8404\""),
        ("socket", "bind = \"unix:/run/evenkeel/admin.sock\""),
        ("mode", "socket_mode"),
        ("enabled", "bind = \"off\" switches it off"),
    ],
};

pub(super) const ADMIN_TOKEN: Words = Words {
    place: "[admin] tokens",
    keys: &["name", "role", "file"],
    later: &["expires"],
    foreign: &[
        ("token", "file = \"grafana.token\": a secret stands in a file of its own"),
        ("hash", "file = \"grafana.token\", with the hash in it"),
        ("secret", "file"),
        ("path", "file"),
        ("token_file", "file"),
        ("roles", "role"),
        ("user", "name"),
    ],
};

pub(super) const ADMIN_TLS: Words = Words {
    place: "[admin.tls]",
    keys: &["cert", "key", "client_ca", "client_crl"],
    later: &["min_version", "ciphers", "acme"],
    foreign: &[
        ("certificate", "cert"),
        ("certificates", "cert and key: the admin port shows one"),
        ("crt", "cert"),
        ("private_key", "key"),
        ("ca", "client_ca"),
        ("clients", "client_ca, and [admin] clients = [{ name = \"ann\", role = \"operate\" }]"),
        ("crl", "client_crl"),
    ],
};

pub(super) const ADMIN_CLIENT: Words = Words {
    place: "[admin] clients",
    keys: &["name", "role"],
    later: &["expires", "fingerprint"],
    foreign: &[("cn", "name"), ("common_name", "name"), ("san", "name"), ("dns", "name"), ("roles", "role"), ("user", "name")],
};

pub(super) const ADMIN_RATE: Words = Words {
    place: "[admin] rate",
    keys: &["requests", "every", "burst"],
    later: &[],
    foreign: &[
        ("per", "requests alone: each address counts apart, and each user of a unix socket"),
        ("limit", "requests"),
        ("period", "every"),
        ("interval", "every"),
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

pub(super) const METRICS: Words = Words {
    place: "[metrics]",
    keys: &["buckets_seconds", "exemplars", "backends"],
    later: &["native_histograms", "statsd"],
    foreign: &[
        ("buckets", "buckets_seconds"),
        ("histogram_buckets", "buckets_seconds"),
        ("bounds", "buckets_seconds"),
        ("per_backend", "backends"),
        ("servers", "backends"),
        ("path", "/metrics of [admin]"),
        ("bind", "[admin] bind"),
        ("address", "[admin] bind"),
        ("port", "[admin] bind"),
        ("enabled", "[admin] bind = \"off\" switches it off, with the API"),
    ],
};

pub(super) const TRACING: Words = Words {
    place: "[tracing]",
    keys: &["otlp", "sample", "parent", "service_name"],
    later: &["headers", "tls", "attributes", "grpc"],
    foreign: &[
        ("endpoint", "otlp"),
        ("collector", "otlp"),
        ("address", "otlp"),
        ("url", "otlp"),
        ("sampling", "sample"),
        ("sample_rate", "sample"),
        ("sampler", "sample"),
        ("ratio", "sample"),
        ("service", "service_name"),
        ("enabled", "a section that is not there: take it out to switch traces off"),
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

pub(super) const UPGRADE: Words = Words {
    place: "[upgrade]",
    keys: &["socket", "timeout"],
    later: &[],
    foreign: &[
        ("bind", "socket = \"/run/evenkeel/upgrade.sock\""),
        ("path", "socket"),
        ("takeover_socket", "socket"),
        ("expose_fd", "socket"),
        ("deadline", "timeout"),
        ("drain", "[shutdown] drain: it also holds for the process that hands over"),
    ],
};

pub(super) const PROCESS: Words = Words {
    place: "[process]",
    keys: &["user", "group", "landlock", "seccomp"],
    later: &["chroot", "capabilities"],
    foreign: &[
        ("uid", "user = \"65532\" with group = \"65532\""),
        ("gid", "group"),
        ("run_as", "user"),
        ("setuid", "user"),
        ("sandbox", "landlock = \"best-effort\" and seccomp = \"best-effort\""),
        ("no_new_privileges", "any of user, landlock and seccomp: each of them sees to it"),
        ("workers", "workers, at the top of the file"),
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

/// All of them.
pub(super) const EVERY: &[&Words] = &[
    &ROOT,
    &ADMIN,
    &ADMIN_TOKEN,
    &ADMIN_RATE,
    &ADMIN_TLS,
    &ADMIN_CLIENT,
    &LOG,
    &LISTENER_LOG,
    &ACCESS,
    &LOG_TO,
    &METRICS,
    &TRACING,
    &LIMITS,
    &SHUTDOWN,
    &UPGRADE,
    &PROCESS,
    &EXEC,
    &TEST,
    &EXPECT,
    &LISTENER,
    &LISTENER_TCP,
    &KEEPALIVE,
    &LISTENER_TLS,
    &CLIENTS,
    &TICKETS,
    &LISTENER_UDP,
    &CERTIFICATE,
    &LISTENER_LIMITS,
    &LISTENER_TIMEOUTS,
    &ROUTE,
    &ROUTE_PATH,
    &ROUTE_VALUE,
    &FIELD_EDITS,
    &HSTS,
    &RESPOND,
    &ERROR_PAGE,
    &MIRROR,
    &REDIRECT,
    &REWRITE,
    &RATE,
    &CORS,
    &BASIC_AUTH,
    &FORWARD_AUTH,
    &COMPRESS,
    &POOL,
    &POOL_TCP,
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
