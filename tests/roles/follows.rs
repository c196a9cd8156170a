//! `follows`: a second port of the same backends does what the first one does, without any check of its own.

use crate::QUICK;
use crate::support::client::{self, Ending};
use crate::support::eventually::DEADLINE;
use crate::support::systems::{addresses, common_port};
use crate::support::{Balancer, Origin, eventually};

/// Two machines, each with a service and something beside it at another port.
struct Machines {
    services: Vec<Origin>,
    beside: Vec<Origin>,
    lb: Balancer,
}

impl Machines {
    fn new(net: u8, keys: &str) -> Self {
        let ips = addresses(net, 2);
        let port = common_port(&ips);
        let socket = || Origin::http().upgrade_echo();
        let at = |kind: &str, number: usize| Origin::http().reply(format!("{kind}{number}")).at("/socket", socket());
        // First, or the system could give the common port to somebody else.
        let beside = (0..2).map(|number| at("beside", number).on(ips[number]).at_port(port).start()).collect();
        let services: Vec<Origin> = (0..2).map(|number| at("service", number).on(ips[number]).start()).collect();
        let backend = |number: usize| format!("{{ name = 'b{number}', address = '{}' }}", services[number].addr());
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
             [listener.beside]\nbind = '127.0.0.1:0'\npool = 'beside'\n\
             [pool.beside]\nfollows = 'p'\nport = {port}\n\
             [pool.p]\nmode = 'active-standby'\nbackends = [{}, {}]\n{keys}\n\
             check.page = {{ type = 'http', path = '/page', {QUICK} }}\n",
            backend(0),
            backend(1),
        ));
        Self { services, beside, lb }
    }

    #[track_caller]
    fn both_at(&self, number: usize) {
        let asks = |listener: &str| client::get(self.lb.addr(listener), "/").text();
        let wanted = (format!("service{number}"), format!("beside{number}"));
        eventually(&format!("both are at {number}"), DEADLINE, || (asks("web"), asks("beside")) == wanted);
    }
}

#[test]
fn the_second_port_fails_over_and_back_with_the_first() {
    let machines = Machines::new(61, "failback = 'at once'\non_role_loss = 'close'\n");
    machines.both_at(0);
    let mut session = client::websocket(machines.lb.addr("beside"), "/socket");
    assert!(session.echoes("hello"));
    machines.services[0].stop();
    machines.both_at(1);
    assert_eq!(session.ending(DEADLINE), Ending::Reset, "its own port is well, but the role is lost");
    machines.services[0].start_again();
    machines.both_at(0);
    assert!(machines.beside.iter().all(|origin| origin.requests_for("/page") == 0), "it is not asked");
}

#[test]
fn the_second_port_obeys_the_same_orders() {
    let machines = Machines::new(62, "failback = 'never'\n");
    machines.both_at(0);
    machines.lb.order(&["promote", "p", "b1"]);
    machines.both_at(1);
    machines.lb.order(&["drain", "p/b1"]);
    machines.both_at(0);
}

#[test]
fn the_second_port_tells_the_same_active_one() {
    let machines = Machines::new(63, "failback = 'never'\n");
    machines.both_at(0);
    for (number, name) in ["b0", "b1"].into_iter().enumerate() {
        machines.lb.order(&["promote", "p", name]);
        machines.both_at(number);
        let leads = format!("evenkeel_pool_leader{{pool=\"beside\",backend=\"{name}\"}} 1\n");
        assert!(machines.lb.metrics().contains(&leads), "no {leads}");
        let told = client::get(machines.lb.admin(), "/api/v1/pools/beside").text();
        assert!(told.contains(&format!("\"active\":\"{name}\"")), "{told}");
    }
}
