//! Wishes for another configuration as the API takes them, and what is in force as it shows it.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::IF_MATCH;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::generations::{FileView, GenerationView, seen, shown};
use super::orders::{self, MAX_OWNER, MAX_REASON, OverrideView, line};
use super::place::decoded;
use super::{AdminState, generations};
use crate::config::model::Role;
use crate::control::guard::Guard;
use crate::control::{Terms, Who};

/// A change that waits for longer is forgotten by whoever made it.
const CONFIRM_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Nobody confirms anything in less.
const CONFIRM_MIN: Duration = Duration::from_secs(1);

/// `GET /api/v1/configuration`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct InForceView {
    /// The generation in force.
    pub generation: u64,
    /// SHA-256 of all that it says; also the `ETag` of this answer, for `If-Match`.
    pub hash: String,
    /// Where it comes from, lowest first: the last that is a configuration is in force, orders stand above it.
    pub layers: Vec<LayerView>,
    /// Whether it is taken back unless somebody confirms it.
    pub awaiting: Option<AwaitingView>,
    /// The last change that was taken back.
    pub taken_back: Option<TakenBackView>,
    /// Its texts as they are written, where they are kept.
    pub files: Vec<FileView>,
    /// How many secrets are hidden in them; none for who may operate, where a token or a socket's
    /// rights keep strangers out.
    pub hidden: usize,
}

/// One layer of what is in force.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "layer", rename_all = "lowercase")]
pub enum LayerView {
    /// What the files said when they were last read.
    Files(GenerationView),
    /// What was sent or gone back to since: in force instead.
    Api(GenerationView),
    /// An order of an operator.
    Override(Box<OverrideView>),
}

/// A change that waits for its confirmation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AwaitingView {
    /// Its number.
    pub generation: u64,
    /// The one that it would be taken back to.
    pub before: u64,
    /// Until when, RFC 3339.
    pub until: String,
    /// How long until then.
    pub left_seconds: f64,
    /// What must hold meanwhile.
    pub guard: Option<String>,
    /// Who wanted it.
    pub owner: Option<String>,
}

/// A change that was taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TakenBackView {
    /// Its number.
    pub generation: u64,
    /// When, RFC 3339.
    pub at: String,
    /// Why.
    pub why: String,
}

/// What a wish that was granted is answered.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct DoneView {
    /// For people.
    pub message: String,
    /// The generation in force.
    pub generation: u64,
    /// Its hash.
    pub hash: String,
}

/// The change that waits, if one does.
pub(super) fn awaiting(state: &AdminState) -> Option<AwaitingView> {
    let waiting = state.life.in_force().awaiting?;
    Some(AwaitingView {
        generation: waiting.generation,
        before: waiting.before,
        until: waiting.until.to_string(),
        left_seconds: waiting.until.duration_since(Timestamp::now()).as_secs_f64().max(0.0),
        guard: waiting.guard.map(|guard| guard.to_string()),
        owner: waiting.owner,
    })
}

/// What is in force, for somebody of this role.
pub(super) fn in_force(state: &AdminState, role: Role) -> InForceView {
    let found = state.life.in_force();
    let number = found.generation().map_or(0, |generation| generation.number);
    let kept = state.history.find(number);
    let (files, hidden) = shown(kept.and_then(|kept| kept.written).as_ref(), state, role);
    let table = state.table.load();
    let ordered = orders::overview(&state.orders.standing(), &table).overrides;
    let layers = found.files.iter().map(|it| LayerView::Files(seen(it)));
    let layers = layers.chain(found.above.iter().map(|it| LayerView::Api(seen(it))));
    InForceView {
        generation: number,
        hash: found.hash().to_owned(),
        layers: layers.chain(ordered.into_iter().map(|it| LayerView::Override(Box::new(it)))).collect(),
        awaiting: awaiting(state),
        taken_back: found.taken_back.map(|it| TakenBackView {
            generation: it.generation,
            at: it.at.to_string(),
            why: it.why,
        }),
        files,
        hidden,
    }
}

/// The body of a wish: who wants it, and why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoBody {
    owner: Option<String>,
    #[serde(default)]
    reason: String,
}

/// Who wishes something.
pub(super) fn who(body: &[u8]) -> Result<Who, String> {
    if body.is_empty() {
        return Ok(Who::default());
    }
    let body: WhoBody = serde_json::from_slice(body).map_err(|error| format!("the body is wrong: {error}"))?;
    judged(body.owner.as_deref(), &body.reason)
}

fn judged(owner: Option<&str>, reason: &str) -> Result<Who, String> {
    let owner = owner.map(|owner| line("owner", owner, MAX_OWNER)).transpose()?;
    let owner = owner.filter(|owner| !owner.is_empty()).map(|owner| owner.to_string());
    Ok(Who { owner, reason: line("reason", reason, MAX_REASON)?.to_string() })
}

/// What a configuration that is sent to be applied comes with, in the query: the body is the configuration.
pub(super) fn terms(query: Option<&str>) -> Result<(Who, Terms), String> {
    let (mut owner, mut reason, mut confirm, mut guard) = (None, String::new(), None, None);
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(&value.replace('+', " "));
        match key {
            "owner" => owner = Some(value),
            "reason" => reason = value,
            "confirm" => confirm = Some(confirmation(&value)?),
            "guard" => guard = Some(Guard::read(&value)?),
            _ => return Err(format!("`{key}` is unknown here; there are owner, reason, confirm and guard")),
        }
    }
    let terms = match (confirm, guard) {
        (Some(time), guard) => Terms::Unless(time, guard),
        (None, None) => Terms::Open,
        (None, Some(_)) => {
            return Err("a guard looks on while a change waits: say for how long, confirm=60s".to_owned());
        }
    };
    Ok((judged(owner.as_deref(), &reason)?, terms))
}

fn confirmation(text: &str) -> Result<Duration, String> {
    let time = crate::config::duration(text)?;
    if (CONFIRM_MIN..=CONFIRM_MAX).contains(&time) {
        return Ok(time);
    }
    Err(format!("`{text}`: a change waits for 1s to 24h"))
}

/// The hashes that what is in force may have; `None`: any (RFC 9110, section 13.1.1). A weak tag is never the same.
pub(super) fn only_over(headers: &HeaderMap) -> Result<Option<Vec<String>>, String> {
    let mut hashes = Vec::new();
    let mut is_any = true;
    for value in headers.get_all(IF_MATCH) {
        let text = value.to_str().map_err(|_not_text| "If-Match is no text".to_owned())?;
        if text.trim() == "*" {
            return Ok(None);
        }
        is_any = false;
        for tag in text.split(',').map(str::trim) {
            let hash = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            hashes.extend(hash.map(str::to_owned));
        }
    }
    Ok((!is_any).then_some(hashes))
}

/// Whether what is sent may take effect: it could run commands and read files in the name of the program.
pub(super) fn may_send(state: &AdminState) -> Result<(), &'static str> {
    if generations::is_guarded(state) {
        return Ok(());
    }
    Err(
        "everybody on this machine can reach this admin port, and a configuration can run commands and read files as this \
         program: give [admin] a token_file or tokens, or bind = \"unix:/run/evenkeel/admin.sock\", to send one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_come_in_the_query() {
        let (who, what) = terms(Some("confirm=60s&guard=errors%20%3C+1%25&owner=al%C3%AF&reason=new+disk")).unwrap();
        assert_eq!(who, Who { owner: Some("alï".into()), reason: "new disk".into() });
        assert_eq!(what, Terms::Unless(Duration::from_secs(60), Guard::read("errors < 1%").ok()));
        assert_eq!(terms(None).unwrap(), (Who::default(), Terms::Open));
        for (bad, why) in [
            ("guard=errors%3C1%25", "say for how long"),
            ("confirm=0s", "1s to 24h"),
            ("confirm=2d", "1s to 24h"),
            ("confirm=soon", "duration"),
            ("confirm=60s&guard=luck", "no `<`"),
            ("force=1", "`force` is unknown"),
            ("owner=a%0Ab", "owner"),
        ] {
            let told = terms(Some(bad)).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }

    #[test]
    fn if_match_names_hashes() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, hyper::header::HeaderValue::from_static(value));
            }
            only_over(&headers).unwrap()
        };
        assert_eq!(headers(&[]), None);
        assert_eq!(headers(&["*"]), None);
        assert_eq!(headers(&["\"a\", \"b\"", "\"c\""]), Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(headers(&["W/\"a\""]), Some(vec![]), "a weak one is no match");
        assert_eq!(headers(&["a"]), Some(vec![]));
    }
}
