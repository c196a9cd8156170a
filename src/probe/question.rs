//! One question to one address: what the schedule asks once for all pools that want to know it, and one attempt at it.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::http::Prepared;
use super::report::{Failure, Finding, Layer, Report};
use super::secrets::Secrets;
use super::tls::Opener;
use super::transcript::Log;
use super::wire::{self, Security};
use super::{agent, apache, exec, grpc, http, ldap, mysql, postgres, redis, script, smtp, tcp, tls};
use crate::config::model::{self, Address, Check, CheckKind, SendProxy, Site};
use crate::net::connect::{connect_by, knock};
use crate::net::fault::{Fault, connect_into, knock_into};
use crate::net::proxy_protocol::{Behalf, Header};
use crate::net::transport::Transport;
use crate::net::way::Way;

/// A question and what can be made ready for it beforehand. Two questions are equal when kind, address and timeout are.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub kind: CheckKind,
    /// Where, as configured.
    pub at: Address,
    /// Longest time an attempt may take.
    pub timeout: Duration,
    /// How it gets there; `None`: nothing is special.
    pub way: Option<Way>,
    /// The header of the PROXY protocol that the backend wants first.
    pub send_proxy: Option<SendProxy>,
    /// What a drill puts in the way.
    fault: Option<Arc<Fault>>,
    /// What of it nobody may see.
    secrets: Vec<Arc<str>>,
    /// Made at the first attempt: most questions of a reload are only compared with those that are asked already.
    prepared: OnceLock<Ready>,
    /// It lives as long as anybody asks it, or works on an attempt that nobody waits for any more.
    _among: Alive,
}

/// Held by each of some questions: whoever else holds it can tell when the last of them has gone.
#[derive(Debug, Clone, Default)]
pub(super) struct Alive(Arc<()>);

impl Alive {
    /// Whether nobody else holds it.
    pub(super) fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// What was made ready for a kind of question.
#[derive(Debug)]
pub(super) enum Ready {
    Nothing,
    /// The sentence says why it cannot be asked at all.
    Http(Result<Box<Prepared>, String>),
    Tls(Result<Box<Opener>, String>),
    Grpc(Result<Box<grpc::Prepared>, String>),
    Mysql(Box<mysql::Prepared>),
    Wire(Security),
    Postgres(Box<postgres::Prepared>),
    Script(Box<script::Prepared>),
    Agent(agent::Memory),
}

impl Question {
    /// The question `kind` to `at`.
    pub fn new(kind: CheckKind, at: Address, timeout: Duration) -> Self {
        Self {
            kind,
            at,
            timeout,
            way: None,
            send_proxy: None,
            fault: None,
            secrets: Vec::new(),
            prepared: OnceLock::new(),
            _among: Alive::default(),
        }
    }

    /// What `check` asks of a backend at `backend`.
    pub fn of(check: &Check, backend: &Address) -> Self {
        let secrets = check.secrets.clone();
        let at = Self::place(check, backend);
        let way = check.way.clone().map(Way::new);
        Self { secrets, way, send_proxy: check.send_proxy, ..Self::new(check.kind.clone(), at, check.timing.timeout) }
    }

    /// The one way to a connection, for every kind of check: by the question's own way, within what is left of
    /// the attempt's time, with the header of the PROXY protocol sent where the backend wants one, and written down.
    ///
    /// # Errors
    /// The failure that the check ends with.
    pub(super) async fn connect(&self, site: &Site, log: &Log) -> Result<Transport, Failure> {
        let left = (log.began() + self.timeout).saturating_duration_since(Instant::now());
        let connected = match &self.fault {
            None => connect_by(self.way.as_ref(), site, left).await,
            Some(fault) => connect_into(fault, self.way.as_ref(), site, left).await,
        };
        let mut stream = connected.map_err(|error| Failure::connecting(&error, self.timeout))?;
        let local = stream.local_address();
        log.connected(local, site.clone());
        if let Some(version) = self.send_proxy {
            let header = Header::new(version, Behalf::Own(local.zip(site.ip())));
            let sending = stream.write_all(header.bytes());
            sending.await.map_err(|error| Failure::broken(&error, "the PROXY header was sent"))?;
            log.sent(header.bytes());
        }
        Ok(stream)
    }

    /// The same for a mere knock at the port.
    pub(super) async fn knock(&self, site: &Site) -> std::io::Result<()> {
        match &self.fault {
            None => knock(self.way.as_ref(), site, self.timeout).await,
            Some(fault) => knock_into(fault, self.way.as_ref(), site, self.timeout).await,
        }
    }

    /// Whether a drill plays the backend, which then has no TLS.
    pub(super) fn is_played(&self) -> bool {
        self.fault.as_ref().is_some_and(|fault| fault.stands_in())
    }

    pub(super) fn prepared(&self) -> &Ready {
        self.prepared.get_or_init(|| match &self.kind {
            CheckKind::Tcp | CheckKind::Exec(_) => Ready::Nothing,
            CheckKind::Tls(check) => Ready::Tls(Opener::new(&check.tls, &self.at, &check.protocols).map(Box::new)),
            CheckKind::Http(check) => Ready::Http(Prepared::new(&check.request, &self.at).map(Box::new)),
            CheckKind::Apache(check) => Ready::Http(Prepared::new(&check.request, &self.at).map(Box::new)),
            CheckKind::Grpc(check) => Ready::Grpc(grpc::Prepared::new(check, &self.at, self.timeout).map(Box::new)),
            CheckKind::Mysql(check) => Ready::Mysql(Box::new(mysql::Prepared::new(check, &self.at))),
            CheckKind::Postgres(check) => Ready::Postgres(Box::new(postgres::Prepared::new(check, &self.at))),
            CheckKind::Redis(check) => Ready::Wire(wire::security(check.tls.as_ref(), &self.at)),
            CheckKind::Smtp(check) => Ready::Wire(wire::security(check.tls.as_ref(), &self.at)),
            CheckKind::Ldap(check) => Ready::Wire(wire::security(check.tls.as_ref(), &self.at)),
            CheckKind::Script(check) => Ready::Script(Box::new(script::Prepared::new(check, &self.at))),
            CheckKind::Agent(_) => Ready::Agent(agent::Memory::default()),
        })
    }

    /// Where `check` of a backend at `backend` is asked.
    fn place(check: &Check, backend: &Address) -> Address {
        // A socket of this machine has no port: where one of the two is given for it, both are.
        let Some(port) = check.port.or_else(|| backend.port()) else { return backend.clone() };
        match (check.host, backend) {
            (Some(host), _) => Address::Socket(SocketAddr::new(host, port)),
            (None, Address::Socket(address)) => {
                let mut address = *address;
                address.set_port(port);
                Address::Socket(address)
            }
            (None, Address::Name(name, _)) => Address::Name(Arc::clone(name), port),
            (None, Address::Unix(_)) => backend.clone(),
        }
    }

    /// Says this of its connections before anything else.
    #[must_use]
    pub fn announced(mut self, version: SendProxy) -> Self {
        self.send_proxy = Some(version);
        self
    }

    /// Meets a fault on its way.
    #[must_use]
    pub(super) fn into_fault(self, fault: Arc<Fault>) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// Gets there by this way.
    #[must_use]
    pub(super) fn by(self, way: Option<&Arc<model::Way>>) -> Self {
        Self { way: way.cloned().map(Way::new), ..self }
    }

    /// Belongs to these questions.
    #[must_use]
    pub(super) fn among(self, others: &Alive) -> Self {
        Self { _among: others.clone(), ..self }
    }

    /// Asks from this address of ours.
    #[must_use]
    pub fn ask_from(mut self, source: IpAddr) -> Self {
        self.way = Some(Way::from_source(source));
        self
    }
}

impl PartialEq for Question {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
            && self.timeout == other.timeout
            && self.way == other.way
            && self.send_proxy == other.send_proxy
            && self.kind == other.kind
    }
}

impl Eq for Question {}

impl Hash for Question {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.at.hash(state);
        self.timeout.hash(state);
        self.send_proxy.hash(state);
        self.kind.hash(state);
    }
}

/// Asks once, at `address`, within the question's timeout.
pub async fn attempt(question: Arc<Question>, site: impl Into<Site>) -> Report {
    let site = site.into();
    let started = Instant::now();
    let log = Log::new();
    if let (Address::Name(name, _), Some(address)) = (&question.at, site.ip()) {
        log.note(format!("{name} is {}", address.ip()));
    }
    let mut result = ask(&question, &site, &log).await;
    let took = started.elapsed();
    let mut transcript = log.take();
    let secrets = Secrets::new(question.secrets.clone());
    transcript.mask(&secrets);
    match &mut result {
        Ok(finding) => {
            if let Some(masked) = secrets.masked(&finding.what) {
                finding.what = masked.into();
            }
        }
        Err(failure) => {
            if let Some(masked) = secrets.masked(&failure.what) {
                failure.what = masked;
            }
        }
    }
    Report { result, took, transcript }
}

async fn ask(question: &Arc<Question>, address: &Site, log: &Log) -> Result<Finding, Failure> {
    let timeout = question.timeout;
    let asking: Pin<Box<dyn Future<Output = Result<Finding, Failure>> + Send + '_>> = match &question.kind {
        // These end by themselves in time. The connection has the deadline, and there is nothing after it:
        CheckKind::Tcp => return tcp::ask(question, address).await,
        // A login under way must not be dropped:
        CheckKind::Mysql(_) => return Box::pin(mysql::ask(question, address, log)).await,
        // The step is named; what was said before still holds; nothing is left behind:
        CheckKind::Script(check) => return Box::pin(script::ask(question, check, address, log)).await,
        CheckKind::Agent(check) => return Box::pin(agent::ask(question, check, address, log)).await,
        CheckKind::Exec(check) => return Box::pin(exec::ask(question, check, address, log)).await,
        CheckKind::Tls(_) => Box::pin(tls::ask(question, address, log)),
        CheckKind::Http(check) => Box::pin(http::ask(question, check, address, log)),
        CheckKind::Apache(check) => Box::pin(apache::ask(question, check, address, log)),
        CheckKind::Grpc(check) => Box::pin(grpc::ask(question, check, address, log)),
        CheckKind::Postgres(check) => Box::pin(postgres::ask(question, check, address, log)),
        CheckKind::Redis(check) => Box::pin(redis::ask(question, check, address, log)),
        CheckKind::Smtp(check) => Box::pin(smtp::ask(question, check, address, log)),
        CheckKind::Ldap(check) => Box::pin(ldap::ask(question, check, address, log)),
    };
    tokio::time::timeout(timeout, asking).await.unwrap_or_else(|_elapsed| {
        let last = log.last().unwrap_or_else(|| "not connected".to_owned());
        Err(Failure::new(Layer::Timeout, format!("not done within {timeout:?}; last: {last}")))
    })
}
