//! One question to one address: what the schedule asks once for all pools that want to know it, and one attempt at it.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use super::http::Prepared;
use super::report::{Failure, Finding, Layer, Report};
use super::transcript::{Log, Secrets};
use super::{apache, http, mysql, tcp};
use crate::config::model::{Address, Check, CheckKind};

/// A question and what can be made ready for it beforehand. Two questions are equal when kind, address and timeout are.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub kind: CheckKind,
    /// Where, as configured.
    pub at: Address,
    /// Longest time an attempt may take.
    pub timeout: Duration,
    /// Our own address to ask from; `None`: the system chooses.
    pub source: Option<IpAddr>,
    /// What of it nobody may see.
    secrets: Secrets,
    /// Made at the first attempt: most questions of a reload are only compared with those that are asked already.
    prepared: OnceLock<Ready>,
}

/// What was made ready for a kind of question.
#[derive(Debug)]
pub(super) enum Ready {
    Nothing,
    /// The sentence says why it cannot be asked at all.
    Http(Result<Box<Prepared>, String>),
    Mysql(mysql::Stragglers),
}

impl Question {
    /// The question `kind` to `at`.
    pub fn new(kind: CheckKind, at: Address, timeout: Duration) -> Self {
        Self { kind, at, timeout, source: None, secrets: Secrets::default(), prepared: OnceLock::new() }
    }

    /// What `check` asks of a backend at `backend`.
    pub fn of(check: &Check, backend: &Address) -> Self {
        let secrets = Secrets::new(check.secrets.clone());
        Self { secrets, ..Self::new(check.kind.clone(), Self::place(check, backend), check.timing.timeout) }
    }

    pub(super) fn prepared(&self) -> &Ready {
        self.prepared.get_or_init(|| match &self.kind {
            CheckKind::Tcp => Ready::Nothing,
            CheckKind::Http(check) => Ready::Http(Prepared::new(&check.request, &self.at).map(Box::new)),
            CheckKind::Apache(check) => Ready::Http(Prepared::new(&check.request, &self.at).map(Box::new)),
            CheckKind::Mysql(_) => Ready::Mysql(mysql::Stragglers::default()),
        })
    }

    /// Where `check` of a backend at `backend` is asked.
    fn place(check: &Check, backend: &Address) -> Address {
        let port = check.port.unwrap_or_else(|| backend.port());
        match (check.host, backend) {
            (Some(host), _) => Address::Socket(SocketAddr::new(host, port)),
            (None, Address::Socket(address)) => {
                let mut address = *address;
                address.set_port(port);
                Address::Socket(address)
            }
            (None, Address::Name(name, _)) => Address::Name(Arc::clone(name), port),
        }
    }

    /// Asks from this address of ours.
    #[must_use]
    pub fn ask_from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.timeout == other.timeout && self.source == other.source && self.kind == other.kind
    }
}

impl Eq for Question {}

impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.at.hash(state);
        self.timeout.hash(state);
        self.kind.hash(state);
    }
}

/// Asks once, at `address`, within the question's timeout.
pub async fn attempt(question: Arc<Question>, address: SocketAddr) -> Report {
    let started = Instant::now();
    let log = Log::new();
    let mut result = ask(&question, address, &log).await;
    let took = started.elapsed();
    let mut transcript = log.transcript();
    transcript.mask(&question.secrets);
    match &mut result {
        Ok(finding) => {
            if let Some(masked) = question.secrets.masked(&finding.what) {
                finding.what = masked.into();
            }
        }
        Err(failure) => {
            if let Some(masked) = question.secrets.masked(&failure.what) {
                failure.what = masked;
            }
        }
    }
    Report { result, took, transcript }
}

async fn ask(question: &Arc<Question>, address: SocketAddr, log: &Log) -> Result<Finding, Failure> {
    let timeout = question.timeout;
    let in_time = match &question.kind {
        // The connection has the deadline, and there is nothing after it.
        CheckKind::Tcp => Ok(tcp::ask(question, address).await),
        CheckKind::Http(check) => {
            tokio::time::timeout(timeout, Box::pin(http::ask(question, check, address, log))).await
        }
        CheckKind::Apache(check) => {
            tokio::time::timeout(timeout, Box::pin(apache::ask(question, check, address, log))).await
        }
        // It ends by itself in time: a login under way must not be dropped.
        CheckKind::Mysql(check) => Ok(Box::pin(mysql::ask(question, check, address, log)).await),
    };
    in_time.unwrap_or_else(|_elapsed| {
        let last = log.transcript().last().unwrap_or_else(|| "not connected".to_owned());
        Err(Failure::new(Layer::Timeout, format!("not done within {timeout:?}; last: {last}")))
    })
}
