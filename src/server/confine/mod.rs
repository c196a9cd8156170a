//! Confinement: the program becomes another user, keeps the few rights that it needs, and puts files and calls that it
//! does not need out of its own reach, as `[process]` says.
//!
//! Called by the command line on the first thread, before there is any other: each thread inherits all of it. What a
//! start can do after this, a reload can do, too: ports below 1024 are bound by the right that is kept.

mod account;
mod calls;
mod files;
mod places;
mod rights;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;

use super::{Start, StartError, TAKEOVER};
use crate::config;
use crate::config::model::{Config, Confine};
use crate::confinement::{self, Confined, Layer, Reach};
use account::Account;
use places::Places;

pub(super) use rights::Lent;

/// Tells a process that was started to take over which sandbox it was born into.
pub(super) const SANDBOX: &str = "EVENKEEL_SANDBOX";

/// Confines this process as the configuration wants it; whom it would take over from is told why not.
///
/// # Errors
/// What cannot be done here, with the remedy.
pub fn confine(loaded: &config::Loaded, start: &Start) -> Result<(), StartError> {
    let done = confined(loaded, start);
    if let (Err(why), Some(takeover)) = (&done, &start.takeover)
        && let Some(last_word) = takeover.last_word()
    {
        last_word.say(why);
    }
    done.map_err(StartError::Confinement)
}

fn confined(loaded: &config::Loaded, start: &Start) -> Result<(), String> {
    let config = &loaded.config;
    if !config.process.is_any() {
        return Ok(());
    }
    let places = Places::of(config);
    let user = config.process.user.as_deref().map(|user| become_user(user, config, &places)).transpose()?;
    let nothing_new = set_no_new_privs(true).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    nothing_new.map_err(|error| format!("the kernel does not keep this process from gaining rights: {error}"))?;
    let reach = files::reach(loaded, &places, start.program.as_ref());
    let mark = mark(config, &reach);
    let is_heir = born_into().is_some_and(|sandbox| sandbox == mark);
    let files = match config.process.landlock {
        Confine::Off => Layer::Off,
        _ if is_heir && files::are_out_of_reach() => Layer::On("as the process before".to_owned()),
        demand => demanded(demand, "landlock", files::limit(&reach))?,
    };
    let calls = match config.process.seccomp {
        Confine::Off => Layer::Off,
        _ if is_heir && calls::are_refused() => Layer::On("as the process before".to_owned()),
        demand => demanded(demand, "seccomp", calls::refuse())?,
    };
    let reach = if matches!(files, Layer::On(_)) { reach } else { Reach::default() };
    let (user, kept) = user.map(|account| (account.name, rights::names(rights::held()))).unzip();
    let confined = Confined { user, kept: kept.unwrap_or_default(), files, calls, reach, mark };
    tell(&confined);
    let is_other = confined.user.is_some();
    confinement::note(confined);
    if is_other {
        places::tell_of_unreadable(&loaded.files);
    }
    Ok(())
}

/// Becomes that user, if it is not that user already, and keeps what is needed of its rights.
fn become_user(user: &str, config: &Config, places: &Places) -> Result<Account, String> {
    let account = account::find(user, config.process.group.as_deref())?;
    let kept = rights::needed(config).intersection(rights::held());
    if account.is_here() {
        rights::keep(kept)?;
    } else {
        account.may_be_become()?;
        places.hand_over(&account);
        rights::keep_over_change(kept)?;
        account.become_it()?;
        rights::keep(kept)?;
        account.is_final()?;
    }
    places.are_usable_by(&account.name)?;
    Ok(account)
}

/// A layer as far as it is demanded.
fn demanded(demand: Confine, key: &str, layer: Result<String, String>) -> Result<Layer, String> {
    match layer {
        Ok(what) => Ok(Layer::On(what)),
        Err(why) if demand == Confine::Required => Err(format!(
            "process.{key} = \"required\" cannot be had: {why}; write \"best-effort\" to start without it, or change the \
             kernel"
        )),
        Err(why) => {
            tracing::warn!("process.{key}: {why}; this process goes on without it");
            Ok(Layer::Missing(why))
        }
    }
}

fn tell(confined: &Confined) {
    if let Some(user) = &confined.user {
        let kept = if confined.kept.is_empty() { "no other right".to_owned() } else { confined.kept.join(", ") };
        tracing::info!(%user, %kept, "runs with the rights of this user");
    }
    for (key, layer) in [("landlock", &confined.files), ("seccomp", &confined.calls)] {
        if let Layer::On(what) = layer {
            tracing::info!("{key}: {what}");
        }
    }
}

/// The sandbox that the process before this one, which has started it, lives in.
fn born_into() -> Option<String> {
    std::env::var_os(TAKEOVER)?;
    std::env::var(SANDBOX).ok()
}

/// For the process that is started to take over: an equal sandbox is not put around it once more, since the kernel takes
/// sixteen at most.
pub(super) fn sandbox() -> Option<&'static str> {
    confinement::here().map(|here| here.mark.as_str())
}

/// By which an equal sandbox is known.
fn mark(config: &Config, reach: &Reach) -> String {
    let text = format!("{reach:?} {:?} {:?}", config.process.landlock, config.process.seccomp);
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}
