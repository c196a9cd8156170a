//! What the machine has, read from the kernel's files below a folder. What cannot be read is not known, never a fault.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::sockets::{self, Socket};

/// Where the kernel's files are.
#[derive(Debug, Clone)]
pub(super) struct Root(PathBuf);

/// Longest file of the kernel that is read whole: a list of half a million sockets.
const FILE_BYTES_MAX: u64 = 128 * 1024 * 1024;

impl Root {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        use std::io::Read;
        let mut bytes = Vec::new();
        std::fs::File::open(self.0.join(path)).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.trim().parse().ok()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    pub(super) fn entries(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Where the links of a folder point.
    pub(super) fn links(&self, path: &str) -> Vec<String> {
        let folder = self.0.join(path);
        let entries = self.entries(path);
        entries
            .iter()
            .filter_map(|name| std::fs::read_link(folder.join(name)).ok()?.into_os_string().into_string().ok())
            .collect()
    }

    /// Where one link points.
    pub(super) fn link(&self, path: &str) -> Option<PathBuf> {
        std::fs::read_link(self.0.join(path)).ok()
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        self.entries("proc").iter().filter_map(|name| name.parse().ok()).collect()
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// A running evenkeel.
    pub(super) service: Option<Process>,
    /// Whoever asks.
    pub(super) own: Process,
    pub(super) sockets: Vec<Socket>,
    pub(super) kernel: Kernel,
    pub(super) group: Group,
    pub(super) interfaces: Vec<Interface>,
    /// The default route of IPv4.
    pub(super) gateway: Option<Gateway>,
    pub(super) place: Place,
    pub(super) clock: Clock,
}

/// One process, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Files that it may have open, and as many as it may allow itself.
    pub(super) descriptors: Option<(u64, u64)>,
    /// Its effective capabilities, as a mask.
    pub(super) capabilities: Option<u64>,
}

/// Settings of the kernel; `None`: not there, or not to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Kernel {
    pub(super) somaxconn: Option<u64>,
    /// Connections that were turned away since the machine started because no place was left to wait.
    pub(super) overflows: Option<u64>,
    /// First and last port of outgoing connections.
    pub(super) ports: Option<(u64, u64)>,
    pub(super) reserved_ports: String,
    pub(super) first_free_port: Option<u64>,
    pub(super) time_wait: Option<u64>,
    pub(super) tw_reuse: Option<u64>,
    pub(super) conntrack: Option<(u64, u64)>,
    pub(super) rp_filter: Option<u64>,
    pub(super) mtu_probing: Option<u64>,
    pub(super) overcommit: Option<u64>,
}

/// What a control group lets a process have.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Group {
    /// CPUs.
    pub(super) quota: Option<f64>,
    /// Periods in which it was stopped because they were used up.
    pub(super) throttled: Option<u64>,
    /// Bytes in use, and how many may be.
    pub(super) memory: Option<(u64, u64)>,
    /// Processes that were killed for memory.
    pub(super) killed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mtu: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gateway {
    pub(super) address: IpAddr,
    pub(super) interface: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Place {
    #[default]
    Machine,
    Container,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Clock {
    /// Who keeps it, by the name of the process.
    pub(super) keeper: Option<String>,
    /// Whether systemd's own keeper says that it is right.
    pub(super) synchronized: bool,
    /// Whether all processes of the machine can be seen, and a keeper with them.
    pub(super) sees_all: bool,
    pub(super) source: Option<String>,
}

/// Programs that set the clock by others, by the 15 letters that the kernel keeps of a name.
const KEEPERS: &[&str] =
    &["chronyd", "ntpd", "ntpd-rs", "ntp-daemon", "systemd-timesyn", "timesyncd", "openntpd", "ptp4l", "phc2sys"];

impl Facts {
    pub(super) fn read(root: &Root) -> Self {
        let names: Vec<(u32, String)> = (root.processes().into_iter())
            .map(|pid| (pid, root.text(&format!("proc/{pid}/comm")).unwrap_or_default().trim().to_owned()))
            .collect();
        let own = process(root, "self", std::process::id());
        let service = (names.iter())
            .find(|(pid, name)| name == "evenkeel" && *pid != std::process::id() && runs(root, *pid))
            .map(|(pid, _)| process(root, &pid.to_string(), *pid));
        let place = ["root/.dockerenv", ".dockerenv", "run/.containerenv"];
        Self {
            sockets: sockets::read(root),
            kernel: kernel(root),
            group: group(root, &service.as_ref().map_or_else(|| "self".to_owned(), |process| process.pid.to_string())),
            interfaces: interfaces(root),
            gateway: gateway(root),
            place: if place.iter().any(|file| root.exists(file)) { Place::Container } else { Place::Machine },
            clock: clock(root, &names),
            service,
            own,
        }
    }
}

/// Whether it is a balancer on the same network: one in a container has limits of its own.
fn runs(root: &Root, pid: u32) -> bool {
    let network = |process: &str| root.link(&format!("proc/{process}/ns/net"));
    if network("self") != network(&pid.to_string()) {
        return false;
    }
    let line = root.text(&format!("proc/{pid}/cmdline")).unwrap_or_default();
    line.split('\0').nth(1).is_some_and(|command| matches!(command, "run" | "demo"))
}

fn process(root: &Root, name: &str, pid: u32) -> Process {
    let limits = root.text(&format!("proc/{name}/limits")).unwrap_or_default();
    let open = limits.lines().find_map(|line| line.strip_prefix("Max open files")).and_then(|rest| {
        let mut words =
            rest.split_whitespace().map(|word| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() });
        Some((words.next()??, words.next()??))
    });
    let status = root.text(&format!("proc/{name}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Process { pid, descriptors: open, capabilities: mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) }
}

fn kernel(root: &Root) -> Kernel {
    let net = |name: &str| root.number(&format!("proc/sys/net/{name}"));
    let pair = |text: &str| {
        let mut words = text.split_whitespace().map(str::parse);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    };
    let tracked = (net("netfilter/nf_conntrack_count"), net("netfilter/nf_conntrack_max"));
    Kernel {
        somaxconn: net("core/somaxconn"),
        overflows: root.text("proc/net/netstat").and_then(|text| counter(&text, "TcpExt:", "ListenOverflows")),
        ports: root.text("proc/sys/net/ipv4/ip_local_port_range").and_then(|text| pair(&text)),
        reserved_ports: root.text("proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default().trim().to_owned(),
        first_free_port: net("ipv4/ip_unprivileged_port_start"),
        time_wait: root.text("proc/net/sockstat").and_then(|text| time_wait(&text)),
        tw_reuse: net("ipv4/tcp_tw_reuse"),
        conntrack: tracked.0.zip(tracked.1),
        rp_filter: net("ipv4/conf/all/rp_filter"),
        mtu_probing: net("ipv4/tcp_mtu_probing"),
        overcommit: root.number("proc/sys/vm/overcommit_memory"),
    }
}

/// Two lines of the same prefix: names, then values.
fn counter(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let at = lines.next()?.split_whitespace().position(|word| word == name)?;
    lines.next()?.split_whitespace().nth(at)?.parse().ok()
}

/// `TCP: inuse 5 orphan 0 tw 3 …`
fn time_wait(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "tw")?;
    words.next()?.parse().ok()
}

/// Of the process's own group where it can be seen (a machine), else of the root (a container sees only its own).
fn group(root: &Root, process: &str) -> Group {
    let text = root.text(&format!("proc/{process}/cgroup")).unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let unified = ["sys/fs/cgroup/".to_owned() + own, "sys/fs/cgroup".to_owned()]
        .into_iter()
        .find(|folder| root.exists(&format!("{folder}/cpu.max")));
    let Some(folder) = unified else { return older_group(root) };
    let quota = root.text(&format!("{folder}/cpu.max")).and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        share(quota.parse().ok()?, period.parse().ok()?)
    });
    let field = |file: &str, name: &str| {
        let text = root.text(&format!("{folder}/{file}"))?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    Group {
        quota,
        throttled: field("cpu.stat", "nr_throttled "),
        memory: root.number(&format!("{folder}/memory.current")).zip(root.number(&format!("{folder}/memory.max"))),
        killed: field("memory.events", "oom_kill "),
    }
}

/// Control groups of version 1, as a container sees them.
fn older_group(root: &Root) -> Group {
    let cpu = |name: &str| root.text(&format!("sys/fs/cgroup/cpu/cpu.{name}"))?.trim().parse::<i64>().ok();
    let quota = cpu("cfs_quota_us").filter(|quota| *quota > 0).zip(cpu("cfs_period_us"));
    // What means "no limit" there is more than any machine has.
    let limit = root.number("sys/fs/cgroup/memory/memory.limit_in_bytes").filter(|limit| *limit < 1 << 50);
    Group {
        quota: quota.and_then(|(quota, period)| share(quota.unsigned_abs(), period.unsigned_abs())),
        throttled: None,
        memory: root.number("sys/fs/cgroup/memory/memory.usage_in_bytes").zip(limit),
        killed: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a period: far below 2^52")]
fn share(quota: u64, period: u64) -> Option<f64> {
    (period > 0).then(|| quota as f64 / period as f64)
}

fn interfaces(root: &Root) -> Vec<Interface> {
    let names = root.entries("sys/class/net").into_iter().filter(|name| name != "lo");
    names
        .filter(|name| {
            let state = root.text(&format!("sys/class/net/{name}/operstate")).unwrap_or_default();
            state.trim() != "down"
        })
        .filter_map(|name| Some(Interface { mtu: root.number(&format!("sys/class/net/{name}/mtu"))?, name }))
        .collect()
}

/// The line of `/proc/net/route` whose destination is everything.
fn gateway(root: &Root) -> Option<Gateway> {
    let text = root.text("proc/net/route")?;
    text.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let address = u32::from_str_radix(words.get(2)?, 16).ok().filter(|address| *address != 0)?;
        (*words.get(1)? == "00000000").then(|| Gateway {
            address: IpAddr::V4(Ipv4Addr::from(address.to_ne_bytes())),
            interface: words[0].to_owned(),
        })
    })
}

fn clock(root: &Root, names: &[(u32, String)]) -> Clock {
    let keeper = names.iter().find(|(_, name)| KEEPERS.contains(&name.as_str()));
    let first = names.iter().find(|(pid, _)| *pid == 1).map_or("", |(_, name)| name.as_str());
    Clock {
        keeper: keeper.map(|(_, name)| name.clone()),
        synchronized: root.exists("run/systemd/timesync/synchronized"),
        sees_all: matches!(first, "systemd" | "init"),
        source: root
            .text("sys/devices/system/clocksource/clocksource0/current_clocksource")
            .map(|text| text.trim().to_owned()),
    }
}
