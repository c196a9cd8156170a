//! Vault: a cluster with one leader at most, whose health endpoint says everything by its status code.

use std::sync::{Arc, Mutex};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VaultNode {
    /// The leader.
    Active,
    /// Passes requests on to the leader.
    Standby,
    /// Of a cluster that is a copy of another one.
    DrSecondary,
    /// Answers reads itself.
    PerformanceStandby,
    /// A standby that cannot reach the leader.
    CutOff,
    /// Never set up.
    Uninitialised,
    /// Waits for its keys.
    Sealed,
    /// No member any more.
    Removed,
    /// Internal error.
    Broken,
}

impl VaultNode {
    /// The status code, and the parameter that names another one.
    pub fn code(self) -> (u16, &'static str) {
        match self {
            Self::Active => (200, "activecode"),
            Self::Standby => (429, "standbycode"),
            Self::DrSecondary => (472, "drsecondarycode"),
            Self::PerformanceStandby => (473, "performancestandbycode"),
            Self::CutOff => (474, "haunhealthycode"),
            Self::Uninitialised => (501, "uninitcode"),
            Self::Sealed => (503, "sealedcode"),
            Self::Removed => (530, "removedcode"),
            Self::Broken => (500, ""),
        }
    }
}

/// A cluster; node `i` answers with `vault-i`.
pub struct Vault {
    /// Their port 8200.
    pub nodes: Vec<Origin>,
    cluster: Arc<Cluster>,
}

struct Cluster {
    nodes: Mutex<Vec<VaultNode>>,
    /// `x_forwarded_for_authorized_addrs` is set: whoever comes without the header is refused.
    demands_forwarded_for: bool,
}

impl Vault {
    /// Nodes of which the first is the leader and the others are standbys.
    pub fn start(count: usize) -> Self {
        Self::with(count, false)
    }

    /// The same, told to trust `X-Forwarded-For` and to refuse whoever comes without it.
    pub fn that_demands_forwarded_for(count: usize) -> Self {
        Self::with(count, true)
    }

    fn with(count: usize, demands_forwarded_for: bool) -> Self {
        let mut nodes = vec![VaultNode::Standby; count];
        nodes[0] = VaultNode::Active;
        let cluster = Arc::new(Cluster { nodes: Mutex::new(nodes), demands_forwarded_for });
        let start = |number: usize| {
            let cluster = Arc::clone(&cluster);
            Origin::http().by(move |request| cluster.answer(number, request)).start()
        };
        Self { nodes: (0..count).map(start).collect(), cluster: Arc::clone(&cluster) }
    }

    /// Makes a node something.
    pub fn set(&self, node: usize, is: VaultNode) {
        self.cluster.nodes.lock().unwrap()[node] = is;
    }

    /// Elects a node; the leader before it is a standby from the same moment on.
    pub fn elect(&self, node: usize) {
        let mut nodes = self.cluster.nodes.lock().unwrap();
        step_down(&mut nodes);
        nodes[node] = VaultNode::Active;
    }

    /// The leader gives up; nobody leads.
    pub fn step_down(&self) {
        step_down(&mut self.cluster.nodes.lock().unwrap());
    }

    /// Requests at a node that were not about its health.
    pub fn work_at(&self, node: usize) -> usize {
        let node = &self.nodes[node];
        node.request_count() - node.requests_for("/v1/sys/health")
    }
}

fn step_down(nodes: &mut [VaultNode]) {
    for node in nodes.iter_mut().filter(|node| **node == VaultNode::Active) {
        *node = VaultNode::Standby;
    }
}

impl Cluster {
    fn answer(&self, number: usize, request: &Received) -> Script {
        let nodes = self.nodes.lock().unwrap();
        let (own, leader) = (nodes[number], nodes.iter().position(|node| *node == VaultNode::Active));
        if self.demands_forwarded_for && request.header("x-forwarded-for").is_none() {
            let why = "missing x-forwarded-for header and configured to reject when not present";
            return Origin::http().status(400).reply(why);
        }
        let reads = matches!(&*request.method, "GET" | "HEAD");
        match (request.path(), own) {
            ("/v1/sys/health", _) if !reads => Origin::http().status(405),
            ("/v1/sys/health", _) => health(own, request),
            ("/v1/sys/seal-status", _) => Origin::http().reply(format!("{{\"sealed\":{}}}", own == VaultNode::Sealed)),
            (_, VaultNode::Sealed) => Origin::http().status(503).reply("{\"errors\":[\"Vault is sealed\"]}"),
            (_, VaultNode::Active) => served_by(number),
            (_, VaultNode::PerformanceStandby) if reads => served_by(number),
            (_, VaultNode::Standby | VaultNode::PerformanceStandby) => match leader {
                Some(leader) if request.header("x-vault-no-request-forwarding").is_some() => {
                    Origin::http().status(307).header("Location", &format!("https://vault-{leader}{}", request.target))
                }
                Some(leader) => served_by(leader).header("X-Passed-On-By", &format!("vault-{number}")),
                None => Origin::http().status(503).reply("no active Vault instance found"),
            },
            _ => Origin::http().status(500).reply("node not active but active node not found"),
        }
    }
}

fn served_by(number: usize) -> Script {
    Origin::http().header("Cache-Control", "no-store").reply(format!("vault-{number}"))
}

fn health(own: VaultNode, request: &Received) -> Script {
    let (usual, parameter) = own.code();
    let active_code = || request.parameter("activecode").map_or(Ok(200), str::parse);
    let is_fine = |word: &str| matches!(request.parameter(word), Some("true" | "1"));
    let code = match own {
        VaultNode::Standby if is_fine("standbyok") => active_code(),
        VaultNode::PerformanceStandby if is_fine("perfstandbyok") => active_code(),
        _ => request.parameter(parameter).map_or(Ok(usual), str::parse),
    };
    let Ok(code) = code else { return Origin::http().status(400) };
    let sealed = matches!(own, VaultNode::Sealed | VaultNode::Uninitialised);
    let body = format!(
        "{{\"initialized\":{},\"sealed\":{sealed},\"standby\":{},\"version\":\"1.19.0\"}}",
        own != VaultNode::Uninitialised,
        own != VaultNode::Active,
    );
    Origin::http().status(code).header("Cache-Control", "no-store").reply(body)
}
