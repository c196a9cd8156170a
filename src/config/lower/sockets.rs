//! `[listener.NAME.tcp]`, `[pool.NAME.tcp]` and `source` of a pool: what the sockets are told.
//!
//! Whether this machine has the addresses and interfaces, and this process the rights, is found out by `net::way`, when
//! the configuration is put to work.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::config::model::{Address, Keepalive, ListenerTcp, Member, Protocol, Site, SocketOptions, Vigil, Way};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::{Node, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::{KEEPALIVE, LISTENER_TCP, POOL_TCP};

/// The kernel's own limits (tcp(7)): seconds in 15 bits, questions in 7.
const SECONDS_MAX: u64 = 32_767;
const QUESTIONS_MAX: i64 = 127;
/// `TCP_USER_TIMEOUT` counts milliseconds in 31 bits.
const USER_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);
/// The kernel caps it at `net.core.somaxconn`.
const FAST_OPEN_MAX: i64 = 65_535;
/// `TCP_MIN_MSS` and `MAX_TCP_WINDOW` of the kernel.
const SEGMENT: std::ops::RangeInclusive<i64> = 88..=32_767;
/// Longest name of an interface: `IFNAMSIZ` without the zero.
const INTERFACE_MAX: usize = 15;
/// More addresses than anybody gives one machine for this.
const SOURCES_MAX: usize = 256;

/// `[listener.NAME.tcp]`.
pub(super) fn listener(listener: &Section<'_>, protocol: Protocol, sites: &[Site]) -> ListenerTcp {
    let Some(tcp) = listener.section("tcp", &LISTENER_TCP) else { return ListenerTcp::default() };
    if protocol == Protocol::Udp || (!sites.is_empty() && sites.iter().all(|site| site.ip().is_none())) {
        let what = if protocol == Protocol::Udp { "on a udp listener" } else { "on a unix socket" };
        tcp.cx.report(
            Problem::warning("no-effect", tcp.at, format!("`tcp` has no effect {what}"))
                .label("options of TCP")
                .help("take it out"),
        );
    }
    let keepalive = match vigil(&tcp) {
        Some(Vigil::Never) => None,
        Some(Vigil::Always(questions)) => Some(questions),
        Some(Vigil::AsNeeded) | None => Some(Keepalive::CLIENTS),
    };
    ListenerTcp { options: options(&tcp), keepalive, fast_open: number(&tcp, "fast_open", 1..=FAST_OPEN_MAX) }
}

/// `source` and `[pool.NAME.tcp]`; `None` where neither says anything.
pub(super) fn way(pool: &Section<'_>) -> Option<Arc<Way>> {
    let tcp = pool.section("tcp", &POOL_TCP);
    let sources = sources(pool);
    let keepalive = tcp.as_ref().and_then(|tcp| vigil(tcp)).unwrap_or_default();
    let way = Way { sources, options: tcp.as_ref().map(options).unwrap_or_default(), keepalive };
    (way != Way::default()).then(|| Arc::new(way))
}

/// Backends of a family that `source` has no address of.
pub(super) fn refuse_other_families(pool: &Section<'_>, way: Option<&Way>, members: &[Member]) {
    let (Some(way), Some(entry)) = (way.filter(|way| !way.sources.is_empty()), pool.entry("source")) else { return };
    let is_reached = |address: &IpAddr| way.sources.iter().any(|source| source.is_ipv4() == address.is_ipv4());
    let other = members.iter().find_map(|member| match &member.address {
        Address::Socket(address) => (!is_reached(&address.ip())).then_some(*address),
        Address::Name(..) | Address::Unix(_) => None,
    });
    if let Some(address) = other {
        let (family, example) = if address.is_ipv4() { ("IPv4", "10.0.0.5") } else { ("IPv6", "2001:db8::5") };
        let fault = Fault::new("source", format!("`source` has no {family} address"), "of the other family");
        let help = format!("the backend {address} is asked from one: add it to the list, such as \"{example}\"");
        pool.fault(&entry.node, fault.help(help));
    }
}

fn sources(pool: &Section<'_>) -> Vec<IpAddr> {
    let read = pool.parsed_list("source", source).unwrap_or_default();
    let mut sources: Vec<IpAddr> = Vec::with_capacity(read.len());
    for (address, at) in read {
        if sources.contains(&address) {
            let fault = Fault::new("source", format!("{address} stands in `source` twice"), "the same address again");
            pool.fault_at(at, fault.help("take it out: each has the same turns"));
        }
        sources.push(address);
    }
    if let Some(entry) = pool.entry("source").filter(|_| sources.len() > SOURCES_MAX) {
        let fault = Fault::new("range", format!("{} addresses in `source` are too many", sources.len()), "too many");
        pool.fault(&entry.node, fault.help(format!("at most {SOURCES_MAX}")));
    }
    sources
}

fn source(text: &str) -> Result<IpAddr, Fault> {
    let fault = |label: &str| Fault::new("address", format!("`{text}` is not an address of this machine"), label);
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr =
        bare.parse().map_err(|_unparsed| fault("expected an IP address, without a port").help("write \"10.0.0.5\""))?;
    if address.is_unspecified() || address.is_multicast() {
        return Err(fault("nobody has it").help("leave `source` out where the system shall choose"));
    }
    Ok(address)
}

fn options(tcp: &Section<'_>) -> SocketOptions {
    SocketOptions {
        user_timeout: user_timeout(tcp),
        mark: number(tcp, "mark", 1..=i64::from(u32::MAX)),
        interface: tcp.parsed("interface", interface),
        dscp: tcp.integer("dscp", 0..=63).and_then(|class| u8::try_from(class).ok()),
        max_segment: number(tcp, "max_segment", SEGMENT),
    }
}

fn number(tcp: &Section<'_>, key: &str, range: std::ops::RangeInclusive<i64>) -> Option<NonZeroU32> {
    tcp.integer(key, range).and_then(|number| NonZeroU32::new(u32::try_from(number).ok()?))
}

fn user_timeout(tcp: &Section<'_>) -> Option<Duration> {
    let time = tcp.positive_duration("user_timeout")?;
    if time <= USER_TIMEOUT_MAX {
        return Some(time);
    }
    let fault = Fault::new("range", "`user_timeout` is longer than the system can count", "too long");
    tcp.fault(&tcp.entry("user_timeout")?.node, fault.help("write \"24d\" or less"));
    None
}

fn interface(text: &str) -> Result<Arc<str>, Fault> {
    let is_name = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    if (1..=INTERFACE_MAX).contains(&text.len()) && text.bytes().all(is_name) {
        return Ok(text.into());
    }
    let fault = Fault::new("interface", format!("`{text}` cannot be an interface"), "1 to 15 letters and digits");
    Err(fault.help("`ip link` shows their names, such as \"eth0\""))
}

/// `keepalive`; what a table does not say is as for clients.
fn vigil(tcp: &Section<'_>) -> Option<Vigil> {
    let entry = tcp.entry("keepalive")?;
    let takes = |node: &Node| {
        let help = "write keepalive = { idle = \"60s\", interval = \"15s\", count = 4 }, or keepalive = false";
        tcp.wrong_type(node, "keepalive", "false or a table", help);
        None
    };
    match &entry.node.value {
        Value::Boolean(false) => Some(Vigil::Never),
        Value::Table(_) => {
            let section = tcp.section("keepalive", &KEEPALIVE)?;
            let count = section.integer("count", 1..=QUESTIONS_MAX).and_then(|count| u32::try_from(count).ok());
            Some(Vigil::Always(Keepalive {
                idle: seconds(&section, "idle").unwrap_or(Keepalive::CLIENTS.idle),
                interval: seconds(&section, "interval").unwrap_or(Keepalive::CLIENTS.interval),
                count: count.unwrap_or(Keepalive::CLIENTS.count),
            }))
        }
        _ => takes(&entry.node),
    }
}

/// The system counts whole seconds here.
fn seconds(section: &Section<'_>, key: &str) -> Option<Duration> {
    let time = section.positive_duration(key)?;
    if time.subsec_nanos() == 0 && time.as_secs() <= SECONDS_MAX {
        return Some(time);
    }
    let fault = Fault::new("range", format!("`{key}` takes whole seconds"), "the system counts seconds here");
    section.fault(&section.entry(key)?.node, fault.help(format!("it goes from \"1s\" to \"{SECONDS_MAX}s\"")));
    None
}
