//! The kinds of work that peers are compared on.

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    /// What one unit of it is called in the report.
    pub unit: &'static str,
    pub entry: Entry,
    pub exchange: Exchange,
    pub connection: Connection,
    /// Connections at once.
    pub connections: usize,
}

/// Which door of a peer the work goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Http,
    /// TCP, to an origin that echoes.
    Echo,
    /// TCP, to an origin that echoes once and closes.
    EchoOnce,
}

/// One question and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    Get(&'static str),
    /// So many bytes there and back.
    Echo(usize),
}

/// How long a client's connection lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Kept,
    /// One for each exchange; the server's side ends first.
    New,
}

/// All kinds, in the order of the report.
pub const KINDS: [Kind; 6] = [
    http("http-keepalive-1k", "/1k", Connection::Kept, 64),
    http("http-new-connection", "/1k", Connection::New, 32),
    http("http-64k", "/64k", Connection::Kept, 32),
    http("http-1m", "/1m", Connection::Kept, 8),
    Kind {
        name: "tcp-small",
        unit: "message",
        entry: Entry::Echo,
        exchange: Exchange::Echo(64),
        connection: Connection::Kept,
        connections: 64,
    },
    Kind {
        name: "tcp-connection",
        unit: "connection",
        entry: Entry::EchoOnce,
        exchange: Exchange::Echo(64),
        connection: Connection::New,
        connections: 32,
    },
];

const fn http(name: &'static str, path: &'static str, connection: Connection, connections: usize) -> Kind {
    Kind { name, unit: "request", entry: Entry::Http, exchange: Exchange::Get(path), connection, connections }
}

impl Exchange {
    /// The bytes that ask.
    pub fn question(self, host: &str, connection: Connection) -> Vec<u8> {
        let close = if connection == Connection::New { "Connection: close\r\n" } else { "" };
        match self {
            Self::Get(path) => {
                format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}\r\n")
                    .into_bytes()
            }
            Self::Echo(length) => vec![b'e'; length],
        }
    }
}
