//! How fields are packed: h2spec's suite "hpack". Whatever cannot be unpacked ends the connection, since nobody knows
//! what the table holds after it (RFC 9113, section 4.3).

use super::row::{GET, Row, UNDECODABLE, Want, head, one};
use super::support::h2::{END_HEADERS, END_STREAM, block};

pub(crate) fn rows() -> Vec<Row> {
    const NAME: &[u8] = b"\x00\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f";
    let coded = |value: &[u8]| [NAME, value].concat();
    let behind = [
        ("hpack/2.3.3/1", "RFC 7541, 2.3.3", "an entry beyond both tables", vec![0xfe]),
        ("hpack/4.2/1", "RFC 7541, 4.2", "a size of the table behind fields", vec![0x21]),
        // `no-cache` and eight bits too many.
        ("hpack/5.2/1", "RFC 7541, 5.2", "thirteen bits of padding", coded(b"\x87\xa8\xeb\x10\x64\x9c\xbf\xff")),
        // `private`, whose last bit is padding.
        ("hpack/5.2/2", "RFC 7541, 5.2", "padding by zero", coded(b"\x85\xae\xc3\x77\x1a\x4a")),
        // Thirty bits of one, and an `a`.
        ("hpack/5.2/3", "RFC 7541, 5.2", "the end of a string within it", coded(b"\x85\xff\xff\xff\xfc\x7f")),
        ("hpack/6.1/1", "RFC 7541, 6.1", "the entry 0", vec![0x80]),
    ];
    let fails = |id, rule, what, block: &[u8]| {
        one(id, rule, what, head(1, END_STREAM | END_HEADERS, block), Want::Dies(UNDECODABLE))
    };
    let mut rows: Vec<Row> = behind
        .into_iter()
        .map(|(id, rule, what, field)| fails(id, rule, what, &[block(&GET), field].concat()))
        .collect();
    // 4097 bytes, where we allow for 4096.
    let too_large = [&b"\x3f\xe2\x1f"[..], &block(&GET)].concat();
    rows.push(fails("hpack/6.3/1", "RFC 7541, 6.3", "a table larger than allowed", &too_large));
    rows
}
