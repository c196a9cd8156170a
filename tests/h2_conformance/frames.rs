//! Each kind of frame: h2spec's suite "http2", section 6.

use super::row::{
    CANCEL, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GET, POST, PROTOCOL_ERROR, Row, STALLED, STREAM_CLOSED, Step, Want,
    all, begun, continued, data, head, one, priority, reset, row, whole, window,
};
use super::support::h2::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame, settings,
};

const ENABLE_PUSH: u16 = 2;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
/// As large as a window may be.
const LARGEST: u32 = (1 << 31) - 1;

pub(crate) fn rows() -> Vec<Row> {
    let rooms = [
        contents(),
        heads(),
        priorities_and_resets(),
        settings_frames(),
        values(),
        pings(),
        window_frames(),
        windows(),
        continuations(),
    ];
    rooms.into_iter().flatten().collect()
}

/// Whatever is wrong here ends the connection for this reason.
fn dies(id: &'static str, rule: &'static str, what: &'static str, bytes: Vec<u8>, codes: &'static [u32]) -> Row {
    one(id, rule, what, bytes, Want::Dies(codes))
}

fn contents() -> Vec<Row> {
    let sized = [&POST[..], &[("content-length", "4")]].concat();
    // Six bytes of padding, where there are four left.
    let padded = frame(DATA, END_STREAM | PADDED, 1, b"\x06test");
    vec![
        dies("http2/6.1/1", "RFC 9113, 6.1", "DATA on stream 0", data(0, END_STREAM, b"test"), &[PROTOCOL_ERROR]),
        one(
            "http2/6.1/2",
            "RFC 9113, 6.1",
            "DATA behind a whole request",
            all([whole(1, &STALLED), data(1, END_STREAM, b"test")]),
            Want::Dies(&[STREAM_CLOSED]),
        ),
        dies(
            "http2/6.1/3",
            "RFC 9113, 6.1",
            "more padding than DATA",
            all([begun(1, &sized), padded]),
            &[PROTOCOL_ERROR],
        ),
    ]
}

fn heads() -> Vec<Row> {
    let block = block(&GET);
    let too_much = u8::try_from(block.len() + 1).expect("the fields are short");
    let rest = || continued(1, END_HEADERS, b"");
    vec![
        dies(
            "http2/6.2/1",
            "RFC 9113, 6.2",
            "PRIORITY before the end of the fields",
            all([head(1, 0, &block), priority(1, 0, 255), rest()]),
            &[PROTOCOL_ERROR],
        ),
        dies(
            "http2/6.2/2",
            "RFC 9113, 6.2",
            "another stream before the end of the fields",
            all([head(1, 0, &block), whole(3, &GET), rest()]),
            &[PROTOCOL_ERROR],
        ),
        dies("http2/6.2/3", "RFC 9113, 6.2", "HEADERS on stream 0", whole(0, &GET), &[PROTOCOL_ERROR]),
        dies(
            "http2/6.2/4",
            "RFC 9113, 6.2",
            "more padding than fields",
            head(1, END_STREAM | END_HEADERS | PADDED, &[&[too_much], &block[..]].concat()),
            &[PROTOCOL_ERROR],
        ),
    ]
}

fn priorities_and_resets() -> Vec<Row> {
    vec![
        dies("http2/6.3/1", "RFC 9113, 6.3", "PRIORITY on stream 0", priority(0, 0, 255), &[PROTOCOL_ERROR]),
        one(
            "http2/6.3/2",
            "RFC 9113, 6.3",
            "PRIORITY of four bytes",
            all([whole(1, &STALLED), frame(PRIORITY, 0, 1, &[0; 4])]),
            Want::Dies(&[FRAME_SIZE_ERROR]),
        ),
        dies("http2/6.4/1", "RFC 9113, 6.4", "RST_STREAM on stream 0", reset(0, CANCEL), &[PROTOCOL_ERROR]),
        dies("http2/6.4/2", "RFC 9113, 6.4", "RST_STREAM of an idle stream", reset(1, CANCEL), &[PROTOCOL_ERROR]),
        dies(
            "http2/6.4/3",
            "RFC 9113, 6.4",
            "RST_STREAM of three bytes",
            all([whole(1, &STALLED), frame(RST_STREAM, 0, 1, &[0; 3])]),
            &[FRAME_SIZE_ERROR],
        ),
    ]
}

fn settings_frames() -> Vec<Row> {
    vec![
        dies(
            "http2/6.5/1",
            "RFC 9113, 6.5",
            "an acknowledgement with content",
            frame(SETTINGS, ACK, 0, &[0]),
            &[FRAME_SIZE_ERROR],
        ),
        dies(
            "http2/6.5/2",
            "RFC 9113, 6.5",
            "settings on a stream",
            frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100]),
            &[PROTOCOL_ERROR],
        ),
        dies(
            "http2/6.5/3",
            "RFC 9113, 6.5",
            "a setting and a third",
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 2]),
            &[FRAME_SIZE_ERROR],
        ),
    ]
}

fn values() -> Vec<Row> {
    let wrong = |id, what, key, value, codes| dies(id, "RFC 9113, 6.5.2", what, settings(&[(key, value)]), codes);
    vec![
        wrong("http2/6.5.2/1", "push neither on nor off", ENABLE_PUSH, 2, &[PROTOCOL_ERROR]),
        wrong("http2/6.5.2/2", "too large a window", INITIAL_WINDOW_SIZE, LARGEST + 1, &[FLOW_CONTROL_ERROR]),
        wrong("http2/6.5.2/3", "too small a frame", MAX_FRAME_SIZE, 16_383, &[PROTOCOL_ERROR]),
        wrong("http2/6.5.2/4", "too large a frame", MAX_FRAME_SIZE, 1 << 24, &[PROTOCOL_ERROR]),
        one("http2/6.5.2/5", "RFC 9113, 6.5.2", "an unknown setting", settings(&[(0xff, 1)]), Want::Alive),
        row(
            "http2/6.5.3/1",
            "RFC 9113, 6.5.3",
            "the same setting twice, of which the last one holds",
            [
                Step::Send(settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)])),
                Step::Want(Want::Ack),
                Step::Send(whole(1, &GET)),
                Step::Want(Want::Data(1)),
                Step::Want(Want::Still),
            ],
        ),
        one("http2/6.5.3/2", "RFC 9113, 6.5.3", "settings", settings(&[(ENABLE_PUSH, 0)]), Want::Ack),
    ]
}

fn pings() -> Vec<Row> {
    let answered = || frame(PING, ACK, 0, b"nobody's");
    vec![
        one("http2/6.7/1", "RFC 9113, 6.7", "PING", frame(PING, 0, 0, b"evenkeel"), Want::Pong(*b"evenkeel")),
        one("http2/6.7/2", "RFC 9113, 6.7", "an answer to no PING", answered(), Want::Alive),
        dies("http2/6.7/3", "RFC 9113, 6.7", "PING on a stream", frame(PING, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
        dies("http2/6.7/4", "RFC 9113, 6.7", "PING of six bytes", frame(PING, 0, 0, &[0; 6]), &[FRAME_SIZE_ERROR]),
        dies("http2/6.8/1", "RFC 9113, 6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
    ]
}

fn window_frames() -> Vec<Row> {
    let twice = |stream| all([window(stream, LARGEST), window(stream, LARGEST)]);
    vec![
        dies("http2/6.9/1", "RFC 9113, 6.9", "a window opened by nothing", window(0, 0), &[PROTOCOL_ERROR]),
        one(
            "http2/6.9/2",
            "RFC 9113, 6.9",
            "a stream's window opened by nothing",
            all([begun(1, &STALLED), window(1, 0)]),
            Want::Dies(&[PROTOCOL_ERROR]),
        ),
        dies(
            "http2/6.9/3",
            "RFC 9113, 6.9",
            "WINDOW_UPDATE of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
            &[FRAME_SIZE_ERROR],
        ),
        dies("http2/6.9.1/2", "RFC 9113, 6.9.1", "a window opened too far", twice(0), &[FLOW_CONTROL_ERROR]),
        one(
            "http2/6.9.1/3",
            "RFC 9113, 6.9.1",
            "a stream's window opened too far",
            all([begun(1, &STALLED), twice(1)]),
            Want::Reset(1, &[FLOW_CONTROL_ERROR]),
        ),
    ]
}

fn windows() -> Vec<Row> {
    let opens = |size| Step::Send(settings(&[(INITIAL_WINDOW_SIZE, size)]));
    vec![
        row(
            "http2/6.9.1/1",
            "RFC 9113, 6.9.1",
            "a window of one byte",
            [
                opens(1),
                Step::Want(Want::Ack),
                Step::Send(whole(1, &GET)),
                Step::Want(Want::Data(1)),
                Step::Want(Want::Still),
            ],
        ),
        row(
            "http2/6.9.2/1",
            "RFC 9113, 6.9.2",
            "windows opened by a setting while a stream is open",
            [
                opens(0),
                Step::Want(Want::Ack),
                Step::Send(whole(1, &GET)),
                Step::Want(Want::Answer(1)),
                Step::Want(Want::Still),
                opens(1),
                Step::Want(Want::Data(1)),
                Step::Want(Want::Still),
            ],
        ),
        // Three bytes sent of a window of three, which is of two then: two more open it by one.
        row(
            "http2/6.9.2/2",
            "RFC 9113, 6.9.2",
            "a window of less than nothing",
            [
                opens(3),
                Step::Want(Want::Ack),
                Step::Send(whole(1, &GET)),
                Step::Want(Want::Data(3)),
                opens(2),
                Step::Want(Want::Ack),
                Step::Send(window(1, 2)),
                Step::Want(Want::Data(1)),
                Step::Want(Want::Still),
            ],
        ),
        dies(
            "http2/6.9.2/3",
            "RFC 9113, 6.9.2",
            "a setting that opens windows too far",
            settings(&[(INITIAL_WINDOW_SIZE, LARGEST + 1)]),
            &[FLOW_CONTROL_ERROR],
        ),
    ]
}

fn continuations() -> Vec<Row> {
    let begins = || head(1, END_STREAM, &block(&GET));
    let posts = || head(1, 0, &block(&POST));
    let part = |stream, flags| continued(stream, flags, &block(&[("x-part", "1")]));
    let broken = |id, what, bytes| dies(id, "RFC 9113, 6.10", what, bytes, &[PROTOCOL_ERROR]);
    vec![
        one(
            "http2/6.10/1",
            "RFC 9113, 6.10",
            "fields in three frames",
            all([begins(), part(1, 0), part(1, END_HEADERS)]),
            Want::Answer(1),
        ),
        broken(
            "http2/6.10/2",
            "DATA before the end of the fields",
            all([posts(), part(1, 0), data(1, END_STREAM, b"x")]),
        ),
        broken("http2/6.10/3", "CONTINUATION on stream 0", all([begins(), part(0, END_HEADERS)])),
        broken("http2/6.10/4", "CONTINUATION behind whole fields", all([whole(1, &STALLED), part(1, END_HEADERS)])),
        broken(
            "http2/6.10/5",
            "CONTINUATION behind the last one",
            all([head(1, END_STREAM, &block(&STALLED)), part(1, END_HEADERS), part(1, END_HEADERS)]),
        ),
        broken(
            "http2/6.10/6",
            "CONTINUATION behind DATA",
            all([posts(), data(1, END_STREAM, b"x"), part(1, END_HEADERS)]),
        ),
    ]
}
