//! Grafana: nodes that share one database, and with it their health.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// How long a node answers by what it last heard of its database.
const CACHED: Duration = Duration::from_secs(5);

/// The database that all nodes share.
#[derive(Clone)]
pub struct Database {
    works: Arc<AtomicBool>,
    cached: Duration,
}

impl Database {
    /// One that works; nodes look at it as often as the real ones do.
    pub fn new() -> Self {
        Self::looked_at_every(CACHED)
    }

    /// One that nodes look at so often.
    pub fn looked_at_every(cached: Duration) -> Self {
        Self { works: Arc::new(AtomicBool::new(true)), cached }
    }

    /// Stops answering.
    pub fn fail(&self) {
        self.works.store(false, SeqCst);
    }

    /// Answers again.
    pub fn recover(&self) {
        self.works.store(true, SeqCst);
    }
}

/// One node, which answers pages with its name.
pub struct Grafana {
    /// Its port 3000.
    pub origin: Origin,
}

impl Grafana {
    /// A node on this database.
    pub fn start(name: &str, database: &Database) -> Self {
        let (name, database, heard) = (name.to_owned(), database.clone(), Mutex::new(None));
        let judge = move |request: &Received| answer(&name, &database, &heard, request);
        Self { origin: Origin::http().by(judge).start() }
    }
}

fn answer(name: &str, database: &Database, heard: &Mutex<Option<(Instant, bool)>>, request: &Received) -> Script {
    let looks = matches!(&*request.method, "GET" | "HEAD");
    match request.path() {
        "/api/health" if looks => health(health_of(database, heard)),
        "/healthz" if looks => Origin::http().reply("Ok"),
        // Whoever opens a websocket, or is signed in, must come from a page of this very host.
        _ if is_foreign(request) => Origin::http().status(403).reply("origin not allowed"),
        _ if request.header("upgrade").is_some() => Origin::http().upgrade_echo(),
        path if path.starts_with("/public/") => Origin::http().reply(name),
        _ if !database.works.load(SeqCst) => Origin::http().status(500).reply("Internal server error"),
        _ => Origin::http().reply(name),
    }
}

fn health_of(database: &Database, heard: &Mutex<Option<(Instant, bool)>>) -> bool {
    let mut heard = heard.lock().unwrap();
    let fresh = heard.filter(|(at, _)| at.elapsed() < database.cached);
    let (at, works) = fresh.unwrap_or_else(|| (Instant::now(), database.works.load(SeqCst)));
    *heard = Some((at, works));
    works
}

fn health(works: bool) -> Script {
    let (status, word) = if works { (200, "ok") } else { (503, "failing") };
    let body = format!("{{\n  \"database\": \"{word}\",\n  \"version\": \"11.0.0\",\n  \"commit\": \"abc\"\n}}");
    Origin::http().status(status).header("Content-Type", "application/json; charset=UTF-8").reply(body)
}

fn is_foreign(request: &Received) -> bool {
    let harmless = matches!(&*request.method, "HEAD" | "OPTIONS" | "TRACE");
    let signed_in = request.header("cookie").is_some_and(|cookie| cookie.contains("grafana_session="));
    let asked = request.header("upgrade").is_some() || (signed_in && !harmless);
    let origin = request.header("origin").and_then(|origin| origin.split_once("//")).map(|(_, host)| host);
    asked && origin.is_some_and(|origin| Some(origin) != request.header("host"))
}
