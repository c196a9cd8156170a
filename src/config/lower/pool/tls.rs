//! `[pool.NAME.tls]`: how traffic goes to the backends.

use std::sync::Arc;

use crate::config::lower::dialect::dialect;
use crate::config::lower::tls::{identity, server_name, verify};
use crate::config::model::{Dialect, PoolTls, Verify};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::tree::Value;
use crate::config::vocabulary::POOL_TLS;

/// `tls` of a pool. `Some(None)`: plain.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn tls(pool: &Section<'_>) -> Option<Option<Arc<PoolTls>>> {
    if !pool.has("tls") {
        return Some(None);
    }
    let entry = pool.entry("tls")?;
    match entry.node.value {
        Value::Boolean(false) => Some(None),
        Value::Boolean(true) => Some(Some(Arc::new(usual()))),
        Value::Table(_) => Some(Some(Arc::new(terms(&pool.section("tls", &POOL_TLS)?)?))),
        _ => {
            let help = "write tls = true, or tls = { server_name = \"web.example.com\", ca = \"ca.pem\" }";
            pool.wrong_type(&entry.node, "tls", "true or a table", help);
            None
        }
    }
}

/// What `tls = true` says.
fn usual() -> PoolTls {
    PoolTls { server_name: None, verify: Verify::System, dialect: Dialect::default(), identity: None }
}

fn terms(tls: &Section<'_>) -> Option<PoolTls> {
    let server_name = tls.parsed("server_name", server_name);
    let dialect = dialect(tls);
    let is_good = server_name.is_some() || !tls.has("server_name");
    let (verify, identity) = (verify(tls), identity(tls));
    if let (Some(Verify::Nothing), Some(entry)) = (&verify, tls.entry("verify")) {
        tls.cx.report(
            Problem::warning("unverified", entry.key_at, "anybody can pass for a backend of this pool")
                .label("certificates are not verified")
                .help("name what they are signed by, ca = \"ca.pem\", and their name, server_name = \"...\""),
        );
    }
    let terms = PoolTls { server_name, verify: verify?, dialect: dialect?, identity: identity? };
    is_good.then_some(terms)
}
