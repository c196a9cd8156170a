//! The command line: one file per command.
//!
//! Exit codes: 0 done, 1 it did not work (a configuration with problems, a refused reload, not ready), 2 the command
//! line itself is wrong, or `plan` and `diff` found differences. What was asked for goes to standard output, everything else
//! to standard error; every command has an answer for programs, too (`form`).

mod apply;
mod changes;
mod check;
mod client;
mod completions;
mod demo;
mod doctor;
mod drained;
mod drill;
mod events;
mod form;
mod health;
mod history;
mod import;
mod incidents;
mod man;
mod order;
mod pcapng;
mod plan;
mod preset;
mod probe;
mod probing;
mod prove;
mod reference;
mod reload;
mod run;
mod security;
mod serve;
mod source;
mod status;
mod terminal;
mod token;
mod top;
mod transcript;
mod version;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use form::Form;

/// How a command ended that did what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// All is well.
    Good,
    /// It worked, and its answer is no.
    Bad,
    /// It worked, and there are differences.
    Differs,
}

/// What the program is called.
const NAME: &str = "evenkeel";

/// A health-checking load balancer for dashboards, portals and databases.
#[derive(Debug, Parser)]
#[command(name = NAME, version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Try `evenkeel demo` first; it needs no file.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// Answer in JSON: one value, or one a line from a command that goes on telling
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance, by a configuration or by the flags given
    Run(run::Arguments),
    /// Say whether a configuration is good, and what to change if not
    #[command(visible_alias = "validate")]
    Check(check::Arguments),
    /// Show it at work: three backends, a listener and the admin port, without any file
    Demo(demo::Arguments),
    /// Say what of this machine is in the way of a configuration, and what to do about it
    Doctor(doctor::Arguments),
    /// Say how well a running evenkeel is protected, and what to do about what is weak
    Security(security::Arguments),
    /// Show the pools and backends of a running evenkeel
    Status(status::Arguments),
    /// Watch pools and backends live, and give orders, in a terminal
    Top(top::Arguments),
    /// Say why a backend is up or down: the verdict, the checks, what their last probes saw
    Why(why::Arguments),
    /// Ask the checks of a running evenkeel now
    Probe(probe::Arguments),
    /// Show what happened, or follow what happens
    Events(events::Arguments),
    /// Show failures of backends in figures: how soon they were found, and what they cost
    Incidents(incidents::Arguments),
    /// Give a backend no new work and let it finish what it has
    Drain(order::Drain),
    /// Give a backend no work at all, whatever its checks say
    Maintenance(order::Maintenance),
    /// Take back what keeps work from a backend: drain, maintenance, demotion
    Ready(order::Ready),
    /// Give a backend a part of its configured weight
    Weight(order::Weight),
    /// Make a backend the active one of its pool
    Promote(order::Promote),
    /// Make any other backend the active one of its pool
    Demote(order::Demote),
    /// Put a fault in the way to a backend, and report what that costs
    Drill(drill::Arguments),
    /// Make a running evenkeel read its configuration again
    Reload(reload::Arguments),
    /// Say what a configuration would change in a running evenkeel
    Plan(plan::Arguments),
    /// Make a configuration take effect in a running evenkeel
    Apply(apply::Apply),
    /// Keep what was applied and waits for its confirmation
    Confirm(apply::Confirm),
    /// Take back what was applied and waits for its confirmation
    TakeBack(apply::Confirm),
    /// Show what reloads and upgrades meant for connections
    Changes(changes::Arguments),
    /// List the configurations that took effect
    History(history::History),
    /// Print one of them
    Show(history::Show),
    /// Say how one of them differs from another
    Diff(history::Diff),
    /// Go back to one of them
    Rollback(history::Rollback),
    /// Turn the configuration of another program into ours
    Import(import::Arguments),
    /// List the pools that come with the program, or print one
    Preset(preset::Arguments),
    /// Print every option with its default and its meaning, or those of a name
    Reference(reference::Arguments),
    /// Make a token for the admin port, with the hash of it that the balancer keeps
    Token(token::Arguments),
    /// Ask a running evenkeel whether it is ready; for container health checks
    Health(health::Arguments),
    /// Print what a shell needs to complete the command line
    Completions(completions::Arguments),
    /// Write the pages of the manual, one for each command
    Man(man::Arguments),
    /// Print the version
    Version,
}

/// The command line as it may be.
fn grammar() -> clap::Command {
    CommandLine::command()
}

/// Reads the command line, does what it says and says how that ended.
pub(crate) fn start() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return form::misread(&error),
    };
    let form = Form::of(line.json);
    let ended = match line.command {
        Command::Run(arguments) => run::run(&arguments, form),
        Command::Check(arguments) => check::check(&arguments, form),
        Command::Demo(arguments) => demo::demo(&arguments, form),
        Command::Doctor(arguments) => doctor::doctor(&arguments, form),
        Command::Security(arguments) => security::security(&arguments, form),
        Command::Status(arguments) => status::status(&arguments, form),
        Command::Top(arguments) => top::top(&arguments, form),
        Command::Why(arguments) => why::why(&arguments, form),
        Command::Probe(arguments) => probe::probe(&arguments, form),
        Command::Events(arguments) => events::events(&arguments, form),
        Command::Incidents(arguments) => incidents::incidents(&arguments, form),
        Command::Drain(arguments) => order::drain(&arguments, form),
        Command::Maintenance(arguments) => order::maintenance(&arguments, form),
        Command::Ready(arguments) => order::ready(&arguments, form),
        Command::Weight(arguments) => order::weight(&arguments, form),
        Command::Promote(arguments) => order::promote(&arguments, form),
        Command::Demote(arguments) => order::demote(&arguments, form),
        Command::Drill(arguments) => drill::drill(&arguments, form),
        Command::Reload(arguments) => reload::reload(&arguments, form),
        Command::Plan(arguments) => plan::plan(&arguments, form),
        Command::Apply(arguments) => apply::apply(&arguments, form),
        Command::Confirm(arguments) => apply::confirm(&arguments, form),
        Command::TakeBack(arguments) => apply::take_back(&arguments, form),
        Command::Changes(arguments) => changes::changes(&arguments, form),
        Command::History(arguments) => history::history(&arguments, form),
        Command::Show(arguments) => history::show(&arguments, form),
        Command::Diff(arguments) => history::diff(&arguments, form),
        Command::Rollback(arguments) => history::rollback(&arguments, form),
        Command::Import(arguments) => import::import(&arguments, form),
        Command::Preset(arguments) => preset::preset(&arguments, form),
        Command::Reference(arguments) => reference::reference(&arguments, form),
        Command::Token(arguments) => token::token(&arguments, form),
        Command::Health(arguments) => health::health(&arguments, form),
        Command::Completions(arguments) => completions::completions(&arguments, form),
        Command::Man(arguments) => man::man(&arguments, form),
        Command::Version => version::version(form),
    };
    match ended {
        Ok(Ending::Good) => ExitCode::SUCCESS,
        Ok(Ending::Bad) => ExitCode::FAILURE,
        Ok(Ending::Differs) => ExitCode::from(2),
        Err(error) => {
            form.failed(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        CommandLine::try_parse_from(line.split_whitespace()).map(|line| line.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_grammar_has_no_contradictions() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn run_takes_a_file_or_flags_but_not_both() {
        let quick =
            "evenkeel run --listen 127.0.0.1:8080 --backend 127.0.0.1:1 --backend 127.0.0.1:2 --check http:/health";
        let Ok(Command::Run(arguments)) = parse(quick) else { panic!("{quick}") };
        assert_eq!(arguments.flags.backends, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(arguments.flags.check.as_deref(), Some("http:/health"));
        assert!(matches!(parse("evenkeel run"), Ok(Command::Run(_))));
        assert!(matches!(parse("evenkeel run -c a.toml"), Ok(Command::Run(_))));
        assert_eq!(
            parse("evenkeel run -c a.toml --listen :80 --backend b:1").unwrap_err(),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(parse("evenkeel run --listen :80").unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse("evenkeel run --backend b:1").unwrap_err(), ErrorKind::MissingRequiredArgument);
    }

    #[test]
    fn wrong_words_are_refused() {
        assert_eq!(parse("evenkeel walk").unwrap_err(), ErrorKind::InvalidSubcommand);
        assert_eq!(parse("evenkeel status --nope").unwrap_err(), ErrorKind::UnknownArgument);
        assert_eq!(parse("evenkeel").unwrap_err(), ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
        assert_eq!(parse("evenkeel import uchiwa").unwrap_err(), ErrorKind::MissingRequiredArgument);
    }
}
