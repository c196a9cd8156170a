//! Traffic that runs while a test does something to the backends, and counts what became of each request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, Response};
use super::eventually::{DEADLINE, eventually};

/// Failures kept with their text.
const MAX_KEPT: usize = 100;

/// GETs in a closed loop on keep-alive connections, until stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Answers 200 to 299.
    pub good: u64,
    /// Everything else.
    pub failed: u64,
    /// The first failures, for people.
    pub failures: Vec<String>,
    /// Good answers by body.
    pub by_body: BTreeMap<String, u64>,
    /// The longest time to a good answer.
    pub slowest: Duration,
    /// Good answers to what was asked before this are forgotten.
    since: Option<Instant>,
}

impl Tally {
    /// Share of the good answers that had this body.
    pub fn share(&self, body: &str) -> f64 {
        self.by_body.get(body).copied().unwrap_or(0) as f64 / self.good.max(1) as f64
    }

    /// Panics unless all requests were good, and there were some.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert!(self.failed == 0, "{} of {} failed: {:#?}", self.failed, self.good + self.failed, self.failures);
        assert!(self.good > 0, "no request was made");
    }

    fn count(&mut self, result: &std::io::Result<Response>, asked: Instant) {
        let took = asked.elapsed();
        match result {
            Ok(response) if (200..300).contains(&response.status) && self.since.is_some_and(|since| asked < since) => {}
            Ok(response) if (200..300).contains(&response.status) => {
                self.good += 1;
                *self.by_body.entry(response.text()).or_default() += 1;
                self.slowest = self.slowest.max(took);
            }
            bad => {
                self.failed += 1;
                if self.failures.len() < MAX_KEPT {
                    self.failures.push(match bad {
                        Ok(response) => format!("{} {} after {took:?}", response.status, response.text()),
                        Err(error) => format!("{error} after {took:?}"),
                    });
                }
            }
        }
    }
}

impl Load {
    /// Starts `clients` loops of GET `path`. A connection that the balancer ends in order is opened anew.
    pub fn start(address: SocketAddr, path: &str, clients: usize) -> Self {
        Self::start_as(&address.to_string(), address, path, clients)
    }

    /// The same with a `Host` of the test's choice.
    pub fn start_as(host: &str, address: SocketAddr, path: &str, clients: usize) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let threads = (0..clients)
            .map(|_| {
                let (stop, done, tally, request) =
                    (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&tally), request.clone());
                std::thread::spawn(move || run(address, &request, &stop, &done, &tally))
            })
            .collect();
        Self { stop, done, tally, threads }
    }

    /// Waits until this many further requests have ended.
    #[track_caller]
    pub fn wait_for(&self, requests: u64) {
        let goal = self.done.load(SeqCst) + requests;
        eventually(&format!("{requests} further requests"), DEADLINE, || self.done.load(SeqCst) >= goal);
    }

    /// Forgets what has been asked so far, also what of it is answered only later.
    pub fn forget(&self) {
        *self.tally.lock().unwrap() = Tally { since: Some(Instant::now()), ..Tally::default() };
    }

    /// What has been counted so far.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Ends it; every request under way is waited for and counted.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a load thread does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(address: SocketAddr, request: &str, stop: &AtomicBool, done: &AtomicU64, tally: &Mutex<Tally>) {
    let mut kept: Option<Client> = None;
    while !stop.load(SeqCst) {
        let start = Instant::now();
        let result = kept.take().map_or_else(|| Client::try_connect(address), Ok).and_then(|mut client| {
            client.try_send(request)?;
            let response = client.try_read_final("GET")?;
            let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            kept = (!closes).then_some(client);
            Ok(response)
        });
        tally.lock().unwrap().count(&result, start);
        done.fetch_add(1, SeqCst);
    }
}
