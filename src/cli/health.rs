//! `evenkeel health`: whether a running evenkeel is ready, as an exit code.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::Ending;
use super::client::{AdminPort, encoded};
use super::form::Form;

/// Shorter than the second or two that orchestrators give a health command.
const PATIENCE: Duration = Duration::from_millis(1_500);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    port: AdminPort,
    /// Also ask that a backend of this pool is up
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
}

pub(super) fn health(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let path = match &arguments.pool {
        Some(pool) => format!("/readyz?pool={}", encoded(pool)),
        None => "/readyz".to_owned(),
    };
    let answer = arguments.port.ask(Method::GET, &path, PATIENCE)?;
    let (is_ready, said) = (answer.status.is_success(), answer.body.trim_end());
    form.say(&json!({ "ready": is_ready, "answer": said }), || format!("{said}\n"))?;
    Ok(if is_ready { Ending::Good } else { Ending::Bad })
}
