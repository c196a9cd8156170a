//! Sensu's API: stateless, with a page that is fine to the last and another one that tells the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// One API.
pub struct SensuApi {
    /// Its port 4567.
    pub origin: Origin,
    connected: Arc<AtomicBool>,
}

impl SensuApi {
    /// One with Redis and transport.
    pub fn start(name: &str) -> Self {
        let connected = Arc::new(AtomicBool::new(true));
        let (name, seen) = (name.to_owned(), Arc::clone(&connected));
        let judge = move |request: &Received| answer(&name, seen.load(SeqCst), request);
        Self { origin: Origin::http().by(judge).start(), connected }
    }

    /// Loses Redis; the process goes on.
    pub fn lose_redis(&self) {
        self.connected.store(false, SeqCst);
    }

    /// Has it back.
    pub fn find_redis(&self) {
        self.connected.store(true, SeqCst);
    }
}

/// Every answer of the real one ends its connection.
fn answer(name: &str, connected: bool, request: &Received) -> Script {
    let script = match request.path() {
        "/health" if connected => Origin::http().status(204),
        "/health" => Origin::http().status(412).reply("[\"not connected to redis\"]"),
        "/info" => Origin::http().reply(format!("{{\"redis\":{{\"connected\":{connected}}}}}")),
        _ if !connected => Origin::http().status(500).reply("{\"error\":\"not connected to redis\"}"),
        _ => Origin::http().reply(name),
    };
    script.header("Connection", "close").keep_alive_then_closes_silently()
}
