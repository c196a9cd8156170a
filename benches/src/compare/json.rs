//! The report of `compare` for machines.

use serde_json::{Map, Value, json};

use super::measure::Row;
use super::text::is_readable;
use super::{Report, SUBJECT};
use crate::report::Spread;

impl Report<'_> {
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row(row)).collect();
        let versions: Vec<Value> = (self.peers.iter().skip(SUBJECT))
            .map(|peer| json!({ "peer": peer.name, "version": peer.version }))
            .collect();
        let sections: Map<String, Value> =
            self.sections.iter().map(|section| (section.name.to_owned(), section.json.clone())).collect();
        json!({
            "rounds": self.rounds,
            "seconds": self.time.as_secs_f64(),
            "stolen": self.stolen,
            "versions": versions,
            "missing": self.missing,
            "work": rows,
            "further": sections,
        })
    }

    fn row(&self, row: &Row) -> Value {
        let of_peers: Vec<Value> = (SUBJECT..self.peers.len())
            .map(|peer| {
                let other = peer != SUBJECT;
                json!({
                    "peer": self.peers[peer].name,
                    "cpu_micros": row.median(peer, |sample| sample.cpu_micros),
                    "p50_micros": row.median(peer, |sample| sample.p50_micros),
                    "p99_micros": row.median(peer, |sample| sample.p99_micros),
                    "p999_micros": row.median(peer, |sample| sample.p999_micros),
                    "rate": row.median(peer, |sample| sample.rate),
                    "own_rate": row.own_rate(peer),
                    "full_speed": row.full_speed[peer],
                    "ratio": spread(row.ratio(peer, |sample| sample.cpu_micros).filter(|_| other)),
                    "p99_ratio": spread(row.ratio(peer, |sample| sample.p99_micros).filter(|_| other)),
                })
            })
            .collect();
        json!({
            "kind": row.kind.name,
            "unit": row.kind.unit,
            "rate": row.rate,
            "direct": row.direct,
            "readable": is_readable(row),
            "control": spread(row.control()),
            "load_busy": row.busiest_load(),
            "failed": row.failed,
            "peers": of_peers,
        })
    }
}

pub fn spread(spread: Option<Spread>) -> Option<Value> {
    spread.map(|s| json!({ "median": s.median, "least": s.least, "most": s.most }))
}
