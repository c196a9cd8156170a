//! Patroni: `PostgreSQL` nodes, each with a port that says who leads.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresNode {
    /// Holds the leader lock.
    Primary,
    /// Follows the primary.
    Replica,
    /// `PostgreSQL` is down or starts; Patroni answers.
    Down,
}

/// A cluster. A client of node `i` is greeted with `postgres-i`.
pub struct Patroni {
    /// Their `PostgreSQL`.
    pub nodes: Vec<Origin>,
    /// Their port 8008, the same for all of them.
    pub rest: Vec<Origin>,
    states: Arc<Mutex<Vec<PostgresNode>>>,
}

impl Patroni {
    /// Nodes at these addresses; the first is the primary.
    pub fn start(ips: &[IpAddr]) -> Self {
        let mut states = vec![PostgresNode::Replica; ips.len()];
        states[0] = PostgresNode::Primary;
        let states = Arc::new(Mutex::new(states));
        let port = super::common_port(ips);
        let rest = |(number, ip): (usize, &IpAddr)| {
            let states = Arc::clone(&states);
            let state = move || states.lock().unwrap()[number];
            Origin::http().on(*ip).at_port(port).by(move |request| answer(state(), request)).start()
        };
        let node = |(number, ip): (usize, &IpAddr)| Origin::tcp_banner(format!("postgres-{number}")).on(*ip).start();
        Self {
            rest: ips.iter().enumerate().map(rest).collect(),
            nodes: ips.iter().enumerate().map(node).collect(),
            states,
        }
    }

    /// The port of every REST interface.
    pub fn rest_port(&self) -> u16 {
        self.rest[0].port()
    }

    /// Makes a node something.
    pub fn set(&self, node: usize, is: PostgresNode) {
        self.states.lock().unwrap()[node] = is;
    }
}

fn answer(state: PostgresNode, request: &Received) -> Script {
    let good = match request.path() {
        "/primary" | "/master" | "/leader" | "/read-write" | "/" => state == PostgresNode::Primary,
        "/replica" => state == PostgresNode::Replica,
        "/read-only" | "/health" | "/readiness" => state != PostgresNode::Down,
        "/liveness" | "/patroni" => true,
        _ => return Origin::http().status(404),
    };
    let role = if state == PostgresNode::Primary { "primary" } else { "replica" };
    let word = if state == PostgresNode::Down { "stopped" } else { "running" };
    let body = format!("{{\"state\": \"{word}\", \"role\": \"{role}\"}}");
    Origin::http().status(if good { 200 } else { 503 }).header("Content-Type", "application/json").reply(body)
}
