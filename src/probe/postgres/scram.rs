//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side. PURE but for the nonce that it is given.
//!
//! The server must prove that it knows the password, too. Hashing the password thousands of times is what the method is
//! about; the result depends on salt and count alone and is kept ([`Keys`]), as the RFC allows.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::num::NonZeroU32;

/// The method's name.
pub(super) const METHOD: &str = "SCRAM-SHA-256";
/// A server that wants more rounds would keep a processor busy with every probe; `PostgreSQL`'s own number is 4096.
const ROUNDS_MAX: u32 = 200_000;
/// Without channel binding.
const HEADER: &str = "n,,";

/// What salt and count make of the password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    salt: Vec<u8>,
    rounds: NonZeroU32,
    salted: [u8; 32],
}

/// The server's first word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    nonce: String,
    salt: Vec<u8>,
    rounds: NonZeroU32,
    whole: String,
}

/// The client's second word, and what the server must answer.
pub(super) struct Proof {
    /// To be sent.
    pub(super) message: String,
    key: hmac::Key,
    signed: String,
}

/// Our first word.
pub(super) fn begin(nonce: &str) -> String {
    format!("{HEADER}{}", bare(nonce))
}

/// The name is empty: `PostgreSQL` takes the one of the startup message.
fn bare(nonce: &str) -> String {
    format!("n=,r={nonce}")
}

impl Challenge {
    /// The answer to [`begin`] with this nonce.
    pub(super) fn parse(bytes: &[u8], nonce: &str) -> Result<Self, String> {
        let whole = std::str::from_utf8(bytes).map_err(|_not_text| "the challenge is no text".to_owned())?;
        let mut parts = whole.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let (theirs, salt, rounds) = (part("r="), part("s="), part("i="));
        let (Some(theirs), Some(salt), Some(rounds)) = (theirs, salt, rounds) else {
            return Err("the challenge lacks a part".to_owned());
        };
        if theirs.len() <= nonce.len() || !theirs.starts_with(nonce) {
            return Err("the challenge is not for us".to_owned());
        }
        let salt = BASE64.decode(salt).map_err(|_invalid| "the salt of the challenge is none".to_owned())?;
        let rounds: NonZeroU32 = rounds.parse().map_err(|_invalid| "the count of the challenge is none".to_owned())?;
        if rounds.get() > ROUNDS_MAX {
            return Err(format!("it wants {rounds} rounds of hashing, and a probe does {ROUNDS_MAX} at most"));
        }
        Ok(Self { nonce: theirs.to_owned(), salt, rounds, whole: whole.to_owned() })
    }

    /// Whether these keys answer it.
    pub(super) fn fits(&self, keys: &Keys) -> bool {
        keys.salt == self.salt && keys.rounds == self.rounds
    }

    /// Hashes the password; this takes a while. A password beyond ASCII is taken as it stands: its usual, composed form
    /// is what RFC 4013 makes of it.
    pub(super) fn keys(&self, password: &str) -> Keys {
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, self.rounds, &self.salt, password.as_bytes(), &mut salted);
        Keys { salt: self.salt.clone(), rounds: self.rounds, salted }
    }

    /// Our second word.
    pub(super) fn answer(&self, keys: &Keys, nonce: &str) -> Proof {
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let bound = format!("c={},r={}", BASE64.encode(HEADER), self.nonce);
        let signed = format!("{},{},{bound}", bare(nonce), self.whole);
        let client_key = sign(&keys.salted, b"Client Key");
        let stored_key = digest(&SHA256, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = sign(&keys.salted, b"Server Key");
        Proof {
            message: format!("{bound},p={}", BASE64.encode(proof)),
            key: hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()),
            signed,
        }
    }
}

impl Proof {
    /// Whether the server's last word proves that it knows the password.
    pub(super) fn is_answered_by(&self, last: &[u8]) -> bool {
        let signature = last.strip_prefix(b"v=").map(|rest| rest.split(|byte| *byte == b',').next().unwrap_or(rest));
        let signature = signature.and_then(|signature| BASE64.decode(signature).ok());
        signature.is_some_and(|signature| hmac::verify(&self.key, self.signed.as_bytes(), &signature).is_ok())
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7677, section 3; there the client sends a name, which goes into what is signed.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn the_hashed_password_is_the_one_of_the_standard() {
        let challenge = Challenge::parse(FIRST.as_bytes(), NONCE).unwrap();
        let keys = challenge.keys("pencil");
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let bound = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signed = format!("n=user,r={NONCE},{FIRST},{bound}");
        let client_key = sign(&keys.salted, b"Client Key");
        let stored_key = digest(&SHA256, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        assert_eq!(BASE64.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let server_key = sign(&keys.salted, b"Server Key");
        let last = sign(server_key.as_ref(), signed.as_bytes());
        assert_eq!(BASE64.encode(last), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(challenge.answer(&keys, NONCE).message.starts_with(&format!("{bound},p=")));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let challenge = Challenge::parse(FIRST.as_bytes(), NONCE).unwrap();
        let proof = challenge.answer(&challenge.keys("pencil"), NONCE);
        let signature = BASE64.encode(hmac::sign(&proof.key, proof.signed.as_bytes()));
        assert!(proof.is_answered_by(format!("v={signature}").as_bytes()));
        assert!(proof.is_answered_by(format!("v={signature},x=later").as_bytes()));
        for wrong in ["", "v=", "v=!", "e=other-error", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="] {
            assert!(!proof.is_answered_by(wrong.as_bytes()), "{wrong}");
        }
        let other = Challenge::parse(FIRST.replace("W22Z", "W22a").as_bytes(), NONCE).unwrap();
        assert!(challenge.fits(&challenge.keys("x")) && !other.fits(&challenge.keys("x")));
    }

    #[test]
    fn challenges_are_read_strictly() {
        let rows = [
            ("", "lacks"),
            ("r=abcdef,s=AAAA", "lacks"),
            ("s=AAAA,r=abcdef,i=1", "lacks"),
            ("r=abc,s=AAAA,i=1", "not for us"),
            ("r=xyzdef,s=AAAA,i=1", "not for us"),
            ("r=abcdef,s=?,i=1", "salt"),
            ("r=abcdef,s=AAAA,i=0", "count"),
            ("r=abcdef,s=AAAA,i=-1", "count"),
            ("r=abcdef,s=AAAA,i=999999999", "rounds"),
        ];
        for (text, words) in rows {
            let why = Challenge::parse(text.as_bytes(), "abc").unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
        assert!(Challenge::parse(b"r=abcdef,s=AAAA,i=1\xff", "abc").is_err());
        assert!(Challenge::parse(b"r=abcdef,s=AAAA,i=1,x=later", "abc").is_ok());
        for cut in 0..FIRST.len() - 4 {
            assert!(Challenge::parse(&FIRST.as_bytes()[..cut], NONCE).is_err(), "{cut}");
        }
    }
}
