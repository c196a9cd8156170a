//! `type = "mysql"`: who logs in, how, and what is asked after the login.

use std::sync::Arc;
use std::time::Duration;

use super::check::Query;
use super::tls::CheckTls;

/// `type = "mysql"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MysqlCheck {
    /// Who logs in. Where nothing is asked after the login, a user that the server does not know is fine: "access
    /// denied" proves that it is alive.
    pub user: Arc<str>,
    /// Empty: none.
    pub password: Arc<str>,
    /// The database that the login must be let into.
    pub database: Option<Arc<str>>,
    /// TLS, agreed upon after the greeting; `None`: plain.
    pub tls: Option<CheckTls>,
    /// The server's RSA key (DER, `SubjectPublicKeyInfo`) by which the password is sent where its method wants that
    /// without TLS; `None`: whatever key the server names.
    pub public_key: Option<Arc<[u8]>>,
    /// What is asked after the login.
    pub facts: MysqlFacts,
    /// What becomes of the connection.
    pub keep: Keep,
}

/// What a `mysql` check asks after the login; every one that is given must be as wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct MysqlFacts {
    /// What one that takes no writes is.
    pub read_only: Option<ReadOnly>,
    /// It must replicate.
    pub replica: Option<Replica>,
    /// It must be a working part of a Galera cluster.
    pub galera: Option<Galera>,
    /// It must be a working member of a replication group.
    pub group: Option<Group>,
    /// It may have this many connections.
    pub connections: Option<MostConnections>,
    /// Last: a query of the operator's own.
    pub query: Option<Query>,
}

/// `read_only`: what a backend that takes no writes is. One that takes them has the role `active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadOnly {
    /// Up, with the role `standby`.
    Standby,
    /// Up, with the role `read`.
    Read,
    /// Down.
    Down,
}

/// `replica`: both of its threads run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Replica {
    /// And it is not further behind than this; `None`: any lag that is known.
    pub lag_max: Option<Duration>,
}

/// `galera`: part of the primary component, ready, and in one of these states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Galera {
    /// Synced.
    Synced,
    /// Synced, or a donor (also: desynced on purpose), which lags behind while it lends its state.
    SyncedOrDonor,
}

/// `group_replication`: online, with a majority of its group in sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// The primary; its role is `active`.
    Primary,
    /// Any member; the primary has the role `active`, a secondary `standby`.
    Online,
}

/// `connections`: more than this is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MostConnections {
    /// Percent of the server's `max_connections`.
    Percent(u8),
    /// So many.
    Count(u32),
}

/// `keep`: what becomes of the connection after a probe.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// It ends; the next probe logs in anew.
    #[default]
    Nothing,
    /// It stays, and the next probe asks on it.
    Connection,
}

impl MysqlCheck {
    /// A login and nothing more.
    pub fn login(user: &str, password: &str) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
            database: None,
            tls: None,
            public_key: None,
            facts: MysqlFacts::default(),
            keep: Keep::Nothing,
        }
    }

    /// Whether a login that is refused answers the question: where nothing is asked behind it.
    pub fn takes_refusal_for_life(&self) -> bool {
        self.database.is_none() && self.facts == MysqlFacts::default()
    }
}
