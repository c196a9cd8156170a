//! How a connection begins, what a frame is, and how fields are cut into frames: h2spec's suite "http2", sections 3
//! and 4, 5.3 to 5.5, and 7.

use super::row::{
    FRAME_SIZE_ERROR, GET, NO_ERROR, POST, PROTOCOL_ERROR, Row, STALLED, Step, UNDECODABLE, Want, all, begun,
    continued, data, farewell, head, one, priority, priority_of, reset, row, whole,
};
use super::support::h2::{END_HEADERS, END_STREAM, PING, PREFACE, WITH_PRIORITY, block, frame, settings};

/// A type that nobody has given a meaning.
const UNKNOWN: u8 = 0x16;
/// Flags that a PING does not have.
const UNKNOWN_FLAGS: u8 = 0x16;
/// The bit before a stream's number.
const RESERVED: u32 = 1 << 31;
/// Larger than any frame that we allow for.
const TOO_LARGE: usize = 16_385;

pub(crate) fn rows() -> Vec<Row> {
    [beginnings(), formats(), sizes(), blocks(), dependencies(), errors(), extensions(), codes()]
        .into_iter()
        .flatten()
        .collect()
}

fn beginnings() -> Vec<Row> {
    vec![
        row(
            "http2/3.5/1",
            "RFC 9113, 3.4",
            "a preface",
            [Step::Send([PREFACE, &settings(&[])].concat()), Step::Want(Want::Settings), Step::Want(Want::Ack)],
        )
        .silent(),
        one(
            "http2/3.5/2",
            "RFC 9113, 3.4",
            "what is no preface",
            b"NO PREFACE AT ALL, BUT A LINE\r\n\r\n".into(),
            Want::Ends,
        )
        .silent(),
    ]
}

fn formats() -> Vec<Row> {
    let ping = |stream| frame(PING, UNKNOWN_FLAGS, stream, b"evenkeel");
    vec![
        one("http2/4.1/1", "RFC 9113, 4.1", "a frame of no known type", frame(UNKNOWN, 0, 0, &[0; 8]), Want::Alive),
        one("http2/4.1/2", "RFC 9113, 4.1", "flags of no known meaning", ping(0), Want::Pong(*b"evenkeel")),
        one("http2/4.1/3", "RFC 9113, 4.1", "the reserved bit", ping(RESERVED), Want::Pong(*b"evenkeel")),
    ]
}

fn sizes() -> Vec<Row> {
    let large = vec![b'x'; TOO_LARGE];
    let long = std::str::from_utf8(&large).expect("it is all x");
    vec![
        one(
            "http2/4.2/1",
            "RFC 9113, 4.2",
            "as much content as a frame may have",
            all([begun(1, &POST), data(1, END_STREAM, &large[1..])]),
            Want::Answer(1),
        ),
        one(
            "http2/4.2/2",
            "RFC 9113, 4.2",
            "more content than a frame may have",
            all([begun(1, &POST), data(1, END_STREAM, &large)]),
            Want::Dies(&[FRAME_SIZE_ERROR]),
        ),
        one(
            "http2/4.2/3",
            "RFC 9113, 4.2",
            "more fields than a frame may have",
            whole(1, &[&GET[..], &[("x-long", long)]].concat()),
            Want::Dies(&[FRAME_SIZE_ERROR]),
        ),
    ]
}

fn blocks() -> Vec<Row> {
    let rest = || continued(1, END_HEADERS, &block(&[("x-rest", "1")]));
    vec![
        one(
            "http2/4.3/1",
            "RFC 9113, 4.3",
            "a field without name and value",
            head(1, END_STREAM | END_HEADERS, b"\x40"),
            Want::Dies(UNDECODABLE),
        ),
        one(
            "http2/4.3/2",
            "RFC 9113, 4.3",
            "PRIORITY between two parts of the fields",
            all([head(1, 0, &block(&GET)), priority(1, 0, 255), rest()]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
        one(
            "http2/4.3/3",
            "RFC 9113, 4.3",
            "another stream's fields between two parts of the fields",
            all([head(1, 0, &block(&GET)), whole(3, &GET), rest()]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
    ]
}

/// RFC 9113 has given up dependencies (its section 5.3.2), and with them this rule: to keep it is allowed.
fn dependencies() -> Vec<Row> {
    let on_itself = [&priority_of(1, 255), &block(&GET)[..]].concat();
    vec![
        one(
            "http2/5.3.1/1",
            "RFC 7540, 5.3.1",
            "a request that depends on itself",
            head(1, END_STREAM | END_HEADERS | WITH_PRIORITY, &on_itself),
            Want::Reset(1, &[PROTOCOL_ERROR]),
        ),
        one(
            "http2/5.3.1/2",
            "RFC 7540, 5.3.1",
            "PRIORITY of a stream that depends on itself",
            priority(1, 1, 255),
            Want::Reset(1, &[PROTOCOL_ERROR]),
        ),
    ]
}

fn errors() -> Vec<Row> {
    let wrong = || frame(PING, 0, 3, &[0; 8]);
    vec![
        one("http2/5.4.1/1", "RFC 9113, 5.4.1", "the end after an error", wrong(), Want::Ends),
        one("http2/5.4.1/2", "RFC 9113, 5.4.1", "the word before it", wrong(), Want::Dies(&[PROTOCOL_ERROR])),
    ]
}

fn extensions() -> Vec<Row> {
    vec![
        one("http2/5.5/1", "RFC 9113, 5.5", "an extension's frame", frame(UNKNOWN, 0, 0, &[0; 8]), Want::Alive),
        one(
            "http2/5.5/2",
            "RFC 9113, 5.5",
            "an extension's frame within fields",
            all([head(1, END_STREAM, &block(&GET)), frame(UNKNOWN, 0, 0, &[0; 8])]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
    ]
}

/// What an unknown reason says is that there is one.
fn codes() -> Vec<Row> {
    vec![
        one("http2/7/1", "RFC 9113, 7", "GOAWAY for an unknown reason", farewell(0xff), Want::Dies(&[NO_ERROR])),
        one(
            "http2/7/2",
            "RFC 9113, 7",
            "a request given up for an unknown reason",
            all([begun(1, &STALLED), reset(1, 0xff)]),
            Want::Alive,
        ),
    ]
}
