//! A request head in hand becomes a request to serve: judged, routed, and written anew for the backend.
//!
//! Hot path: no allocation beyond the request's own, no lock, no formatting.

mod incoming;
mod sender;

use std::rc::Rc;
use std::sync::Arc;

pub(in crate::proxy) use sender::identity;
pub(super) use sender::written;

use sender::{forwarded, proof, trusts};

use super::connection::Connection;
use super::exchange::Incoming;
use super::http1::request::{Asked, Limits, Request, Sender};
use super::http1::{Reject, fields};
use super::moved::{self, is_named};
use super::own::{Guard, Own};
use super::paths;
use super::rules::{self, Meeting, fill::Facts, fill::Peer};
use crate::balance::hash;
use crate::config::model::{self, Destination, PoolIndex, Reads, Respond, Rules, Split, SplitBy, UnknownHost};
use crate::pool::Ask;
use crate::proxy::log::Line;
use crate::proxy::worker::{Prospect, View, source_key};
use crate::route::Listener;

/// What is in hand.
pub(super) enum Head {
    /// A request, and the table to serve it by.
    Whole(Rc<View>, Box<Incoming>),
    /// A request that a rule answers.
    Own(Box<Own>),
    /// Not all of a head.
    Incomplete,
    /// The listener has been removed.
    Nobodys,
}

/// Who decides about a request, for whoever wants to know.
pub(super) struct Decided {
    /// The route; `None`: the listener itself.
    pub(super) route: Option<usize>,
    /// The pools among which chance decides.
    pub(super) by_chance: Vec<PoolIndex>,
}

/// What was found for a request.
struct Found<'l> {
    destination: &'l Destination,
    reads: Reads,
    rules: Option<&'l Arc<Rules>>,
    /// Of the listener, if it is none of a route.
    route: Option<usize>,
}

impl<'l> Found<'l> {
    #[inline]
    fn of(listener: &'l Listener, asked: &Asked<'_, '_>) -> Option<Self> {
        if let Some(position) = listener.routes.position(asked) {
            let route = listener.routes.at(position)?;
            let (destination, reads, rules) = (&route.destination, route.reads, route.rules.as_ref());
            return Some(Self { destination, reads, rules, route: Some(position) });
        }
        let config = &listener.config;
        let destination = config.destination.as_ref()?;
        Some(Self { destination, reads: config.reads, rules: config.rules.as_ref(), route: None })
    }

    /// Whether the same becomes of a request either way: by one route, or by two that say the same.
    fn are_alike(one: Option<&Self>, other: Option<&Self>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
        let same_rules = match (one.rules, other.rules) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        one.route == other.route || (same_rules && one.reads == other.reads && one.destination == other.destination)
    }
}

impl Connection {
    /// Judges what is in hand.
    pub(super) fn understand(&mut self) -> Result<Head, Reject> {
        let Some(view) = self.take_up_table().map(Rc::clone) else { return Ok(Head::Nobodys) };
        // Not its Arc: workers share that count, and each request would write it.
        let listener = &*self.listener;
        let config = &listener.config;
        let Some(hand) = &self.hand else { return Ok(Head::Incomplete) };
        let mut room = fields::room();
        let Some(mut request) = Request::parse(hand.filled(), &mut room, limits(config))? else {
            return Ok(Head::Incomplete);
        };
        let dropped = paths::judge_names(config.underscores, &mut request)?;
        if dropped > 0 {
            listener.stats.mine().dropped_fields.add(dropped);
        }
        let form = paths::settle(config.normalize, &request)?;
        if let paths::Form::Written(target) = &form {
            request.origin_target = target;
        }
        let length = request.length;
        if config.unknown_host == UnknownHost::Refuse && !is_named(listener, request.host.unwrap_or_default()) {
            return Err(Reject::UnknownHost);
        }
        let forwarded = forwarded(listener, self.peer, &request);
        let client = forwarded.client.unwrap_or(self.peer);
        if self.ip != client {
            self.ip = client;
            self.ip_text = written(client);
        }
        let found = Found::of(listener, &self.asks(&request, request.path()));
        if form != paths::Form::Plain {
            let leads_there = |path: &[u8]| {
                Found::are_alike(found.as_ref(), Found::of(listener, &self.asks(&request, path)).as_ref())
            };
            paths::refuse_ambiguous(request.path(), leads_there)?;
        }
        let found = found.ok_or(Reject::NoRoute)?;
        let mut made = [0; 32];
        let sender = Sender {
            client: self.ip_text.as_bytes(),
            scheme: forwarded.scheme.unwrap_or(if self.client.is_tls() { b"https" } else { b"http" }),
            host: forwarded.host,
            request_id: request.request_id.unwrap_or_else(|| identity(&self.worker, &mut made)),
            fallback_host: b"",
            proof: proof(listener, &self.client),
        };
        let head = self.meet(&view, listener, &request, &found, &sender)?;
        self.consume(length);
        Ok(match head {
            Ok(incoming) => Head::Whole(view, incoming),
            Err(own) => Head::Own(own),
        })
    }

    /// Who decides about what is in hand, after [`Connection::understand`] has judged the same; `None`: nobody.
    #[cold]
    pub(super) fn decided(&self) -> Option<Decided> {
        let mut room = fields::room();
        let listener = &*self.listener;
        let mut request = Request::parse(self.hand.as_ref()?.filled(), &mut room, limits(&listener.config)).ok()??;
        paths::judge_names(listener.config.underscores, &mut request).ok()?;
        let form = paths::settle(listener.config.normalize, &request).ok()?;
        if let paths::Form::Written(target) = &form {
            request.origin_target = target;
        }
        let found = Found::of(listener, &self.asks(&request, request.path()))?;
        let by_chance = match found.destination {
            Destination::Split(split) if self.spread_by(split, &request).is_none() => {
                split.shares.iter().map(|share| share.pool).collect()
            }
            _ => Vec::new(),
        };
        Some(Decided { route: found.route, by_chance })
    }

    /// What routes look at.
    #[inline]
    fn asks<'a, 'b>(&self, request: &'a Request<'b>, path: &'a [u8]) -> Asked<'a, 'b> {
        Asked { request, path, client: self.ip }
    }

    /// A request that its rules let pass, or the answer that they give.
    #[inline]
    fn meet(
        &self,
        view: &View,
        listener: &Listener,
        request: &Request<'_>,
        found: &Found<'_>,
        sender: &Sender<'_>,
    ) -> Result<Result<Box<Incoming>, Box<Own>>, Reject> {
        let pool = match found.destination {
            Destination::Pool(pool) => Some(pool.0),
            Destination::Split(split) => Some(self.side(view, split, found.reads, request)),
            Destination::Respond(_) | Destination::Redirect(_) => None,
        };
        let name = pool.map_or("", |pool| &view.pool(pool).config.name);
        let met = match found.rules {
            None => None,
            Some(rules) => {
                let facts = self.facts(request, sender, listener, name);
                match rules::meet(rules, listener.gates(found.route), &facts) {
                    Meeting::Passes(met) => Some(met),
                    Meeting::Answer(own) => return Ok(Err(Box::new(self.identified(own, request, sender)))),
                }
            }
        };
        if let Some(pool) = pool {
            return Ok(Ok(Box::new(self.incoming(view, pool, found.reads, request, sender, met))));
        }
        let mut own = match found.destination {
            Destination::Redirect(redirect) => {
                moved::elsewhere(&self.facts(request, sender, listener, name), redirect)?
            }
            // Without a body of its own it is told as errors are.
            Destination::Respond(respond) if respond.body.is_empty() => {
                Own { rules: found.rules.cloned(), ..respond_with(request, respond) }
            }
            Destination::Respond(respond) => respond_with(request, respond),
            Destination::Pool(_) | Destination::Split(_) => return Err(Reject::NoRoute),
        };
        if let Some(met) = met {
            own.lines.extend_from_slice(&met.applied.own_lines(own.status));
            own.guard = met.gates.map(|waiting| Box::new(Guard { waiting: *waiting, applied: met.applied }));
        }
        Ok(Err(Box::new(self.identified(own, request, sender))))
    }

    /// The pool of a split that this request goes to. One of which nobody is up leaves its work to the next.
    fn side(&self, view: &View, split: &Split, reads: Reads, request: &Request<'_>) -> u32 {
        let value = self.spread_by(split, request);
        let first = split.position(value.unwrap_or_else(|| self.worker.random()));
        let count = split.shares.len();
        let mut others = (0..count).map(|step| split.shares[(first + step) % count].pool.0);
        let works = |pool: &u32| {
            let ask = Ask { reads, near: view.pool(*pool).near(self.ip), ..Ask::default() };
            self.worker.prospect(view, *pool, &ask) != Prospect::Nobody
        };
        others.find(works).unwrap_or(split.shares[first].pool.0)
    }

    /// What decides on which side of a split a request is; `None`: chance.
    fn spread_by(&self, split: &Split, request: &Request<'_>) -> Option<u64> {
        match &split.by {
            SplitBy::Request => None,
            // Not the number that picks the backend: it would leave each side with a part of the clients' numbers only.
            SplitBy::Client => Some(hash(&source_key(self.ip).to_le_bytes())),
            SplitBy::Header(name) => request.header(name).map(hash),
            SplitBy::Cookie(name) => request.cookie(name).map(hash),
        }
    }

    fn facts<'a, 'b>(
        &'a self,
        request: &'a Request<'b>,
        sender: &'a Sender<'_>,
        listener: &'a Listener,
        pool: &'a str,
    ) -> Facts<'a, 'b> {
        Facts {
            request,
            user: "",
            rewritten: None,
            stream: &self.client,
            client: self.ip,
            client_text: &self.ip_text,
            scheme: sender.scheme,
            id: sender.request_id,
            listener: &listener.config.name,
            pool,
            peer: if trusts(listener, self.peer) { Peer::TrustedProxy } else { Peer::Anybody },
            asked_host: sender.host,
            target_bytes: listener.config.limits.target_bytes as usize,
        }
    }

    /// What the log has of a request that was refused, where there is a log: all of it where the head could be read. And
    /// its identity, which is made where there are pages that may tell it.
    pub(super) fn refused_line(&self) -> (Option<Box<Line>>, String) {
        let has_pages = self.listener.config.rules.as_ref().is_some_and(|rules| rules.errors.is_some());
        if self.listener.log.is_none() && !has_pages {
            return (None, String::new());
        }
        let mut room = fields::room();
        let request = self.hand.as_ref().and_then(|hand| {
            let parsed = Request::parse(hand.filled(), &mut room, limits(&self.listener.config));
            parsed.ok().flatten()
        });
        let Some(request) = request else {
            return (self.listener.log.as_ref().map(|_| Box::default()), String::new());
        };
        let mut made = [0; 32];
        let id = match request.request_id {
            None if has_pages => identity(&self.worker, &mut made),
            id => id.unwrap_or_default(),
        };
        let shown = if has_pages { String::from_utf8_lossy(id).into_owned() } else { String::new() };
        (Line::of(&self.listener, &self.client, &request, id, None), shown)
    }

    /// The same answer with the identity of its request, and a line for the log.
    fn identified(&self, mut own: Own, request: &Request<'_>, sender: &Sender<'_>) -> Own {
        own.id = String::from_utf8_lossy(sender.request_id).into_owned();
        own.line = Line::of(&self.listener, &self.client, request, sender.request_id, None);
        own
    }
}

fn respond_with(request: &Request<'_>, respond: &Respond) -> Own {
    Own::sentence(request, respond.status, "This is the balancer's own answer.", "respond")
        .body(&respond.kind, &respond.body)
}

#[inline]
fn limits(config: &model::Listener) -> Limits {
    Limits {
        head_bytes: config.limits.head_bytes as usize,
        target_bytes: config.limits.target_bytes as usize,
        headers: usize::from(config.limits.headers).min(fields::MAX_FIELDS),
    }
}
