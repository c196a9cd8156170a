//! PURE: what stands between clients, balancer and backends: Docker's proxy, sizes of packets, ways back.

use super::facts::{Facts, Place};
use super::finding::Finding;
use super::sockets::{State, Transport};
use super::wants::Wants;

/// What every link that carries IPv6 must take (RFC 8200, section 5).
const MTU_LEAST: u64 = 1280;
/// What begins the names of bridges that containers hang on.
const BRIDGES: &[&str] = &["docker", "br-", "cni", "podman", "lxc", "virbr", "cali", "flannel", "cilium"];

pub(super) fn judge(wants: &Wants, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(lost_clients(wants, facts));
    findings.extend(packets(facts));
    findings.extend(ways_back(wants, facts));
    findings
}

/// In a container, clients that all come from its gateway are those of a proxy on the machine.
fn lost_clients(wants: &Wants, facts: &Facts) -> Option<Finding> {
    let gateway = facts.gateway.as_ref().filter(|_| facts.place == Place::Container)?;
    let ours =
        |port: u16| wants.binds.iter().any(|bind| bind.transport == Transport::Tcp && bind.address.port() == port);
    let clients = facts.sockets.iter().filter(|socket| {
        socket.state == State::Connected
            && socket.transport == Transport::Tcp
            && ours(socket.local.port())
            && !socket.remote.ip().is_loopback()
    });
    let (lost, known): (Vec<_>, Vec<_>) = clients.partition(|socket| socket.remote.ip() == gateway.address);
    Some(if lost.is_empty() {
        let count = known.len();
        Finding::ok(
            "clients",
            format!("none of {count} connected clients has the address of the gateway, {}", gateway.address),
        )
    } else {
        Finding::advice(
            "clients",
            format!(
                "{} of {} connected clients seem to be {}, the gateway: Docker's proxy puts its own address in their place",
                lost.len(),
                lost.len() + known.len(),
                gateway.address
            ),
            "\"userland-proxy\": false in /etc/docker/daemon.json, network_mode: host, or a balancer in front that sends the PROXY protocol (`accept_proxy`)",
        )
    })
}

fn packets(facts: &Facts) -> Option<Finding> {
    const TOPIC: &str = "packets";
    let name = &facts.gateway.as_ref()?.interface;
    let out = facts.interfaces.iter().find(|interface| interface.name == *name)?;
    if out.mtu < MTU_LEAST {
        return Some(Finding::advice(
            TOPIC,
            format!("{name} sends packets of {} bytes, and IPv6 wants {MTU_LEAST}", out.mtu),
            format!("`ip link set {name} mtu {MTU_LEAST}`, where the network carries it"),
        ));
    }
    let larger = facts
        .interfaces
        .iter()
        .find(|interface| interface.mtu > out.mtu && BRIDGES.iter().any(|bridge| interface.name.starts_with(bridge)));
    let probes = facts.kernel.mtu_probing.is_some_and(|probing| probing > 0);
    Some(match larger {
        Some(bridge) if !probes => Finding::advice(
            TOPIC,
            format!(
                "{} takes packets of {} bytes, and {name} sends {}: large answers may hang",
                bridge.name, bridge.mtu, out.mtu
            ),
            format!("\"mtu\": {} in /etc/docker/daemon.json, or `sysctl -w net.ipv4.tcp_mtu_probing=1`", out.mtu),
        ),
        _ => Finding::ok(TOPIC, format!("{name} sends packets of {} bytes", out.mtu)),
    })
}

/// A strict filter drops answers that come by another interface than the one that packets would go out by.
fn ways_back(wants: &Wants, facts: &Facts) -> Option<Finding> {
    let pool = wants.pools.iter().find(|pool| pool.chooses_its_way)?;
    let strict = facts.kernel.rp_filter? == 1;
    Some(if strict {
        Finding::advice(
            "ways",
            format!(
                "pool {} chooses by which way backends are reached, and answers by another way are dropped (rp_filter = 1)",
                pool.pool
            ),
            "`sysctl -w net.ipv4.conf.all.rp_filter=2`, and in /etc/sysctl.d",
        )
    } else {
        Finding::ok("ways", "answers may come by any interface")
    })
}
