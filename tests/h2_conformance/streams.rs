//! The states of streams and their numbers: h2spec's suite "http2", section 5.1.
//!
//! Of a stream that is over, RFC 9113 says less than RFC 7540 did: what still comes may end the connection, and may be
//! an error of the stream alone (its sections 5.1 and 6.1). h2spec asks by the older one.

use super::STREAMS;
use super::row::{
    CANCEL, GET, PROTOCOL_ERROR, REFUSED_STREAM, Row, STALLED, STREAM_CLOSED, Step, Want, all, begun, continued, data,
    one, reset, row, whole, window,
};
use super::support::h2::{END_HEADERS, END_STREAM, block, settings};

pub(crate) fn rows() -> Vec<Row> {
    [idle(), half_closed(), given_up(), over(), numbers(), limit()].into_iter().flatten().collect()
}

fn more() -> Vec<u8> {
    continued(1, END_HEADERS, &block(&[("x-more", "1")]))
}

fn idle() -> Vec<Row> {
    let dies = |id, what, bytes| one(id, "RFC 9113, 5.1", what, bytes, Want::Dies(&[PROTOCOL_ERROR]));
    vec![
        dies("http2/5.1/1", "idle: DATA", data(1, END_STREAM, b"test")),
        dies("http2/5.1/2", "idle: RST_STREAM", reset(1, CANCEL)),
        dies("http2/5.1/3", "idle: WINDOW_UPDATE", window(1, 100)),
        dies("http2/5.1/4", "idle: CONTINUATION", continued(1, END_HEADERS, &block(&GET))),
    ]
}

fn half_closed() -> Vec<Row> {
    let asked = || whole(1, &STALLED);
    vec![
        one(
            "http2/5.1/5",
            "RFC 9113, 5.1",
            "request ended: DATA",
            all([asked(), data(1, END_STREAM, b"test")]),
            Want::Dies(&[STREAM_CLOSED]),
        ),
        one(
            "http2/5.1/6",
            "RFC 9113, 5.1",
            "request ended: HEADERS",
            all([asked(), asked()]),
            Want::Dies(&[STREAM_CLOSED]),
        ),
        one(
            "http2/5.1/7",
            "RFC 9113, 6.10",
            "request ended: CONTINUATION",
            all([asked(), more()]),
            Want::Dies(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
    ]
}

fn given_up() -> Vec<Row> {
    let asked = || all([begun(1, &STALLED), reset(1, CANCEL)]);
    vec![
        one(
            "http2/5.1/8",
            "RFC 9113, 5.1",
            "given up: DATA",
            all([asked(), data(1, END_STREAM, b"test")]),
            Want::Reset(1, &[STREAM_CLOSED]),
        ),
        one(
            "http2/5.1/9",
            "RFC 9113, 5.1",
            "given up: HEADERS",
            all([asked(), whole(1, &GET)]),
            Want::Dies(&[STREAM_CLOSED]),
        ),
        one(
            "http2/5.1/10",
            "RFC 9113, 6.10",
            "given up: CONTINUATION",
            all([asked(), more()]),
            Want::Dies(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
    ]
}

fn over() -> Vec<Row> {
    let cases = [
        ("http2/5.1/11", "RFC 9113, 5.1", "answered: DATA", data(1, END_STREAM, b"test"), &[STREAM_CLOSED][..]),
        ("http2/5.1/12", "RFC 9113, 5.1", "answered: HEADERS", whole(1, &GET), &[STREAM_CLOSED]),
        ("http2/5.1/13", "RFC 9113, 6.10", "answered: CONTINUATION", more(), &[STREAM_CLOSED, PROTOCOL_ERROR]),
    ];
    cases
        .into_iter()
        .map(|(id, rule, what, bytes, codes)| {
            let steps = [
                Step::Send(whole(1, &GET)),
                Step::Want(Want::Whole(1)),
                Step::Send(bytes),
                Step::Want(Want::Dies(codes)),
            ];
            row(id, rule, what, steps)
        })
        .collect()
}

fn numbers() -> Vec<Row> {
    vec![
        one("http2/5.1.1/1", "RFC 9113, 5.1.1", "an even stream", whole(2, &GET), Want::Dies(&[PROTOCOL_ERROR])),
        one(
            "http2/5.1.1/2",
            "RFC 9113, 5.1.1",
            "a stream before the last one",
            all([whole(5, &STALLED), whole(3, &STALLED)]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
    ]
}

fn limit() -> Vec<Row> {
    let requests = (0..=STREAMS).flat_map(|number| whole(1 + 2 * number, &STALLED));
    let bytes = settings(&[(4, 0)]).into_iter().chain(requests).collect();
    let last = 1 + 2 * STREAMS;
    vec![one(
        "http2/5.1.2/1",
        "RFC 9113, 5.1.2",
        "more streams than allowed",
        bytes,
        Want::Reset(last, &[REFUSED_STREAM, PROTOCOL_ERROR]),
    )]
}
