//! What an answer says so that its client stays: `sticky` of pools with HTTP.
//!
//! Called by `understand` with the head in hand, and by `asking` when an answer has come. Requests of pools without
//! `sticky` never come here.

use std::net::IpAddr;

use super::http1::answer::Answer;
use super::http1::edits::Edits;
use super::http1::request::Request;
use crate::pool::sticky::{Channel, Known, Stay, Stick, Sticky, octets};
use crate::pool::{Backend, Pool};

/// What a request says of where it belongs.
#[derive(Debug)]
pub(super) struct Belongs {
    /// How its client has come.
    channel: Channel,
    /// What it is known by, where that is remembered.
    value: Option<Box<[u8]>>,
}

impl Belongs {
    /// Looks into a request; where it belongs, too.
    pub(super) fn of(sticky: &Sticky, request: &Request<'_>, client: IpAddr, channel: Channel) -> (Self, Stick) {
        let address = octets(client);
        let value = match sticky.known_by() {
            Known::Cookie(name) => request.cookie(name),
            Known::Header(name) => request.header(name),
            Known::Source => Some(&address[..]),
        };
        let stick = value.map_or(Stick::Free, |value| sticky.find(value));
        (Self { channel, value: value.filter(|_| sticky.is_learned()).map(Box::from) }, stick)
    }

    /// Counts where it was served, and makes its client stay there.
    #[cold]
    pub(super) fn settle(
        &self,
        pool: &Pool,
        sticky: &Sticky,
        stick: Stick,
        backend: &Backend,
        answer: &Answer<'_>,
        edits: &mut Option<Edits>,
    ) {
        let stay = pool.stay(stick, backend);
        pool.stats.mine().sticky[stay as usize].inc();
        if let Some(value) = sticky.application_cookie().and_then(|name| cookie_set(answer, name)) {
            sticky.learn(value, backend);
        } else if stay != Stay::Kept {
            self.value.iter().for_each(|value| sticky.learn(value, backend));
        }
        if stay != Stay::Kept {
            let lines = sticky.lines(backend, self.channel);
            if !lines.is_empty() {
                edits.get_or_insert_default().add_lines(lines);
            }
        }
    }
}

/// The value that an answer gives to a cookie.
fn cookie_set<'b>(answer: &Answer<'b>, name: &str) -> Option<&'b [u8]> {
    // The last one wins, as it does at the client.
    let mut lines = answer.fields.iter().rev().filter(|field| field.name.eq_ignore_ascii_case("set-cookie"));
    let value = lines.find_map(|line| {
        let pair = line.value.split(|byte| *byte == b';').next()?.trim_ascii();
        let value = pair.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?;
        Some(value.trim_ascii())
    });
    value.filter(|value| !value.is_empty())
}
