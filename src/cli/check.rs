//! `evenkeel check`: whether a configuration is good.

use std::path::PathBuf;

use clap::Args;
use evenkeel::config::{self, Problems, Source};
use evenkeel::server;

use super::probing::{self, Found};
use super::terminal::{Paint, complain, say};
use super::{Ending, source};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration: a TOML file, or a folder of them [default: as for `run`]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Print the problems as JSON
    #[arg(long, conflicts_with = "probe")]
    json: bool,
    /// Also ask every check once, from here, and say which backends would be up
    #[arg(long)]
    probe: bool,
}

pub(super) fn check(arguments: &Arguments) -> anyhow::Result<Ending> {
    let path = source::find(arguments.path.as_deref())?;
    let loaded = server::load(&Source::Path(path.clone()));
    if arguments.json {
        let problems = match &loaded {
            Ok(loaded) => &loaded.warnings,
            Err(problems) => problems,
        };
        say(&format!("{}\n", serde_json::to_string_pretty(&problems.report())?));
        return Ok(if loaded.is_ok() { Ending::Good } else { Ending::Bad });
    }
    match loaded {
        Ok(loaded) => {
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
            if arguments.probe && probing::probe(config)? == Found::SomeDown {
                return Ok(Ending::Bad);
            }
            Ok(Ending::Good)
        }
        Err(problems) => {
            complain(&shown(&problems, ""));
            Ok(Ending::Bad)
        }
    }
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
