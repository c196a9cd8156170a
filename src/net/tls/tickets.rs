//! Tickets by which clients take up sessions again, made with keys from a file: whoever has the same file takes them, and
//! a balancer that is started anew takes those of before.
//!
//! A ticket is the name of its key (16 bytes), a nonce (12 bytes), and the session, sealed by AES-256-GCM-SIV: with random
//! nonces, one key is good for more tickets than any site gives out. The first key seals, all of them open.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use rustls::server::ProducesTickets;

use crate::config::model::TicketKey;

/// How long clients are told that a ticket is good for; in truth, as long as its key is in the file.
const LIFETIME_SECONDS: u32 = 12 * 60 * 60;

const NAME_LEN: usize = 16;

/// What is derived from one key of the file.
struct Key {
    name: [u8; NAME_LEN],
    seal: LessSafeKey,
}

/// Seals and opens tickets.
struct Tickets {
    /// The one that seals.
    first: Key,
    others: Vec<Key>,
}

/// # Errors
/// A sentence: there are no keys, which loading the configuration excludes.
pub(super) fn by_keys(keys: &[TicketKey]) -> Result<Arc<dyn ProducesTickets>, String> {
    let mut keys = keys.iter().map(Key::derived).collect::<Result<Vec<_>, _>>()?.into_iter();
    let first = keys.next().ok_or("there is no key for tickets")?;
    Ok(Arc::new(Tickets { first, others: keys.collect() }))
}

impl Key {
    fn derived(key: &TicketKey) -> Result<Self, String> {
        let master = hmac::Key::new(hmac::HMAC_SHA256, key.bytes());
        let part = |what: &[u8]| hmac::sign(&master, what);
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(&part(b"evenkeel ticket name").as_ref()[..NAME_LEN]);
        let seal = UnboundKey::new(&AES_256_GCM_SIV, part(b"evenkeel ticket key").as_ref());
        Ok(Self { name, seal: LessSafeKey::new(seal.map_err(|_odd| "a key for tickets cannot be used")?) })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_SECONDS
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let name = &self.first.name;
        let mut sealed = session.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.first.seal.seal_in_place_append_tag(nonce_used, Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        // The name is no secret: which key it is may show.
        let key = std::iter::once(&self.first).chain(&self.others).find(|key| key.name == *name)?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.seal.open_in_place(nonce, Aad::from(name), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tickets(of {} keys)", 1 + self.others.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> TicketKey {
        TicketKey::new(&[byte; 80])
    }

    #[test]
    fn the_first_key_seals_and_all_of_them_open() {
        let [old, new, both, rotated] = [vec![key(1)], vec![key(2)], vec![key(1), key(2)], vec![key(2), key(1)]]
            .map(|keys| by_keys(&keys).unwrap());
        let ticket = old.encrypt(b"a session").unwrap();
        for (who, opens) in [(&old, true), (&both, true), (&rotated, true), (&new, false)] {
            assert_eq!(who.decrypt(&ticket).as_deref(), opens.then_some(&b"a session"[..]), "{who:?}");
        }
        assert!(old.decrypt(&rotated.encrypt(b"x").unwrap()).is_none(), "sealed by the first one");
        assert_ne!(old.encrypt(b"x"), old.encrypt(b"x"));
        assert!(by_keys(&[]).is_err());
    }

    #[test]
    fn no_bent_or_cut_ticket_is_opened() {
        let tickets = by_keys(&[key(1)]).unwrap();
        let good = tickets.encrypt(b"a session").unwrap();
        for at in 0..good.len() {
            assert_eq!(tickets.decrypt(&good[..at]), None, "cut at {at}");
            let mut bent = good.clone();
            bent[at] ^= 1;
            assert_eq!(tickets.decrypt(&bent), None, "bent at {at}");
        }
    }
}
