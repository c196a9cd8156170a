//! `evenkeel security`: how well a running evenkeel is protected, each weakness with its remedy.

use std::time::Duration;

use clap::Args;
use evenkeel::admin::security::{FindingView, Level, ReachView, SecurityView};
use hyper::Method;

use super::Ending;
use super::client::AdminPort;
use super::form::Form;
use super::terminal::{Ink, Page, Paint};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn security(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let body = arguments.port.ask(Method::GET, "/api/v1/security", PATIENCE)?.good()?;
    let view: SecurityView = serde_json::from_str(&body)?;
    form.say(&view, || page(&view, Paint::of_output()))?;
    Ok(if view.weak { Ending::Bad } else { Ending::Good })
}

fn page(view: &SecurityView, paint: Paint) -> String {
    let mut page = Page::default();
    for FindingView { topic, level, what, remedy } in &view.findings {
        let (word, ink) = match level {
            Level::Ok => ("ok", Ink::Green),
            Level::Weak => ("weak", Ink::Yellow),
        };
        page.line(format!("{}  {topic:<13} {what}", ink.on(&format!("{word:<4}"), paint)));
        if !remedy.is_empty() {
            page.line(format!("{:20}-> {remedy}", ""));
        }
    }
    if let Some(ReachView { read, write, run }) = &view.within_reach {
        for (deed, list) in [("to read", read), ("to write to", write), ("to run", run)] {
            page.line(format!("within reach {deed}: {}", list.join(", ")));
        }
    }
    let weak = view.findings.iter().filter(|finding| finding.level == Level::Weak).count();
    page.line(match weak {
        0 => "nothing is weak".to_owned(),
        count => format!("weak: {count}"),
    });
    page.finish()
}
