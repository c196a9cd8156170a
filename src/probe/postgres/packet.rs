//! The messages of `PostgreSQL`'s protocol 3.0. PURE: parses and builds, never reads or writes.
//!
//! Nothing that a server can send makes it panic: every field is asked for with its bounds.

use md5::{Digest, Md5};

/// `SSLRequest`, answered with one byte.
pub(super) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// Goodbye, for after the login; before it, silence is the polite end.
pub(super) const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];
/// Longest message that is read.
pub(super) const MESSAGE_MAX: usize = 60 * 1024;
/// More columns than any question of ours asks for.
const COLUMNS_MAX: u16 = 1600;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// `R`.
    Auth(Auth),
    /// `E`.
    Error(Refusal),
    /// `T`: the names of the columns to come.
    Columns(Vec<String>),
    /// `D`: its columns; `None` is NULL.
    Row(Vec<Option<Vec<u8>>>),
    /// `Z`: the next question may come.
    Ready,
    /// Whatever else belongs to the protocol and says nothing that matters here.
    Other,
}

/// What is asked of whoever logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Auth {
    /// Nothing more: welcome.
    Welcome,
    /// The password as it is.
    Cleartext,
    /// The password hashed with this salt.
    Md5([u8; 4]),
    /// One of these methods.
    Sasl(Vec<String>),
    /// More of the method.
    SaslContinue(Vec<u8>),
    /// The method's last word.
    SaslFinal(Vec<u8>),
    /// A method that no probe knows: GSSAPI, SSPI, SCM credentials, Kerberos.
    Foreign(u32),
}

/// An error of the server's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refusal {
    /// SQLSTATE.
    pub(super) code: String,
    /// Its message.
    pub(super) text: String,
}

/// What came is not this protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage;

impl Auth {
    /// What is asked for, in words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Welcome => "nothing".to_owned(),
            Self::Cleartext => "a password in the clear".to_owned(),
            Self::Md5(_) => "an md5 password".to_owned(),
            Self::Sasl(methods) => methods.join(" or "),
            Self::SaslContinue(_) | Self::SaslFinal(_) => "more of a method that was not begun".to_owned(),
            Self::Foreign(2) => "Kerberos".to_owned(),
            Self::Foreign(6) => "SCM credentials".to_owned(),
            Self::Foreign(7 | 8) => "GSSAPI".to_owned(),
            Self::Foreign(9) => "SSPI".to_owned(),
            Self::Foreign(code) => format!("method {code}"),
        }
    }
}

/// `StartupMessage`.
pub(super) fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = vec![0, 3, 0, 0];
    for (name, value) in parameters {
        text(&mut body, name);
        text(&mut body, value);
    }
    body.push(0);
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// `PasswordMessage`.
pub(super) fn password(word: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(word.len() + 1);
    text(&mut body, word);
    message(b'p', &body)
}

/// What stands for the password where md5 is asked for.
pub(super) fn md5_word(user: &str, password: &str, salt: [u8; 4]) -> String {
    let inner = hex(&Md5::new().chain_update(password).chain_update(user).finalize());
    format!("md5{}", hex(&Md5::new().chain_update(inner).chain_update(salt).finalize()))
}

/// `SASLInitialResponse`.
pub(super) fn sasl_begin(method: &str, first: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, method);
    body.extend((first.len() as u32).to_be_bytes());
    body.extend_from_slice(first.as_bytes());
    message(b'p', &body)
}

/// `SASLResponse`.
pub(super) fn sasl_continue(next: &str) -> Vec<u8> {
    message(b'p', next.as_bytes())
}

/// Whether the names of the columns come with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// They come before the first row.
    Wanted,
    /// Only the row comes.
    Spared,
}

/// A simple query: for commands without an answer.
pub(super) fn simple(sql: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(sql.len() + 1);
    text(&mut body, sql);
    message(b'Q', &body)
}

/// One query, of whose answer at most the first row comes, as text: parse, bind, describe, execute, sync.
pub(super) fn query(sql: &str, names: Names) -> Vec<u8> {
    let mut parse = vec![0];
    text(&mut parse, sql);
    parse.extend([0, 0]);
    let mut bytes = message(b'P', &parse);
    bytes.extend(message(b'B', &[0; 8]));
    if names == Names::Wanted {
        bytes.extend(message(b'D', b"P\0"));
    }
    bytes.extend(message(b'E', &[0, 0, 0, 0, 1]));
    bytes.extend(message(b'S', &[]));
    bytes
}

/// The first message and its length; `None` while it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Message, usize)>, Garbage> {
    let Some(tag) = bytes.first() else { return Ok(None) };
    if !tag.is_ascii_alphanumeric() {
        return Err(Garbage);
    }
    let Some(length) = bytes.get(1..5) else { return Ok(None) };
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if !(4..=MESSAGE_MAX).contains(&length) {
        return Err(Garbage);
    }
    let Some(body) = bytes.get(5..=length) else { return Ok(None) };
    let message = match tag {
        b'R' => Message::Auth(auth(body).ok_or(Garbage)?),
        b'E' => Message::Error(refusal(body)),
        b'T' => Message::Columns(columns(body).ok_or(Garbage)?),
        b'D' => Message::Row(row(body).ok_or(Garbage)?),
        b'Z' => Message::Ready,
        _ => Message::Other,
    };
    Ok(Some((message, length + 1)))
}

fn auth(body: &[u8]) -> Option<Auth> {
    let (code, rest) = body.split_first_chunk::<4>()?;
    Some(match u32::from_be_bytes(*code) {
        0 => Auth::Welcome,
        3 => Auth::Cleartext,
        5 => Auth::Md5(*rest.first_chunk::<4>()?),
        10 => Auth::Sasl(texts(rest)),
        11 => Auth::SaslContinue(rest.to_vec()),
        12 => Auth::SaslFinal(rest.to_vec()),
        code => Auth::Foreign(code),
    })
}

fn refusal(body: &[u8]) -> Refusal {
    let mut refusal = Refusal::default();
    for field in texts(body) {
        let mut letters = field.chars();
        match letters.next() {
            Some('C') => letters.as_str().clone_into(&mut refusal.code),
            Some('M') => letters.as_str().clone_into(&mut refusal.text),
            _ => {}
        }
    }
    refusal
}

/// Texts that end in NUL, up to an empty one.
fn texts(bytes: &[u8]) -> Vec<String> {
    let texts = bytes.split(|byte| *byte == 0).take_while(|text| !text.is_empty());
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

/// Each a text that ends in NUL, and 18 bytes about its type.
fn columns(body: &[u8]) -> Option<Vec<String>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut names = Vec::new();
    for _ in 0..u16::from_be_bytes(*count).min(COLUMNS_MAX) {
        let end = rest.iter().position(|byte| *byte == 0)?;
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = rest.get(end + 1 + 18..)?;
    }
    Some(names)
}

fn row(body: &[u8]) -> Option<Vec<Option<Vec<u8>>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let count = u16::from_be_bytes(*count);
    if count > COLUMNS_MAX {
        return None;
    }
    let mut columns = Vec::new();
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            columns.push(None);
            rest = after;
            continue;
        };
        let (value, after) = after.split_at_checked(length)?;
        columns.push(Some(value.to_vec()));
        rest = after;
    }
    Some(columns)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_say_has_these_bytes() {
        assert_eq!(
            startup(&[("user", "haproxy")]),
            b"\x00\x00\x00\x16\x00\x03\x00\x00user\x00haproxy\x00\x00",
            "as HAProxy says it"
        );
        assert_eq!(password("md5x"), b"p\x00\x00\x00\x09md5x\x00");
        assert_eq!(sasl_begin("S", "n,,"), b"p\x00\x00\x00\x0dS\x00\x00\x00\x00\x03n,,");
        assert_eq!(simple("BEGIN"), b"Q\x00\x00\x00\x0aBEGIN\x00");
        let expected: &[u8] = b"P\x00\x00\x00\x10\x00SELECT 1\x00\x00\x00\
            B\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\
            E\x00\x00\x00\x09\x00\x00\x00\x00\x01S\x00\x00\x00\x04";
        assert_eq!(query("SELECT 1", Names::Spared), expected);
        let named = query("SELECT 1", Names::Wanted);
        let describe = b"D\x00\x00\x00\x06P\x00";
        assert!(named.windows(describe.len()).any(|window| window == describe), "{}", named.escape_ascii());
    }

    #[test]
    fn md5_is_what_the_server_computes() {
        let stored = hex(&Md5::new().chain_update("secret").chain_update("app").finalize());
        let word = md5_word("app", "secret", [1, 2, 3, 4]);
        assert_eq!(word, format!("md5{}", hex(&Md5::new().chain_update(stored).chain_update([1, 2, 3, 4]).finalize())));
        assert_eq!(word.len(), 35);
        assert_eq!(hex(&Md5::digest(b"")), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn messages_are_read_whole_or_not_yet() {
        let error = b"E\x00\x00\x00\x28SFATAL\x00C57P03\x00Mstarting up\x00R\xff\x00X\x00\x00\x00";
        let rows: &[(&[u8], Message)] = &[
            (b"R\x00\x00\x00\x08\x00\x00\x00\x00", Message::Auth(Auth::Welcome)),
            (b"R\x00\x00\x00\x08\x00\x00\x00\x03", Message::Auth(Auth::Cleartext)),
            (b"R\x00\x00\x00\x0c\x00\x00\x00\x05abcd", Message::Auth(Auth::Md5(*b"abcd"))),
            (
                b"R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00",
                Message::Auth(Auth::Sasl(vec!["SCRAM-SHA-256".into()])),
            ),
            (b"R\x00\x00\x00\x0b\x00\x00\x00\x0br=x", Message::Auth(Auth::SaslContinue(b"r=x".to_vec()))),
            (b"R\x00\x00\x00\x08\x00\x00\x00\x0c", Message::Auth(Auth::SaslFinal(vec![]))),
            (b"R\x00\x00\x00\x08\x00\x00\x00\x07", Message::Auth(Auth::Foreign(7))),
            (error, Message::Error(Refusal { code: "57P03".into(), text: "starting up".into() })),
            (b"E\x00\x00\x00\x05\x00", Message::Error(Refusal::default())),
            (b"Z\x00\x00\x00\x05I", Message::Ready),
            (b"S\x00\x00\x00\x08a\x00b\x00", Message::Other),
            (b"1\x00\x00\x00\x04", Message::Other),
            (
                b"D\x00\x00\x00\x12\x00\x03\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x01t",
                Message::Row(vec![Some(vec![]), None, Some(b"t".to_vec())]),
            ),
            (
                b"T\x00\x00\x00\x2e\x00\x02up\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x01\xff\xff\xff\xff\x00\x00\
                \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x01\xff\xff\xff\xff\x00\x00",
                Message::Columns(vec!["up".to_owned(), String::new()]),
            ),
            (b"T\x00\x00\x00\x06\x00\x00", Message::Columns(vec![])),
        ];
        for (bytes, expected) in rows {
            let mut bytes = bytes.to_vec();
            if [b'E', b'D', b'T'].contains(&bytes[0]) {
                let length = (bytes.len() as u32 - 1).to_be_bytes();
                bytes[1..5].copy_from_slice(&length);
            }
            let mut longer = bytes.clone();
            longer.extend_from_slice(b"next");
            assert_eq!(parse(&longer), Ok(Some((expected.clone(), bytes.len()))), "{}", bytes.escape_ascii());
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{}", bytes[..cut].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        let rows: &[&[u8]] = &[
            b"HTTP/1.1 400 Bad Request",
            b"\x00\x00\x00\x00\x00",
            b"-ERR what",
            b"R\x00\x00\x00\x03",
            b"R\xff\xff\xff\xff",
            b"R\x00\x00\x00\x06\x00\x00",
            b"R\x00\x00\x00\x0b\x00\x00\x00\x05abc",
            b"D\x00\x00\x00\x06\xff\xff",
            b"D\x00\x00\x00\x06\x00\x01",
            b"D\x00\x00\x00\x0a\x00\x01\x7f\xff\xff\xff",
            b"T\x00\x00\x00\x05\x00",
            b"T\x00\x00\x00\x08\x00\x01up",
            b"T\x00\x00\x00\x09\x00\x01up\x00",
            b"Ecould not fork new process",
        ];
        for bytes in rows {
            assert_eq!(parse(bytes), Err(Garbage), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn no_mutation_panics() {
        let rows: &[&[u8]] = &[
            b"R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00",
            b"E\x00\x00\x00\x15SFATAL\x00C57P03\x00\x00",
            b"D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01t",
            b"T\x00\x00\x00\x1b\x00\x01up\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x01\xff\xff\xff\xff\x00\x00",
        ];
        for good in rows {
            for at in 0..good.len() {
                for byte in 0..=255 {
                    let mut bytes = good.to_vec();
                    bytes[at] = byte;
                    let _ = parse(&bytes);
                    let _ = parse(&bytes[..at]);
                }
            }
        }
    }
}
