//! The first message of a TLS client, read without taking part in the handshake: for which name it came.
//!
//! Sans-IO and PURE: bytes in, an answer out, nothing kept. The message may be spread over packets, and over records of
//! any size (RFC 8446, section 5.1). What breaks a rule that both sides must keep is no hello: who passed it on would
//! guess what the backend reads in it.

/// Longest beginning of a connection that is read in search of a name, bytes: a hello with post-quantum keys has about
/// two thousand.
pub const MAX_BYTES: usize = 16 * 1024;

/// Longest name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// Not enough yet to say.
    Incomplete,
    /// No TLS.
    NotTls,
    /// It begins like TLS and breaks its rules, or is longer than any client's.
    Broken,
    /// A whole one, and the name that it asks for (SNI) in lower case.
    Whole(Option<Box<str>>),
}

/// Why a hello cannot be read to its end.
enum Stop {
    Incomplete,
    Broken,
}

/// Reads the first bytes of a connection.
pub fn read(bytes: &[u8]) -> Hello {
    match bytes {
        [] | [HANDSHAKE] => return Hello::Incomplete,
        [HANDSHAKE, MAJOR_VERSION, ..] => {}
        _ => return Hello::NotTls,
    }
    match hello(&mut Message { bytes, in_record: 0 }) {
        Ok(name) => Hello::Whole(name),
        Err(Stop::Incomplete) if bytes.len() < MAX_BYTES => Hello::Incomplete,
        Err(_) => Hello::Broken,
    }
}

/// The type of a record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// Every version from SSL 3.0 to TLS 1.3 says so.
const MAJOR_VERSION: u8 = 3;
/// Longest record, bytes.
const MAX_RECORD: usize = 1 << 14;
/// The type of a handshake message (section 4).
const CLIENT_HELLO: u8 = 1;
/// The type of an extension (RFC 6066, section 3), and of a name in it.
const SERVER_NAME: usize = 0;
const HOST_NAME: usize = 0;

/// The bytes of a handshake message, whatever records they came in.
struct Message<'b> {
    bytes: &'b [u8],
    /// What is left of the record that `bytes` begins in.
    in_record: usize,
}

impl Message<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        if self.in_record == 0 {
            self.open_record()?;
        }
        let (first, rest) = self.bytes.split_first().ok_or(Stop::Incomplete)?;
        self.bytes = rest;
        self.in_record -= 1;
        Ok(*first)
    }

    fn open_record(&mut self) -> Result<(), Stop> {
        let (header, rest) = self.bytes.split_at_checked(5).ok_or(Stop::Incomplete)?;
        let length = usize::from(header[3]) << 8 | usize::from(header[4]);
        // A record of a handshake is never empty, and no other kind comes before the message is whole.
        if header[0] != HANDSHAKE || header[1] != MAJOR_VERSION || length == 0 || length > MAX_RECORD {
            return Err(Stop::Broken);
        }
        (self.bytes, self.in_record) = (rest, length);
        Ok(())
    }

    /// A number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, Stop> {
        (0..bytes).try_fold(0, |number, _| Ok(number << 8 | usize::from(self.byte()?)))
    }

    fn skip(&mut self, mut length: usize) -> Result<(), Stop> {
        while length > 0 {
            if self.in_record == 0 {
                self.open_record()?;
            }
            let step = length.min(self.in_record).min(self.bytes.len());
            if step == 0 {
                return Err(Stop::Incomplete);
            }
            self.bytes = &self.bytes[step..];
            self.in_record -= step;
            length -= step;
        }
        Ok(())
    }
}

/// Takes `part` from what is left of something; what holds less than its parts breaks the rules.
fn take(left: &mut usize, part: usize) -> Result<(), Stop> {
    *left = left.checked_sub(part).ok_or(Stop::Broken)?;
    Ok(())
}

fn hello(message: &mut Message<'_>) -> Result<Option<Box<str>>, Stop> {
    if message.byte()? != CLIENT_HELLO {
        return Err(Stop::Broken);
    }
    let mut left = message.number(3)?;
    if left > MAX_BYTES {
        return Err(Stop::Broken);
    }
    // Version and random.
    take(&mut left, 34)?;
    message.skip(34)?;
    // Session id, ciphers, compressions: each with its length in front.
    for (width, lengths) in [(1, 0..=32), (2, 2..=MAX_BYTES), (1, 1..=255)] {
        take(&mut left, width)?;
        let length = message.number(width)?;
        if !lengths.contains(&length) {
            return Err(Stop::Broken);
        }
        take(&mut left, length)?;
        message.skip(length)?;
    }
    if left == 0 {
        return Ok(None);
    }
    take(&mut left, 2)?;
    if message.number(2)? != left {
        return Err(Stop::Broken);
    }
    extensions(message, left)
}

fn extensions(message: &mut Message<'_>, mut left: usize) -> Result<Option<Box<str>>, Stop> {
    let mut name = None;
    while left > 0 {
        take(&mut left, 4)?;
        let (kind, length) = (message.number(2)?, message.number(2)?);
        take(&mut left, length)?;
        if kind != SERVER_NAME {
            message.skip(length)?;
        } else if name.replace(server_name(message, length)?).is_some() {
            // Twice: the backend might read the other one.
            return Err(Stop::Broken);
        }
    }
    Ok(name)
}

/// One name, of the one kind that there is.
fn server_name(message: &mut Message<'_>, mut left: usize) -> Result<Box<str>, Stop> {
    take(&mut left, 5)?;
    let (list, kind, length) = (message.number(2)?, message.number(1)?, message.number(2)?);
    if list != left + 3 || kind != HOST_NAME || length != left || !(1..=MAX_NAME).contains(&length) {
        return Err(Stop::Broken);
    }
    let mut name = String::with_capacity(length);
    for _ in 0..length {
        let byte = message.byte()?.to_ascii_lowercase();
        if !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_') {
            return Err(Stop::Broken);
        }
        name.push(char::from(byte));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_length(width: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - width..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &with_length(2, content)].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        extension(0, &with_length(2, &[&[0][..], &with_length(2, name)].concat()))
    }

    /// A handshake message of these extensions; `None`: of none at all, as very old clients send it.
    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(with_length(1, &[9; 32]));
        body.extend(with_length(2, &[0x13, 0x01, 0x13, 0x02]));
        body.extend(with_length(1, &[0]));
        body.extend(extensions.map(|all| with_length(2, all)).unwrap_or_default());
        [&[1][..], &with_length(3, &body)].concat()
    }

    /// The same in records of so many bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &with_length(2, part)].concat()).collect()
    }

    fn whole(name: &str) -> Hello {
        Hello::Whole(Some(name.into()))
    }

    #[test]
    fn the_name_is_found_among_other_extensions_and_in_any_case() {
        let other = extension(16, &[0, 3, 2, b'h', b'2']);
        let extensions = [&other[..], &named(b"Web.Example.COM"), &extension(0xfafa, &[])].concat();
        assert_eq!(read(&records(&message(Some(&extensions)), 16_384)), whole("web.example.com"));
        for none in [None, Some(&[][..]), Some(&other[..])] {
            assert_eq!(read(&records(&message(none), 16_384)), Hello::Whole(None));
        }
    }

    #[test]
    fn it_is_found_in_records_of_any_size_and_missing_bytes_are_waited_for() {
        let message = message(Some(&named(b"a.example")));
        for size in [1, 2, 3, 5, 7, 50, 1000] {
            let bytes = records(&message, size);
            assert_eq!(read(&bytes), whole("a.example"), "records of {size}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Hello::Incomplete, "records of {size}, {end} bytes");
            }
            let more = [&bytes[..], b"what comes after it"].concat();
            assert_eq!(read(&more), whole("a.example"));
        }
    }

    #[test]
    fn what_is_not_tls_is_known_by_its_first_bytes() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"S", b"\x00", b"\x16\x02", b"SSH-2.0-x", b"\x80\x2e\x01\x03"] {
            assert_eq!(read(bytes), Hello::NotTls, "{bytes:?}");
        }
    }

    #[test]
    fn what_breaks_the_rules_is_no_hello() {
        let long = vec![b'a'; 256];
        let double = [named(b"a.example"), named(b"b.example")].concat();
        let two =
            extension(0, &with_length(2, &[&[0][..], &with_length(2, b"a"), &[0], &with_length(2, b"b")].concat()));
        let overlong = [&named(b"a.example")[..], &[0, 16, 0, 9, 1]].concat();
        for extensions in [
            named(b""),
            named(&long),
            named(b"a\0b"),
            named("ä.example".as_bytes()),
            double,
            two,
            overlong,
            extension(0, b""),
        ] {
            assert_eq!(read(&records(&message(Some(&extensions)), 16_384)), Hello::Broken, "{extensions:?}");
        }
        let good = records(&message(Some(&named(b"a.example"))), 16_384);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            read(&bytes)
        };
        assert_eq!(with(5, 2), Hello::Broken, "another message");
        assert_eq!(with(6, 1), Hello::Broken, "longer than any");
        assert_eq!(with(43, 33), Hello::Broken, "a session id that is too long");
        assert_eq!(read(&[22, 3, 1, 0, 0]), Hello::Broken, "an empty record");
        assert_eq!(read(&[22, 3, 1, 0x40, 1]), Hello::Broken, "a record that is too long");
        let mut interrupted = records(&message(Some(&named(b"a.example"))), 20);
        interrupted[25] = 21;
        assert_eq!(read(&interrupted), Hello::Broken, "another record between");
        let endless = records(&vec![0; MAX_BYTES], 1);
        assert_eq!(read(&[&records(&message(None)[..50], 1)[..], &endless].concat()[..MAX_BYTES]), Hello::Broken);
    }

    #[test]
    fn no_mutation_makes_it_fail_or_find_what_is_not_there() {
        let good = records(&message(Some(&named(b"a.example"))), 60);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bent = good.clone();
                bent[at] ^= 1 << bit;
                for end in [at, bent.len() / 2, bent.len()] {
                    if let Hello::Whole(Some(name)) = read(&bent[..end]) {
                        assert!(name.len() <= MAX_NAME && name.is_ascii(), "{name}");
                    }
                }
            }
        }
    }
}
