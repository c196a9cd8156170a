//! How the program logs: its own events, and what passes through its listeners.
//!
//! Made by `lower::log`; the language of the lines is `log::format`'s.

use crate::log::Target;
use crate::log::format::Format;

/// `[log]`, as far as it is not about access logs: each listener has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Least severity that the event log shows.
    pub level: Level,
    /// Form of the event log on standard error.
    pub format: LogFormat,
}

/// The access log of a listener: `[listener.NAME.log]` over `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// What a line says.
    pub format: Format,
    /// Where lines go.
    pub target: Target,
    /// The share of lines that is written where nothing is amiss; `None`: all.
    pub sample: Option<f32>,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What failed.
    Error,
    /// And what someone should look at.
    Warn,
    /// And what changed.
    Info,
    /// And every connection's end.
    Debug,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
