//! In which form a command answers: words for people, or JSON for programs.
//!
//! With `--json`, standard output gets one value, or one value a line from a command that goes on telling; so does whoever
//! gets no answer: `{"error": "…"}`, and where a configuration is at fault `"problems"` beside it. The exit codes are the
//! same. What goes to standard error is for people in either form.

use std::process::ExitCode;

use evenkeel::config::Problems;
use serde::Serialize;

use super::terminal::{complain, say};
use super::{Ending, check};

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Words,
    /// For programs.
    Json,
}

/// Why there is no answer.
#[derive(Debug, Serialize)]
struct Failed<'e, P: Serialize> {
    error: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<P>,
}

impl Form {
    /// What was asked for on the command line.
    pub(super) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Words }
    }

    /// Says a value: as it is, or as `words` has it.
    pub(super) fn say(self, value: &impl Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self {
            Self::Words => say(&words()),
            Self::Json => say(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        }
        Ok(())
    }

    /// Says words, which a program has no use for.
    pub(super) fn words(self, words: &str) {
        if self == Self::Words {
            say(words);
        }
    }

    /// Says why a command did not do what it was to do.
    pub(super) fn failed(self, error: &str) {
        match self {
            Self::Words => complain(&format!("evenkeel: {error}\n")),
            Self::Json => say_failed(error, None::<()>),
        }
    }

    /// Says that nothing was done; `words` are whole lines.
    pub(super) fn refused(self, words: &str) -> Ending {
        match self {
            Self::Words => complain(&format!("{}\n", words.trim_end())),
            Self::Json => say_failed(words.trim_end(), None::<()>),
        }
        Ending::Bad
    }

    /// Says what is wrong with a configuration; `consequence` is what follows from that.
    pub(super) fn at_fault(self, problems: &Problems, consequence: &str) -> Ending {
        match self {
            Self::Words => complain(&check::shown(problems, consequence)),
            Self::Json => self.at_fault_by("", &problems.report()),
        }
        Ending::Bad
    }

    /// The same for problems that somebody else has found, in words and as values.
    pub(super) fn at_fault_by(self, words: &str, problems: &impl Serialize) {
        match self {
            Self::Words => complain(&format!("{}\n", words.trim_end())),
            Self::Json => say_failed("the configuration has problems", Some(problems)),
        }
    }
}

/// What the command line itself lacks: it has not been read, so it is looked at as it is.
pub(super) fn misread(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if wants_json && error.use_stderr() {
        say_failed(error.to_string().trim_end(), None::<()>);
    } else {
        // A closed terminal is nobody to tell.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn say_failed(error: &str, problems: Option<impl Serialize>) {
    // One line: it may be the last one of several. Texts and numbers always have a form in JSON.
    let line = serde_json::to_string(&Failed { error, problems }).unwrap_or_default();
    say(&format!("{line}\n"));
}
