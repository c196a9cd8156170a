//! `tls = { … }` of a check, and the keys of a check of type `tls`, which are the same and a few more.

use std::sync::Arc;

use crate::config::lower::dialect::dialect;
use crate::config::lower::tls::{identity, server_name, verify};
use crate::config::model::{CheckTls, PoolTls, TlsCheck};
use crate::config::section::Section;
use crate::config::tree::Value;
use crate::config::units::Fault;
use crate::config::vocabulary::CHECK_TLS;

/// A check of type `tls`.
pub(super) fn check(section: &Section<'_>) -> Option<TlsCheck> {
    let protocols = section.parsed_list("alpn", protocol);
    let is_good = !section.has("alpn") || protocols.is_some();
    let tls = terms(section)?;
    let protocols = protocols.unwrap_or_default().into_iter().map(|(name, _)| name).collect();
    is_good.then_some(TlsCheck { tls, protocols })
}

fn protocol(text: &str) -> Result<Arc<str>, Fault> {
    if (1..=255).contains(&text.len()) {
        return Ok(text.into());
    }
    let fault = Fault::new("text", "`alpn` takes names of protocols", "1 to 255 bytes");
    Err(fault.help("write alpn = \"h2\" or alpn = [\"h2\", \"http/1.1\"]"))
}

/// The same for a check that asks as traffic does: where it says nothing, it goes over the TLS of its pool.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn tls_or(section: &Section<'_>, over: Option<&PoolTls>) -> Option<Option<CheckTls>> {
    match over {
        Some(over) if !section.has("tls") => Some(Some(CheckTls::of(over))),
        _ => tls(section),
    }
}

/// `tls` of a check whose protocol may go over TLS. `Some(None)`: plain.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn tls(section: &Section<'_>) -> Option<Option<CheckTls>> {
    if !section.has("tls") {
        return Some(None);
    }
    match section.entry("tls")?.node.value {
        Value::Boolean(false) => Some(None),
        Value::Boolean(true) => Some(Some(CheckTls::default())),
        Value::Table(_) => Some(Some(terms(&section.section("tls", &CHECK_TLS)?)?)),
        _ => {
            let node = &section.entry("tls")?.node;
            let help = "write tls = true, or tls = { server_name = \"web.example.com\", ca = \"ca.pem\" }";
            section.wrong_type(node, "tls", "true or a table", help);
            None
        }
    }
}

/// The keys that say how far a backend is trusted, what it is shown, and what it must speak.
pub(super) fn terms(tls: &Section<'_>) -> Option<CheckTls> {
    let given = |key: &str, is_good: bool| is_good || !tls.has(key);
    let server_name = tls.parsed("server_name", server_name);
    let dialect = dialect(tls);
    let expires_in = tls.positive_duration("expires_in");
    let (verify, identity) = (verify(tls), identity(tls));
    let all_good = given("server_name", server_name.is_some()) && given("expires_in", expires_in.is_some());
    let terms = CheckTls { server_name, verify: verify?, dialect: dialect?, identity: identity?, expires_in };
    all_good.then_some(terms)
}
