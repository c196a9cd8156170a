//! `--prove`: canary requests through every listener while something changes, and what became of them.
//!
//! A listener that speaks plain HTTP is asked, the others are connected to. What a canary is compared with is the one that
//! went first, before the change: a page that is not there stays as good a sign as any.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use evenkeel::admin::changes::DoneView;
use evenkeel::admin::view::{ListenerView, Overview};
use evenkeel::config::model::Site;
use evenkeel::net::connect::connect;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::Ending;
use super::client::AdminPort;
use super::form::Form;
use super::plan::PATIENCE;
use super::terminal::complain;

/// Pause between two canaries of a listener.
const PAUSE: Duration = Duration::from_millis(10);
/// A canary without an answer has failed after this long.
const LOST: Duration = Duration::from_secs(10);
/// How long the first canary of each listener is waited for.
const FIRST: Duration = Duration::from_secs(12);
/// How long canaries go on after the change.
const AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Proof {
    /// Send canary requests through every listener meanwhile, and say how many failed and how long nothing was answered
    #[arg(long)]
    prove: bool,
    /// What canaries ask for, by HEAD
    #[arg(long, value_name = "PATH", default_value = "/", requires = "prove", value_parser = whole_path)]
    canary_path: String,
    /// The host that they name [default: localhost]
    #[arg(long, value_name = "HOST", requires = "prove")]
    canary_host: Option<String>,
}

fn whole_path(text: &str) -> Result<String, String> {
    let path = text.parse::<hyper::Uri>().ok().filter(|uri| uri.path().starts_with('/') && uri.host().is_none());
    path.map(|_| text.to_owned()).ok_or_else(|| "write a path such as /health".to_owned())
}

/// What one listener's canaries met, at one address.
#[derive(Debug, Default)]
struct Met {
    listener: String,
    site: String,
    kind: &'static str,
    sent: u64,
    failures: Vec<(Instant, String)>,
    longest_gap: Duration,
}

/// Who sends them.
struct Canaries {
    stop: Arc<AtomicBool>,
    met: Vec<JoinHandle<Met>>,
}

/// What became of the canaries, where there were any.
pub(super) struct Proved(Option<Vec<Met>>);

impl Proof {
    /// Changes something, with canaries around it where they are wanted.
    pub(super) fn around<T>(
        &self,
        port: &AdminPort,
        change: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Proved)> {
        if !self.prove {
            return Ok((change()?, Proved(None)));
        }
        let before = listeners(port)?;
        let canaries = Canaries::send(self, port, &before)?;
        let begun = Instant::now();
        let done = change()?;
        let after = listeners(port)?;
        let is_new =
            |listener: &&ListenerView| !before.iter().any(|it| it.name == listener.name && it.binds == listener.binds);
        let further: Vec<ListenerView> = after.iter().filter(is_new).cloned().collect();
        let further = Canaries::send(self, port, &further)?;
        std::thread::park_timeout(AFTER);
        let mut met = canaries.end();
        for one in &mut met {
            if !after.iter().any(|it| it.binds.contains(&one.site)) {
                // It was given up on purpose.
                one.failures.retain(|(at, _)| *at < begun);
                one.listener.push_str(" (given up)");
            }
        }
        met.extend(further.end().into_iter().filter(|one| !before.iter().any(|it| it.binds.contains(&one.site))));
        Ok((done, Proved(Some(met))))
    }
}

fn listeners(port: &AdminPort) -> anyhow::Result<Vec<ListenerView>> {
    let body = port.ask(Method::GET, "/api/v1/pools", PATIENCE)?.good()?;
    let view: Overview = serde_json::from_str(&body).context("the answer is not what an evenkeel says")?;
    Ok(view.listeners.into_iter().filter(|listener| listener.protocol != "udp").collect())
}

impl Met {
    fn words(&self) -> String {
        let Self { listener, site, kind, sent, failures, longest_gap } = self;
        let gap = longest_gap.as_secs_f64() * 1000.0;
        format!(
            "canaries of {listener} at {site}: {sent} sent by {kind}, {} failed, longest gap {gap:.0} ms\n",
            failures.len()
        )
    }

    fn value(&self) -> Value {
        json!({
            "listener": &self.listener, "address": &self.site, "by": self.kind, "sent": self.sent,
            "failed": self.failures.len(), "first_failure": self.failures.first().map(|(_, why)| why),
            "longest_gap_seconds": self.longest_gap.as_secs_f64(),
        })
    }
}

impl Proved {
    /// Whether a canary failed.
    pub(super) fn has_failed(&self) -> bool {
        self.0.iter().flatten().any(|one| !one.failures.is_empty())
    }

    /// Says what was done, if it was, and what the canaries met; one that failed makes the ending bad.
    pub(super) fn said(&self, done: Option<&DoneView>, form: Form) -> anyhow::Result<Ending> {
        if let Some(done) = done {
            let mut value = serde_json::to_value(done)?;
            if let Some(met) = &self.0 {
                value["canaries"] = met.iter().map(Met::value).collect();
            }
            form.say(&value, || format!("{}\n", done.message.trim_end()))?;
        }
        for one in self.0.iter().flatten().filter(|_| form == Form::Words) {
            form.words(&one.words());
            if let Some((_, why)) = one.failures.first() {
                complain(&format!("the first that failed: {why}\n"));
            }
        }
        Ok(if done.is_some() && !self.has_failed() { Ending::Good } else { Ending::Bad })
    }
}

impl Canaries {
    /// Sends them to all of these, and waits until each has got through once.
    fn send(prove: &Proof, port: &AdminPort, listeners: &[ListenerView]) -> anyhow::Result<Self> {
        let (stop, waiting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut met = Vec::new();
        for (listener, bind) in listeners.iter().flat_map(|it| it.binds.iter().map(move |bind| (it, bind))) {
            let Some(site) = reachable(bind, port)? else { continue };
            let asks = listener.protocol == "http" && !listener.tls;
            let host = prove.canary_host.clone().unwrap_or_else(|| "localhost".to_owned());
            let canary = Canary { site, path: asks.then(|| prove.canary_path.clone()), host };
            let (stop, waiting) = (Arc::clone(&stop), Arc::clone(&waiting));
            waiting.fetch_add(1, SeqCst);
            let named = Met { listener: listener.name.clone(), site: bind.clone(), ..Met::default() };
            let back = std::thread::current();
            let send = move || {
                let first_is_through = move || {
                    waiting.fetch_sub(1, SeqCst);
                    back.unpark();
                };
                match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => runtime.block_on(canary.run(named, &stop, first_is_through)),
                    Err(_no_runtime) => named,
                }
            };
            met.push(std::thread::Builder::new().name("canary".into()).spawn(send)?);
        }
        let begun = Instant::now();
        while waiting.load(SeqCst) > 0 && begun.elapsed() < FIRST {
            std::thread::park_timeout(FIRST.saturating_sub(begun.elapsed()));
        }
        Ok(Self { stop, met })
    }

    fn end(self) -> Vec<Met> {
        self.stop.store(true, SeqCst);
        self.met.into_iter().filter_map(|one| one.join().ok()).collect()
    }
}

/// Where a listener can be reached from here: one that accepts at every address is asked at that of the admin port.
fn reachable(bind: &str, port: &AdminPort) -> anyhow::Result<Option<Site>> {
    if bind.starts_with("unix:") {
        return Ok(bind.parse().ok().map(Site::Unix));
    }
    let Ok(mut address) = bind.parse::<std::net::SocketAddr>() else { return Ok(None) };
    if address.ip().is_unspecified() {
        let of_admin = port.address()?.unwrap_or(if address.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST)
        });
        address.set_ip(of_admin);
    }
    Ok(Some(Site::Ip(address)))
}

/// One that is sent again and again.
struct Canary {
    site: Site,
    /// What is asked for; `None`: it only connects.
    path: Option<String>,
    host: String,
}

impl Canary {
    async fn run(mut self, mut met: Met, stop: &AtomicBool, first_is_through: impl FnOnce()) -> Met {
        let mut usual = self.fly().await;
        if usual.is_err() && self.path.take().is_some() {
            // It speaks something else, such as HTTP/2 alone, or wants to be introduced.
            usual = self.fly().await;
        }
        met.kind = if self.path.is_some() { "HEAD" } else { "connecting" };
        met.sent = 1;
        let mut last = Instant::now();
        if let Err(why) = &usual {
            met.failures.push((last, why.clone()));
        }
        first_is_through();
        while !stop.load(SeqCst) {
            sleep(PAUSE).await;
            met.sent += 1;
            let (gone, flight) = (Instant::now(), self.fly().await);
            let now = Instant::now();
            match (flight, &usual) {
                (Ok(status), Ok(usual)) if status >= 500 && *usual < 500 => {
                    met.failures.push((gone, format!("it was answered {status}, and before the change {usual}")));
                }
                (Ok(_), _) => {
                    met.longest_gap = met.longest_gap.max(now - last);
                    last = now;
                }
                (Err(why), _) => met.failures.push((gone, why)),
            }
        }
        met.longest_gap = met.longest_gap.max(last.elapsed());
        met
    }

    /// The status that it is answered; 0 where it only connects.
    async fn fly(&self) -> Result<u16, String> {
        let flight = async {
            let stream = connect(&self.site, LOST).await.map_err(|error| error.to_string())?;
            let Some(path) = &self.path else { return Ok(0) };
            let request = Request::builder().method(Method::HEAD).uri(path).header(HOST, &self.host);
            let request = request.header(CONNECTION, "close").body(Empty::<Bytes>::new());
            let request = request.map_err(|error| error.to_string())?;
            let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
            let driven = tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(|error| error.to_string());
            driven.abort();
            answer.map(|answer| answer.status().as_u16())
        };
        timeout(LOST, flight).await.unwrap_or_else(|_elapsed| Err(format!("no answer within {LOST:?}")))
    }
}
