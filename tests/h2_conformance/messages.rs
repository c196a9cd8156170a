//! What a request is: h2spec's suite "http2", section 8.
//!
//! What is none is an error of its stream (RFC 9113, section 8.1.1), of which the connection knows nothing.

use super::row::{GET, POST, PROTOCOL_ERROR, Row, Want, all, begun, data, one, whole};
use super::support::h2::{END_HEADERS, END_STREAM, block, frame};

const PUSH_PROMISE: u8 = 5;

pub(crate) fn rows() -> Vec<Row> {
    [endings(), fields(), pseudo(), lengths(), pushes()].into_iter().flatten().collect()
}

/// These frames are no request.
fn malformed(id: &'static str, rule: &'static str, what: &'static str, bytes: Vec<u8>) -> Row {
    one(id, rule, what, bytes, Want::Reset(1, &[PROTOCOL_ERROR]))
}

/// A GET with these fields behind its own.
fn more(fields: &[(&str, &str)]) -> Vec<u8> {
    whole(1, &[&GET, fields].concat())
}

/// A GET without the field at this place.
fn without(place: usize) -> Vec<u8> {
    whole(1, &[&GET[..place], &GET[place + 1..]].concat())
}

fn endings() -> Vec<Row> {
    let behind = |fields: &[(&str, &str)]| all([begun(1, &POST), data(1, 0, b"test"), begun(1, fields)]);
    vec![
        malformed("http2/8.1/1", "RFC 9113, 8.1", "trailers that do not end it", behind(&[("x-sum", "7")])),
        malformed(
            "http2/8.1.2.1/3",
            "RFC 9113, 8.3",
            "a pseudo-header field in trailers",
            behind(&[(":method", "POST")]),
        ),
    ]
}

fn fields() -> Vec<Row> {
    vec![
        one(
            "http2/8.1.2/1",
            "RFC 9113, 8.2.1",
            "a name in upper case",
            more(&[("X-UPPER", "1")]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
        malformed("http2/8.1.2.2/1", "RFC 9113, 8.2.2", "`connection`", more(&[("connection", "keep-alive")])),
        malformed(
            "http2/8.1.2.2/2",
            "RFC 9113, 8.2.2",
            "`te` with more than trailers",
            more(&[("trailers", "1"), ("te", "trailers, deflate")]),
        ),
    ]
}

fn pseudo() -> Vec<Row> {
    let late = [&[("x-early", "1")], &GET[..]].concat();
    let no_path = [GET[0], GET[1], (":path", ""), GET[3]];
    vec![
        one(
            "http2/8.1.2.1/1",
            "RFC 9113, 8.3",
            "an unknown pseudo-header field",
            more(&[(":unknown", "1")]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
        malformed("http2/8.1.2.1/2", "RFC 9113, 8.3", "one of answers", more(&[(":status", "200")])),
        malformed("http2/8.1.2.1/4", "RFC 9113, 8.3", "one behind others", whole(1, &late)),
        malformed("http2/8.1.2.3/1", "RFC 9113, 8.3.1", "an empty path", whole(1, &no_path)),
        malformed("http2/8.1.2.3/2", "RFC 9113, 8.3.1", "no method", without(0)),
        malformed("http2/8.1.2.3/3", "RFC 9113, 8.3.1", "no scheme", without(1)),
        malformed("http2/8.1.2.3/4", "RFC 9113, 8.3.1", "no path", without(2)),
        malformed("http2/8.1.2.3/5", "RFC 9113, 8.3.1", "two methods", more(&[GET[0]])),
        malformed("http2/8.1.2.3/6", "RFC 9113, 8.3.1", "two schemes", more(&[GET[1]])),
        // h2spec sends the method twice here, too.
        malformed("http2/8.1.2.3/7", "RFC 9113, 8.3.1", "two paths", more(&[GET[2]])),
    ]
}

fn lengths() -> Vec<Row> {
    let sized = || begun(1, &[&POST[..], &[("content-length", "1")]].concat());
    vec![
        malformed(
            "http2/8.1.2.6/1",
            "RFC 9113, 8.1.1",
            "content longer than said",
            all([sized(), data(1, END_STREAM, b"test")]),
        ),
        malformed(
            "http2/8.1.2.6/2",
            "RFC 9113, 8.1.1",
            "content in two frames longer than said",
            all([sized(), data(1, 0, b"test"), data(1, END_STREAM, b"test")]),
        ),
    ]
}

fn pushes() -> Vec<Row> {
    let promised = [&[0, 0, 0, 3], &block(&GET)[..]].concat();
    let promise = frame(PUSH_PROMISE, END_HEADERS, 1, &promised);
    vec![one("http2/8.2/1", "RFC 9113, 8.4", "a promise", promise, Want::Dies(&[PROTOCOL_ERROR]))]
}
