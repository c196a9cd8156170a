//! A new configuration, applied by difference: what did not change keeps its sockets, health, counters and connections.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::control::Control;
use super::{Loaded, Loader, StartError};
use crate::control::plan::needs_restart;
use crate::pool::events::{Event, EventKind};
use crate::route::Table;

/// Old tables are dropped here, later, so that no worker runs ten thousand drops.
const KEEP_OLD: Duration = Duration::from_secs(3);

/// Reads the configuration and applies it.
///
/// # Errors
/// Why nothing has changed, for the operator.
pub(super) async fn reload(control: &mut Control, read: &Loader) -> Result<String, String> {
    let begun = Instant::now();
    let result = attempt(control, read).await;
    let life = &control.life;
    life.last_reload_micros.store(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), Relaxed);
    let (kind, message) = match &result {
        Ok(message) => {
            life.reloads.fetch_add(1, Relaxed);
            life.last_reload_refused.store(0, Relaxed);
            life.last_reload_at.store(u64::try_from(Timestamp::now().as_second()).unwrap_or(0), Relaxed);
            tracing::info!("{message}");
            (EventKind::Reload, message)
        }
        Err(problems) => {
            life.reloads_refused.fetch_add(1, Relaxed);
            life.last_reload_refused.store(1, Relaxed);
            tracing::error!("the new configuration was refused; the running one stays\n{problems}");
            (EventKind::ReloadRefused, problems)
        }
    };
    control.events.add(Event { at: Timestamp::now(), pool: None, backend: None, kind, message: message.clone() });
    result
}

async fn attempt(control: &mut Control, read: &Loader) -> Result<String, String> {
    let begun = Instant::now();
    let (old, foundation) = (control.published.load(), control.foundation.clone());
    let read = Arc::clone(read);
    let previous = Arc::clone(&old);
    // Reading, judging and building take time that probes and the admin port must not wait for.
    let built = tokio::task::spawn_blocking(move || {
        let loaded = read()?;
        foundation.sinks.open(loaded.config.log_targets())?;
        let table = Table::build(Arc::new(loaded.config.clone()), Some(&previous), &foundation);
        Ok::<_, String>((loaded, Arc::new(table)))
    });
    let (loaded, table) = built.await.map_err(|error| format!("the configuration could not be read: {error}"))??;
    let bound = control.listeners.bind(&loaded.config, control.workers_count).map_err(|error| error.to_string())?;
    // From here on nothing can fail, and nothing waits: no flip comes between the old table and the new.
    control.schedule.limit(loaded.config.probes_at_once);
    control.schedule.follow(&table.pools);
    control.published.publish(Arc::clone(&table));
    table.pools.iter().for_each(|pool| pool.refresh());
    for backend in old.leaving(&table) {
        backend.retire();
    }
    for backend in old.rerouted(&table) {
        backend.reroute();
    }
    control.listeners.apply(&loaded.config, bound, &control.workers);
    control.foundation.sinks.reopen();
    let message = describe(control, &old, &table, &loaded, begun.elapsed());
    control.note_sources(&loaded);
    tokio::spawn(async move {
        tokio::time::sleep(KEEP_OLD).await;
        drop(old);
    });
    Ok(message)
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

/// For the first table: what [`reload`] does without anything before it.
pub(super) fn first(control: &mut Control, loaded: &Loaded) -> Result<(), StartError> {
    let bound = control.listeners.bind(&loaded.config, control.workers_count)?;
    control.listeners.apply(&loaded.config, bound, &control.workers);
    control.note_sources(loaded);
    Ok(())
}
