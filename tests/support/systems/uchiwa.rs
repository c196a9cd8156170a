//! Uchiwa: dashboards over several datacenters, with a health page that fails as soon as one of these does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::Origin;
use crate::support::origin::{Received, Script};

/// The datacenters that all dashboards look at.
#[derive(Clone)]
pub struct Datacenters(Arc<AtomicBool>);

impl Datacenters {
    /// All of them answer.
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    /// One of them does not.
    pub fn lose_one(&self) {
        self.0.store(false, SeqCst);
    }
}

/// One dashboard.
pub struct Uchiwa {
    /// Its port 3000.
    pub origin: Origin,
}

impl Uchiwa {
    /// One whose logins are signed with this key; the same key for all: logins are good everywhere.
    pub fn start(name: &str, key: &str, datacenters: &Datacenters) -> Self {
        let (name, key, datacenters) = (name.to_owned(), key.to_owned(), datacenters.clone());
        Self { origin: Origin::http().by(move |request| answer(&name, &key, &datacenters, request)).start() }
    }
}

fn answer(name: &str, key: &str, datacenters: &Datacenters, request: &Received) -> Script {
    let all_well = datacenters.0.load(SeqCst);
    let output = if all_well { "ok" } else { "Connection error. Is the Sensu API running?" };
    let sensu = format!("{{\"us-east-1\":{{\"output\":\"{output}\",\"status\":{}}}}}", if all_well { 0 } else { 2 });
    let status = if all_well { 200 } else { 503 };
    let token = format!("AuthenticationToken={key}");
    match request.path() {
        "/health/uchiwa" => Origin::http().reply("\"ok\""),
        "/health/sensu" => Origin::http().status(status).reply(sensu),
        path if path.starts_with("/health") => {
            Origin::http().status(status).reply(format!("{{\"sensu\":{sensu},\"uchiwa\":\"ok\"}}"))
        }
        "/login" => Origin::http().header("Set-Cookie", &format!("{token}; Path=/; HttpOnly")).reply(name),
        "/" => Origin::http().reply(name),
        _ if request.header("cookie") == Some(&token) => Origin::http().reply(name),
        _ => Origin::http().status(401),
    }
}
