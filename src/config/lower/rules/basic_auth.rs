//! `basic_auth = { … }`: a file of users, and what becomes of name and password.

use std::sync::Arc;

use super::super::super::model::{Authorization, BasicAuth};
use super::super::super::problem::Problem;
use super::super::super::section::{Choice, Section};
use super::super::super::substitute;
use super::super::super::users::{FILE_MAX, Users};
use super::super::super::vocabulary::BASIC_AUTH;
use super::super::route::header_name;

const AUTHORIZATION: Choice<Authorization> = Choice {
    words: &[("remove", Authorization::Remove), ("pass", Authorization::Pass)],
    foreign: &[("keep", "pass"), ("forward", "pass"), ("strip", "remove"), ("drop", "remove")],
    later: &[],
};

/// Lines of a file that are named before "and others".
const FAULTS_SHOWN: usize = 5;

/// Who may pass; `None` where it is switched off.
pub(super) fn basic_auth(section: &Section<'_>) -> Option<Arc<BasicAuth>> {
    if section.is_off("basic_auth") {
        return None;
    }
    let inner = section.section("basic_auth", &BASIC_AUTH)?;
    if !inner.has("users") {
        inner.missing("users", "write basic_auth = { users = \"users.htpasswd\" }");
    }
    let path = inner.text("users")?;
    let node = &inner.entry("users")?.node;
    let users = users(&inner, path)?;
    let realm = inner.text("realm").unwrap_or("restricted");
    if realm.bytes().any(|byte| byte.is_ascii_control() || byte == b'"' || byte == b'\\') {
        let at = inner.entry("realm").map_or(inner.at, |entry| entry.node.at);
        let problem = Problem::error("header", at, "`realm` has a byte that cannot stand in quotes");
        inner.cx.report(problem.label("a quote, a backslash or a control byte").help("take it out"));
        return None;
    }
    Some(Arc::new(BasicAuth {
        file: substitute::resolve(inner.cx, node.at, path).into(),
        users: Arc::new(users),
        realm: realm.into(),
        authorization: inner.choice("authorization", &AUTHORIZATION).unwrap_or(Authorization::Remove),
        user_header: inner.parsed("user_header", |text| header_name(text).map(|_| Arc::from(text))),
    }))
}

fn users(inner: &Section<'_>, path: &str) -> Option<Users> {
    let at = inner.entry("users")?.node.at;
    let problem = |message: String, label: &str| {
        let help = "write each line with `htpasswd -B FILE NAME` (bcrypt), or as NAME:HASH with a hash of argon2id";
        inner.cx.report(Problem::error("users", at, message).label(label).help(help));
    };
    let content = substitute::read_bytes(inner.cx, at, path)?;
    let text = String::from_utf8(content).ok().filter(|text| text.len() <= FILE_MAX);
    let Some(text) = text else {
        problem(format!("`{path}` is no file of users"), "not text, or longer than 16 MiB");
        return None;
    };
    match Users::parse(&text) {
        Ok(users) if users.is_empty() => {
            problem(format!("nobody stands in `{path}`"), "nobody could pass");
            None
        }
        Ok(users) => Some(users),
        Err(faults) => {
            for fault in faults.iter().take(FAULTS_SHOWN) {
                problem(format!("`{path}`, line {}: {}", fault.line, fault.what), "named here");
            }
            if faults.len() > FAULTS_SHOWN {
                let more = faults.len() - FAULTS_SHOWN;
                problem(format!("`{path}` has {more} more lines that cannot be used"), "named here");
            }
            None
        }
    }
}
