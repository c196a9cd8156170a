//! What a proxy in front says of whom it speaks for: who the client is, and what it asked.
//!
//! Whether it is believed is for the listener to say; called by `understand` for proxies that are trusted.
//!
//! Hot path: no allocation, no lock, no formatting.

use std::net::{IpAddr, SocketAddr};

use super::Request;

impl<'b> Request<'b> {
    /// What a proxy that is trusted says of whom it speaks for. Each proxy in turn says who came to it, the last one at
    /// the end: the client is the last one who is no trusted proxy himself.
    pub fn forwarded(&self, is_trusted: impl Fn(IpAddr) -> bool) -> Forwarded<'b> {
        let named = |name: &'static str| self.fields.iter().rev().filter(move |it| it.name.eq_ignore_ascii_case(name));
        let mut client = None;
        let chain = named("x-forwarded-for").flat_map(|list| list.value.rsplit(|byte| *byte == b','));
        for said in chain {
            let Some(address) = address(said.trim_ascii()) else { break };
            client = Some(address);
            if !is_trusted(address) {
                break;
            }
        }
        let last = |name| named(name).map(|field| field.value.trim_ascii()).next();
        let scheme = last("x-forwarded-proto").and_then(|said| {
            let known: [&'static [u8]; 2] = [b"http", b"https"];
            known.into_iter().find(|scheme| scheme.eq_ignore_ascii_case(said))
        });
        Forwarded { client, scheme, host: last("x-forwarded-host").filter(|host| !host.is_empty()) }
    }
}

/// What a proxy in front says of whom it speaks for.
#[derive(Debug)]
pub struct Forwarded<'a> {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: Option<&'static [u8]>,
    /// The host that it was asked for.
    pub host: Option<&'a [u8]>,
}

/// An address, with a port or without, an IPv6 one in brackets or without.
fn address(said: &[u8]) -> Option<IpAddr> {
    let said = std::str::from_utf8(said).ok()?;
    let bare = said.parse().ok();
    let address: IpAddr = bare.or_else(|| said.parse().ok().map(|socket: SocketAddr| socket.ip())).or_else(|| {
        let inside = said.strip_prefix('[')?.strip_suffix(']')?;
        inside.parse().ok()
    })?;
    Some(address.to_canonical())
}
