//! `[pool.NAME.check.NAME]`: when it is asked and what the answers mean; the questions are read by a file for each type.

mod account;
mod agent;
mod body;
mod compare;
mod exec;
mod http;
mod ldap;
mod mysql;
mod postgres;
mod redis;
mod script;
mod secrets;
mod smtp;
mod status;
mod tls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::nonzero;
use super::pool::introduce;
use crate::config::model::{Address, Check, CheckKind, Initial, Member, PoolTls, SendProxy, Step, Timing, Way};
use crate::config::problem::{At, Problem};
use crate::config::section::{Choice, Section};
use crate::config::tree::{Entry, Table, Value};
use crate::config::units::{self, Fault};
use crate::config::vocabulary::{
    CHECK_AGENT, CHECK_APACHE, CHECK_EXEC, CHECK_GRPC, CHECK_HTTP, CHECK_LDAP, CHECK_MYSQL, CHECK_POSTGRES,
    CHECK_REDIS, CHECK_SCRIPT, CHECK_SMTP, CHECK_TCP, CHECK_TLS_ONLY, Words,
};

pub(super) use body::pattern;
pub(super) use exec::allowed as exec_allowed;

/// Faster than this is a flood, not a check.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The fast interval is not made shorter than this unless someone says so.
const FAST_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// More than this is a slip of the pen.
const STREAK_MAX: i64 = 10_000;

#[derive(Clone, Copy)]
enum Type {
    Tcp,
    Tls,
    Http,
    Mysql,
    Apache,
    Grpc,
    Postgres,
    Redis,
    Smtp,
    Ldap,
    Script,
    Agent,
    Exec,
}

impl Type {
    fn words(self) -> &'static Words {
        match self {
            Self::Tcp => &CHECK_TCP,
            Self::Tls => &CHECK_TLS_ONLY,
            Self::Http => &CHECK_HTTP,
            Self::Mysql => &CHECK_MYSQL,
            Self::Apache => &CHECK_APACHE,
            Self::Grpc => &CHECK_GRPC,
            Self::Postgres => &CHECK_POSTGRES,
            Self::Redis => &CHECK_REDIS,
            Self::Smtp => &CHECK_SMTP,
            Self::Ldap => &CHECK_LDAP,
            Self::Script => &CHECK_SCRIPT,
            Self::Agent => &CHECK_AGENT,
            Self::Exec => &CHECK_EXEC,
        }
    }

    /// `rise` and `fall` where nothing is said. What an agent says is not seen, but decided: it counts at once.
    fn streaks(self) -> (u32, u32) {
        if let Self::Agent = self { (1, 1) } else { STREAKS }
    }
}

/// `rise` and `fall` where nothing is said.
const STREAKS: (u32, u32) = (2, 3);

const TYPE: Choice<Type> = Choice {
    words: &[
        ("tcp", Type::Tcp),
        ("tls", Type::Tls),
        ("http", Type::Http),
        ("mysql", Type::Mysql),
        ("apache", Type::Apache),
        ("grpc", Type::Grpc),
        ("postgres", Type::Postgres),
        ("redis", Type::Redis),
        ("smtp", Type::Smtp),
        ("ldap", Type::Ldap),
        ("script", Type::Script),
        ("agent", Type::Agent),
        ("exec", Type::Exec),
    ],
    foreign: &[
        ("ssl", "tls"),
        ("certificate", "tls"),
        ("ssl-hello-chk", "tls"),
        ("https", "write type = \"http\" and tls = true"),
        ("mariadb", "mysql"),
        ("httpchk", "http"),
        ("tcp-check", "tcp"),
        ("mysql-check", "mysql"),
        ("connect", "tcp"),
        ("port", "tcp"),
        ("ping", "there is no ICMP check: write \"tcp\""),
        ("icmp", "there is no ICMP check: write \"tcp\""),
        ("httpd", "apache"),
        ("server-status", "apache"),
        ("http2", "write type = \"http\" and http = \"2\""),
        ("h2", "write type = \"http\" and http = \"2\""),
        ("postgresql", "postgres"),
        ("pgsql", "postgres"),
        ("pgsql-check", "postgres"),
        ("redis-check", "redis"),
        ("valkey", "redis"),
        ("sentinel", "redis"),
        ("smtpchk", "smtp"),
        ("mail", "smtp"),
        ("ldap-check", "ldap"),
        ("ldaps", "write type = \"ldap\" and tls = true"),
        ("send-expect", "script"),
        ("agent-check", "agent"),
        ("external", "exec"),
        ("external-check", "exec"),
        ("command", "exec"),
        ("udp", "write type = \"script\" with transport = \"udp\""),
        ("udp-check", "write type = \"script\" with transport = \"udp\""),
    ],
    later: &["dns", "galera"],
};

const INITIAL: Choice<Initial> = Choice {
    words: &[("unknown", Initial::Unknown), ("up", Initial::Up), ("down", Initial::Down)],
    foreign: &[("healthy", "up"), ("unhealthy", "down"), ("passing", "up"), ("critical", "down")],
    later: &[],
};

pub(super) const SEND_PROXY: Choice<Option<SendProxy>> = Choice {
    words: &[("v1", Some(SendProxy::V1)), ("v2", Some(SendProxy::V2)), ("off", None)],
    foreign: &[("1", "v1"), ("2", "v2"), ("v1.0", "v1"), ("v2.0", "v2"), ("none", "off")],
    later: &[],
};

/// What checks take over from their pool.
pub(super) struct Over<'a> {
    /// Its TLS, which is that of its checks over HTTP, too.
    pub(super) tls: Option<&'a PoolTls>,
    /// The way to its backends, which is that of all of its checks.
    pub(super) way: Option<&'a Arc<Way>>,
}

/// The checks of a pool by name; `None` stands for one that is not valid, so that its name still counts.
pub(super) fn checks(pool: &Section<'_>, over: &Over<'_>) -> Vec<(String, Option<Check>)> {
    pool.named("check", "web")
        .into_iter()
        .map(|(entry, table)| (entry.key.clone(), check(pool, entry, table, over)))
        .collect()
}

/// Checks that ask at a port of backends which have none, because they are unix sockets.
pub(super) fn refuse_ports_of_sockets(pool: &Section<'_>, members: &[Member], checks: &[(String, Option<Check>)]) {
    let Some(socket) = members.iter().find(|member| matches!(member.address, Address::Unix(_))) else { return };
    for (name, check) in checks.iter().filter_map(|(name, check)| Some((name, check.as_ref()?))) {
        let jumps = matches!(&check.kind, CheckKind::Script(script)
            if script.steps.iter().any(|step| matches!(step, Step::Connect(_))));
        let help = match (check.host, check.port) {
            (None, None) if jumps => "take the steps with `connect` out: a socket is all that there is",
            (None, Some(_)) => {
                "give the `host` that has this port, too, or take `port` out: the socket itself is asked then"
            }
            (Some(_), None) => "give the `port` of this host, too, or take `host` out: the socket itself is asked then",
            _ => continue,
        };
        let at = place(pool, name).unwrap_or(pool.at);
        pool.cx.report(
            Problem::error(
                "no-port",
                at,
                format!("the backend {} has no port that `{name}` could ask at", socket.address),
            )
            .label("asks at another place than the socket")
            .help(help),
        );
    }
}

/// Where a check is named.
pub(super) fn place(pool: &Section<'_>, name: &str) -> Option<At> {
    match &pool.entry("check")?.node.value {
        Value::Table(table) => Some(table.get(name)?.key_at),
        _ => None,
    }
}

fn check<'a>(pool: &Section<'a>, entry: &'a Entry, table: &'a Table, over: &Over<'_>) -> Option<Check> {
    let path = format!("{}.check.{}", pool.path, entry.key);
    refuse_reserved(pool, entry);
    let kind_of = kind_word(pool, entry, table, &path);
    // With an unknown type nobody can say which keys belong; those of http are the widest set.
    let words = kind_of.unwrap_or(Type::Http).words();
    let known = kind_of.is_some();
    let section = if known {
        Section::new(pool.cx, table, entry.key_at, path, words)
    } else {
        Section { cx: pool.cx, table, at: entry.key_at, path }
    };
    let timing = timing(&section, kind_of.map_or(STREAKS, Type::streaks));
    let host = section.parsed("host", host);
    let port = section.integer("port", 1..=65535).and_then(|port| u16::try_from(port).ok());
    let send_proxy = section.choice("send_proxy", &SEND_PROXY);
    // Another place than the backend itself need not speak it.
    let is_elsewhere = section.has("host") || section.has("port");
    let is_silent = matches!(kind_of, Some(Type::Tcp | Type::Exec));
    let inherited = || if is_elsewhere || is_silent { None } else { introduce::version(pool) };
    let send_proxy = if section.has("send_proxy") { send_proxy.flatten() } else { inherited() };
    match kind_of {
        Some(Type::Tcp) => refuse_silent_proxy(&section, "tcp"),
        Some(Type::Exec) => refuse_silent_proxy(&section, "exec"),
        _ => {}
    }
    // Another port, or another address, is another service.
    let tls = over.tls.filter(|_| !section.has("host") && !section.has("port"));
    let kind = kind(&section, kind_of?, tls);
    let secrets = secrets::of(table);
    let (name, way) = (entry.key.as_str().into(), over.way.cloned());
    Some(Check { name, kind: kind?, host, port, way, send_proxy, timing: timing?, secrets })
}

/// A knock never sends a byte, so there is nothing that a header could stand before.
fn refuse_silent_proxy(section: &Section<'_>, kind: &str) {
    let Some(entry) = section.entry("send_proxy").filter(|_| !section.says("send_proxy", "off")) else { return };
    section.cx.report(
        Problem::error(
            "no-effect",
            entry.key_at,
            format!("a check of type \"{kind}\" sends nothing, not even a PROXY header"),
        )
        .label("never sent")
        .help("take it out: the port is open or it is not; or ask with another type, such as \"http\" or \"tls\""),
    );
}

fn refuse_reserved(pool: &Section<'_>, entry: &Entry) {
    let lower = entry.key.to_ascii_lowercase();
    let digits = lower.bytes().all(|byte| byte.is_ascii_digit());
    if digits || ["and", "or", "not", "of"].contains(&lower.as_str()) {
        pool.cx.report(
            Problem::error("name", entry.key_at, format!("a check cannot be called `{}`", entry.key))
                .label("`healthy_when` could not tell it from its own words")
                .help("give it another name, such as [pool.NAME.check.web]"),
        );
    }
}

fn kind_word<'a>(pool: &Section<'a>, entry: &'a Entry, table: &'a Table, path: &str) -> Option<Type> {
    let section = Section { cx: pool.cx, table, at: entry.key_at, path: path.to_owned() };
    if !section.has("type") {
        section.missing("type", format!("write type = {}", TYPE.list()));
        return None;
    }
    section.choice("type", &TYPE)
}

fn kind(section: &Section<'_>, kind: Type, over: Option<&PoolTls>) -> Option<CheckKind> {
    Some(match kind {
        Type::Tcp => CheckKind::Tcp,
        Type::Tls => CheckKind::Tls(tls::check(section)?),
        Type::Http => CheckKind::Http(http::http(section, over)?),
        Type::Mysql => CheckKind::Mysql(mysql::mysql(section)?),
        Type::Apache => CheckKind::Apache(http::apache(section, over)?),
        Type::Grpc => CheckKind::Grpc(http::grpc(section, over)?),
        Type::Postgres => CheckKind::Postgres(postgres::postgres(section)?),
        Type::Redis => CheckKind::Redis(redis::redis(section)?),
        Type::Smtp => CheckKind::Smtp(smtp::smtp(section)?),
        Type::Ldap => CheckKind::Ldap(ldap::ldap(section)?),
        Type::Script => CheckKind::Script(script::script(section)?),
        Type::Agent => CheckKind::Agent(agent::agent(section)?),
        Type::Exec => CheckKind::Exec(exec::exec(section)?),
    })
}

fn host(text: &str) -> Result<IpAddr, Fault> {
    text.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_unparsed| {
        let fault = Fault::new("address", format!("`{text}` is not an IP address"), "the address that is asked");
        if text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            fault.help(format!("write an IP address; for the Host header write headers = {{ Host = \"{text}\" }}"))
        } else {
            fault.help("write an IP address without port; the port is a key of its own: port = 3306")
        }
    })
}

fn timing(section: &Section<'_>, (rise, fall): (u32, u32)) -> Option<Timing> {
    let interval = interval(section, "interval");
    let given = interval.is_some() || !section.has("interval");
    let interval = interval.unwrap_or(Duration::from_secs(2));
    let down = self::interval(section, "down_interval").unwrap_or(interval);
    let timeout = section.positive_duration("timeout");
    let fast = section.positive_duration("fast_interval");
    let mut fits = given;
    for (key, value, limit, what) in [
        ("timeout", timeout, ("interval", interval), "the interval"),
        ("fast_interval", fast, ("interval", interval), "the interval"),
        ("timeout", timeout, ("down_interval", down), "the interval while down"),
    ] {
        if let Some(value) = value.filter(|value| fits && *value > limit.1) {
            longer_than_interval(section, (key, value), limit, what);
            fits = false;
        }
    }
    let streak = |key: &str, usual: u32| {
        let number = section.integer(key, 1..=STREAK_MAX);
        nonzero(number.map_or(usual, |number| u32::try_from(number).unwrap_or(u32::MAX)))
    };
    let (rise, fall) = (streak("rise", rise), streak("fall", fall));
    let initial = section.choice("initial", &INITIAL).unwrap_or(Initial::Unknown);
    fits.then(|| Timing {
        interval,
        down_interval: down,
        fast_interval: fast.unwrap_or((interval / 4).max(FAST_INTERVAL_MIN).min(interval)),
        timeout: timeout.unwrap_or(Duration::from_secs(1).min(interval).min(down)),
        rise,
        fall,
        initial,
    })
}

fn interval(section: &Section<'_>, key: &str) -> Option<Duration> {
    let interval = section.positive_duration(key)?;
    if interval < INTERVAL_MIN {
        let node = &section.entry(key)?.node;
        let message = format!("`{key}` of {} is too short", units::written(interval));
        section.fault(node, Fault::new("range", message, "a flood of probes").help("write \"10ms\" or more"));
    }
    Some(interval)
}

fn longer_than_interval(
    section: &Section<'_>,
    (key, value): (&str, Duration),
    (limiting, limit): (&str, Duration),
    what: &str,
) {
    let Some(entry) = section.entry(key) else { return };
    let limit = units::written(limit);
    let message = format!("`{key}` of {} is longer than {what} of {limit}", units::written(value));
    let problem = Problem::error("too-long", entry.node.at, message)
        .help(format!("make it {limit} or less, or the interval longer"));
    section.cx.report(match section.entry(limiting) {
        Some(interval) => problem.label("longer").second(interval.node.at, what),
        None => problem.label("the interval is 2s where none is given"),
    });
}
