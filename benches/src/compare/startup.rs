//! From a peer's start to its first answer from a backend.

use serde_json::{Value, json};

use super::json::spread;
use super::{Length, Section};
use crate::origin::Origin;
use crate::peers::Peer;
use crate::report::{Spread, table};
use crate::work::Entry;

pub fn measure(peers: &[Peer], origin: &Origin, length: Length) -> Result<Section, String> {
    let times = if length == Length::Full { 11 } else { 3 };
    let mut rows = vec![vec!["start to first answer, ms".to_owned(), "median [least-most]".to_owned()]];
    let mut values = Vec::new();
    for peer in peers.iter().filter(|peer| peer.entry(Entry::Http).is_some()) {
        eprint!(".");
        let mut seen = Vec::new();
        for _ in 0..times {
            let started = Peer::start(&peer.name, origin)?;
            seen.push(started.started_in.as_secs_f64() * 1e3);
        }
        let Some(all) = Spread::of(seen) else { continue };
        rows.push(vec![peer.name.clone(), format!("{:.1} [{:.1}-{:.1}]", all.median, all.least, all.most)]);
        values.push(json!({ "peer": peer.name, "millis": spread(Some(all)) }));
    }
    Ok(Section { name: "startup", text: table(&rows), notes: String::new(), json: Value::from(values) })
}
