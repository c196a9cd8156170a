//! `evenkeel events`: what happened, and with `--follow` what happens.
//!
//! A follower asks for what comes after the last event that it saw, and waits in each question for a while. When the
//! balancer is gone it asks until it is back; after a restart everything counts anew, and that is said.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::events::{EventView, EventsView};
use hyper::Method;

use super::Ending;
use super::client::{AdminPort, encoded};
use super::form::Form;
use super::terminal::{Ink, Paint, complain, say};
use super::transcript::clean;

/// How long an answer may wait for an event; the server has its own limit.
const WAIT_SECONDS: u64 = 25;
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two attempts at a balancer that is gone.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Go on with what happens from now on, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only events of this pool, and those that concern none
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    port: AdminPort,
}

/// How far a follower is.
#[derive(Debug, Default)]
struct Seen {
    run: Option<String>,
    last: u64,
}

pub(super) fn events(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let mut seen = Seen::default();
    show(&ask(arguments, &seen, 0)?, &mut seen, form)?;
    let mut gone = false;
    if !arguments.follow {
        return Ok(Ending::Good);
    }
    loop {
        match ask(arguments, &seen, WAIT_SECONDS) {
            Ok(view) => {
                if std::mem::replace(&mut gone, false) {
                    complain("evenkeel: it answers again\n");
                }
                show(&view, &mut seen, form)?;
            }
            Err(error) => {
                if !std::mem::replace(&mut gone, true) {
                    complain(&format!("evenkeel: {error:#}; asking until it answers\n"));
                }
                pause()?;
            }
        }
    }
}

fn ask(arguments: &Arguments, seen: &Seen, wait: u64) -> anyhow::Result<EventsView> {
    let run = seen.run.as_ref().map_or_else(String::new, |run| format!("&run={}", encoded(run)));
    let pool = arguments.pool.as_ref().map_or_else(String::new, |pool| format!("&pool={}", encoded(pool)));
    let path = format!("/api/v1/events?after={}&wait={wait}{run}{pool}", seen.last);
    let body = arguments.port.ask(Method::GET, &path, PATIENCE)?.good()?;
    serde_json::from_str(&body).context("the answer is not what an evenkeel says")
}

fn show(view: &EventsView, seen: &mut Seen, form: Form) -> anyhow::Result<()> {
    if seen.run.as_ref().is_some_and(|run| *run != view.run) {
        complain("evenkeel: it has been started anew\n");
    } else if view.missed > 0 && seen.run.is_some() {
        complain(&format!("evenkeel: {} events went by too fast to be kept\n", view.missed));
    }
    for event in &view.events {
        if form == Form::Json {
            say(&format!("{}\n", serde_json::to_string(event)?));
        } else {
            say(&line(event, Paint::of_output()));
        }
    }
    *seen = Seen { run: Some(view.run.clone()), last: view.last };
    Ok(())
}

fn pause() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().context("no runtime")?;
    runtime.block_on(async { tokio::time::sleep(AGAIN).await });
    Ok(())
}

/// `2025-07-01 12:00:00.123Z  down  portal/p1  check mysql: …`
fn line(event: &EventView, paint: Paint) -> String {
    let of = match (&event.pool, &event.backend) {
        (Some(pool), Some(backend)) => format!("{pool}/{backend}  "),
        (Some(pool), None) => format!("{pool}  "),
        _ => String::new(),
    };
    let ink = match event.kind.as_str() {
        "up" | "alarm_over" => Ink::Green,
        "down" | "alarm" | "reload_refused" | "taken_back" | "ejected" => Ink::Red,
        _ => Ink::Yellow,
    };
    let (day, rest) = event.at.split_once('T').unwrap_or((&event.at, ""));
    let time = rest.trim_end_matches('Z');
    let time = time.get(..12).unwrap_or(time);
    let kind = ink.on(&format!("{:<19}", event.kind), paint);
    // Problems of a configuration are many lines.
    let message = event.message.strip_prefix(&event.kind).map_or(event.message.as_str(), |rest| {
        // The first word has been said.
        rest.trim_start_matches(':').trim_start()
    });
    let mut lines = message.lines().map(clean);
    let first = lines.next().unwrap_or_default();
    let rest: Vec<_> = lines.map(|line| format!("    {line}\n")).collect();
    let rest = rest.concat();
    format!("{} {kind}  {of}{first}\n{rest}", Ink::Dim.on(&format!("{day} {time:<12}Z"), paint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_that_lines_up_with_the_others() {
        let event = |at: &str, kind: &str, pool: Option<&str>, backend: Option<&str>, message: &str| EventView {
            number: 1,
            at: at.into(),
            kind: kind.into(),
            pool: pool.map(Into::into),
            backend: backend.map(Into::into),
            message: message.into(),
        };
        let down = event("2025-07-01T12:00:00.123456Z", "down", Some("portal"), Some("p1"), "check db: \x1b[2Jno");
        let expected = "2025-07-01 12:00:00.123Z down                 portal/p1  check db: \\u{1b}[2Jno\n";
        assert_eq!(line(&down, Paint::Plain), expected);
        let refused = event("2025-07-01T12:00:00Z", "reload_refused", None, None, "error: no\n --> a.toml");
        let expected = "2025-07-01 12:00:00    Z reload_refused       error: no\n     --> a.toml\n";
        assert_eq!(line(&refused, Paint::Plain), expected);
    }
}
