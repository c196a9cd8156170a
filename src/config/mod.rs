//! The configuration: as written (`tree`), made valid (`lower`), as used (`model`), and what is wrong with it (`problem`).
//!
//! [`load`] is the one way in: it reads every file, reports every problem at once and hands out a [`model::Config`]
//! only when there is no error. [`Flags`] is the same for a command line without a file.

mod address;
pub mod certificate;
mod flags;
pub mod holder;
pub mod import;
mod lower;
pub mod model;
mod ocsp;
mod presets;
pub mod pem;
mod problem;
mod redact;
mod render;
mod route_test;
mod section;
mod source;
mod substitute;
mod syntax;
mod template;
mod tree;
mod units;
mod unix;
mod unknown;
pub mod users;
mod vocabulary;

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use flags::{Flags, from_flags};
pub use presets::{PRESETS, Preset};
pub use problem::{Color, Problem, Problems, Reported, Second, Severity};
pub use redact::without_secrets;
pub use route_test::{Decider, FailedTest};
pub use source::{Source, Written, WrittenFile, fingerprint};
pub use units::written as written_duration;
pub use unknown::nearest;

use problem::{At, Files};
use syntax::Damage;
use tree::Table;

/// A duration as configurations write it, for whoever reads one from a command line.
///
/// # Errors
/// What is wrong with it and what to write instead, in one line.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    units::duration(text).map_err(|fault| match fault.help {
        Some(help) => format!("{}: {help}", fault.message),
        None => fault.message,
    })
}

/// A configuration that may be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says.
    pub config: model::Config,
    /// What someone should look at all the same.
    pub warnings: Problems,
    /// What it says must become of requests. Who hands it out to be used runs them.
    pub tests: Vec<model::RouteTest>,
    /// Everything that was read: the folder, its files, and the files they name. [`fingerprint`] tells when they change.
    pub files: Vec<PathBuf>,
    /// Hash of all content read and of all variables used, 32 hexadecimal digits.
    pub hash: String,
    /// The texts as they are written; `None`: it comes from a command line.
    pub written: Option<Written>,
    /// What was substituted: as it is written, and what stands there instead.
    pub substituted: Vec<(String, String)>,
}

/// Where the values of `${NAME}` come from.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Reads a configuration with the variables of this process.
pub fn load(source: &Source) -> Result<Loaded, Problems> {
    load_with(source, &|name| std::env::var(name).ok())
}

/// Reads a configuration with the variables that `environment` gives.
pub fn load_with(source: &Source, environment: &Environment<'_>) -> Result<Loaded, Problems> {
    let (files, folder) = source::read(source)?;
    let cx = Cx::new(files, environment);
    for path in folder.iter().chain(cx.files.iter().filter_map(|file| file.path.as_ref())) {
        cx.note_file(path);
    }
    let mut root = Table::default();
    let mut damage = Vec::new();
    for (file, _) in (0..).zip(cx.files.iter()) {
        let (table, broken) = syntax::parse(&cx, file);
        damage.push(broken);
        if file == 0 {
            root = table;
        } else {
            tree::merge(&cx, &mut root, table);
        }
    }
    let written = Written::of(&cx.files, folder);
    let syntax_problems = cx.problems.borrow().len();
    presets::apply(&cx, &mut root);
    let config = lower::lower(&cx, &root);
    cx.suppress_consequences(syntax_problems, &damage);
    cx.finish(config).map(|loaded| Loaded { written: Some(written), ..loaded })
}

/// What a load carries along: the texts, the variables, and what it has found and read so far.
struct Cx<'a> {
    files: Arc<Files>,
    environment: &'a Environment<'a>,
    problems: RefCell<Vec<Problem>>,
    read: RefCell<Vec<PathBuf>>,
    variables: RefCell<Vec<(String, Option<String>)>>,
    /// Each `${…}` with its value.
    substituted: RefCell<Vec<(String, String)>>,
    /// The folders whose commands a check may run, once they have been read.
    exec_allowed: OnceCell<Vec<PathBuf>>,
    /// Tests of routes.
    tests: RefCell<Vec<model::RouteTest>>,
    /// Where presets are named: the place of all that they bring.
    presets: RefCell<Vec<(At, &'static str)>>,
}

impl<'a> Cx<'a> {
    fn new(files: Files, environment: &'a Environment<'a>) -> Self {
        Self {
            files: Arc::new(files),
            environment,
            problems: RefCell::default(),
            read: RefCell::default(),
            variables: RefCell::default(),
            substituted: RefCell::default(),
            exec_allowed: OnceCell::new(),
            tests: RefCell::default(),
            presets: RefCell::default(),
        }
    }

    fn report(&self, mut problem: Problem) {
        if let Some(preset) = problem.at.and_then(|at| self.preset_at(at)) {
            let note = format!(
                "this comes with the preset, which `evenkeel preset {preset}` shows; a key of the pool's own wins"
            );
            problem.note.get_or_insert(note);
        }
        self.problems.borrow_mut().push(problem);
    }

    fn note_preset(&self, at: At, name: &'static str) {
        self.presets.borrow_mut().push((at, name));
    }

    /// The preset that brought what has this place.
    fn preset_at(&self, at: At) -> Option<&'static str> {
        self.presets.borrow().iter().find(|(place, _)| *place == at).map(|(_, name)| *name)
    }

    fn note_file(&self, path: &Path) {
        let mut read = self.read.borrow_mut();
        if !read.iter().any(|known| known == path) {
            read.push(path.to_owned());
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        let value = (self.environment)(name);
        self.variables.borrow_mut().push((name.to_owned(), value.clone()));
        value
    }

    /// Forgets what was found only because a syntax error hid or moved something.
    fn suppress_consequences(&self, from: usize, damage: &[Damage]) {
        if !damage.iter().any(Damage::any) {
            return;
        }
        let mut problems = self.problems.borrow_mut();
        let found = problems.split_off(from);
        problems.extend(found.into_iter().filter(|problem| {
            let Some(at) = problem.at else { return true };
            let line = self.files.line(at.file, at.start);
            problem.cause == problem::Cause::Own && !damage[at.file as usize].covers(line)
        }));
    }

    fn finish(self, config: Option<model::Config>) -> Result<Loaded, Problems> {
        let files = self.read.into_inner();
        let hash = source::hash(&self.files, &files, &self.variables.into_inner());
        let mut problems = Problems { list: self.problems.into_inner(), files: self.files };
        problems.sort();
        if problems.errors() > 0 {
            return Err(problems);
        }
        let config = config.expect("whatever keeps a configuration from being made is reported as an error");
        Ok(Loaded {
            config,
            warnings: problems,
            tests: self.tests.into_inner(),
            files,
            hash,
            written: None,
            substituted: self.substituted.into_inner(),
        })
    }
}
