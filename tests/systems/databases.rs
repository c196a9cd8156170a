//! Databases behind roles: Galera by its nodes' own words, `PostgreSQL` by Patroni's.

use std::net::SocketAddr;

use crate::support::client::Ending;
use crate::support::eventually::DEADLINE;
use crate::support::mysql::{FakeMysql, Method, Script};
use crate::support::systems::{Patroni, PostgresNode, addresses};
use crate::support::{Balancer, Client, Origin, eventually};
use crate::wait_for;

const QUICK: &str = "interval = '200ms', timeout = '200ms', fast_interval = '50ms'";

/// A Galera node in this state (4 is synced, 2 a donor), which greets with its name.
fn node(name: &str, state: &str) -> Script {
    let script = Script::new().version(name).account("evenkeel", "secret", Method::Native);
    script.galera("ON", "Primary", state)
}

struct Galera {
    nodes: Vec<FakeMysql>,
    balancer: Balancer,
}

impl Galera {
    fn start() -> Self {
        let nodes: Vec<FakeMysql> = NAMES.iter().map(|name| FakeMysql::start(node(name, "4"))).collect();
        let backends: Vec<String> = nodes.iter().map(|node| format!("'{}'", node.addr())).collect();
        let backends = backends.join(", ");
        let check = format!("check.galera = {{ user = 'evenkeel', password = 'secret', {QUICK} }}");
        let balancer = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n\
             [listener.read]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'read'\n\
             [pool.p]\npreset = 'galera'\nbackends = [{backends}]\n{check}\n\
             [pool.read]\npreset = 'galera'\nmode = 'active-active'\nbackends = [{backends}]\n{check}\n",
        ));
        Self { nodes, balancer }
    }

    /// Which node a new session on this listener meets.
    fn meets(&self, listener: &str) -> String {
        name_of(&mut Client::connect(self.balancer.addr(listener)))
    }

    #[track_caller]
    fn writes_go_to(&self, name: &str) {
        eventually(&format!("writes go to {name}"), DEADLINE, || self.meets("web") == name);
    }
}

const NAMES: [&str; 3] = ["node-0", "node-1", "node-2"];

/// The version in a server's greeting: after the header and the version of the protocol.
fn name_of(session: &mut Client) -> String {
    let greeting = session.try_read_exact(5 + NAMES[0].len()).unwrap_or_default();
    String::from_utf8_lossy(greeting.get(5..).unwrap_or_default()).into_owned()
}

/// How a session ends, whatever the server says before.
fn end_of(session: &mut Client) -> Ending {
    loop {
        match session.ending(DEADLINE) {
            Ending::Data(_) => {}
            end => return end,
        }
    }
}

#[test]
fn writes_go_to_one_galera_node_and_stay_when_the_first_comes_back() {
    let galera = Galera::start();
    assert_eq!(galera.meets("web"), "node-0");
    let mut session = Client::connect(galera.balancer.addr("web"));
    assert_eq!(name_of(&mut session), "node-0");
    // A donor is out of the pool of writes, and of the pool of reads.
    galera.nodes[0].becomes(node("node-0", "2"));
    wait_for(&galera.balancer, galera.nodes[0].addr(), false);
    galera.writes_go_to("node-1");
    assert_eq!(end_of(&mut session), Ending::Reset);
    galera.nodes[0].becomes(node("node-0", "4"));
    wait_for(&galera.balancer, galera.nodes[0].addr(), true);
    for _ in 0..10 {
        assert_eq!(galera.meets("web"), "node-1");
    }
}

#[test]
fn reads_go_to_every_galera_node_that_is_synced() {
    let galera = Galera::start();
    galera.nodes[1].becomes(node("node-1", "3"));
    wait_for(&galera.balancer, galera.nodes[1].addr(), false);
    let met: Vec<String> = (0..20).map(|_| galera.meets("read")).collect();
    assert!(!met.contains(&"node-1".into()), "{met:?}");
    assert!(met.contains(&"node-0".into()) && met.contains(&"node-2".into()), "{met:?}");
}

#[test]
fn both_pools_ask_each_galera_node_once() {
    let galera = Galera::start();
    eventually("ten probes", DEADLINE, || galera.nodes[0].logins() >= 10);
    // No session of a client logs in here: every login is a probe, of which each pool counts the answer. One may be
    // under way.
    let logins = galera.nodes[0].logins() as f64;
    for pool in ["p", "read"] {
        let backend = galera.nodes[0].addr();
        let metric = format!("evenkeel_backend_probes_total{{pool={pool},backend={backend},result=good}}");
        let probes = galera.balancer.metric(&metric);
        assert!(logins <= probes + 1.0, "{logins} logins for {probes} probes of {pool}");
    }
    assert_eq!(galera.nodes[0].broken_handshakes(), 0);
}

fn postgres(cluster: &Patroni, more: &str) -> Balancer {
    let port = cluster.rest_port();
    let backends: Vec<SocketAddr> = cluster.nodes.iter().map(Origin::addr).collect();
    let backends: Vec<String> = backends.iter().map(|address| format!("'{address}'")).collect();
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n\
         [listener.read]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\nreads = 'standby'\n\
         [pool.p]\npreset = 'patroni'\nbackends = [{}]\n\
         check.role = {{ port = {port}, {QUICK} }}\ncheck.running = {{ port = {port}, {QUICK} }}\n{more}",
        backends.join(", ")
    ))
}

fn greeting(balancer: &Balancer, listener: &str) -> String {
    let greeting = Client::connect(balancer.addr(listener)).try_read_exact("postgres-0".len());
    String::from_utf8(greeting.unwrap_or_default()).unwrap()
}

#[test]
fn writes_follow_the_primary_and_reads_go_to_replicas() {
    let cluster = Patroni::start(&addresses(51, 3));
    let balancer = postgres(&cluster, "");
    assert_eq!(greeting(&balancer, "web"), "postgres-0");
    let read: Vec<String> = (0..20).map(|_| greeting(&balancer, "read")).collect();
    assert!(!read.contains(&"postgres-0".into()), "{read:?}");
    let mut session = Client::connect(balancer.addr("web"));
    session.read_exact("postgres-0".len());
    cluster.set(0, PostgresNode::Replica);
    cluster.set(2, PostgresNode::Primary);
    eventually("the next primary has the work", DEADLINE, || greeting(&balancer, "web") == "postgres-2");
    assert!(session.closed());
    cluster.set(1, PostgresNode::Down);
    wait_for(&balancer, cluster.nodes[1].addr(), false);
    assert_eq!(greeting(&balancer, "read"), "postgres-0");
}
