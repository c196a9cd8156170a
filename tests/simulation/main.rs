//! The decisions of the program under a virtual clock: seeded stories of backends that die, hang, flap, change their
//! roles and are cut off, of operators, reloads and restarts, with rules that must hold at every moment.
//!
//! What decides is the program's own code without sockets, clocks and tasks (`health::Judge`, `health::agenda`,
//! `health::evidence`, `pool::Pool` with its leases); the world around it is a model. A story that breaks a rule is
//! told with its seed: `EVENKEEL_SEED=N cargo test --test simulation` plays it again, and
//! `EVENKEEL_STORIES=N` plays so many.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::unchecked_time_subtraction,
    reason = "it is not finished"
)]

mod chance;
mod house;
mod plot;
mod rules;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use house::House;

/// Steps of one story.
const STEPS: u64 = 25_000;
/// Stories of an ordinary run: a million steps.
const STORIES: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays one story; what it did, as a number, and what happened in it.
fn play(seed: u64) -> (u64, house::Counts) {
    let mut house = House::build(seed);
    for _ in 0..STEPS {
        house.step();
    }
    house.close()
}

fn told(seed: u64) -> (u64, house::Counts) {
    catch_unwind(AssertUnwindSafe(|| play(seed))).unwrap_or_else(|cause| {
        let cause = cause.downcast_ref::<String>().map_or("", String::as_str);
        panic!("a rule is broken: {cause}\nplay it again: EVENKEEL_SEED={seed} cargo test --test simulation")
    })
}

#[test]
#[ignore = "has not run to its end yet: what it finds may be its own books or the judge"]
fn a_million_steps_break_no_rule() {
    let begun = Instant::now();
    let seeds = number("EVENKEEL_SEED").map_or(1..=number("EVENKEEL_STORIES").unwrap_or(STORIES), |seed| seed..=seed);
    let mut counts = house::Counts::default();
    let stories = seeds.clone().count();
    for seed in seeds {
        counts.add(&told(seed).1);
    }
    println!("{stories} stories, {:?}: {counts:?}", begun.elapsed());
    if stories as u64 >= STORIES {
        counts.assert_rich();
    }
}

#[ignore = "the world of the simulation still makes configurations that are not valid"]
#[test]
fn the_same_seed_tells_the_same_story() {
    let (first, second, other) = (told(7), told(7), told(8));
    assert_eq!(first.0, second.0);
    assert_ne!(first.0, other.0);
}
