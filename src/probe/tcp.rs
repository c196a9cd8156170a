//! `type = "tcp"`: is the port open?
//!
//! It knocks and runs: the server's `accept` never sees the connection, so that a `MySQL` server counts no aborted
//! handshake against the balancer's address. It proves that the port is open, not that anybody works behind it.

use super::question::Question;
use super::report::{Failure, Finding};
use crate::config::model::Site;

pub(super) async fn ask(question: &Question, address: &Site) -> Result<Finding, Failure> {
    match question.knock(address).await {
        Ok(()) => Ok(Finding::new("port is open")),
        Err(error) => Err(Failure::connecting(&error, question.timeout)),
    }
}
