//! `reload`: ten thousand backends in a thousand pools, reloaded again and again under traffic.
//!
//! The time counts from the start of `evenkeel reload` to its answer, which comes when the new configuration serves.
//! Every other reload changes a weight in each pool and adds a backend to each tenth.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::Options;
use crate::cpu;
use crate::load::{Counts, Load, Pace};
use crate::origin::Origin;
use crate::peers::{Peer, Ports, evenkeel_program};
use crate::report::Spread;
use crate::work::KEEPALIVE;

const POOLS: usize = 1_000;
const BACKENDS_PER_POOL: usize = 10;

/// Time for what the old configurations held to be given back.
const SETTLING: Duration = Duration::from_secs(5);

/// Requests a second while it reloads.
const RATE: f64 = 2_000.0;

pub fn run(options: &Options) -> Result<(), String> {
    let rounds = options.rounds.unwrap_or(10);
    let origin = Origin::start();
    let ports = Ports::free();
    let configs = [config(&ports, &origin, 0), config(&ports, &origin, 1)];
    let start = Instant::now();
    let peer = Peer::evenkeel(&configs[0], ports.http, ports.admin)?;
    println!("start with {} backends in {POOLS} pools: {:.0} ms", POOLS * BACKENDS_PER_POOL, millis(start.elapsed()));
    let idle_kib = peer.resident_kib();

    let stop = AtomicBool::new(false);
    let (times, counts) = std::thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&peer, &stop));
        let times: Result<Vec<f64>, String> = (1..=rounds).map(|round| reload(&peer, &configs[round % 2])).collect();
        stop.store(true, SeqCst);
        (times, traffic.join().expect("the traffic thread does not panic"))
    });
    let (times, counts) = (times?, counts.map_err(|error| format!("traffic: {error}"))?);
    let spread = Spread::of(times).ok_or("no reload was made")?;
    println!("reload, {rounds} times: median {:.0} ms [{:.0}-{:.0}]", spread.median, spread.least, spread.most);
    let own = peer.metric("evenkeel_config_last_reload_duration_seconds", "") * 1_000.0;
    println!("the last one by Evenkeel's own clock: {own:.0} ms");
    println!(
        "requests meanwhile: {} good, {} failed, p99 {:.0} µs, longest {:.0} µs",
        counts.done,
        counts.failed,
        counts.latency.micros(0.99),
        counts.latency.micros(1.0 - 1e-9)
    );
    let after_kib = peer.resident_kib();
    std::thread::sleep(SETTLING);
    let [idle, after, settled] = [idle_kib, after_kib, peer.resident_kib()].map(|kib| kib / 1024);
    println!("memory: {idle} MiB before, {after} MiB after, {settled} MiB {SETTLING:?} later");
    match counts.failure {
        Some(failure) => Err(format!("{} requests failed; the first: {failure}", counts.failed)),
        None => Ok(()),
    }
}

fn traffic(peer: &Peer, stop: &AtomicBool) -> std::io::Result<Counts> {
    cpu::pin(cpu::OF_LOAD);
    let address = peer.entry(KEEPALIVE.entry).expect("Evenkeel speaks HTTP");
    let mut load = Load::new(&KEEPALIVE, address, "pool7.example", Pace::PerSecond(RATE))?;
    load.run_until(Duration::from_hours(1), || stop.load(SeqCst))
}

fn reload(peer: &Peer, config: &str) -> Result<f64, String> {
    fs::write(peer.config_path(), config).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let output = Command::new(evenkeel_program())
        .args(["reload", "--admin", &format!("http://{}", peer.admin)])
        .output()
        .map_err(|error| error.to_string())?;
    let took = start.elapsed();
    if output.status.success() {
        return Ok(millis(took));
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("the reload was refused: {}", String::from_utf8_lossy(&said)))
}

fn config(ports: &Ports, origin: &Origin, change: usize) -> String {
    let Ports { http, admin, .. } = ports;
    let mut text = format!(
        "workers = 1\n\n[admin]\nbind = \"{admin}\"\n\n[log]\naccess = \"off\"\nlevel = \"error\"\n\n\
         [listener.http]\nbind = \"{http}\"\npool = \"p0\"\n"
    );
    for pool in 0..POOLS {
        let _ = write!(text, "\n[[listener.http.route]]\nhost = \"pool{pool}.example\"\npool = \"p{pool}\"\n");
    }
    for pool in 0..POOLS {
        let added = if pool.is_multiple_of(10) { change } else { 0 };
        let _ = write!(text, "\n[pool.p{pool}]\nbackends = [\n");
        for backend in 0..BACKENDS_PER_POOL + added {
            let address = address(pool * (BACKENDS_PER_POOL + 1) + backend);
            let weight = if backend == 3 { 1 + change } else { 1 };
            let _ = writeln!(text, "  {{ address = \"{address}:{}\", weight = {weight} }},", origin.http);
        }
        let _ = write!(text, "]\n\n[pool.p{pool}.check.port]\ntype = \"tcp\"\ninterval = \"10s\"\ntimeout = \"1s\"\n");
    }
    text
}

/// The loopback address of this number.
pub fn address(number: usize) -> std::net::Ipv4Addr {
    let [.., high, low] = (number as u32 + 256).to_be_bytes();
    std::net::Ipv4Addr::new(127, 0, high, low)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
