//! Measures Evenkeel against its peers. README.md says how to run it and how it measures.
//!
//! One program: it starts itself again as the origin, drives the load, and reads what the kernel accounts for each peer.

mod ask;
mod changes;
mod compare;
mod cpu;
mod failover;
mod instructions;
mod leader;
mod load;
mod origin;
mod peers;
mod probes;
mod reload;
mod report;
mod soak;
mod tls;
mod work;

use std::process::ExitCode;

const USAGE: &str =
    "usage: evenkeel-bench compare [--full] [--rounds N] [--seconds S] [--kinds A,B] [--peers A,B] [--json FILE] [--svg FILE]
       evenkeel-bench instructions [--bless] [--kinds A,B]
       evenkeel-bench reload  [--rounds N]
       evenkeel-bench probes  [--seconds S]
       evenkeel-bench failover [--rounds N]
       evenkeel-bench changes [--rounds N]
       evenkeel-bench soak    [--seconds S]
EVENKEEL=FILE names the program to measure (default target/release/evenkeel).";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    if command == "soak-backend" {
        let port = arguments.next().and_then(|port| port.parse().ok()).unwrap_or(0);
        return ended(soak::backend(port));
    }
    let options = Options::parse(arguments);
    let result = match (command.as_str(), options) {
        ("origin", Ok(_)) => origin::run(),
        ("compare", Ok(options)) => compare::run(&options),
        ("instructions", Ok(options)) => instructions::run(&options),
        ("reload", Ok(options)) => reload::run(&options),
        ("probes", Ok(options)) => probes::run(&options),
        ("failover", Ok(options)) => failover::run(&options),
        ("changes", Ok(options)) => changes::run(&options),
        ("soak", Ok(options)) => soak::run(&options),
        (_, Err(problem)) => Err(problem),
        _ => Err(USAGE.to_owned()),
    };
    ended(result)
}

fn ended(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
#[derive(Default)]
pub struct Options {
    full: bool,
    bless: bool,
    rounds: Option<usize>,
    seconds: Option<f64>,
    kinds: Option<Vec<String>>,
    peers: Option<Vec<String>>,
    json: Option<String>,
    svg: Option<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--full" => {
                    options.full = true;
                    continue;
                }
                "--bless" => {
                    options.bless = true;
                    continue;
                }
                _ => {}
            }
            let value = arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"))?;
            let bad = || format!("{argument} {value}: no number");
            let list = || Some(value.split(',').map(str::to_owned).collect());
            match argument.as_str() {
                "--rounds" => options.rounds = Some(value.parse().map_err(|_malformed| bad())?),
                "--seconds" => options.seconds = Some(value.parse().map_err(|_malformed| bad())?),
                "--kinds" => options.kinds = list(),
                "--peers" => options.peers = list(),
                "--json" => options.json = Some(value),
                "--svg" => options.svg = Some(value),
                _ => return Err(format!("{argument}: unknown\n{USAGE}")),
            }
        }
        Ok(options)
    }
}
