//! What `run` and `demo` share: the event log, and serving until told to stop.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel::config::model::{Level, Log, LogFormat, Site};
use evenkeel::config::{Color, Loaded, Problems};
use evenkeel::server::{self, Loader, Server, Signals, Start, Stopped};
use serde_json::json;
use tracing_subscriber::filter::LevelFilter;

use super::Ending;
use super::form::Form;

/// Reads a configuration.
pub(super) type Read = dyn Fn() -> Result<Loaded, Problems> + Send + Sync;

/// Balances by what `read` gives until told to stop, with the work of whom `before` finds; `started` speaks once everything is
/// bound.
pub(super) fn until_stopped(
    read: Arc<Read>,
    before: impl FnOnce() -> anyhow::Result<Start>,
    started: impl FnOnce(&Server) -> anyhow::Result<()>,
    form: Form,
) -> anyhow::Result<Ending> {
    let first = match read() {
        Ok(first) => first,
        Err(problems) => return Ok(form.at_fault(&problems, "evenkeel was not started")),
    };
    start_log(first.config.log);
    let start = before()?;
    // While there is one thread: what comes later inherits it.
    server::confine(&first, &start)?;
    let server = Server::start_from(loader(read, first), Signals::Obey, start)?;
    started(&server)?;
    Ok(match server.wait() {
        Stopped::InOrder => Ending::Good,
        Stopped::AtOnce => Ending::Bad,
    })
}

/// Where everything is, for programs.
pub(super) fn places(server: &Server) -> serde_json::Value {
    let at = |(name, site): &(Arc<str>, Site)| json!({ "name": &**name, "address": site.to_string() });
    json!({
        "listeners": server.addresses.iter().map(at).collect::<Vec<_>>(),
        "admin": server.admin.as_ref().map(ToString::to_string),
    })
}

/// The first call gives what has been read already. No colours: what it says also goes to the log and to whoever asked
/// for a reload.
fn loader(read: Arc<Read>, first: Loaded) -> Loader {
    let first = Mutex::new(Some(first));
    Arc::new(move || {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let loaded = match ready {
            Some(loaded) => loaded,
            None => read().map_err(|problems| problems.render(Color::Plain, "the running configuration stays"))?,
        };
        Ok(server::Loaded::of(loaded))
    })
}

fn start_log(log: Log) {
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
    }
}
