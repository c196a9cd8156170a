//! `evenkeel status`: pools and backends of a running evenkeel, as a table.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::view::{BackendView, Overview, PoolView};
use hyper::Method;

use super::Ending;
use super::client::AdminPort;
use super::terminal::{Grid, Ink, Paint, Side, say};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    port: AdminPort,
    /// Print what the API answers
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: &Arguments) -> anyhow::Result<Ending> {
    let body = arguments.port.ask(Method::GET, "/api/v1/pools", PATIENCE)?.good()?;
    if arguments.json {
        say(&body);
        return Ok(Ending::Good);
    }
    let overview: Overview = serde_json::from_str(&body).context("the answer is not what an evenkeel says")?;
    say(&page(&overview, Paint::of_output()));
    Ok(Ending::Good)
}

fn page(overview: &Overview, paint: Paint) -> String {
    let up_for = span(overview.uptime_seconds);
    let Overview { version, phase, generation, .. } = overview;
    let mut text = format!("evenkeel {version}, {phase}, configuration {generation}, running for {up_for}\n");
    for listener in &overview.listeners {
        let (name, binds): (&str, _) = (&listener.name, listener.binds.join(", "));
        let (protocol, connections): (&str, _) = (&listener.protocol, listener.connections.to_string());
        text.extend(["listener ", name, ": ", protocol, " on ", &binds, ", ", &connections, " connections open\n"]);
    }
    for pool in &overview.pools {
        text.push('\n');
        text.push_str(&heading(pool, paint));
        text.push_str(&backends(pool, paint));
    }
    text
}

fn heading(pool: &PoolView, paint: Paint) -> String {
    let (up, all) = (pool.backends_up, pool.backends.len());
    let ink = match up {
        0 => Ink::Red,
        _ if up < all => Ink::Yellow,
        _ => Ink::Green,
    };
    let share = ink.on(&format!("{up} of {all} up"), paint);
    let when = if pool.healthy_when.is_empty() { String::new() } else { format!(", up when {}", pool.healthy_when) };
    let waiting = if pool.waiting == 0 { String::new() } else { format!(", {} waiting", pool.waiting) };
    format!("{}: {share}, {}{when}{waiting}\n", Ink::Bold.on(&pool.name, paint), pool.balance)
}

fn backends(pool: &PoolView, paint: Paint) -> String {
    let mut grid = Grid::new(&[
        ("  BACKEND", Side::Left),
        ("ADDRESS", Side::Left),
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("WEIGHT", Side::Right),
        ("NOW", Side::Right),
        ("PICKS", Side::Right),
        ("FAILED", Side::Right),
        ("LATENCY", Side::Right),
        ("CHECKS", Side::Left),
    ]);
    for backend in &pool.backends {
        let ink = match backend.state.as_str() {
            "up" => Ink::Green,
            "down" => Ink::Red,
            _ => Ink::Yellow,
        };
        let plain = |text: String| (text, Ink::None);
        let backup = if backend.backup { " (backup)" } else { "" };
        grid.row(vec![
            plain(format!("  {}{backup}", backend.name)),
            plain(backend.address.clone()),
            (backend.state.clone(), ink),
            plain(span(backend.since_seconds)),
            plain(backend.weight.to_string()),
            plain(backend.in_flight.to_string()),
            plain(backend.picks.to_string()),
            plain(backend.failures.to_string()),
            plain(backend.latency_seconds.map_or_else(|| "-".to_owned(), latency)),
            (checks(backend), Ink::Dim),
        ]);
    }
    grid.render(paint)
}

fn checks(backend: &BackendView) -> String {
    let said = backend.checks.iter().map(|check| format!("{} {}: {}", check.name, check.state, check.reason));
    said.collect::<Vec<_>>().join("; ")
}

/// A length of time in its two largest units.
fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{}d {}h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

fn latency(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use evenkeel::admin::view::{CheckView, ListenerView};

    use super::*;

    fn backend(name: &str, state: &str) -> BackendView {
        BackendView {
            name: name.into(),
            address: "127.0.0.1:9001".into(),
            resolved: None,
            weight: 1,
            backup: name == "spare",
            state: state.into(),
            since_seconds: 200.0,
            in_flight: 2,
            latency_seconds: (state == "up").then_some(0.0012),
            picks: 1204,
            responses: BTreeMap::new(),
            failures: 0,
            received_bytes: 0,
            sent_bytes: 0,
            checks: vec![CheckView {
                name: "home".into(),
                state: state.into(),
                reason: "HTTP 200".into(),
                duration_seconds: 0.001,
                age_seconds: 1.0,
            }],
        }
    }

    #[test]
    fn the_page_lines_up() {
        let overview = Overview {
            version: "1.2.3".into(),
            phase: "ready".into(),
            generation: 3,
            uptime_seconds: 7_500.0,
            listeners: vec![ListenerView {
                name: "front".into(),
                binds: vec!["127.0.0.1:8080".into()],
                protocol: "http".into(),
                connections: 4,
                responses: BTreeMap::new(),
            }],
            pools: vec![PoolView {
                name: "web".into(),
                balance: "round-robin".into(),
                healthy_when: "home".into(),
                backends_up: 1,
                responses: BTreeMap::new(),
                failed: BTreeMap::new(),
                retries: 0,
                waiting: 0,
                backends: vec![backend("b1", "up"), backend("spare", "down")],
            }],
        };
        let expected = "\
evenkeel 1.2.3, ready, configuration 3, running for 2h 5m
listener front: http on 127.0.0.1:8080, 4 connections open

web: 1 of 2 up, round-robin, up when home
  BACKEND         ADDRESS         STATE     FOR  WEIGHT  NOW  PICKS  FAILED  LATENCY  CHECKS
  b1              127.0.0.1:9001  up     3m 20s       1    2   1204       0   1.2 ms  home up: HTTP 200
  spare (backup)  127.0.0.1:9001  down   3m 20s       1    2   1204       0        -  home down: HTTP 200
";
        assert_eq!(page(&overview, Paint::Plain), expected);
        assert!(page(&overview, Paint::Colour).contains("\x1b[31mdown\x1b[0m"));
    }

    #[test]
    fn spans_show_two_units() {
        for (seconds, text) in [(0.2, "0s"), (59.9, "59s"), (61.0, "1m 1s"), (3_600.0, "1h 0m"), (90_000.0, "1d 1h")] {
            assert_eq!(span(seconds), text);
        }
    }
}
