//! From the fields of HTTP/2 to the text of HTTP/1.1: a request is refused, or arrives once, as text that has one
//! meaning, with the content that was sent.
//!
//! Single rules stand in `http2.rs`; here every octet is tried where text could become something else by it.

#[path = "../support/mod.rs"]
mod support;

mod judge;

use std::ops::RangeInclusive;

use judge::{is_of_host, is_target, is_token, judge, split, text};
use support::h2::{DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, Raw, Verdict, block_of_bytes, frame};
use support::{Balancer, Origin};

type Field<'f> = (&'f [u8], &'f [u8]);

const GET: [Field<'static>; 4] =
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.example")];
const POST: [Field<'static>; 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.example")];

/// The balancer in front of an origin that counts.
struct Scene {
    origin: Origin,
    lb: Balancer,
}

/// What must become of a request.
#[derive(Debug, Clone)]
enum Must {
    /// It arrives, and all of these lines with it.
    Arrive(Vec<Vec<u8>>),
    /// It arrives with this content.
    Bring(Vec<u8>),
    /// It does not arrive.
    Fail,
    /// Either, as long as what arrives is valid.
    BeValid,
}

use Must::{BeValid, Fail};

/// Frames behind the preface, and what must become of them.
type Case = (Vec<u8>, Must);

impl Scene {
    fn new() -> Self {
        let origin = Origin::http().reply("ok").start();
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\nhttp = ['1.1', '2']\npool = 'p'\n[pool.p]\nbackends = ['{}']",
            origin.addr()
        ));
        Self { origin, lb }
    }

    /// What is wrong with what comes of these frames; otherwise, how many requests have arrived.
    fn run(&self, frames: &[u8], must: &Must) -> Result<usize, String> {
        let before = self.origin.request_count();
        let mut raw = Raw::connect(self.lb.addr("web"));
        let _ = raw.try_send(frames);
        let verdict = raw.try_verdict(1).ok_or("nothing comes")?;
        let arrived = self.origin.request_count() - before;
        if arrived == 0 && verdict != Verdict::Answer(200) && matches!(must, Fail | BeValid) {
            return Ok(0);
        }
        if arrived != 1 || verdict != Verdict::Answer(200) || matches!(must, Fail) {
            return Err(format!("{verdict:?}, and {arrived} have arrived"));
        }
        let request = self.origin.last_request();
        let lines = split(&request.raw, b"\r\n");
        match must {
            Must::Arrive(wanted) => {
                if let Some(line) = wanted.iter().find(|line| !lines.contains(&&line[..])) {
                    return Err(format!("{:?} is missing in {:?}", text(line), text(&request.raw)));
                }
            }
            Must::Bring(content) if request.body != *content => return Err("other content has arrived".into()),
            _ => {}
        }
        judge(&request.raw).map_err(|fault| format!("{fault}: {:?}", text(&request.raw)))?;
        Ok(1)
    }

    /// All of it holds, and whatever was refused does not arrive later either.
    #[track_caller]
    fn holds(&self, cases: &[Case]) {
        let before = self.origin.request_count();
        let mut arrived = 0;
        let mut faults = Vec::new();
        for (frames, must) in cases {
            match self.run(frames, must) {
                Ok(count) => arrived += count,
                Err(fault) => faults.push(format!("{:?} must {must:?}: {fault}", text(frames))),
            }
        }
        assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
        assert_eq!(self.lb.get("/last").text(), "ok");
        assert_eq!(self.origin.request_count(), before + arrived + 1);
        assert_eq!(self.origin.last_request().path(), "/last");
    }
}

/// It arrives, and this line with it.
fn line(line: &[u8]) -> Must {
    Must::Arrive(vec![line.to_vec()])
}

/// It arrives.
fn arrives() -> Must {
    Must::Arrive(Vec::new())
}

/// It arrives with this content.
fn brings(content: &[u8]) -> Must {
    Must::Bring(content.to_vec())
}

// === frames ===

fn head(flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, 1, &block_of_bytes(fields))
}

fn whole(fields: &[Field<'_>]) -> Vec<u8> {
    head(END_STREAM, fields)
}

/// A POST with these fields behind its own, and these frames behind it.
fn post(fields: &[Field<'_>], behind: &[Vec<u8>]) -> Vec<u8> {
    [head(0, &[&POST, fields].concat()), behind.concat()].concat()
}

fn data(flags: u8, content: &[u8]) -> Vec<u8> {
    frame(DATA, flags, 1, content)
}

/// A GET with these fields behind its own.
fn with(fields: &[Field<'_>]) -> Vec<u8> {
    whole(&[&GET, fields].concat())
}

/// A GET with another value of one of its own fields.
fn but(name: &[u8], value: &[u8]) -> Vec<u8> {
    whole(&GET.map(|field| if field.0 == name { (field.0, value) } else { field }))
}

// === octets ===

const OCTETS: RangeInclusive<u8> = 0..=255;

#[test]
fn a_name_has_no_octet_that_ends_it_elsewhere() {
    let mut cases = Vec::new();
    for octet in OCTETS {
        let is_name = is_token(octet) && !octet.is_ascii_uppercase();
        for name in [[octet, b'x', b'y'], [b'x', octet, b'y'], [b'x', b'y', octet]] {
            let must = match octet {
                // Some programs take it for a hyphen: such fields are left out.
                b'_' => arrives(),
                _ if is_name => line(&[&name[..], b": 1"].concat()),
                _ => Fail,
            };
            cases.push((with(&[(&name, b"1")]), must));
        }
    }
    Scene::new().holds(&cases);
}

#[test]
fn a_value_has_no_octet_that_ends_it() {
    let mut cases = Vec::new();
    for octet in OCTETS {
        let is_space = matches!(octet, b' ' | b'\t');
        let is_inside = is_space || octet > b' ' && octet != 0x7f;
        let is_edge = is_inside && !is_space;
        for (value, is_valid) in
            [([octet, b'x', b'y'], is_edge), ([b'x', octet, b'y'], is_inside), ([b'x', b'y', octet], is_edge)]
        {
            let must = |start: &[u8]| if is_valid { line(&[start, &value].concat()) } else { Fail };
            cases.push((with(&[(b"x-octet", &value)]), must(b"x-octet: ")));
            cases.push((with(&[(b"cookie", b"a=1"), (b"cookie", &value)]), must(b"cookie: a=1; ")));
        }
    }
    Scene::new().holds(&cases);
}

#[test]
fn pseudo_header_fields_have_no_octet_that_ends_them() {
    let mut cases = Vec::new();
    for octet in OCTETS {
        let may = |is_valid: bool| if is_valid { BeValid } else { Fail };
        for path in [&[b'/', octet, b'x'][..], &[b'/', b'?', octet, b'x'], &[b'/', b'x', octet]] {
            // What stands behind a `#` is the client's own business, and cut off by the library.
            cases.push((but(b":path", path), may(octet == b'#' || is_target(path))));
        }
        for host in [[octet, b'a', b'b'], [b'a', octet, b'b'], [b'a', b'b', octet]] {
            cases.push((but(b":authority", &host), may(is_of_host(octet))));
        }
        cases.push((but(b":method", &[b'G', octet, b'T']), may(is_token(octet))));
        cases.push((but(b":scheme", &[b'h', octet, b't']), Fail));
    }
    Scene::new().holds(&cases);
}

// === order and number ===

#[test]
fn pseudo_header_fields_come_in_any_order() {
    let mut cases = Vec::new();
    for a in 0..4 {
        for b in (0..4).filter(|b| *b != a) {
            for c in (0..4).filter(|c| ![a, b].contains(c)) {
                let order = [GET[a], GET[b], GET[c], GET[6 - a - b - c]];
                let lines = [&b"GET / HTTP/1.1"[..], b"host: a.example"].map(<[u8]>::to_vec);
                cases.push((whole(&order), Must::Arrive(lines.into())));
            }
        }
    }
    Scene::new().holds(&cases);
}

#[test]
fn pseudo_header_fields_come_first_and_once() {
    let mut cases = Vec::new();
    for (at, field) in GET.iter().enumerate() {
        let others = [&GET[..at], &GET[at + 1..]].concat();
        let other: Field<'_> = (field.0, [&b"PUT"[..], b"https", b"/b", b"b.example"][at]);
        for fields in [
            [&others[..], &[(b"x", b"1"), *field]].concat(),
            [&GET[..], &[*field]].concat(),
            [&GET[..], &[other]].concat(),
            [&[other], &GET[..]].concat(),
            [&GET[..], &[(b"x", b"1"), *field]].concat(),
            [&GET[..], &[(field.0, b"")]].concat(),
        ] {
            cases.push((whole(&fields), Fail));
        }
    }
    let websocket: Field<'_> = (b":protocol", b"websocket");
    let connect: Field<'_> = (b":method", b"CONNECT");
    let port: Field<'_> = (b":authority", b"a.example:80");
    cases.extend([
        (with(&[websocket]), Fail),
        (whole(&[&[websocket], &GET[..]].concat()), Fail),
        (with(&[(b":", b"1")]), Fail),
        (with(&[(b":host", b"a.example")]), Fail),
        (with(&[(b":Path", b"/b")]), Fail),
        (whole(&[connect, port]), Fail),
        (whole(&[connect, GET[2], port]), Fail),
        (but(b":method", b"CONNECT"), Fail),
        (whole(&[]), Fail),
        (whole(&[(b"x", b"1")]), Fail),
    ]);
    Scene::new().holds(&cases);
}

#[test]
fn a_request_is_for_one_host() {
    let host = |value| with(&[(b"host", value)]);
    let only = |value| whole(&[&GET[..3], &[(&b"host"[..], value)]].concat());
    let authority = |value| but(b":authority", value);
    Scene::new().holds(&[
        (host(b"a.example"), line(b"host: a.example")),
        (host(b"A.EXAMPLE"), line(b"host: a.example")),
        (host(b"a.example:80"), Fail),
        (host(b"a.example."), Fail),
        (host(b"b.example"), Fail),
        (host(b""), Fail),
        (host(b"a.example, b.example"), Fail),
        (host(b"a.example b.example"), Fail),
        (with(&[(b"host", b"a.example"), (b"host", b"a.example")]), Fail),
        (only(b"b.example"), line(b"host: b.example")),
        (only(b""), Fail),
        (only(b"a/b"), Fail),
        (only(b"u@a"), Fail),
        (whole(&GET[..3]), Fail),
        (authority(b""), Fail),
        (whole(&[GET[0], GET[1], GET[2], (b":authority", b""), (b"host", b"a.example")]), BeValid),
        (authority(b"a.example:8080"), line(b"host: a.example:8080")),
        (authority(b"[::1]:80"), line(b"host: [::1]:80")),
        (authority(b"a:b"), Fail),
        (authority(b"a:80:80"), Fail),
        (authority(b"a:70000"), Fail),
        (authority(b"u:p@a"), Fail),
        (authority(b"[::1"), Fail),
    ]);
}

#[test]
fn what_concerns_a_connection_is_no_field_of_a_request() {
    let scene = Scene::new();
    scene.holds(&[
        (with(&[(b"te", b"trailers")]), arrives()),
        (with(&[(b"te", b"trailers, gzip")]), Fail),
        (with(&[(b"te", b"gzip;q=0.5, trailers")]), Fail),
        (with(&[(b"te", b"")]), Fail),
        (with(&[(b"te", b"trailers"), (b"te", b"gzip")]), Fail),
        (with(&[(b"connection", b"x-drop"), (b"x-drop", b"1")]), Fail),
        (with(&[(b"connection", b"")]), Fail),
        (with(&[(b"transfer-encoding", b"identity")]), Fail),
        (with(&[(b"transfer-encoding", b"")]), Fail),
        (with(&[(b"upgrade", b"websocket"), (b"sec-websocket-key", b"eA==")]), Fail),
        (with(&[(b"keep-alive", b"timeout=5")]), Fail),
        (with(&[(b"proxy-connection", b"keep-alive")]), Fail),
        // Names that some programs take for those.
        (with(&[(b"transfer_encoding", b"chunked"), (b"content_length", b"40")]), arrives()),
    ]);
    let asked = scene.origin.requests();
    assert!(!asked.iter().any(|request| request.head.contains('_')), "{asked:?}");
}

// === content ===

#[test]
fn content_is_as_long_as_its_length_says() {
    const FIVE: Field<'static> = (b"content-length", b"5");
    let said = |value: &'static [u8], content: &[u8]| post(&[(b"content-length", value)], &[data(END_STREAM, content)]);
    let padded = frame(DATA, END_STREAM | PADDED, 1, b"\x0312345\0\0\0");
    let sum = || whole(&[(b"x-sum", b"7")]);
    Scene::new().holds(&[
        (said(b"5", b"12345"), brings(b"12345")),
        (post(&[FIVE], &[data(0, b"12"), data(0, b""), data(0, b"345"), data(END_STREAM, b"")]), brings(b"12345")),
        (post(&[FIVE], &[padded]), brings(b"12345")),
        (post(&[FIVE], &[data(0, b"12345"), sum()]), brings(b"12345")),
        (said(b"0", b""), brings(b"")),
        (said(b"5", b"1234"), Fail),
        (said(b"5", b"123456"), Fail),
        (said(b"0", b"1"), Fail),
        (post(&[FIVE], &[data(END_STREAM, b"")]), Fail),
        (post(&[FIVE], &[data(0, b"1234"), sum()]), Fail),
        (post(&[FIVE], &[data(0, b"12345"), data(END_STREAM, b"6")]), Fail),
        (post(&[FIVE, FIVE], &[data(END_STREAM, b"12345")]), Fail),
        (said(b"5, 5", b"12345"), Fail),
        (said(b"+5", b"12345"), Fail),
        (said(b"-5", b"12345"), Fail),
        (said(b"0x5", b"12345"), Fail),
        (said(b"5.0", b"12345"), Fail),
        (said(b"", b"12345"), Fail),
        (said(b"18446744073709551621", b"12345"), Fail),
        (with(&[FIVE]), Fail),
        (with(&[(b"content-length", b"0")]), brings(b"")),
        ([head(0, &[&GET[..], &[FIVE]].concat()), data(END_STREAM, b"12345")].concat(), brings(b"12345")),
    ]);
}

#[test]
fn content_is_never_a_request() {
    let scene = Scene::new();
    let chunk = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let request = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let long = chunk.repeat(300);
    scene.holds(&[
        (post(&[], &[data(END_STREAM, chunk)]), brings(chunk)),
        (post(&[], &[data(0, chunk), data(END_STREAM, request)]), brings(&[&chunk[..], request].concat())),
        (post(&[], &[data(END_STREAM, &long)]), brings(&long)),
        (post(&[(b"content-length", b"35")], &[data(END_STREAM, request)]), brings(request)),
        ([head(0, &GET), data(END_STREAM, request)].concat(), brings(request)),
        (post(&[], &[data(END_STREAM, b"")]), brings(b"")),
    ]);
    assert_eq!(scene.origin.requests_for("/smuggled"), 0);
}

#[test]
fn trailers_are_fields_and_frame_nothing() {
    let scene = Scene::new();
    let behind = |fields: &[Field<'_>]| post(&[], &[data(0, b"body"), whole(fields)]);
    scene.holds(&[
        (behind(&[(b"x-sum", b"7")]), line(b"x-sum: 7")),
        (behind(&[]), brings(b"body")),
        (post(&[], &[whole(&[(b"x-sum", b"7")])]), line(b"x-sum: 7")),
        // Left out: they could be taken for the framing of this request, or for another's.
        (behind(&[(b"content-length", b"4")]), brings(b"body")),
        (behind(&[(b"host", b"b.example")]), brings(b"body")),
        (behind(&[(b"transfer-encoding", b"chunked")]), Fail),
        (behind(&[(b"connection", b"close")]), Fail),
        (behind(&[(b"te", b"gzip")]), Fail),
        (behind(&[(b"X-Sum", b"7")]), Fail),
        (behind(&[(b"x sum", b"7")]), Fail),
        (behind(&[(b"x-sum:", b"7")]), Fail),
        (behind(&[(b"", b"7")]), Fail),
        (behind(&[(b"x\r\n", b"7")]), Fail),
        (behind(&[(b"x-sum", b"7\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")]), Fail),
        (behind(&[(b"x-sum", b"7\nx: 1")]), Fail),
        (behind(&[(b"x-sum", b"7\0")]), Fail),
        (behind(&[(b"x-sum", b" 7")]), Fail),
        (behind(&[(b"x-sum", b"7\t")]), Fail),
        (behind(&[(b":unknown", b"1")]), Fail),
        // A known one is dropped by the library before anybody could look at it.
        (behind(&[(b":path", b"/b")]), brings(b"body")),
    ]);
    assert_eq!(scene.origin.requests_for("/smuggled"), 0);
}
