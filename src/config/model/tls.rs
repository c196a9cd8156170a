//! TLS of checks: what a backend must prove, and what it is shown.

use std::sync::Arc;
use std::time::Duration;

/// `tls = { … }` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckTls {
    /// The name asked for (SNI) and verified; the address where none is given.
    pub server_name: Option<Arc<str>>,
    /// What the certificate must prove.
    pub verify: Verify,
    /// Older versions of TLS are refused.
    pub least: TlsVersion,
    /// The certificate that we show.
    pub identity: Option<Identity>,
    /// A certificate that ends sooner is a failure.
    pub expires_in: Option<Duration>,
}

impl Default for CheckTls {
    /// What `tls = true` says.
    fn default() -> Self {
        Self { server_name: None, verify: Verify::System, least: TlsVersion::V1_2, identity: None, expires_in: None }
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

/// Versions of TLS; those before 1.2 are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
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
        write!(f, "Identity({} certificates and a key)", self.chain.len())
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
