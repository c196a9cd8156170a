//! The packets of a `MySQL` connection but for result sets. PURE: parses and builds, never reads or writes.
//!
//! Nothing that a server can send makes it panic: every field is asked for with its bounds.

/// `COM_QUIT`.
pub(super) const QUIT: [u8; 1] = [1];
/// `COM_PING`.
pub(super) const PING: [u8; 1] = [0x0e];

const LONG_PASSWORD: u32 = 0x1;
const CONNECT_WITH_DB: u32 = 0x8;
const PROTOCOL_41: u32 = 0x200;
pub(super) const SSL: u32 = 0x800;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
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
    /// The method of login that it proposes; empty where it names none.
    pub(super) method: String,
}

/// What the server says to a login or a command, but for a result set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Done.
    Ok,
    /// Log in by another method.
    Switch(Switch),
    /// More data of the method.
    More(Vec<u8>),
    /// No.
    Error(Refusal),
    /// Something else.
    Garbage,
}

/// An error packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) text: String,
}

/// `AuthSwitchRequest`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) method: String,
    /// As it came, with the zero that some methods end it with.
    pub(super) salt: Vec<u8>,
}

/// What a login says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) database: Option<&'a str>,
    pub(super) method: &'a str,
    /// The proof of the password by that method.
    pub(super) proof: &'a [u8],
    /// [`SSL`] inside of TLS, otherwise 0.
    pub(super) ssl: u32,
}

impl Greeting {
    /// The greeting, or what came instead of it.
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
        let mut method = String::new();
        // Servers before 4.1 end here.
        if let Some(tail) = rest.get(2..).filter(|tail| tail.len() >= 16) {
            capabilities |= u32::from(u16::from_le_bytes([tail[3], tail[4]])) << 16;
            let length = usize::from(tail[5]).saturating_sub(8).max(13);
            let (second, named) = tail[16..].split_at(tail[16..].len().min(length));
            salt.extend_from_slice(second);
            if capabilities & PLUGIN_AUTH != 0 {
                // Some versions leave the zero at its end out.
                method = text(until_zero(named).map_or(named, |(name, _)| name));
            }
        }
        salt.truncate(20);
        let version = text(version);
        // MariaDB hides its version behind one that old replicas understood.
        let version = version.strip_prefix("5.5.5-").map_or_else(|| version.clone(), str::to_owned);
        Some(Self { version, salt, capabilities, method })
    }
}

impl Reply {
    pub(super) fn parse(payload: &[u8]) -> Self {
        match payload {
            [0, ..] => Self::Ok,
            [0xff, ..] => Refusal::parse(payload).map_or(Self::Garbage, Self::Error),
            [0xfe] => Self::Switch(Switch { method: "mysql_old_password".to_owned(), salt: Vec::new() }),
            [0xfe, rest @ ..] => match until_zero(rest) {
                Some((method, salt)) => Self::Switch(Switch { method: text(method), salt: salt.to_vec() }),
                None => Self::Garbage,
            },
            [1, more @ ..] if !more.is_empty() => Self::More(more.to_vec()),
            _ => Self::Garbage,
        }
    }
}

impl Refusal {
    /// An error packet, if it is one.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let [0xff, low, high, rest @ ..] = payload else { return None };
        let rest = if rest.first() == Some(&b'#') { rest.get(6..).unwrap_or_default() } else { rest };
        Some(Self { code: u16::from_le_bytes([*low, *high]), text: text(rest) })
    }
}

/// `SSLRequest`: the head of a login, after which TLS begins.
pub(super) fn ssl_request() -> Vec<u8> {
    head(PROTOCOL_41 | SECURE_CONNECTION | LONG_PASSWORD | SSL)
}

/// `HandshakeResponse41`.
pub(super) fn login(greeting: &Greeting, login: &Login<'_>) -> Vec<u8> {
    let with_plugin = greeting.capabilities & PLUGIN_AUTH;
    let with_database = if login.database.is_some() { CONNECT_WITH_DB } else { 0 };
    let mut bytes = head(PROTOCOL_41 | SECURE_CONNECTION | LONG_PASSWORD | with_plugin | with_database | login.ssl);
    bytes.extend(login.user.bytes().filter(|byte| *byte != 0));
    bytes.push(0);
    bytes.push(login.proof.len() as u8); // at most 64
    bytes.extend_from_slice(login.proof);
    if let Some(database) = login.database {
        bytes.extend(database.bytes().filter(|byte| *byte != 0));
        bytes.push(0);
    }
    if with_plugin != 0 {
        bytes.extend_from_slice(login.method.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn head(capabilities: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&capabilities.to_le_bytes());
    bytes.extend_from_slice(&0x0100_0000_u32.to_le_bytes()); // longest packet: 16 MiB
    bytes.push(CHARSET);
    bytes.extend_from_slice(&[0; 23]);
    bytes
}

/// `COM_QUERY`.
pub(super) fn query(sql: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + sql.len());
    bytes.push(3);
    bytes.extend_from_slice(sql.as_bytes());
    bytes
}

/// A packet as it goes over the wire. Ours are all shorter than 16 MiB.
pub(super) fn framed(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + 4);
    bytes.extend_from_slice(&[length[0], length[1], length[2], number]);
    bytes.extend_from_slice(payload);
    bytes
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// A server's words, fit for one line of a log.
pub(super) fn text(bytes: &[u8]) -> String {
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

    fn greeting() -> Greeting {
        Greeting::parse(&greeting_bytes()).unwrap()
    }

    fn plain<'a>(user: &'a str, method: &'a str) -> Login<'a> {
        Login { user, database: None, method, proof: b"", ssl: 0 }
    }

    #[test]
    fn a_greeting_gives_version_salt_capabilities_and_method() {
        let greeting = greeting();
        assert_eq!(greeting.version, "10.11.19-MariaDB");
        assert_eq!(greeting.salt, SALT);
        assert_eq!(greeting.capabilities, 0x81ff_f7fe);
        assert_eq!(greeting.method, "mysql_native_password");
    }

    #[test]
    fn no_cut_or_changed_packet_makes_it_panic() {
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
        let error = |code, text: &str| Reply::Error(Refusal { code, text: text.to_owned() });
        let rows: &[(&[u8], Reply)] = &[
            (&[0, 0, 0, 2, 0, 0, 0], Reply::Ok),
            (b"\xff\x15\x04#28000Access denied", error(1045, "Access denied")),
            (b"\xff\x69\x04Host is blocked", error(1129, "Host is blocked")),
            (b"\xff\x69\x04#", error(1129, "")),
            (
                b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0",
                Reply::Switch(Switch {
                    method: "caching_sha2_password".to_owned(),
                    salt: b"abcdefghijklmnopqrst\0".to_vec(),
                }),
            ),
            (b"\xfe", Reply::Switch(Switch { method: "mysql_old_password".to_owned(), salt: vec![] })),
            (b"\xfeno end", Reply::Garbage),
            (&[1, 4], Reply::More(vec![4])),
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
        let bytes = login(&greeting(), &plain("haproxy", "mysql_native_password"));
        let mut expected = vec![0x01, 0x82, 0x08, 0, 0, 0, 0, 1, 0x21];
        expected.extend_from_slice(&[0; 23]);
        expected.extend_from_slice(b"haproxy\0\0mysql_native_password\0");
        assert_eq!(bytes, expected);
        let old = Greeting { capabilities: 0, ..greeting() };
        assert!(login(&old, &plain("haproxy", "mysql_native_password")).ends_with(b"haproxy\0\0"));
    }

    #[test]
    fn a_login_names_its_database_between_proof_and_method() {
        let asked = Login { database: Some("app"), proof: b"12345678901234567890", ..plain("u", "m") };
        let bytes = login(&greeting(), &asked);
        assert_eq!(bytes[..4], [0x09, 0x82, 0x08, 0]);
        assert_eq!(bytes[32..], *b"u\0\x1412345678901234567890app\0m\0");
        let secure = login(&greeting(), &Login { ssl: SSL, ..asked });
        assert_eq!(secure[..4], [0x09, 0x8a, 0x08, 0]);
        assert_eq!(ssl_request().len(), 32);
        assert_eq!(ssl_request()[..4], [0x01, 0x8a, 0, 0]);
    }

    #[test]
    fn a_packet_has_its_length_and_number() {
        assert_eq!(framed(0, &QUIT), [1, 0, 0, 0, 1]);
        assert_eq!(framed(3, &query("SELECT 1")), *b"\x09\0\0\x03\x03SELECT 1");
        assert_eq!(framed(0, &vec![7; 0x1_0203])[..4], [3, 2, 1, 0]);
    }
}
