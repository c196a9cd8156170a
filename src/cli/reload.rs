//! `evenkeel reload`: makes a running evenkeel read its configuration again, and says what became of it.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use evenkeel::admin::changes::DoneView;
use hyper::StatusCode;
use serde::Deserialize;

use super::Ending;
use super::apply::Signed;
use super::client::{AdminPort, Answer};
use super::form::Form;
use super::prove::Proof;

/// Names are resolved and certificates read while this waits.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    prove: Proof,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn reload(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let Arguments { signed, prove, port } = arguments;
    let change = || accepted(port.post("/api/v1/reload", &signed.body(), PATIENCE)?, form);
    let (done, proved) = prove.around(port, change)?;
    proved.said(done.as_ref(), form)
}

/// What came of a wish for another configuration: what was done, or nothing where the problems that it has are said.
pub(super) fn accepted(answer: Answer, form: Form) -> anyhow::Result<Option<DoneView>> {
    #[derive(Deserialize)]
    struct Refused {
        problems: String,
    }

    if answer.status == StatusCode::CONFLICT
        && let Ok(Refused { problems }) = serde_json::from_str(&answer.body)
    {
        form.refused(&problems);
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&answer.good()?).context("the answer is not what an evenkeel says")?))
}

/// Says what was done.
pub(super) fn said(done: Option<&DoneView>, form: Form) -> anyhow::Result<Ending> {
    let Some(done) = done else { return Ok(Ending::Bad) };
    form.say(done, || format!("{}\n", done.message.trim_end()))?;
    Ok(Ending::Good)
}
