//! `evenkeel status`: pools and backends of a running evenkeel, as a table.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::orders::OverrideView;
use evenkeel::admin::view::{BackendView, Overview, PoolView};
use hyper::Method;

use super::Ending;
use super::client::AdminPort;
use super::form::Form;
use super::history::waits;
use super::terminal::{Grid, Ink, Page, Paint, Side, say};
use super::transcript::clean;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn status(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let body = arguments.port.ask(Method::GET, "/api/v1/pools", PATIENCE)?.good()?;
    if form == Form::Json {
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
        let over = if listener.tls { " over TLS" } else { "" };
        text.extend([
            "listener ",
            name,
            ": ",
            protocol,
            over,
            " on ",
            &binds,
            ", ",
            &connections,
            " connections open\n",
        ]);
    }
    if let Some(waiting) = &overview.awaiting {
        text.push_str(&Ink::Yellow.on(&waits(waiting), paint));
    }
    for pool in &overview.pools {
        text.push('\n');
        text.push_str(&heading(pool, paint));
        text.push_str(&backends(pool, paint));
        text.push_str(&remarks(pool, paint));
    }
    if !overview.dormant.is_empty() {
        text.push_str("\norders without effect now:\n");
        for one in &overview.dormant {
            text.push_str(&order(one, &format!("{}/{}", one.pool, one.backend), paint));
        }
    }
    if let Some(warning) = &overview.orders_warning {
        text.push_str(&Ink::Yellow.on(&format!("\nwhat operators have ordered: {warning}\n"), paint));
    }
    text
}

/// What is out of the ordinary: alarms, what traffic did, what operators have ordered.
fn remarks(pool: &PoolView, paint: Paint) -> String {
    let mut text = Page::default();
    let mut remark = |ink: Ink, line: &str| text.line(format!("  {} {line}", ink.on("!", paint)));
    for alarm in &pool.alarms {
        remark(Ink::Red, &clean(alarm));
    }
    for backend in &pool.backends {
        let name = &backend.name;
        let said = [
            backend.ejected.then(|| "out for a while because of what traffic saw".to_owned()),
            backend.flapping.then(|| "kept out for a while because it went up and down too often".to_owned()),
            backend.disagreement.clone(),
        ];
        for line in said.into_iter().flatten() {
            remark(Ink::Yellow, &format!("{name}: {line}"));
        }
    }
    for one in pool.backends.iter().flat_map(|backend| &backend.overrides) {
        text.add(order(one, &one.backend, paint));
    }
    text.finish()
}

fn heading(pool: &PoolView, paint: Paint) -> String {
    let (up, all) = (pool.backends_up, pool.backends.len());
    let ink = match up {
        0 => Ink::Red,
        _ if up < all => Ink::Yellow,
        _ => Ink::Green,
    };
    let share = ink.on(&format!("{up} of {all} up"), paint);
    let mut text = Page::default();
    text.add(format!("{}: {share}, ", Ink::Bold.on(&pool.name, paint)));
    if pool.mode == "active-active" {
        text.add(&pool.balance);
    } else {
        let nobody = || Ink::Red.on("nobody is active", paint);
        let active = pool.active.as_ref().map_or_else(nobody, |active| format!("{active} is active"));
        text.add(format!("{}, {active}", pool.mode));
    }
    if let Some(followed) = &pool.follows {
        text.add(format!(", follows {followed}"));
    }
    if !pool.healthy_when.is_empty() {
        text.add(format!(", up when {}", pool.healthy_when));
    }
    if pool.waiting > 0 {
        text.add(format!(", {} waiting", pool.waiting));
    }
    text.line("");
    text.finish()
}

fn backends(pool: &PoolView, paint: Paint) -> String {
    let mut columns = vec![("  BACKEND", Side::Left), ("ADDRESS", Side::Left)];
    let zones = pool.backends.iter().any(|backend| backend.zone.is_some());
    columns.extend(zones.then_some(("ZONE", Side::Left)));
    columns.extend([
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("WEIGHT", Side::Right),
        ("NOW", Side::Right),
        ("PICKS", Side::Right),
        ("FAILED", Side::Right),
        ("LATENCY", Side::Right),
        ("CHECKS", Side::Left),
    ]);
    let mut grid = Grid::new(&columns);
    for backend in &pool.backends {
        let plain = |text: String| (text, Ink::None);
        let backup = if backend.backup { " (backup)" } else { "" };
        let mut cells = vec![plain(format!("  {}{backup}", backend.name)), plain(backend.address.clone())];
        if zones {
            cells.push(plain(backend.zone.clone().unwrap_or_else(|| "-".to_owned())));
        }
        cells.extend([
            state(backend),
            plain(span(backend.since_seconds)),
            plain(weight(backend)),
            in_flight(backend),
            plain(backend.picks.to_string()),
            plain(backend.failures.to_string()),
            plain(backend.latency_seconds.map_or_else(|| "-".to_owned(), latency)),
            (checks(backend), Ink::Dim),
        ]);
        grid.row(cells);
    }
    grid.render(paint)
}

fn state(backend: &BackendView) -> (String, Ink) {
    let ink = state_ink(&backend.state);
    let role = backend.role.as_ref().map_or_else(String::new, |role| format!(" ({role})"));
    (format!("{}{role}", backend.state), ink)
}

/// The colour of a state.
pub(super) fn state_ink(state: &str) -> Ink {
    match state {
        "up" => Ink::Green,
        "down" => Ink::Red,
        _ => Ink::Yellow,
    }
}

/// The configured weight, and how much of it the backend has now where that is not all.
fn weight(backend: &BackendView) -> String {
    match backend.share_percent {
        100 => backend.weight.to_string(),
        share => format!("{share}% of {}", backend.weight),
    }
}

/// What is under way, and how much may be where there is a limit.
fn in_flight(backend: &BackendView) -> (String, Ink) {
    match backend.connections_max {
        None => (backend.in_flight.to_string(), Ink::None),
        Some(most) => {
            let ink = if backend.in_flight >= most { Ink::Yellow } else { Ink::None };
            (format!("{} of {most}", backend.in_flight), ink)
        }
    }
}

/// `  ! b2: drain by alice 3m 2s ago, 56m 58s left: kernel update`
pub(super) fn order(one: &OverrideView, of: &str, paint: Paint) -> String {
    let left = one.left_seconds.map_or_else(String::new, |left| format!(", {} left", span(left)));
    let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
    let dormant = one.dormant.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let text = format!("{of}: {} by {} {} ago{left}{reason}{dormant}", one.words, one.owner, span(one.age_seconds));
    format!("  {} {text}\n", Ink::Yellow.on("!", paint))
}

fn checks(backend: &BackendView) -> String {
    let said = backend.checks.iter().map(|check| format!("{} {}: {}", check.name, check.state, check.reason));
    said.collect::<Vec<_>>().join("; ")
}

/// A length of time in its two largest units.
pub(super) fn span(seconds: f64) -> String {
    evenkeel::control::span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
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
            zone: None,
            state: state.into(),
            role: None,
            gets_work: state == "up",
            gets_reads: state == "up",
            share_percent: 100,
            ejected: false,
            flapping: false,
            disagreement: None,
            since_seconds: 200.0,
            in_flight: 2,
            connections_max: None,
            idle_connections: 0,
            cut: 0,
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
            overrides: Vec::new(),
        }
    }

    fn overview(backends: Vec<BackendView>) -> Overview {
        Overview {
            version: "1.2.3".into(),
            phase: "ready".into(),
            generation: 3,
            awaiting: None,
            bounds: Vec::new(),
            uptime_seconds: 7_500.0,
            listeners: vec![ListenerView {
                name: "front".into(),
                binds: vec!["127.0.0.1:8080".into()],
                protocol: "http".into(),
                tls: false,
                connections: 4,
                responses: BTreeMap::new(),
            }],
            pools: vec![PoolView {
                name: "web".into(),
                mode: "active-active".into(),
                follows: None,
                active: None,
                alarms: Vec::new(),
                balance: "round-robin".into(),
                healthy_when: "home".into(),
                backends_up: 1,
                responses: BTreeMap::new(),
                failed: BTreeMap::new(),
                took: Vec::new(),
                retries: 0,
                waiting: 0,
                backends,
            }],
            dormant: Vec::new(),
            orders_warning: None,
        }
    }

    #[test]
    fn the_page_lines_up() {
        let overview = overview(vec![backend("b1", "up"), backend("spare", "down")]);
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
    fn orders_roles_zones_and_shares_are_shown_where_there_are_any() {
        let order = OverrideView {
            pool: "db".into(),
            backend: "b1".into(),
            order: "weight".into(),
            words: "weight 50%".into(),
            owner: "alice".into(),
            reason: "slow disk".into(),
            since: String::new(),
            age_seconds: 182.0,
            until: None,
            left_seconds: Some(3_600.0),
            dormant: None,
        };
        let mut first = backend("b1", "up");
        first.zone = Some("dc-a".into());
        first.role = Some("active".into());
        first.share_percent = 50;
        first.overrides = vec![order.clone()];
        first.ejected = true;
        let mut overview = overview(vec![first, backend("b2", "up")]);
        overview.pools[0].mode = "leader".into();
        overview.pools[0].active = Some("b1".into());
        overview.pools[0].backends_up = 2;
        overview.pools[0].alarms = vec!["two backends lead: b1 and b2".into()];
        overview.pools[0].follows = Some("other".into());
        let dormant = Some("pool `db` has no backend `b9` now".into());
        overview.dormant = vec![OverrideView { backend: "b9".into(), left_seconds: None, dormant, ..order }];
        overview.orders_warning = Some("it does not survive a restart".into());
        let expected = "
web: 2 of 2 up, leader, b1 is active, follows other, up when home
  BACKEND  ADDRESS         ZONE  STATE           FOR    WEIGHT  NOW  PICKS  FAILED  LATENCY  CHECKS
  b1       127.0.0.1:9001  dc-a  up (active)  3m 20s  50% of 1    2   1204       0   1.2 ms  home up: HTTP 200
  b2       127.0.0.1:9001  -     up           3m 20s         1    2   1204       0   1.2 ms  home up: HTTP 200
  ! two backends lead: b1 and b2
  ! b1: out for a while because of what traffic saw
  ! b1: weight 50% by alice 3m 2s ago, 1h 0m left: slow disk

orders without effect now:
  ! db/b9: weight 50% by alice 3m 2s ago: slow disk (pool `db` has no backend `b9` now)

what operators have ordered: it does not survive a restart
";
        let shown = page(&overview, Paint::Plain);
        assert_eq!(shown.split_once("connections open\n").unwrap().1, expected);
    }
}
