//! Every parser that is written here, over inputs changed at random: none panics, and what each says can be. The same
//! functions are the fuzz targets of `tests/fuzz`, for as long as one likes.
//!
//! `EVENKEEL_ROUNDS=1000000 cargo test --release --test parsers` runs so many inputs through each.

#[path = "fuzz/entries.rs"]
#[allow(dead_code, unreachable_pub, reason = "the fuzz targets, each a crate of its own, use the rest")]
mod entries;

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use entries::by_others::{by_hyper, name_by_rustls};
use entries::{ALL, Entry};

/// Inputs for each parser, where nothing else is said.
const ROUNDS: usize = 10_000;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides.max(1)
    }
}

/// What parsers trip over: ends, separators, signs, numbers at their limits.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"/",
    b"%",
    b"#",
    b"-",
    b"+",
    b"*",
    b"$",
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b"\xff",
    b"\x80",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551616",
    b"99999999999999999999",
    b"chunked",
    b"Content-Length: ",
    b"Host: ",
    b"HTTP/1.1",
    b"\xc3\xa4",
];

fn mutated(entry: &Entry, dice: &mut Dice) -> Vec<u8> {
    let mut input = entry.seeds[dice.roll(entry.seeds.len())].to_vec();
    for _ in 0..dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        match dice.roll(7) {
            0 => input.truncate(at),
            1 => drop(input.splice(at..at, PIECES[dice.roll(PIECES.len())].iter().copied())),
            2 => drop(input.drain(at..(at + dice.roll(9)).min(input.len()))),
            3 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            4 if at < input.len() => input[at] = dice.roll(256) as u8,
            5 => {
                let other = entry.seeds[dice.roll(entry.seeds.len())];
                let from = dice.roll(other.len());
                drop(input.splice(at..at, other[from..].iter().copied()));
            }
            _ => {
                let copy = input[at..(at + dice.roll(40)).min(input.len())].to_vec();
                let to = dice.roll(input.len() + 1);
                drop(input.splice(to..to, copy));
            }
        }
    }
    input
}

/// What fuzzing has found that reaches something else, `tests/fuzz/run` keeps; all that is kept of a parser.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(format!("{name}.base64"));
    let lines = std::fs::read_to_string(file).unwrap_or_default();
    lines.lines().map(|line| BASE64_STANDARD.decode(line).expect("written by tests/fuzz/run")).collect()
}

#[test]
fn what_fuzzing_has_found_is_kept() {
    for name in ["request", "request_by_hyper", "proxy_header", "client_hello", "config"] {
        assert!(kept(name).len() > 10, "{name}");
    }
}

#[test]
fn no_parser_panics_whatever_it_gets() {
    let rounds = std::env::var("EVENKEEL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    for entry in ALL {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        // A whole configuration takes a thousand times as long as a line.
        let rounds = match entry.name {
            "config" | "import_haproxy" | "import_nginx" => rounds / 50,
            _ => rounds,
        };
        for seed in entry.seeds {
            (entry.run)(seed);
        }
        for input in kept(entry.name) {
            (entry.run)(&input);
        }
        for round in 0..rounds {
            let input = mutated(entry, &mut dice);
            let ended = std::panic::catch_unwind(|| (entry.run)(&input));
            assert!(ended.is_ok(), "{} in round {round} at: {}", entry.name, input.escape_ascii());
        }
    }
}

#[test]
fn what_others_read_is_there_to_be_compared() {
    let seeds = |name: &str| ALL.iter().find(|entry| entry.name == name).unwrap().seeds;
    let understood = by_hyper(seeds("request_by_hyper")[1]).unwrap();
    assert_eq!((&*understood.method, understood.body.as_deref()), ("POST", Some(&b"hello"[..])));
    for hello in &seeds("client_hello")[..2] {
        assert_eq!(name_by_rustls(hello), Some("a.b".to_owned()));
    }
}

#[test]
fn every_parser_has_its_fuzz_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for entry in ALL {
        let target = std::fs::read_to_string(folder.join("targets").join(format!("{}.rs", entry.name))).unwrap();
        assert!(target.contains(&format!("entries::run(\"{}\", ", entry.name)), "{}", entry.name);
        assert!(manifest.contains(&format!("path = \"targets/{}.rs\"", entry.name)), "{}", entry.name);
    }
    let targets = std::fs::read_dir(folder.join("targets")).unwrap().count();
    assert_eq!(targets, ALL.len());
}
