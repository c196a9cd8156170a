//! What operators order, while the program runs: taken from the admin port, judged, kept, and handed to the schedule of
//! probes, which obeys.
//!
//! One task on control's thread ([`Keeper::run`]) owns the list. It answers when the verdicts that follow are published and
//! the state file is written, or could not be: an order is in force then in either case, so that nothing that comes after
//! the answer goes against it, and the answer says whether it survives a restart. Orders end by themselves here, too.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::judge::judge;
use super::overrides::{Conflict, Force, Overrides, TakeBack, words};
use super::state_file::{State, StateError, StateFile};
use super::{Life, span, written_at};
use crate::config::nearest;
use crate::pool::events::{Event, EventKind, Events};
use crate::pool::{Order, Override};
use crate::probe::{Incumbent, Schedule};
use crate::route::{Published, Table};

/// The end of an order is looked for at least this often: the wall clock may be set.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A state file that could not be written is tried again so often.
const WRITE_AGAIN: Duration = Duration::from_secs(10);
/// An answer waits no longer than this for the schedule to obey.
const OBEYED_WITHIN: Duration = Duration::from_secs(1);
/// Wishes that wait to be taken.
const MAX_WAITING: usize = 64;

/// What an operator wants of a backend.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The backend's name; `None` where the pool alone says which one is meant.
    pub backend: Option<Arc<str>>,
    /// What is wanted.
    pub want: Want,
    /// Who wants it.
    pub owner: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
    /// For how long; `None`: until it is taken back.
    pub lasts: Option<Duration>,
    /// Whether other people's orders may be replaced, and nobody be left to work.
    pub force: Force,
}

/// An order, or taking one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// This order.
    Order(Order),
    /// No such order any more.
    TakeBack(TakeBack),
}

/// What became of a wish.
#[derive(Debug, Clone)]
pub struct Done {
    /// In one sentence.
    pub message: String,
    /// What the operator should know beside that.
    pub notes: Vec<String>,
    /// The orders that stand for the backend now.
    pub standing: Vec<Override>,
    /// Whether it survives a restart.
    pub keeping: Keeping,
}

/// Why a wish was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such pool or backend.
    Unknown(String),
    /// It makes no sense now, or somebody else has ordered otherwise.
    Conflict(String),
    /// The program stops.
    Stopping,
}

/// Whether orders survive a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// They stand in this file.
    InFile(PathBuf),
    /// No file was named.
    InMemory,
    /// The file cannot be written: the system's words.
    Failing(PathBuf, String),
}

/// What operators have ordered, for whoever shows it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// All orders, also those that have no effect now.
    pub overrides: Arc<Vec<Override>>,
    /// Whether they survive a restart.
    pub keeping: Keeping,
}

/// The handle.
#[derive(Debug, Clone)]
pub struct Orders {
    wishes: mpsc::Sender<(Wish, oneshot::Sender<Result<Done, Refused>>)>,
    standing: watch::Receiver<Standing>,
    life: Arc<Life>,
    incumbents: watch::Receiver<Arc<Vec<Incumbent>>>,
}

/// Keeps the list. See [`Orders::start`].
#[derive(Debug)]
pub struct Keeper {
    wishes: mpsc::Receiver<(Wish, oneshot::Sender<Result<Done, Refused>>)>,
    standing: watch::Sender<Standing>,
    around: Around,
    file: Option<StateFile>,
    overrides: Overrides,
    /// The active backends, by pool.
    state: State,
    incumbents: watch::Receiver<Arc<Vec<Incumbent>>>,
    /// Why the file is not as the list is.
    trouble: Option<String>,
}

/// What the keeper works with.
#[derive(Debug, Clone)]
pub struct Around {
    /// The table in force.
    pub table: Arc<Published>,
    /// Who obeys.
    pub schedule: Schedule,
    /// Where it is said.
    pub events: Arc<Events>,
    /// Where writes are counted.
    pub life: Arc<Life>,
}

impl Keeping {
    /// What an operator must know about it, where he must.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::InFile(_) => None,
            Self::InMemory => {
                Some("it does not survive a restart: no state_file is configured (and systemd gave no folder)".into())
            }
            Self::Failing(path, error) => {
                Some(format!("it does not survive a restart: {} cannot be written: {error}", path.display()))
            }
        }
    }
}

impl Orders {
    /// The handle over what the file holds, and what makes it work: spawn [`Keeper::run`] on control's thread. The
    /// schedule is told what it must know of it; call this before it follows anything.
    ///
    /// `told`: what the process before this one knew, which is newer than the file.
    ///
    /// # Errors
    /// The file is there and cannot be read or understood.
    pub fn start(around: Around, file: Option<StateFile>, told: Option<State>) -> Result<(Self, Keeper), StateError> {
        let mut state = file.as_ref().map(StateFile::load).transpose()?.unwrap_or_default();
        if let Some(told) = told {
            state.overrides = told.overrides;
            state.active.extend(told.active);
        }
        let active = state.active.iter().map(|(pool, backend)| (pool.as_str().into(), backend.as_str().into()));
        around.schedule.remember(active.collect());
        let (wish, wishes) = mpsc::channel(MAX_WAITING);
        let overrides = Overrides::new(state.overrides.iter().cloned());
        let trouble = file.as_ref().and_then(|file| file.try_out().err()).map(|error| error.to_string());
        let incumbents = around.schedule.incumbents();
        let standing = Standing { overrides: Arc::default(), keeping: keeping(file.as_ref(), trouble.as_ref()) };
        let (standing, shown) = watch::channel(standing);
        let (life, known) = (Arc::clone(&around.life), incumbents.clone());
        let keeper = Keeper { wishes, standing, around, file, overrides, state, incumbents, trouble };
        // Nothing is followed yet.
        drop(keeper.publish());
        Ok((Self { wishes: wish, standing: shown, life, incumbents: known }, keeper))
    }

    /// Has a wish carried out.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub async fn wish(&self, wish: Wish) -> Result<Done, Refused> {
        if self.life.is_handing_over() {
            return Err(Refused::Conflict("another process is taking over: ask again in a moment".to_owned()));
        }
        let (answer, answered) = oneshot::channel();
        self.wishes.send((wish, answer)).await.map_err(|_closed| Refused::Stopping)?;
        answered.await.unwrap_or(Err(Refused::Stopping))
    }

    /// What another process must know to go on.
    pub fn state(&self) -> State {
        let overrides = self.standing.borrow().overrides.to_vec();
        let incumbents = Arc::clone(&self.incumbents.borrow());
        let active = incumbents.iter().map(|(pool, backend)| (pool.to_string(), backend.to_string()));
        State { overrides, active: active.collect() }
    }

    /// What stands.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }
}

fn keeping(file: Option<&StateFile>, trouble: Option<&String>) -> Keeping {
    match (file, trouble) {
        (None, _) => Keeping::InMemory,
        (Some(file), None) => Keeping::InFile(file.path().to_owned()),
        (Some(file), Some(trouble)) => Keeping::Failing(file.path().to_owned(), trouble.clone()),
    }
}

impl Keeper {
    /// Runs until the last [`Orders`] is dropped.
    pub async fn run(mut self) {
        if let Some(warning) = self.standing.borrow().keeping.warning().filter(|_| self.trouble.is_some()) {
            tracing::error!("the state of this evenkeel is not kept: {warning}");
        }
        loop {
            self.expire().await;
            let look = tokio::time::sleep(self.until_next_look());
            tokio::select! {
                wish = self.wishes.recv() => match wish {
                    Some((wish, answer)) => {
                        let done = self.carry_out(wish).await;
                        // Whoever asked may have gone.
                        let _ = answer.send(done);
                    }
                    None => return,
                },
                Ok(()) = self.incumbents.changed() => self.note_incumbents().await,
                () = look => {
                    if self.trouble.is_some() {
                        self.save().await;
                    }
                }
            }
        }
    }

    fn until_next_look(&self) -> Duration {
        let at_most = if self.trouble.is_some() { WRITE_AGAIN } else { LOOK_EVERY };
        match self.overrides.next_expiry() {
            Some(end) => Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default().min(at_most),
            None => at_most,
        }
    }

    async fn carry_out(&mut self, wish: Wish) -> Result<Done, Refused> {
        let table = self.around.table.load();
        let of = self.whom(&table, &wish)?;
        let (said, mut notes) = match wish.want {
            Want::Order(order) => self.set(&table, &wish, &of, order)?,
            Want::TakeBack(what) => self.take_back(&wish, &of, what)?,
        };
        let message = match said {
            Some(message) => {
                let obeyed = self.publish();
                self.save().await;
                if tokio::time::timeout(OBEYED_WITHIN, obeyed).await.is_err() {
                    notes.push("it is not in force yet: the schedule of probes has too much to do".to_owned());
                }
                message
            }
            None => format!("nothing of the kind was ordered of {}/{}", of.0, of.1),
        };
        let standing = self.overrides.list().iter().filter(|one| one.pool == of.0 && one.backend == of.1);
        let standing = standing.cloned().collect();
        Ok(Done { message, notes, standing, keeping: self.standing.borrow().keeping.clone() })
    }

    /// The backend that is meant. To take something back, it need not exist any more.
    fn whom(&self, table: &Table, wish: &Wish) -> Result<(Arc<str>, Arc<str>), Refused> {
        let pool = Arc::clone(&wish.pool);
        let Some(backend) = &wish.backend else {
            let promoted = self.overrides.promoted(&pool);
            let none = || Refused::Conflict(format!("no backend of pool `{pool}` is promoted"));
            return promoted.map(|backend| (Arc::clone(&pool), Arc::clone(backend))).ok_or_else(none);
        };
        let ordered = |one: &Override| one.pool == pool && one.backend == *backend;
        if matches!(wish.want, Want::Order(_)) || !self.overrides.list().iter().any(ordered) {
            find(table, &pool, backend)?;
        }
        Ok((pool, Arc::clone(backend)))
    }

    fn set(
        &mut self,
        table: &Table,
        wish: &Wish,
        of: &(Arc<str>, Arc<str>),
        order: Order,
    ) -> Result<(Option<String>, Vec<String>), Refused> {
        let (pool, backend) = find(table, &of.0, &of.1)?;
        let promoted = self.overrides.promoted(&of.0).map(|name| &**name);
        let mut notes = judge(&table.config, pool, backend, order, promoted, wish.force).map_err(Refused::Conflict)?;
        let now = Timestamp::now();
        let new = Override {
            pool: Arc::clone(&of.0),
            backend: Arc::clone(&of.1),
            order,
            owner: Arc::clone(&wish.owner),
            reason: Arc::clone(&wish.reason),
            since: now,
            until: wish.lasts.and_then(|lasts| now.checked_add(lasts).ok()),
        };
        let said = said(&new);
        let replaced = self.overrides.set(new, wish.force).map_err(|conflict| refused(&conflict))?;
        notes.extend(replaced.iter().map(|one| format!("it takes the place of {}", said_by(one))));
        self.tell(EventKind::Override, of, format!("ordered: {said}"));
        Ok((Some(format!("{}/{}: {said}", of.0, of.1)), notes))
    }

    fn take_back(
        &mut self,
        wish: &Wish,
        of: &(Arc<str>, Arc<str>),
        what: TakeBack,
    ) -> Result<(Option<String>, Vec<String>), Refused> {
        let gone = self.overrides.clear((&of.0, &of.1), what, &wish.owner, wish.force);
        let gone = gone.map_err(|conflict| refused(&conflict))?;
        for one in &gone {
            self.tell(EventKind::OverrideTakenBack, of, format!("taken back by {}: {}", wish.owner, said_by(one)));
        }
        let rest = self.overrides.list().iter().filter(|one| one.pool == of.0 && one.backend == of.1);
        let notes = rest.map(|one| format!("still in force: {}", said_by(one))).collect();
        if gone.is_empty() {
            return Ok((None, notes));
        }
        let gone: Vec<_> = gone.iter().map(said_by).collect();
        Ok((Some(format!("{}/{}: taken back: {}", of.0, of.1, gone.join(", "))), notes))
    }

    /// Ends the orders whose time is over.
    async fn expire(&mut self) {
        let gone = self.overrides.expire(Timestamp::now());
        if gone.is_empty() {
            return;
        }
        for one in &gone {
            let of = (Arc::clone(&one.pool), Arc::clone(&one.backend));
            self.tell(EventKind::OverrideExpired, &of, format!("its time is over: {}", said_by(one)));
        }
        // Nobody waits for it.
        drop(self.publish());
        self.save().await;
    }

    async fn note_incumbents(&mut self) {
        let incumbents = Arc::clone(&self.incumbents.borrow_and_update());
        let mut active = self.state.active.clone();
        // Pools that have nobody at the moment keep whom they had.
        active.extend(incumbents.iter().map(|(pool, backend)| (pool.to_string(), backend.to_string())));
        if active != self.state.active {
            self.state.active = active;
            self.save().await;
        }
    }

    /// Hands the list to who obeys and to who shows it. What is given back ends when it is in force.
    fn publish(&self) -> impl Future<Output = ()> + Send + 'static {
        let overrides = Arc::new(self.overrides.list().to_vec());
        let obeyed = self.around.schedule.override_with(Arc::clone(&overrides));
        self.standing.send_modify(|standing| standing.overrides = overrides);
        obeyed
    }

    /// Writes the file, on a thread of its own: a disk may take its time.
    async fn save(&mut self) {
        let Some(file) = self.file.clone() else { return };
        self.state.overrides = self.overrides.list().to_vec();
        let state = self.state.clone();
        let written = tokio::task::spawn_blocking(move || file.save(&state)).await;
        let error = match written {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(_ended) => Some("the write was broken off".to_owned()),
        };
        let life = &self.around.life;
        if error.is_none() { &life.state_writes } else { &life.state_write_failures }.fetch_add(1, Relaxed);
        if error != self.trouble {
            if let Some(error) = &error {
                tracing::error!(%error, "the state file cannot be written; it is tried again");
            } else {
                tracing::info!("the state file is written again");
            }
        }
        self.trouble = error;
        let keeping = keeping(self.file.as_ref(), self.trouble.as_ref());
        self.standing.send_modify(|standing| standing.keeping = keeping);
    }

    fn tell(&self, kind: EventKind, of: &(Arc<str>, Arc<str>), message: String) {
        tracing::info!(pool = %of.0, backend = %of.1, kind = kind.word(), "{message}");
        let (pool, backend) = (Some(Arc::clone(&of.0)), Some(Arc::clone(&of.1)));
        self.around.events.add(Event { at: Timestamp::now(), pool, backend, kind, message });
    }
}

type Found<'t> = (&'t crate::pool::Pool, &'t crate::pool::Backend);

/// The pool and backend of these names, or the names that may have been meant.
pub fn find<'t>(table: &'t Table, pool: &str, backend: &str) -> Result<Found<'t>, Refused> {
    let found = find_pool(table, pool)?;
    let backends = || found.backends.iter().map(|known| &*known.name);
    let wanted = found.backends.iter().find(|known| *known.name == *backend);
    match wanted {
        Some(backend) => Ok((found, backend)),
        None => Err(unknown(&format!("pool `{pool}` has no backend `{backend}`"), backend, backends())),
    }
}

/// The pool of this name, or the name that may have been meant.
pub fn find_pool<'t>(table: &'t Table, pool: &str) -> Result<&'t crate::pool::Pool, Refused> {
    let pools = || table.pools.iter().map(|known| &*known.config.name);
    let wanted = table.pools.iter().find(|known| *known.config.name == *pool);
    wanted.map(AsRef::as_ref).ok_or_else(|| unknown(&format!("there is no pool `{pool}`"), pool, pools()))
}

/// More names than this are not listed.
const MAX_NAMED: usize = 12;

fn unknown<'a>(what: &str, word: &str, known: impl Iterator<Item = &'a str> + Clone) -> Refused {
    if let Some(near) = nearest(word, known.clone()) {
        return Refused::Unknown(format!("{what}; did you mean `{near}`?"));
    }
    let count = known.clone().count();
    let names: Vec<_> = known.take(MAX_NAMED).collect();
    let more = if count > MAX_NAMED { format!(" and {} more", count - MAX_NAMED) } else { String::new() };
    Refused::Unknown(format!("{what}; there are: {}{more}", names.join(", ")))
}

fn refused(conflict: &Conflict) -> Refused {
    Refused::Conflict(match conflict {
        Conflict::Owned(other) => format!("{} stands; `--force` takes its place", said_by(other)),
        Conflict::Full => format!("there are {} orders already", super::overrides::MAX_OVERRIDES),
    })
}

/// `maintenance, by alice, until 2025-07-01 12:00:00Z: new disk`.
fn said(one: &Override) -> String {
    let until = one.until.map_or_else(String::new, |until| format!(", until {}", written_at(until)));
    let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
    format!("{}, by {}{until}{reason}", words(one.order), one.owner)
}

/// `the maintenance by alice (new disk), ordered 5m ago`.
fn said_by(one: &Override) -> String {
    let reason = if one.reason.is_empty() { String::new() } else { format!(" ({})", one.reason) };
    let ago = Duration::try_from(Timestamp::now().duration_since(one.since)).unwrap_or_default();
    format!("{} by {}{reason}, ordered {} ago", words(one.order), one.owner, span(ago))
}
