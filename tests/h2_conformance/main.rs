//! The balancer as an HTTP/2 server, held to the 146 subjects that h2spec, the public conformance tool, asks of one.
//!
//! The subjects are h2spec's, as it counts them with its strict ones; rows, words and frames are ours. Where h2spec
//! lets a closed connection pass for any error, a row here wants the error's code as well, and after an error of one
//! stream a connection that goes on. Sections are those of RFC 9113 and 7541, which say the rule today; a row whose
//! rule stands in RFC 7540 only, says so.

#[path = "../support/mod.rs"]
mod support;

mod connection;
mod frames;
mod generic;
mod hpack;
mod messages;
mod row;
mod streams;

use std::collections::BTreeSet;
use std::sync::Arc;

use row::Row;
use support::h2::Raw;
use support::tls::Authority;
use support::{Balancer, Origin};

/// Streams that a client may have open here.
const STREAMS: u32 = 8;
/// What is served at `/`: longer than the windows that rows allow for.
const CONTENT: &str = "conformance";

/// The balancer in front of an origin of HTTP/1.1, and a way to connect.
struct Scene {
    origin: Origin,
    lb: Balancer,
    tls: Option<(Authority, Arc<rustls::ClientConfig>)>,
}

impl Scene {
    fn new(listener: &str, tls: Option<Authority>) -> Self {
        let stalls = Origin::http().stalls_before_answer();
        let origin = Origin::http().reply(CONTENT).at("/stalls", stalls).start();
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{listener}\n\
             [listener.web.limits]\nstreams = {STREAMS}\n[pool.p]\nbackends = ['{}']",
            origin.addr()
        ));
        let tls = tls.map(|authority| {
            let client = authority.client();
            (authority, client)
        });
        Self { origin, lb, tls }
    }

    fn clear(http: &str) -> Self {
        Self::new(&format!("http = {http}"), None)
    }

    fn tls() -> Self {
        let authority = Authority::new("CA");
        let certificate = authority.issue("web", &["web.example.com"]);
        Self::new(&format!("tls = {{ certificates = [{certificate}] }}"), Some(authority))
    }

    fn open(&self) -> Raw {
        let address = self.lb.addr("web");
        match &self.tls {
            Some((_, client)) => Raw::silent_tls(address, "web.example.com", client),
            None => Raw::silent(address),
        }
    }

    /// Runs all rows at once, each on a connection of its own, and then asks whether anything has suffered.
    #[track_caller]
    fn holds(&self, rows: &[Row]) {
        let faults: Vec<String> = std::thread::scope(|scope| {
            let runs: Vec<_> = rows.iter().map(|row| (row.id, scope.spawn(|| row.run(self)))).collect();
            let ended = runs.into_iter().map(|(id, run)| run.join().unwrap_or_else(|_| Err(format!("{id}: panicked"))));
            ended.filter_map(Result::err).collect()
        });
        assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
    }
}

fn all() -> Vec<Row> {
    let rooms = [generic::rows(), connection::rows(), streams::rows(), frames::rows(), messages::rows(), hpack::rows()];
    rooms.into_iter().flatten().collect()
}

/// Subjects of h2spec by suite and section.
const ASKED: &[(&str, usize)] = &[
    ("generic/1", 1),
    ("generic/2", 5),
    ("generic/3.1", 3),
    ("generic/3.2", 3),
    ("generic/3.3", 5),
    ("generic/3.4", 1),
    ("generic/3.5", 1),
    ("generic/3.7", 1),
    ("generic/3.8", 1),
    ("generic/3.9", 2),
    ("generic/3.10", 2),
    ("generic/4", 4),
    ("generic/5", 15),
    ("http2/3.5", 2),
    ("http2/4.1", 3),
    ("http2/4.2", 3),
    ("http2/4.3", 3),
    ("http2/5.1", 13),
    ("http2/5.1.1", 2),
    ("http2/5.1.2", 1),
    ("http2/5.3.1", 2),
    ("http2/5.4.1", 2),
    ("http2/5.5", 2),
    ("http2/6.1", 3),
    ("http2/6.2", 4),
    ("http2/6.3", 2),
    ("http2/6.4", 3),
    ("http2/6.5", 3),
    ("http2/6.5.2", 5),
    ("http2/6.5.3", 2),
    ("http2/6.7", 4),
    ("http2/6.8", 1),
    ("http2/6.9", 3),
    ("http2/6.9.1", 3),
    ("http2/6.9.2", 3),
    ("http2/6.10", 6),
    ("http2/7", 2),
    ("http2/8.1", 1),
    ("http2/8.1.2", 1),
    ("http2/8.1.2.1", 4),
    ("http2/8.1.2.2", 2),
    ("http2/8.1.2.3", 7),
    ("http2/8.1.2.6", 2),
    ("http2/8.2", 1),
    ("hpack/2.3.3", 1),
    ("hpack/4.2", 1),
    ("hpack/5.2", 3),
    ("hpack/6.1", 1),
    ("hpack/6.3", 1),
];

#[test]
fn every_subject_has_its_row() {
    let rows = all();
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for (section, count) in ASKED {
        missing.extend((1..=*count).map(|number| format!("{section}/{number}")));
    }
    assert_eq!(missing.len(), 146);
    for row in &rows {
        assert!(missing.remove(row.id), "{} is no subject, or has two rows", row.id);
    }
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_a_client_may_do_is_served() {
    Scene::clear("['1.1', '2']").holds(&generic::rows());
}

#[test]
fn a_connection_begins_frames_and_ends_as_it_must() {
    Scene::clear("['1.1', '2']").holds(&connection::rows());
}

#[test]
fn streams_have_the_states_that_they_must_have() {
    Scene::clear("['1.1', '2']").holds(&streams::rows());
}

#[test]
fn frames_are_what_they_must_be() {
    Scene::clear("['1.1', '2']").holds(&frames::rows());
}

#[test]
fn requests_are_what_they_must_be() {
    Scene::clear("['1.1', '2']").holds(&messages::rows());
}

#[test]
fn fields_are_packed_as_they_must_be() {
    Scene::clear("['1.1', '2']").holds(&hpack::rows());
}

#[test]
fn all_of_it_holds_where_a_listener_speaks_nothing_else() {
    Scene::clear("'2'").holds(&all());
}

#[test]
fn all_of_it_holds_over_tls() {
    Scene::tls().holds(&all());
}
