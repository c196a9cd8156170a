//! `compare`: CPU per unit of work of Evenkeel and its peers, interleaved, with a control; then latency, memory,
//! start-up and scale.
//!
//! The first peer runs twice, as two processes: what the second differs by from the first is what this machine makes
//! up. A kind of work whose control moved by more than [`CONTROL_MAX`] is called unreadable.

mod json;
mod measure;
mod memory;
pub mod scale;
mod startup;
mod svg;
mod text;

use std::time::Duration;

use serde_json::Value;

use crate::Options;
use crate::cpu::{self, Steal};
use crate::origin::Origin;
use crate::peers::{ALL, Fault, Peer};
use crate::work::{KINDS, Kind};
use measure::Row;

/// How far the control may be from 1.
const CONTROL_MAX: f64 = 0.10;

/// Position of the peer that the others are compared with; before it stands its control.
const SUBJECT: usize = 1;

/// What a short run may spend on the rounds of all kinds and peers, and the most on one stretch.
const SHORT: Duration = Duration::from_secs(80);
const STRETCH_MAX: Duration = Duration::from_secs(1);
const STRETCH_MIN: Duration = Duration::from_millis(80);

/// Peers of a kind that may need the subject's stretch beside theirs.
const BESIDE: usize = 2;

/// What is measured in another way than kinds of work are.
const FURTHER: [&str; 3] = ["memory", "startup", "scale"];

/// How much a run may take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Short,
    Full,
}

/// Something measured that is no kind of work.
pub struct Section {
    pub name: &'static str,
    pub text: String,
    pub notes: String,
    pub json: Value,
}

/// All that a run has found.
struct Report<'a> {
    peers: &'a [Peer],
    /// Peers that are not here.
    missing: Vec<String>,
    rows: Vec<Row>,
    sections: Vec<Section>,
    rounds: usize,
    time: Duration,
    stolen: f64,
}

pub fn run(options: &Options) -> Result<(), String> {
    cpu::pin(cpu::OF_LOAD);
    let length = if options.full { Length::Full } else { Length::Short };
    let rounds = options.rounds.unwrap_or(if options.full { 12 } else { 4 });
    let (kinds, further) = chosen(options)?;
    let origin = Origin::start();
    let (peers, missing) = start_peers(options, &origin)?;
    for peer in &peers[SUBJECT..] {
        println!("{:14} {}", peer.name, peer.version);
    }
    let time = match options.seconds {
        Some(seconds) => Duration::from_secs_f64(seconds),
        None if options.full => Duration::from_secs(2),
        None => short_stretch(&kinds, &peers, rounds),
    };
    let steal = Steal::now();
    let mut report =
        Report { peers: &peers, missing, rows: Vec::new(), sections: Vec::new(), rounds, time, stolen: 0.0 };
    for kind in kinds {
        eprint!("{:24}", kind.name);
        report.rows.push(measure::measure(kind, &peers, &origin, rounds, time)?);
        eprintln!();
    }
    for name in further {
        eprint!("{name:24}");
        report.sections.push(match name {
            "memory" => memory::measure(&peers[SUBJECT..], &origin, length)?,
            "startup" => startup::measure(&peers[SUBJECT..], &origin, length)?,
            _ => scale::measure(&origin, length)?,
        });
        eprintln!();
    }
    report.stolen = Steal::now().since(&steal);
    print!("{}", report.text());
    let written = [(&options.json, format!("{:#}\n", report.json())), (&options.svg, report.svg())];
    for (file, content) in written {
        if let Some(file) = file {
            std::fs::write(file, content).map_err(|error| format!("{file}: {error}"))?;
        }
    }
    Ok(())
}

/// What a stretch may take, so that all of them fit into [`SHORT`].
fn short_stretch(kinds: &[Kind], peers: &[Peer], rounds: usize) -> Duration {
    let of_kind = |kind: &Kind| peers.iter().filter(|peer| peer.entry(kind.entry).is_some()).count() + BESIDE;
    let stretches = rounds * kinds.iter().map(of_kind).sum::<usize>();
    (SHORT / stretches.max(1) as u32).saturating_sub(measure::WARM).clamp(STRETCH_MIN, STRETCH_MAX)
}

/// The kinds of work that are wanted, and what else is.
fn chosen(options: &Options) -> Result<(Vec<Kind>, Vec<&'static str>), String> {
    let Some(names) = &options.kinds else { return Ok((KINDS.to_vec(), FURTHER.to_vec())) };
    let (mut kinds, mut further) = (Vec::new(), Vec::new());
    for name in names {
        if let Some(kind) = KINDS.iter().find(|kind| kind.name == name) {
            kinds.push(*kind);
        } else if let Some(other) = FURTHER.iter().find(|other| *other == name) {
            further.push(*other);
        } else {
            let all = [KINDS.map(|kind| kind.name).as_slice(), &FURTHER].concat().join(", ");
            return Err(format!("{name}: there are {all}"));
        }
    }
    Ok((kinds, further))
}

/// The peers, the first one twice: as the control and as itself; and the names of those that are not here.
fn start_peers(options: &Options, origin: &Origin) -> Result<(Vec<Peer>, Vec<String>), String> {
    let names = options.peers.clone().unwrap_or_else(|| ALL.map(str::to_owned).to_vec());
    let control = names.first().ok_or("--peers is empty")?.clone();
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    for name in std::iter::once(control).chain(names) {
        match Peer::start(&name, origin) {
            Ok(peer) => peers.push(peer),
            Err(Fault::Missing(why)) if options.peers.is_none() => {
                eprintln!("{name} is left out: {why}");
                missing.push(name);
            }
            Err(Fault::Missing(why) | Fault::Broken(why)) => return Err(why),
        }
    }
    Ok((peers, missing))
}
