//! `probes`: what it costs to check ten thousand backends every two seconds.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::Options;
use crate::cpu;
use crate::origin::Origin;
use crate::peers::{Peer, Ports};
use crate::reload::address;

const POOLS: usize = 1_000;
const BACKENDS: usize = 10_000;

/// Two rounds of probes: the first one opens what stays, the second one settles.
const SETTLING: Duration = Duration::from_secs(5);

pub fn run(options: &Options) -> Result<(), String> {
    let time = Duration::from_secs_f64(options.seconds.unwrap_or(10.0));
    cpu::pin(cpu::OF_LOAD);
    for (name, check) in [("tcp", "type = \"tcp\""), ("http", "type = \"http\"\npath = \"/health\"")] {
        let origin = Origin::start();
        let ports = Ports::free();
        let peer = Peer::evenkeel(&config(&ports, &origin, check), ports.http, ports.admin)?;
        std::thread::sleep(SETTLING);
        let good = || peer.metric("evenkeel_backend_probes_total", "result=\"good\"");
        let (probes_before, probes_start) = (good(), Instant::now());
        let (before, origin_before, start) = (peer.cpu(), origin.cpu(), Instant::now());
        std::thread::sleep(time);
        let passed = start.elapsed().as_secs_f64() * 1e9;
        let (used, origin_used) = ((peer.cpu() - before) as f64, (origin.cpu() - origin_before) as f64);
        let memory = peer.resident_kib() / 1024;
        // A scrape of so many backends takes its time, in which probing goes on.
        let rate = (good() - probes_before) / probes_start.elapsed().as_secs_f64();
        println!(
            "{BACKENDS} backends, a {name} check every 2 s: {:.1} % of one CPU, {:.0} good probes/s, {:.1} µs each, {} MiB (origin {:.1} %)",
            used / passed * 100.0,
            rate,
            used / passed * 1e6 / rate,
            memory,
            origin_used / passed * 100.0,
        );
        let up = peer.metric("evenkeel_pool_backends_up", "") as usize;
        if up != BACKENDS {
            return Err(format!("{up} of {BACKENDS} backends are up"));
        }
    }
    Ok(())
}

fn config(ports: &Ports, origin: &Origin, check: &str) -> String {
    let Ports { http, admin, .. } = ports;
    let mut text = format!(
        "workers = 1\n\n[admin]\nbind = \"{admin}\"\n\n[log]\naccess = \"off\"\nlevel = \"error\"\n\n\
         [listener.http]\nbind = \"{http}\"\npool = \"p0\"\n"
    );
    for pool in 0..POOLS {
        let each = BACKENDS / POOLS;
        let addresses: Vec<String> =
            (0..each).map(|backend| format!("\"{}:{}\"", address(pool * each + backend), origin.http)).collect();
        let _ = write!(
            text,
            "\n[pool.p{pool}]\nbackends = [{}]\n\n[pool.p{pool}.check.it]\n{check}\ninterval = \"2s\"\ntimeout = \"1s\"\n",
            addresses.join(", ")
        );
    }
    text
}
