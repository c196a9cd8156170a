//! Upgrades in pools of HTTP/2: a WebSocket goes over a stream where the backend takes that (RFC 8441); all else goes by
//! HTTP/1.1, over a connection of its own.
//!
//! Called by `asking` for requests that offer to change protocols. What follows an upgrade is no HTTP, so the connection
//! is never used again.

use std::time::Duration;

use super::http2::links;
use super::upload::Trouble;
use crate::config::model::HttpVersion;
use crate::net::stream::Stream;
use crate::net::wheel::Timer;
use crate::pool::Lease;
use crate::proxy::attempt::{self, Search};
use crate::proxy::outcome::Cause;

/// The way to the leased backend for the upgrade that this head asks for; and how long the connecting took.
///
/// # Errors
/// Why there is none.
pub(super) async fn open(
    search: &Search<'_>,
    lease: &Lease,
    deadline: Duration,
    timer: &Timer,
    head: &[u8],
) -> Result<(Stream, Duration), Cause> {
    let is_websocket = asks_for_websocket(head);
    if is_websocket {
        // The backend says what it takes on a connection of HTTP/2 alone; that one stays for all other requests.
        let opened = links::open(search.worker, search, lease, deadline, timer).await?;
        if search.worker.links.takes_tunnels(lease.backend()) {
            return Ok(opened);
        }
    }
    let opened = attempt::open(search, lease, deadline, timer, HttpVersion::V1_1).await;
    opened.map_err(|cause| match cause {
        // TLS has just been agreed on for HTTP/2: it is the other version that the backend does not want.
        Cause::TlsFailed if is_websocket => Cause::NoUpgrade,
        other => other,
    })
}

/// What it means that an upgrade by HTTP/1.1 got no answer, or none that is one: a backend that speaks HTTP/2 alone takes
/// it for an invalid preface (RFC 9113, section 3.4).
pub(super) fn judge(search: &Search<'_>, by: &Stream, trouble: Trouble) -> Trouble {
    let is_other_version = search.pool().config.http == HttpVersion::V2 && !by.is_carried();
    match trouble {
        Trouble::Backend(Cause::ResetBeforeAnswer | Cause::BadAnswer) if is_other_version => {
            Trouble::Backend(Cause::NoUpgrade)
        }
        other => other,
    }
}

/// Whether the head that `bytes` begin with, as this program has written it, asks for a WebSocket and nothing else.
fn asks_for_websocket(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r");
    lines.any(|line| line.eq_ignore_ascii_case(b"upgrade: websocket\r"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_websocket_is_one() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: TLS/1.3\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nUpgrade: TLS/1.3\r\n\r\nx\r\nUpgrade: websocket\r\n", false),
            ("GET / HTTP/1.1\r\nX-Upgrade: websocket\r\n\r\n", false),
        ] {
            assert_eq!(asks_for_websocket(head.as_bytes()), expected, "{head}");
        }
    }
}
