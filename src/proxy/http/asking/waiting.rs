//! The wait for an answer: what is sent and heard meanwhile, and which of the deadlines ends it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::GRACE;
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::{Stream, is_lost};
use crate::net::wheel::Timer;
use crate::pool::{Backend, Lease, Pool, Symptom};
use crate::proxy::attempt::{self, Search, is_enough};
use crate::proxy::http::connection::Connection;
use crate::proxy::http::exchange::Incoming;
use crate::proxy::http::http1::Reject;
use crate::proxy::http::upload::{Trouble, Upload};
use crate::proxy::outcome::Cause;

/// The way to a backend.
pub(super) struct Attempt {
    /// The connection.
    pub(super) backend: Stream,
    /// When the request was sent, as far as is known without asking the clock again.
    pub(super) sent_at: Instant,
    /// Something has come already, and more is waited for.
    pub(super) again: bool,
    pub(super) suspected: bool,
    /// The backend's open work was told to end, and this cannot be sent elsewhere: until when it may go on.
    pub(super) grace: Option<Instant>,
    /// Attempts before this one.
    pub(super) retries: u8,
    /// The client waits no longer.
    pub(super) until: Option<Instant>,
}

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Before the request has failed.
    response: Duration,
    /// Before the backend is worth a probe.
    suspicious: Duration,
}

impl Patience {
    fn new(backend: &Backend, response: Duration) -> Self {
        Self { response, suspicious: attempt::suspicious_after(backend).min(response) }
    }
}

impl Attempt {
    /// Sets the first deadline of a wait.
    fn begin(&mut self, wait: &Wait, backend: &Arc<Backend>, timer: &Timer) -> Result<(), Trouble> {
        if !wait.slow && self.due(wait.patience).is_zero() {
            // Seen here and not by the wheel, which turns by ticks: bytes that drip faster would put it off for ever.
            self.goes_on(wait.patience, backend)?;
        }
        let due =
            if wait.slow && self.grace.is_none() { self.at_most(wait.body_idle) } else { self.due(wait.patience) };
        timer.set(due);
        self.again = true;
        Ok(())
    }

    /// When the next of the two is due, or the end of a grace. It runs from the request, however the answer drips in; the clock is asked only
    /// when something has come already.
    fn due(&self, patience: Patience) -> Duration {
        if let Some(end) = self.grace {
            return end.saturating_duration_since(Instant::now());
        }
        let passed = if self.again { self.sent_at.elapsed() } else { Duration::ZERO };
        let next = if self.suspected { patience.response } else { patience.suspicious };
        next.saturating_sub(passed)
    }

    /// The same time, or what is left of the client's.
    fn at_most(&self, time: Duration) -> Duration {
        self.until.map_or(time, |until| time.min(until.saturating_duration_since(Instant::now())))
    }

    fn is_overdue(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// It has come: a probe is asked for, or the wait is over.
    fn goes_on(&mut self, patience: Patience, backend: &Arc<Backend>) -> Result<(), Trouble> {
        if let Some(end) = self.grace {
            return if Instant::now() >= end { Err(Trouble::Backend(Cause::Cut)) } else { Ok(()) };
        }
        if self.suspected || patience.suspicious >= patience.response {
            return Err(Trouble::Backend(if self.is_overdue() { Cause::Deadline } else { Cause::ResponseTimeout }));
        }
        self.suspected = true;
        backend.suspect(Symptom::Silent);
        Ok(())
    }
}

/// Sends, and waits until something of an answer has come.
#[expect(clippy::too_many_arguments, reason = "the facts of one exchange; a struct of borrows would hide them")]
pub(super) async fn wait(
    connection: &mut Connection,
    search: &Search<'_>,
    incoming: &Incoming,
    upload: &mut Upload,
    lease: &Lease,
    attempt: &mut Attempt,
    hand: &mut Option<Buffer>,
    tried: &[u32],
) -> Result<(), Trouble> {
    let backend = lease.backend();
    let mut wait = Wait::new(connection, search.pool(), incoming, upload, attempt, backend);
    attempt.begin(&wait, backend, &connection.timer)?;
    let Connection { client, hand: request, timer, .. } = connection;
    poll_fn(|context| {
        wait.send(context, client, request, upload, attempt, timer)?;
        if let Poll::Ready(read) = poll_answer(context, &mut attempt.backend, hand) {
            return Poll::Ready(read);
        }
        if !wait.sending && wait.heed == Heed::All {
            wait.heed = read_ahead(context, client, request)?;
        }
        if timer.poll_elapsed(context) {
            if !wait.sending && wait.heed == Heed::NotYet {
                // It takes longer than usual: worth hearing when the client goes away.
                wait.heed = read_ahead(context, client, request)?;
            }
            if wait.sending && wait.slow && attempt.grace.is_none() {
                let is_overdue = attempt.is_overdue();
                return Poll::Ready(Err(if is_overdue { Trouble::Backend(Cause::Deadline) } else { late(upload) }));
            }
            attempt.goes_on(wait.patience, backend)?;
            timer.set(attempt.due(wait.patience));
            // Registers for the new deadline.
            let _ = timer.poll_elapsed(context);
        }
        // What waits for a backend that has gone down goes elsewhere, if it may: the client has nothing of an answer,
        // whatever has come of its head.
        let repeatable = upload.is_repeatable() && (incoming.idempotent || !upload.has_begun());
        if repeatable && backend.has_fallen() {
            return Poll::Ready(Err(Trouble::Backend(Cause::BackendDown)));
        }
        if attempt.grace.is_none() && lease.is_cut() {
            if repeatable && search.has_elsewhere(tried, attempt.retries) {
                return Poll::Ready(Err(Trouble::Backend(Cause::Cut)));
            }
            attempt.grace = Some(Instant::now() + GRACE);
            timer.set(GRACE);
            let _ = timer.poll_elapsed(context);
        }
        Poll::Pending
    })
    .await
}

/// What is heard of the client while an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heed {
    /// Nothing: it has just come, and to hear of it costs two system calls, which a request that is answered as fast as
    /// most does not owe.
    NotYet,
    /// What it sends, and when it goes away.
    All,
    /// Nothing more of it is read.
    NoMore,
}

/// What goes on while an answer is waited for.
struct Wait {
    patience: Patience,
    body_idle: Duration,
    /// The request is still being sent.
    sending: bool,
    /// A body is still to come: its time is the client's, not the backend's.
    slow: bool,
    /// Bytes received of it at the last look.
    moved: u64,
    heed: Heed,
}

impl Wait {
    fn new(
        connection: &Connection,
        pool: &Pool,
        incoming: &Incoming,
        upload: &Upload,
        attempt: &Attempt,
        backend: &Backend,
    ) -> Self {
        let sending = !upload.is_over();
        let response = pool.config.timeouts.response;
        let left = attempt.until.map_or(response, |until| until.saturating_duration_since(attempt.sent_at));
        Self {
            patience: Patience::new(backend, response.min(left)),
            body_idle: incoming.silence(&connection.listener.config, &pool.config),
            sending,
            slow: sending && !upload.has_all(),
            moved: upload.received(),
            heed: match &connection.hand {
                Some(hand) if is_enough(hand) => Heed::NoMore,
                _ if connection.client.is_watched() => Heed::All,
                _ => Heed::NotYet,
            },
        }
    }

    /// Sends what there is of the request.
    #[inline]
    fn send(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Stream,
        request: &mut Option<Buffer>,
        upload: &mut Upload,
        attempt: &mut Attempt,
        timer: &Timer,
    ) -> Result<(), Trouble> {
        if !self.sending {
            return Ok(());
        }
        match upload.poll(context, client, request, &mut attempt.backend) {
            Poll::Ready(Ok(())) => {
                self.sending = false;
                if self.slow {
                    self.slow = false;
                    attempt.sent_at = Instant::now();
                    timer.set(attempt.due(self.patience));
                }
            }
            // It may have answered before it closed: what came is read first.
            Poll::Ready(Err(Trouble::Backend(_))) => {
                upload.stop();
                self.sending = false;
            }
            Poll::Ready(Err(trouble)) => return Err(trouble),
            Poll::Pending if upload.received() != self.moved => {
                self.moved = upload.received();
                if attempt.grace.is_none() {
                    timer.set(attempt.at_most(self.body_idle));
                }
            }
            Poll::Pending => {}
        }
        Ok(())
    }
}

/// Reads once of the answer.
fn poll_answer(
    context: &mut Context<'_>,
    backend: &mut Stream,
    hand: &mut Option<Buffer>,
) -> Poll<Result<(), Trouble>> {
    match backend.poll_fill(context, hand, Size::Small) {
        Poll::Ready(Err(error)) if is_lost(&error) => Poll::Ready(Err(Trouble::Backend(Cause::ConnectionLost))),
        Poll::Ready(Ok(0) | Err(_)) => {
            let cause = if hand.is_some() { Cause::BadAnswer } else { Cause::ResetBeforeAnswer };
            Poll::Ready(Err(Trouble::Backend(cause)))
        }
        Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    }
}

/// Reads what the client sends before it has its answer, to notice when it goes away.
fn read_ahead(context: &mut Context<'_>, client: &mut Stream, request: &mut Option<Buffer>) -> Result<Heed, Trouble> {
    if client.poll_readable(context).is_pending() {
        return Ok(Heed::All);
    }
    match client.poll_fill(context, request, Size::Small) {
        // Reset: nobody waits for the answer.
        Poll::Ready(Err(_)) => Err(Trouble::ClientGone),
        // An end alone is half a close: the client still reads.
        Poll::Ready(Ok(read)) if read == 0 || request.as_ref().is_some_and(is_enough) => Ok(Heed::NoMore),
        Poll::Ready(Ok(_)) | Poll::Pending => Ok(Heed::All),
    }
}

/// A body has stopped on its way: whose fault that is.
fn late(upload: &Upload) -> Trouble {
    if upload.client_is_slow { Trouble::Refused(Reject::BodyTimeout) } else { Trouble::Backend(Cause::ResponseTimeout) }
}
