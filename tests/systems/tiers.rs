//! A balancer in front of balancers: an outer one for all datacenters, an inner one in each.

use std::net::{IpAddr, SocketAddr};

use crate::support::systems::{addresses, common_port};
use crate::support::{Balancer, Load, Origin};
use crate::{MANY, assert_even};

const QUICK: &str = "interval = '200ms', timeout = '200ms', fast_interval = '50ms'";

/// The inner balancer of a datacenter with two instances. Its admin port says whether its pool can serve.
struct Datacenter {
    instances: [Origin; 2],
    inner: Balancer,
}

impl Datacenter {
    fn start(name: &str, ip: IpAddr, admin: u16) -> Self {
        let instances = [0, 1].map(|_| Origin::http().reply(name).start());
        let inner = Balancer::start(&format!(
            "[admin]\nbind = '{}'\n[listener.web]\nbind = '{ip}:0'\npool = 'p'\n\
             [pool.p]\nbackends = ['{}', '{}']\ncheck.port = {{ type = 'tcp', {QUICK} }}\n",
            SocketAddr::new(ip, admin),
            instances[0].addr(),
            instances[1].addr(),
        ));
        Self { instances, inner }
    }
}

#[test]
fn a_datacenter_whose_instances_are_all_down_gets_nothing_and_no_get_fails() {
    let ips = addresses(71, 2);
    let admin = common_port(&ips);
    let centers = [0, 1].map(|at| Datacenter::start(["dc-a", "dc-b"][at], ips[at], admin));
    let at = [0, 1].map(|at| centers[at].inner.addr("web"));
    let check = format!("check.able = {{ type = 'http', path = '/readyz?pool=p', port = {admin}, {QUICK} }}\n");
    // An inner balancer that knows before the outer one answers 503 itself.
    let outer = Balancer::web(&at, &format!("{check}retry = {{ status = [503] }}\n"));
    let load = Load::start(outer.addr("web"), "/", 4);
    assert_even(&load, &["dc-a", "dc-b"]);
    centers[0].instances[0].stop();
    centers[0].inner.wait_for_up(1);
    // One of two is enough: the datacenter stays.
    assert_even(&load, &["dc-a", "dc-b"]);
    centers[0].instances[1].stop();
    outer.wait_for_up(1);
    let before = centers[0].inner.metric("evenkeel_listener_connections_total{listener=web}");
    load.wait_for(MANY / 4);
    load.forget();
    load.wait_for(MANY / 4);
    assert!((load.so_far().share("dc-b") - 1.0).abs() < f64::EPSILON, "{:?}", load.so_far());
    let after = centers[0].inner.metric("evenkeel_listener_connections_total{listener=web}");
    assert!(after <= before + 1.0, "{} connections more", after - before);
    centers[0].instances[0].start_again();
    outer.wait_for_up(2);
    assert_even(&load, &["dc-a", "dc-b"]);
    load.stop().assert_none_failed();
}
