//! Rules for requests: what is done to a request and to its answer besides passing them on.
//!
//! A listener and each of its routes may have some; what a route says replaces what its listener says of the same.

use std::sync::Arc;

use ipnet::IpNet;

use super::{BasicAuth, Compress, Cors, ErrorPages, ForwardAuth, Mirror, Rate, Rewrite};
use crate::log::format::TlsFact;

/// The rules of one route, or of a listener for what no route matches. Those of the listener are in it already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Who may ask.
    pub access: Access,
    /// From which web pages.
    pub cors: Option<Arc<Cors>>,
    /// How often.
    pub rate: Option<Arc<Rate>>,
    /// With which password.
    pub basic_auth: Option<Arc<BasicAuth>>,
    /// By whose leave.
    pub forward_auth: Option<Arc<ForwardAuth>>,
    /// Which answers are made smaller.
    pub compress: Option<Arc<Compress>>,
    /// Which path the backend is asked for.
    pub rewrite: Option<Arc<Rewrite>>,
    /// Who gets a copy.
    pub mirror: Option<Arc<Mirror>>,
    /// What clients read of errors.
    pub errors: Option<Arc<ErrorPages>>,
    /// What is changed of a request's fields.
    pub request: FieldEdits,
    /// What is changed of an answer's fields; of the balancer's own answers, too.
    pub response: FieldEdits,
}

/// `allow` and `deny`: networks of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Nobody else may ask; empty: anybody.
    pub allow: Vec<IpNet>,
    /// These may not.
    pub deny: Vec<IpNet>,
}

/// `request_headers` and `response_headers`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldEdits {
    /// Names that are taken out, in lower case; those that are set are among them.
    pub remove: Vec<Arc<str>>,
    /// Lines that are put in, in the order of the file.
    pub add: Vec<FieldLine>,
}

/// One field line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldLine {
    /// As written.
    pub name: Arc<str>,
    /// Without line ends.
    pub value: Template,
}

/// Text with variables in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(pub Vec<Piece>);

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Arc<str>),
    /// What this is for the request at hand; nothing where it is not known.
    Variable(Variable),
}

/// `$name` in a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// The client's address.
    ClientIp,
    /// The name that goes with the password.
    User,
    /// `http` or `https`, as the client said it.
    Scheme,
    /// The host that was asked for, as it came.
    Host,
    /// The same without port.
    Hostname,
    /// The method.
    Method,
    /// The path, without query.
    Path,
    /// What stands behind `?`.
    Query,
    /// Path and query.
    Target,
    /// Path and query that the backend is asked for, after `rewrite`.
    BackendTarget,
    /// The path of that alone.
    BackendPath,
    /// The identity of the request.
    RequestId,
    /// What was agreed on with the client over TLS.
    Tls(TlsFact),
    /// The name of the listener.
    Listener,
    /// The name of the pool.
    Pool,
    /// A field of the request, by its name in lower case.
    Header(Arc<str>),
    /// A cookie of the request.
    Cookie(Arc<str>),
    /// The name of the backend; in answers only.
    Backend,
    /// The status of the answer; in answers only.
    Status,
}

impl Variable {
    /// Whether it is known only when there is an answer.
    pub fn is_of_answer(&self) -> bool {
        matches!(self, Self::Backend | Self::Status)
    }
}
