//! `evenkeel plan`: what a configuration would change in a running evenkeel, in words, before it does.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use evenkeel::admin::generations::PlanView;
use evenkeel::config::Source;
use hyper::StatusCode;
use serde::Deserialize;

use super::client::{AdminPort, Answer};
use super::terminal::{complain, say};
use super::{Ending, check, source};

/// Names of certificates are read while this waits.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration: a TOML file, or a folder of them [default: as for `run`]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn plan(arguments: &Arguments) -> anyhow::Result<Ending> {
    let path = source::find(arguments.path.as_deref())?;
    let written = match Source::Path(path).written() {
        Ok(written) => written,
        Err(problems) => {
            complain(&check::shown(&problems, ""));
            return Ok(Ending::Bad);
        }
    };
    let answer = arguments.port.post("/api/v1/plan", &written, PATIENCE)?;
    if answer.status == StatusCode::CONFLICT {
        return refused(&answer, arguments.json);
    }
    shown(answer, arguments.json)
}

/// What a plan or a difference says.
pub(super) fn shown(answer: Answer, json: bool) -> anyhow::Result<Ending> {
    let body = answer.good()?;
    let view: PlanView = serde_json::from_str(&body)?;
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&view)?));
    } else {
        complain(&view.warnings);
        say(&view.plan.to_string());
    }
    Ok(if view.changes_anything { Ending::Differs } else { Ending::Good })
}

fn refused(answer: &Answer, json: bool) -> anyhow::Result<Ending> {
    #[derive(Deserialize)]
    struct Refused {
        problems: String,
        reported: serde_json::Value,
    }

    let Refused { problems, reported } = serde_json::from_str(&answer.body)?;
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&reported)?));
    } else {
        complain(&format!("{}\n", problems.trim_end()));
    }
    Ok(Ending::Bad)
}
