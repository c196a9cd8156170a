//! `evenkeel apply`, `confirm`, `take-back`: a configuration for a running evenkeel, kept only if somebody says so.

use std::io::{BufRead, IsTerminal};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use evenkeel::admin::changes::{DoneView, InForceView};
use evenkeel::config::{self, Source};
use evenkeel::control::guard::Guard;
use hyper::Method;
use serde::Serialize;

use super::client::{AdminPort, encoded};
use super::form::Form;
use super::order::Owner;
use super::plan::PATIENCE;
use super::prove::Proof;
use super::reload::{accepted, said};
use super::{Ending, source};

/// How often it is asked what has become of the change.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// `--yes` confirms so long before the end.
const BEFORE_THE_END: Duration = Duration::from_secs(1);

/// Who, and why.
#[derive(Debug, Args)]
pub(super) struct Signed {
    /// Who does it [default: your user name]
    #[arg(long, value_name = "NAME", env = "EVENKEEL_OWNER")]
    owner: Option<String>,
    /// Why, in a few words, for whoever looks at the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// The same as a body.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    owner: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl Signed {
    pub(super) fn body(&self) -> Body {
        Body { owner: Owner::name(self.owner.clone()), reason: self.reason.clone() }
    }
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    named: source::Named,
    /// Take it back after this time, such as 60s, unless somebody confirms it
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    confirm: Option<Duration>,
    /// Take it back at once when live numbers say so meanwhile, such as "errors < 1%, p99 < 2x"
    #[arg(long, value_name = "GUARD", value_parser = Guard::read, requires = "confirm")]
    guard: Option<Guard>,
    /// Confirm it by itself at the end of that time, if it has not been taken back
    #[arg(long, requires = "confirm")]
    yes: bool,
    /// Write it into the file that the process was started with, once it is to stay: the next start has it then
    #[arg(long)]
    save: bool,
    /// Only if what is in force has this hash (`evenkeel show --json`)
    #[arg(long, value_name = "HASH")]
    only_over: Option<String>,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    prove: Proof,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Confirm {
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn apply(arguments: &Apply, form: Form) -> anyhow::Result<Ending> {
    let path = arguments.named.find()?;
    let written = match Source::Path(path.clone()).written() {
        Ok(written) => written,
        Err(problems) => return Ok(form.at_fault(&problems, "")),
    };
    let Body { owner, reason } = arguments.signed.body();
    let mut query = format!("/api/v1/apply?owner={}&reason={}", encoded(&owner), encoded(&reason));
    if let Some(time) = arguments.confirm {
        query.extend(["&confirm=", &config::written_duration(time)]);
    }
    if let Some(guard) = &arguments.guard {
        query.extend(["&guard=", &encoded(&guard.to_string())]);
    }
    let change =
        || accepted(arguments.port.post_over(&query, &written, arguments.only_over.as_deref(), PATIENCE)?, form);
    let (done, proved) = arguments.prove.around(&arguments.port, change)?;
    if form == Form::Words || done.is_none() || proved.has_failed() {
        let ending = proved.said(done.as_ref(), form)?;
        if ending != Ending::Good {
            return Ok(ending);
        }
    }
    let Some(done) = done else { return Ok(Ending::Bad) };
    let Some(done) = decided(arguments, done, form)? else { return Ok(Ending::Bad) };
    if form == Form::Json {
        return proved.said(Some(&done), form);
    }
    if arguments.confirm.is_none() || arguments.yes || arguments.save || std::io::stdin().is_terminal() {
        form.words(&if arguments.save { format!("{}\n", done.message.trim_end()) } else { advice(&path) });
    }
    Ok(Ending::Good)
}

/// Waits until it is to stay, where it has to be confirmed, and saves it where that is wanted: what was done last. Nothing
/// where it was taken back, which has been said.
fn decided(arguments: &Apply, done: DoneView, form: Form) -> anyhow::Result<Option<DoneView>> {
    let is_asked = form == Form::Words && std::io::stdin().is_terminal();
    let done = match arguments.confirm {
        Some(time) if arguments.yes => {
            let until = Instant::now() + time;
            wait(arguments, &done, until.checked_sub(BEFORE_THE_END.min(time / 2)), None, form)?
        }
        Some(_) if is_asked => {
            form.words("press Enter to keep it\n");
            wait(arguments, &done, None, Some(&enter()), form)?
        }
        Some(_) if arguments.save => wait(arguments, &done, None, None, form)?,
        // Nobody here confirms it.
        Some(_) | None => Some(done),
    };
    match done {
        Some(_) if arguments.save => {
            accepted(arguments.port.post("/api/v1/save", &arguments.signed.body(), PATIENCE)?, form)
        }
        done => Ok(done),
    }
}

/// How the files come to say the same.
fn advice(path: &std::path::Path) -> String {
    format!(
        "to keep it over a restart, put {} where evenkeel reads its configuration; --save does so\n",
        path.display()
    )
}

/// A line from the terminal; its end comes as an error.
fn enter() -> Receiver<()> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
            // Whoever waits may have gone.
            let _ = sender.send(());
        }
    });
    receiver
}

/// Waits until the change is confirmed (by Enter, by somebody else, or by us at a time) or taken back.
fn wait(
    arguments: &Apply,
    done: &DoneView,
    at: Option<Instant>,
    enter: Option<&Receiver<()>>,
    form: Form,
) -> anyhow::Result<Option<DoneView>> {
    let mut enter = enter;
    loop {
        let pressed = if let Some(receiver) = enter {
            receiver.recv_timeout(LOOK_EVERY)
        } else {
            std::thread::park_timeout(LOOK_EVERY);
            Err(RecvTimeoutError::Timeout)
        };
        if pressed == Err(RecvTimeoutError::Disconnected) {
            // The terminal has ended: nobody can confirm it here.
            enter = None;
        }
        if pressed.is_ok() || at.is_some_and(|at| Instant::now() >= at) {
            let done = accepted(arguments.port.post("/api/v1/confirm", &arguments.signed.body(), PATIENCE)?, form)?;
            form.words(&done.as_ref().map_or_else(String::new, |done| format!("{}\n", done.message.trim_end())));
            return Ok(done);
        }
        let body = arguments.port.ask(Method::GET, "/api/v1/configuration", PATIENCE)?.good()?;
        let view: InForceView = serde_json::from_str(&body).context("the answer is not what an evenkeel says")?;
        if let Some(back) = view.taken_back.filter(|back| back.generation == done.generation) {
            form.refused(&format!("generation {} was taken back: {}", back.generation, back.why));
            return Ok(None);
        }
        if view.awaiting.is_none() {
            let message = format!("generation {} is confirmed", done.generation);
            form.words(&format!("{message}\n"));
            return Ok(Some(DoneView { message, generation: done.generation, hash: done.hash.clone() }));
        }
    }
}

pub(super) fn confirm(arguments: &Confirm, form: Form) -> anyhow::Result<Ending> {
    confirmed(&arguments.port, &arguments.signed.body(), form)
}

fn confirmed(port: &AdminPort, body: &Body, form: Form) -> anyhow::Result<Ending> {
    said(accepted(port.post("/api/v1/confirm", body, PATIENCE)?, form)?.as_ref(), form)
}

pub(super) fn take_back(arguments: &Confirm, form: Form) -> anyhow::Result<Ending> {
    let answer = arguments.port.post("/api/v1/take-back", &arguments.signed.body(), PATIENCE)?;
    said(accepted(answer, form)?.as_ref(), form)
}
