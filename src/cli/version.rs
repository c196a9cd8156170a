//! `evenkeel version`.

use super::Ending;
use super::form::Form;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn version(form: Form) -> anyhow::Result<Ending> {
    form.say(&serde_json::json!({ "version": VERSION }), || format!("evenkeel {VERSION}\n"))?;
    Ok(Ending::Good)
}
