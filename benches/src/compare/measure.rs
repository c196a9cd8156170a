//! One kind of work on all peers: rates are found, then every round runs everybody once.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::SUBJECT;
use crate::cpu;
use crate::load::{Counts, Load, Pace};
use crate::origin::Origin;
use crate::peers::Peer;
use crate::report::Spread;
use crate::tls;
use crate::work::{Dress, Entry, Kind, Rate};

/// A peer below this share of the subject's full speed is compared at a rate of its own: at one that it can hold, the
/// others would idle.
const COMPARABLE: f64 = 0.5;

/// Load and origin shall keep below this share of their CPU; the rate is lowered to it.
const LOAD_BUSY_GOAL: f64 = 0.75;

/// What full speed is measured in, and what comes before every measurement.
const SPEED: Duration = Duration::from_millis(120);
pub const WARM: Duration = Duration::from_millis(30);

/// One measured stretch.
pub struct Sample {
    pub cpu_micros: f64,
    pub p50_micros: f64,
    pub p99_micros: f64,
    pub p999_micros: f64,
    /// Exchanges a second.
    pub rate: f64,
    /// Share of the load's CPU that origin and load used.
    pub load_busy: f64,
}

/// One kind of work on all peers.
pub struct Row {
    pub kind: Kind,
    /// Exchanges a second of the peers that keep up with the subject.
    pub rate: f64,
    pub full_speed: Vec<Option<f64>>,
    /// Without anybody in between.
    pub direct: Option<f64>,
    /// By peer and round.
    samples: Vec<Vec<Option<Sample>>>,
    /// The subject's, at the rate of a peer that does not keep up.
    beside: Vec<Vec<Option<Sample>>>,
    own_rate: Vec<Option<f64>>,
    pub failed: u64,
    pub failure: Option<String>,
    /// Share of the handshakes that were full though they were not to be.
    pub full_handshakes: f64,
}

pub fn measure(kind: Kind, peers: &[Peer], origin: &Origin, rounds: usize, time: Duration) -> Result<Row, String> {
    let fault = |error: io::Error| format!("{}: {error}", kind.name);
    let mut full_speed = Vec::new();
    for peer in peers {
        let at = peer.entry(kind.entry);
        let speed = at.map(|at| speed(&kind, at)).transpose();
        full_speed.push(speed.map_err(|error| format!("{}: {}: {error}", kind.name, peer.name))?);
    }
    let port = match kind.entry {
        Entry::Http => Some(origin.http),
        Entry::Https => None,
        Entry::Echo => Some(origin.echo),
        Entry::EchoOnce => Some(origin.echo_once),
        Entry::Bulk => Some(origin.bulk),
    };
    let direct = port.map(|port| speed(&kind, ([127, 0, 0, 1], port).into())).transpose().map_err(fault)?;
    let mut row = Row::new(kind, peers, full_speed, direct);
    row.fit(&peers[SUBJECT], origin).map_err(fault)?;
    for round in 0..rounds {
        eprint!(".");
        for turn in 0..peers.len() {
            // Another one starts each round, so that nobody always follows the same neighbour.
            let at = (turn + round) % peers.len();
            row.round(at, peers, origin, time).map_err(fault)?;
        }
    }
    Ok(row)
}

/// Exchanges a second at full speed.
fn speed(kind: &Kind, address: SocketAddr) -> io::Result<f64> {
    let mut load = Load::new(kind, address, tls::NAME, Pace::Full)?;
    load.warm(WARM)?;
    let counts = load.run(SPEED)?;
    if counts.done == 0 {
        let why = counts.failure.unwrap_or_else(|| "silence".to_owned());
        return Err(io::Error::other(format!("no answer from {address}: {why}")));
    }
    Ok(counts.done as f64 / counts.seconds)
}

// === impl Row ===

impl Row {
    fn new(kind: Kind, peers: &[Peer], full_speed: Vec<Option<f64>>, direct: Option<f64>) -> Self {
        let subject = full_speed[SUBJECT].unwrap_or(0.0);
        let keeps_up = |speed: f64| speed >= subject * COMPARABLE;
        let slowest =
            full_speed.iter().flatten().copied().filter(|speed| keeps_up(*speed)).fold(f64::INFINITY, f64::min);
        let haproxy = peers.iter().position(|peer| peer.name == "haproxy").and_then(|at| full_speed[at]);
        let (rate, own_rate) = match kind.rate {
            Rate::OfSlowest(share) => {
                let slow = |speed: &Option<f64>| speed.filter(|speed| !keeps_up(*speed)).map(|speed| speed * share);
                (slowest * share, full_speed.iter().map(slow).collect())
            }
            Rate::OfHaproxy(share) => (haproxy.unwrap_or(slowest) * share, vec![None; peers.len()]),
        };
        let empty = || peers.iter().map(|_| Vec::new()).collect();
        Self {
            kind,
            rate,
            full_speed,
            direct,
            samples: empty(),
            beside: empty(),
            own_rate,
            failed: 0,
            failure: None,
            full_handshakes: 0.0,
        }
    }

    /// Lowers the rate until origin and load fit their CPU, unless it is fixed.
    fn fit(&mut self, subject: &Peer, origin: &Origin) -> io::Result<()> {
        if matches!(self.kind.rate, Rate::OfHaproxy(_)) {
            return Ok(());
        }
        for _ in 0..2 {
            let Some(sample) = self.sample(subject, self.rate, origin, SPEED)? else { return Ok(()) };
            self.rate *= (LOAD_BUSY_GOAL / sample.load_busy).min(1.0);
        }
        Ok(())
    }

    /// One peer's turn, and the subject's beside it where the peer has a rate of its own.
    fn round(&mut self, at: usize, peers: &[Peer], origin: &Origin, time: Duration) -> io::Result<()> {
        let can = self.full_speed[at].is_some_and(|speed| match self.kind.rate {
            Rate::OfSlowest(_) => true,
            Rate::OfHaproxy(_) => speed > self.rate,
        });
        let rate = self.own_rate[at].unwrap_or(self.rate);
        let sample = if can { self.sample(&peers[at], rate, origin, time)? } else { None };
        let beside = match self.own_rate[at] {
            Some(rate) => self.sample(&peers[SUBJECT], rate, origin, time)?,
            None => None,
        };
        self.samples[at].push(sample);
        self.beside[at].push(beside);
        Ok(())
    }

    fn sample(&mut self, peer: &Peer, rate: f64, origin: &Origin, time: Duration) -> io::Result<Option<Sample>> {
        let Some(address) = peer.entry(self.kind.entry) else { return Ok(None) };
        let mut load = Load::new(&self.kind, address, tls::NAME, Pace::PerSecond(rate))?;
        let warm = load.warm(WARM)?;
        let load_cpu = || cpu::own_nanos() + origin.cpu();
        let (before, load_before) = (peer.cpu(), load_cpu());
        let counts = load.run(time)?;
        let (used, load_used) = (peer.cpu() - before, load_cpu() - load_before);
        for Counts { failed, failure, .. } in [&warm, &counts] {
            self.failed += failed;
            if self.failure.is_none() {
                self.failure = failure.as_ref().map(|failure| format!("{}: {failure}", peer.name));
            }
        }
        if self.kind.dress == Dress::Resumed {
            let share = counts.full_handshakes as f64 / counts.done.max(1) as f64;
            self.full_handshakes = self.full_handshakes.max(share);
        }
        Ok(Some(Sample {
            cpu_micros: used as f64 / 1_000.0 / counts.done.max(1) as f64 / self.kind.units,
            p50_micros: counts.latency.micros(0.5),
            p99_micros: counts.latency.micros(0.99),
            p999_micros: counts.latency.micros(0.999),
            rate: counts.done as f64 / counts.seconds,
            load_busy: load_used as f64 / 1e9 / counts.seconds,
        }))
    }

    /// Per-round ratios of the subject to another one, at the same rate.
    pub fn ratio(&self, to: usize, value: impl Fn(&Sample) -> f64) -> Option<Spread> {
        let of = if self.own_rate[to].is_some() { &self.beside[to] } else { &self.samples[SUBJECT] };
        let pairs = of.iter().zip(&self.samples[to]);
        Spread::of(pairs.filter_map(|(of, to)| Some(value(of.as_ref()?) / value(to.as_ref()?))))
    }

    /// The control's CPU, as a ratio to the subject's.
    pub fn control(&self) -> Option<Spread> {
        let pairs = self.samples[0].iter().zip(&self.samples[SUBJECT]);
        Spread::of(pairs.filter_map(|(of, to)| Some(of.as_ref()?.cpu_micros / to.as_ref()?.cpu_micros)))
    }

    pub fn median(&self, peer: usize, value: impl Fn(&Sample) -> f64) -> Option<f64> {
        Spread::of(self.samples[peer].iter().flatten().map(value)).map(|spread| spread.median)
    }

    /// The rate of a peer that does not keep up.
    pub fn own_rate(&self, peer: usize) -> Option<f64> {
        self.own_rate[peer]
    }

    /// The least rate of a round to the one that was meant, over all peers, and whose it was.
    pub fn least_held(&self) -> Option<(usize, f64)> {
        let held = self.samples.iter().enumerate().flat_map(|(peer, samples)| {
            let meant = self.own_rate[peer].unwrap_or(self.rate);
            samples.iter().flatten().map(move |sample| (peer, sample.rate / meant))
        });
        held.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// The largest share of their CPU that origin and load used.
    pub fn busiest_load(&self) -> f64 {
        self.samples.iter().flatten().flatten().map(|sample| sample.load_busy).fold(0.0, f64::max)
    }
}
