//! Generations and plans as the API shows them, and what is sent to ask for one.

use std::collections::HashMap;

use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AdminState;
use super::changes::{self, AwaitingView};
use crate::config::model::{Role, Site};
use crate::config::{self, Color, Loaded, Problems, Reported, Source, Written, WrittenFile};
use crate::control::history::{Generation, History};
use crate::control::orders::Refused;
use crate::control::plan::{self, Masks, Plan, UnderWay};
use crate::route::Table;

/// `GET /api/v1/generations`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HistoryView {
    /// The folder that they are kept in; absent: in memory only, until the program ends.
    pub kept_in: Option<String>,
    /// The one in force.
    pub current: u64,
    /// Whether it is taken back unless somebody confirms it.
    #[serde(default)]
    pub awaiting: Option<AwaitingView>,
    /// All that are kept, oldest first.
    pub generations: Vec<GenerationView>,
}

/// One generation.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct GenerationView {
    /// Its number.
    pub number: u64,
    /// SHA-256 of all that it says.
    pub hash: String,
    /// When it took effect, RFC 3339.
    pub at: String,
    /// Why.
    pub why: String,
    /// Who wanted it, as far as that was said.
    pub owner: Option<String>,
    /// What was said of it.
    #[serde(default)]
    pub reason: String,
}

/// `GET /api/v1/generations/N`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct TextView {
    /// Which one.
    #[serde(flatten)]
    pub generation: GenerationView,
    /// Its texts as they are written, where they are kept.
    pub files: Vec<FileView>,
    /// How many secrets are hidden in them; none for who may operate, where a token or a socket's
    /// rights keep strangers out.
    pub hidden: usize,
}

/// One text.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileView {
    /// The file that it was read from.
    pub name: String,
    /// TOML.
    pub text: String,
}

/// `POST /api/v1/plan`, `GET /api/v1/generations/A/diff/B`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlanView {
    /// Whether anything would change.
    pub changes_anything: bool,
    /// The generation that it is compared with.
    pub against: u64,
    /// What would change.
    #[serde(flatten)]
    pub plan: Plan,
    /// What someone should look at all the same.
    pub warnings: String,
}

/// Why a configuration cannot be used (409).
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProblemsView {
    /// For people.
    problems: String,
    /// For programs.
    reported: Vec<Reported>,
}

pub(super) fn seen(generation: &Generation) -> GenerationView {
    let Generation { number, hash, at, why, owner, reason, .. } = generation.bare();
    GenerationView { number, hash, at: at.to_string(), why, owner, reason }
}

/// All generations.
pub(super) fn history(state: &AdminState) -> HistoryView {
    HistoryView {
        kept_in: state.history.folder().map(|folder| folder.display().to_string()),
        current: state.table.generation(),
        awaiting: changes::awaiting(state),
        generations: state.history.list().iter().map(seen).collect(),
    }
}

pub(super) fn find(history: &History, number: u64) -> Result<Generation, Refused> {
    history.find(number).ok_or_else(|| {
        let first = history.list().first().map_or(0, |first| first.number);
        Refused::Unknown(format!("there is no generation {number}; {first} to {} are kept", history.last()))
    })
}

/// One generation with its texts, for somebody of this role.
pub(super) fn generation(state: &AdminState, number: u64, role: Role) -> Result<TextView, Refused> {
    let found = find(&state.history, number)?;
    let (files, hidden) = shown(found.written.as_ref(), state, role);
    Ok(TextView { generation: seen(&found), files, hidden })
}

/// Texts for somebody of this role, and how many secrets are hidden in them.
pub(super) fn shown(written: Option<&Written>, state: &AdminState, role: Role) -> (Vec<FileView>, usize) {
    let sees_secrets = role >= Role::Operate && is_guarded(state);
    let mut hidden = 0;
    let mut shown = |file: &WrittenFile| {
        let (text, count) = if sees_secrets { (file.text.clone(), 0) } else { config::without_secrets(&file.text) };
        hidden += count;
        FileView { name: file.name.clone(), text }
    };
    let files = written.iter().flat_map(|written| &written.files).map(&mut shown).collect();
    (files, hidden)
}

/// Whether only those reach what is behind the admin port who may.
pub(super) fn is_guarded(state: &AdminState) -> bool {
    // The socket is of the start.
    state.admin().asks() || matches!(state.first.bind, Some(Site::Unix(_)))
}

/// How a configuration is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Toml,
    /// Several files, or one with its place.
    Json,
}

impl Form {
    /// What the header says, else TOML.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let told = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if told.starts_with(b"application/json") { Self::Json } else { Self::Toml }
    }
}

/// What is sent to be judged: JSON of [`Written`], or TOML.
pub(super) fn sent(body: &[u8], form: Form) -> Result<Written, String> {
    if form == Form::Json {
        return serde_json::from_slice(body).map_err(|error| format!("the body is wrong: {error}"));
    }
    let text = String::from_utf8(body.to_vec()).map_err(|_not_text| "the body is not UTF-8 text".to_owned())?;
    Ok(Written { folder: None, files: vec![WrittenFile { name: "evenkeel.toml".to_owned(), path: None, text }] })
}

fn problems(problems: &Problems) -> ProblemsView {
    ProblemsView { problems: problems.render(Color::Plain, ""), reported: problems.report() }
}

/// What a configuration would change if it took effect now.
pub(super) fn planned(state: &AdminState, written: Written) -> Result<PlanView, ProblemsView> {
    let loaded = (state.load)(&Source::Written(written)).map_err(|found| problems(&found))?;
    let table = state.table.load();
    let warnings = warnings(&loaded);
    let masks = state.history.masks().with(&loaded.substituted);
    let plan = plan::plan(&table.config, &loaded.config, &masks, &under_way(&table));
    Ok(PlanView { changes_anything: !plan.is_empty(), against: table.generation, plan, warnings })
}

fn warnings(loaded: &Loaded) -> String {
    if loaded.warnings.is_empty() { String::new() } else { loaded.warnings.render(Color::Plain, "") }
}

/// How one generation differs from another, with the variables and files of now.
pub(super) fn difference(state: &AdminState, from: u64, to: u64) -> Result<PlanView, Refused> {
    let read = |number| {
        let found = find(&state.history, number)?;
        let kept = found.written.ok_or_else(|| Refused::Conflict(format!("the text of {number} is not kept")))?;
        config::load(&Source::Written(kept)).map_err(|problems| {
            let problems = problems.render(Color::Plain, "");
            Refused::Conflict(format!("generation {number} can be read no more\n{problems}"))
        })
    };
    let (old, new) = (read(from)?, read(to)?);
    let masks = Masks::of(&old.substituted).with(&new.substituted);
    let plan = plan::plan(&old.config, &new.config, &masks, &UnderWay::default());
    Ok(PlanView { changes_anything: !plan.is_empty(), against: from, plan, warnings: String::new() })
}

fn under_way(table: &Table) -> UnderWay {
    let open = |listener: &crate::route::Listener| {
        (listener.config.name.to_string(), listener.open.load(std::sync::atomic::Ordering::Relaxed))
    };
    let listeners: HashMap<_, _> = table.listeners.iter().map(|listener| open(listener)).collect();
    let backends = table.pools.iter().flat_map(|pool| {
        pool.config
            .members
            .iter()
            .zip(&pool.backends)
            .map(|(member, backend)| ((pool.config.name.to_string(), member.name.to_string()), backend.in_flight()))
    });
    UnderWay { listeners: listeners.into_iter().collect(), backends: backends.collect() }
}
