//! The systems in front of which Evenkeel stands: fakes that behave as they do, each behind its preset.
//!
//! A preset's own timing is kept where a test is about it; elsewhere its checks are asked more often, so that nobody
//! waits for them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod databases;
mod examples;
mod grafana;
mod platform;
mod portal;
mod redis;
mod sensu;
mod tiers;
mod vault;
mod zones;

use std::net::SocketAddr;

use support::{Balancer, Load};

/// Requests over which shares are looked at.
const MANY: u64 = 2_000;

/// A check asked so often that a test need not wait for it.
fn quick(check: &str) -> String {
    format!("check.{check} = {{ interval = '200ms', timeout = '200ms', fast_interval = '50ms' }}\n")
}

/// Waits until a backend of the pool `p`, named by its address, is up or is not.
#[track_caller]
fn wait_for(balancer: &Balancer, backend: SocketAddr, up: bool) {
    let metric = format!("evenkeel_backend_up{{pool=p,backend={backend}}}");
    balancer.counts(&metric, f64::from(u8::from(up)));
}

/// Looks at the traffic of a while: each of these gets its fair share, within a twentieth of it.
#[track_caller]
fn assert_even(load: &Load, names: &[&str]) {
    load.forget();
    load.wait_for(MANY);
    let tally = load.so_far();
    let fair = 1.0 / names.len() as f64;
    for name in names {
        let share = tally.share(name);
        assert!((share - fair).abs() <= 0.05 * fair, "{name} has {share} of {tally:?}");
    }
}
