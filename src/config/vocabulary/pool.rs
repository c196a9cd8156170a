//! The keys of pools.

use super::Words;

pub(in super::super) const POOL: Words = Words {
    place: "[pool.NAME]",
    keys: &[
        "preset",
        "backends",
        "follows",
        "port",
        "balance",
        "mode",
        "failover",
        "failback",
        "two_leaders",
        "no_leader",
        "healthy_when",
        "up_after",
        "down_after",
        "flaps",
        "all_down",
        "min_healthy",
        "slow_start",
        "outliers",
        "disagree",
        "zone",
        "client_zones",
        "spill_below",
        "spill_at",
        "on_down",
        "on_role_loss",
        "hold",
        "queue",
        "idle_connections",
        "tunnels_max",
        "connections_max",
        "sticky",
        "tls",
        "send_proxy",
        "retry",
        "timeouts",
        "check",
    ],
    later: &["http", "limits", "discover", "dns", "hash"],
    foreign: &[
        ("checks", "[pool.NAME.check.NAME]"),
        ("health", "[pool.NAME.check.NAME]"),
        ("healthcheck", "[pool.NAME.check.NAME]"),
        ("health_check", "[pool.NAME.check.NAME]"),
        ("method", "balance"),
        ("strategy", "balance"),
        ("session_affinity", "sticky"),
        ("stickiness", "sticky"),
        ("affinity", "sticky"),
        ("persistence", "sticky"),
        ("stick_table", "sticky = { by = \"source\" }"),
        ("ip_hash", "sticky = { by = \"source\" }, or balance = \"source\""),
        ("keepalive", "idle_connections"),
        ("maxconn", "connections_max"),
        ("max_conns", "connections_max"),
        ("max_connections", "connections_max"),
        ("max_requests", "connections_max"),
        ("requests_max", "connections_max"),
        ("maxqueue", "queue"),
        ("queue_timeout", "[pool.NAME.timeouts] queue"),
        ("retries", "[pool.NAME.retry] attempts"),
        ("timeout", "[pool.NAME.timeouts]"),
        ("connect_timeout", "[pool.NAME.timeouts] connect"),
        ("proxy_connect_timeout", "[pool.NAME.timeouts] connect"),
        ("proxy_read_timeout", "[pool.NAME.timeouts] response"),
        ("address", "backends = [\"HOST:PORT\"]"),
        ("addresses", "backends = [\"HOST:PORT\"]"),
        ("bind", "[listener.NAME] bind"),
        ("zones", "zone = \"NAME\", and a zone in each entry of `backends`"),
        ("locality", "zone"),
        ("region", "zone"),
        ("panic", "all_down"),
        ("fail_open", "all_down = \"serve-anyway\""),
        ("min_up", "min_healthy"),
        ("slowstart", "slow_start"),
        ("warmup", "slow_start"),
        ("outlier_detection", "outliers"),
        ("passive", "outliers"),
        ("preempt", "failback"),
        ("leader", "mode = \"leader\""),
        ("follow", "follows"),
        ("track", "follows"),
        ("proxy_protocol", "send_proxy = \"v1\" or \"v2\""),
        ("send-proxy", "send_proxy = \"v1\""),
        ("send-proxy-v2", "send_proxy = \"v2\""),
        ("proxy-v2-options", "send_proxy = { version = \"v2\", tlv = [...] }"),
    ],
};

pub(in super::super) const STICKY: Words = Words {
    place: "sticky = { ... }",
    keys: &[
        "cookie",
        "secret",
        "path",
        "domain",
        "secure",
        "http_only",
        "same_site",
        "max_age",
        "scope",
        "application_cookie",
        "by",
        "header",
        "expire",
        "entries",
    ],
    later: &[],
    foreign: &[
        ("name", "cookie"),
        ("cookie_name", "cookie"),
        ("key", "secret"),
        ("samesite", "same_site"),
        ("httponly", "http_only"),
        ("maxage", "max_age"),
        ("ttl", "max_age"),
        ("maxlife", "max_age"),
        ("learn", "application_cookie"),
        ("appsession", "application_cookie"),
        ("source", "by = \"source\""),
        ("timeout", "expire"),
        ("maxidle", "expire"),
        ("size", "entries"),
        ("zone", "scope = \"zone\""),
    ],
};

pub(in super::super) const SEND_PROXY_OF_POOL: Words = Words {
    place: "send_proxy = { ... }",
    keys: &["version", "tlv"],
    later: &[],
    foreign: &[("tlvs", "tlv"), ("options", "tlv"), ("proxy-v2-options", "tlv"), ("v", "version")],
};

pub(in super::super) const NO_LEADER: Words = Words {
    place: "no_leader = { ... }",
    keys: &["hold"],
    later: &[],
    foreign: &[("wait", "hold"), ("timeout", "hold"), ("queue", "hold")],
};

pub(in super::super) const ALL_DOWN: Words = Words {
    place: "all_down = { ... }",
    keys: &["serve_when"],
    later: &["hold"],
    foreign: &[("when", "serve_when"), ("serve", "serve_when"), ("healthy_when", "serve_when")],
};

pub(in super::super) const FLAPS: Words = Words {
    place: "flaps = { ... }",
    keys: &["max", "within", "hold"],
    later: &[],
    foreign: &[("count", "max"), ("changes", "max"), ("window", "within"), ("period", "within"), ("time", "hold")],
};

pub(in super::super) const OUTLIERS: Words = Words {
    place: "outliers = { ... }",
    keys: &["failures", "errors", "latency", "requests", "window", "time", "time_max", "max_ejected"],
    later: &[],
    foreign: &[
        ("max_fails", "failures"),
        ("consecutive_5xx", "failures"),
        ("consecutive", "failures"),
        ("error_rate", "errors"),
        ("interval", "window"),
        ("base_ejection_time", "time"),
        ("fail_timeout", "time"),
        ("max_ejection_time", "time_max"),
        ("max_ejection_percent", "max_ejected"),
        ("min_requests", "requests"),
    ],
};

pub(in super::super) const DISAGREE: Words =
    Words { place: "disagree = { ... }", keys: &["probe_fails", "traffic_fails"], later: &[], foreign: &[] };

pub(in super::super) const BACKEND: Words = Words {
    place: "an entry of `backends`",
    keys: &["name", "address", "weight", "backup", "zone", "connections_max"],
    later: &["role", "tls", "server_name", "tags", "priority", "disabled", "cookie"],
    foreign: &[
        ("addr", "address"),
        ("host", "address = \"HOST:PORT\""),
        ("port", "address = \"HOST:PORT\""),
        ("url", "address = \"HOST:PORT\""),
        ("id", "name"),
        ("maxconn", "connections_max"),
        ("max_conns", "connections_max"),
        ("max_connections", "connections_max"),
        ("maxqueue", "[pool.NAME] queue"),
        ("check", "[pool.NAME.check.NAME], which asks every backend of the pool"),
    ],
};

pub(in super::super) const RETRY: Words = Words {
    place: "[pool.NAME.retry]",
    keys: &["attempts", "budget", "min_per_second", "body", "status"],
    later: &["backoff", "methods", "on", "hedge", "timeout"],
    foreign: &[("retries", "attempts"), ("count", "attempts"), ("statuses", "status"), ("retry_on", "status")],
};

pub(in super::super) const POOL_TIMEOUTS: Words = Words {
    place: "[pool.NAME.timeouts]",
    keys: &["connect", "queue", "response", "idle", "tunnel"],
    later: &["request", "total", "user", "keepalive"],
    foreign: &[
        ("server", "response"),
        ("read", "response"),
        ("proxy_read_timeout", "response"),
        ("dial", "connect"),
        ("dial_timeout", "connect"),
        ("keep_alive", "idle"),
        ("tunnel_idle", "tunnel"),
        ("websocket", "tunnel"),
        ("hold", "[pool.NAME] hold"),
    ],
};

pub(in super::super) const POOL_TLS: Words = Words {
    place: "[pool.NAME.tls]",
    keys: &["server_name", "verify", "ca", "cert", "key", "min_version"],
    later: &["pin", "alpn", "resume"],
    foreign: super::check::TLS_FOREIGN,
};
