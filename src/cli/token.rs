//! `evenkeel token`: a new token for the admin port, with the hash of it that the balancer keeps.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use evenkeel::config::users::Secret;
use serde::Serialize;

use super::Ending;
use super::form::Form;

/// Nobody guesses it: the hash only keeps whoever reads the file from using it.
const RANDOM_BYTES: usize = 32;
/// A token of one's own is to be that long at least, bytes.
const SHORTEST: usize = 16;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The name under which it is known where it was used
    name: String,
    /// What it opens
    #[arg(long, value_enum, default_value_t = Role::Read)]
    role: Role,
    /// Write the hash into this file, which must not be there yet, and print the token alone
    #[arg(long, value_name = "PATH")]
    hash_file: Option<PathBuf>,
    /// Hash the token that stands on standard input, instead of making one
    #[arg(long)]
    stdin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Read,
    Operate,
}

#[derive(Debug, Serialize)]
struct Made<'m> {
    name: &'m str,
    role: &'m str,
    token: &'m str,
    hash: &'m str,
}

pub(super) fn token(arguments: &Arguments, form: Form) -> anyhow::Result<Ending> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    if !(1..=64).contains(&arguments.name.len()) || !arguments.name.bytes().all(is_plain) {
        bail!("{:?} cannot be a name: up to 64 letters, digits, `-`, `_`, `.` and `@`", arguments.name);
    }
    let token = if arguments.stdin { from_input()? } else { digits(&random::<RANDOM_BYTES>()?) };
    let secret = Secret::hash(token.as_bytes(), &random::<16>()?).context("the token cannot be hashed")?;
    let role = match arguments.role {
        Role::Read => "read",
        Role::Operate => "operate",
    };
    if let Some(path) = &arguments.hash_file {
        let cannot = || format!("cannot write {}", path.display());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        writeln!(file.with_context(cannot)?, "{}", secret.text()).with_context(cannot)?;
    }
    let made = Made { name: &arguments.name, role, token: &token, hash: secret.text() };
    form.say(&made, || if arguments.hash_file.is_some() { format!("{token}\n") } else { in_words(&made) })?;
    Ok(Ending::Good)
}

fn in_words(made: &Made<'_>) -> String {
    let Made { name, role, token, hash } = made;
    format!(
        "The token, for whoever asks; it is kept nowhere:\n  {token}\n\n\
         Its hash, for a file beside the configuration:\n  {hash}\n\n\
         And in the configuration:\n  [admin]\n  tokens = [{{ name = \"{name}\", role = \"{role}\", file = \"{name}.token\" }}]\n"
    )
}

fn from_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().take(4096).read_to_string(&mut text).context("cannot read the token")?;
    let token = text.trim();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("that is no token: one line of at least {SHORTEST} characters without blanks");
    }
    Ok(token.to_owned())
}

fn random<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    let source = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    source.context("this machine gives no random numbers (/dev/urandom)")?;
    Ok(bytes)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
