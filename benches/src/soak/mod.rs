//! `soak`: mixed traffic for a long time, through reloads and backends that are killed and stopped.
//!
//! Ends well when every failure is explained by the fall of the backend that the work was on, and neither memory nor
//! descriptors have grown. GETs are never excused before their answer begins: they can go elsewhere.

mod backend;
mod clients;
mod config;
mod tally;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Options;
use crate::peers::evenkeel_program;
use crate::tls;
use config::{Features, Places, config};
use tally::Tally;

pub use backend::run as backend;

const BACKENDS: usize = 3;
/// What is mended before the next fault, and how long a fault lasts.
const BETWEEN: Duration = Duration::from_secs(5);
const FAULT: Duration = Duration::from_secs(3);
/// Memory may move by so much between the second fifth of the time and the last.
const GROWTH: f64 = 1.10;
const GROWTH_KIB: f64 = 4096.0;
/// After the load, until idle connections and what reloads left are gone.
const SETTLING: Duration = Duration::from_secs(12);

const WEBSOCKET: &str = "GET /socket HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub fn run(options: &Options) -> Result<(), String> {
    let length = Duration::from_secs_f64(options.seconds.unwrap_or(1200.0));
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    tls::certificate(folder.path(), "soak")?;
    let places = Places::free()?;
    let features = Features::of(folder.path(), &places);
    println!("{} for {length:?}; h2: {}, udp: {}", evenkeel_program().display(), features.h2, features.udp);
    let mut backends: Vec<Backend> =
        places.backends.iter().map(|port| Backend::start(*port)).collect::<Result<_, _>>()?;
    let mut balancer = Balancer::start(folder.path(), &places, &features)?;
    let tally = Tally::default();
    let begun = Instant::now();
    let (kinds, samples) = std::thread::scope(|scope| {
        let kinds = traffic(scope, &places, &features, &tally);
        let samples = weather(&mut balancer, &mut backends, &places, &features, &tally, begun, length);
        tally.end();
        (kinds, samples)
    });
    let samples = samples?;
    std::thread::sleep(SETTLING);
    let settled = balancer.sample(begun);
    judge(&mut balancer, &tally, &kinds, &samples, settled)
}

/// Starts all clients; gives the kinds of their work.
fn traffic<'s>(
    scope: &'s std::thread::Scope<'s, '_>,
    places: &'s Places,
    features: &Features,
    tally: &'s Tally,
) -> Vec<&'static str> {
    let (http, tls, tcp) = (places.http, places.tls, places.tcp);
    for _ in 0..6 {
        scope.spawn(move || clients::gets("get, kept", http, "/bytes/1000", usize::MAX, tally));
    }
    for _ in 0..2 {
        scope.spawn(move || clients::gets("get, new connection", http, "/bytes/300", 1, tally));
        scope.spawn(move || clients::gets("download", http, "/bytes/3000000", 20, tally));
        scope.spawn(move || clients::uploads("upload", http, tally));
    }
    scope.spawn(move || clients::gets("own answer", http, "/own", 50, tally));
    for length in [1, 4, 30].map(Duration::from_secs) {
        scope.spawn(move || clients::sessions("websocket", http, Some(WEBSOCKET), length, tally));
        scope.spawn(move || clients::sessions("tcp session", tcp, None, length, tally));
    }
    scope.spawn(move || clients::curls("tls, HTTP/1.1", tls, "--http1.1", "1.1", tally));
    let mut kinds = vec![
        "get, kept",
        "get, new connection",
        "download",
        "upload",
        "own answer",
        "websocket",
        "tcp session",
        "tls, HTTP/1.1",
    ];
    if features.h2 {
        scope.spawn(move || clients::curls("tls, HTTP/2", tls, "--http2", "2", tally));
        kinds.push("tls, HTTP/2");
    }
    if features.udp {
        let udp = places.udp;
        scope.spawn(move || clients::datagrams("udp", udp, tally));
        kinds.push("udp");
    }
    kinds
}

/// Faults and reloads in turn, and a look at the process every few seconds, until the time is over.
fn weather(
    balancer: &mut Balancer,
    backends: &mut [Backend],
    places: &Places,
    features: &Features,
    tally: &Tally,
    begun: Instant,
    length: Duration,
) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    let mut round = 0;
    while begun.elapsed() < length {
        std::thread::sleep(BETWEEN);
        let victim = round / 2 % BACKENDS;
        balancer.reload(&config(places, features, round))?;
        tally.fault_begins();
        if round % 2 == 0 {
            backends[victim].kill();
        } else {
            backends[victim].signal(Signal::STOP);
        }
        std::thread::sleep(FAULT / 2);
        balancer.reload(&config(places, features, round + 1))?;
        balancer.turn_log_over(round);
        std::thread::sleep(FAULT / 2);
        if round % 2 == 0 {
            backends[victim] = Backend::start(places.backends[victim])?;
        } else {
            backends[victim].signal(Signal::CONT);
        }
        tally.fault_ends();
        let sample = balancer.sample(begun);
        println!("{sample}");
        samples.push(sample);
        if balancer.has_ended() {
            return Err(format!("the balancer has ended\n{}", balancer.said()));
        }
        round += 1;
    }
    Ok(samples)
}

fn judge(
    balancer: &mut Balancer,
    tally: &Tally,
    kinds: &[&'static str],
    samples: &[Sample],
    settled: Sample,
) -> Result<(), String> {
    println!("settled: {settled}");
    let unexplained = tally.print();
    let mut faults = Vec::new();
    if unexplained > 0 {
        faults.push(format!("{unexplained} failures that nothing explains"));
    }
    for kind in tally.idle(kinds) {
        faults.push(format!("{kind}: never done"));
    }
    let fifth = (samples.len() / 5).max(1);
    let of = |part: &[Sample], what: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = part.iter().map(what).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or(0) as f64
    };
    let early = samples.get(fifth..2 * fifth).unwrap_or(samples);
    let late = samples.get(samples.len().saturating_sub(fifth)..).unwrap_or(samples);
    let (before, after) = (of(early, |it| it.resident_kib), of(late, |it| it.resident_kib));
    println!("memory: {before:.0} KiB in the second fifth, {after:.0} KiB in the last");
    if after > before * GROWTH + GROWTH_KIB {
        faults.push(format!("memory has grown from {before:.0} to {after:.0} KiB"));
    }
    let first = balancer.first.descriptors;
    if settled.descriptors > first + 8 {
        faults.push(format!("{} descriptors are open, {first} were at the start", settled.descriptors));
    }
    let said = balancer.said();
    let panics = said.lines().filter(|line| line.contains("panic") || line.contains("ERROR")).count();
    if panics > 0 {
        faults.push(format!("the event log has {panics} errors:\n{said}"));
    }
    if balancer.has_ended() {
        faults.push("the balancer has ended".into());
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

// === what runs ===

/// A look at the process.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    resident_kib: u64,
    descriptors: usize,
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>6.0} s {:>8} KiB {:>5} descriptors", self.at.as_secs_f64(), self.resident_kib, self.descriptors)
    }
}

struct Balancer {
    child: Child,
    folder: PathBuf,
    admin: SocketAddr,
    first: Sample,
}

impl Balancer {
    fn start(folder: &Path, places: &Places, features: &Features) -> Result<Self, String> {
        let file = folder.join("evenkeel.toml");
        fs::write(&file, config(places, features, 0)).map_err(|error| error.to_string())?;
        let log = fs::File::create(folder.join("events")).map_err(|error| error.to_string())?;
        let child = Command::new(evenkeel_program())
            .arg("run")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let first = Sample { at: Duration::ZERO, resident_kib: 0, descriptors: 0 };
        let mut balancer = Self { child, folder: folder.to_owned(), admin: places.admin, first };
        let begun = Instant::now();
        while !Command::new(evenkeel_program())
            .args(["health", "--admin", &format!("http://{}", places.admin)])
            .output()
            .is_ok_and(|output| output.status.success())
        {
            if begun.elapsed() > Duration::from_secs(15) || balancer.has_ended() {
                return Err(format!("it does not start\n{}", balancer.said()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        balancer.first = balancer.sample(begun);
        Ok(balancer)
    }

    fn reload(&self, config: &str) -> Result<(), String> {
        fs::write(self.folder.join("evenkeel.toml"), config).map_err(|error| error.to_string())?;
        let output = Command::new(evenkeel_program())
            .args(["reload", "--admin", &format!("http://{}", self.admin)])
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(()) } else { Err(format!("a reload was refused: {said}")) }
    }

    /// As logrotate does it; only the last one is kept.
    fn turn_log_over(&self, round: usize) {
        let _ = fs::rename(self.folder.join("access.log"), self.folder.join("access.log.1"));
        if round.is_multiple_of(2) {
            let _ = kill_process(pid(&self.child), Signal::USR1);
        }
    }

    fn sample(&self, begun: Instant) -> Sample {
        let process = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let resident_kib = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        let descriptors = fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
        Sample { at: begun.elapsed(), resident_kib, descriptors }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("events")).unwrap_or_default()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Backend(Child);

impl Backend {
    fn start(port: u16) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(program)
            .args(["soak-backend", &port.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        Ok(Self(child))
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process(pid(&self.0), signal);
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}
