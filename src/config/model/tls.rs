//! TLS: what a backend must prove and what it is shown, by checks and by traffic; what clients are shown.

use super::secret::Marked;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Dialect, HostPattern};

/// `[listener.NAME.tls]`: what clients are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// At least one; the first is shown to clients that name none of the others' names, or no name at all.
    pub certificates: Vec<Arc<ServerCertificate>>,
    /// The files, and the folders of files, that these were read from.
    pub files: Vec<PathBuf>,
    /// Which TLS is spoken.
    pub dialect: Dialect,
    /// What clients must show; `None`: they are not asked.
    pub clients: Option<ClientTrust>,
    /// Whether sessions are taken up again.
    pub tickets: Tickets,
}

impl ListenerTls {
    /// The same options with what their files hold now, as `fresh` has read them.
    #[must_use]
    pub fn renewed(&self, fresh: &Self) -> Self {
        let mut renewed = Self { certificates: fresh.certificates.clone(), ..self.clone() };
        if let (Some(own), Some(fresh)) = (&mut renewed.clients, &fresh.clients) {
            own.roots.clone_from(&fresh.roots);
            own.revoked.clone_from(&fresh.revoked);
        }
        if let (Tickets::Keys(own), Tickets::Keys(fresh)) = (&mut renewed.tickets, &fresh.tickets) {
            own.clone_from(fresh);
        }
        renewed
    }
}

/// `listener.NAME.tls.tickets`: by what clients take up sessions again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tickets {
    /// By keys of this process, which change by themselves.
    Own,
    /// Not at all.
    Off,
    /// By these, at least one: the first seals, all of them open.
    Keys(Vec<TicketKey>),
}

/// A key of a file that several balancers share.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketKey(Arc<[u8]>);

impl TicketKey {
    /// What nginx and `HAProxy` take as well, bytes.
    pub const LENGTHS: [usize; 2] = [48, 80];

    /// Of so many bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// They are for whoever makes tickets, and for nobody else.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TicketKey({} bytes){}", self.0.len(), Marked(&self.0))
    }
}

/// `[listener.NAME.tls.clients]`: which certificates clients must or may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTrust {
    /// Who must have signed them; DER, at least one.
    pub roots: Vec<Arc<[u8]>>,
    /// Lists of those that count no more; DER. None: all count.
    pub revoked: Vec<Arc<[u8]>>,
    /// Whether a client may come without.
    pub demand: Demand,
    /// Whether backends are told.
    pub told: Told,
}

/// `listener.NAME.tls.clients.verify`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// A client without a certificate is turned away.
    Required,
    /// It comes in; one with a certificate that is not trusted does not.
    Optional,
}

/// `listener.NAME.tls.clients.headers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Backends are told nothing.
    Nothing,
    /// They are told by headers, and by nobody else's headers of these names.
    Headers,
}

/// A certificate with its key and what belongs to it, as clients are shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// Where it was read from.
    pub file: Arc<Path>,
    /// The chain and the key, which belong together.
    pub identity: Identity,
    /// The names that it is for.
    pub names: Vec<HostPattern>,
    /// Its last second, since 1970.
    pub not_after: i64,
    /// What an OCSP responder says of it; `None`: clients are shown nothing.
    pub staple: Option<Staple>,
}

/// An OCSP responder's answer about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staple {
    /// DER.
    pub answer: Arc<[u8]>,
    /// When it is out of date, since 1970; `None`: not by itself.
    pub next_update: Option<i64>,
}

/// `[pool.NAME.tls]`: how traffic goes to the backends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PoolTls {
    /// The name asked for (SNI) and verified; each backend's own name or address where none is given.
    pub server_name: Option<Arc<str>>,
    /// What a certificate must prove.
    pub verify: Verify,
    /// Which TLS is spoken.
    pub dialect: Dialect,
    /// The certificate that we show.
    pub identity: Option<Identity>,
}

/// `tls = { … }` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckTls {
    /// The name asked for (SNI) and verified; the address where none is given.
    pub server_name: Option<Arc<str>>,
    /// What the certificate must prove.
    pub verify: Verify,
    /// Which TLS is spoken.
    pub dialect: Dialect,
    /// The certificate that we show.
    pub identity: Option<Identity>,
    /// A certificate that ends sooner is a failure.
    pub expires_in: Option<Duration>,
}

impl CheckTls {
    /// What traffic of a pool demands of its backends.
    pub fn of(pool: &PoolTls) -> Self {
        Self {
            server_name: pool.server_name.clone(),
            verify: pool.verify.clone(),
            dialect: pool.dialect.clone(),
            identity: pool.identity.clone(),
            expires_in: None,
        }
    }
}

impl Default for CheckTls {
    /// What `tls = true` says.
    fn default() -> Self {
        Self {
            server_name: None,
            verify: Verify::System,
            dialect: Dialect::default(),
            identity: None,
            expires_in: None,
        }
    }
}

/// `type = "tls"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlsCheck {
    /// What the handshake must prove.
    pub tls: CheckTls,
    /// Protocols offered by ALPN, of which the backend must take one; none: it is not asked.
    pub protocols: Vec<Arc<str>>,
}

/// Our own certificate with its key, as `cert` and `key` of a check name them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Ours first, then those that signed it; DER.
    pub chain: Vec<Arc<[u8]>>,
    /// DER of whatever form; never shown.
    pub key: Arc<[u8]>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<u8> = self.chain.iter().chain([&self.key]).flat_map(|part| part.iter().copied()).collect();
        write!(f, "Identity({} certificates and a key){}", self.chain.len(), Marked(&all))
    }
}

/// How far a backend's certificate is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Not at all.
    Nothing,
    /// By the system's roots.
    System,
    /// By these roots, DER, read from `ca = "file"` when the configuration was loaded.
    Roots(Vec<Arc<[u8]>>),
}
