//! The program that is measured.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Fault, Recipe, Setup, version_of, write};
use crate::work::Entry;

const DOORS: &[Entry] = &[Entry::Http, Entry::Https, Entry::Echo, Entry::EchoOnce, Entry::Bulk];

/// Where it is.
pub fn program() -> PathBuf {
    std::env::var_os("EVENKEEL").map_or_else(|| PathBuf::from("target/release/evenkeel"), PathBuf::from)
}

pub fn recipe(setup: &Setup) -> Result<Recipe, Fault> {
    of(&config(setup), setup.folder).map_err(Fault::Broken)
}

/// With a configuration of one's own.
pub fn of(config: &str, folder: &Path) -> Result<Recipe, String> {
    let program = fs::canonicalize(program())
        .map_err(|error| format!("{}: {error}; run `cargo build --release` first", program().display()))?;
    let mut command = Command::new(&program);
    command.arg("run").arg("--config").arg(write(folder, super::CONFIG, config)?);
    let version = version_of(Command::new(&program).arg("version"));
    Ok(Recipe { command, version, doors: DOORS })
}

fn config(setup: &Setup) -> String {
    let Setup { ports, origin, certificate, .. } = setup;
    let both = certificate.both.display();
    let mut text = format!(
        r#"workers = 1

[admin]
bind = "{}"

[log]
access = "off"
level = "error"

[listener.http]
bind = "{}"
pool = "http"

[listener.https]
bind = "{}"
pool = "http"
tls = {{ certificates = "{both}", min_version = "1.3" }}

[pool.http]
backends = ["127.0.0.1:{3}", "127.0.0.2:{3}"]

[pool.http.check.web]
type = "http"
path = "/health"
interval = "2s"
timeout = "1s"
"#,
        ports.admin, ports.http, ports.https, origin.http
    );
    for (name, bind, port) in setup.tcp() {
        let _ = write!(
            text,
            r#"
[listener.{name}]
bind = "{bind}"
protocol = "tcp"
pool = "{name}"

[pool.{name}]
backends = ["127.0.0.1:{port}", "127.0.0.2:{port}"]

[pool.{name}.check.port]
type = "tcp"
interval = "2s"
timeout = "1s"
"#
        );
    }
    text
}
