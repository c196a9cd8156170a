//! Rules at work: what they make of a request before anybody is asked, and of its answer on the way back.
//!
//! Called by `understand` with the head in hand, by `asking` when an answer has come, and for the balancer's own
//! answers. A request without rules never comes here.

pub mod fill;

use std::sync::Arc;

use self::fill::{Facts, Late};
use super::http1::Reject;
use super::http1::answer::Answer;
use super::http1::edits::Edits;
use crate::config::model::{Access, FieldEdits, Rules};
use crate::pool::Backend;

/// The rules of one request, from its head to the end of its answer.
#[derive(Debug)]
pub struct Applied {
    rules: Arc<Rules>,
    /// Field lines for its answer.
    lines: Late,
}

/// What rules make of a request that may pass.
pub(super) struct Met {
    /// Of its head for the backend.
    pub(super) edits: Edits,
    /// For its answer.
    pub(super) applied: Box<Applied>,
}

/// Applies rules to a request.
///
/// # Errors
/// It may not pass.
pub(super) fn meet(rules: &Arc<Rules>, facts: &Facts<'_, '_>) -> Result<Met, Reject> {
    if !may_ask(&rules.access, facts) {
        return Err(Reject::Denied);
    }
    let applied = Box::new(Applied { rules: Arc::clone(rules), lines: Late::new(&rules.response.add, facts) });
    Ok(Met { edits: request_edits(&rules.request, facts), applied })
}

fn may_ask(access: &Access, facts: &Facts<'_, '_>) -> bool {
    let is_in = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.contains(&facts.client));
    (access.allow.is_empty() || is_in(&access.allow)) && !is_in(&access.deny)
}

fn request_edits(changes: &FieldEdits, facts: &Facts<'_, '_>) -> Edits {
    let mut edits = Edits::default();
    edits.remove(facts.request.fields, &changes.remove);
    let mut value = Vec::new();
    for line in &changes.add {
        value.clear();
        facts.fill(&line.value, &mut value);
        edits.add(line.name.as_bytes(), &value);
    }
    edits
}

impl Applied {
    /// What changes of a backend's answer.
    pub(super) fn amend(&self, answer: &Answer<'_>, backend: &Backend, edits: &mut Edits) {
        edits.remove(answer.fields, &self.rules.response.remove);
        edits.add_lines(&self.lines.filled(answer.status, &backend.name));
    }

    /// The field lines of an answer that the balancer makes itself.
    pub(super) fn own_lines(&self, status: u16) -> Vec<u8> {
        self.lines.filled(status, "-")
    }
}
