//! The language of a line: text with `$variables`, read once when the configuration is, and kept as pieces.
//!
//! Two kinds of facts: what the request said is taken while its head is there (an [`Early`] for each place), all else is
//! known at the end. Which ones a line wants is settled here, so that no request pays for a fact that nobody reads.

use super::escape::Escape;

/// A line in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// What it is made of, in order.
    pub pieces: Vec<Piece>,
    /// How it quotes.
    pub escape: Escape,
    /// What is taken from the request; [`Piece::Early`] are positions here.
    pub early: Vec<Early>,
    /// Names of the answer's headers that are taken; [`Piece::Answer`] are positions here.
    pub answer: Vec<Box<str>>,
}

/// One piece of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(Box<str>),
    /// Something of the request.
    Early(usize),
    /// A header of the answer.
    Answer(usize),
    /// Something known at the end.
    Late(Late),
}

/// What is taken from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Early {
    /// Its method.
    Method,
    /// The host it names.
    Host,
    /// Path and query.
    Target,
    /// The path alone.
    Path,
    /// The query alone.
    Query,
    /// Path and query that the backend is asked for.
    BackendTarget,
    /// The path of that alone.
    BackendPath,
    /// `HTTP/1.1`.
    Protocol,
    /// Method, target and protocol with blanks between them.
    Request,
    /// Its identity.
    RequestId,
    /// What was agreed on with the client.
    Tls(TlsFact),
    /// A header, the first of that name; lower case.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

/// What was agreed on with the client over TLS; nothing without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFact {
    /// `TLSv1.3`.
    Version,
    /// The cipher suite, by its name at IANA.
    Cipher,
    /// The name that the client has asked for (SNI).
    ServerName,
    /// Who holds the client's certificate, where it has shown one that is trusted.
    ClientSubject,
}

/// What is known at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// RFC 3339, microseconds, UTC.
    Time,
    /// As the Common Log Format has it: `21/Nov/2026:19:40:31 +0000`.
    TimeCommon,
    /// Seconds since 1970 with microseconds.
    TimeUnix,
    /// The listener's name.
    Listener,
    /// The client's address.
    Client,
    /// The pool's name.
    Pool,
    /// The name of the last backend tried.
    Backend,
    /// The status sent; 0 where nothing was.
    Status,
    /// Bytes from the client, of the body.
    ReceivedBytes,
    /// Bytes to the client.
    SentBytes,
    /// Attempts in all.
    Tries,
    /// Attempts after the first.
    Retries,
    /// A length of time.
    Lasted(Span, Unit),
    /// `ok`, or the cause.
    End,
    /// How far it had come.
    Phase,
}

/// Which length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Waiting for a backend.
    Queued,
    /// Connecting to it.
    Connect,
    /// From the request sent to the head of its answer.
    Response,
    /// In all.
    Total,
}

/// In what a length of time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds with six decimals.
    Seconds,
    /// Milliseconds with three.
    Millis,
}

/// What a name stands for.
enum Known {
    Early(Early),
    Late(Late),
}

/// Names of variables without an argument.
const NAMES: &[(&str, Known)] = &[
    ("time", Known::Late(Late::Time)),
    ("time_common", Known::Late(Late::TimeCommon)),
    ("time_unix", Known::Late(Late::TimeUnix)),
    ("listener", Known::Late(Late::Listener)),
    ("client", Known::Late(Late::Client)),
    // As the rules of a listener call it.
    ("client_ip", Known::Late(Late::Client)),
    ("method", Known::Early(Early::Method)),
    ("host", Known::Early(Early::Host)),
    ("target", Known::Early(Early::Target)),
    ("path", Known::Early(Early::Path)),
    ("query", Known::Early(Early::Query)),
    ("backend_target", Known::Early(Early::BackendTarget)),
    ("backend_path", Known::Early(Early::BackendPath)),
    ("protocol", Known::Early(Early::Protocol)),
    ("request", Known::Early(Early::Request)),
    ("request_id", Known::Early(Early::RequestId)),
    ("tls_version", Known::Early(Early::Tls(TlsFact::Version))),
    ("tls_cipher", Known::Early(Early::Tls(TlsFact::Cipher))),
    ("tls_server_name", Known::Early(Early::Tls(TlsFact::ServerName))),
    ("tls_client_subject", Known::Early(Early::Tls(TlsFact::ClientSubject))),
    ("status", Known::Late(Late::Status)),
    ("pool", Known::Late(Late::Pool)),
    ("backend", Known::Late(Late::Backend)),
    ("received_bytes", Known::Late(Late::ReceivedBytes)),
    ("sent_bytes", Known::Late(Late::SentBytes)),
    ("tries", Known::Late(Late::Tries)),
    ("retries", Known::Late(Late::Retries)),
    ("queued_seconds", Known::Late(Late::Lasted(Span::Queued, Unit::Seconds))),
    ("connect_seconds", Known::Late(Late::Lasted(Span::Connect, Unit::Seconds))),
    ("response_seconds", Known::Late(Late::Lasted(Span::Response, Unit::Seconds))),
    ("seconds", Known::Late(Late::Lasted(Span::Total, Unit::Seconds))),
    ("queued_ms", Known::Late(Late::Lasted(Span::Queued, Unit::Millis))),
    ("connect_ms", Known::Late(Late::Lasted(Span::Connect, Unit::Millis))),
    ("response_ms", Known::Late(Late::Lasted(Span::Response, Unit::Millis))),
    ("ms", Known::Late(Late::Lasted(Span::Total, Unit::Millis))),
    ("end", Known::Late(Late::End)),
    ("phase", Known::Late(Late::Phase)),
];

/// Names that take an argument behind a colon.
pub const WITH_ARGUMENT: [&str; 3] = ["header", "response_header", "cookie"];

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no variable of this name.
    Unknown(String),
    /// This one needs a name behind a colon.
    Argument(&'static str),
    /// This one takes none.
    NoArgument(String),
    /// A brace that is not closed.
    Open,
    /// A dollar sign without a name.
    Bare,
    /// A control character, or more than `MAX_PIECES` variables.
    Unfit,
}

/// Variables of one line at most: more is no line that anybody reads.
const MAX_PIECES: usize = 256;

/// Names of all variables that take no argument.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// One JSON object with everything.
pub const JSON: &str = "{\"time\":\"$time\",\"listener\":\"$listener\",\"client\":\"$client\",\"method\":\"$method\",\
    \"host\":\"$host\",\"target\":\"$target\",\"status\":$status,\"pool\":\"$pool\",\"backend\":\"$backend\",\
    \"received_bytes\":$received_bytes,\"sent_bytes\":$sent_bytes,\"tries\":$tries,\"retries\":$retries,\
    \"queued_seconds\":$queued_seconds,\"connect_seconds\":$connect_seconds,\"response_seconds\":$response_seconds,\
    \"seconds\":$seconds,\"end\":\"$end\",\"phase\":\"$phase\",\"request_id\":\"$request_id\"}";
/// A line for people, of a request.
pub const TEXT: &str = "$time $client $listener \"$method $host$target\" $status $pool/$backend \
    $queued_ms/$connect_ms/$response_ms/${ms}ms in=$received_bytes out=$sent_bytes retries=$retries $end $phase $request_id";
/// The same, of a connection.
pub const TEXT_TCP: &str = "$time $client $listener tcp $pool/$backend $queued_ms/$connect_ms/$response_ms/${ms}ms \
    in=$received_bytes out=$sent_bytes retries=$retries $end $phase";
/// The same, of a flow of datagrams.
pub const TEXT_UDP: &str = "$time $client $listener udp $pool/$backend $queued_ms/$connect_ms/$response_ms/${ms}ms \
    in=$received_bytes out=$sent_bytes retries=$retries $end $phase";
/// The Common Log Format.
pub const COMMON: &str = "$client - - [$time_common] \"$request\" $status $sent_bytes";
/// The same with who sent the client here, and what the client is.
pub const COMBINED: &str =
    "$client - - [$time_common] \"$request\" $status $sent_bytes \"$header:referer\" \"$header:user-agent\"";

impl Format {
    /// Reads a line. One that begins with a brace is JSON, and quotes as JSON does.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let escape = if text.starts_with('{') { Escape::Json } else { Escape::Text };
        let mut format = Self { pieces: Vec::new(), escape, early: Vec::new(), answer: Vec::new() };
        let mut rest = text;
        let mut plain = String::new();
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let (name, argument, after) = reference(after)?;
            format.text(&mut plain)?;
            format.variable(name, argument)?;
            rest = after;
        }
        plain.push_str(rest);
        format.text(&mut plain)?;
        if format.pieces.len() > MAX_PIECES { Err(Fault::Unfit) } else { Ok(format) }
    }

    fn text(&mut self, plain: &mut String) -> Result<(), Fault> {
        if plain.chars().any(char::is_control) {
            return Err(Fault::Unfit);
        }
        if !plain.is_empty() {
            self.pieces.push(Piece::Text(std::mem::take(plain).into()));
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, argument: Option<&str>) -> Result<(), Fault> {
        let piece = match (name, argument) {
            ("header", Some(header)) => self.early(Early::Header(header.to_ascii_lowercase().into())),
            ("cookie", Some(cookie)) => self.early(Early::Cookie(cookie.into())),
            ("response_header", Some(header)) => {
                self.answer.push(header.to_ascii_lowercase().into());
                Piece::Answer(self.answer.len() - 1)
            }
            _ => match (NAMES.iter().find(|(known, _)| *known == name), argument) {
                (Some((_, Known::Late(late))), None) => Piece::Late(*late),
                (Some((_, Known::Early(early))), None) => self.early(early.clone()),
                (Some(_), Some(_)) => return Err(Fault::NoArgument(name.to_owned())),
                (None, _) => match WITH_ARGUMENT.iter().find(|known| **known == name) {
                    Some(known) => return Err(Fault::Argument(known)),
                    None => return Err(Fault::Unknown(name.to_owned())),
                },
            },
        };
        self.pieces.push(piece);
        Ok(())
    }

    fn early(&mut self, early: Early) -> Piece {
        let at = self.early.iter().position(|taken| *taken == early).unwrap_or_else(|| {
            self.early.push(early);
            self.early.len() - 1
        });
        Piece::Early(at)
    }
}

/// Name and argument behind a dollar sign, and what follows. In braces, or as far as letters, digits and `_` go; an
/// argument may have hyphens, too.
fn reference(text: &str) -> Result<(&str, Option<&str>, &str), Fault> {
    let word = |text: &str, more: &str| {
        text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && !more.contains(c)).unwrap_or(text.len())
    };
    if let Some(inside) = text.strip_prefix('{') {
        let (whole, after) = inside.split_once('}').ok_or(Fault::Open)?;
        let (name, argument) = whole.split_once(':').map_or((whole, None), |(name, rest)| (name, Some(rest)));
        if argument.is_some_and(|argument| argument.is_empty() || word(argument, "-.") != argument.len()) {
            return Err(Fault::Unknown(whole.to_owned()));
        }
        return if name.is_empty() { Err(Fault::Bare) } else { Ok((name, argument, after)) };
    }
    let (name, after) = text.split_at(word(text, ""));
    if name.is_empty() {
        return Err(Fault::Bare);
    }
    // A colon belongs to those alone that take an argument: `$client:` is a client and a colon.
    if let Some(behind) = after.strip_prefix(':').filter(|_| WITH_ARGUMENT.contains(&name)) {
        let (argument, after) = behind.split_at(word(behind, "-"));
        return Ok((name, Some(argument).filter(|argument| !argument.is_empty()), after));
    }
    Ok((name, None, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_variables_become_pieces() {
        let format = Format::parse("a $status:${header:User-Agent}-$$ $header:user-agent.$host").unwrap();
        assert_eq!(
            format.pieces,
            [
                Piece::Text("a ".into()),
                Piece::Late(Late::Status),
                Piece::Text(":".into()),
                Piece::Early(0),
                Piece::Text("-$ ".into()),
                Piece::Early(0),
                Piece::Text(".".into()),
                Piece::Early(1),
            ]
        );
        assert_eq!(format.early, [Early::Header("user-agent".into()), Early::Host]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, fault) in [
            ("$nobody", Fault::Unknown("nobody".into())),
            ("$header", Fault::Argument("header")),
            ("$header: x", Fault::Argument("header")),
            ("${status:x}", Fault::NoArgument("status".into())),
            ("${status", Fault::Open),
            ("5 $", Fault::Bare),
            ("$ x", Fault::Bare),
            ("${}", Fault::Bare),
            ("a\nb", Fault::Unfit),
        ] {
            assert_eq!(Format::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn what_comes_with_the_program_can_be_read() {
        for (text, escape) in [
            (JSON, Escape::Json),
            (TEXT, Escape::Text),
            (TEXT_TCP, Escape::Text),
            (TEXT_UDP, Escape::Text),
            (COMBINED, Escape::Text),
        ] {
            assert_eq!(Format::parse(text).unwrap().escape, escape, "{text}");
        }
        assert_eq!(Format::parse(TEXT_TCP).unwrap().early, [], "a connection has no request");
    }
}
