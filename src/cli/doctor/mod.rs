//! `evenkeel doctor`: what of this machine would be in the way of a configuration, each with its remedy.
//!
//! Three steps that know nothing of each other: `wants` says what the configuration needs, `facts` reads what the machine
//! has (below a folder that may be another than `/`), and `machine`, `network` and `clock` compare the two without asking
//! anybody. What must be asked for (names, the admin port, a folder) is asked in `asked`.

mod asked;
mod clock;
mod facts;
mod finding;
mod machine;
mod network;
mod sockets;
mod wants;

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use clap::Args;
use evenkeel::config::{self, Source};

use super::client::AdminPort;
use super::form::Form;
use super::terminal::Paint;
use super::{Ending, source};
use facts::{Facts, Root};
use finding::Level;
use wants::Wants;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    named: source::Named,
    /// Read /proc, /sys and /run below this folder, such as that of the machine mounted into a container
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    #[command(flatten)]
    port: AdminPort,
}

pub(super) fn doctor(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let begun = (Instant::now(), SystemTime::now());
    let path = arguments.named.find()?;
    let loaded = config::load(&Source::Path(path.clone()));
    let problems = match &loaded {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    let mut findings = asked::configuration(problems, &path);
    let root = Root::new(&arguments.root);
    let facts = Facts::read(&root);
    if let Ok(loaded) = &loaded {
        let wants = Wants::of(&loaded.config);
        findings.extend(machine::judge(&wants, &facts));
        findings.extend(network::judge(&wants, &facts));
        findings.extend(asked::names(&wants.names));
        findings.extend(asked::folders(&wants.folders));
    }
    findings.push(asked::admin(&arguments.port));
    let written = std::fs::metadata(&path).and_then(|file| file.modified()).ok();
    findings
        .extend(clock::judge(&facts.clock, clock::Run { begun, ended: (Instant::now(), SystemTime::now()), written }));
    form.say(&findings, || finding::page(&findings, Paint::of_output()))?;
    let faulty = findings.iter().any(|finding| finding.level == Level::Fault);
    Ok(if faulty { Ending::Bad } else { Ending::Good })
}
