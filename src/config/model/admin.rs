//! `[admin]`: where the admin port is, and who may do what there.

use std::fmt;
use std::sync::Arc;

use super::secret::Marked;
use super::{ListenerTls, Rate, Site};
use crate::config::users::Secret;
use crate::log::Target;

/// `[admin]`: metrics, health of the balancer itself and the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; `None` when switched off.
    pub bind: Option<Site>,
    /// The rights of the socket's file, where it has one.
    pub socket_mode: u32,
    /// What opens it, beside the paths that say whether the balancer is well; no two of one name.
    pub tokens: Vec<Token>,
    /// What it shows whoever connects, and by whom their certificates are judged; `None`: plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
    /// What certificates open; no two of one name, and none without `tls`.
    pub clients: Vec<CertificateRole>,
    /// Where it is told who has changed what; `None`: in the event log alone.
    pub audit: Option<Target>,
    /// How often each may ask whose token or certificate is known, and everybody else of an address; `None`: as often as
    /// they like.
    pub rate: Option<Arc<Rate>>,
}

impl Admin {
    /// Whether whoever asks must show who it is. Always so where `bind` can be reached from other machines.
    pub fn asks(&self) -> bool {
        !self.tokens.is_empty() || !self.clients.is_empty()
    }
}

/// An entry of `admin.tokens`, or `admin.token_file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// By which it is known where it was used.
    pub name: Arc<str>,
    /// What it opens.
    pub role: Role,
    /// What its file holds.
    pub secret: TokenSecret,
}

/// An entry of `admin.clients`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRole {
    /// The common name of the certificate's subject, or one of its alternative names.
    pub name: Arc<str>,
    /// What it opens.
    pub role: Role,
}

/// `role`: what somebody may do at the admin port. Who may do more may do what the others may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See everything but secrets.
    Read,
    /// Change something, too.
    Operate,
}

impl Role {
    /// As it is configured and told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// What the file of a token holds.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSecret {
    /// The token itself.
    Plain(Arc<str>),
    /// A hash that it must fit.
    Hashed(Secret),
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => write!(f, "Plain({} bytes){}", text.len(), Marked(text.as_bytes())),
            Self::Hashed(secret) => write!(f, "Hashed({} bytes){}", secret.text().len(), Marked(secret.text().as_bytes())),
        }
    }
}
