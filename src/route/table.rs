//! The table and its publication.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::crowd::Crowd;
use super::gates::Gates;
use super::routes::Routes;
use crate::config::model;
use crate::log::sink::Sink;
use crate::metrics::{ListenerStats, PerWorker};
use crate::net::tls::Server;
use crate::pool::Pool;
use crate::trace::Traces;

/// All that the data path reads.
#[derive(Debug)]
pub struct Table {
    /// Counts the tables of this process, from 1.
    pub generation: u64,
    /// What it was built from.
    pub config: Arc<model::Config>,
    /// One for each listener of the configuration, in that order.
    pub listeners: Vec<Arc<Listener>>,
    /// One for each pool of the configuration, in that order.
    pub pools: Vec<Arc<Pool>>,
    /// Where requests are traced, if they are.
    pub tracing: Option<Tracing>,
    /// How the admin port agrees on TLS, where it does; survives reload.
    pub admin: Option<Arc<Server>>,
}

/// How requests are traced.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// What the configuration says.
    pub config: Arc<model::Tracing>,
    /// The way to the exporter.
    pub traces: Arc<Traces>,
}

/// A listener as this table has it.
#[derive(Debug)]
pub struct Listener {
    /// What the configuration says.
    pub config: model::Listener,
    /// What the workers count of it; survives reload by name.
    pub stats: Arc<PerWorker<ListenerStats>>,
    /// Connections open now, over all workers; survives reload by name.
    pub open: Arc<AtomicU32>,
    /// Who has them open, where each client may have only so many; survives reload by name.
    pub crowd: Arc<Crowd>,
    /// Its routes, laid out for finding.
    pub routes: Routes,
    /// What lives behind the rules of the listener itself, and then of each route; survives reload where the rule does.
    pub gates: Vec<Gates>,
    /// How it agrees on TLS with its clients, where it does; survives reload by name.
    pub tls: Option<Arc<Server>>,
    /// Its access log, where it has one.
    pub log: Option<Log>,
}

/// The access log of a listener.
#[derive(Debug)]
pub struct Log {
    /// What the configuration says.
    pub config: Arc<model::AccessLog>,
    /// Where its lines go.
    pub sink: Arc<Sink>,
}

impl Table {
    /// The pool that decides who works for this one: itself, or the one at the end of the chain that it follows.
    pub fn decider<'t>(&'t self, pool: &'t Pool) -> &'t Pool {
        let followed = |pool: &Pool| self.pools.get(pool.config.follows?.0 as usize);
        // A configuration in which pools follow each other in a circle is refused.
        std::iter::successors(Some(pool), |pool| followed(pool).map(|pool| &**pool)).last().unwrap_or(pool)
    }
}

/// The current table.
#[derive(Debug)]
pub struct Published {
    table: ArcSwap<Table>,
    generation: AtomicU64,
}

impl Published {
    /// Publishes the first table.
    pub fn new(table: Table) -> Self {
        let generation = AtomicU64::new(table.generation);
        Self { table: ArcSwap::from_pointee(table), generation }
    }

    /// The current table.
    pub fn load(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Number of the current table: a plain load, cheap enough for every request.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Swaps the table. Release pairs with the Acquire of [`Published::generation`]: who sees the number sees the table.
    pub fn publish(&self, table: Arc<Table>) {
        let generation = table.generation;
        self.table.store(table);
        self.generation.store(generation, Ordering::Release);
    }
}
