//! `evenkeel check`: whether a configuration is good.

use std::path::Path;

use clap::Args;
use evenkeel::config::{self, Loaded, Problems, Source};
use evenkeel::server;
use serde_json::json;

use super::form::Form;
use super::probing;
use super::terminal::{Paint, complain, say};
use super::{Ending, source};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    named: source::Named,
    /// Also ask every check once, from here, and say which backends would be up
    #[arg(long)]
    probe: bool,
}

pub(super) fn check(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let path = arguments.named.find()?;
    let loaded = server::load(&Source::Path(path.clone()));
    let problems = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let probed = match &loaded {
        Ok(loaded) if arguments.probe => Some(probing::probe(&loaded.config)?),
        _ => None,
    };
    let ending = match &probed {
        _ if loaded.is_err() => Ending::Bad,
        Some(pools) if pools.iter().any(|pool| !pool.down.is_empty()) => Ending::Bad,
        _ => Ending::Good,
    };
    match (form, &loaded) {
        (Form::Json, _) if arguments.probe => {
            form.say(&json!({ "problems": problems.report(), "pools": probed }), String::new)?;
        }
        (Form::Json, _) => form.say(&problems.report(), String::new)?,
        (Form::Words, Err(problems)) => complain(&shown(problems, "")),
        (Form::Words, Ok(loaded)) => {
            praise(&path, loaded);
            probed.iter().flatten().for_each(|pool| say(&pool.words(Paint::of_output())));
        }
    }
    Ok(ending)
}

/// Says that it is good, and what there is in it.
fn praise(path: &Path, loaded: &Loaded) {
    if !loaded.warnings.is_empty() {
        complain(&shown(&loaded.warnings, "the configuration is good all the same"));
    }
    let config = &loaded.config;
    let backends = config.pools.iter().map(|pool| pool.members.len()).sum();
    let (listeners, pools) = (many(config.listeners.len(), "listener"), many(config.pools.len(), "pool"));
    let tests = match loaded.tests.len() {
        0 => String::new(),
        tests => format!(", {} passed", many(tests, "test")),
    };
    say(&format!("{} is good: {listeners}, {pools}, {}{tests}\n", path.display(), many(backends, "backend")));
}

/// Problems for standard error, and what follows from them.
pub(super) fn shown(problems: &Problems, consequence: &str) -> String {
    let color = match Paint::of_errors() {
        Paint::Plain => config::Color::Plain,
        Paint::Colour => config::Color::Terminal,
    };
    problems.render(color, consequence)
}

fn many(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
