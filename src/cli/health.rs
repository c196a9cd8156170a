//! `evenkeel health`: whether a running evenkeel is ready, as an exit code.

use std::time::Duration;

use clap::Args;
use hyper::Method;

use super::Ending;
use super::client::AdminPort;
use super::terminal::say;

/// Shorter than the second or two that orchestrators give a health command.
const PATIENCE: Duration = Duration::from_millis(1_500);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    port: AdminPort,
    /// Also ask that a backend of this pool is up
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
}

pub(super) fn health(arguments: &Arguments) -> anyhow::Result<Ending> {
    let path = match &arguments.pool {
        Some(pool) => format!("/readyz?pool={}", encoded(pool)),
        None => "/readyz".to_owned(),
    };
    let answer = arguments.port.ask(Method::GET, &path, PATIENCE)?;
    say(&answer.body);
    Ok(if answer.status.is_success() { Ending::Good } else { Ending::Bad })
}

/// What a query may carry as it is; everything else as `%41`.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let pieces = text.bytes().map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pools_survive_the_query() {
        assert_eq!(encoded("us-east_1.a"), "us-east_1.a");
        assert_eq!(encoded("a b&pool=c"), "a%20b%26pool%3Dc");
    }
}
