//! `evenkeel history`, `show`, `diff`, `rollback`: the configurations that took effect, and the way back to one.

use std::fmt::Write as _;

use anyhow::bail;
use clap::Args;
use evenkeel::admin::changes::{AwaitingView, InForceView, LayerView};
use evenkeel::admin::generations::{GenerationView, HistoryView, TextView};
use hyper::Method;

use super::Ending;
use super::apply::Signed;
use super::client::AdminPort;
use super::form::Form;
use super::plan::{self, PATIENCE};
use super::reload::{accepted, said};
use super::terminal::{complain, say};
use super::transcript::clean;

#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The number of the generation [default: what is in force, layer by layer]
    #[arg(value_name = "N")]
    number: Option<u64>,
    /// Print its text alone, such as into a file
    #[arg(long, conflicts_with = "json")]
    text: bool,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The number of the one generation
    #[arg(value_name = "A")]
    from: u64,
    /// The number of the other
    #[arg(value_name = "B")]
    to: u64,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// The number of the generation to go back to
    #[arg(value_name = "N")]
    number: u64,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn history(arguments: &History, form: Form) -> anyhow::Result<Ending> {
    let body = arguments.port.ask(Method::GET, "/api/v1/generations", PATIENCE)?.good()?;
    let view: HistoryView = serde_json::from_str(&body)?;
    form.say(&view, || listed(&view))?;
    if form == Form::Words && view.kept_in.is_none() {
        complain("kept in memory only, until the program ends: the configuration names no state_file\n");
    }
    Ok(Ending::Good)
}

fn listed(view: &HistoryView) -> String {
    let mut text = String::new();
    for one in &view.generations {
        let mark = if one.number == view.current { '*' } else { ' ' };
        let at = one.at.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ");
        let short = one.hash.get(..12).unwrap_or(&one.hash);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{mark} {:>4}  {at}Z  {short}  {}{}", one.number, one.why, signed(one));
    }
    if let Some(waiting) = &view.awaiting {
        text.push_str(&waits(waiting));
    }
    text
}

/// Who wanted it, and why.
fn signed(one: &GenerationView) -> String {
    let owner = one.owner.as_ref().map(|owner| format!(", by {owner}")).unwrap_or_default();
    let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
    clean(&format!("{owner}{reason}"))
}

/// That a change waits for its confirmation, as a line.
pub(super) fn waits(waiting: &AwaitingView) -> String {
    let guard = waiting.guard.as_ref().map(|guard| format!(" or as soon as not {guard}")).unwrap_or_default();
    let (generation, before, seconds) = (waiting.generation, waiting.before, waiting.left_seconds);
    clean(&format!(
        "generation {generation} waits for its confirmation: all is as by {before} again in {seconds:.0}s{guard}, unless \
         somebody says `evenkeel confirm`"
    )) + "\n"
}

/// Where what is in force comes from, lowest first, as remarks.
fn layers(view: &InForceView) -> String {
    let mut text = String::from("# in force, the lowest layer first:\n");
    for layer in &view.layers {
        let line = match layer {
            LayerView::Files(one) => {
                format!("files: generation {}, {}, {}{}", one.number, one.at, one.why, signed(one))
            }
            LayerView::Api(one) => {
                format!("instead of them: generation {}, {}, {}{}", one.number, one.at, one.why, signed(one))
            }
            LayerView::Override(one) => {
                let until = one.until.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
                format!("order: {} {}/{}, by {}: {}{until}", one.order, one.pool, one.backend, one.owner, one.reason)
            }
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "#   {}", clean(&line));
    }
    if let Some(waiting) = &view.awaiting {
        text.push_str("# ");
        text.push_str(&waits(waiting));
    }
    text
}

pub(super) fn show(arguments: &Show, form: Form) -> anyhow::Result<Ending> {
    let view = if let Some(number) = arguments.number {
        text_of(&arguments.port, number)?
    } else {
        let body = arguments.port.ask(Method::GET, "/api/v1/configuration", PATIENCE)?.good()?;
        let view: InForceView = serde_json::from_str(&body)?;
        if form == Form::Json || !arguments.text {
            form.say(&view, || layers(&view))?;
        }
        if form == Form::Json {
            return Ok(Ending::Good);
        }
        text_of(&arguments.port, view.generation)?
    };
    if form == Form::Json {
        form.say(&view, String::new)?;
        return Ok(Ending::Good);
    }
    let one = &view.generation;
    if view.files.is_empty() {
        bail!("generation {} has no text: it comes from a command line, or its text is kept no more", one.number);
    }
    if view.hidden > 0 {
        complain(&format!("secrets are hidden ({}): the admin port has no token\n", view.hidden));
        if arguments.text {
            // Whoever writes it into a file would lose them.
            return Ok(Ending::Bad);
        }
    }
    if !arguments.text {
        say(&format!("# generation {}, {}, {}{}, {}\n", one.number, one.at, one.why, signed(one), one.hash));
    }
    for file in &view.files {
        if view.files.len() > 1 || !arguments.text {
            say(&format!("# {}\n", file.name));
        }
        say(&file.text);
    }
    Ok(Ending::Good)
}

fn text_of(port: &AdminPort, number: u64) -> anyhow::Result<TextView> {
    let body = port.ask(Method::GET, &format!("/api/v1/generations/{number}"), PATIENCE)?.good()?;
    Ok(serde_json::from_str(&body)?)
}

pub(super) fn diff(arguments: &Diff, form: Form) -> anyhow::Result<Ending> {
    let path = format!("/api/v1/generations/{}/diff/{}", arguments.from, arguments.to);
    plan::shown(arguments.port.ask(Method::GET, &path, PATIENCE)?, form)
}

pub(super) fn rollback(arguments: &Rollback, form: Form) -> anyhow::Result<Ending> {
    let number = arguments.number;
    let path = format!("/api/v1/generations/{number}/rollback");
    let answer = arguments.port.post(&path, &arguments.signed.body(), PATIENCE)?;
    let Some(done) = accepted(answer, form)? else { return Ok(Ending::Bad) };
    said(Some(&done), form)?;
    if form == Form::Words
        && let Some(advice) = advice(&text_of(&arguments.port, number)?)
    {
        say(&advice);
    }
    Ok(Ending::Good)
}

/// How the files come to say the same.
fn advice(view: &TextView) -> Option<String> {
    let number = view.generation.number;
    match view.files.as_slice() {
        [] => None,
        [one] if view.hidden == 0 => {
            let name = &one.name;
            Some(format!("to keep it: evenkeel show {number} --text > '{name}.new' && mv '{name}.new' '{name}'\n"))
        }
        [_] => Some(format!(
            "to keep it, write it into the file by hand (evenkeel show {number}): secrets are shown only where the admin \
             port has a token\n"
        )),
        _ => Some(format!("to keep it, write these files again as `evenkeel show {number}` has them\n")),
    }
}
