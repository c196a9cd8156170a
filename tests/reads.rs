//! `reads = "standby"`: a listener or a route whose work goes to those that do not lead, while there are any.

mod support;

use std::collections::BTreeSet;

use support::{Balancer, Client, Origin, eventually};

use support::eventually::DEADLINE;

/// Backends `0`, `1`, … of which the first leads; each answers with its number, and tells its role to the check.
struct Row {
    origins: Vec<Origin>,
    lb: Balancer,
}

fn script(number: usize, role: u16) -> support::origin::Script {
    Origin::http().reply(number.to_string()).at("/role", Origin::http().status(role))
}

impl Row {
    fn new(count: usize) -> Self {
        let role = |number| if number == 0 { 200 } else { 429 };
        let origins: Vec<Origin> = (0..count).map(|number| script(number, role(number)).start()).collect();
        let backends: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.addr())).collect();
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
             [[listener.web.route]]\npath = '/read'\npool = 'p'\nreads = 'standby'\n\
             [listener.reports]\nbind = '127.0.0.1:0'\npool = 'p'\nreads = 'standby'\n\
             [listener.raw]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\nreads = 'standby'\n\
             [pool.p]\nmode = 'leader'\nbackends = [{}]\n\
             [pool.p.check.role]\ntype = 'http'\npath = '/role'\ninterval = '50ms'\nrise = 1\nfall = 1\n\
             status = {{ 200 = 'active', 429 = 'standby' }}\n",
            backends.join(", ")
        ));
        lb.wait_for_up(count);
        Self { origins, lb }
    }

    /// Who answers at a listener, over a dozen requests of one connection and three of their own.
    fn served(&self, listener: &str, path: &str) -> String {
        let mut client = Client::connect(self.lb.addr(listener));
        let kept = (0..12).map(|_| client.get(path).text());
        let own = (0..3).map(|_| support::client::get(self.lb.addr(listener), path).text());
        kept.chain(own).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn comes_to(&self, listener: &str, path: &str, names: &str) {
        eventually(&format!("{listener} {path} is served by {names}"), DEADLINE, || {
            self.served(listener, path) == names
        });
    }

    fn becomes(&self, number: usize, role: u16) {
        self.origins[number].becomes(script(number, role));
    }
}

#[test]
fn reads_go_to_standbys_and_all_else_to_the_leader() {
    let row = Row::new(3);
    row.comes_to("web", "/", "0");
    assert_eq!(row.served("web", "/read"), "1 2", "by route");
    assert_eq!(row.served("web", "/read/more"), "1 2");
    assert_eq!(row.served("reports", "/"), "1 2", "by listener");
    assert_eq!(row.served("raw", "/"), "1 2", "and by bytes");
    assert_eq!(row.served("web", "/readers"), "0", "which is another path");
}

#[test]
fn reads_take_the_leader_where_there_is_no_standby() {
    let row = Row::new(2);
    row.comes_to("web", "/read", "1");
    row.origins[1].stop();
    row.comes_to("web", "/read", "0");
    assert_eq!(row.served("web", "/"), "0");
    row.origins[1].start_again();
    row.comes_to("web", "/read", "1");
}

#[test]
fn when_the_lead_moves_work_and_reads_change_places() {
    let row = Row::new(2);
    row.comes_to("web", "/", "0");
    row.becomes(0, 429);
    row.becomes(1, 200);
    row.comes_to("web", "/", "1");
    row.comes_to("web", "/read", "0");
}

#[test]
fn without_a_leader_reads_go_on() {
    let row = Row::new(2);
    row.comes_to("web", "/read", "1");
    row.becomes(0, 429);
    row.comes_to("web", "/read", "0 1");
    assert_eq!(row.lb.get("/").status, 503);
}
