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
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for half in 0..2 {
        let mut bits = worker.random();
        for place in &mut room[half * 16..half * 16 + 16] {
            *place = DIGITS[(bits & 15) as usize];
            bits >>= 4;
        }
    }
    room
}
