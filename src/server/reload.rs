//! A new configuration, applied by difference: what did not change keeps its sockets, health, counters and connections.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::control::Control;
use super::provisional::{Before, Layer};
use super::{Loaded, Loader, proof};
use crate::config::model::{Config, Exemplars};
use crate::config::{Color, Source, Written};
use crate::control::history::{Generation, History};
use crate::control::plan::{self, Masks, needs_restart};
use crate::control::{Done, Life, Unchanged, Who};
use crate::metrics::keep_exemplars;
use crate::pool::events::{Event, EventKind};
use crate::route::Table;

/// Old tables are dropped here, later, so that no worker runs ten thousand drops.
const KEEP_OLD: Duration = Duration::from_secs(3);

/// Why there is another configuration.
#[derive(Clone)]
pub(super) enum Cause {
    Start,
    Signal,
    Watch,
    /// By a command.
    Command(Who),
    /// What is in force was written into the file.
    Saved(Who),
    /// Back to an earlier generation.
    Rollback(u64, Who),
    /// One that was sent.
    Sent(Written, Who),
    /// What was in force before one that does not stay.
    TakingBack(Box<TakingBack>),
}

/// A change that does not stay.
#[derive(Clone)]
pub(super) struct TakingBack {
    /// Its number.
    pub(super) of: u64,
    /// Why it does not.
    pub(super) why: String,
    /// Who wants that; nobody where it is taken back by itself.
    pub(super) who: Who,
    /// What is in force instead.
    pub(super) before: Before,
}

impl Cause {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::Signal => "SIGHUP".to_owned(),
            Self::Watch => "watch".to_owned(),
            Self::Command(_) => "command".to_owned(),
            Self::Saved(_) => "save".to_owned(),
            Self::Rollback(number, _) => format!("rollback to {number}"),
            Self::Sent(..) => "apply".to_owned(),
            Self::TakingBack(back) => format!("taking back {}", back.of),
        }
    }

    pub(super) fn owner(&self) -> Option<String> {
        match self {
            Self::Command(who) | Self::Saved(who) | Self::Rollback(_, who) | Self::Sent(_, who) => who.owner.clone(),
            Self::TakingBack(back) => back.who.owner.clone(),
            Self::Start | Self::Signal | Self::Watch => None,
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Self::Command(who) | Self::Saved(who) | Self::Rollback(_, who) | Self::Sent(_, who) => who.reason.clone(),
            Self::TakingBack(back) => back.why.clone(),
            Self::Start | Self::Signal | Self::Watch => String::new(),
        }
    }

    fn event(&self) -> EventKind {
        match self {
            Self::Sent(..) => EventKind::Applied,
            Self::TakingBack(_) => EventKind::TakenBack,
            _ => EventKind::Reload,
        }
    }
}

/// Reads the configuration, or takes that of an earlier generation, and applies it.
///
/// # Errors
/// Why nothing has changed, for the operator.
pub(super) async fn reload(control: &mut Control, read: &Loader, cause: Cause) -> Result<Done, Unchanged> {
    let begun = Instant::now();
    control.supervisor.reloading();
    let result = if control.life.is_handing_over() {
        Err("another process is taking over, and reads the configuration itself: ask again in a moment".to_owned())
    } else {
        attempt(control, read, &cause).await
    };
    let life = &control.life;
    life.last_reload_micros.store(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
    let (kind, message) = match &result {
        Ok(message) => {
            life.reloads.fetch_add(1, Relaxed);
            life.last_reload_refused.store(0, Relaxed);
            life.last_reload_at.store(u64::try_from(Timestamp::now().as_second()).unwrap_or(0), Relaxed);
            tracing::info!("{message}");
            (cause.event(), message)
        }
        Err(problems) => {
            life.reloads_refused.fetch_add(1, Relaxed);
            life.last_reload_refused.store(1, Relaxed);
            tracing::error!("the new configuration was refused; the running one stays\n{problems}");
            (EventKind::ReloadRefused, problems)
        }
    };
    control.supervisor.ready(if result.is_ok() { message } else { "serving; the last reload was refused" });
    control.events.add(Event { at: Timestamp::now(), pool: None, backend: None, kind, message: message.clone() });
    let generation = control.published.generation();
    let hash = life.in_force().hash().to_owned();
    result.map(|message| Done { message, generation, hash }).map_err(Unchanged::Problems)
}

async fn attempt(control: &mut Control, read: &Loader, cause: &Cause) -> Result<String, String> {
    let begun = Instant::now();
    let (old, foundation) = (control.published.load(), control.foundation.clone());
    let read = match cause {
        Cause::Rollback(number, _) => earlier(&control.history, *number)?,
        Cause::Sent(text, _) => written(text.clone()),
        Cause::TakingBack(back) => as_it_was(back.before.clone()),
        Cause::Start | Cause::Signal | Cause::Watch | Cause::Command(_) | Cause::Saved(_) => Arc::clone(read),
    };
    let (previous, in_force) = (Arc::clone(&old), Arc::clone(&read));
    // Reading, judging and building take time that probes and the admin port must not wait for.
    let built = tokio::task::spawn_blocking(move || {
        let loaded = read()?;
        foundation.sinks.open(loaded.config.log_targets())?;
        let table = Table::build(Arc::new(loaded.config.clone()), Some(&previous), &foundation);
        Ok::<_, String>((loaded, Arc::new(table)))
    });
    let (loaded, table) = built.await.map_err(|error| format!("the configuration could not be read: {error}"))??;
    let bound = control.listeners.bind(&loaded.config, control.workers_count).map_err(|error| error.to_string())?;
    let measured = control.measured(begun, &table, bound.count());
    // From here on nothing can fail, and nothing waits: no flip comes between the old table and the new.
    control.schedule.limit(loaded.config.probes_at_once);
    control.schedule.follow(&table.pools);
    control.published.publish(Arc::clone(&table));
    keep_exemplars(table.config.metrics.exemplars == Exemplars::Keep);
    table.pools.iter().for_each(|pool| pool.refresh());
    for backend in old.leaving(&table) {
        backend.retire();
    }
    for backend in old.rerouted(&table) {
        backend.reroute();
    }
    control.listeners.apply(&loaded.config, bound, &control.workers);
    control.record_change(measured, cause, &table);
    control.foundation.sinks.reopen();
    let mut message = describe(control, &old, &table, &loaded, begun.elapsed());
    match cause {
        // The files say something else: they are looked at as before.
        Cause::Rollback(..) => control.note_also(&loaded, in_force),
        // Nor is the draft of what was sent looked at: it is in force as it was sent.
        Cause::Sent(..) => control.set_in_force(Some(in_force)),
        // Whoever takes back knows what is in force.
        Cause::TakingBack(_) => {}
        Cause::Start | Cause::Signal | Cause::Watch | Cause::Command(_) | Cause::Saved(_) => {
            control.note_sources(&loaded);
        }
    }
    let hash = keep(control, &table, loaded, cause).await;
    match cause {
        Cause::Rollback(number, _) => message.push_str(&since_then(&control.history, *number, &hash)),
        Cause::Sent(..) => {
            message.push_str("; the files are as they were, and the next reload or start takes what they say");
        }
        Cause::TakingBack(back) => {
            let (of, why, number) = (back.of, &back.why, back.before.generation.number);
            message =
                format!("generation {of} is taken back, {why}; all is as by generation {number} again; {message}");
        }
        Cause::Start | Cause::Signal | Cause::Watch | Cause::Command(_) | Cause::Saved(_) => {}
    }
    drop_later(old);
    Ok(message)
}

fn drop_later(old: Arc<Table>) {
    tokio::spawn(async move {
        tokio::time::sleep(KEEP_OLD).await;
        drop(old);
    });
}

/// What an earlier generation said, read again with the variables and files of now.
fn earlier(history: &History, number: u64) -> Result<Loader, String> {
    let kept = || history.list().first().map_or(0, |first| first.number);
    let found = history
        .find(number)
        .ok_or_else(|| format!("there is no generation {number}; {} to {} are kept", kept(), history.last()))?;
    found.written.map(written).ok_or_else(|| format!("the text of generation {number} is not kept"))
}

/// What reads these texts.
pub(super) fn written(text: Written) -> Loader {
    let source = Source::Written(text);
    Arc::new(move || {
        let loaded = proof::load(&source);
        let loaded = loaded.map_err(|problems| problems.render(Color::Plain, "the running configuration stays"))?;
        Ok(Loaded::of(loaded))
    })
}

/// What was in force, without reading anything.
fn as_it_was(before: Before) -> Loader {
    Arc::new(move || {
        let (config, written) = (Config::clone(&before.config), before.generation.written.clone());
        Ok(Loaded { config, warnings: String::new(), files: Vec::new(), written, substituted: Vec::new() })
    })
}

/// Numbers and keeps what has taken effect; gives its hash.
async fn keep(control: &Control, table: &Arc<Table>, loaded: Loaded, cause: &Cause) -> String {
    let (history, life, table) = (Arc::clone(&control.history), Arc::clone(&control.life), Arc::clone(table));
    let cause = cause.clone();
    // The disk may be slow: probes and the admin port do not wait for it.
    let kept = tokio::task::spawn_blocking(move || record(&history, &life, &table, loaded, &cause));
    kept.await.unwrap_or_default()
}

fn record(history: &History, life: &Life, table: &Table, loaded: Loaded, cause: &Cause) -> String {
    let hash = plan::hash(&table.config);
    let generation = Generation {
        number: table.generation,
        hash: hash.clone(),
        at: Timestamp::now(),
        why: cause.words(),
        owner: cause.owner(),
        reason: cause.reason(),
        written: loaded.written,
    };
    let (bare, files) = (generation.bare(), loaded.files);
    let (masks, layer) = match cause {
        Cause::TakingBack(back) => (back.before.masks.clone(), back.before.layer),
        Cause::Rollback(..) | Cause::Sent(..) => (Masks::of(&loaded.substituted), Layer::Above),
        Cause::Start | Cause::Signal | Cause::Watch | Cause::Command(_) | Cause::Saved(_) => {
            (Masks::of(&loaded.substituted), Layer::Files)
        }
    };
    history.record(generation, masks);
    life.note(|it| {
        if !files.is_empty() {
            it.read = files;
        }
        match layer {
            Layer::Above => it.above = Some(bare),
            Layer::Files => (it.files, it.above) = (Some(bare), None),
        }
    });
    hash
}

/// What an operator must know after going back.
fn since_then(history: &History, number: u64, hash: &str) -> String {
    let mut text = String::new();
    if history.find(number).is_some_and(|then| then.hash != hash) {
        text.push_str("; it is not all as it was: a variable, or a file that it names, has another content since");
    }
    text.push_str("; the files are as they were, and the next reload takes what they say");
    text
}

fn describe(control: &Control, old: &Table, new: &Table, loaded: &Loaded, took: Duration) -> String {
    let count = |table: &Table| table.pools.iter().map(|pool| pool.backends.len()).sum::<usize>();
    let mut message = format!(
        "generation {}: {}, {}, {} (before: {}, {}, {}), applied in {:.0} ms",
        new.generation,
        counted(new.listeners.len(), "listener"),
        counted(new.pools.len(), "pool"),
        counted(count(new), "backend"),
        old.listeners.len(),
        old.pools.len(),
        count(old),
        took.as_secs_f64() * 1000.0,
    );
    let ordered = control.orders.standing().overrides.len();
    if ordered > 0 {
        message.push_str("; ");
        message.push_str(&counted(ordered, "order"));
        message.push_str(" of operators as before");
    }
    for what in needs_restart(&old.config, &loaded.config) {
        message.push_str("; ");
        message.push_str(what);
        message.push_str(" takes effect at the next start");
    }
    if !loaded.warnings.is_empty() {
        message.push('\n');
        message.push_str(&loaded.warnings);
    }
    message
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// For the first table: what [`reload`] does without anything before it, once its sockets are open.
pub(super) fn first(control: &mut Control, loaded: Loaded) {
    keep_exemplars(loaded.config.metrics.exemplars == Exemplars::Keep);
    control.note_sources(&loaded);
    record(&control.history, &control.life, &control.published.load(), loaded, &Cause::Start);
}
