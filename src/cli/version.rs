//! `evenkeel version`.

use super::Ending;
use super::terminal::say;

#[expect(clippy::unnecessary_wraps, reason = "every command ends alike")]
pub(super) fn version() -> anyhow::Result<Ending> {
    say(concat!("evenkeel ", env!("CARGO_PKG_VERSION"), "\n"));
    Ok(Ending::Good)
}
