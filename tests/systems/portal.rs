//! API Portal.

use crate::quick;
use crate::support::eventually::DEADLINE;
use crate::support::systems::{Portal, Sessions, addresses};
use crate::support::{Balancer, Client};

/// Two instances whose MySQL is not looked at.
fn instances(net: u8) -> (Portal, Portal, Balancer) {
    let (sessions, ips) = (Sessions::default(), addresses(net, 2));
    let (a, b) = (Portal::start("a", ips[0], &sessions), Portal::start("b", ips[1], &sessions));
    let more = format!("preset = 'api-portal'\nhealthy_when = 'apache'\n{}", quick("apache"));
    let balancer = Balancer::web(&[a.apache.addr(), b.apache.addr()], &more);
    (a, b, balancer)
}
