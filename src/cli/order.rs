//! `evenkeel drain`, `maintenance`, `ready`, `weight`, `promote`, `demote`: orders to a running evenkeel.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use evenkeel::admin::orders::{DoneView, WishBody};
use evenkeel::config;

use super::Ending;
use super::client::{AdminPort, Answer, encoded};
use super::drained::{self, Patience};
use super::form::Form;
use super::terminal::{Ink, Paint, complain};

/// The state file is written while this waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who orders, and why.
#[derive(Debug, Clone, Args)]
pub(super) struct Owner {
    /// Who orders it [default: your user name]
    #[arg(long, value_name = "NAME", env = "EVENKEEL_OWNER")]
    owner: Option<String>,
    /// Replace what somebody else has ordered, and go on even if nobody is left to work
    #[arg(long)]
    force: bool,
}

/// Why, and for how long.
#[derive(Debug, Clone, Args)]
pub(super) struct Terms {
    #[command(flatten)]
    owner: Owner,
    /// Why, in a few words, for whoever looks at `status`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Take it back by itself after this time, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = config::duration)]
    lasts: Option<Duration>,
}

/// A backend, as `POOL/BACKEND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Of {
    pub(super) pool: String,
    pub(super) backend: String,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// The backend
    #[arg(value_name = "POOL/BACKEND", value_parser = Of::read)]
    of: Of,
    /// Wait until the backend may be stopped: nothing is open to it any more
    #[arg(long)]
    wait: bool,
    /// Cut what is still open after this time, such as 5m [default: wait for as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Maintenance {
    /// The backend
    #[arg(value_name = "POOL/BACKEND", value_parser = Of::read)]
    of: Of,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Ready {
    /// The backend
    #[arg(value_name = "POOL/BACKEND", value_parser = Of::read)]
    of: Of,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Weight {
    /// The backend
    #[arg(value_name = "POOL/BACKEND", value_parser = Of::read)]
    of: Of,
    /// How much of its configured weight it gets, such as 50%
    #[arg(value_name = "PERCENT", value_parser = percent, required_unless_present = "reset")]
    percent: Option<u16>,
    /// Take the order back: it gets its configured weight again
    #[arg(long, conflicts_with_all = ["percent", "reason", "lasts"])]
    reset: bool,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Promote {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The backend that is to be the active one
    #[arg(value_name = "BACKEND", required_unless_present = "reset")]
    backend: Option<String>,
    /// Take the promotion back
    #[arg(long, conflicts_with_all = ["backend", "reason", "lasts"])]
    reset: bool,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    port: AdminPort,
}

#[derive(Debug, Args)]
pub(super) struct Demote {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,
    /// The backend that is to be the active one no more
    #[arg(value_name = "BACKEND")]
    backend: String,
    #[command(flatten)]
    terms: Terms,
    #[command(flatten)]
    port: AdminPort,
}

impl Of {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((pool, backend)) if !pool.is_empty() && !backend.is_empty() => {
                Ok(Self { pool: pool.to_owned(), backend: backend.to_owned() })
            }
            _ => Err("write the pool and the backend with a slash between them: portal/p1".to_owned()),
        }
    }

    /// The path of the API below which it stands.
    pub(super) fn path(&self) -> String {
        format!("/api/v1/pools/{}/backends/{}", encoded(&self.pool), encoded(&self.backend))
    }
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pool, self.backend)
    }
}

fn percent(text: &str) -> Result<u16, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    number.parse().map_err(|_unparsed| format!("{text:?} is no percentage: write 50%"))
}

impl Owner {
    fn body(&self) -> WishBody {
        WishBody { owner: Self::name(self.owner.clone()), force: self.force, ..WishBody::default() }
    }

    /// Who orders: whoever is named, else whose terminal it is.
    pub(super) fn name(told: Option<String>) -> String {
        let named = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
        // Behind sudo, everybody is root.
        let user = || named("SUDO_USER").or_else(|| named("USER")).or_else(|| named("LOGNAME"));
        told.or_else(user).unwrap_or_else(|| "unknown".to_owned())
    }
}

impl Terms {
    fn body(&self) -> WishBody {
        WishBody {
            reason: self.reason.clone(),
            for_seconds: self.lasts.map(|lasts| lasts.as_secs_f64()),
            ..self.owner.body()
        }
    }
}

pub(super) fn drain(arguments: &Drain, form: Form) -> anyhow::Result<Ending> {
    let body = WishBody { deadline_seconds: arguments.deadline.map(|it| it.as_secs_f64()), ..arguments.terms.body() };
    let path = format!("{}/drain", arguments.of.path());
    if !arguments.wait {
        return order(&arguments.port, &path, &body, form);
    }
    let done = ordered(&arguments.port, &path, &body)?;
    if form == Form::Words {
        said(&done, form)?;
    }
    drained::wait(&arguments.port, &arguments.of, &Patience::of(arguments.deadline), form)
}

pub(super) fn maintenance(arguments: &Maintenance, form: Form) -> anyhow::Result<Ending> {
    order(&arguments.port, &format!("{}/maintenance", arguments.of.path()), &arguments.terms.body(), form)
}

pub(super) fn ready(arguments: &Ready, form: Form) -> anyhow::Result<Ending> {
    order(&arguments.port, &format!("{}/ready", arguments.of.path()), &arguments.owner.body(), form)
}

pub(super) fn weight(arguments: &Weight, form: Form) -> anyhow::Result<Ending> {
    let body = WishBody { percent: arguments.percent, reset: arguments.reset, ..arguments.terms.body() };
    order(&arguments.port, &format!("{}/weight", arguments.of.path()), &body, form)
}

pub(super) fn promote(arguments: &Promote, form: Form) -> anyhow::Result<Ending> {
    let body = WishBody { reset: arguments.reset, ..arguments.terms.body() };
    let pool = encoded(&arguments.pool);
    let path = match &arguments.backend {
        Some(backend) => format!("/api/v1/pools/{pool}/backends/{}/promote", encoded(backend)),
        None => format!("/api/v1/pools/{pool}/promote"),
    };
    order(&arguments.port, &path, &body, form)
}

pub(super) fn demote(arguments: &Demote, form: Form) -> anyhow::Result<Ending> {
    let of = Of { pool: arguments.pool.clone(), backend: arguments.backend.clone() };
    order(&arguments.port, &format!("{}/demote", of.path()), &arguments.terms.body(), form)
}

/// What `top` may order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Ready,
    Maintenance,
    /// Percent; a whole weight is no order.
    Weight(u16),
}

impl Verb {
    /// What it is to a backend, whose name follows.
    pub(super) fn words(self) -> String {
        match self {
            Self::Drain => "drain".to_owned(),
            Self::Ready => "take back drain and maintenance of".to_owned(),
            Self::Maintenance => "maintenance for".to_owned(),
            Self::Weight(100) => "the whole weight for".to_owned(),
            Self::Weight(percent) => format!("{percent}% of the weight for"),
        }
    }
}

/// Orders something of a backend, for whoever has a runtime; what was done, with what there is to know beside it.
pub(super) async fn wished(port: &AdminPort, of: &Of, verb: Verb, owner: String) -> anyhow::Result<String> {
    let mut body = WishBody { owner, ..WishBody::default() };
    let word = match verb {
        Verb::Drain => "drain",
        Verb::Ready => "ready",
        Verb::Maintenance => "maintenance",
        Verb::Weight(percent) => {
            body.reset = percent == 100;
            body.percent = (percent != 100).then_some(percent);
            "weight"
        }
    };
    let done = granted(port.posting(&format!("{}/{word}", of.path()), &body, PATIENCE).await?)?;
    Ok([vec![done.message], done.notes].concat().join("; "))
}

fn order(port: &AdminPort, path: &str, body: &WishBody, form: Form) -> anyhow::Result<Ending> {
    said(&ordered(port, path, body)?, form)
}

fn ordered(port: &AdminPort, path: &str, body: &WishBody) -> anyhow::Result<DoneView> {
    granted(port.post(path, body, PATIENCE)?)
}

fn granted(answer: Answer) -> anyhow::Result<DoneView> {
    let is_refused = answer.status.is_client_error();
    let body = match answer.good() {
        Err(why) if is_refused => bail!("refused: {why}"),
        body => body?,
    };
    serde_json::from_str(&body).context("the answer is not what an evenkeel says")
}

fn said(done: &DoneView, form: Form) -> anyhow::Result<Ending> {
    form.say(done, || format!("{}\n", done.message))?;
    if form == Form::Words {
        for note in &done.notes {
            complain(&format!("{} {note}\n", Ink::Yellow.on("note:", Paint::of_errors())));
        }
    }
    Ok(Ending::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_named_with_its_pool() {
        let of = |pool: &str, backend: &str| Of { pool: pool.to_owned(), backend: backend.to_owned() };
        assert_eq!(Of::read("portal/p1"), Ok(of("portal", "p1")));
        assert_eq!(Of::read("web/[::1]:80").unwrap().path(), "/api/v1/pools/web/backends/%5B%3A%3A1%5D%3A80");
        for text in ["portal", "portal/", "/p1", ""] {
            assert!(Of::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_a_number_with_or_without_its_sign() {
        assert_eq!((percent("50%"), percent("0")), (Ok(50), Ok(0)));
        for text in ["", "%", "-5%", "half", "1.5%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }
}
