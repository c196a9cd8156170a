//! Whether a request costs Evenkeel more when there is more to choose from.
//!
//! Two processes, a small and a large configuration, in turn. All work goes to one backend (`balance = "source"`, one
//! client), so that both have the same connections open: what differs is what is looked up in.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::json::spread;
use super::text::{cell, number};
use super::{Length, Section};
use crate::load::{Load, Pace};
use crate::origin::Origin;
use crate::peers::{Peer, Ports};
use crate::reload::address;
use crate::report::{Spread, table};
use crate::work::{Entry, KEEPALIVE};

/// What the large one may cost more.
const RATIO_MAX: f64 = 1.05;

/// Share of full speed at which both are measured.
const SHARE: f64 = 0.5;

pub const BACKENDS: [usize; 2] = [10, 10_000];
pub const ROUTES: [usize; 2] = [1, 10_000];

pub fn measure(origin: &Origin, length: Length) -> Result<Section, String> {
    let (rounds, time) = match length {
        Length::Full => (20, Duration::from_secs(1)),
        Length::Short => (5, Duration::from_millis(300)),
    };
    let mut rows = vec![["Evenkeel, CPU µs a request", "small", "large", "ratio"].map(str::to_owned).to_vec()];
    let (mut notes, mut values) = (String::new(), Vec::new());
    for (name, sizes) in [("backends", BACKENDS), ("routes", ROUTES)] {
        eprint!(".");
        let fault = |error: io::Error| format!("scale, {name}: {error}");
        let peers = match name {
            "backends" => [start(origin, sizes[0], 1)?, start(origin, sizes[1], 1)?],
            _ => [start(origin, 2, sizes[0])?, start(origin, 2, sizes[1])?],
        };
        let costs = costs(&peers, rounds, time).map_err(fault)?;
        let ratio = Spread::of(costs.iter().map(|[small, large]| large / small));
        let median = |at: usize| Spread::of(costs.iter().map(|costs| costs[at])).map(|spread| spread.median);
        rows.push(vec![
            format!("{} and {} {name}", sizes[0], sizes[1]),
            number(median(0), 2),
            number(median(1), 2),
            cell(ratio),
        ]);
        if ratio.is_some_and(|ratio| ratio.median > RATIO_MAX) {
            let _ = writeln!(notes, "scale: {} {name} cost more than 5 % more than {}", sizes[1], sizes[0]);
        }
        values.push(json!({ "of": name, "sizes": sizes, "micros": [median(0), median(1)], "ratio": spread(ratio) }));
    }
    Ok(Section { name: "scale", text: table(&rows), notes, json: Value::from(values) })
}

fn start(origin: &Origin, backends: usize, routes: usize) -> Result<Peer, String> {
    let ports = Ports::free();
    Peer::evenkeel(&config(&ports, origin.http, backends, routes), ports.http, ports.admin)
}

/// CPU of a request in microseconds, small and large, by round.
fn costs(peers: &[Peer; 2], rounds: usize, time: Duration) -> io::Result<Vec<[f64; 2]>> {
    let address = |peer: &Peer| peer.entry(Entry::Http).expect("Evenkeel speaks HTTP");
    let mut rate = f64::INFINITY;
    for peer in peers {
        let counts = Load::new(&KEEPALIVE, address(peer), HOST, Pace::Full)?.run(Duration::from_millis(300))?;
        rate = rate.min(counts.done as f64 / counts.seconds * SHARE);
    }
    let mut costs = Vec::new();
    for round in 0..rounds {
        let mut cost = [0.0; 2];
        for turn in 0..2 {
            let at = (turn + round) % 2;
            let mut load = Load::new(&KEEPALIVE, address(&peers[at]), HOST, Pace::PerSecond(rate))?;
            load.warm(Duration::from_millis(50))?;
            let before = peers[at].cpu();
            let counts = load.run(time)?;
            if let Some(failure) = counts.failure {
                return Err(io::Error::other(failure));
            }
            cost[at] = (peers[at].cpu() - before) as f64 / 1e3 / counts.done.max(1) as f64;
        }
        costs.push(cost);
    }
    Ok(costs)
}

/// The host that the last route is for.
pub const HOST: &str = "last.example";

/// So many backends in one pool, and so many routes to it, of which the last one is for [`HOST`]. Backends are up from
/// the start and seldom asked: what checks cost is not what is looked for.
pub fn config(ports: &Ports, origin: u16, backends: usize, routes: usize) -> String {
    let Ports { http, admin, .. } = ports;
    let mut text = format!(
        "workers = 1\n\n[admin]\nbind = \"{admin}\"\n\n[log]\naccess = \"off\"\nlevel = \"error\"\n\n\
         [listener.http]\nbind = \"{http}\"\npool = \"p\"\n"
    );
    for route in 1..routes {
        let _ = write!(text, "\n[[listener.http.route]]\nhost = \"h{route}.example\"\npool = \"p\"\n");
    }
    let _ = write!(text, "\n[[listener.http.route]]\nhost = \"{HOST}\"\npool = \"p\"\n");
    text += "\n[pool.p]\nbalance = \"source\"\nbackends = [\n";
    for backend in 0..backends {
        let _ = writeln!(text, "  \"{}:{origin}\",", address(backend));
    }
    text + "]\n\n[pool.p.check.port]\ntype = \"tcp\"\ninterval = \"1h\"\ntimeout = \"1s\"\ninitial = \"up\"\n"
}
