//! Rules at work: what they make of a request before anybody is asked, and of its answer on the way back.
//!
//! Called by `understand` with the head in hand, by `asking` when an answer has come, and for the balancer's own
//! answers. A request without rules never comes here.

mod back;
mod basic_auth;
mod compress;
mod cors;
pub mod fill;
mod rewrite;

use std::sync::Arc;
use std::time::Duration;

use self::back::Back;
use self::basic_auth::Shown;
use self::cors::Asks;
use self::fill::{Facts, Late};
use super::gates::{Question, Waiting, challenge};
use super::http1::answer::Answer;
use super::http1::edits::{Edits, push_line};
use super::http1::{Reject, Version};
use super::own::Own;
use crate::clock;
use crate::config::model::{Access, Authorization, Coding, Mirror, Per, Rules};
use crate::pool::Backend;
use crate::route::gates::Gates;
use crate::route::mirror::Copies;
use crate::route::rate::{Key, Limiter};

/// The rules of one request, from its head to the end of its answer.
#[derive(Debug)]
pub struct Applied {
    rules: Arc<Rules>,
    /// Field lines for its answer.
    lines: Late,
    /// Where copies of it are counted, where some are made.
    copies: Option<Arc<Copies>>,
    /// The coding for its answer, where that is one that a rule compresses.
    coding: Option<Coding>,
    /// How places in its answer are told, where its path was rewritten.
    back: Option<Box<Back>>,
    /// What copies of it are spread by, where their pool goes by what requests say.
    pub(super) copy_key: Option<u64>,
}

/// What rules make of a request that may pass.
pub(super) struct Met {
    /// Of its head for the backend.
    pub(super) edits: Edits,
    /// For its answer.
    pub(super) applied: Box<Applied>,
    /// What it waits for before; `None`: nothing.
    pub(super) gates: Option<Box<Waiting>>,
}

/// What becomes of a request.
pub(super) enum Meeting {
    /// It goes on its way.
    Passes(Met),
    /// A rule answers it.
    Answer(Own),
}

/// Applies rules to a request.
pub(super) fn meet(rules: &Arc<Rules>, gates: Option<&Gates>, facts: &Facts<'_, '_>) -> Meeting {
    if !may_ask(&rules.access, facts) {
        // Who may not ask has no use for the connection either.
        let own = Own { keep_alive: false, ..Own::refusal(facts.request, Reject::Denied) };
        return Meeting::Answer(Own { rules: Some(Arc::clone(rules)), ..own });
    }
    let (password, user) = match shown(rules, gates, facts) {
        Shown::Right(user) => (None, user),
        Shown::Unproven(user, password) => (Some(password), user),
        Shown::Nothing => (None, String::new()),
    };
    // Who has shown a name is called by it, and gets nothing but a refusal where the password turns out wrong.
    // Where the balancer answers by itself, nobody is asked for anything.
    let rewrite = rules.rewrite.as_ref().filter(|_| !facts.pool.is_empty());
    let rewritten = rewrite.map_or(Ok(None), |rule| rewrite::target(rule, facts));
    let facts = &Facts { user: &user, rewritten: rewritten.as_ref().ok().and_then(Option::as_deref), ..*facts };
    let coding = rules.compress.as_ref().and_then(|rule| compress::negotiate(rule, facts.request));
    let lines = Late::new(&rules.response.add, facts);
    let copies = gates.and_then(|gates| gates.copies.clone());
    let mut applied = Box::new(Applied { rules: Arc::clone(rules), lines, copies, coding, back: None, copy_key: None });
    if let Some(answer) = cors(&mut applied, facts).or_else(|| rate(&applied, gates, facts)) {
        return answer;
    }
    let request = facts.request;
    if let Some(rule) = rules.basic_auth.as_ref().filter(|_| user.is_empty()) {
        return applied.answer(Own::refusal(request, Reject::Unauthorized), &challenge(rule));
    }
    let question = rules.forward_auth.as_ref().map(|rule| Question::new(rule, facts));
    let waits = password.is_some() || question.is_some();
    let gates = waits.then(|| Box::new(Waiting { password, question }));
    let mut edits = request_edits(rules, facts);
    match &rewritten {
        Err(reject) => return applied.answer(Own::refusal(request, *reject), &[]),
        Ok(target) => {
            applied.back = rewrite.and_then(|rule| rewrite::apply(rule, target.as_deref(), facts, &mut edits));
        }
    }
    Meeting::Passes(Met { edits, applied, gates })
}

/// What a request has shown, where it must show a password.
fn shown(rules: &Rules, gates: Option<&Gates>, facts: &Facts<'_, '_>) -> Shown {
    match (&rules.basic_auth, gates.and_then(|gates| gates.door.as_ref())) {
        (Some(rule), Some(door)) => basic_auth::look(rule, door, facts.request),
        _ => Shown::Nothing,
    }
}

/// What pages may read of the answer; a preflight is answered at once.
fn cors(applied: &mut Applied, facts: &Facts<'_, '_>) -> Option<Meeting> {
    let rule = applied.rules.cors.as_ref()?;
    let mut lines = Vec::new();
    let asks = cors::judge(rule, facts.request, &mut lines);
    applied.lines.append(&lines);
    match asks {
        Asks::Plain => None,
        Asks::Preflight => Some(applied.answer(Own::bare(facts.request, 204, "preflight"), &[])),
        Asks::Refused => Some(applied.answer(Own::refusal(facts.request, Reject::Denied), &[])),
    }
}

/// The answer to who asks too often.
fn rate(applied: &Applied, gates: Option<&Gates>, facts: &Facts<'_, '_>) -> Option<Meeting> {
    let limiter = gates?.rate.as_ref()?;
    let early = ask(&applied.rules.rate.as_ref()?.per, limiter, facts).err()?;
    let mut line = Vec::new();
    // Whole seconds, and none too few: who comes back then is served.
    push_line(&mut line, b"Retry-After", early.as_nanos().div_ceil(1_000_000_000).to_string().as_bytes());
    Some(applied.answer(Own::refusal(facts.request, Reject::RateLimited), &line))
}

/// Counts a request for whoever it counts for.
fn ask(per: &Per, limiter: &Limiter, facts: &Facts<'_, '_>) -> Result<(), Duration> {
    let client = Key::Client(facts.client);
    let key = match per {
        Per::Client => client,
        Per::All => Key::All,
        Per::Header(name) => facts.request.header(name).map_or(client, Key::Text),
        Per::Cookie(name) => facts.request.cookie(name).map_or(client, Key::Text),
    };
    limiter.ask(key, clock::nanos())
}

fn may_ask(access: &Access, facts: &Facts<'_, '_>) -> bool {
    let is_in = |networks: &[ipnet::IpNet]| networks.iter().any(|network| network.contains(&facts.client));
    (access.allow.is_empty() || is_in(&access.allow)) && !is_in(&access.deny)
}

fn request_edits(rules: &Rules, facts: &Facts<'_, '_>) -> Edits {
    let changes = &rules.request;
    let mut edits = Edits::default();
    // In any spelling that a backend could take for it: what is set here comes from nobody else.
    edits.remove_alike(facts.request.fields, &changes.remove);
    let mut value = Vec::new();
    for line in &changes.add {
        value.clear();
        facts.fill(&line.value, &mut value);
        edits.add(line.name.as_bytes(), &value);
    }
    if let Some(rule) = &rules.basic_auth {
        if rule.authorization == Authorization::Remove {
            edits.remove(facts.request.fields, &["authorization"]);
        }
        // Whatever the client says of it: only who has shown a password is who he says.
        if let Some(name) = &rule.user_header {
            edits.remove_alike(facts.request.fields, std::slice::from_ref(name));
            edits.add(name.as_bytes(), facts.user.as_bytes());
        }
    }
    if let Some(rule) = &rules.forward_auth {
        edits.remove_alike(facts.request.fields, &rule.response_headers);
    }
    edits
}

impl Applied {
    /// An answer that a rule gives, with what rules say of all answers, and further lines of its own.
    fn answer(&self, mut own: Own, lines: &[u8]) -> Meeting {
        own.lines = self.own_lines(own.status);
        own.lines.extend_from_slice(lines);
        own.rules = Some(Arc::clone(&self.rules));
        Meeting::Answer(own)
    }

    /// The rule by which it is copied, and where copies are counted.
    pub(super) fn mirror(&self) -> Option<(&Mirror, &Arc<Copies>)> {
        Some((self.rules.mirror.as_deref()?, self.copies.as_ref()?))
    }

    /// What they were made of.
    pub(super) fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// What changes of a backend's answer to a client of `version`; and the coding that its body gets.
    pub(super) fn amend(
        &self,
        answer: &Answer<'_>,
        backend: &Backend,
        version: Version,
        edits: &mut Edits,
    ) -> Option<Coding> {
        self.amend_fields(answer, backend, edits);
        self.rules.compress.as_ref().filter(|rule| compress::concerns(rule, answer))?;
        compress::amend(answer, self.coding, edits);
        if self.coding.is_some() && version == Version::Http11 && !answer.is_chunked() {
            edits.add(b"Transfer-Encoding", b"chunked");
        }
        self.coding
    }

    /// The same without what concerns its body.
    pub(super) fn amend_fields(&self, answer: &Answer<'_>, backend: &Backend, edits: &mut Edits) {
        edits.remove(answer.fields, &self.rules.response.remove);
        if self.rules.cors.is_some() {
            edits.remove(answer.fields, cors::NAMES);
        }
        if let Some(back) = &self.back {
            back.amend(answer, backend, edits);
        }
        edits.add_lines(&self.lines.filled(answer.status, &backend.name));
    }

    /// The field lines of an answer that the balancer makes itself.
    pub(super) fn own_lines(&self, status: u16) -> Vec<u8> {
        self.lines.filled(status, "-")
    }
}
