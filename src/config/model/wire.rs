//! What the checks ask that speak a protocol of their own: `postgres`, `redis`, `smtp`, `ldap`, `script`, `agent`; and
//! `exec`, which runs a command.

use std::sync::Arc;
use std::time::Duration;

use super::{CheckTls, Pattern, Query};

/// `type = "postgres"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PostgresCheck {
    /// Who logs in; `None`: nobody, the server's wish for a password proves that it is alive.
    pub account: Option<PostgresAccount>,
    /// TLS, asked for by `SSLRequest`; `None`: plain.
    pub tls: Option<CheckTls>,
}

/// A login to `PostgreSQL`, and what is asked then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PostgresAccount {
    /// Who logs in; without NUL bytes, as all texts here.
    pub user: Arc<str>,
    /// The password; `None`: being asked for one proves life, unless something is to be found out.
    pub password: Option<Arc<str>>,
    /// The database; the user's name where none is given.
    pub database: Arc<str>,
    /// What recovery means; `None`: it is not asked.
    pub recovery: Option<Recovery>,
    /// A question of the operator's own.
    pub query: Option<Query>,
}

/// `recovery`: what a server in recovery (a standby) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// A standby, and down when it is further behind than `lag_max`.
    Standby {
        /// How far it may be behind; `None`: any distance.
        lag_max: Option<Duration>,
    },
    /// Down.
    Down,
}

/// `type = "redis"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RedisCheck {
    /// The user of `AUTH`; only with a password.
    pub user: Option<Arc<str>>,
    /// The password of `AUTH`.
    pub password: Option<Arc<str>>,
    /// Whether the role is told.
    pub role: Telling,
    /// What a replica's link to its master must be.
    pub master_link: MasterLink,
    /// TLS; `None`: plain.
    pub tls: Option<CheckTls>,
}

/// Whether a check tells the role of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Telling {
    /// It does.
    Told,
    /// It does not.
    Untold,
}

/// `master_link`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MasterLink {
    /// A replica that is cut off from its master, or not in step with it yet, is down.
    Up,
    /// It does not matter.
    Any,
}

/// `type = "smtp"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SmtpCheck {
    /// How the server is greeted.
    pub hello: Hello,
    /// TLS from the first byte on; `None`: plain.
    pub tls: Option<CheckTls>,
}

/// How a mail server is greeted; the name is one word of printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hello {
    /// `HELO name`.
    Helo(Arc<str>),
    /// `EHLO name`.
    Ehlo(Arc<str>),
}

/// `type = "ldap"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LdapCheck {
    /// Who binds; `None`: anonymous.
    pub account: Option<LdapAccount>,
    /// TLS from the first byte on (`ldaps`); `None`: plain.
    pub tls: Option<CheckTls>,
}

/// A simple bind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LdapAccount {
    /// The distinguished name; never empty.
    pub user: Arc<str>,
    /// Its password; never empty, since that would bind nobody and succeed.
    pub password: Arc<str>,
}

/// `type = "script"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ScriptCheck {
    /// What is done, in this order; at least one.
    pub steps: Vec<Step>,
    /// TLS at every connection from its first byte on; `None`: plain.
    pub tls: Option<CheckTls>,
    /// What carries it.
    pub transport: Transport,
}

/// `transport` of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A connection.
    Tcp,
    /// Datagrams, one for each `send`.
    Udp,
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// `connect = PORT`: leaves the connection there is, if any, and opens one to this port.
    Connect(u16),
    /// `tls = …`: TLS begins on the connection there is.
    Tls(CheckTls),
    /// `send` and `send_hex`; never empty.
    Send(Arc<[u8]>),
    /// `expect` and `expect_hex`: waits until these bytes have come; never empty.
    Expect(Arc<[u8]>),
    /// `expect_regex`: waits until what has come matches.
    Matches(Pattern),
}

/// `type = "agent"`: the lines of `HAProxy`'s agents.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AgentCheck {
    /// What is sent before the agent is heard; `None`: nothing.
    pub send: Option<Arc<str>>,
}

/// `type = "exec"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExecCheck {
    /// The command, an absolute path in a folder that `[exec]` allows, and its arguments.
    pub command: Vec<Arc<str>>,
}
