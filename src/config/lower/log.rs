//! `[log]` and `[listener.NAME.log]`: what is written of the program's events, and of what passes through it.
//!
//! A listener takes over whatever its own section does not say. A format is read here, once: a variable that does not
//! exist is a problem of the configuration, not of a line.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::address;
use super::super::model::{AccessLog, Level, Log, LogFormat, Protocol};
use super::super::section::{Choice, Section};
use super::super::substitute;
use super::super::tree::Value;
use super::super::units::Fault;
use super::super::unknown;
use super::super::vocabulary::{ACCESS, LISTENER_LOG, LOG, LOG_TO};
use crate::log::format::{self, Format};
use crate::log::{Syslog, SyslogAddress, Target};

/// `[log]`.
pub(super) struct LogRead {
    pub(super) events: Log,
    pub(super) access: Access,
}

/// What `[log]` says of access logs: what a listener does not say itself.
#[derive(Debug, Clone)]
pub(super) struct Access {
    lines: Lines,
    target: Target,
    sample: Option<f32>,
}

/// `access`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lines {
    Word(Word),
    Own(Format),
}

/// `access` in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Off,
    Json,
    Text,
    Common,
    Combined,
}

const WORDS: Choice<Word> = Choice {
    words: &[
        ("off", Word::Off),
        ("json", Word::Json),
        ("text", Word::Text),
        ("common", Word::Common),
        ("combined", Word::Combined),
    ],
    foreign: &[
        ("none", "off"),
        ("false", "off"),
        ("on", "write \"text\", \"json\" or \"combined\""),
        ("true", "write \"text\", \"json\" or \"combined\""),
        ("clf", "common"),
        ("apache", "combined"),
        ("nginx", "combined"),
        ("httplog", "text"),
        ("tcplog", "text"),
    ],
    later: &["binary", "protobuf"],
};

const LEVEL: Choice<Level> = Choice {
    words: &[("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug)],
    foreign: &[
        ("warning", "warn"),
        ("notice", "info"),
        ("trace", "debug"),
        ("err", "error"),
        ("crit", "error"),
        ("fatal", "error"),
        ("verbose", "debug"),
    ],
    later: &[],
};

const FORMAT: Choice<LogFormat> = Choice {
    words: &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    foreign: &[
        ("plain", "text"),
        ("console", "text"),
        ("pretty", "text"),
        ("common", "`format` is the form of the event log; write access = \"common\" for the access log"),
        ("combined", "`format` is the form of the event log; write access = \"combined\" for the access log"),
    ],
    later: &["syslog", "journal", "logfmt"],
};

/// Facilities by their number (RFC 5424, section 6.2.1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
const DAEMON: u8 = 3;

/// The port of syslog where none is given.
const SYSLOG_PORT: u16 = 514;

pub(super) fn log(top: &Section<'_>) -> LogRead {
    let usual = Access { lines: Lines::Word(Word::Off), target: Target::Stdout, sample: None };
    let section = top.section("log", &LOG);
    let section = section.as_ref();
    LogRead {
        events: Log {
            level: section.and_then(|log| log.choice("level", &LEVEL)).unwrap_or(Level::Info),
            format: section.and_then(|log| log.choice("format", &FORMAT)).unwrap_or(LogFormat::Text),
        },
        access: section.map_or(usual.clone(), |section| access(section, &usual)),
    }
}

/// The access log of a listener.
pub(super) fn of_listener(listener: &Section<'_>, protocol: Protocol, log: &Access) -> Option<Arc<AccessLog>> {
    let section = listener.section("log", &LISTENER_LOG);
    let read = section.map_or_else(|| log.clone(), |section| access(&section, log));
    let text = match (read.lines, protocol) {
        (Lines::Own(format), _) => {
            return Some(Arc::new(AccessLog { format, target: read.target, sample: read.sample }));
        }
        (Lines::Word(Word::Off), _) => return None,
        (Lines::Word(Word::Json), _) => format::JSON,
        (Lines::Word(Word::Text), Protocol::Http) => format::TEXT,
        (Lines::Word(Word::Text), Protocol::Tcp) => format::TEXT_TCP,
        (Lines::Word(Word::Text), Protocol::Udp) => format::TEXT_UDP,
        (Lines::Word(Word::Common), _) => format::COMMON,
        (Lines::Word(Word::Combined), _) => format::COMBINED,
    };
    let format = Format::parse(text).expect("a test of `log::format` reads those that come with the program");
    Some(Arc::new(AccessLog { format, target: read.target, sample: read.sample }))
}

/// What a section says, over what holds without it.
fn access(section: &Section<'_>, usual: &Access) -> Access {
    Access {
        lines: lines(section).unwrap_or_else(|| usual.lines.clone()),
        target: target(section, "to").unwrap_or_else(|| usual.target.clone()),
        sample: match section.share("sample") {
            Some(share) if share < 1.0 => Some(share),
            Some(_) => None,
            None => usual.sample,
        },
    }
}

fn lines(section: &Section<'_>) -> Option<Lines> {
    let entry = section.entry("access")?;
    if !matches!(entry.node.value, Value::Table(_)) {
        return section.choice("access", &WORDS).map(Lines::Word);
    }
    let own = section.section("access", &ACCESS)?;
    if !own.has("format") {
        own.missing("format", "write access = { format = \"$client $method $host$target $status\" }");
    }
    own.parsed("format", line).map(Lines::Own)
}

fn line(text: &str) -> Result<Format, Fault> {
    let fault = |message: String, label: &str, help: String| Err(Fault::new("log-format", message, label).help(help));
    match Format::parse(text) {
        Ok(format) => Ok(format),
        Err(format::Fault::Unknown(name)) => {
            let (bare, _) = name.split_once(':').unwrap_or((&name, ""));
            let near = unknown::nearest(bare, format::names().chain(format::WITH_ARGUMENT));
            let help = match near {
                Some(near) if format::WITH_ARGUMENT.contains(&near) => format!("did you mean `${near}:NAME`?"),
                Some(near) => format!("did you mean `${near}`?"),
                None => format!(
                    "the variables are {}, and with a name behind a colon {}",
                    format::names().collect::<Vec<_>>().join(", "),
                    format::WITH_ARGUMENT.join(", ")
                ),
            };
            fault(format!("an access log has no variable `{name}`"), "no such variable", help)
        }
        Err(format::Fault::Argument(name)) => fault(
            format!("`${name}` says not which one"),
            "the name is missing",
            format!("write ${name}:NAME, such as ${name}:{}", if name == "cookie" { "session" } else { "user-agent" }),
        ),
        Err(format::Fault::NoArgument(name)) => fault(
            format!("`${name}` takes nothing behind a colon"),
            "not that kind of variable",
            format!("write ${name}"),
        ),
        Err(format::Fault::Open) => {
            fault("a brace is not closed".into(), "opened in here", "write $${name}, with both braces".into())
        }
        Err(format::Fault::Bare) => fault(
            "a dollar sign without the name of a variable".into(),
            "names nothing",
            "write $$ for the sign itself".into(),
        ),
        Err(format::Fault::Unfit) => fault(
            "no line of a log can be like that".into(),
            "a control character, or hundreds of variables",
            "write it in one line, with a blank between the variables".into(),
        ),
    }
}

/// Where lines go, by a key: `to` of access logs, `audit` of the admin port.
pub(super) fn target(section: &Section<'_>, key: &str) -> Option<Target> {
    let entry = section.entry(key)?;
    match &entry.node.value {
        Value::String(text) if text.value == "stdout" => Some(Target::Stdout),
        Value::String(text) => {
            let help = match text.value.as_str() {
                "stderr" => "write \"stdout\": on standard error stands the event log".into(),
                "syslog" | "journal" | "/dev/log" => format!("write {key} = {{ syslog = \"/dev/log\" }}"),
                path if path.contains('/') => format!("write {key} = {{ file = \"{path}\" }}"),
                _ => "it takes \"stdout\", { file = \"PATH\" } or { syslog = \"/dev/log\" }".into(),
            };
            let message = format!("a log cannot go to `{}`", text.value);
            section.fault(&entry.node, Fault::new("unknown-word", message, "not a place for lines").help(help));
            None
        }
        Value::Table(_) => in_detail(&section.section(key, &LOG_TO)?),
        _ => {
            let help =
                format!("write {key} = \"stdout\", {key} = {{ file = \"PATH\" }} or {key} = {{ syslog = \"/dev/log\" }}");
            section.wrong_type(&entry.node, key, "a text or a table", &help);
            None
        }
    }
}

fn in_detail(section: &Section<'_>) -> Option<Target> {
    match (section.entry("file"), section.entry("syslog")) {
        (Some(entry), None) => {
            let path = section.text("file")?;
            if path.is_empty() || path.ends_with('/') {
                let fault = Fault::new("text", format!("`{path}` is not the path of a file"), "a folder, or nothing");
                section.fault(&entry.node, fault.help("write to = { file = \"/var/log/evenkeel/access.log\" }"));
                return None;
            }
            for key in ["facility", "tag"].iter().filter_map(|key| section.entry(key)) {
                let fault = Fault::new("conflict", format!("`{}` beside `file`", key.key), "speaks of syslog");
                section.fault_at(key.key_at, fault.help("take it out"));
            }
            Some(Target::File(Arc::new(substitute::resolve(section.cx, entry.node.at, path))))
        }
        (None, Some(_)) => {
            let address = section.parsed("syslog", syslog)?;
            let facility = section.parsed("facility", facility).unwrap_or(DAEMON);
            let tag = section.parsed("tag", tag).unwrap_or_else(|| "evenkeel".into());
            Some(Target::Syslog(Arc::new(Syslog { address, facility, tag })))
        }
        (Some(_), Some(entry)) => {
            let fault = Fault::new("conflict", "`syslog` beside `file`", "the lines go to one place");
            section.fault_at(entry.key_at, fault.help("take one of the two out"));
            None
        }
        (None, None) => {
            section.missing("file", "write file = \"/var/log/evenkeel/access.log\", or syslog = \"/dev/log\"");
            None
        }
    }
}

/// `/dev/log`, `udp:10.0.0.5:514`, `tcp:logs.example.com:601`.
fn syslog(text: &str) -> Result<SyslogAddress, Fault> {
    let path = text.strip_prefix("unix:").unwrap_or(text);
    if path.starts_with('/') {
        return Ok(SyslogAddress::Unix(PathBuf::from(path)));
    }
    let fault = |label: &str, help: String| {
        Err(Fault::new("address", format!("`{text}` is not the address of a syslog daemon"), label).help(help))
    };
    let (Some((kind, rest)), true) = (text.split_once(':'), text.contains("udp") || text.contains("tcp")) else {
        return fault(
            "how is it spoken to?",
            format!("write \"udp:{text}\" or \"tcp:{text}\", or \"/dev/log\" for this machine's own"),
        );
    };
    let rest = rest.trim_start_matches('/');
    let with_port = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:{SYSLOG_PORT}") };
    address::backend(&with_port)?;
    match kind {
        "udp" if text.starts_with("udp://") => fault("no slashes here", format!("write \"udp:{rest}\"")),
        "tcp" if text.starts_with("tcp://") => fault("no slashes here", format!("write \"tcp:{rest}\"")),
        "udp" => Ok(SyslogAddress::Udp(with_port.into())),
        "tcp" => Ok(SyslogAddress::Tcp(with_port.into())),
        _ => fault("neither udp nor tcp", format!("write \"udp:{rest}\" or \"tcp:{rest}\"")),
    }
}

fn facility(text: &str) -> Result<u8, Fault> {
    let number = (0..).zip(FACILITIES).find(|(_, name)| *name == text).map(|(number, _)| number);
    number.ok_or_else(|| {
        let fault = Fault::new("unknown-word", format!("syslog has no facility `{text}`"), "no such facility");
        fault.help("it takes \"daemon\", \"user\", \"local0\" to \"local7\" and the others of RFC 5424")
    })
}

fn tag(text: &str) -> Result<Arc<str>, Fault> {
    if (1..=48).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    let fault = Fault::new("text", format!("`{text}` cannot be a tag"), "not the name of a program");
    Err(fault.help("a tag is up to 48 letters, digits and signs, without blanks: tag = \"evenkeel\""))
}
