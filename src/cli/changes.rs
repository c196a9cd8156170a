//! `evenkeel changes`: what reloads, applies, rollbacks and upgrades meant for connections.

use std::fmt::Write as _;

use clap::Args;
use evenkeel::admin::records::ChangesView;
use evenkeel::control::records::{Record, State};
use evenkeel::control::written_at;
use hyper::Method;

use super::Ending;
use super::client::AdminPort;
use super::form::Form;
use super::plan::PATIENCE;
use super::transcript::clean;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// So many of the last ones
    #[arg(value_name = "N", default_value_t = 10)]
    count: usize,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn changes(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let body = arguments.port.ask(Method::GET, "/api/v1/changes", PATIENCE)?.good()?;
    let mut view: ChangesView = serde_json::from_str(&body)?;
    let surplus = view.changes.len().saturating_sub(arguments.count);
    view.changes.drain(..surplus);
    let words = || view.changes.iter().map(told).collect::<String>();
    let nothing = "nothing has changed since the start\n";
    form.say(&view, || if view.changes.is_empty() { nothing.to_owned() } else { words() })?;
    Ok(Ending::Good)
}

/// One of them in a few lines.
fn told(record: &Record) -> String {
    let Record { generation, before, at, why, owner, reason, took_micros, sockets, connections, work, .. } = record;
    let owner = owner.as_ref().map(|owner| format!(", by {owner}")).unwrap_or_default();
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let took = std::time::Duration::from_micros(*took_micros).as_secs_f64() * 1000.0;
    let head =
        format!("{}  generation {before} to {generation}, {why}{owner}{reason}, in {took:.1} ms", written_at(*at));
    let mut text = format!("{}\n", clean(&head));
    let mut parts = Vec::new();
    for (count, word) in [
        (sockets.handed_over, "handed over"),
        (sockets.kept, "kept"),
        (sockets.opened, "bound anew"),
        (sockets.closed, "given up"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    // Writing to a text cannot fail.
    let _ = writeln!(text, "    addresses:   {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") });
    let state = match (record.state, record.drained_after_ms) {
        (State::Unknown, _) => ", and nobody has counted to the end".to_owned(),
        (_, Some(0)) => String::new(),
        (_, Some(after)) => format!(", all ended after {:.1} s", std::time::Duration::from_millis(after).as_secs_f64()),
        (_, None) => ", some still under way".to_owned(),
    };
    let _ = writeln!(
        text,
        "    connections: {} open: {} kept, {} to drain, of which {} have and {} were cut{state}",
        connections.open, connections.kept, connections.draining, connections.drained, connections.cut
    );
    if work.draining > 0 {
        let _ =
            writeln!(text, "    at backends that are gone: {} to drain, of which {} have", work.draining, work.drained);
    }
    let accepted = &record.accepted;
    let after = match accepted.after {
        Some(after) => format!("{after} in {} s after", accepted.after_seconds),
        None => "not known after".to_owned(),
    };
    let _ = writeln!(text, "    accepted:    {} in {} s before, {after}", accepted.before, accepted.before_seconds);
    text
}
