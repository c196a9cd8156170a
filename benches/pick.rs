//! What a pick costs: a backend chosen, its lease taken and given back, on one thread, by balance and size of the pool.
//!
//! `cargo bench --bench pick`, with a word behind `--` for the rows that contain it. Each number is the least of many
//! short rounds: a neighbour on the machine can only make a round longer. What is printed is nanoseconds for each pick.
#![expect(clippy::print_stdout, reason = "a program that measures says what it measured")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use evenkeel::balance::hash;
use evenkeel::balance::rng::Rng;
use evenkeel::config::{self, Source};
use evenkeel::health::State;
use evenkeel::pool::{Ask, Backend, Bell, Local, Pool};

/// Rounds, and picks in each: a round is well below the time that the system gives a thread at once.
const ROUNDS: usize = 400;
const PICKS: u64 = 2_000;

const BALANCES: [&str; 7] = ["round-robin", "least-requests", "random", "p2c", "peak-ewma", "first", "source"];

fn main() {
    // Cargo adds `--bench` of its own.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    for balance in BALANCES {
        for count in [3, 100, 10_000] {
            row(&wanted, &format!("{balance} of {count}"), &pool(&format!("balance = '{balance}'\n"), count));
        }
    }
}

fn row(wanted: &str, name: &str, pool: &Pool) {
    if name.contains(wanted) {
        println!("{name:<28} {:6.1} ns", nanoseconds(pool));
    }
}

/// A pool of so many backends, all up.
fn pool(keys: &str, count: usize) -> Pool {
    let backends: Vec<String> = (0..count).map(|n| format!("'10.{}.{}.1:80'", n / 250, n % 250)).collect();
    let text = format!(
        "[listener.l]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{}]\n{keys}",
        backends.join(", ")
    );
    let loaded = config::load(&Source::text(text)).unwrap_or_else(|problems| panic!("{problems:?}"));
    let config = Arc::clone(&loaded.config.pools[0]);
    let (evidence, _) = tokio::sync::mpsc::unbounded_channel();
    let backends = config.members.iter().map(|member| {
        let (pool, name, address) = (Arc::clone(&config.name), Arc::clone(&member.name), member.address.clone());
        let backend = Backend::new(pool, name, address, 1, evidence.clone());
        backend.set_state(State::Up);
        Arc::new(backend)
    });
    let backends = backends.collect();
    Pool::new(config, backends, 1, Arc::<Bell>::default())
}

fn nanoseconds(pool: &Pool) -> f64 {
    let (mut local, mut rng) = (Local::new(1), Rng::seeded(1));
    let keys: Vec<u64> = (0..1024_u32).map(|key| hash(&key.to_le_bytes())).collect();
    let mut ask = Ask::default();
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for turn in 0..PICKS {
            ask.key = Some(keys[turn as usize % keys.len()]);
            drop(black_box(pool.pick(&mut local, &mut rng, black_box(&ask), &[])));
        }
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / PICKS as f64);
    }
    least
}
