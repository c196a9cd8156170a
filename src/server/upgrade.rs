//! Handing over: another process of this program asks for the work, or USR2 starts one, and this one lets go when that is
//! ready. Whatever becomes of the other until then, nothing has changed here.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::Signal;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use super::Stopped;
use super::confine;
use super::control::{AdminPort, Control, LOOK_EVERY, flows, told_to_stop};
use super::counting::{Here, Lines};
use super::takeover::network;
use crate::config::model::{Site, UnixName};
use crate::control::Phase;
use crate::control::handover::{
    Ending, Fault, Hello, Ledger, MAX_GREETING_BYTES, MAX_OFFER_BYTES, Message, Of, Offer, Offered, Ready, Transport,
    known,
};
use crate::net::handover::Line;
use crate::net::unix::{self, SocketFile};
use crate::pool::events::{Event, EventKind};
use crate::proxy::worker::Drain;

/// Tells a process that it was started to take over, and where it finds who started it: at its standard input.
pub const TAKEOVER: &str = "EVENKEEL_TAKEOVER";
/// How long the first word of whoever connects may take.
const GREETING: Duration = Duration::from_secs(5);
/// How long the new process may take to hear that this one lets go.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long an account of what is still counted may take to be said. Nothing waits for it but the probes of a process that ends.
const ACCOUNT: Duration = Duration::from_millis(200);
/// How long a child that has hung up may take to end.
const LAST_BREATH: Duration = Duration::from_secs(1);
/// Pause after `accept` failed for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the new process is told what is still counted here.
const ACCOUNTS: Duration = Duration::from_millis(500);
/// How long who has asked the admin port that was ours is waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// The rights of the socket: only this user may take over, and root.
const SOCKET_MODE: u32 = 0o600;

/// How this program is started anew: its file, as it lies there then, with the arguments of the first start.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// How it was called, and with what.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// This one. To be asked at the start: later its file may have been replaced, and the kernel would not know the new one.
    ///
    /// # Errors
    /// The system does not say.
    pub fn this() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, arguments: std::env::args_os().collect() })
    }
}

/// Where others ask, and who has asked.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    socket: Option<Listening>,
    attempt: Option<Attempt>,
    pub(super) program: Option<Program>,
    pub(super) lines: Lines,
}

#[derive(Debug)]
struct Listening {
    socket: UnixListener,
    name: UnixName,
    /// Dropping it takes the file away.
    file: Option<SocketFile>,
}

/// A process that makes itself ready.
#[derive(Debug)]
struct Attempt {
    outcome: oneshot::Receiver<Result<(Line, Hello, Ready), String>>,
    /// Breaks the conversation off.
    line: Option<UnixStream>,
    child: Option<Child>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // A thread may wait on it, and the end of the program for that thread.
        let _ = self.line.as_ref().map(|line| line.shutdown(std::net::Shutdown::Both));
    }
}

/// What comes of an attempt.
type Outcome = Result<(Line, Hello, Ready), String>;

/// What happens at the socket and on the line.
#[derive(Debug)]
pub(super) enum News {
    /// Somebody asks for the work.
    Asked(UnixStream),
    /// Who asked is ready, or will not be.
    Outcome(Outcome),
}

/// The new process has the work; this one finishes what it has.
pub(super) struct Leaving {
    line: Option<Line>,
    said: Ledger,
    ending: Ending,
    /// The admin port that was ours, until all that it was asked has been answered.
    answering: Option<JoinHandle<()>>,
}

impl Upgrades {
    /// Listens where the configuration says, or where the process before this one did.
    pub(super) fn listen(&mut self, name: &UnixName, given: Option<Vec<OwnedFd>>) -> io::Result<()> {
        let (socket, file) = match given.into_iter().flatten().next() {
            Some(socket) => {
                let file = name.path().and_then(|path| SocketFile::standing(path).ok());
                (std::os::unix::net::UnixListener::from(socket), file)
            }
            None => unix::bind(name, SOCKET_MODE)?,
        };
        socket.set_nonblocking(true)?;
        self.socket = Some(Listening { socket: UnixListener::from_std(socket)?, name: name.clone(), file });
        Ok(())
    }

    /// The process before this one has let go: the file that it has left is ours.
    pub(super) fn claim(&mut self) {
        if let Some(file) = self.socket.as_mut().and_then(|listening| listening.file.as_mut()) {
            file.claim();
        }
    }

    /// What happens next; never, where nothing can.
    pub(super) async fn news(&mut self) -> News {
        let Self { socket, attempt, .. } = self;
        tokio::select! {
            stream = asked(socket.as_ref()) => News::Asked(stream),
            outcome = outcome(attempt.as_mut()) => News::Outcome(outcome),
        }
    }
}

/// Somebody asks; never where nobody can.
async fn asked(listening: Option<&Listening>) -> UnixStream {
    let Some(listening) = listening else { return std::future::pending().await };
    loop {
        match listening.socket.accept().await {
            Ok((stream, _)) => match allowed(&stream) {
                Ok(()) => {
                    if let Ok(stream) = stream.into_std() {
                        return stream;
                    }
                }
                Err(why) => tracing::warn!(%why, "somebody else has asked for the work of this process"),
            },
            Err(error) => {
                tracing::warn!(%error, "the socket for upgrades cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What comes of the attempt under way; never without one.
async fn outcome(attempt: Option<&mut Attempt>) -> Outcome {
    let Some(attempt) = attempt else { return std::future::pending().await };
    (&mut attempt.outcome).await.unwrap_or_else(|_ended| Err("the conversation was broken off".to_owned()))
}

/// Only who could also replace the program itself may ask for its work.
fn allowed(stream: &tokio::net::UnixStream) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    let ours = rustix::process::geteuid().as_raw();
    if peer.uid() == ours || peer.uid() == 0 {
        return Ok(());
    }
    Err(format!("user {} may not: only user {ours}, whose process this is, and root", peer.uid()))
}

/// USR2: starts the program's file anew, and hands over to it.
pub(super) async fn start_anew(control: &mut Control) {
    if let Err(why) = try_start_anew(control).await {
        refused(control, &why);
    }
}

async fn try_start_anew(control: &mut Control) -> Result<(), String> {
    if std::process::id() == 1 {
        return Err(
            "this is the first process of its container, which ends with it: start a new container with `evenkeel \
                    run --takeover SOCKET` beside this one"
                .to_owned(),
        );
    }
    if let Some(why) = in_the_way(control) {
        return Err(why);
    }
    let Some(program) = control.upgrades.program.clone() else {
        return Err("it is not known which file this program was started from".to_owned());
    };
    let [arg0, arguments @ ..] = &program.arguments[..] else {
        return Err("it is not known how this program was called".to_owned());
    };
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new(&program.path);
    command.arg0(arg0).args(arguments).env(TAKEOVER, "stdin").stdin(Stdio::from(OwnedFd::from(theirs)));
    // Sockets of systemd come with ours; whom its watchdog means is said by ourselves.
    for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(variable);
    }
    if let Some(sandbox) = confine::sandbox() {
        command.env(confine::SANDBOX, sandbox);
    }
    let lent = confine::Lent::to_what_is_started();
    let child = Command::from(command).spawn();
    drop(lent);
    let child = child.map_err(|error| format!("{} cannot be started: {error}", program.path.display()))?;
    tracing::info!(program = %program.path.display(), pid = child.id(), "starts anew, and hands over to it");
    converse(control, ours, Some(child)).await;
    Ok(())
}

/// Why nobody may take over now.
fn in_the_way(control: &Control) -> Option<String> {
    let already = control.upgrades.attempt.is_some().then(|| "another process is taking over already".to_owned());
    // It would go by the files, where what waits has never been, and nobody could take it back.
    already.or_else(|| control.waits())
}

/// Acts on what has happened; gives what is left to do where the work is another process's from now on.
pub(super) async fn act_on(control: &mut Control, news: News) -> Option<Leaving> {
    let outcome = match news {
        News::Asked(stream) => {
            converse(control, stream, None).await;
            return None;
        }
        News::Outcome(outcome) => outcome,
    };
    let concluded = match outcome {
        Ok((line, hello, ready)) => let_go(control, line, &hello, &ready).await,
        Err(why) => Err(why),
    };
    match concluded {
        Ok(leaving) => Some(leaving),
        Err(why) => {
            failed(control, why).await;
            None
        }
    }
}

/// Somebody has asked for the work: hears who it is and offers it, on a thread of its own.
async fn converse(control: &mut Control, stream: UnixStream, child: Option<Child>) {
    let time = control.published.load().config.upgrade.timeout;
    let (line, copy) = match Line::new(stream, GREETING).and_then(|line| Ok((line.again()?, line))) {
        Ok((copy, line)) => (line, copy),
        Err(error) => return refused(control, &error.to_string()),
    };
    if let Some(why) = in_the_way(control) {
        return say_refused(line, why);
    }
    control.life.handing_over.store(1, Relaxed);
    let (offer, sockets) = offer(control).await;
    let (tell, outcome) = oneshot::channel();
    control.upgrades.attempt = Some(Attempt { outcome, line: Some(copy), child });
    spawn_blocking(move || {
        // Whoever waited for it has gone.
        let _ = tell.send(hand_over(line, *offer, &sockets, time));
    });
}

fn say_refused(mut line: Line, why: String) {
    spawn_blocking(move || {
        // It may have gone.
        let _ = line.say(&Message::Refused { why }.written());
    });
}

/// All that the new process needs, and its sockets.
async fn offer(control: &Control) -> (Box<Offer>, Vec<OwnedFd>) {
    let past = control.schedule.recall().await;
    let table = control.published.load();
    let mut offered = Vec::new();
    let mut sockets = Vec::new();
    for (mut one, handles) in control.listeners.offer() {
        let copies: Vec<OwnedFd> = handles.descriptors().filter_map(|it| it.try_clone_to_owned().ok()).collect();
        one.count = copies.len();
        sockets.extend(copies);
        offered.push(one);
    }
    let mut single = |of, site: String, copy: io::Result<OwnedFd>| {
        if let Ok(copy) = copy {
            offered.push(Offered { of, transport: Transport::Stream, site, count: 1 });
            sockets.push(copy);
        }
    };
    if let Some(port) = &control.admin {
        for socket in port.handles.descriptors().take(1) {
            single(Of::Admin, port.site.to_string(), socket.try_clone_to_owned());
        }
    }
    if let Some(listening) = &control.upgrades.socket {
        let site = Site::Unix(listening.name.clone()).to_string();
        single(Of::Upgrade, site, listening.socket.as_fd().try_clone_to_owned());
    }
    let lines = control.upgrades.lines.copies();
    let offer = Offer {
        hello: Hello::here(),
        network: network(),
        sockets: offered,
        lines: lines.len(),
        generation: table.generation,
        generations: control.history.in_memory(),
        records: control.records.in_memory(),
        state: control.orders.state().written(),
        known: known(&table.pools, past),
    };
    sockets.extend(lines);
    (Box::new(offer), sockets)
}

/// The conversation up to the word that the new process accepts. Blocks.
fn hand_over(mut line: Line, offer: Offer, sockets: &[OwnedFd], time: Duration) -> Outcome {
    match converse_on(&mut line, offer, sockets, time) {
        Ok((hello, ready)) => Ok((line, hello, ready)),
        Err(why) => {
            line.allow(GREETING);
            // It may have gone, or not listen.
            let _ = line.say(&Message::Refused { why: why.clone() }.written());
            Err(why)
        }
    }
}

fn converse_on(line: &mut Line, offer: Offer, sockets: &[OwnedFd], time: Duration) -> Result<(Hello, Ready), String> {
    let Message::Hello(hello) = hear(line, MAX_GREETING_BYTES, "say who it is", GREETING)? else {
        return Err(Fault::OutOfTurn.to_string());
    };
    line.allow(time);
    let gone = |error: io::Error| format!("it did not take what it was offered: {error}");
    line.say(&Message::Offer(Box::new(offer)).written()).map_err(gone)?;
    let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    line.give(&sockets).map_err(gone)?;
    match hear(line, MAX_OFFER_BYTES, "become ready", time)? {
        Message::Ready(ready) => Ok((hello, ready)),
        Message::Refused { why } => Err(format!("it says: {why}")),
        _ => Err(Fault::OutOfTurn.to_string()),
    }
}

fn hear(line: &mut Line, most: usize, what: &str, time: Duration) -> Result<Message, String> {
    match line.hear(most) {
        Ok(Some(frame)) => Message::read(&frame).map_err(|fault| fault.to_string()),
        Ok(None) => Err("it ended before it was ready".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(format!("it did not {what} within {time:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Nothing came of it: this process goes on as if nothing had happened.
async fn failed(control: &mut Control, mut why: String) {
    if let Some(mut attempt) = control.upgrades.attempt.take()
        && let Some(mut child) = attempt.child.take()
    {
        if let Ok(Ok(status)) = timeout(LAST_BREATH, child.wait()).await {
            why = format!("{why} ({status})");
        } else {
            // It would accept beside this process for ever.
            let _ = child.start_kill();
        }
    }
    control.life.handing_over.store(0, Relaxed);
    refused(control, &why);
}

fn refused(control: &Control, why: &str) {
    let message = format!("the new process has not taken over, this one goes on: {why}");
    tracing::error!("{message}");
    control.events.add(Event {
        at: Timestamp::now(),
        pool: None,
        backend: None,
        kind: EventKind::UpgradeFailed,
        message,
    });
}

/// The new process accepts: tells it what was counted, and accepts no more.
///
/// # Errors
/// It has gone in the last moment.
async fn let_go(control: &mut Control, line: Line, hello: &Hello, ready: &Ready) -> Result<Leaving, String> {
    let here =
        Here { published: control.published.clone(), life: control.life.clone(), records: control.records.clone() };
    let stopped = control.upgrades.lines.stop().await;
    let is_child = control.upgrades.attempt.as_ref().is_some_and(|attempt| attempt.child.is_some());
    if is_child {
        // Before the new one says anything: systemd hears the main process only.
        control.supervisor.main_is(hello.pid);
    }
    let mut said = Ledger::of(&control.published.load(), &control.life);
    let ending = control.ending();
    said.ending = Some(ending);
    let frame = Message::Done(Box::new(said.clone())).written();
    let told = spawn_blocking(move || {
        let mut line = line;
        line.allow(FAREWELL);
        line.say(&frame).map(|()| line)
    });
    let line = match told.await.map_err(io::Error::other).and_then(|told| told) {
        Ok(line) => line,
        Err(error) => {
            control.upgrades.lines.resume(stopped, &here);
            if is_child {
                control.supervisor.main_is(std::process::id());
            }
            return Err(format!("it has gone: {error}"));
        }
    };
    control.life.enter(Phase::Stopping);
    control.keeper.abort();
    control.listeners.hand_over(&ready.taken);
    control.workers.drain(Drain::Answered);
    let has_taken = |of: &Of| ready.taken.iter().any(|it| it.of == *of);
    let (file, answering) = control.admin.take().map(AdminPort::close).unzip();
    let files = [
        (Of::Admin, file.flatten()),
        (Of::Upgrade, control.upgrades.socket.take().and_then(|listening| listening.file)),
    ];
    for (_, file) in files.into_iter().filter(|(of, _)| has_taken(of)) {
        if let Some(file) = file {
            file.leave();
        }
    }
    if let Some(mut attempt) = control.upgrades.attempt.take() {
        // The conversation goes on, and the new process lives on without us.
        (attempt.line, attempt.child) = (None, None);
    }
    let open = control.workers.open.load(Relaxed);
    tracing::info!(pid = hello.pid, version = %hello.version, open, "another process has taken over; what is open finishes here");
    Ok(Leaving { line: Some(line), said, ending, answering })
}

impl Leaving {
    /// Waits until the admin port that was ours has answered what it was asked.
    pub(super) async fn answer_the_last(&mut self) {
        if let Some(answering) = self.answering.take() {
            let _ = timeout(LAST_ANSWERS, answering).await;
        }
    }

    /// Tells the new process what has been counted since it was last told.
    pub(super) fn account(&mut self, now: Ledger, ending: Ending) {
        let Some(line) = &mut self.line else { return };
        let mut more = now.since(&self.said);
        let is_news = (self.ending.open, self.ending.ended) != (ending.open, ending.ended);
        more.ending = is_news.then_some(ending);
        self.ending = ending;
        if more.is_empty() {
            return;
        }
        line.allow(ACCOUNT);
        if line.say(&Message::Counted(Box::new(more)).written()).is_err() {
            // Half an account may have gone out: nothing that follows would be understood.
            self.line = None;
        }
        self.said = now;
    }
}

/// Finishes what is open, and tells the new process what is still counted.
pub(super) async fn leave(
    control: &mut Control,
    leaving: &mut Leaving,
    stops: &mut mpsc::Receiver<()>,
    calls: &mut Option<[Signal; 3]>,
) -> Stopped {
    let drain = control.published.load().config.shutdown.drain;
    let mut deadline = Instant::now() + drain;
    let (mut looked, mut told, mut accounted) = (false, false, Instant::now());
    loop {
        let table = control.published.load();
        let open = control.workers.open.load(Relaxed) + flows(&table);
        if open == 0 && std::mem::replace(&mut looked, true) {
            return Stopped::InOrder;
        }
        if Instant::now() >= deadline {
            tracing::warn!(open, "the time to drain is up; the rest is cut");
            return Stopped::InOrder;
        }
        if accounted.elapsed() >= ACCOUNTS {
            accounted = Instant::now();
            let ending = Ending { open, ..leaving.ending };
            leaving.account(Ledger::of(&table, &control.life), ending);
        }
        if timeout(LOOK_EVERY, told_to_stop(calls, stops)).await.is_ok() {
            if std::mem::replace(&mut told, true) {
                tracing::warn!(open, "told again: the rest is cut");
                return Stopped::AtOnce;
            }
            // Whoever stops the service means the process that has the work, and this one with it.
            control.workers.drain(Drain::Idle);
            deadline = deadline.min(Instant::now() + drain);
        }
    }
}
