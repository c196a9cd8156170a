//! `mirror = "NAME"` or `{ … }`: who gets copies of requests, of how many, and how much may be under way.

use std::sync::Arc;

use super::super::super::model::Mirror;
use super::super::super::problem::Problem;
use super::super::super::section::Section;
use super::super::super::tree::Value;
use super::super::super::units;
use super::super::super::vocabulary::MIRROR;
use super::super::{Pools, nonzero};

/// Longest body that is copied where nothing is said: that of nearly every form and call.
const BODY: u64 = 64 * 1024;

/// What is longer is no request of an interactive kind, and held in memory.
const BODY_MAX: u64 = 16 << 20;

/// Copies at once where nothing is said.
const IN_FLIGHT: u32 = 100;

/// More would be a second balancer's work.
const IN_FLIGHT_MAX: i64 = 100_000;

const MILLION: u32 = 1_000_000;

/// The copies; `None` where they are switched off.
pub(super) fn mirror(section: &Section<'_>, pools: &Pools<'_>) -> Option<Arc<Mirror>> {
    if section.is_off("mirror") {
        return None;
    }
    if let Some(entry) = section.table.get("mirror").filter(|_| section.has("respond") || section.has("redirect")) {
        section.cx.report(
            Problem::warning("no-effect", entry.key_at, "`mirror` has no effect on the balancer's own answers")
                .label("nothing is forwarded here")
                .help("take it out, or send these requests to a pool"),
        );
    }
    let usual =
        |pool| Mirror { pool, share_millionths: MILLION, body_bytes: BODY as u32, in_flight: nonzero(IN_FLIGHT) };
    let entry = section.entry("mirror")?;
    match entry.node.value {
        Value::Table(_) => {}
        Value::String(_) => return pools.find(section, "mirror").map(|pool| Arc::new(usual(pool))),
        _ => {
            section.wrong_type(&entry.node, "mirror", "the name of a pool", "write mirror = \"NAME\"");
            return None;
        }
    }
    let inner = section.section("mirror", &MIRROR)?;
    if !inner.has("pool") {
        inner.missing("pool", "write mirror = { pool = \"NAME\" }: the pool that gets the copies");
    }
    let share = if inner.has("share") { share(&inner) } else { Some(MILLION) };
    let body = inner.size("body_max", 0..=BODY_MAX).unwrap_or(BODY);
    let in_flight = inner.integer("in_flight_max", 1..=IN_FLIGHT_MAX);
    let in_flight = in_flight.map_or(IN_FLIGHT, |number| u32::try_from(number).unwrap_or(u32::MAX));
    let mirror = usual(pools.find(&inner, "pool")?);
    Some(Arc::new(Mirror {
        share_millionths: share?,
        body_bytes: u32::try_from(body).unwrap_or(u32::MAX),
        in_flight: nonzero(in_flight),
        ..mirror
    }))
}

/// `"10%"`, or 10 for the same; in millionths.
#[expect(clippy::cast_sign_loss, reason = "from 0 to 1, or to 100")]
fn share(inner: &Section<'_>) -> Option<u32> {
    let node = &inner.entry("share")?.node;
    match node.value {
        Value::Integer(_) => inner.integer("share", 0..=100).map(|percent| percent as u32 * (MILLION / 100)),
        Value::String(_) => inner.parsed("share", units::share).map(|share| (share * MILLION as f32).round() as u32),
        _ => {
            inner.wrong_type(node, "share", "a percentage", "write \"10%\", or 10 for the same");
            None
        }
    }
}
