//! Copies of requests for another pool: made while a request goes up, sent once all of it is there, and whatever comes of
//! them, the request itself never learns of it.
//!
//! A copy that would cost too much is none: there are so many at once, bodies are copied up to a length, nothing is waited
//! for that is not to be had at once, nothing is tried again, and all of it ends with the deadlines of the pool. What a
//! backend answers to a copy is no evidence against it: nobody knows what the copy has met there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::aside;
use super::connection::{Connection, head_may_be_complete};
use super::exchange::Incoming;
use super::http1::answer::{Answer, Asked};
use super::http1::body::Body;
use super::http1::{Framing, fields};
use crate::config::model::{Mirror, Reads};
use crate::metrics::{Mirrored, status_class};
use crate::net::buffer::{Buffer, Size};
use crate::net::introduction::Introduction;
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::{Ask, Lease, Stick};
use crate::proxy::accept::within;
use crate::proxy::attempt::Search;
use crate::proxy::idle::Wanted;
use crate::proxy::outcome::Cause;
use crate::proxy::worker::{View, Worker};
use crate::route::Listener;
use crate::route::mirror::{Copies, CopyPlace};

/// Of an answer that nobody wants so much is read, so that its connection can be used again.
const ANSWER_MAX: usize = 1 << 20;

/// A copy that is being made.
#[derive(Debug)]
pub struct Copy {
    /// Its head, and of its body what has come.
    bytes: Buffer,
    /// So much of a body may still come.
    room: usize,
    /// `None`: it has been sent, or given up.
    way: Option<Way>,
}

/// Where a copy goes.
#[derive(Debug)]
struct Way {
    worker: Rc<Worker>,
    view: Rc<View>,
    listener: Arc<Listener>,
    pool: u32,
    ask: Ask,
    /// The request was HEAD.
    head_only: bool,
    introduction: Option<Introduction>,
    _place: CopyPlace,
}

/// Begins a copy of a request whose head for its own backend this is, where the rule wants one of it.
pub(super) fn begin(
    connection: &Connection,
    view: &Rc<View>,
    incoming: &Incoming,
    head: &[u8],
    (rule, copies): (&Mirror, &Arc<Copies>),
) -> Option<Box<Copy>> {
    let worker = &connection.worker;
    let is_meant = worker.random() % 1_000_000 < u64::from(rule.share_millionths);
    // What follows a change of protocols is no request that could be copied.
    if incoming.asked.upgrade || !is_meant {
        return None;
    }
    let room = rule.body_bytes as usize;
    if matches!(incoming.framing, Framing::Length(length) if length > room as u64) {
        count(&connection.listener, Mirrored::TooLarge);
        return None;
    }
    let Some(place) = copies.place(rule.in_flight) else {
        count(&connection.listener, Mirrored::Busy);
        return None;
    };
    let pool = view.pool(rule.pool.0);
    let key = incoming.rules.as_ref().and_then(|applied| applied.copy_key);
    let ask = Ask { key, reads: Reads::Active, near: pool.near(connection.ip), stick: Stick::Free };
    let id = head.get(incoming.id.clone()).unwrap_or_default();
    let from = SocketAddr::new(connection.ip, 0);
    let introduce = pool.config.introduce.as_ref();
    let mut bytes = Buffer::take(Size::Small);
    bytes.append(head);
    let way = Way {
        worker: Rc::clone(worker),
        view: Rc::clone(view),
        listener: Arc::clone(&connection.listener),
        pool: rule.pool.0,
        ask,
        head_only: incoming.asked.head,
        introduction: introduce.map(|terms| Introduction::of(terms, &connection.client, from, id)),
        _place: place,
    };
    let mut copy = Some(Box::new(Copy { bytes, room, way: Some(way) }));
    if incoming.framing == Framing::Empty {
        take(&mut copy, b"", Come::All);
    }
    copy
}

/// How much of a body has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Come {
    /// A part.
    Part,
    /// All of it.
    All,
}

/// More of the request has come; with all of it the copy is sent.
#[cold]
pub(super) fn take(copy: &mut Option<Box<Copy>>, bytes: &[u8], come: Come) {
    let Some(mut making) = copy.take() else { return };
    if bytes.len() > making.room {
        if let Some(way) = making.way.take() {
            count(&way.listener, Mirrored::TooLarge);
        }
        return;
    }
    making.room -= bytes.len();
    making.bytes.append(bytes);
    if come == Come::Part {
        *copy = Some(making);
    } else if let Some(way) = making.way.take() {
        let bytes = std::mem::replace(&mut making.bytes, Buffer::empty());
        // Whoever waits for the request's own answer does not wait for this.
        tokio::task::spawn_local(async move { way.send(&bytes).await });
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(way) = &self.way {
            count(&way.listener, Mirrored::Incomplete);
        }
    }
}

fn count(listener: &Listener, mirrored: Mirrored) {
    listener.stats.mine().mirrored[mirrored as usize].inc();
}

impl Way {
    async fn send(&self, bytes: &Buffer) {
        let introduction = self.introduction.as_ref();
        // It has a time of its own, and waits for nobody.
        let (worker, view, pool, ask) = (&self.worker, &self.view, self.pool, self.ask);
        let search = Search { worker, view, pool, ask, introduction, until: None };
        let Some(lease) = self.worker.pick(&self.view, self.pool, &self.ask, &[]) else {
            return count(&self.listener, Mirrored::NoBackend);
        };
        lease.backend().stats.mine().picks.inc();
        let pool = search.pool();
        let timeouts = &pool.config.timeouts;
        let sent = within(timeouts.connect + timeouts.response, self.exchange(&search, &lease, bytes.filled())).await;
        match sent.unwrap_or(Err(Cause::ResponseTimeout)) {
            Ok(()) => count(&self.listener, Mirrored::Answered),
            Err(cause) => {
                pool.stats.mine().failed[cause.index()].inc();
                count(&self.listener, Mirrored::Failed);
            }
        }
    }

    /// Sends it, and reads what is answered.
    async fn exchange(&self, search: &Search<'_>, lease: &Lease, bytes: &[u8]) -> Result<(), Cause> {
        let timer = Timer::new();
        // As a request that cannot be repeated: what turns out to be closed is not tried again.
        let mut stream = match aside::idle(search, lease, Wanted::Once) {
            Some(stream) => stream,
            None => aside::open(search, lease, search.pool().config.timeouts.connect, &timer).await?,
        };
        let begun = Instant::now();
        aside::send(&mut stream, bytes).await?;
        let mut hand = None;
        let (status, framing, reusable) = self.head(&mut stream, &mut hand).await?;
        let counted = search.pool().stats.mine();
        counted.response.observe(begun.elapsed());
        counted.responses[status_class(status)].inc();
        if read_off(&mut stream, &mut hand, framing).await? && reusable {
            aside::keep(search, lease, stream);
        }
        Ok(())
    }

    /// The head of the answer, past interim ones.
    async fn head(&self, stream: &mut Stream, hand: &mut Option<Buffer>) -> Result<(u16, Framing, bool), Cause> {
        let mut judged = 0;
        loop {
            if let Some(buffer) = hand
                && !buffer.is_empty()
                && (judged == 0 || head_may_be_complete(buffer.filled(), judged))
            {
                let mut room = fields::room();
                let asked = Asked { head: self.head_only, upgrade: false };
                let parsed = Answer::parse(buffer.filled(), &mut room, asked).map_err(|_malformed| Cause::BadAnswer)?;
                let found = parsed.map(|answer| (answer.length, answer.status, answer.framing, answer.keep_alive));
                if let Some((length, status, framing, reusable)) = found {
                    buffer.consume(length);
                    judged = 0;
                    if status >= 200 {
                        return Ok((status, framing, reusable));
                    }
                    continue;
                }
            }
            judged = hand.as_ref().map_or(0, |buffer| buffer.filled().len());
            if judged >= super::http1::answer::MAX_HEAD {
                return Err(Cause::BadAnswer);
            }
            if aside::fill(stream, hand).await? == 0 {
                return Err(if judged == 0 { Cause::ResetBeforeAnswer } else { Cause::BadAnswer });
            }
        }
    }
}

/// Reads the body of an answer; whether all of it came and nothing else.
async fn read_off(stream: &mut Stream, hand: &mut Option<Buffer>, framing: Framing) -> Result<bool, Cause> {
    let mut body = Body::new(framing);
    let mut taken = 0;
    loop {
        if let Some(buffer) = hand {
            let accepted = body.accept(buffer.filled()).map_err(|_rule| Cause::BadAnswer)?;
            buffer.consume(accepted);
            taken += accepted;
        }
        if body.is_done() {
            return Ok(hand.as_ref().is_none_or(Buffer::is_empty));
        }
        if taken > ANSWER_MAX {
            return Ok(false);
        }
        match aside::fill(stream, hand).await {
            Ok(0) if body == Body::UntilClose => return Ok(false),
            Ok(0) => return Err(Cause::TruncatedBody),
            Ok(_) => {}
            Err(_) => return Err(Cause::ResetInBody),
        }
    }
}
