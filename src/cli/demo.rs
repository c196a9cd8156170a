//! `evenkeel demo`: three backends, a listener and the admin port in one process, and three things to try.

use clap::Args;

use super::Ending;

#[derive(Debug, Args)]
pub(super) struct Arguments {}

pub(super) fn demo(_arguments: &Arguments) -> anyhow::Result<Ending> {
    anyhow::bail!("not built in yet")
}
