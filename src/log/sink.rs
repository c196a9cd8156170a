//! A target of access logs with its thread and its queue, and all of them together.
//!
//! Workers hand over buffers of whole lines and never wait. Control opens targets before a table names them (one that
//! cannot be opened refuses the configuration), lets go of those that nobody names any more, and ends them all.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::Target;
use super::file::Lines;
use super::syslog::Daemon;
use crate::confinement::{Use, why_refused};

/// Buffers that wait for a target at most, of some 32 KiB each: 8 MiB outlast a disk that is busy for a moment.
const MAX_WAITING: usize = 256;
/// How long the end of the program waits for a target to take the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Lines that were dropped are told of at most so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// A target that is open.
#[derive(Debug)]
pub struct Sink {
    target: Target,
    queue: SyncSender<Message>,
    gate: Arc<Gate>,
    thread: Thread,
    dropped: Arc<AtomicU64>,
    head: Option<Head>,
}

/// What stands in front of each line: the head of a message of syslog.
#[derive(Debug)]
pub struct Head {
    /// In front of the time.
    pub before: Box<[u8]>,
    /// Behind it.
    pub behind: Box<[u8]>,
}

/// What the thread of a sink is told beside lines.
#[derive(Debug, Default)]
pub(super) struct Gate {
    ending: AtomicBool,
    /// Wishes to open files anew, counted.
    reopen: AtomicU64,
    /// Lines dropped in front of the queue, or given up behind it. Written by workers and the thread.
    dropped: AtomicU64,
}

enum Message {
    Lines(Vec<u8>),
    /// Look at the gate.
    Look,
    /// All is written: say so, and end.
    End(SyncSender<()>),
}

impl Gate {
    /// Whether the program ends: nobody waits for what does not work.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// How often opening anew was wished for.
    pub(super) fn reopen(&self) -> u64 {
        self.reopen.load(Relaxed)
    }

    /// Waits, but not beyond the end of the program.
    pub(super) fn pause(&self, time: Duration) {
        if !self.is_ending() {
            std::thread::park_timeout(time);
        }
    }
}

impl Sink {
    fn open(target: &Target, dropped: &Arc<AtomicU64>) -> io::Result<Arc<Self>> {
        let output = match target {
            Target::Stdout => Output::Lines(Lines::stdout()?),
            Target::File(path) => Output::Lines(Lines::open(path)?),
            Target::Syslog(to) => Output::Syslog(Daemon::new(Arc::clone(to))),
        };
        let gate = Arc::new(Gate::default());
        let (queue, messages) = sync_channel(MAX_WAITING);
        let writer = Writer { output, gate: Arc::clone(&gate), all: Arc::clone(dropped), told: 0, told_at: None };
        let thread = std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&messages))?;
        let (target, thread, dropped) = (target.clone(), thread.thread().clone(), Arc::clone(dropped));
        let head = head(&target);
        Ok(Arc::new(Self { target, queue, gate, thread, dropped, head }))
    }

    /// What stands in front of each line.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Hands over whole lines. Where too much waits already, they are dropped and counted.
    pub fn hand_over(&self, lines: Vec<u8>) {
        if let Err(TrySendError::Full(Message::Lines(lines)) | TrySendError::Disconnected(Message::Lines(lines))) =
            self.queue.try_send(Message::Lines(lines))
        {
            let lost = count(&lines);
            self.gate.dropped.fetch_add(lost, Relaxed);
            self.dropped.fetch_add(lost, Relaxed);
        }
    }

    fn reopen(&self) {
        self.gate.reopen.fetch_add(1, Relaxed);
        self.thread.unpark();
        // Where the queue is full, the thread is awake and looks anyway.
        let _ = self.queue.try_send(Message::Look);
    }

    fn end(&self, deadline: Instant) {
        self.gate.ending.store(true, Relaxed);
        self.thread.unpark();
        let (done, wait) = sync_channel(1);
        let mut message = Message::End(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                break;
            }
            message = back;
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            tracing::error!(log = %self.target, "the last lines of the access log could not be written in time");
        }
    }
}

/// What the system said, and what of this process's confinement is the cause.
fn why(target: &Target, error: &io::Error) -> String {
    let confined = match target {
        Target::File(path) if error.kind() == io::ErrorKind::PermissionDenied => why_refused(path, Use::Write),
        _ => None,
    };
    confined.map_or_else(|| error.to_string(), |why| format!("{error}; {why}"))
}

/// The head of a message (RFC 5424, section 6.2), around its time.
fn head(target: &Target) -> Option<Head> {
    const INFORMATIONAL: u8 = 6;
    let Target::Syslog(to) = target else { return None };
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(255).collect();
    let name = if name.is_empty() { "-" } else { &name };
    let before = format!("<{}>1 ", to.facility * 8 + INFORMATIONAL);
    let behind = format!(" {name} {} {} - - ", to.tag, std::process::id());
    Some(Head { before: before.into_bytes().into(), behind: behind.into_bytes().into() })
}

#[derive(Debug)]
enum Output {
    Lines(Lines),
    Syslog(Daemon),
}

/// What a sink's thread holds.
struct Writer {
    output: Output,
    gate: Arc<Gate>,
    all: Arc<AtomicU64>,
    told: u64,
    told_at: Option<Instant>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            match message {
                Message::Lines(lines) => {
                    let lost = match &mut self.output {
                        Output::Lines(file) => file.write(&lines, &self.gate),
                        Output::Syslog(daemon) => daemon.write(&lines, &self.gate),
                    };
                    self.gate.dropped.fetch_add(lost, Relaxed);
                    self.all.fetch_add(lost, Relaxed);
                }
                Message::Look => {
                    if let Output::Lines(file) = &mut self.output {
                        file.look(&self.gate);
                    }
                }
                Message::End(done) => {
                    self.told_at = None;
                    self.tell();
                    // Whoever waits has not waited this long.
                    let _ = done.try_send(());
                    return;
                }
            }
            self.tell();
        }
    }

    fn tell(&mut self) {
        let dropped = self.gate.dropped.load(Relaxed);
        if dropped == self.told || self.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            return;
        }
        let lines = dropped - self.told;
        (self.told, self.told_at) = (dropped, Some(Instant::now()));
        let log = match &self.output {
            Output::Lines(file) => file.name(),
            Output::Syslog(daemon) => daemon.name(),
        };
        tracing::warn!(%log, lines, "lines of the access log were dropped: whoever takes them is too slow or gone");
    }
}

/// How many lines these are.
pub(super) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Trouble that is said once, and once that it is over.
#[derive(Debug)]
pub(super) struct Complaint {
    /// Whose trouble.
    pub(super) log: String,
    said: bool,
}

impl Complaint {
    pub(super) fn new(log: String) -> Self {
        Self { log, said: false }
    }

    pub(super) fn say(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(log = %self.log, %error, "the access log cannot be written; it is tried again");
        }
    }

    pub(super) fn is_over(&mut self) {
        if std::mem::replace(&mut self.said, false) {
            tracing::info!(log = %self.log, "the access log is written again");
        }
    }
}

/// All targets that are open.
#[derive(Debug, Default)]
pub struct Sinks {
    open: Mutex<Vec<Arc<Sink>>>,
    dropped: Arc<AtomicU64>,
}

impl Sinks {
    /// None yet. `dropped` counts the lines that no target took.
    pub fn new(dropped: Arc<AtomicU64>) -> Self {
        Self { open: Mutex::default(), dropped }
    }

    /// Opens what is not open yet.
    ///
    /// # Errors
    /// A sentence about the first one that cannot be opened.
    pub fn open<'t>(&self, wanted: impl Iterator<Item = &'t Target>) -> Result<(), String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for target in wanted {
            if open.iter().any(|sink| sink.target == *target) {
                continue;
            }
            let sink = Sink::open(target, &self.dropped)
                .map_err(|error| format!("the access log `{target}` cannot be opened: {}", why(target, &error)))?;
            open.push(sink);
        }
        Ok(())
    }

    /// The open one of this target.
    pub fn find(&self, target: &Target) -> Option<Arc<Sink>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|sink| sink.target == *target).cloned()
    }

    /// Lets go of those that neither `wanted` has nor anybody else holds: their threads write what they have, and end.
    pub fn tidy<'t>(&self, wanted: impl Iterator<Item = &'t Target>) {
        let wanted: Vec<&Target> = wanted.collect();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|sink| wanted.contains(&&sink.target) || Arc::strong_count(sink) > 1);
    }

    /// Has files opened anew, after somebody has moved them away.
    pub fn reopen(&self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|sink| sink.reopen());
    }

    /// Waits until every line is written, or its time is up. The workers must have ended.
    pub fn finish(&self) {
        let deadline = Instant::now() + LAST_LINES;
        for sink in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            sink.end(deadline);
        }
    }
}
