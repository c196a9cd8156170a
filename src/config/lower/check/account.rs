//! `user` and `password`, as the checks that log in read them.

use std::sync::Arc;

use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::units::Fault;

/// Longer ones no protocol here takes.
const TEXT_MAX: usize = 1024;

/// A text that can be sent as it stands: not empty, no NUL byte.
pub(super) fn sendable(key: &'static str) -> impl Fn(&str) -> Result<Arc<str>, Fault> {
    move |text| {
        let fault = |label: &str| Fault::new("text", format!("`{key}` cannot be sent"), label);
        if text.is_empty() {
            return Err(fault("empty").help(format!("give the {key}, or take the key out")));
        }
        if text.contains('\0') {
            return Err(fault("holds a NUL byte").help("take the NUL byte out"));
        }
        if text.len() > TEXT_MAX {
            return Err(fault("too long").help(format!("{TEXT_MAX} bytes or less")));
        }
        Ok(text.into())
    }
}

/// Reports keys that need another one which is not there; whether all is well.
#[must_use]
pub(super) fn needs(section: &Section<'_>, keys: &[&str], needed: &str, help: &str) -> Option<()> {
    if section.has(needed) {
        return Some(());
    }
    let mut all = Some(());
    for key in keys {
        let Some(entry) = section.table.get(key) else { continue };
        let problem = Problem::error("missing", entry.key_at, format!("`{key}` needs `{needed}`"));
        section.cx.report(problem.label(format!("without `{needed}` it has no effect")).help(help));
        all = None;
    }
    all
}

/// `password`; an empty one, as `${NAME:-}` gives it, is none. `Some(None)`: none is given.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn password(section: &Section<'_>) -> Option<Option<Arc<str>>> {
    if !section.has("password") || section.text("password") == Some("") {
        return Some(None);
    }
    section.parsed("password", sendable("password")).map(Some)
}
