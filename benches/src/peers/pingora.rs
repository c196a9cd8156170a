//! A small proxy on Pingora, of the package in `benches/pingora`; there when its program is built (`--pingora`).

use std::path::PathBuf;
use std::process::Command;

use super::{Fault, Recipe, Setup};
use crate::work::Entry;

const PROGRAM: &str = "target/pingora/release/evenkeel-bench-pingora";

pub fn recipe(setup: &Setup) -> Result<Recipe, Fault> {
    let program = std::env::var_os("PINGORA").map_or_else(|| PathBuf::from(PROGRAM), PathBuf::from);
    let program = program
        .canonicalize()
        .map_err(|_absent| Fault::Missing("pingora is not built: `benches/compare --pingora` does that".to_owned()))?;
    let Setup { ports, origin, certificate, .. } = setup;
    let mut command = Command::new(program);
    command.args([ports.http.to_string(), ports.https.to_string()]);
    command.arg(&certificate.cert).arg(&certificate.key);
    command.args(["127.0.0.1", "127.0.0.2"].map(|host| format!("{host}:{}", origin.http)));
    let lock = include_str!("../../pingora/Cargo.lock");
    let version = lock.lines().skip_while(|line| *line != "name = \"pingora\"").nth(1).unwrap_or_default();
    Ok(Recipe { command, version: format!("pingora, {version}"), doors: &[Entry::Http, Entry::Https] })
}
