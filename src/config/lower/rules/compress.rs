//! `compress = true` or `{ … }`: which answers are made smaller on their way, and how.

use std::sync::Arc;

use super::super::super::model::{Coding, Compress};
use super::super::super::section::{Choice, Section};
use super::super::super::tree::Value;
use super::super::super::units::Fault;
use super::super::super::vocabulary::COMPRESS;

/// What shrinks; images, films and archives are as small as they get.
const TYPES: &[&str] = &[
    "text/html",
    "text/css",
    "text/plain",
    "text/csv",
    "text/xml",
    "text/javascript",
    "application/javascript",
    "application/json",
    "application/manifest+json",
    "application/wasm",
    "application/xml",
    "application/xhtml+xml",
    "image/svg+xml",
];

/// Shorter than this, an answer leaves in one packet anyway.
const MIN: u64 = 1024;

const CODINGS: &[Coding] = &[Coding::Zstd, Coding::Brotli, Coding::Gzip];

const WITH: Choice<Coding> = Choice {
    words: &[("zstd", Coding::Zstd), ("br", Coding::Brotli), ("gzip", Coding::Gzip)],
    foreign: &[("brotli", "br"), ("zst", "zstd"), ("gz", "gzip"), ("x-gzip", "gzip"), ("deflate", "gzip")],
    later: &[],
};

/// What is compressed; `None` where nothing is.
pub(super) fn compress(section: &Section<'_>) -> Option<Arc<Compress>> {
    let usual = || TYPES.iter().map(|name| Arc::from(*name)).collect();
    let entry = section.entry("compress")?;
    if let Value::Boolean(on) = entry.node.value {
        return on.then(|| Arc::new(Compress { types: usual(), min_bytes: MIN, with: CODINGS.to_vec() }));
    }
    let inner = section.section("compress", &COMPRESS)?;
    let types = inner.parsed_list("types", media_type);
    let with = inner.parsed_list("with", |text| WITH.find("with", text));
    Some(Arc::new(Compress {
        types: types.map_or_else(usual, |types| types.into_iter().map(|(name, _)| name).collect()),
        min_bytes: inner.size("min", 1..=u64::MAX).unwrap_or(MIN),
        with: with.map_or_else(|| CODINGS.to_vec(), |with| with.into_iter().map(|(coding, _)| coding).collect()),
    }))
}

/// `text/html`, or `text/*`.
fn media_type(text: &str) -> Result<Arc<str>, Fault> {
    let fault = |label: &str| Fault::new("media-type", format!("`{text}` is not a media type"), label);
    let good = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let lower = text.to_ascii_lowercase();
    match lower.split_once('/') {
        Some((kind, "*")) if good(kind) => Ok(format!("{kind}/").into()),
        Some((kind, name)) if good(kind) && good(name) => Ok(lower.into()),
        Some((_, rest)) if rest.contains(';') => {
            Err(fault("parameters do not matter").help("leave out what stands from `;` on"))
        }
        _ => Err(fault("a kind, a slash and a name").help("write \"text/html\", or \"text/*\" for all of a kind")),
    }
}
