//! The protocol of Redis, version 2: commands out, replies in. PURE: parses and builds, never reads or writes.
//!
//! Nothing that a server can send makes it panic or allocate beyond what has come.

/// Lists within lists: `ROLE` has two floors.
const DEPTH_MAX: usize = 4;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR what`, without the dash.
    Error(String),
    /// `:5`.
    Integer(i64),
    /// `$3 abc`; nothing where there is none.
    Text(Option<Vec<u8>>),
    /// `*2 …`; no difference between none and an empty one.
    List(Vec<Reply>),
}

/// What came is not this protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage;

impl Reply {
    /// Its text, where it is one.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Simple(text) => Some(text.clone()),
            Self::Text(Some(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }
}

/// A command and its arguments.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first reply and its length; `None` while it is not whole.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Garbage> {
    let mut reader = Reader { bytes, at: 0 };
    match reader.reply(DEPTH_MAX) {
        Ok(reply) => Ok(Some((reply, reader.at))),
        Err(Stop::Short) => Ok(None),
        Err(Stop::Garbage) => Err(Garbage),
    }
}

enum Stop {
    /// More has to come.
    Short,
    Garbage,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn reply(&mut self, depth: usize) -> Result<Reply, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Short)?;
        if !b"+-:$*".contains(&kind) {
            return Err(Stop::Garbage);
        }
        self.at += 1;
        let line = self.line()?;
        match kind {
            b'+' => Ok(Reply::Simple(String::from_utf8_lossy(line).into_owned())),
            b'-' => Ok(Reply::Error(String::from_utf8_lossy(line).into_owned())),
            b':' => number(line).map(Reply::Integer),
            b'$' => match number(line)? {
                -1 => Ok(Reply::Text(None)),
                length => self.text(usize::try_from(length).map_err(|_negative| Stop::Garbage)?),
            },
            _ => self.list(number(line)?, depth),
        }
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memmem::find(rest, b"\r\n").ok_or(Stop::Short)?;
        self.at += end + 2;
        Ok(&rest[..end])
    }

    fn text(&mut self, length: usize) -> Result<Reply, Stop> {
        let end = self.at.checked_add(length).ok_or(Stop::Garbage)?;
        let after = end.checked_add(2).ok_or(Stop::Garbage)?;
        if self.bytes.len() < after {
            return Err(Stop::Short);
        }
        if &self.bytes[end..after] != b"\r\n" {
            return Err(Stop::Garbage);
        }
        let text = self.bytes[self.at..end].to_vec();
        self.at = after;
        Ok(Reply::Text(Some(text)))
    }

    fn list(&mut self, length: i64, depth: usize) -> Result<Reply, Stop> {
        if depth == 0 || length < -1 {
            return Err(Stop::Garbage);
        }
        let mut list = Vec::new();
        for _ in 0..length.max(0) {
            list.push(self.reply(depth - 1)?);
        }
        Ok(Reply::List(list))
    }
}

fn number(line: &[u8]) -> Result<i64, Stop> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(Stop::Garbage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Text(Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn commands_are_lists_of_texts() {
        assert_eq!(command(&["PING"]), b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(command(&["AUTH", "grüße\r\n"]), "*2\r\n$4\r\nAUTH\r\n$9\r\ngrüße\r\n\r\n".as_bytes());
    }

    #[test]
    fn replies_are_read_whole_or_not_yet() {
        let rows: &[(&[u8], Reply)] = &[
            (b"+PONG\r\n", Reply::Simple("PONG".into())),
            (b"-NOAUTH Authentication required.\r\n", Reply::Error("NOAUTH Authentication required.".into())),
            (b":-12\r\n", Reply::Integer(-12)),
            (b"$-1\r\n", Reply::Text(None)),
            (b"$0\r\n\r\n", text("")),
            (b"$4\r\na\r\nb\r\n", text("a\r\nb")),
            (b"*-1\r\n", Reply::List(vec![])),
            (b"*0\r\n", Reply::List(vec![])),
            (
                b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*2\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n",
                Reply::List(vec![
                    text("master"),
                    Reply::Integer(3_129_659),
                    Reply::List(vec![Reply::List(vec![text("127.0.0.1"), text("9001")])]),
                ]),
            ),
        ];
        for (bytes, reply) in rows {
            let mut longer = bytes.to_vec();
            longer.extend_from_slice(b"+next");
            assert_eq!(parse(&longer), Ok(Some((reply.clone(), bytes.len()))), "{}", bytes.escape_ascii());
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(None), "{}", bytes[..cut].escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_not_the_protocol_is_refused() {
        let rows: &[&[u8]] = &[
            b"HTTP/1.1 400 Bad Request\r\n",
            b"\x00",
            b":twelve\r\n",
            b"$-2\r\n",
            b"$x\r\n",
            b"$1\r\nab\r\n",
            b"$99999999999999999999\r\n",
            b"$9223372036854775807\r\n+",
            b"*-2\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
            b"*2\r\n:1\r\n?\r\n",
        ];
        for bytes in rows {
            assert_ne!(parse(bytes).ok().flatten().map(|_| ()), Some(()), "{}", bytes.escape_ascii());
        }
        assert_eq!(parse(b"HTTP"), Err(Garbage));
        assert_eq!(parse(b"*9223372036854775807\r\n:1\r\n"), Ok(None), "a long list costs nothing until it comes");
    }

    #[test]
    fn no_mutation_panics() {
        let good = b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:-1\r\n".as_slice();
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
