//! `evenkeel reload`: makes a running evenkeel read its configuration again, and says what became of it.

use std::time::Duration;

use clap::Args;
use hyper::StatusCode;
use serde::Deserialize;

use super::Ending;
use super::apply::Signed;
use super::client::{AdminPort, Answer};
use super::prove::Proof;
use super::terminal::{complain, say};

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

pub(super) fn reload(arguments: &Arguments) -> anyhow::Result<Ending> {
    let Arguments { signed, prove, port } = arguments;
    prove.around(port, || accepted(port.post("/api/v1/reload", &signed.body(), PATIENCE)?))
}

/// Says what came of a wish for another configuration: a message, or the problems that it has.
pub(super) fn accepted(answer: Answer) -> anyhow::Result<Ending> {
    #[derive(Deserialize)]
    struct Accepted {
        message: String,
    }
    #[derive(Deserialize)]
    struct Refused {
        problems: String,
    }

    if answer.status == StatusCode::CONFLICT
        && let Ok(Refused { problems }) = serde_json::from_str(&answer.body)
    {
        complain(&format!("{}\n", problems.trim_end()));
        return Ok(Ending::Bad);
    }
    let Accepted { message } = serde_json::from_str(&answer.good()?)?;
    say(&format!("{}\n", message.trim_end()));
    Ok(Ending::Good)
}
