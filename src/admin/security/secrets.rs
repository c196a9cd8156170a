//! Files that the configuration was read from: who else may read those that hold secrets, and who may change any.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::FindingView;
use crate::config::model::{Token, TokenSecret};
use crate::config::without_secrets;

/// A longer file is no key and no password.
const MAX_BYTES: u64 = 1024 * 1024;

/// Each of these files.
pub(super) fn judge(files: &[PathBuf], tokens: &[Token]) -> Vec<FindingView> {
    let mut findings = Vec::new();
    let mut secret = 0;
    for path in files {
        let Ok(about) = fs::metadata(path) else { continue };
        if others_write(path, &about) {
            let shown = path.display();
            let what = format!("{shown} can be changed by every user of this machine");
            findings.push(FindingView::weak("configuration", what, format!("chmod o-w {shown}, and its folder")));
        }
        let Some(what) = kind(path, &about, tokens) else { continue };
        secret += 1;
        if about.mode() & 0o004 != 0 && others_get_there(path) {
            let shown = path.display();
            let why = format!("{shown} holds {what}, and every user of this machine may read it");
            findings.push(FindingView::weak("secrets", why, format!("chmod o-r {shown}")));
        }
    }
    if findings.is_empty() {
        let what = match (files.len(), secret) {
            (0, _) => "the configuration stands in no file".to_owned(),
            (count, 0) => format!("no secret stands in its files ({count}), and nobody else may change them"),
            (_, 1) => "the file with a secret is closed to other users".to_owned(),
            (_, several) => format!("{several} files with secrets are closed to other users"),
        };
        findings.push(FindingView::ok("secrets", what));
    }
    findings
}

/// Which secret stands there.
fn kind(path: &Path, about: &Metadata, tokens: &[Token]) -> Option<&'static str> {
    if !about.is_file() || about.len() > MAX_BYTES {
        return None;
    }
    let content = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&content);
    let word = text.trim();
    if path.extension().is_some_and(|extension| extension == "toml") {
        return (without_secrets(&text).1 > 0).then_some("secrets");
    }
    if word.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let is_it = |token: &Token| match &token.secret {
        TokenSecret::Plain(text) => **text == *word,
        TokenSecret::Hashed(secret) => secret.text() == word,
    };
    match tokens.iter().find(|token| is_it(token)).map(|token| &token.secret) {
        Some(TokenSecret::Plain(_)) => return Some("a token of the admin port"),
        Some(TokenSecret::Hashed(_)) => return Some("the hash of a token of the admin port"),
        None => {}
    }
    if word.contains(":$argon2") || word.contains(":$2") {
        return Some("passwords");
    }
    let is_one = word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then_some("a password or a token")
}

/// Whether a stranger gets as far as the file: every folder above lets everybody through.
fn others_get_there(path: &Path) -> bool {
    let Ok(whole) = path.canonicalize() else { return true };
    whole.ancestors().skip(1).all(|folder| fs::metadata(folder).is_ok_and(|about| about.mode() & 0o001 != 0))
}

fn others_write(path: &Path, about: &Metadata) -> bool {
    const STICKY: u32 = 0o1000;
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    let folder = folder.is_some_and(|folder| folder.mode() & 0o002 != 0 && folder.mode() & STICKY == 0);
    (about.mode() & 0o002 != 0 || folder) && others_get_there(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::admin::security::Level;
    use crate::config::model::Role;

    #[test]
    fn secrets_that_others_may_read_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        open(folder.path(), 0o755);
        for (name, text, what) in [
            ("a.key", "-----BEGIN PRIVATE KEY-----\nx\n", Some("a private key")),
            ("a.pem", "-----BEGIN CERTIFICATE-----\nx y\n", None),
            ("token", "abcdef0123456789\n", Some("a token of the admin port")),
            ("word", "hunter2\n", Some("a password or a token")),
            ("users", "ann:$argon2id$v=19$x\n", Some("passwords")),
            ("page.html", "<h1>away for a moment</h1>", None),
            ("e.toml", "[pool.p]\ncheck.a = { password = 'x' }\n", Some("secrets")),
            ("f.toml", "[pool.p]\ncheck.a = { password = '${P}' }\n", None),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let found = |mode| {
                open(&path, mode);
                let secret = TokenSecret::Plain("abcdef0123456789".into());
                let token = Token { name: "ann".into(), role: Role::Read, secret };
                judge(std::slice::from_ref(&path), &[token])
            };
            // Above the folder of a test there may be one that is closed to others.
            let is_open = others_get_there(&path);
            let readable = found(0o644);
            assert_eq!(readable[0].level == Level::Weak, what.is_some() && is_open, "{readable:?}");
            assert!(!is_open || what.is_none_or(|what| readable[0].what.contains(what)), "{readable:?}");
            assert_eq!(found(0o640)[0].level, Level::Ok);
            assert_eq!(found(0o642)[0].topic == "configuration", is_open);
        }
    }
}
