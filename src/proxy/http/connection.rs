//! One client connection of HTTP/1: request after request, until one side has had enough.
//!
//! Hot path: no allocation beyond the request's own, no lock; a connection that waits for its next request owns no buffer.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::exchange::{self, After, Incoming};
use super::gates::{self, Held, Passage, Waiting};
use super::grpc::{self, Kind};
use super::http1::{Reject, Version};
use super::own::{Guard, Own};
use super::pages::Pages;
use super::reply::{Fit, Reply};
use super::understand::{Head, written};
use crate::config::model::Rules;
use crate::metrics::status_class;
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::proxy::log::{Ended, Line};
use crate::proxy::outcome::Phase;
use crate::proxy::worker::{View, Worker};
use crate::route::Listener;

/// After an answer that ends a connection, the client has this long to take it and to close.
const LINGER: Duration = Duration::from_secs(2);
/// When the program stops, a client that has just connected has this long to ask.
const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Bytes that a client may still send meanwhile: one that is in the middle of a large upload reads its answer only then.
const MAX_LINGER: usize = 16 * 1024 * 1024;

/// One client connection.
#[derive(Debug)]
pub struct Connection {
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// The listener as the table of the current request has it.
    pub listener: Arc<Listener>,
    /// The client.
    pub client: Stream,
    /// The address of who the current request comes from: the client itself, or who a trusted proxy says it is.
    pub ip: IpAddr,
    /// The address of who has connected.
    pub(super) peer: IpAddr,
    /// And its port.
    pub(super) peer_port: u16,
    /// Its one deadline.
    pub timer: Timer,
    /// Bytes received and not used.
    pub hand: Option<Buffer>,
    /// `ip` as text.
    pub(super) ip_text: Box<str>,
    /// The table that has `listener`; none where a long answer has let go of it.
    pub view: Option<Rc<View>>,
    /// Its number.
    pub generation: u64,
    /// The listener has been removed: the connection ends after its next request.
    orphan: bool,
    /// It has not had a request yet.
    fresh: bool,
}

/// What the wait for a request brought.
enum Arrival {
    /// A request, and the table to serve it by.
    Request(Rc<View>, Box<Incoming>),
    /// A request that a rule answers.
    Own(Box<Own>),
    Refused(Reject),
    /// The client has closed, been silent for too long, or nobody serves here any more.
    End,
}

/// How a request is told that it breaks a rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    /// By which kind of status.
    pub(super) kind: Kind,
    /// The request was HEAD.
    pub(super) head_only: bool,
    /// The rules with the pages for it.
    pub(super) rules: Option<&'a Rules>,
    /// Its identity, where it has one that it may be told.
    pub(super) id: &'a str,
}

/// What it was told.
pub(super) struct Told {
    /// What becomes of the connection.
    pub(super) after: After,
    /// The status.
    pub(super) status: u16,
    /// Bytes that went out.
    pub(super) sent: u64,
}

/// What the wait for bytes brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// So many; none is the end.
    Bytes(usize),
    /// The time is up.
    Late,
    /// There is a new table, or the program stops.
    Changed,
}

/// Serves one connection, of which `early` has been read, from accept to end.
pub async fn serve(
    worker: Rc<Worker>,
    view: Rc<View>,
    listener: Arc<Listener>,
    client: Stream,
    early: Option<Buffer>,
    address: SocketAddr,
) {
    let mut connection = Connection::new(worker, view, listener, client, early, address);
    loop {
        match connection.answer_next(None).await {
            // The answer has said so: whatever has changed since, it goes on.
            After::Continue => {}
            After::Close => return connection.linger().await,
            After::Reset => return connection.client.reset_on_drop(),
            After::Done => return,
        }
    }
}

/// Serves the one request of a stream that another protocol carries; `reject`: what is wrong with it already.
pub async fn serve_one(
    worker: Rc<Worker>,
    view: Rc<View>,
    listener: Arc<Listener>,
    client: Stream,
    address: SocketAddr,
    reject: Option<Reject>,
) {
    let mut connection = Connection::new(worker, view, listener, client, None, address);
    match connection.answer_next(reject).await {
        After::Continue | After::Done => {}
        After::Close => connection.client.finish_sending(),
        After::Reset => connection.client.reset_on_drop(),
    }
}

impl Connection {
    pub(super) fn new(
        worker: Rc<Worker>,
        view: Rc<View>,
        listener: Arc<Listener>,
        client: Stream,
        early: Option<Buffer>,
        address: SocketAddr,
    ) -> Self {
        let ip = address.ip().to_canonical();
        Self {
            worker,
            listener,
            client,
            ip,
            peer: ip,
            peer_port: address.port(),
            timer: Timer::new(),
            hand: early,
            ip_text: written(ip),
            generation: view.table.generation,
            view: Some(view),
            orphan: false,
            fresh: true,
        }
    }

    /// Waits for the next request and answers it. `reject`: one is there, and this is wrong with it.
    async fn answer_next(&mut self, reject: Option<Reject>) -> After {
        if let Some(reject) = reject {
            return self.refuse_head(reject).await;
        }
        match self.next().await {
            Arrival::Request(view, mut incoming) => match incoming.gates.take() {
                // Boxed, as what it goes through is: a connection without a request is much smaller than one with it.
                None => Box::pin(exchange::run(self, view, incoming)).await,
                // Boxed: what few requests wait for must not take room in every connection.
                Some(waiting) => Box::pin(self.pass(view, incoming, *waiting)).await,
            },
            Arrival::Own(mut own) => match own.guard.take() {
                None => self.answer(&own).await,
                Some(guard) => Box::pin(self.pass_to_own(own, *guard)).await,
            },
            Arrival::Refused(reject) => self.refuse_head(reject).await,
            Arrival::End => After::Done,
        }
    }

    /// Whether the connection can serve another request, as far as the balancer is concerned.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        !self.orphan && !self.worker.is_draining() && self.has_a_future()
    }

    /// Whether the newest table still has the listener.
    #[inline]
    fn has_a_future(&self) -> bool {
        self.worker.generation() == self.generation || self.worker.view().successor(&self.listener).is_some()
    }

    /// Lets go of the table: what follows does not need it, and may take hours.
    #[inline]
    pub fn let_go_of_table(&mut self) {
        self.view = None;
    }

    /// Takes up the newest table, and what it says of this listener. One that has been removed goes on by the table that
    /// had it; `None` when that has been let go of.
    #[inline]
    pub(super) fn take_up_table(&mut self) -> Option<&Rc<View>> {
        let newest = self.worker.view();
        if newest.table.generation == self.generation {
            return Some(self.view.get_or_insert(newest));
        }
        match newest.successor(&self.listener) {
            Some(listener) => {
                self.listener = listener;
                self.generation = newest.table.generation;
                self.view = Some(newest);
            }
            None => self.orphan = true,
        }
        self.view.as_ref()
    }

    /// Waits for the next request.
    async fn next(&mut self) -> Arrival {
        let mut judged = 0;
        if self.take_up_table().is_none() {
            return Arrival::End;
        }
        let mut timeouts = self.listener.config.timeouts;
        let mut in_grace = false;
        self.timer.set(if self.hand.is_none() { timeouts.client_idle } else { timeouts.head });
        loop {
            if let Some(hand) = &self.hand
                && (judged == 0 || head_may_be_complete(hand.filled(), judged))
            {
                match self.understand() {
                    Ok(Head::Whole(view, incoming)) => return Arrival::Request(view, incoming),
                    Ok(Head::Own(own)) => return Arrival::Own(own),
                    Ok(Head::Incomplete) => {}
                    Ok(Head::Nobodys) => return Arrival::End,
                    Err(reject) => return Arrival::Refused(reject),
                }
            }
            let before = self.hand.as_ref().map_or(0, |hand| hand.filled().len());
            if before as u64 >= u64::from(self.listener.config.limits.head_bytes) {
                // Judged once more: it may be the target alone that is too long.
                return Arrival::Refused(self.understand().err().unwrap_or(Reject::HeadTooLarge));
            }
            if judged == 0 && before > 0 {
                self.timer.set(timeouts.head);
            }
            judged = before;
            match self.fill(in_grace).await {
                Fill::Late if before > 0 => return Arrival::Refused(Reject::HeadTimeout),
                Fill::Late | Fill::Bytes(0) => return Arrival::End,
                Fill::Bytes(_) => {}
                // A client that has just connected is about to ask.
                Fill::Changed if self.worker.ends_idle() && self.fresh => {
                    in_grace = true;
                    self.timer.set(FIRST_REQUEST);
                }
                Fill::Changed if self.worker.ends_idle() || self.take_up_table().is_none() => return Arrival::End,
                Fill::Changed => timeouts = self.listener.config.timeouts,
            }
        }
    }

    /// Reads once. A new table and the end of the program are news only where no request has begun.
    async fn fill(&mut self, in_grace: bool) -> Fill {
        let (client, hand, timer, worker) = (&mut self.client, &mut self.hand, &self.timer, &self.worker);
        let (idle, generation, orphan) = (hand.is_none(), self.generation, self.orphan);
        poll_fn(|context| {
            match client.poll_fill(context, hand, Size::Small) {
                Poll::Ready(read) => return Poll::Ready(Fill::Bytes(read.unwrap_or(0))),
                Poll::Pending => {}
            }
            if timer.poll_elapsed(context) {
                return Poll::Ready(Fill::Late);
            }
            let changed = idle && !in_grace && (worker.ends_idle() || (!orphan && worker.generation() != generation));
            if changed { Poll::Ready(Fill::Changed) } else { Poll::Pending }
        })
        .await
    }

    /// A head of this length has been understood.
    pub(super) fn consume(&mut self, length: usize) {
        if let Some(hand) = &mut self.hand {
            hand.consume(length);
            if hand.is_empty() {
                self.hand = None;
            }
        }
        self.fresh = false;
    }

    /// Serves a request that must pass something first.
    async fn pass(&mut self, view: Rc<View>, mut incoming: Box<Incoming>, waiting: Waiting) -> After {
        match gates::pass(self, &view, Held::Request(&mut incoming), waiting).await {
            Passage::Free => exchange::run(self, view, incoming).await,
            Passage::Answer(own) => self.answer(&own).await,
            Passage::Left => After::Done,
        }
    }

    /// Answers a request by rule that must pass something first.
    async fn pass_to_own(&mut self, mut own: Box<Own>, guard: Guard) -> After {
        // It has been understood by this table.
        let Some(view) = self.view.clone() else { return After::Done };
        match gates::pass(self, &view, Held::Own(&mut own, &guard.applied), guard.waiting).await {
            Passage::Free => self.answer(&own).await,
            Passage::Answer(other) => self.answer(&other).await,
            Passage::Left => After::Done,
        }
    }

    /// Answers a request by rule.
    async fn answer(&mut self, own: &Own) -> After {
        if let Some(reject) = own.refusal {
            self.listener.stats.mine().reject(reject.counted());
        }
        let keep_alive = own.keep_alive && self.is_wanted();
        let listener = Arc::clone(&self.listener);
        let pages =
            Pages::of(own.rules.as_deref(), self.ip, &listener.config.name).filter(|_| own.terms == Kind::Plain);
        let (head_only, version, id, lines) = (own.head_only, own.version, &*own.id, &*own.lines);
        let reply = match (own.refusal, own.terms) {
            (Some(reject), Kind::Grpc) => Reply::Grpc(grpc::code_of_status(own.status), reject.sentence()),
            _ => Reply::Own(own),
        };
        let (sent, whole) = self.reply(reply, Fit { head_only, version, keep_alive, id, lines, pages }).await;
        if let Some(line) = &own.line {
            let status = Reply::Own(own).status(pages);
            let ended = Ended::without_pool(self.ip, status, sent, own.end, Phase::Done);
            self.worker.log.write(&self.listener, line, &ended);
        }
        match (whole, keep_alive) {
            (true, true) => After::Continue,
            (true, false) => After::Close,
            (false, _) => After::Reset,
        }
    }

    /// Answers a request that breaks a rule, and ends the connection: what follows on it cannot be trusted.
    pub(super) async fn refuse(&mut self, reject: Reject, terms: Terms<'_>) -> Told {
        let listener = Arc::clone(&self.listener);
        listener.stats.mine().reject(reject.counted());
        let Terms { kind, head_only, rules, id } = terms;
        let pages = Pages::of(rules, self.ip, &listener.config.name);
        let fit = Fit { head_only, version: Version::Http11, keep_alive: false, id, lines: b"", pages };
        let (status, _) = reject.status();
        let (reply, status) = match kind {
            Kind::Plain => (Reply::Refused(reject), pages.map_or(status, |pages| pages.shown(status))),
            Kind::Grpc => (Reply::Grpc(grpc::code_of_status(status), reject.sentence()), status),
        };
        let (sent, whole) = self.reply(reply, fit).await;
        Told { after: if whole { After::Close } else { After::Reset }, status, sent }
    }

    /// The same, for one that has not come as far as the exchange, which would log it. The pages are the listener's own:
    /// whatever route it might have had is not known.
    async fn refuse_head(&mut self, reject: Reject) -> After {
        let (line, id) = self.refused_line();
        let kind = self.hand.as_ref().map_or(Kind::Plain, |hand| grpc::kind_of(hand.filled()));
        let head_only = self.hand.as_ref().is_some_and(|hand| hand.filled().starts_with(b"HEAD "));
        let rules = self.listener.config.rules.clone();
        self.refuse_early(reject, Terms { kind, head_only, rules: rules.as_deref(), id: &id }, line).await
    }

    /// The same in these terms, with this line for the log.
    pub(super) async fn refuse_early(&mut self, reject: Reject, terms: Terms<'_>, line: Option<Box<Line>>) -> After {
        let told = self.refuse(reject, terms).await;
        if let Some(line) = line {
            let ended = Ended::without_pool(self.ip, told.status, told.sent, reject.word(), Phase::Request);
            self.worker.log.write(&self.listener, &line, &ended);
        }
        told.after
    }

    /// Sends an answer of the balancer's own; says how many bytes went out, and whether that is all of it.
    pub(super) async fn reply(&mut self, reply: Reply<'_>, fit: Fit<'_>) -> (u64, bool) {
        let mut out = Buffer::take(Size::Small);
        reply.write(&mut out, fit);
        let length = out.filled().len() as u64;
        let listener = Arc::clone(&self.listener);
        let stats = listener.stats.mine();
        stats.responses[status_class(reply.status(fit.pages))].inc();
        self.flush(&mut out).await;
        let sent = length - out.filled().len() as u64;
        stats.sent_bytes.add(sent);
        (sent, out.is_empty())
    }

    /// Sends these bytes; whether the client has taken them in time.
    pub async fn send(&mut self, mut bytes: Buffer) -> bool {
        self.flush(&mut bytes).await;
        bytes.is_empty()
    }

    async fn flush(&mut self, bytes: &mut Buffer) {
        self.timer.set(self.listener.config.timeouts.body_idle);
        let (client, timer) = (&mut self.client, &self.timer);
        poll_fn(|context| match client.poll_flush(context, bytes) {
            Poll::Pending if !timer.poll_elapsed(context) => Poll::Pending,
            _ => Poll::Ready(()),
        })
        .await;
    }

    /// Ends the connection so that the client gets the last answer: closing at once would reset it while the client
    /// still sends (RFC 9112, section 9.6).
    async fn linger(mut self) {
        self.client.finish_sending();
        self.timer.set(LINGER);
        let mut taken = 0;
        self.hand = None;
        while let Some(read) = self.fill_to_the_end().await {
            taken += read;
            if read == 0 || taken > MAX_LINGER {
                return;
            }
        }
    }

    async fn fill_to_the_end(&mut self) -> Option<usize> {
        let (client, timer) = (&mut self.client, &self.timer);
        let mut hand = None;
        poll_fn(|context| match client.poll_fill(context, &mut hand, Size::Small) {
            Poll::Ready(read) => Poll::Ready(read.ok()),
            Poll::Pending if timer.poll_elapsed(context) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// Whether the bytes behind `judged`, which were not there at the last look, can complete a head.
pub fn head_may_be_complete(bytes: &[u8], judged: usize) -> bool {
    let new = &bytes[judged.saturating_sub(3)..];
    memchr::memmem::find(new, b"\n\r\n").is_some() || memchr::memmem::find(new, b"\n\n").is_some()
}
