//! Whom the admin port takes somebody for, and what that one may do: for the page, which offers nothing else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::callers::Caller;

/// `GET /api/v1/whoami`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhoView {
    /// The name of the token, or of the certificate as the configuration has it; none where nobody is asked.
    pub name: Option<String>,
    /// `token`, `certificate`, or `open` where nobody is asked.
    pub by: String,
    /// `read` or `operate`.
    pub role: String,
    /// Whether a configuration may be sent, which needs a token or a unix socket.
    pub may_apply: bool,
}

/// Whom this port takes somebody for.
pub(super) fn whoami(caller: &Caller, state: &AdminState) -> WhoView {
    WhoView {
        name: caller.name().map(str::to_owned),
        by: caller.by().to_owned(),
        role: caller.role.word().to_owned(),
        may_apply: caller.may_operate() && super::changes::may_send(state).is_ok(),
    }
}
