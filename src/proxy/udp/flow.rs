//! A flow: the datagrams of one client to one address of ours, and what comes back.
//!
//! The listener's task tells it what the client sends (`ask`); its own task takes what the backend answers (`run`). It
//! stays with its backend while that one is up, in the pool and heard of; else the next datagram goes to another.
//!
//! Hot path: no lock, no formatting; no allocation once the backend has answered.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use super::desk::{Desk, FlowPlace, destination};
use super::leg::{Leg, Unsent};
use crate::metrics::FLOW_ENDS;
use crate::net::wheel::Timer;
use crate::pool::Symptom;
use crate::proxy::accept::Seat;
use crate::proxy::attempt::{Search, Tried, cause_of, suspicious_after};
use crate::proxy::log::{Ended, Line, OK};
use crate::proxy::outcome::{Cause, Phase};
use crate::proxy::tcp::settle;

/// A backend that is asked again after so much silence, or after four times its usual, has had its time, where answers
/// are due.
const SILENCE: Duration = Duration::from_millis(500);
/// Answers taken in a row, before others have their turn.
const AT_ONCE: usize = 16;

/// What a flow is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: SocketAddr,
    /// The address of ours, where the socket has several.
    pub(super) to: Option<IpAddr>,
}

/// How a flow ended; a position of [`FLOW_ENDS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Idle,
    Unanswered,
    Displaced,
    Closed,
}

/// Why a flow does not stay where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// What it was there for is gone: it is picked for anew.
    Anew,
    /// It was not heard there: another one comes first.
    Elsewhere,
}

/// One client's datagrams.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: Key,
    timer: Timer,
    begun: Instant,
    _place: FlowPlace,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    leg: Leg,
    /// The table by which it is where it is.
    generation: u64,
    /// The backends that the client's last datagram was for.
    tried: Tried,
    /// When the oldest datagram was sent that nothing has come after.
    waiting: Option<Instant>,
    /// When anything came, either way.
    last: Instant,
    /// A probe was asked for because of this silence.
    looked: bool,
    /// The client has gone on after an answer.
    settled: bool,
    received: u64,
    sent: u64,
    moves: u8,
    end: Option<End>,
    waker: Option<Waker>,
}

impl Flow {
    /// A flow that begins with a datagram of so many bytes, which `leg` has sent.
    pub(super) fn new(key: Key, leg: Leg, (view, listener): &Seat, place: FlowPlace, length: usize) -> Self {
        let now = Instant::now();
        let state = State {
            leg,
            generation: view.table.generation,
            tried: Tried::default(),
            waiting: Some(now),
            last: now,
            looked: false,
            settled: false,
            received: length as u64,
            sent: 0,
            moves: 0,
            end: None,
            waker: None,
        };
        let flow = Self { key, timer: Timer::new(), begun: now, _place: place, state: RefCell::new(state) };
        flow.timer.set(first_look(&flow.state.borrow(), listener));
        flow
    }

    /// Whether the client has gone on after an answer: only such flows keep their place when there are too many.
    pub(super) fn is_settled(&self) -> bool {
        self.state.borrow().settled
    }

    /// When anything came last, either way.
    pub(super) fn last(&self) -> Instant {
        self.state.borrow().last
    }

    /// Ends it. Whoever calls has taken it out of the desk's list.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state.borrow_mut();
        state.end.get_or_insert(end);
        state.wake();
    }

    /// A datagram of the client.
    pub(super) fn ask(&self, desk: &Desk, seat: &Seat, bytes: &[u8]) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        state.tried.clear();
        let leaves = self.leaves(&mut state, seat, now);
        let passed = match leaves {
            Some(leaves) => self.leave(&mut state, desk, seat, bytes, leaves),
            None => match state.leg.send(bytes) {
                Ok(()) => Ok(()),
                Err(Unsent::ThisOne) => {
                    Desk::not_passed(seat);
                    return;
                }
                Err(Unsent::Unreachable(cause)) => {
                    state.leg.breaks(cause);
                    self.leave(&mut state, desk, seat, bytes, Leaves::Elsewhere)
                }
            },
        };
        if let Err(cause) = passed {
            desk.unserved(seat, self.key.client, cause);
            return;
        }
        state.received += bytes.len() as u64;
        state.settled |= state.leg.answered > 0;
        state.last = now;
        if state.waiting.is_none() {
            state.waiting = Some(now);
            state.looked = false;
        }
        self.timer.set(first_look(&state, &seat.1));
    }

    /// Whether it goes to another backend with the next datagram.
    fn leaves(&self, state: &mut State, seat: &Seat, now: Instant) -> Option<Leaves> {
        let (view, listener) = seat;
        let backend = state.leg.backend();
        if state.leg.broken {
            return Some(Leaves::Elsewhere);
        }
        let is_gone = backend.has_fallen() || backend.is_retired() || state.leg.lease.is_cut();
        if is_gone || state.leg.is_elsewhere() {
            return Some(Leaves::Anew);
        }
        if state.generation != view.table.generation {
            let pool = destination(listener, self.key.client).map(|(pool, _)| view.pool(pool));
            let stays = pool.is_some_and(|pool| pool.backends.iter().any(|it| it.slot.serial == backend.slot.serial));
            if !stays {
                return Some(Leaves::Anew);
            }
            state.generation = view.table.generation;
        }
        let silence = SILENCE.max(suspicious_after(state.leg.backend()));
        let is_due = listener.config.responses.is_some();
        let is_silent = is_due && state.waiting.is_some_and(|since| now.duration_since(since) > silence);
        is_silent.then_some(Leaves::Elsewhere)
    }

    /// Sends a datagram to another backend, and goes on there; where there is none, to whoever there is.
    fn leave(&self, state: &mut State, desk: &Desk, seat: &Seat, bytes: &[u8], leaves: Leaves) -> Result<(), Cause> {
        let search = desk.search(seat, self.key.client).ok_or(Cause::NoBackend)?;
        if leaves == Leaves::Elsewhere {
            state.tried.push(state.leg.backend().slot.index);
            if !search.has_others(&state.tried) {
                state.tried.clear();
                if !state.leg.broken {
                    // It is only slow, perhaps: on a new way, its answer to what was asked before would not be heard.
                    return state.leg.send(bytes).map_err(Unsent::cause);
                }
            }
        }
        state.go_on(&search, self.key.client, bytes)
    }

    /// Takes what the backend answers, to the end of the flow. A task of its own.
    pub(super) async fn run(self: Rc<Self>, desk: Rc<Desk>) {
        let end = poll_fn(|context| self.poll(&desk, context)).await;
        desk.forget(&self);
        self.account(&desk, end);
    }

    fn poll(&self, desk: &Desk, context: &mut Context<'_>) -> Poll<End> {
        let mut state = self.state.borrow_mut();
        if let Some(end) = state.end {
            return Poll::Ready(end);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waker = Some(context.waker().clone());
        }
        let seat = desk.seat();
        if let Poll::Ready(end) = self.poll_answers(&mut state, desk, &seat, context) {
            return Poll::Ready(end);
        }
        while self.timer.poll_elapsed(context) {
            if let Some(end) = self.look(&mut state, &seat) {
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    }

    fn poll_answers(&self, state: &mut State, desk: &Desk, seat: &Seat, context: &mut Context<'_>) -> Poll<End> {
        let mut room = desk.room();
        loop {
            match state.leg.line.poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::Closed),
                Poll::Pending if state.leg.answered > 0 || state.leg.broken => return Poll::Pending,
                Poll::Pending => {
                    // The backend has never said anything: perhaps there is none.
                    let error = ready!(state.leg.line.poll_refused(context));
                    self.bad_news(state, desk, seat, &error);
                    continue;
                }
            }
            for _ in 0..AT_ONCE {
                match state.leg.take(&mut room) {
                    Ok(length) => {
                        if let Some(end) = self.answer(state, desk, seat, &room[..length]) {
                            return Poll::Ready(end);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.bad_news(state, desk, seat, &error);
                        break;
                    }
                }
            }
        }
    }

    /// A datagram of the backend.
    fn answer(&self, state: &mut State, desk: &Desk, (_, listener): &Seat, bytes: &[u8]) -> Option<End> {
        state.last = Instant::now();
        if let Some(since) = state.waiting.take() {
            let took = state.last.duration_since(since);
            let backend = state.leg.backend();
            backend.took(took);
            backend.spoke();
            state.leg.pool.mine().response.observe(took);
        }
        if desk.give(listener, &self.key, bytes) {
            state.sent += bytes.len() as u64;
        }
        let due = listener.config.responses.map(|each| u64::from(each.get()).saturating_mul(state.leg.asked));
        if due.is_some_and(|due| state.leg.answered >= due) {
            return Some(End::Answered);
        }
        self.timer.set(listener.config.timeouts.flow_idle);
        None
    }

    /// The system has heard that a datagram did not get there (ICMP). The last one is sent elsewhere, if it was the
    /// backend's first; else the client's next one is.
    fn bad_news(&self, state: &mut State, desk: &Desk, seat: &Seat, error: &io::Error) {
        let cause = cause_of(error);
        // A datagram was too long for some way (EMSGSIZE): the system knows now, and divides the next one.
        if state.leg.broken || cause == Cause::Local || error.raw_os_error() == Some(90) {
            return;
        }
        state.leg.breaks(cause);
        let Some(bytes) = state.leg.give_back() else { return };
        let Some(search) = desk.search(seat, self.key.client) else { return };
        state.tried.push(state.leg.backend().slot.index);
        // Each backend once: they may all be gone.
        if !search.has_others(&state.tried) || state.go_on(&search, self.key.client, &bytes).is_err() {
            search.pool().stats.mine().failed[cause.index()].inc();
            return;
        }
        search.pool().stats.mine().retries.inc();
        state.waiting = Some(state.last);
    }

    /// Its time is up, or it is time for a look at a backend that owes answers.
    fn look(&self, state: &mut State, (_, listener): &Seat) -> Option<End> {
        let is_due = listener.config.responses.is_some();
        let owes = is_due && state.waiting.is_some();
        let (idle, quiet) = (listener.config.timeouts.flow_idle, state.last.elapsed());
        if quiet < idle {
            if owes && !std::mem::replace(&mut state.looked, true) {
                state.leg.suspect(Symptom::Silent);
            }
            self.timer.set(idle.saturating_sub(quiet));
            return None;
        }
        if !owes {
            return Some(End::Idle);
        }
        state.leg.backend().stats.mine().failures.inc();
        state.leg.suspect(Symptom::Late);
        Some(End::Unanswered)
    }

    fn account(&self, desk: &Desk, end: End) {
        let state = self.state.borrow();
        let backend = state.leg.backend();
        let cause = (end == End::Unanswered).then_some(Cause::ResponseTimeout);
        if let Some(cause) = cause {
            state.leg.pool.mine().failed[cause.index()].inc();
        }
        let seat = desk.seat();
        let (_, listener) = &*seat;
        let counts = listener.stats.mine();
        counts.udp.ended[end as usize].inc();
        counts.connections_ended.inc();
        let Some(line) = Line::named(listener, None, None) else { return };
        let word = match end {
            End::Answered | End::Idle => OK,
            End::Unanswered => Cause::ResponseTimeout.word(),
            End::Displaced | End::Closed => FLOW_ENDS[end as usize],
        };
        let ended = Ended {
            client: self.key.client.ip(),
            pool: &backend.pool,
            backend: &backend.name,
            status: 0,
            received: state.received,
            sent: state.sent,
            retries: state.moves,
            queued: Duration::ZERO,
            connect: Duration::ZERO,
            response: Duration::ZERO,
            total: self.begun.elapsed(),
            end: word,
            phase: if word == OK { Phase::Done } else { Phase::Tunnel },
        };
        desk.worker.log.write(listener, &line, &ended);
    }
}

impl State {
    /// Goes on at another backend, with a datagram that it is the first to get.
    fn go_on(&mut self, search: &Search<'_>, client: SocketAddr, bytes: &[u8]) -> Result<(), Cause> {
        self.leg = Leg::reach(search, &mut self.tried, bytes)?;
        settle(search.pool(), search.ask.stick, client.ip().to_canonical(), self.leg.backend());
        self.generation = search.view.table.generation;
        self.waiting = None;
        self.moves = self.moves.saturating_add(1);
        // Its task has heard the old one until now.
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// How long after a datagram of the client something is looked at: the backend where it owes an answer, else the flow.
fn first_look(state: &State, listener: &crate::route::Listener) -> Duration {
    let idle = listener.config.timeouts.flow_idle;
    if listener.config.responses.is_none() || state.looked {
        return idle;
    }
    idle.min(suspicious_after(state.leg.backend()))
}
