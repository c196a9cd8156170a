//! Proving a password to a server, method by method. PURE: takes what came, gives what to send.
//!
//! A handshake that breaks off counts against the balancer's address. So there is always something to send: where the
//! method cannot be served, an answer that the server refuses in good order, and [`Dialogue::trouble`] says why.

use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey};
use ed25519_dalek::VerifyingKey;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

const NATIVE: &str = "mysql_native_password";
const CACHING: &str = "caching_sha2_password";
const SHA256: &str = "sha256_password";
const ED25519: &str = "client_ed25519";
const CLEAR: &str = "mysql_clear_password";

/// Bytes of the salt of every method but [`ED25519`], which takes all 32.
const SALT: usize = 20;
/// The server's cache knows the password and takes the proof: its verdict follows.
const FAST_OK: &[u8] = &[3];
/// It does not, and wants the password itself.
const FULL: &[u8] = &[4];
/// What servers take for "no password" in the course of a method.
const NO_PASSWORD: &[u8] = &[0];

/// Whether others can read along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Plain,
    Tls,
}

/// What to send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This.
    Send(Vec<u8>),
    /// This, which is the password in clear: nobody writes it down.
    Hide(Vec<u8>),
    /// Nothing: the server goes on.
    Wait,
    /// What came belongs to no method.
    Astray,
}

/// One login under way.
#[derive(Debug)]
pub(super) struct Dialogue<'a> {
    password: &'a str,
    channel: Channel,
    /// The server's key (DER), where the configuration names one.
    key: Option<&'a [u8]>,
    method: String,
    salt: Vec<u8>,
    trouble: Option<String>,
}

impl<'a> Dialogue<'a> {
    /// A login by the method that the server proposes, or by the one that all servers know of.
    pub(super) fn new(password: &'a str, channel: Channel, key: Option<&'a [u8]>, proposed: &str, salt: &[u8]) -> Self {
        let method = if [NATIVE, CACHING].contains(&proposed) { proposed } else { NATIVE };
        Self { password, channel, key, method: method.to_owned(), salt: salt.to_vec(), trouble: None }
    }

    /// The method that is spoken now.
    pub(super) fn method(&self) -> &str {
        &self.method
    }

    /// Why the method could not be served, where that is so.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The proof that goes along with the login itself.
    pub(super) fn first(&self) -> Vec<u8> {
        match self.method.as_str() {
            CACHING => scramble_sha256(self.password, self.short_salt()),
            _ => scramble_sha1(self.password, self.short_salt()),
        }
    }

    /// The server wants another method.
    pub(super) fn switch(&mut self, method: &str, salt: &[u8]) -> Next {
        method.clone_into(&mut self.method);
        salt.clone_into(&mut self.salt);
        match method {
            NATIVE => Next::Send(scramble_sha1(self.password, self.short_salt())),
            CACHING | SHA256 | CLEAR if self.password.is_empty() => Next::Send(NO_PASSWORD.to_vec()),
            CACHING => Next::Send(scramble_sha256(self.password, self.short_salt())),
            SHA256 => self.give_password(1),
            CLEAR if self.channel == Channel::Tls => Next::Hide(self.in_clear()),
            CLEAR => self.give_up("its method mysql_clear_password needs TLS: set tls = true"),
            ED25519 => Next::Send(sign(self.password, salt).to_vec()),
            other => {
                let remedy = "give the user mysql_native_password, caching_sha2_password or ed25519";
                self.give_up(&format!("its method {other} is not supported: {remedy}"))
            }
        }
    }

    /// The server goes on within the method.
    pub(super) fn more(&mut self, data: &[u8]) -> Next {
        match (self.method.as_str(), data) {
            (CACHING, FAST_OK) => Next::Wait,
            (CACHING, FULL) => self.give_password(2),
            (CACHING | SHA256, pem) if self.may_use_its_key() && pem.starts_with(b"-----BEGIN") => match key_in(pem) {
                Some(key) => self.encrypt_by(&key),
                None => self.give_up("its RSA key is damaged"),
            },
            _ => Next::Astray,
        }
    }

    /// A key that the configuration names is the only one that counts.
    fn may_use_its_key(&self) -> bool {
        self.channel == Channel::Plain && self.key.is_none()
    }

    /// The password itself: in clear within TLS, otherwise by the server's key, asked for with `request` where it is
    /// not known.
    fn give_password(&mut self, request: u8) -> Next {
        match (self.channel, self.key) {
            _ if self.password.is_empty() => Next::Send(NO_PASSWORD.to_vec()),
            (Channel::Tls, _) => Next::Hide(self.in_clear()),
            (Channel::Plain, Some(key)) => self.encrypt_by(key),
            (Channel::Plain, None) => Next::Send(vec![request]),
        }
    }

    fn encrypt_by(&mut self, key: &[u8]) -> Next {
        let mut masked = self.in_clear();
        let salt = self.short_salt();
        if salt.is_empty() {
            return self.give_up("its salt is empty");
        }
        masked.iter_mut().zip(salt.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match encrypt(key, &masked) {
            Some(encrypted) => Next::Send(encrypted),
            None => self.give_up("the password cannot be encrypted by its RSA key: set tls = true"),
        }
    }

    fn in_clear(&self) -> Vec<u8> {
        [self.password.as_bytes(), &[0]].concat()
    }

    fn short_salt(&self) -> &[u8] {
        &self.salt[..self.salt.len().min(SALT)]
    }

    fn give_up(&mut self, why: &str) -> Next {
        self.trouble = Some(why.to_owned());
        Next::Send(NO_PASSWORD.to_vec())
    }
}

/// `mysql_native_password`: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))); nothing for no password.
fn scramble_sha1(password: &str, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password.as_bytes());
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(salt).chain_update(twice).finalize();
    xor(&once, &mask)
}

/// `caching_sha2_password`: SHA256(password) XOR SHA256(SHA256(SHA256(password)), salt); nothing for no password.
fn scramble_sha256(password: &str, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha256::digest(password.as_bytes());
    let twice = Sha256::digest(once);
    let mask = Sha256::new().chain_update(twice).chain_update(salt).finalize();
    xor(&once, &mask)
}

fn xor(secret: &[u8], mask: &[u8]) -> Vec<u8> {
    secret.iter().zip(mask).map(|(secret, mask)| secret ^ mask).collect()
}

/// `client_ed25519`: an Ed25519 signature of the salt, where SHA512(password) takes the place of SHA512(seed).
fn sign(password: &str, salt: &[u8]) -> [u8; 64] {
    let secret = ExpandedSecretKey::from_bytes(&Sha512::digest(password.as_bytes()).into());
    raw_sign::<Sha512>(&secret, salt, &VerifyingKey::from(&secret)).to_bytes()
}

fn encrypt(key: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(key).ok()?).ok()?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    let encrypted = key.encrypt(&OAEP_SHA1_MGF1SHA1, secret, &mut encrypted, None).ok()?;
    Some(encrypted.to_vec())
}

fn key_in(pem: &[u8]) -> Option<SubjectPublicKeyInfoDer<'static>> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD as BASE64;

    use super::*;

    const SALT_BYTES: &[u8; 20] = b"abcdefghijklmnopqrst";

    fn dialogue(password: &str, channel: Channel) -> Dialogue<'_> {
        Dialogue::new(password, channel, None, NATIVE, SALT_BYTES)
    }

    fn salted() -> Vec<u8> {
        [SALT_BYTES.as_slice(), &[0]].concat()
    }

    #[test]
    fn a_scramble_is_undone_by_what_the_server_keeps() {
        let scrambled = scramble_sha1("secret", SALT_BYTES);
        let twice = Sha1::digest(Sha1::digest(b"secret"));
        let mask = Sha1::new().chain_update(SALT_BYTES).chain_update(twice).finalize();
        assert_eq!(Sha1::digest(xor(&scrambled, &mask)), twice, "the server's own proof");
        let scrambled = scramble_sha256("secret", SALT_BYTES);
        let twice = Sha256::digest(Sha256::digest(b"secret"));
        let mask = Sha256::new().chain_update(twice).chain_update(SALT_BYTES).finalize();
        assert_eq!(Sha256::digest(xor(&scrambled, &mask)), twice, "the server's own proof");
        assert!(scramble_sha1("", SALT_BYTES).is_empty() && scramble_sha256("", SALT_BYTES).is_empty());
    }

    #[test]
    fn a_signature_is_one_by_the_public_key_that_mariadb_keeps() {
        // SELECT ed25519_password('secret'), as MariaDB 10.11 answers it.
        let kept = "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY";
        let secret = ExpandedSecretKey::from_bytes(&Sha512::digest(b"secret").into());
        let public = VerifyingKey::from(&secret);
        let encoded = BASE64.encode(public.as_bytes());
        assert_eq!(encoded.trim_end_matches('='), kept);
        let salt = [7; 32];
        let signature = ed25519_dalek::Signature::from_bytes(&sign("secret", &salt));
        assert!(public.verify_strict(&salt, &signature).is_ok());
        assert!(public.verify_strict(&[8; 32], &signature).is_err());
    }

    #[test]
    fn every_method_is_answered_in_its_manner() {
        use Channel::{Plain, Tls};
        let clear = || Next::Hide(b"secret\0".to_vec());
        let sha1 = || Next::Send(scramble_sha1("secret", SALT_BYTES));
        let sha256 = || Next::Send(scramble_sha256("secret", SALT_BYTES));
        let none = || Next::Send(vec![0]);
        let signed = Next::Send(sign("secret", &salted()).to_vec());
        let rows = [
            (NATIVE, "secret", Plain, sha1(), ""),
            (NATIVE, "", Plain, Next::Send(vec![]), ""),
            (CACHING, "secret", Plain, sha256(), ""),
            (CACHING, "secret", Tls, sha256(), ""),
            (CACHING, "", Tls, none(), ""),
            (SHA256, "secret", Tls, clear(), ""),
            (SHA256, "secret", Plain, Next::Send(vec![1]), ""),
            (SHA256, "", Plain, none(), ""),
            (CLEAR, "secret", Tls, clear(), ""),
            (CLEAR, "secret", Plain, none(), "needs TLS"),
            (ED25519, "secret", Plain, signed, ""),
            ("dialog", "secret", Tls, none(), "dialog is not supported"),
            ("mysql_old_password", "secret", Tls, none(), "not supported"),
            ("", "secret", Tls, none(), "not supported"),
        ];
        for (method, password, channel, expected, trouble) in rows {
            let mut dialogue = dialogue(password, channel);
            assert_eq!(dialogue.switch(method, &salted()), expected, "{method} {password:?} {channel:?}");
            assert_eq!(dialogue.method(), method);
            assert!(dialogue.trouble().unwrap_or_default().contains(trouble), "{dialogue:?}");
            assert_eq!(dialogue.trouble().is_some(), !trouble.is_empty());
        }
    }

    #[test]
    fn the_first_proof_is_by_the_method_that_the_server_proposes() {
        for (proposed, method, length) in
            [(NATIVE, NATIVE, 20), (CACHING, CACHING, 32), (ED25519, NATIVE, 20), ("", NATIVE, 20)]
        {
            let dialogue = Dialogue::new("secret", Channel::Plain, None, proposed, SALT_BYTES);
            assert_eq!((dialogue.method(), dialogue.first().len()), (method, length), "{proposed}");
        }
    }

    #[test]
    fn a_full_login_gives_the_password_by_tls_or_by_rsa_and_never_in_clear() {
        let mut secure = dialogue("secret", Channel::Tls);
        secure.switch(CACHING, &salted());
        assert_eq!(secure.more(FAST_OK), Next::Wait);
        assert_eq!(secure.more(FULL), Next::Hide(b"secret\0".to_vec()));

        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der>::as_der(&private.public_key()).unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der.as_ref()));
        let private = OaepPrivateDecryptingKey::new(private).unwrap();
        let opened = |next: Next| {
            let Next::Send(encrypted) = next else { panic!("{next:?}") };
            let mut room = vec![0; 256];
            let masked = private.decrypt(&OAEP_SHA1_MGF1SHA1, &encrypted, &mut room, None).unwrap();
            String::from_utf8(xor(masked, &SALT_BYTES.repeat(13))).unwrap()
        };
        for (method, begin, request) in [(CACHING, FULL, 2), (SHA256, &[][..], 1)] {
            let mut asking = dialogue("secret", Channel::Plain);
            let mut next = asking.switch(method, &salted());
            if !begin.is_empty() {
                next = asking.more(begin);
            }
            assert_eq!(next, Next::Send(vec![request]));
            assert_eq!(opened(asking.more(pem.as_bytes())), "secret\0");
            let mut pinned = Dialogue { key: Some(der.as_ref()), ..dialogue("secret", Channel::Plain) };
            let mut next = pinned.switch(method, &salted());
            if !begin.is_empty() {
                next = pinned.more(begin);
            }
            assert_eq!(opened(next), "secret\0");
            assert_eq!(pinned.more(pem.as_bytes()), Next::Astray, "another key than the one that is configured");
        }
    }

    #[test]
    fn what_belongs_to_no_method_leads_astray_and_a_bad_key_is_trouble() {
        let mut native = dialogue("secret", Channel::Plain);
        assert_eq!(native.more(FULL), Next::Astray);
        let mut caching = dialogue("secret", Channel::Plain);
        caching.switch(CACHING, &salted());
        assert_eq!(caching.more(b"?"), Next::Astray);
        for pem in
            ["-----BEGIN PUBLIC KEY-----\n!\n-----END", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END", "-----BEGIN"]
        {
            assert_eq!(caching.more(pem.as_bytes()), Next::Send(vec![0]));
            assert!(caching.trouble().is_some_and(|why| why.contains("RSA key")), "{caching:?}");
        }
        let mut unsalted = dialogue("secret", Channel::Plain);
        unsalted.switch(CACHING, b"");
        assert_eq!(unsalted.more(b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END"), Next::Send(vec![0]));
    }
}
