//! What `/metrics` says of incidents. Pools that have had none have no histograms: thousands of pools would pay for them.

use super::page::{Labels, Page};
use crate::metrics::family::{self, Family};
use crate::pool::incidents::{Figures, Incidents, Spread};
use crate::route::Table;

pub(super) fn write(incidents: &Incidents, table: &Table, page: &mut Page) {
    let list = incidents.list();
    let mut lines = page.family(&family::INCIDENTS_OPEN);
    for pool in &table.pools {
        let of_pool = list.iter().filter(|it| it.incident.pool == pool.config.name && it.incident.ended.is_none());
        lines.add(&Labels::of("pool", &pool.config.name), of_pool.count() as f64);
    }
    let figures: Vec<(Labels, Figures)> = incidents
        .figures()
        .into_iter()
        .map(|(pool, origin, figures)| (Labels::of("pool", &pool).and("origin", origin.word()), figures))
        .collect();
    let mut lines = page.family(&family::INCIDENTS);
    for (labels, it) in &figures {
        lines.add(labels, it.begun as f64);
    }
    #[expect(clippy::type_complexity, reason = "a table that is read on the spot")]
    let spreads: [(&Family, fn(&Figures) -> &Spread); 3] = [
        (&family::INCIDENT_DETECTION, |it| &it.detection),
        (&family::INCIDENT_ROTATION, |it| &it.rotation),
        (&family::INCIDENT_DURATION, |it| &it.duration),
    ];
    for (family, spread) in spreads {
        let mut lines = page.family(family);
        for (labels, it) in &figures {
            let spread = spread(it);
            lines.buckets(labels, spread.bounds_micros, &spread.counts, spread.sum.as_secs_f64(), |_| None);
        }
    }
    let mut lines = page.family(&family::INCIDENT_REQUESTS);
    for (labels, it) in &figures {
        lines.with(labels, "result", "failed", it.toll.failed as f64);
        lines.with(labels, "result", "retried", it.toll.retried as f64);
        lines.with(labels, "result", "held", it.toll.held as f64);
    }
    let mut lines = page.family(&family::INCIDENT_CUT);
    for (labels, it) in &figures {
        lines.add(labels, it.toll.cut as f64);
    }
}
