//! `send_proxy` of a pool: the header of the PROXY protocol that its connections begin with.

use std::sync::Arc;

use crate::config::lower::check::SEND_PROXY;
use crate::config::model::{Introduce, SendProxy, Tlv};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::tree::Value;
use crate::config::vocabulary::SEND_PROXY_OF_POOL;

const TLV: Choice<Tlv> = Choice {
    words: &[("alpn", Tlv::Alpn), ("authority", Tlv::Authority), ("tls", Tlv::Tls), ("unique-id", Tlv::UniqueId)],
    foreign: &[
        ("ssl", "tls"),
        ("sni", "authority"),
        ("server_name", "authority"),
        ("cert-cn", "tls"),
        ("ssl-cipher", "tls"),
        ("unique_id", "unique-id"),
        ("request-id", "unique-id"),
    ],
    later: &["crc32c", "netns", "noop"],
};

/// `send_proxy` of a pool.
pub(super) fn introduce(pool: &Section<'_>) -> Option<Arc<Introduce>> {
    let entry = pool.entry("send_proxy")?;
    let Value::Table(_) = entry.node.value else {
        if matches!(entry.node.value, Value::Boolean(false)) {
            return None;
        }
        let version = pool.choice("send_proxy", &SEND_PROXY)??;
        return Some(Arc::new(Introduce { version, tlvs: Vec::new() }));
    };
    let section = pool.section("send_proxy", &SEND_PROXY_OF_POOL)?;
    if !section.has("version") {
        section.missing("version", "write version = \"v2\"");
    }
    let version = section.choice("version", &SEND_PROXY)??;
    let tlvs = section.parsed_list("tlv", |text| TLV.find("tlv", text)).unwrap_or_default();
    if let Some(entry) = section.table.get("tlv").filter(|_| version == SendProxy::V1) {
        section.cx.report(
            Problem::error("conflict", entry.key_at, "version 1 of the PROXY protocol has no room for more")
                .label("nothing but addresses fits in its line")
                .help("write version = \"v2\", or take `tlv` out"),
        );
    }
    Some(Arc::new(Introduce { version, tlvs: tlvs.into_iter().map(|(tlv, _)| tlv).collect() }))
}

/// The version that a pool's checks take over, said by whoever reads the pool where it is wrong.
pub(in super::super) fn version(pool: &Section<'_>) -> Option<SendProxy> {
    let node = &pool.table.get("send_proxy")?.node;
    let word = match &node.value {
        Value::String(text) => &text.value,
        Value::Table(table) => match &table.get("version")?.node.value {
            Value::String(text) => &text.value,
            _ => return None,
        },
        _ => return None,
    };
    match word.as_str() {
        "v1" => Some(SendProxy::V1),
        "v2" => Some(SendProxy::V2),
        _ => None,
    }
}
