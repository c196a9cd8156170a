//! The words for how a pool spreads its work, ours and those of other programs.

use std::sync::Arc;

use crate::balance::Balance;
use crate::config::section::Choice;
use crate::config::units::Fault;

use super::super::route::header_name;

const PLAIN: Choice<u8> = Choice {
    words: &[
        ("round-robin", 0),
        ("least-requests", 1),
        ("random", 2),
        ("p2c", 3),
        ("peak-ewma", 4),
        ("source", 5),
        ("uri", 6),
        ("first", 7),
        ("header:NAME", 8),
        ("cookie:NAME", 9),
    ],
    foreign: &[
        ("roundrobin", "round-robin"),
        ("round_robin", "round-robin"),
        ("rr", "round-robin"),
        ("wrr", "round-robin"),
        ("static-rr", "round-robin"),
        ("weighted", "round-robin"),
        ("weighted_round_robin", "round-robin"),
        ("leastconn", "least-requests"),
        ("least_conn", "least-requests"),
        ("least-conn", "least-requests"),
        ("least_connections", "least-requests"),
        ("least-connections", "least-requests"),
        ("least_request", "least-requests"),
        ("least_requests", "least-requests"),
        ("leasttime", "peak-ewma"),
        ("least_time", "peak-ewma"),
        ("ewma", "peak-ewma"),
        ("ip_hash", "source"),
        ("ip-hash", "source"),
        ("source_ip", "source"),
        ("client_ip", "source"),
        ("iphash", "source"),
        ("uri_hash", "uri"),
        ("url", "uri"),
        ("path", "uri"),
        ("random_choose", "p2c"),
        ("power_of_two", "p2c"),
        ("two_choices", "p2c"),
        ("header", "write \"header:NAME\" with the name of the header"),
        ("cookie", "write \"cookie:NAME\" with the name of the cookie"),
        ("hdr", "write \"header:NAME\" with the name of the header"),
        ("failover", "first"),
        ("priority", "first"),
        ("hash", "write \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\": what is hashed"),
        ("maglev", "write \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\": what is hashed"),
        ("ring_hash", "write \"source\", \"uri\", \"header:NAME\" or \"cookie:NAME\": what is hashed"),
    ],
    later: &[],
};

/// The word for how a pool spreads its work.
pub(super) fn balance(text: &str) -> Result<Balance, Fault> {
    if let Some(name) = text.strip_prefix("header:").filter(|name| *name != "NAME") {
        return header_name(name).map(Balance::Header);
    }
    if let Some(name) = text.strip_prefix("cookie:").filter(|name| *name != "NAME") {
        let name = header_name(name).map(|_| Arc::<str>::from(name));
        return name.map(Balance::Cookie).map_err(|_not_a_token| {
            Fault::new("cookie", format!("`{text}` names no cookie"), "after the colon stands the cookie's name")
        });
    }
    Ok(match PLAIN.find("balance", text)? {
        0 => Balance::RoundRobin,
        1 => Balance::LeastRequests,
        2 => Balance::Random,
        3 => Balance::P2c,
        4 => Balance::PeakEwma,
        5 => Balance::Source,
        6 => Balance::Uri,
        7 => Balance::First,
        _ => {
            let fault = Fault::new("unknown-word", format!("`{text}` stands for a name of yours"), "a placeholder");
            return Err(fault.help("write for example \"header:X-Tenant\" or \"cookie:session\""));
        }
    })
}
