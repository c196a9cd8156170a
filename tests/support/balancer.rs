//! The balancer in this very process, with the configuration that stands in the test.
//!
//! ```ignore
//! let a = Origin::http().reply("a").start();
//! let lb = Balancer::start(&format!("[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['{}']", a.addr()));
//! assert_eq!(client::get(lb.addr("web"), "/").text(), "a");
//! ```
//! Where the text says nothing of them, there is one worker (so that turns can be counted) and an admin port of the
//! system's choice. Dropping it stops it at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use evenkeel::admin::view::PoolView;
use evenkeel::config::model::Site;
use evenkeel::config::{self, Color, Source};
use evenkeel::server::{Loaded, Loader, Server, Signals};

use super::client::{self, Client, Response};
use super::eventually::{DEADLINE, eventually, eventually_some};
use super::process;

/// A running balancer.
pub struct Balancer {
    server: Option<Server>,
    text: Arc<Mutex<String>>,
    admin: SocketAddr,
}

impl Balancer {
    /// Starts with `config` and waits until every backend has a verdict.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        let text = Arc::new(Mutex::new(complete(config)));
        let read = Arc::clone(&text);
        let loader: Loader = Arc::new(move || {
            let text = read.lock().unwrap().clone();
            let loaded = config::load(&Source::text(text)).map_err(|problems| problems.render(Color::Plain, ""))?;
            Ok(Loaded { warnings: String::new(), ..Loaded::of(loaded) })
        });
        let server = Server::start(loader, Signals::Ignore).unwrap_or_else(|error| panic!("{error}"));
        let admin = server.admin.as_ref().and_then(Site::ip).expect("the configuration has an admin port");
        let balancer = Self { server: Some(server), text, admin };
        eventually_some("the balancer is ready", DEADLINE, || {
            client::try_get(admin, "/readyz").ok().filter(|response| response.status == 200)
        });
        balancer
    }

    /// One HTTP listener `web` on one pool `p` of these backends. `rest`: further keys of the pool, then tables.
    #[track_caller]
    pub fn web(backends: &[SocketAddr], rest: &str) -> Self {
        Self::start(&one_listener("http", backends, rest))
    }

    /// The same with bytes instead of HTTP.
    #[track_caller]
    pub fn tcp(backends: &[SocketAddr], rest: &str) -> Self {
        Self::start(&one_listener("tcp", backends, rest))
    }

    /// Where a listener accepts.
    #[track_caller]
    pub fn addr(&self, listener: &str) -> SocketAddr {
        let server = self.server.as_ref().expect("it runs until it is dropped");
        let found = server.addresses.iter().find(|(name, _)| &**name == listener);
        found.and_then(|(_, site)| site.ip()).unwrap_or_else(|| panic!("no listener `{listener}` with an address"))
    }

    /// Where the admin port is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// A connection to the listener `web`.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.addr("web"))
    }

    /// A GET to the listener `web` on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        client::get(self.addr("web"), path)
    }

    /// Has another configuration loaded; its answer.
    #[track_caller]
    pub fn reload(&self, config: &str) -> Response {
        *self.text.lock().unwrap() = complete(config);
        client::try_request(
            self.admin,
            &format!(
                "POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\
                 X-Evenkeel-Request: 1\r\nConnection: close\r\n\r\n",
                self.admin
            ),
        )
        .expect("the admin port answers")
    }

    /// The pool `p` as the API shows it.
    #[track_caller]
    pub fn pool(&self) -> PoolView {
        let answer = client::get(self.admin, "/api/v1/pools/p");
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
    }

    /// Waits until this backend of the pool `p` is the active one; `None`: until nobody is.
    #[track_caller]
    pub fn is_active(&self, backend: Option<&str>) {
        eventually(&format!("{backend:?} is the active one"), DEADLINE, || self.pool().active.as_deref() == backend);
    }

    /// Waits until the pool `p` has one alarm, with these words in it; `None`: until it has none.
    #[track_caller]
    pub fn alarm(&self, words: Option<&str>) {
        eventually(&format!("the alarm is {words:?}"), DEADLINE, || match (&self.pool().alarms[..], words) {
            ([], None) => true,
            ([alarm], Some(words)) => alarm.contains(words),
            _ => false,
        });
    }

    /// Has the program's own command give an order, such as `["promote", "p", "a"]`.
    #[track_caller]
    pub fn order(&self, arguments: &[&str]) {
        let ran = process::run(&[arguments, &["--admin", &self.admin.to_string(), "--owner", "test"]].concat());
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// All metrics as text.
    #[track_caller]
    pub fn metrics(&self) -> String {
        client::get(self.admin, "/metrics").text()
    }

    /// A metric, by its name with its labels in any order; 0 where it is missing.
    #[track_caller]
    pub fn metric(&self, name_and_labels: &str) -> f64 {
        let metrics = self.metrics();
        let wanted = parts(name_and_labels);
        let mut values = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let value = values.find(|(name, _)| parts(name) == wanted);
        value.map_or(0.0, |(_, value)| value.trim().parse().expect("a metric is a number"))
    }

    /// Waits until a metric has this value, a whole number: counts follow the answer by a moment.
    #[track_caller]
    pub fn counts(&self, name_and_labels: &str, value: f64) {
        let mut last = f64::NAN;
        let deadline = std::time::Instant::now() + DEADLINE;
        while std::time::Instant::now() < deadline {
            last = self.metric(name_and_labels);
            if (last - value).abs() < 0.5 {
                return;
            }
        }
        panic!("{name_and_labels} is {last}, not {value}");
    }

    /// Waits until the listener `web` has refused so many requests for this reason.
    #[track_caller]
    pub fn rejected(&self, reason: &str, count: u32) {
        self.counts(&format!("evenkeel_listener_rejected_total{{listener=web,reason={reason}}}"), count.into());
    }

    /// Waits until so many requests or connections of the pool `p` have failed by this cause.
    #[track_caller]
    pub fn failed(&self, cause: &str, count: u32) {
        self.counts(&format!("evenkeel_pool_failed_total{{pool=p,cause={cause}}}"), count.into());
    }

    /// Waits until so many backends of the pool `p` are up.
    #[track_caller]
    pub fn wait_for_up(&self, backends: usize) {
        self.counts("evenkeel_pool_backends_up{pool=p}", backends as f64);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            // The second one cuts what is still open.
            server.stop();
            server.stop();
            server.wait();
        }
    }
}

fn one_listener(protocol: &str, backends: &[SocketAddr], rest: &str) -> String {
    let backends: Vec<String> = backends.iter().map(|address| format!("'{address}'")).collect();
    // Keys of the pool first, then tables.
    let tables = if rest.starts_with('[') { Some(0) } else { rest.find("\n[").map(|end| end + 1) };
    let (pool, tables) = rest.split_at(tables.unwrap_or(rest.len()));
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = '{protocol}'\npool = 'p'\n\
         [pool.p]\nbackends = [{}]\n{pool}\n{tables}",
        backends.join(", ")
    )
}

/// Name and labels, for comparing: quotes left out, in one order.
fn parts(name_and_labels: &str) -> Vec<String> {
    let mut parts: Vec<String> = name_and_labels
        .split(['{', '}', ','])
        .map(|part| part.replace('"', ""))
        .filter(|part| !part.is_empty())
        .collect();
    parts.sort_unstable();
    parts
}

fn complete(config: &str) -> String {
    let workers = if config.contains("workers =") { "" } else { "workers = 1\n" };
    let admin = if config.contains("[admin]") { "" } else { "\n[admin]\nbind = \"127.0.0.1:0\"\n" };
    format!("{workers}{config}{admin}")
}
