//! `failover`: how long a fallen backend stays in rotation, and what clients see while a leader moves.
//!
//! Three backends, checked once a second, under 500 GETs a second. The time counts from the signal to the moment at
//! which Evenkeel's own metric says that the backend is out of rotation; the metric is read every few milliseconds.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Options;
use crate::cpu;
use crate::leader::Republic;
use crate::load::{Counts, Load, Pace};
use crate::origin::Origin;
use crate::peers::{Peer, Ports};
use crate::report::Spread;
use crate::work::KEEPALIVE;

const BACKENDS: usize = 3;
/// Requests a second.
const RATE: f64 = 500.0;
/// A backend that is not out (or back) after this is a failure of the run.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a leader leads, and how long nobody does in between.
const REIGN: Duration = Duration::from_secs(5);
const INTERREGNUM: Duration = Duration::from_secs(1);

pub fn run(options: &Options) -> Result<(), String> {
    let rounds = options.rounds.unwrap_or(15);
    fallen("kill -9", Signal::KILL, rounds)?;
    fallen("SIGSTOP", Signal::STOP, rounds)?;
    moving_leader(rounds.min(10))
}

fn fallen(name: &str, signal: Signal, rounds: usize) -> Result<(), String> {
    let mut origins: Vec<Origin> = (0..BACKENDS).map(|_| Origin::start()).collect();
    let addresses: Vec<SocketAddr> =
        origins.iter().map(|origin| SocketAddr::from(([127, 0, 0, 1], origin.http))).collect();
    let check = "type = \"http\"\npath = \"/health\"\ninterval = \"1s\"\ntimeout = \"500ms\"\n";
    let (ports, peer) = start(&addresses, "", check)?;
    let (times, counts) = under_load(&peer, &ports, || {
        let mut times = Vec::new();
        for round in 0..rounds {
            let victim = round % BACKENDS;
            wait_for(&peer, victim, 1.0)?;
            std::thread::sleep(Duration::from_millis(1_300));
            signal_to(&origins[victim], signal)?;
            times.push(wait_for(&peer, victim, 0.0)?.as_secs_f64() * 1e3);
            if signal == Signal::KILL {
                origins[victim] = Origin::start_at(addresses[victim].port());
            } else {
                signal_to(&origins[victim], Signal::CONT)?;
            }
        }
        Ok(times)
    })?;
    let spread = Spread::of(times).ok_or("no round was made")?;
    println!(
        "{name}, {rounds} times: out of rotation after {:.0} ms [{:.0}-{:.0}] (median, least, most); {}",
        spread.median,
        spread.least,
        spread.most,
        seen(&counts)
    );
    Ok(())
}

fn moving_leader(moves: usize) -> Result<(), String> {
    let republic = Republic::new(BACKENDS).map_err(|error| error.to_string())?;
    // What a standby answers is not for clients: the request waits for who leads.
    let pool = "mode = \"leader\"\nno_leader = { hold = \"5s\" }\nretry.status = [503]\n";
    let check = "type = \"http\"\npath = \"/role\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\nrise = 1\nfall = 2\n\
                 status = { 200 = \"active\", 429 = \"standby\" }\n";
    let (ports, peer) = start(&republic.addresses, pool, check)?;
    let ((), counts) = under_load(&peer, &ports, || {
        for round in 1..=moves {
            std::thread::sleep(REIGN.saturating_sub(INTERREGNUM));
            republic.elect(None);
            std::thread::sleep(INTERREGNUM);
            republic.elect(Some(round % BACKENDS));
        }
        std::thread::sleep(REIGN);
        Ok(())
    })?;
    println!(
        "leader moves every {REIGN:?} ({moves} times, nobody leads for {INTERREGNUM:?} in between), held: {}",
        seen(&counts)
    );
    Ok(())
}

fn start(addresses: &[SocketAddr], pool: &str, check: &str) -> Result<(Ports, Peer), String> {
    let ports = Ports::free();
    let mut text = format!(
        "workers = 1\n\n[admin]\nbind = \"{}\"\n\n[log]\naccess = \"off\"\n\n[listener.web]\nbind = \"{}\"\npool = \"p\"\n\n\
         [pool.p]\n{pool}backends = [",
        ports.admin, ports.http
    );
    for (number, address) in addresses.iter().enumerate() {
        let _ = write!(text, "{{ name = \"b{number}\", address = \"{address}\" }}, ");
    }
    let _ = write!(text, "]\n\n[pool.p.check.it]\n{check}");
    let peer = Peer::evenkeel(&text, ports.http, ports.admin)?;
    Ok((ports, peer))
}

/// Runs `act` while requests come, and says what became of them.
fn under_load<T>(peer: &Peer, ports: &Ports, act: impl FnOnce() -> Result<T, String>) -> Result<(T, Counts), String> {
    let stop = AtomicBool::new(false);
    let address = ports.http;
    let (result, counts) = std::thread::scope(|scope| {
        let load = scope.spawn(|| -> std::io::Result<Counts> {
            cpu::pin(cpu::OF_LOAD);
            let mut load = Load::new(&KEEPALIVE, address, "web.example", Pace::PerSecond(RATE))?;
            load.run_until(Duration::from_hours(1), || stop.load(SeqCst))
        });
        let result = act();
        stop.store(true, SeqCst);
        (result, load.join().expect("the load does not panic"))
    });
    let counts = counts.map_err(|error| format!("load on {}: {error}", peer.name))?;
    Ok((result?, counts))
}

fn seen(counts: &Counts) -> String {
    let worst = counts.latency.micros(1.0 - 1e-9) / 1e3;
    let failure = counts.failure.as_ref().map(|failure| format!(", the first: {failure}")).unwrap_or_default();
    format!(
        "{} GETs, {} failed{failure}, p99 {:.0} ms, longest {worst:.0} ms",
        counts.done,
        counts.failed,
        counts.latency.micros(0.99) / 1e3
    )
}

fn signal_to(origin: &Origin, signal: Signal) -> Result<(), String> {
    let pid = i32::try_from(origin.pid()).ok().and_then(Pid::from_raw).ok_or("no such process")?;
    kill_process(pid, signal).map_err(|error| error.to_string())
}

/// How long it takes until the metric says so.
fn wait_for(peer: &Peer, backend: usize, wanted: f64) -> Result<Duration, String> {
    let start = Instant::now();
    let label = format!("backend=\"b{backend}\"");
    while (peer.metric("evenkeel_backend_up", &label) - wanted).abs() > 0.5 {
        if start.elapsed() > PATIENCE {
            return Err(format!("b{backend} has not become {wanted} within {PATIENCE:?}"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(start.elapsed())
}
