//! `evenkeel plan`: what a configuration would change in a running evenkeel, in words, before it does.

use std::time::Duration;

use clap::Args;
use evenkeel::admin::generations::PlanView;
use evenkeel::config::Source;
use hyper::StatusCode;
use serde::Deserialize;

use super::client::{AdminPort, Answer};
use super::form::Form;
use super::terminal::complain;
use super::{Ending, source};

/// Names of certificates are read while this waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    named: source::Named,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn plan(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let path = arguments.named.find()?;
    let written = match Source::Path(path).written() {
        Ok(written) => written,
        Err(problems) => return Ok(form.at_fault(&problems, "")),
    };
    let answer = arguments.port.post("/api/v1/plan", &written, PATIENCE)?;
    if answer.status == StatusCode::CONFLICT {
        return refused(&answer, form);
    }
    shown(answer, form)
}

/// What a plan or a difference says.
pub(super) fn shown(answer: Answer, form: Form) -> anyhow::Result<Ending> {
    let body = answer.good()?;
    let view: PlanView = serde_json::from_str(&body)?;
    if form == Form::Words {
        complain(&view.warnings);
    }
    form.say(&view, || view.plan.to_string())?;
    Ok(if view.changes_anything { Ending::Differs } else { Ending::Good })
}

fn refused(answer: &Answer, form: Form) -> anyhow::Result<Ending> {
    #[derive(Deserialize)]
    struct Refused {
        problems: String,
        reported: serde_json::Value,
    }

    let Refused { problems, reported } = serde_json::from_str(&answer.body)?;
    form.at_fault_by(&problems, &reported);
    Ok(Ending::Bad)
}
