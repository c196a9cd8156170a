//! The bytes of a `MySQL` login. PURE: parses and builds, never reads or writes.
//!
//! Nothing that a server can send makes it panic: every field is asked for with its bounds.

use sha1::{Digest, Sha1};

/// `COM_QUIT`.
pub(super) const QUIT: [u8; 1] = [1];

const LONG_PASSWORD: u32 = 0x1;
const PROTOCOL_41: u32 = 0x200;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
const NATIVE: &str = "mysql_native_password";
/// utf8, which every version knows.
const CHARSET: u8 = 33;
/// Longest text of a server that goes into a log.
const MAX_TEXT: usize = 200;

/// What the server says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) salt: Vec<u8>,
    pub(super) capabilities: u32,
}

/// What the server says to a login.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Logged in.
    Ok,
    /// Log in by another method.
    Switch(Switch),
    /// More data of the method; its first byte.
    More(u8),
    /// No.
    Error { code: u16, text: String },
    /// Something else.
    Garbage,
}

/// `AuthSwitchRequest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) method: String,
    pub(super) salt: Vec<u8>,
}

impl Greeting {
    /// The greeting, or the error that came instead of it.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Reply> {
        match payload.first() {
            Some(10) => Self::parse_v10(&payload[1..]).ok_or(Reply::Garbage),
            Some(0xff) => Err(Reply::parse(payload)),
            _ => Err(Reply::Garbage),
        }
    }

    fn parse_v10(rest: &[u8]) -> Option<Self> {
        let (version, rest) = until_zero(rest)?;
        let rest = rest.get(4..)?; // thread id
        let mut salt = rest.get(..8)?.to_vec();
        let rest = rest.get(9..)?; // salt and a filler
        let low = u16::from_le_bytes([*rest.first()?, *rest.get(1)?]);
        let mut capabilities = u32::from(low);
        // Servers before 4.1 end here.
        if let Some(tail) = rest.get(2..).filter(|tail| tail.len() >= 16) {
            capabilities |= u32::from(u16::from_le_bytes([tail[3], tail[4]])) << 16;
            let length = usize::from(tail[5]).saturating_sub(8).max(13);
            let second = tail.get(16..)?;
            let second = &second[..second.len().min(length)];
            salt.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
        }
        salt.truncate(20);
        let version = text(version);
        // MariaDB hides its version behind one that old replicas understood.
        let version = version.strip_prefix("5.5.5-").map_or_else(|| version.clone(), str::to_owned);
        Some(Self { version, salt, capabilities })
    }
}

impl Reply {
    pub(super) fn parse(payload: &[u8]) -> Self {
        match payload {
            [0, ..] => Self::Ok,
            [0xff, low, high, rest @ ..] => {
                let rest = if rest.first() == Some(&b'#') { rest.get(6..).unwrap_or_default() } else { rest };
                Self::Error { code: u16::from_le_bytes([*low, *high]), text: text(rest) }
            }
            [0xfe] => Self::Switch(Switch { method: "mysql_old_password".to_owned(), salt: Vec::new() }),
            [0xfe, rest @ ..] => match until_zero(rest) {
                Some((method, salt)) => {
                    let salt = salt.strip_suffix(&[0]).unwrap_or(salt);
                    Self::Switch(Switch { method: text(method), salt: salt.to_vec() })
                }
                None => Self::Garbage,
            },
            [1, more, ..] => Self::More(*more),
            _ => Self::Garbage,
        }
    }
}

/// `HandshakeResponse41`.
pub(super) fn login(greeting: &Greeting, user: &str, password: &str) -> Vec<u8> {
    let with_plugin = greeting.capabilities & PLUGIN_AUTH;
    let capabilities = PROTOCOL_41 | SECURE_CONNECTION | LONG_PASSWORD | with_plugin;
    let secret = scramble(password, &greeting.salt);
    let mut bytes = Vec::with_capacity(64 + user.len());
    bytes.extend_from_slice(&capabilities.to_le_bytes());
    bytes.extend_from_slice(&0x0100_0000_u32.to_le_bytes()); // longest packet: 16 MiB
    bytes.push(CHARSET);
    bytes.extend_from_slice(&[0; 23]);
    bytes.extend(user.bytes().filter(|byte| *byte != 0));
    bytes.push(0);
    bytes.push(secret.len() as u8); // 0 or 20
    bytes.extend_from_slice(&secret);
    if with_plugin != 0 {
        bytes.extend_from_slice(NATIVE.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// `mysql_native_password`: SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))); nothing for no password.
pub(super) fn scramble(password: &str, salt: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password.as_bytes());
    let twice = Sha1::digest(once);
    let mask = Sha1::new().chain_update(salt).chain_update(twice).finalize();
    once.iter().zip(mask.iter()).map(|(secret, mask)| secret ^ mask).collect()
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn text(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_TEXT)];
    String::from_utf8_lossy(shown).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";

    fn greeting_bytes() -> Vec<u8> {
        let mut bytes = b"\x0a5.5.5-10.11.19-MariaDB\0\x07\0\0\0abcdefgh\0".to_vec();
        bytes.extend_from_slice(&[0xfe, 0xf7, 33, 2, 0, 0xff, 0x81, 21]);
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        bytes
    }

    #[test]
    fn a_greeting_gives_version_salt_and_capabilities() {
        let greeting = Greeting::parse(&greeting_bytes()).unwrap();
        assert_eq!(greeting.version, "10.11.19-MariaDB");
        assert_eq!(greeting.salt, SALT);
        assert_eq!(greeting.capabilities, 0x81ff_f7fe);
    }

    #[test]
    fn no_cut_or_changed_greeting_makes_it_panic() {
        let bytes = greeting_bytes();
        for end in 0..bytes.len() {
            let _ = Greeting::parse(&bytes[..end]);
            let _ = Reply::parse(&bytes[..end]);
            for value in [0, 1, 0xfe, 0xff] {
                let mut changed = bytes.clone();
                changed[end] = value;
                let _ = Greeting::parse(&changed);
                let _ = Reply::parse(&changed[end..]);
            }
        }
    }

    #[test]
    fn replies_are_told_apart() {
        let rows: &[(&[u8], Reply)] = &[
            (&[0, 0, 0, 2, 0, 0, 0], Reply::Ok),
            (b"\xff\x15\x04#28000Access denied", Reply::Error { code: 1045, text: "Access denied".to_owned() }),
            (b"\xff\x69\x04Host is blocked", Reply::Error { code: 1129, text: "Host is blocked".to_owned() }),
            (b"\xff\x69\x04#", Reply::Error { code: 1129, text: String::new() }),
            (
                b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0",
                Reply::Switch(Switch { method: "caching_sha2_password".to_owned(), salt: SALT.to_vec() }),
            ),
            (b"\xfe", Reply::Switch(Switch { method: "mysql_old_password".to_owned(), salt: vec![] })),
            (b"\xfeno end", Reply::Garbage),
            (&[1, 4], Reply::More(4)),
            (&[1], Reply::Garbage),
            (b"\xff\x15", Reply::Garbage),
            (b"HTTP/1.1 400", Reply::Garbage),
            (b"", Reply::Garbage),
        ];
        for (bytes, expected) in rows {
            assert_eq!(Reply::parse(bytes), *expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn a_login_without_a_password_has_the_bytes_that_servers_know() {
        let greeting = Greeting { version: String::new(), salt: SALT.to_vec(), capabilities: PLUGIN_AUTH };
        let bytes = login(&greeting, "haproxy", "");
        let mut expected = vec![0x01, 0x82, 0x08, 0, 0, 0, 0, 1, 0x21];
        expected.extend_from_slice(&[0; 23]);
        expected.extend_from_slice(b"haproxy\0\0mysql_native_password\0");
        assert_eq!(bytes, expected);
        let old = Greeting { capabilities: 0, ..greeting };
        assert!(login(&old, "haproxy", "").ends_with(b"haproxy\0\0"));
    }

    #[test]
    fn a_scramble_is_undone_by_what_the_server_keeps() {
        let scrambled = scramble("secret", SALT);
        let twice = Sha1::digest(Sha1::digest(b"secret"));
        let mask = Sha1::new().chain_update(SALT).chain_update(twice).finalize();
        let once: Vec<u8> = scrambled.iter().zip(mask.iter()).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha1::digest(&once), twice, "the server's own proof");
        assert!(scramble("", SALT).is_empty());
    }
}
