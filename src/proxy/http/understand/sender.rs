//! Who sends a request, and what a backend is told of it.

use std::net::IpAddr;

use crate::config::model::{NO_ADDRESS, Told};
use crate::net::stream::Stream;
use crate::proxy::http::http1::request::{Forwarded, Proof, Request};
use crate::proxy::worker::Worker;
use crate::route::Listener;

/// What the other side says of whom it speaks for, where it is a proxy that is trusted.
#[inline]
pub(super) fn forwarded<'b>(listener: &Listener, peer: IpAddr, request: &Request<'b>) -> Forwarded<'b> {
    if trusts(listener, peer) {
        request.forwarded(|address| trusts(listener, address))
    } else {
        Forwarded { client: None, scheme: None, host: None }
    }
}

/// Whether it is a proxy that is trusted.
#[inline]
pub(super) fn trusts(listener: &Listener, address: IpAddr) -> bool {
    listener.config.trusted_proxies.iter().any(|network| network.contains(&address))
}

/// What the backend is told of the client's certificate.
#[inline]
pub(super) fn proof<'c>(listener: &Listener, client: &'c Stream) -> Proof<'c> {
    let clients = listener.config.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    match clients.map(|clients| clients.told) {
        Some(Told::Headers) => {
            client.client_certificate().map_or(Proof::None, |certificate| Proof::Certificate(certificate))
        }
        _ => Proof::Untold,
    }
}

/// An address for X-Forwarded-For; nothing of who came by a unix socket: a word instead of an address would only trip
/// who reads it.
pub(in crate::proxy::http) fn written(client: IpAddr) -> Box<str> {
    if client == NO_ADDRESS { Box::default() } else { client.to_string().into() }
}

/// 128 random bits in hexadecimal digits.
pub(in crate::proxy) fn identity<'a>(worker: &Worker, room: &'a mut [u8; 32]) -> &'a [u8] {
    for half in room.chunks_exact_mut(16) {
        let bits = worker.random();
        half[..8].copy_from_slice(&digits(bits as u32));
        half[8..].copy_from_slice(&digits((bits >> 32) as u32));
    }
    room
}

/// Eight hexadecimal digits, all at once: each four bits get a byte of a word, which becomes a digit or a letter.
fn digits(bits: u32) -> [u8; 8] {
    let mut spread = u64::from(bits);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // Ten and more carry into the upper half of their byte when six is added.
    let letters = ((spread + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bits_become_a_digit_each() {
        assert_eq!(&digits(0x7654_3210), b"01234567");
        assert_eq!(&digits(0xfedc_ba98), b"89abcdef");
    }
}
