//! PURE: descriptors, ports, the kernel's settings and the control group against what a configuration wants.

use std::net::SocketAddr;

use super::facts::{Facts, Kernel, Process};
use super::finding::Finding;
use super::sockets::{Socket, State};
use super::wants::{Bind, Wants};

/// What listeners ask the kernel for (`BACKLOG` of `net::listen`).
const BACKLOG: u64 = 4096;
/// The capability to bind ports below `ip_unprivileged_port_start` (capabilities(7)).
const NET_BIND_SERVICE: u64 = 1 << 10;

pub(super) fn judge(wants: &Wants, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![descriptors(wants, facts)];
    findings.extend(wants.binds.iter().flat_map(|bind| port(bind, facts)));
    findings.extend(backlog(&facts.kernel));
    findings.extend(outgoing_ports(wants, &facts.kernel));
    findings.extend(reuse(&facts.kernel));
    findings.extend(conntrack(wants, &facts.kernel));
    findings.extend(overcommit(&facts.kernel));
    findings.extend(processors(wants, facts));
    findings.extend(memory(facts));
    findings
}

fn descriptors(wants: &Wants, facts: &Facts) -> Finding {
    const TOPIC: &str = "descriptors";
    let (process, who) = match &facts.service {
        Some(process) => (process, format!("evenkeel (process {})", process.pid)),
        None => (&facts.own, "a program started here".to_owned()),
    };
    let Some((now, most)) = process.descriptors else {
        return Finding::advice(
            TOPIC,
            "nothing says how many files may be open",
            "look at `ulimit -n` where evenkeel runs",
        );
    };
    let needed = wants.descriptors;
    if now >= needed {
        return Finding::ok(TOPIC, format!("{who} may open {now} files; {needed} are needed at most"));
    }
    let what = format!("{who} may open {now} files, and {needed} are needed for all that the configuration allows");
    let remedy = if most >= needed {
        format!(
            "write LimitNOFILE={needed} into the unit, `ulimit -n {needed}` into a script, or allow fewer [limits] connections"
        )
    } else {
        format!(
            "raise the hard limit, {most}, as well: LimitNOFILE={needed} in the unit, or --ulimit nofile={needed} of a container"
        )
    };
    if facts.service.is_some() { Finding::fault(TOPIC, what, remedy) } else { Finding::advice(TOPIC, what, remedy) }
}

fn port(bind: &Bind, facts: &Facts) -> Vec<Finding> {
    const TOPIC: &str = "ports";
    let (who, address) = (&bind.who, bind.address);
    let holder = facts.sockets.iter().find(|socket| is_in_the_way(socket, bind));
    if let Some(socket) = holder {
        return vec![match &socket.holder {
            Some((pid, name)) if name == "evenkeel" => {
                Finding::ok(TOPIC, format!("{who}: {address} is held by evenkeel (process {pid})"))
            }
            Some((pid, name)) if name == "docker-proxy" => Finding::fault(
                TOPIC,
                format!("{who}: {address} is held by Docker's proxy (process {pid}) for a container's port"),
                "publish another port for that container, or bind another one here",
            ),
            Some((pid, name)) => Finding::fault(
                TOPIC,
                format!("{who}: {address} is held by {name} (process {pid})"),
                format!("stop {name}, or bind another port"),
            ),
            None => Finding::fault(
                TOPIC,
                format!("{who}: {address} is held by a process that cannot be seen from here"),
                "ask as root who it is: `evenkeel doctor` again, or `ss -lnp`",
            ),
        }];
    }
    let mut findings =
        vec![low_port(bind, facts).unwrap_or_else(|| Finding::ok(TOPIC, format!("{who}: {address} is free")))];
    findings.extend(may_be_taken(bind, &facts.kernel));
    findings
}

/// Whether a socket that is there keeps this one from being opened.
fn is_in_the_way(socket: &Socket, bind: &Bind) -> bool {
    let same = |one: SocketAddr, other: SocketAddr| {
        one.ip() == other.ip()
            || (one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4()))
            || (other.ip().is_unspecified() && (other.is_ipv6() || one.is_ipv4()))
    };
    socket.state == State::Open
        && socket.transport == bind.transport
        && socket.local.port() == bind.address.port()
        && same(socket.local, bind.address)
}

fn low_port(bind: &Bind, facts: &Facts) -> Option<Finding> {
    let first = facts.kernel.first_free_port.unwrap_or(1024);
    let process: &Process = facts.service.as_ref().unwrap_or(&facts.own);
    let may = process.capabilities.is_none_or(|mask| mask & NET_BIND_SERVICE != 0);
    (u64::from(bind.address.port()) < first && !may).then(|| {
        Finding::fault(
            "ports",
            format!("{}: ports below {first} are not for this user, and {} is one", bind.who, bind.address),
            "run it by the unit, which has CAP_NET_BIND_SERVICE, or `setcap cap_net_bind_service=ep` the program",
        )
    })
}

/// Outgoing connections get ports of a range, and may have just this one when evenkeel starts.
fn may_be_taken(bind: &Bind, kernel: &Kernel) -> Option<Finding> {
    let port = u64::from(bind.address.port());
    let (first, last) = kernel.ports.filter(|(first, last)| (*first..=*last).contains(&port))?;
    let reserved = kernel.reserved_ports.split(',').any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        matches!((from.parse::<u64>(), to.parse::<u64>()), (Ok(from), Ok(to)) if (from..=to).contains(&port))
    });
    (!reserved).then(|| {
        Finding::advice(
            "ports",
            format!("{}: {port} is one of {first}-{last}, which outgoing connections of this machine get", bind.who),
            format!("keep it from them: `sysctl -w net.ipv4.ip_local_reserved_ports={port}`, and in /etc/sysctl.d"),
        )
    })
}

fn backlog(kernel: &Kernel) -> Option<Finding> {
    let most = kernel.somaxconn?;
    let overflows = kernel.overflows.unwrap_or(0);
    Some(if most < BACKLOG {
        Finding::advice(
            "backlog",
            format!("{most} new connections may wait to be accepted, and a burst can be more"),
            format!("`sysctl -w net.core.somaxconn={BACKLOG}`, and in /etc/sysctl.d"),
        )
    } else if overflows > 0 {
        Finding::advice(
            "backlog",
            format!(
                "{overflows} connections were turned away on this machine because none more could wait, by whichever program"
            ),
            "if that goes on while evenkeel runs, give it more CPUs: it accepts as long as its workers have time",
        )
    } else {
        Finding::ok("backlog", format!("{most} new connections may wait to be accepted"))
    })
}

fn outgoing_ports(wants: &Wants, kernel: &Kernel) -> Vec<Finding> {
    let Some((first, last)) = kernel.ports else { return Vec::new() };
    let ports = last.saturating_sub(first) + 1;
    let short = wants.pools.iter().filter(|pool| pool.to_one > ports * pool.sources);
    let mut findings: Vec<Finding> = short
        .map(|pool| {
            Finding::advice(
                "outgoing",
                format!(
                    "pool {}: {} connections to one backend are allowed, and {} have a port ({first}-{last}, {} own address)",
                    pool.pool,
                    pool.to_one,
                    ports * pool.sources,
                    pool.sources
                ),
                "widen net.ipv4.ip_local_port_range, give the pool several `source` addresses, or set `connections_max`",
            )
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::ok("outgoing", format!("{ports} ports for connections to each backend")));
    }
    findings
}

fn reuse(kernel: &Kernel) -> Option<Finding> {
    let ((first, last), waiting) = kernel.ports.zip(kernel.time_wait)?;
    let ports = last.saturating_sub(first) + 1;
    // Half of them is a minute's worth of connections at which the next minute's run out.
    (waiting * 2 > ports && kernel.tw_reuse != Some(1)).then(|| {
        Finding::advice(
            "outgoing",
            format!("{waiting} connections that have ended keep their ports for a minute, of {ports} in all"),
            "`sysctl -w net.ipv4.tcp_tw_reuse=1`: new connections take such ports over, safely, by their timestamps",
        )
    })
}

fn conntrack(wants: &Wants, kernel: &Kernel) -> Option<Finding> {
    let (count, most) = kernel.conntrack?;
    // A client's connection and the one to its backend.
    let needed = 2 * wants.connections;
    let remedy = format!(
        "`sysctl -w net.netfilter.nf_conntrack_max={}`, or exempt the balancer's ports (NOTRACK)",
        needed.max(most) * 2
    );
    Some(if count * 10 > most * 9 {
        let what =
            format!("the firewall follows {count} connections of {most} that it can: beyond, packets are dropped");
        Finding::fault("conntrack", what, remedy)
    } else if most < needed {
        let what = format!("the firewall can follow {most} connections, and {needed} are allowed, both sides counted");
        Finding::advice("conntrack", what, remedy)
    } else {
        Finding::ok("conntrack", format!("the firewall follows {count} connections of {most} that it can"))
    })
}

fn overcommit(kernel: &Kernel) -> Option<Finding> {
    (kernel.overcommit == Some(2)).then(|| {
        Finding::advice(
            "memory",
            "the kernel promises no more memory than it has (vm.overcommit_memory = 2), also what is never touched",
            "`sysctl -w vm.overcommit_memory=0`, or leave room: threads and the allocator reserve more than they use",
        )
    })
}

fn processors(wants: &Wants, facts: &Facts) -> Option<Finding> {
    let quota = facts.group.quota?;
    let whole = quota.ceil().max(1.0);
    #[expect(clippy::cast_precision_loss, reason = "at most 1024 workers")]
    let more = wants.workers.filter(|workers| *workers as f64 > whole);
    if let Some(workers) = more {
        return Some(Finding::advice(
            "processors",
            format!(
                "workers = {workers}, and the control group has {quota} CPUs: all stand still when they are used up"
            ),
            "take `workers` out, which is one for each CPU of the group, or give the group more",
        ));
    }
    let throttled = facts.group.throttled.unwrap_or(0);
    Some(if throttled > 0 {
        Finding::advice(
            "processors",
            format!("the control group has {quota} CPUs, and was stopped {throttled} times because they were used up"),
            "give it more CPUs, or none as a limit: each stop is a pause of up to 100 ms for everybody",
        )
    } else {
        Finding::ok("processors", format!("the control group has {quota} CPUs and was never stopped"))
    })
}

fn memory(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(killed) = facts.group.killed.filter(|killed| *killed > 0) {
        findings.push(Finding::fault(
            "memory",
            format!("{killed} processes of this control group were killed for want of memory"),
            "raise its limit, or allow fewer [limits] connections",
        ));
    }
    if let Some((used, most)) = facts.group.memory {
        findings.push(if u128::from(used) * 10 > u128::from(most) * 9 {
            Finding::advice(
                "memory",
                format!("the control group uses {used} bytes of {most}: beyond, something of it is killed"),
                "raise its limit, or allow fewer [limits] connections",
            )
        } else {
            Finding::ok("memory", format!("the control group uses {used} bytes of {most}"))
        });
    }
    findings
}
