//! Which configuration a command reads: the one named, or the first of the usual places that exists.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;

const PLACES: [&str; 3] = ["/etc/evenkeel/evenkeel.toml", "/etc/evenkeel/conf.d", "evenkeel.toml"];

/// A configuration that may be named.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The configuration: a TOML file, or a folder of them [default: as for `run`]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

impl Named {
    /// Where it is.
    pub(super) fn find(&self) -> anyhow::Result<PathBuf> {
        find(self.path.as_deref())
    }
}

/// The configuration: a file, or a folder of files.
pub(super) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let told = std::env::var_os("EVENKEEL_CONFIG").filter(|value| !value.is_empty());
    among(named, told.map(PathBuf::from), Path::exists)
}

fn among(named: Option<&Path>, told: Option<PathBuf>, exists: impl Fn(&Path) -> bool) -> anyhow::Result<PathBuf> {
    if let Some(path) = named.map(Path::to_path_buf).or(told) {
        // Whether it exists is for the loader to say, which names what is wrong with it.
        return Ok(path);
    }
    match PLACES.iter().map(Path::new).find(|path| exists(path)) {
        Some(path) => Ok(path.to_path_buf()),
        None => bail!(
            "no configuration: name one, or set $EVENKEEL_CONFIG, or write {}.\n\
             Without a file: evenkeel run --listen 127.0.0.1:8080 --backend 127.0.0.1:9001 --check http:/health",
            PLACES.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_one_wins_then_the_environment_then_the_first_that_exists() {
        let named = Path::new("named.toml");
        let found = |named, told: Option<&str>, there: &str| {
            among(named, told.map(Into::into), |path| path == Path::new(there)).ok()
        };
        assert_eq!(found(Some(named), Some("told.toml"), "evenkeel.toml"), Some(named.into()));
        assert_eq!(found(None, Some("told.toml"), "evenkeel.toml"), Some("told.toml".into()));
        assert_eq!(found(None, None, "evenkeel.toml"), Some("evenkeel.toml".into()));
        assert_eq!(found(None, None, "/etc/evenkeel/conf.d"), Some("/etc/evenkeel/conf.d".into()));
        assert_eq!(found(None, None, "elsewhere"), None);
    }
}
