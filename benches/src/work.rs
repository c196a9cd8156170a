//! The kinds of work that peers are compared on.

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kind {
    pub name: &'static str,
    /// What one unit of it is called in the report.
    pub unit: &'static str,
    /// Units in one exchange.
    pub units: f64,
    pub entry: Entry,
    pub exchange: Exchange,
    pub connection: Connection,
    pub dress: Dress,
    pub speech: Speech,
    /// Connections at once.
    pub connections: usize,
    pub rate: Rate,
}

/// Which door of a peer the work goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Http,
    /// HTTP over TLS, both versions by ALPN.
    Https,
    /// TCP, to an origin that echoes.
    Echo,
    /// TCP, to an origin that echoes once and closes.
    EchoOnce,
    /// TCP, to an origin that answers any bytes by [`BULK`] of its own.
    Bulk,
}

/// One question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    Get(&'static str),
    /// So many bytes are sent; the answer has none.
    Post(usize),
    /// So many bytes there and back.
    Echo(usize),
    /// A few bytes there, [`BULK`] back.
    Bulk,
    /// TLS is agreed upon and ended; nothing is asked.
    Handshake,
}

/// How long a client's connection lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Kept,
    /// One for each exchange; the server's side ends first.
    New,
}

/// What a connection wears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dress {
    Plain,
    /// TLS 1.3 from nothing.
    Tls,
    /// TLS 1.3, taking up an earlier session.
    Resumed,
}

/// How a connection is spoken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    OneAtATime,
    /// HTTP/2, so many streams at once.
    Streams(usize),
}

/// At which rate the peers work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Share of what the slowest comparable peer can do.
    OfSlowest(f64),
    /// Share of what HAProxy can do; for latencies.
    OfHaproxy(f64),
}

/// Bytes that the bulk door of the origin sends at a time.
pub const BULK: usize = 8 << 20;

/// Share of the slowest peer's full speed at which all are measured: CPU per request falls as load rises, because more
/// is done per wake-up, so only equal rates compare.
const SHARE: f64 = 0.7;

const HTTP: Kind = Kind {
    name: "http-keepalive-1k",
    unit: "request",
    units: 1.0,
    entry: Entry::Http,
    exchange: Exchange::Get("/1k"),
    connection: Connection::Kept,
    dress: Dress::Plain,
    speech: Speech::OneAtATime,
    connections: 64,
    rate: Rate::OfSlowest(SHARE),
};

const HTTPS: Kind = Kind { name: "tls-keepalive-1k", entry: Entry::Https, dress: Dress::Tls, ..HTTP };

const HANDSHAKE: Kind = Kind {
    name: "tls-handshake-full",
    unit: "handshake",
    exchange: Exchange::Handshake,
    connection: Connection::New,
    connections: 16,
    ..HTTPS
};

const ECHO: Kind =
    Kind { name: "tcp-small", unit: "message", entry: Entry::Echo, exchange: Exchange::Echo(64), ..HTTP };

/// The plainest kind of all.
pub const KEEPALIVE: Kind = HTTP;

/// All kinds, in the order of the report.
pub const KINDS: [Kind; 16] = [
    HTTP,
    Kind { name: "http-new-connection", connection: Connection::New, connections: 32, ..HTTP },
    Kind { name: "http-64k", exchange: Exchange::Get("/64k"), connections: 32, ..HTTP },
    Kind { name: "http-1m", exchange: Exchange::Get("/1m"), connections: 8, ..HTTP },
    Kind { name: "upload-64k", exchange: Exchange::Post(64 << 10), connections: 32, ..HTTP },
    Kind { name: "upload-1m", exchange: Exchange::Post(1 << 20), connections: 8, ..HTTP },
    ECHO,
    Kind {
        name: "tcp-connection",
        unit: "connection",
        entry: Entry::EchoOnce,
        connection: Connection::New,
        connections: 32,
        ..ECHO
    },
    Kind {
        name: "tcp-bulk",
        unit: "GB",
        units: BULK as f64 / 1e9,
        entry: Entry::Bulk,
        exchange: Exchange::Bulk,
        connections: 4,
        ..HTTP
    },
    HANDSHAKE,
    Kind { name: "tls-handshake-resumed", dress: Dress::Resumed, ..HANDSHAKE },
    HTTPS,
    Kind { name: "h2-1k", speech: Speech::Streams(8), connections: 8, ..HTTPS },
    Kind { name: "latency-20", rate: Rate::OfHaproxy(0.2), ..HTTP },
    Kind { name: "latency-50", rate: Rate::OfHaproxy(0.5), ..HTTP },
    Kind { name: "latency-70", rate: Rate::OfHaproxy(0.7), ..HTTP },
];

impl Exchange {
    /// The bytes that ask, without HTTP/2.
    pub fn question(self, host: &str, connection: Connection) -> Vec<u8> {
        let close = if connection == Connection::New { "Connection: close\r\n" } else { "" };
        let fields = format!("HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}");
        match self {
            Self::Get(path) => format!("GET {path} {fields}\r\n").into_bytes(),
            Self::Post(length) => {
                let mut bytes = format!("POST /upload {fields}Content-Length: {length}\r\n\r\n").into_bytes();
                bytes.resize(bytes.len() + length, b'u');
                bytes
            }
            Self::Echo(length) => vec![b'e'; length],
            Self::Bulk => vec![b'b'; 16],
            Self::Handshake => Vec::new(),
        }
    }
}
