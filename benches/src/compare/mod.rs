//! `compare`: CPU per unit of work of Evenkeel and its peers, interleaved, with a control.
//!
//! The first peer runs twice, as two processes: what the second differs by from the first is what this machine makes
//! up. A kind of work whose control moved by more than [`CONTROL_MAX`] is called unreadable.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Options;
use crate::cpu::{self, Steal};
use crate::load::{Counts, Load, Pace};
use crate::origin::Origin;
use crate::peers::Peer;
use crate::report::{Spread, table};
use crate::work::{Entry, KINDS, Kind};

/// How far the control may be from 1.
const CONTROL_MAX: f64 = 0.10;

/// Share of the slowest peer's full speed at which all are measured: CPU per request falls as load rises, because more
/// is done per wake-up, so only equal rates compare.
const RATE_SHARE: f64 = 0.7;

/// A stretch below this share of the rate was a different test.
const RATE_HELD: f64 = 0.97;

/// Beyond this share of their CPU, origin and load are part of what is measured.
const LOAD_BUSY_MAX: f64 = 0.85;

/// One measured stretch.
struct Sample {
    cpu_micros: f64,
    p50_micros: f64,
    p99_micros: f64,
    rate: f64,
    /// Share of the load's CPU that origin and load used.
    load_busy: f64,
}

/// One kind of work on all peers; `samples[peer][round]`.
struct Row {
    kind: Kind,
    rate: f64,
    full_speed: Vec<Option<f64>>,
    direct: f64,
    samples: Vec<Vec<Option<Sample>>>,
    failed: u64,
    failure: Option<String>,
}

pub fn run(options: &Options) -> Result<(), String> {
    cpu::pin(cpu::OF_LOAD);
    let (rounds, seconds) = if options.full { (12, 4.0) } else { (6, 1.0) };
    let rounds = options.rounds.unwrap_or(rounds);
    let time = Duration::from_secs_f64(options.seconds.unwrap_or(seconds));
    let kinds = chosen_kinds(options)?;
    let origin = Origin::start();
    let peers = start_peers(options, &origin)?;
    for peer in &peers[1..] {
        println!("{:10} {}", peer.name, peer.version);
    }
    let steal = Steal::now();
    let mut rows = Vec::new();
    for kind in kinds {
        eprint!("{:20}", kind.name);
        let row = measure(kind, &peers, &origin, rounds, time)?;
        eprintln!();
        rows.push(row);
    }
    let stolen = Steal::now().since(&steal);
    print!("{}", text(&rows, &peers, rounds, time, stolen));
    if let Some(file) = &options.json {
        let json = json(&rows, &peers, rounds, time, stolen);
        std::fs::write(file, format!("{json:#}\n")).map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

fn chosen_kinds(options: &Options) -> Result<Vec<Kind>, String> {
    let Some(names) = &options.kinds else { return Ok(KINDS.to_vec()) };
    names
        .iter()
        .map(|name| {
            let all = || KINDS.map(|kind| kind.name).join(", ");
            KINDS.iter().find(|kind| kind.name == name).copied().ok_or_else(|| format!("{name}: there are {}", all()))
        })
        .collect()
}

/// The peers, the first one twice: as the control and as itself.
fn start_peers(options: &Options, origin: &Origin) -> Result<Vec<Peer>, String> {
    let names = options.peers.clone().unwrap_or_else(|| ["evenkeel", "haproxy", "nginx"].map(str::to_owned).to_vec());
    let control = names.first().ok_or("--peers is empty")?.clone();
    std::iter::once(control).chain(names).map(|name| Peer::start(&name, origin)).collect()
}

fn measure(kind: Kind, peers: &[Peer], origin: &Origin, rounds: usize, time: Duration) -> Result<Row, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", kind.name);
    let mut full_speed = Vec::new();
    for peer in peers {
        full_speed.push(peer.entry(kind.entry).map(|at| speed(&kind, at)).transpose().map_err(fault)?);
    }
    let port = match kind.entry {
        Entry::Http => origin.http,
        Entry::Echo => origin.echo,
        Entry::EchoOnce => origin.echo_once,
    };
    let direct = speed(&kind, ([127, 0, 0, 1], port).into()).map_err(fault)?;
    let slowest = full_speed.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let mut row = Row {
        kind,
        rate: slowest * RATE_SHARE,
        full_speed,
        direct,
        samples: peers.iter().map(|_| Vec::new()).collect(),
        failed: 0,
        failure: None,
    };
    for round in 0..rounds {
        eprint!(".");
        for turn in 0..peers.len() {
            // Another one starts each round, so that nobody always follows the same neighbour.
            let at = (turn + round) % peers.len();
            let sample = sample(&mut row, &peers[at], origin, time).map_err(fault)?;
            row.samples[at].push(sample);
        }
    }
    Ok(row)
}

/// Exchanges a second at full speed.
fn speed(kind: &Kind, address: std::net::SocketAddr) -> std::io::Result<f64> {
    let mut load = Load::new(kind, address, "bench.example", Pace::Full)?;
    load.run(Duration::from_millis(100))?;
    let counts = load.run(Duration::from_millis(300))?;
    if counts.done == 0 {
        let why = counts.failure.unwrap_or_else(|| "silence".to_owned());
        return Err(std::io::Error::other(format!("no answer from {address}: {why}")));
    }
    Ok(counts.done as f64 / counts.seconds)
}

fn sample(row: &mut Row, peer: &Peer, origin: &Origin, time: Duration) -> std::io::Result<Option<Sample>> {
    let Some(address) = peer.entry(row.kind.entry) else { return Ok(None) };
    let mut load = Load::new(&row.kind, address, "bench.example", Pace::PerSecond(row.rate))?;
    let warm = load.run(Duration::from_millis(100))?;
    let load_cpu = || cpu::own_nanos() + origin.cpu();
    let (before, load_before) = (peer.cpu(), load_cpu());
    let counts = load.run(time)?;
    let (used, load_used) = (peer.cpu() - before, load_cpu() - load_before);
    for Counts { failed, failure, .. } in [&warm, &counts] {
        row.failed += failed;
        if row.failure.is_none() {
            row.failure = failure.as_ref().map(|failure| format!("{}: {failure}", peer.name));
        }
    }
    Ok(Some(Sample {
        cpu_micros: used as f64 / 1_000.0 / counts.done.max(1) as f64,
        p50_micros: counts.latency.micros(0.5),
        p99_micros: counts.latency.micros(0.99),
        rate: counts.done as f64 / counts.seconds,
        load_busy: load_used as f64 / 1e9 / counts.seconds,
    }))
}

// === impl Row ===

impl Row {
    /// Per-round ratios of two peers' CPU.
    fn ratio(&self, of: usize, to: usize) -> Option<Spread> {
        let pairs = self.samples[of].iter().zip(&self.samples[to]);
        Spread::of(pairs.filter_map(|(of, to)| Some(of.as_ref()?.cpu_micros / to.as_ref()?.cpu_micros)))
    }

    fn median(&self, peer: usize, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        Spread::of(self.samples[peer].iter().flatten().map(value)).map(|spread| spread.median)
    }

    /// What a reader of the numbers must know.
    fn notes(&self) -> String {
        let mut notes = String::new();
        let name = self.kind.name;
        if self.failed > 0 {
            let failure = self.failure.as_deref().unwrap_or("");
            let _ = writeln!(notes, "{name}: {} exchanges FAILED; the first: {failure}", self.failed);
        }
        let all = || self.samples.iter().flatten().flatten();
        let slowest = all().map(|sample| sample.rate).fold(f64::INFINITY, f64::min);
        if slowest < self.rate * RATE_HELD {
            let _ = writeln!(notes, "{name}: the rate was not always held: {slowest:.0}/s of {:.0}/s", self.rate);
        }
        let busiest = all().map(|sample| sample.load_busy).fold(0.0, f64::max);
        if busiest > LOAD_BUSY_MAX {
            let _ = writeln!(notes, "{name}: origin and load used {:.0} % of their CPU", busiest * 100.0);
        }
        notes
    }

    fn is_readable(&self) -> bool {
        self.ratio(0, SUBJECT).is_some_and(|control| (control.median - 1.0).abs() <= CONTROL_MAX)
    }
}

/// Position of the peer that the others are compared with; before it stands its control.
const SUBJECT: usize = 1;

fn text(rows: &[Row], peers: &[Peer], rounds: usize, time: Duration, stolen: f64) -> String {
    let subject = &peers[SUBJECT].name;
    let mut ratios = vec![vec![format!("{subject}'s CPU ratio"), "control".to_owned()]];
    ratios[0].extend(peers.iter().skip(2).map(|peer| format!("to {}", peer.name)));
    let mut absolute = vec![vec!["CPU µs a unit".to_owned()]];
    absolute[0].extend(peers.iter().skip(1).map(|peer| peer.name.clone()));
    absolute[0].extend(["rate/s", "direct/s"].map(str::to_owned));
    let mut latency = vec![vec!["p50 / p99 µs".to_owned()]];
    latency[0].extend(peers.iter().skip(1).map(|peer| peer.name.clone()));
    let mut full = vec![vec!["full speed/s".to_owned()]];
    full[0].extend(peers.iter().skip(1).map(|peer| peer.name.clone()));
    let mut notes = String::new();
    for row in rows {
        let others = std::iter::once(0).chain(2..peers.len());
        let mut cells = vec![row.kind.name.to_owned()];
        cells.extend(others.map(|other| match other {
            0 => cell(row.ratio(0, SUBJECT)),
            _ => cell(row.ratio(SUBJECT, other)),
        }));
        if !row.is_readable() {
            cells.push("unreadable: the control moved".to_owned());
        }
        ratios.push(cells);
        let of_peers = || SUBJECT..peers.len();
        let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        let mut cells = vec![format!("{} ({})", row.kind.name, row.kind.unit)];
        cells.extend(of_peers().map(|peer| number(row.median(peer, |sample| sample.cpu_micros), 2)));
        cells.extend([format!("{:.0}", row.rate), format!("{:.0}", row.direct)]);
        absolute.push(cells);
        let mut cells = vec![row.kind.name.to_owned()];
        cells.extend(of_peers().map(|peer| {
            let at = |value: fn(&Sample) -> f64| number(row.median(peer, value), 0);
            format!("{} / {}", at(|sample| sample.p50_micros), at(|sample| sample.p99_micros))
        }));
        latency.push(cells);
        let mut cells = vec![row.kind.name.to_owned()];
        cells.extend(of_peers().map(|peer| number(row.full_speed[peer], 0)));
        full.push(cells);
        notes += &row.notes();
    }
    if stolen > 0.01 {
        let _ = writeln!(notes, "The hypervisor took {:.1} % of the CPU time: read with care.", stolen * 100.0);
    }
    format!(
        "\nMedians of {rounds} rounds of {:.1} s (least-most in brackets), all peers at the same rate, one thread each.\n\n{}\n{}\n{}\n{}{}{notes}",
        time.as_secs_f64(),
        table(&ratios),
        table(&absolute),
        table(&latency),
        table(&full),
        if notes.is_empty() { "" } else { "\n" },
    )
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or("-".into(), |Spread { median, least, most }| format!("{median:.2} [{least:.2}-{most:.2}]"))
}

fn json(rows: &[Row], peers: &[Peer], rounds: usize, time: Duration, stolen: f64) -> Value {
    let spread =
        |spread: Option<Spread>| spread.map(|s| json!({ "median": s.median, "least": s.least, "most": s.most }));
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let of_peers: Vec<Value> = (SUBJECT..peers.len())
                .map(|peer| {
                    json!({
                        "peer": peers[peer].name,
                        "cpu_micros": row.median(peer, |sample| sample.cpu_micros),
                        "p50_micros": row.median(peer, |sample| sample.p50_micros),
                        "p99_micros": row.median(peer, |sample| sample.p99_micros),
                        "rate": row.median(peer, |sample| sample.rate),
                        "full_speed": row.full_speed[peer],
                        "ratio": if peer == SUBJECT { None } else { spread(row.ratio(SUBJECT, peer)) },
                    })
                })
                .collect();
            json!({
                "kind": row.kind.name,
                "rate": row.rate,
                "direct": row.direct,
                "readable": row.is_readable(),
                "control": spread(row.ratio(0, SUBJECT)),
                "failed": row.failed,
                "peers": of_peers,
            })
        })
        .collect();
    let versions: Vec<Value> =
        peers.iter().skip(1).map(|peer| json!({ "peer": peer.name, "version": peer.version })).collect();
    json!({ "rounds": rounds, "seconds": time.as_secs_f64(), "stolen": stolen, "versions": versions, "work": rows })
}
