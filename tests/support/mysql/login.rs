//! A server's side of a login: it knows passwords as a real one does, and judges proofs of them by every method.

use std::io;
use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use ed25519_dalek::{Signature, VerifyingKey};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::script::{Account, Fault, Script, Stage};
use super::wire::{self, Wire};
use super::{Count, Shared};

const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";
/// One that ends with a zero: nobody may take it for an end.
const LONG_SALT: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ01234\0";
const SSL: u32 = 0x800;
const CONNECT_WITH_DB: u32 = 0x8;

/// How an account proves its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `mysql_native_password`.
    Native,
    /// `caching_sha2_password`; in full until the first login has filled the cache.
    CachingSha2,
    /// `sha256_password`.
    Sha256,
    /// `MariaDB`'s `client_ed25519`.
    Ed25519,
    /// `mysql_clear_password`.
    Clear,
    /// One that nobody knows.
    Unknown,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Sha256 => "sha256_password",
            Self::Ed25519 => "client_ed25519",
            Self::Clear => "mysql_clear_password",
            Self::Unknown => "dialog",
        }
    }
}

/// What a login packet says.
struct Asked {
    user: String,
    proof: Vec<u8>,
    database: Option<String>,
    method: String,
}

/// Whether the login was granted; an error is a handshake that broke off.
pub(super) fn judge(wire: &mut Wire, shared: &Shared) -> io::Result<bool> {
    let script = shared.script();
    if let Some(code) = script.greets_with {
        wire.send(Stage::Greeting, &script, shared, &wire::error(code, "its own words"))?;
        return Ok(false);
    }
    wire.send(Stage::Greeting, &script, shared, &greeting(&script))?;
    let mut login = wire.receive()?;
    if let Some(config) = script.tls.clone().filter(|_| login.len() == 32) {
        match script.fault_at(Stage::Tls) {
            Some(Fault::Stall) => shared.stall(),
            Some(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            None => {}
        }
        wire.secure(config)?;
        login = wire.receive()?;
    }
    let Some(asked) = understand(&login) else { return refuse(wire, &script, shared, 1043) };
    if let Some(code) = script.refuses_login {
        return refuse(wire, &script, shared, code);
    }
    if !script.accounts.is_empty() {
        let account = script.accounts.iter().find(|account| account.user == asked.user);
        let Some(account) = account else { return refuse(wire, &script, shared, 1045) };
        if !proves(wire, &script, shared, account, &asked)? {
            return refuse(wire, &script, shared, 1045);
        }
    }
    if asked.database.is_some_and(|database| database != "app") {
        return refuse(wire, &script, shared, 1049);
    }
    shared.add(Count::Logins);
    wire.send(Stage::Verdict, &script, shared, wire::OK)?;
    Ok(true)
}

fn refuse(wire: &mut Wire, script: &Script, shared: &Shared, code: u16) -> io::Result<bool> {
    wire.send(Stage::Verdict, script, shared, &wire::error(code, "#28000its own words"))?;
    Ok(false)
}

fn greeting(script: &Script) -> Vec<u8> {
    let ssl = if script.tls.is_some() { SSL } else { 0 };
    let capabilities = (0x81ff_f7ff | ssl).to_le_bytes();
    let mut payload = [b"\x0a", script.version.as_bytes(), b"\0\x07\0\0\0", &SALT[..8], b"\0"].concat();
    payload.extend_from_slice(&[capabilities[0], capabilities[1], 33, 2, 0, capabilities[2], capabilities[3], 21]);
    payload.extend_from_slice(&[0; 10]);
    let method = if script.version.contains("MariaDB") { Method::Native } else { Method::CachingSha2 };
    [&payload, &SALT[8..], b"\0", method.name().as_bytes(), b"\0"].concat()
}

fn understand(login: &[u8]) -> Option<Asked> {
    let capabilities = u32::from_le_bytes(login.get(..4)?.try_into().ok()?);
    let until_zero = |bytes: &[u8]| -> Option<(String, usize)> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some((String::from_utf8(bytes[..end].to_vec()).ok()?, end + 1))
    };
    let rest = login.get(32..)?;
    let (user, end) = until_zero(rest)?;
    let rest = &rest[end..];
    let length = usize::from(*rest.first()?);
    let proof = rest.get(1..=length)?.to_vec();
    let mut rest = &rest[1 + length..];
    let mut database = None;
    if capabilities & CONNECT_WITH_DB != 0 {
        let (name, end) = until_zero(rest)?;
        database = Some(name);
        rest = &rest[end..];
    }
    Some(Asked { user, proof, database, method: until_zero(rest)?.0 })
}

fn proves(wire: &mut Wire, script: &Script, shared: &Shared, account: &Account, asked: &Asked) -> io::Result<bool> {
    let method = account.method;
    let password = account.password.as_str();
    let mut proof = asked.proof.clone();
    if asked.method != method.name() {
        let salt: &[u8] = if method == Method::Ed25519 { LONG_SALT } else { SALT };
        let end: &[u8] = if method == Method::Ed25519 { b"" } else { b"\0" };
        let switch = [b"\xfe", method.name().as_bytes(), b"\0", salt, end].concat();
        wire.send(Stage::Method, script, shared, &switch)?;
        proof = wire.receive()?;
    }
    let in_clear = [password.as_bytes(), b"\0"].concat();
    Ok(match method {
        Method::Native => proof == scramble::<Sha1>(password, |twice| [SALT, twice].concat()),
        Method::Ed25519 => is_signed(password, &proof),
        Method::Clear => wire.is_secure() && proof == in_clear,
        Method::Unknown => false,
        Method::CachingSha2 => {
            if proof == [0] {
                proof.clear();
            }
            if proof != scramble::<Sha256>(password, |twice| [twice, SALT].concat()) && !password.is_empty() {
                // A real server asks for the password in full before it refuses; that a proof is wrong needs no cache.
                if proof.is_empty() {
                    return Ok(false);
                }
            } else if password.is_empty() {
                return Ok(proof.is_empty());
            } else if shared.cached.lock().unwrap().contains(&account.user) {
                wire.send(Stage::Method, script, shared, &[1, 3])?;
                return Ok(true);
            }
            wire.send(Stage::Method, script, shared, &[1, 4])?;
            let full = wire.receive()?;
            let right = in_full(wire, script, shared, full, 2)? == in_clear;
            if right {
                shared.cached.lock().unwrap().push(account.user.clone());
            }
            right
        }
        Method::Sha256 => proof != [0] && in_full(wire, script, shared, proof, 1)? == in_clear,
    })
}

/// The password as it comes in full: in clear within TLS, by the RSA key otherwise.
fn in_full(wire: &mut Wire, script: &Script, shared: &Shared, came: Vec<u8>, request: u8) -> io::Result<Vec<u8>> {
    if wire.is_secure() {
        return Ok(came);
    }
    let mut encrypted = came;
    if encrypted == [request] {
        let pem = [b"\x01", rsa().1.as_bytes()].concat();
        wire.send(Stage::Method, script, shared, &pem)?;
        encrypted = wire.receive()?;
    }
    let mut room = vec![0; 256];
    let Ok(masked) = rsa().0.decrypt(&OAEP_SHA1_MGF1SHA1, &encrypted, &mut room, None) else { return Ok(Vec::new()) };
    Ok(masked.iter().zip(SALT.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())
}

/// The key of every fake server, and its public part as PEM.
pub fn rsa() -> &'static (OaepPrivateDecryptingKey, String) {
    static KEY: OnceLock<(OaepPrivateDecryptingKey, String)> = OnceLock::new();
    KEY.get_or_init(|| {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&key.public_key()).unwrap();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(der.as_ref()));
        (OaepPrivateDecryptingKey::new(key).unwrap(), pem)
    })
}

/// Both methods that scramble mask the hash of the password; they differ in the hash and in the order below it.
fn scramble<D: Digest>(password: &str, below: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = D::digest(password.as_bytes());
    let mask = D::digest(below(&D::digest(&once)));
    once.iter().zip(mask.iter()).map(|(secret, mask)| secret ^ mask).collect()
}

fn is_signed(password: &str, proof: &[u8]) -> bool {
    let key = VerifyingKey::from(&ExpandedSecretKey::from_bytes(&Sha512::digest(password.as_bytes()).into()));
    Signature::from_slice(proof).is_ok_and(|signature| key.verify_strict(LONG_SALT, &signature).is_ok())
}
