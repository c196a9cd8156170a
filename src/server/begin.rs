//! The start: everything is read, built and bound, or taken over from the process before this one, before anything is
//! accepted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::certificates::Certificates;
use super::control::{AdminPort, Calls, Control, FIRST_VERDICTS, LOOK_EVERY, Started};
use super::counting::Here;
use super::given::{self, Given};
use super::listeners::Listeners;
use super::provisional::Changes;
use super::record::Recording;
use super::supervisor::Supervisor;
use super::takeover::{LetGo, Takeover};
use super::upgrade::Upgrades;
use super::workers::Workers;
use super::{Loaded, Loader, Signals, Start, StartError, proof, reload};
use crate::admin::{self, AdminState};
use crate::config::model::{Config, ListenerTcp, Site};
use crate::control::handover::{self, Of, Offered};
use crate::control::history::{Generation, History};
use crate::control::orders::{Around, Keeper, Orders};
use crate::control::records::{Record, Records};
use crate::control::state_file::{self, State};
use crate::control::traces::Exporter;
use crate::control::{Life, ReloadRequest};
use crate::log::sink::Sinks;
use crate::metrics;
use crate::net::listen;
use crate::net::unix::SocketFile;
use crate::pool::Bell;
use crate::pool::events::{Event, EventKind, Events};
use crate::probe::{Runner, Schedule};
use crate::proxy::worker::Drain;
use crate::route::{Foundation, Published, Table};
use crate::trace::Traces;

/// What a start brings to life.
pub(super) struct Begun {
    pub(super) started: Started,
    pub(super) control: Control,
    pub(super) wishes: mpsc::Receiver<ReloadRequest>,
    pub(super) calls: Calls,
}

/// What runs beside control, once everything is bound.
struct Beside {
    runner: Runner,
    keeper: Keeper,
    exporter: Exporter,
}

/// Starts everything, and takes over what there is to take over.
pub(super) async fn begin(read: &Loader, signals: Signals, start: Start) -> Result<Begun, StartError> {
    // First of all: a signal that comes while starting must not be lost.
    let calls = Calls::of(signals)?;
    let last_word = start.takeover.as_ref().and_then(Takeover::last_word);
    match attempt(read, start).await {
        Ok((started, control, wishes)) => Ok(Begun { started, control, wishes, calls }),
        Err(error) => {
            if let Some(last_word) = last_word {
                last_word.say(&error.to_string());
            }
            Err(error)
        }
    }
}

async fn attempt(read: &Loader, start: Start) -> Result<(Started, Control, mpsc::Receiver<ReloadRequest>), StartError> {
    let Start { mut takeover, program, inherited } = start;
    let loaded = read().map_err(StartError::Configuration)?;
    // Before anything is counted.
    metrics::set_bounds_micros(&loaded.config.metrics.bounds_micros);
    let (mut control, beside) = build(&loaded, takeover.as_mut())?;
    control.upgrades.program = program;
    control.listeners.given.inherit(inherited);
    let mut admin = bind_admin(&mut control, &loaded.config)?;
    listen_for_upgrades(&mut control, &loaded.config)?;
    let bound = control.listeners.bind(&loaded.config, control.workers_count)?;
    control.keeper = beside.run();
    if takeover.is_some() && timeout(FIRST_VERDICTS, control.schedule.settled()).await.is_err() {
        tracing::warn!("some backends have no verdict yet; this process accepts all the same");
    }
    takeover.as_mut().map_or(Ok(()), Takeover::is_wanted)?;
    for rest in control.listeners.given.close_rest() {
        tracing::warn!(name = rest.of.word(), site = %rest.site, "systemd has opened a socket that no listener is for; it is closed");
    }
    control.listeners.apply(&loaded.config, bound, &control.workers);
    if let Some(takeover) = takeover {
        take_over(&mut control, takeover).await?;
        control.listeners.claim();
        control.upgrades.claim();
        admin.as_mut().and_then(|bound| bound.file.as_mut()).map(SocketFile::claim);
    }
    let (wish, wishes) = mpsc::channel(16);
    let site = admin.as_ref().map(|bound| bound.site.clone());
    control.admin = admin.and_then(|bound| serve_admin(&control, &loaded.config, bound, wish));
    let warnings = loaded.warnings.clone();
    reload::first(&mut control, loaded);
    let started = Started { addresses: control.listeners.sites(), admin: site };
    announce(&started, &warnings);
    Ok((started, control, wishes))
}

/// Everything but sockets, with what the process before this one knew.
fn build(loaded: &Loaded, takeover: Option<&mut Takeover>) -> Result<(Control, Beside), StartError> {
    let config = &loaded.config;
    let workers_count = config.workers.map_or_else(usable_cpus, |workers| workers.get() as usize);
    let (evidence, reports) = mpsc::unbounded_channel();
    let life = Arc::new(Life::default());
    let sinks = Arc::new(Sinks::new(Arc::clone(&life.access_log_dropped)));
    sinks.open(config.log_targets()).map_err(StartError::Log)?;
    let (traces, finished) = Traces::new(Arc::clone(&life.spans_dropped));
    let traces = Some(Arc::new(traces));
    let foundation = Foundation { workers: workers_count, evidence, bell: Arc::new(Bell::default()), sinks, traces };
    let mut table = Table::build(Arc::new(config.clone()), None, &foundation);
    let place = state_file::place(config.state_file.as_deref(), std::env::var_os("STATE_DIRECTORY"));
    let events = Arc::new(Events::default());
    let (schedule, runner) = Schedule::new(reports, Arc::clone(&events));
    schedule.limit(config.probes_at_once);
    let past = Past::of(takeover, &table, &schedule);
    let history = Arc::new(History::open(place.as_ref()));
    history.take_up(past.generations);
    let records = Arc::new(Records::open(place.as_ref()));
    records.take_up(past.records);
    table.generation = history.last().max(past.generation) + 1;
    let published = Arc::new(Published::new(table));
    let around = Around {
        table: Arc::clone(&published),
        schedule: schedule.clone(),
        events: Arc::clone(&events),
        life: Arc::clone(&life),
    };
    // Before anything is followed: what operators have ordered is obeyed from the first verdict on.
    let (orders, keeper) = Orders::start(around, place, past.state)?;
    let table = published.load();
    schedule.follow(&table.pools);
    table.pools.iter().for_each(|pool| pool.refresh());
    let workers = Workers::start(workers_count, &published, &foundation.bell)?;
    let exporter = Exporter::new(finished, Arc::clone(&life.spans_exported), Arc::clone(&life.spans_dropped));
    let control = Control {
        published,
        foundation,
        schedule,
        listeners: Listeners::with(past.given),
        workers,
        workers_count,
        life,
        events,
        orders,
        files: Vec::new(),
        seen: 0,
        certificates: Certificates::default(),
        history,
        records,
        recording: Recording::default(),
        upgrades: Upgrades::default(),
        supervisor: Arc::new(Supervisor::of_environment()),
        admin: None,
        // Until it runs there is nothing to end.
        keeper: tokio::spawn(std::future::ready(())).abort_handle(),
        in_force: None,
        changes: Changes::default(),
    };
    Ok((control, Beside { runner, keeper, exporter }))
}

/// What the process before this one has left.
#[derive(Default)]
struct Past {
    given: Given,
    generation: u64,
    generations: Vec<Generation>,
    records: Vec<Record>,
    state: Option<State>,
}

impl Past {
    /// Gives the table and the schedule what was known of backends, and takes the rest of the offer but for the lines.
    fn of(takeover: Option<&mut Takeover>, table: &Table, schedule: &Schedule) -> Self {
        let Some(takeover) = takeover else { return Self::default() };
        let offer = &mut takeover.offer;
        schedule.take_up(handover::take_up(&offer.known, &table.pools));
        let mut given = Given::default();
        for (offered, sockets) in offer.sockets.drain(..).zip(takeover.sockets.drain(..)) {
            given.add(offered, sockets, given::From::Predecessor);
        }
        let state = State::read(offer.state.take());
        Self {
            given,
            generation: offer.generation,
            generations: std::mem::take(&mut offer.generations),
            records: std::mem::take(&mut offer.records),
            state: state
                .inspect_err(|error| tracing::warn!(%error, "orders of operators are taken from the state file"))
                .ok(),
        }
    }
}

impl Beside {
    /// Runs all of it; gives what ends the keeper of orders.
    fn run(self) -> AbortHandle {
        tokio::spawn(self.runner.run());
        tokio::spawn(self.exporter.run());
        tokio::spawn(self.keeper.run()).abort_handle()
    }
}

fn bind_admin(control: &mut Control, config: &Config) -> Result<Option<listen::Bound>, StartError> {
    let Some(site) = &config.admin.bind else { return Ok(None) };
    let tcp = ListenerTcp::default();
    let bound = match control.listeners.given.take_other(&Of::Admin, site) {
        Some(sockets) => listen::adopt(sockets, site, config.admin.socket_mode, &tcp, 1),
        None => listen::bind(site, config.admin.socket_mode, &tcp, 1),
    };
    let refused = |error| StartError::Bind { what: "the admin port".into(), site: site.clone(), error };
    bound.map(Some).map_err(refused)
}

fn listen_for_upgrades(control: &mut Control, config: &Config) -> Result<(), StartError> {
    let Some(name) = &config.upgrade.socket else { return Ok(()) };
    let site = Site::Unix(name.clone());
    let given = control.listeners.given.take_other(&Of::Upgrade, &site);
    let refused = |error| StartError::Bind { what: "the socket for upgrades".into(), site, error };
    control.upgrades.listen(name, given).map_err(refused)
}

/// This process accepts. Says so to the one before it, which lets go.
async fn take_over(control: &mut Control, mut takeover: Takeover) -> Result<(), StartError> {
    let from = takeover.offer.hello.clone();
    let (before, asked, handed_over) =
        (takeover.offer.generation, takeover.asked, taken_up(&control.listeners.given.taken));
    let taken = std::mem::take(&mut control.listeners.given.taken);
    let here = Here {
        published: Arc::clone(&control.published),
        life: Arc::clone(&control.life),
        records: Arc::clone(&control.records),
    };
    let said = tokio::task::spawn_blocking(move || {
        let let_go = takeover.ready(taken);
        (takeover, let_go)
    });
    let (takeover, let_go) = said.await.map_err(std::io::Error::other)?;
    match let_go {
        Ok(LetGo::Done(counted)) => {
            counted.add(&control.published.load(), &control.life);
            control.record_upgrade(before, counted.ending.as_ref(), asked.elapsed(), handed_over);
            let message = format!("has taken over from process {}, evenkeel {}", from.pid, from.version);
            tracing::info!("{message}");
            let at = Timestamp::now();
            control.events.add(Event { at, pool: None, backend: None, kind: EventKind::Upgrade, message });
        }
        Ok(LetGo::Vanished) => tracing::warn!("the process before this one has gone without a word; this one goes on"),
        Err(error) => {
            give_back(control).await;
            return Err(error.into());
        }
    }
    let own = takeover.further().map(|line| (line.into(), Some(before)));
    for (line, of) in own.into_iter().chain(takeover.lines.into_iter().map(|line| (line, None))) {
        control.upgrades.lines.add(line, of, &here);
    }
    Ok(())
}

/// How many addresses of listeners that are.
fn taken_up(taken: &[Offered]) -> usize {
    taken.iter().filter(|it| matches!(it.of, Of::Listener(_))).count()
}

/// The old process goes on: what was accepted meanwhile is finished here, and the sockets are left to it.
async fn give_back(control: &mut Control) {
    let taken = control.listeners.offer().into_iter().map(|(offered, _)| offered).collect::<Vec<_>>();
    control.listeners.hand_over(&taken);
    control.workers.drain(Drain::Answered);
    let deadline = Instant::now() + control.published.load().config.shutdown.drain;
    while control.workers.open.load(Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says where everything is.
fn announce(started: &Started, warnings: &str) {
    if !warnings.is_empty() {
        tracing::warn!("{warnings}");
    }
    for (name, address) in &started.addresses {
        tracing::info!(listener = %name, %address, "accepting");
    }
    if let Some(address) = &started.admin {
        tracing::info!(%address, "admin port");
    }
}

/// CPUs that this process may use: affinity and cgroup quota counted.
fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn serve_admin(
    control: &Control,
    config: &Config,
    bound: listen::Bound,
    wish: mpsc::Sender<ReloadRequest>,
) -> Option<AdminPort> {
    let listen::Bound { mut sockets, site, file, handles } = bound;
    let socket = sockets.pop()?;
    let state = AdminState {
        table: Arc::clone(&control.published),
        life: Arc::clone(&control.life),
        events: Arc::clone(&control.events),
        orders: control.orders.clone(),
        schedule: control.schedule.clone(),
        history: Arc::clone(&control.history),
        records: Arc::clone(&control.records),
        load: proof::load,
        reload: wish,
        first: Arc::clone(&config.admin),
        first_tls: control.published.load().admin.clone(),
        sinks: Arc::clone(&control.foundation.sinks),
        started: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (open, closing) = watch::channel(());
    let answering = tokio::spawn(async move {
        if let Err(error) = admin::serve(socket, Arc::new(state), closing).await {
            tracing::error!(%error, "the admin port has ended");
        }
    });
    Some(AdminPort { handles, site, file, open, answering })
}
