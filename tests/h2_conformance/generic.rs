//! What any client may do, and is served: h2spec's suite "generic".

use super::row::{
    CANCEL, GET, NO_ERROR, POST, Row, STALLED, Step, Want, all, begun, continued, data, farewell, head, one, priority,
    priority_of, reset, row, whole, window,
};
use super::support::h2::{DATA, END_HEADERS, END_STREAM, PADDED, PING, PREFACE, WITH_PRIORITY, block, frame, settings};

const EXCLUSIVE: u32 = 1 << 31;
const INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) fn rows() -> Vec<Row> {
    [streams(), content(), priorities(), connection(), fields(), requests(), packed()].into_iter().flatten().collect()
}

fn streams() -> Vec<Row> {
    let shut = || settings(&[(INITIAL_WINDOW_SIZE, 0)]);
    vec![
        row(
            "generic/1/1",
            "RFC 9113, 3.4",
            "a preface, answered by settings",
            [Step::Send([PREFACE, &settings(&[(INITIAL_WINDOW_SIZE, 65_535)])].concat()), Step::Want(Want::Settings)],
        )
        .silent(),
        one("generic/2/1", "RFC 9113, 5.1", "PRIORITY of an idle stream", priority(1, 0, 255), Want::Alive),
        one(
            "generic/2/2",
            "RFC 9113, 5.1",
            "a window opened behind a whole request",
            all([shut(), whole(1, &GET), window(1, 1)]),
            Want::Data(1),
        ),
        one(
            "generic/2/3",
            "RFC 9113, 5.1",
            "PRIORITY behind a whole request",
            all([shut(), whole(1, &GET), priority(1, 0, 255), window(1, 1)]),
            Want::Data(1),
        ),
        one(
            "generic/2/4",
            "RFC 9113, 5.1",
            "a whole request given up",
            all([whole(1, &STALLED), reset(1, CANCEL)]),
            Want::Alive,
        ),
        row(
            "generic/2/5",
            "RFC 9113, 5.1",
            "PRIORITY of a stream that is over",
            [
                Step::Send(whole(1, &GET)),
                Step::Want(Want::Whole(1)),
                Step::Send(priority(1, 0, 255)),
                Step::Want(Want::Alive),
            ],
        ),
    ]
}

fn content() -> Vec<Row> {
    let padded = frame(DATA, END_STREAM | PADDED, 1, b"\x06testpadded");
    vec![
        one(
            "generic/3.1/1",
            "RFC 9113, 6.1",
            "content in one frame",
            all([begun(1, &POST), data(1, END_STREAM, b"test")]),
            Want::Answer(1),
        ),
        one(
            "generic/3.1/2",
            "RFC 9113, 6.1",
            "content in two frames",
            all([begun(1, &POST), data(1, 0, b"test"), data(1, END_STREAM, b"test")]),
            Want::Answer(1),
        ),
        one("generic/3.1/3", "RFC 9113, 6.1", "padded content", all([begun(1, &POST), padded]), Want::Answer(1)),
        one("generic/3.2/1", "RFC 9113, 6.2", "fields in one frame", whole(1, &GET), Want::Answer(1)),
        one(
            "generic/3.2/2",
            "RFC 9113, 6.2",
            "padded fields",
            head(1, END_STREAM | END_HEADERS | PADDED, &[&[8], &block(&GET)[..], &[0; 8]].concat()),
            Want::Answer(1),
        ),
        one(
            "generic/3.2/3",
            "RFC 9113, 6.2",
            "fields with a priority",
            head(1, END_STREAM | END_HEADERS | WITH_PRIORITY, &[&priority_of(0, 255), &block(&GET)[..]].concat()),
            Want::Answer(1),
        ),
    ]
}

fn priorities() -> Vec<Row> {
    let kinds = [
        ("generic/3.3/1", "the smallest weight", priority(1, 0, 0)),
        ("generic/3.3/2", "the largest weight", priority(1, 0, 255)),
        ("generic/3.3/3", "a stream that depends on another", priority(3, 1, 0)),
        ("generic/3.3/4", "a stream that depends alone", priority(1, EXCLUSIVE, 0)),
        ("generic/3.3/5", "a stream that comes later", priority(3, 0, 255)),
    ];
    kinds
        .into_iter()
        .map(|(id, what, priority)| one(id, "RFC 9113, 6.3", what, all([priority, whole(1, &GET)]), Want::Answer(1)))
        .collect()
}

fn connection() -> Vec<Row> {
    let every = [(1, 4096), (2, 1), (3, 100), (INITIAL_WINDOW_SIZE, 65_535), (5, 16_384), (6, 100)];
    vec![
        one(
            "generic/3.4/1",
            "RFC 9113, 6.4",
            "a request given up within its content",
            all([begun(1, &STALLED), reset(1, CANCEL)]),
            Want::Alive,
        ),
        one("generic/3.5/1", "RFC 9113, 6.5", "every setting", settings(&every), Want::Ack),
        one("generic/3.7/1", "RFC 9113, 6.7", "PING", frame(PING, 0, 0, b"evenkeel"), Want::Pong(*b"evenkeel")),
        one("generic/3.8/1", "RFC 9113, 6.8", "GOAWAY", farewell(NO_ERROR), Want::Dies(&[NO_ERROR])),
        one("generic/3.9/1", "RFC 9113, 6.9", "the connection's window opened", window(0, 1), Want::Alive),
        one(
            "generic/3.9/2",
            "RFC 9113, 6.9",
            "a stream's window opened",
            all([whole(1, &GET), window(1, 1)]),
            Want::Answer(1),
        ),
    ]
}

fn fields() -> Vec<Row> {
    let block = block(&GET);
    vec![
        one(
            "generic/3.10/1",
            "RFC 9113, 6.10",
            "fields in two frames",
            all([head(1, END_STREAM, &block[..5]), continued(1, END_HEADERS, &block[5..])]),
            Want::Answer(1),
        ),
        one(
            "generic/3.10/2",
            "RFC 9113, 6.10",
            "fields in three frames",
            all([
                head(1, END_STREAM, &block[..5]),
                continued(1, 0, &block[5..10]),
                continued(1, END_HEADERS, &block[10..]),
            ]),
            Want::Answer(1),
        ),
    ]
}

fn requests() -> Vec<Row> {
    let with_trailer = [&POST[..], &[("trailer", "x-sum")]].concat();
    let asks_head = [&[(":method", "HEAD")], &GET[1..]].concat();
    vec![
        one("generic/4/1", "RFC 9113, 8.1", "GET", whole(1, &GET), Want::Answer(1)),
        one("generic/4/2", "RFC 9113, 8.1", "HEAD", whole(1, &asks_head), Want::Answer(1)),
        one(
            "generic/4/3",
            "RFC 9113, 8.1",
            "POST",
            all([begun(1, &POST), data(1, END_STREAM, b"test")]),
            Want::Answer(1),
        ),
        one(
            "generic/4/4",
            "RFC 9113, 8.1",
            "POST with a trailer",
            all([begun(1, &with_trailer), data(1, 0, b"test"), whole(1, &[("x-sum", "7")])]),
            Want::Answer(1),
        ),
    ]
}

/// Each way to pack a field, and that it arrives as it was meant. The Huffman codes are those of the examples in
/// RFC 7541, appendix C.4.
fn packed() -> Vec<Row> {
    const NAME: &[u8] = b"\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f";
    const VALUE: &[u8] = b"\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf";
    const NO_CACHE: &[u8] = b"\x86\xa8\xeb\x10\x64\x9c\xbf";
    let plain = |kind: u8| [&[kind], &b"\x0acustom-key\x0ccustom-value"[..]].concat();
    let huffman = |kind: u8| [&[kind], NAME, VALUE].concat();
    let named = |kind: &[u8]| [kind, b"\x08no-cache"].concat();
    let named_huffman = |kind: &[u8]| [kind, NO_CACHE].concat();
    let (custom, cached) = ("custom-key: custom-value", "cache-control: no-cache");
    let kinds = [
        // The entry 58, `user-agent` without a value.
        ("generic/5/1", "RFC 7541, 6.1", "/5/1", vec![0xba], "user-agent: "),
        ("generic/5/2", "RFC 7541, 6.2.1", "/5/2", named(b"\x58"), cached),
        ("generic/5/3", "RFC 7541, 6.2.1", "/5/3", named_huffman(b"\x58"), cached),
        ("generic/5/4", "RFC 7541, 6.2.1", "/5/4", plain(0x40), custom),
        ("generic/5/5", "RFC 7541, 6.2.1", "/5/5", huffman(0x40), custom),
        ("generic/5/6", "RFC 7541, 6.2.2", "/5/6", named(b"\x0f\x09"), cached),
        ("generic/5/7", "RFC 7541, 6.2.2", "/5/7", named_huffman(b"\x0f\x09"), cached),
        ("generic/5/8", "RFC 7541, 6.2.2", "/5/8", plain(0x00), custom),
        ("generic/5/9", "RFC 7541, 6.2.2", "/5/9", huffman(0x00), custom),
        ("generic/5/10", "RFC 7541, 6.2.3", "/5/10", named(b"\x1f\x09"), cached),
        ("generic/5/11", "RFC 7541, 6.2.3", "/5/11", named_huffman(b"\x1f\x09"), cached),
        ("generic/5/12", "RFC 7541, 6.2.3", "/5/12", plain(0x10), custom),
        ("generic/5/13", "RFC 7541, 6.2.3", "/5/13", huffman(0x10), custom),
    ];
    let kinds = kinds.into_iter().map(|(id, rule, path, field, line)| arrives(id, rule, path, &[], &field, line));
    // The table made as small and as large as it may be.
    let sizes = [
        ("generic/5/14", "RFC 7541, 6.3", "/5/14", &b"\x20"[..]),
        ("generic/5/15", "RFC 7541, 4.2", "/5/15", b"\x20\x3f\xe1\x1f"),
    ];
    let sizes = sizes.into_iter().map(|(id, rule, path, size)| arrives(id, rule, path, size, &huffman(0x40), custom));
    kinds.chain(sizes).collect()
}

/// A request of this path, with something before and behind its own fields, arrives with this line.
fn arrives(
    id: &'static str,
    rule: &'static str,
    path: &'static str,
    before: &[u8],
    behind: &[u8],
    line: &'static str,
) -> Row {
    let own = block(&[GET[0], GET[1], (":path", path), GET[3]]);
    let block = [before, &own, behind].concat();
    row(
        id,
        rule,
        "a packed field",
        [
            Step::Send(head(1, END_STREAM | END_HEADERS, &block)),
            Step::Want(Want::Answer(1)),
            Step::Want(Want::Arrived(path, line)),
        ],
    )
}
