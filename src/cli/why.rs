//! `evenkeel why`: why a backend is what it is, the reason first; read at three in the morning.
//!
//! First the state and the reason, then `healthy_when` with every check, then for each check that fails what its last
//! probes saw and the command that asks the same by hand, then what traffic and operators say.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::why::{CheckWhy, Node, PoolWhy, ReportView, Why};
use hyper::Method;

use super::Ending;
use super::client::{AdminPort, encoded};
use super::form::Form;
use super::order::Of;
use super::pcapng::capture;
use super::status::{order, span, state_ink};
use super::terminal::{Grid, Ink, Page, Paint, Side, complain, say};
use super::transcript::{Bytes, clean, moment, steps, took};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The backend, or a pool for a line on each of its backends
    #[arg(value_name = "POOL[/BACKEND]")]
    of: String,
    /// Show what the probes saw of every check, also of those that are well
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Show bytes in hexadecimal
    #[arg(long, conflicts_with = "json")]
    hex: bool,
    /// Write what the probes sent and received to this file, for Wireshark
    #[arg(long, value_name = "FILE")]
    pcapng: Option<PathBuf>,
    #[command(flatten)]
    port: AdminPort,
}

/// How much of it is shown.
#[derive(Debug, Clone, Copy)]
struct Taste {
    /// Also checks that are well.
    all: bool,
    bytes: Bytes,
    paint: Paint,
}

pub(super) fn why(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let of = Of::read(&arguments.of);
    let one = of.is_ok();
    let path = match of {
        Ok(of) => format!("{}/why", of.path()),
        Err(_pool) => format!("/api/v1/pools/{}/why", encoded(arguments.of.trim_end_matches('/'))),
    };
    let body = arguments.port.ask(Method::GET, &path, PATIENCE)?.good()?;
    let strange = "the answer is not what an evenkeel says";
    let backends = if one {
        vec![serde_json::from_str::<Why>(&body).context(strange)?]
    } else {
        serde_json::from_str::<PoolWhy>(&body).context(strange)?.backends
    };
    if let Some(path) = &arguments.pcapng {
        std::fs::write(path, capture(&backends)).with_context(|| format!("cannot write {}", path.display()))?;
        complain(&format!("what the probes sent and received is in {}\n", path.display()));
    }
    if form == Form::Json {
        say(&body);
        return Ok(Ending::Good);
    }
    let bytes = if arguments.hex { Bytes::Hex } else { Bytes::Text };
    let taste = Taste { all: arguments.all || arguments.hex, bytes, paint: Paint::of_output() };
    match backends.as_slice() {
        [only] if one => say(&page(only, taste)),
        all => say(&list(&arguments.of, all, taste.paint)),
    }
    Ok(Ending::Good)
}

/// Everything on one backend as lines, for whoever has a runtime.
pub(super) async fn lines(port: &AdminPort, of: &Of) -> anyhow::Result<Vec<String>> {
    let answer = port.asking(Method::GET, &format!("{}/why", of.path()), PATIENCE).await?;
    let why: Why = serde_json::from_str(&answer.good()?).context("the answer is not what an evenkeel says")?;
    let taste = Taste { all: false, bytes: Bytes::Text, paint: Paint::Plain };
    Ok(page(&why, taste).lines().map(str::to_owned).collect())
}

/// A line on each backend.
fn list(pool: &str, backends: &[Why], paint: Paint) -> String {
    let mut grid = Grid::new(&[("", Side::Left), ("", Side::Left), ("", Side::Right), ("", Side::Left)]);
    for why in backends {
        let plain = |text: String| (text, Ink::None);
        let cause = why.because.first().map_or_else(|| standing(why), |cause| clean(cause));
        let state = (why.state.clone(), state_ink(&why.state));
        grid.row(vec![plain(format!("  {}", why.backend)), state, plain(span(why.since_seconds)), plain(cause)]);
    }
    let when = match backends.first() {
        Some(why) if !why.healthy_when.is_empty() => format!(", up when {}", why.healthy_when),
        _ => String::new(),
    };
    let bad = backends.iter().find(|why| why.state != "up").or_else(|| backends.first());
    let more = bad.map_or_else(String::new, |why| format!("evenkeel why {}/{}", why.pool, why.backend));
    let more = Ink::Dim.on(&format!("  more: {more}"), paint);
    format!("{}{when}\n{}{more}\n", Ink::Bold.on(pool, paint), grid.render(paint))
}

/// Everything on one backend.
fn page(why: &Why, taste: Taste) -> String {
    let paint = taste.paint;
    let mut text = Page::default();
    text.add(headline(why, paint));
    if let Some(tree) = &why.tree {
        text.add(format!("\n{}", checks(why, tree, paint)));
    }
    for check in &why.checks {
        if taste.all || is_to_blame(why, check) {
            text.add(format!("\n{}", detail(check, taste)));
        }
    }
    let said = traffic(why, paint);
    if !said.is_empty() {
        text.add(format!("\n{said}"));
    }
    if !why.overrides.is_empty() {
        text.line("\nordered by operators");
        for one in &why.overrides {
            text.add(order(one, &one.backend, paint));
        }
    }
    text.finish()
}

/// State and reason: what whoever was woken wants to know.
fn headline(why: &Why, paint: Paint) -> String {
    let ink = state_ink(&why.state);
    let name = Ink::Bold.on(&format!("{}/{}", why.pool, why.backend), paint);
    let state = ink.on(&why.state.to_uppercase(), paint);
    let mut text = Page::default();
    text.line(format!("{name} is {state} for {}, at {}", span(why.since_seconds), why.address));
    let mut causes = why.because.iter().map(|cause| clean(cause));
    match causes.next() {
        Some(first) => text.line(format!("  {}", ink.on(&first, paint))),
        None => text.line(format!("  {}", standing(why))),
    }
    causes.for_each(|cause| text.line(format!("  {cause}")));
    if !why.because.is_empty() && (why.state == "up" || why.gets_work || why.gets_reads) {
        text.line(format!("  {}", standing(why)));
    }
    text.finish()
}

/// What it gets, and as what.
fn standing(why: &Why) -> String {
    let mut words = Vec::new();
    if let Some(followed) = &why.follows {
        words.push(format!("it follows pool {followed}"));
    }
    words.extend(why.role.as_ref().map(|role| format!("its role is {role}")));
    words.push(match (why.gets_work, why.gets_reads) {
        (true, _) if why.share_percent != 100 => format!("it gets work, {}% of its weight", why.share_percent),
        (true, _) => "it gets work".to_owned(),
        (false, true) => "it gets reads that may go to standbys".to_owned(),
        (false, false) => "it gets no work".to_owned(),
    });
    if why.in_flight > 0 {
        let most = why.connections_max.map_or_else(String::new, |most| format!(" of {most}"));
        words.push(format!("{}{most} in flight", why.in_flight));
    }
    if why.connections_max.is_some() && why.waiting > 0 {
        words.push(format!("{} of its pool wait for a place", why.waiting));
    }
    if let Some(active) = why.active.as_ref().filter(|active| **active != why.backend) {
        words.push(format!("the active one is {active}"));
    }
    words.join(", ")
}

/// `healthy_when` as a tree with a line for each check.
fn checks(why: &Why, tree: &Node, paint: Paint) -> String {
    let columns = [("", Side::Left), ("", Side::Left), ("", Side::Left), ("", Side::Left), ("", Side::Right)];
    let mut grid = Grid::new(&columns);
    // The root is what the heading says; a single check stands for itself.
    match tree.asks.as_str() {
        "check" => branch(&mut grid, why, tree, "  ", "  "),
        _ => branches(&mut grid, why, &tree.parts, "  "),
    }
    for check in why.checks.iter().filter(|check| !mentions(tree, &check.name)) {
        row(&mut grid, why, format!("  {} (not asked for)", check.name), &check.state, Some(check));
    }
    let asked = Ink::Bold.on(&why.healthy_when, paint);
    let holds = if tree.asks == "check" { String::new() } else { format!(": {}", ink_of(&tree.state, paint)) };
    format!("up when {asked}{holds}\n{}", grid.render(paint))
}

fn ink_of(state: &str, paint: Paint) -> String {
    state_ink(state).on(state, paint)
}

fn mentions(node: &Node, check: &str) -> bool {
    node.check.as_deref() == Some(check) || node.parts.iter().any(|part| mentions(part, check))
}

fn branches(grid: &mut Grid, why: &Why, parts: &[Node], indent: &str) {
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        let (knot, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(grid, why, part, &format!("{indent}{knot}"), &format!("{indent}{below}"));
    }
}

fn branch(grid: &mut Grid, why: &Why, node: &Node, first: &str, below: &str) {
    let check = node.check.as_ref().and_then(|name| why.checks.iter().find(|check| check.name == *name));
    let asks = match node.asks.as_str() {
        "check" => node.check.clone().unwrap_or_default(),
        "1 of" => "any of".to_owned(),
        "all" => "all of".to_owned(),
        other => other.to_owned(),
    };
    row(grid, why, format!("{first}{asks}"), &node.state, check);
    branches(grid, why, &node.parts, below);
}

fn row(grid: &mut Grid, why: &Why, label: String, state: &str, check: Option<&CheckWhy>) {
    let plain = |text: String| (text, Ink::None);
    let (found, count, next) = match check {
        Some(check) => (found(check), count(check), next(check)),
        None => (plain(String::new()), plain(String::new()), String::new()),
    };
    debug_assert!(check.is_none_or(|check| why.checks.contains(check)));
    grid.row(vec![plain(label), (state.to_owned(), state_ink(state)), found, count, (next, Ink::Dim)]);
}

/// What the last probe found.
fn found(check: &CheckWhy) -> (String, Ink) {
    let Some(report) = newest(check) else { return ("not asked yet".to_owned(), Ink::Dim) };
    let layer = report.layer.as_ref().map_or_else(String::new, |layer| format!("{layer}: "));
    let mut words = vec![format!("{layer}{}", report.what)];
    words.extend(check.says.iter().filter(|_| report.good).cloned());
    let what = clean(&words.join(", "));
    let short = if what.chars().count() > 60 { what.chars().take(59).chain(['…']).collect() } else { what };
    (short, if report.good { Ink::None } else { Ink::Red })
}

/// How far the row of results is from a flip.
fn count(check: &CheckWhy) -> (String, Ink) {
    let of = format!("{} of {}", check.against, check.needed);
    match check.state.as_str() {
        "up" if check.against > 0 => (format!("{of} failures"), Ink::Yellow),
        "down" => (format!("{of} good answers"), Ink::Yellow),
        _ => (String::new(), Ink::None),
    }
}

fn next(check: &CheckWhy) -> String {
    match check.next_seconds {
        Some(next) if next >= 0.05 => format!("next in {}", moment(next)),
        _ => "asked now".to_owned(),
    }
}

fn newest(check: &CheckWhy) -> Option<&ReportView> {
    let kept = [check.last_bad.as_ref(), check.last_good.as_ref()];
    kept.into_iter().flatten().min_by(|a, b| a.age_seconds.total_cmp(&b.age_seconds))
}

/// Whether what a check saw is worth a page: the backend is what it is because of it, or it begins to fail.
fn is_to_blame(why: &Why, check: &CheckWhy) -> bool {
    let failing = newest(check).is_some_and(|report| !report.good);
    let fails_by_being_up = why.state == "down" && check.state == "up";
    (check.decides && (failing || fails_by_being_up)) || (failing && check.state == "up")
}

/// What the last probes of a check saw, and how to ask by hand.
fn detail(check: &CheckWhy, taste: Taste) -> String {
    let paint = taste.paint;
    let at = check.asked_at.as_ref().map_or_else(String::new, |at| format!(", asked at {at}"));
    let mut text = Page::default();
    text.line(format!("check {}{at}", Ink::Bold.on(&check.name, paint)));
    for (word, ink, report) in
        [("failure", Ink::Red, check.last_bad.as_ref()), ("good answer", Ink::Green, check.last_good.as_ref())]
    {
        let Some(report) = report else {
            text.line(format!("  no {word} yet"));
            continue;
        };
        let ago = moment(report.age_seconds);
        text.line(format!("  {} {ago} ago, in {}", ink.on(&format!("last {word}"), paint), took(report.took_seconds)));
        text.add(steps(report, 4, taste.bytes, paint));
        if let Some(ends) = &report.certificate_expires {
            text.line(format!("    its certificate ends {ends}"));
        }
    }
    let variables = variables(&check.by_hand);
    let set = if variables.is_empty() { String::new() } else { format!(", with {} set", variables.join(", ")) };
    text.line(format!("  by hand{set}\n    {}", check.by_hand));
    text.finish()
}

/// The variables that stand for secrets and files in a command: `"$PASSWORD"`.
fn variables(command: &str) -> Vec<&str> {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut names: Vec<&str> = Vec::new();
    for rest in command.split("\"$").skip(1) {
        let name = &rest[..rest.find(|c| !is_of_name(c)).unwrap_or(rest.len())];
        // PATH is there already.
        if rest[name.len()..].starts_with('"') && !name.is_empty() && name != "PATH" && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What traffic says, where that is worth a line.
fn traffic(why: &Why, paint: Paint) -> String {
    let traffic = &why.traffic;
    let mut text = Page::default();
    if let Some(ejected) = &traffic.ejected {
        let line =
            format!("out because of what traffic saw, for {} still: {}", moment(ejected.left_seconds), ejected.reason);
        text.line(format!("  {}", Ink::Red.on(&clean(&line), paint)));
    }
    if let Some(disagreement) = &traffic.disagreement {
        text.line(format!("  {}", Ink::Yellow.on(disagreement, paint)));
    }
    let mut facts = Vec::new();
    if traffic.failures_in_a_row > 0 {
        facts.push(format!("{} failures in a row", traffic.failures_in_a_row));
    }
    facts.extend(traffic.error_share.map(|share| format!("{:.1} % of the requests failed lately", share * 100.0)));
    facts.extend(traffic.latency_seconds.map(|latency| format!("answers take {}", took(latency))));
    if !facts.is_empty() {
        text.line(format!("  {}", facts.join(", ")));
    }
    if text.is_empty() { String::new() } else { format!("traffic\n{}", text.finish()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_repeats_a_probe_is_told_which_variables_to_set() {
        let rows: &[(&str, &[&str])] = &[
            ("curl -sSi http://10.0.0.1/", &[]),
            ("curl -H 'Authorization: '\"$SECRET2\" 'http://a/?token='\"$SECRET\"", &["SECRET2", "SECRET"]),
            ("mysql --password=\"$PASSWORD\" --ssl-ca \"$CA_FILE\" --x=\"$PASSWORD\"", &["PASSWORD", "CA_FILE"]),
            ("env -i PATH=\"$PATH\" /bin/check '$5'", &[]),
        ];
        for (command, expected) in rows {
            assert_eq!(variables(command), *expected, "{command}");
        }
    }
}
