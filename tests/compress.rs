//! Compression: which answers get it, that every byte comes out again, and that nothing waits inside an encoder.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use support::client::Response;
use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin};

/// Text that shrinks, with something in it that does not.
fn text(bytes: usize) -> Vec<u8> {
    let mut dice: u64 = 1;
    let mut text = Vec::with_capacity(bytes + 32);
    while text.len() < bytes {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(format!("line {} of some text\n", dice >> 44).as_bytes());
    }
    text.truncate(bytes);
    text
}

fn decoded(answer: &Response) -> Vec<u8> {
    let body = answer.body.as_slice();
    let mut decoder: Box<dyn std::io::Read + '_> = match answer.header("content-encoding") {
        Some("gzip") => Box::new(flate2::read::GzDecoder::new(body)),
        Some("br") => Box::new(brotli::Decompressor::new(body, 4096)),
        Some("zstd") => Box::new(zstd::stream::read::Decoder::new(body).unwrap()),
        other => panic!("{other:?}"),
    };
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).unwrap();
    plain
}

fn with(origin: &Origin, rule: &str) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{rule}\n[pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ))
}

fn ask(client: &mut Client, head: &str, accept: &str) -> Response {
    client.send(format!("{head}\r\nHost: a\r\nAccept-Encoding: {accept}\r\n\r\n"));
    client.try_read_response(head.split(' ').next().unwrap()).unwrap()
}

#[test]
fn every_byte_comes_out_again_by_every_coding_and_framing() {
    for bytes in [1024, 20_000, 3_000_000] {
        let body = text(bytes);
        let html = |origin: support::origin::Script| origin.header("Content-Type", "text/html; charset=utf-8");
        let origin = html(Origin::http().reply(&body))
            .at("/chunked", html(Origin::http().chunked(body.chunks(7001))))
            .at("/close", html(Origin::http().reply(&body).close_delimited()))
            .start();
        let lb = with(&origin, "compress = true");
        let mut client = lb.client();
        for coding in ["gzip", "br", "zstd"] {
            for path in ["/", "/chunked"] {
                let answer = ask(&mut client, &format!("GET {path} HTTP/1.1"), coding);
                assert_eq!(answer.header("content-encoding"), Some(coding), "{path}");
                assert_eq!((answer.header("content-length"), answer.header("vary")), (None, Some("Accept-Encoding")));
                assert!(answer.body.len() < bytes / 2 + 200, "{coding}: {} of {bytes}", answer.body.len());
                assert!(decoded(&answer) == body, "{coding} {path} {bytes}");
            }
            let mut old = lb.client();
            let answer = ask(&mut old, "GET / HTTP/1.0", coding);
            assert_eq!((answer.header("transfer-encoding"), answer.header("connection")), (None, Some("close")));
            assert!(decoded(&answer) == body, "{coding} HTTP/1.0 {bytes}");
            assert!(decoded(&ask(&mut lb.client(), "GET /close HTTP/1.1", coding)) == body, "{coding} to the close");
        }
    }
}

#[test]
fn an_answer_that_is_not_to_be_changed_is_not() {
    let body = text(5000);
    let of =
        |name: &str, value: &str| Origin::http().reply(&body).header("Content-Type", "text/html").header(name, value);
    let origin = Origin::http()
        .reply(&body)
        .header("Content-Type", "TEXT/Html")
        .at("/encoded", of("Content-Encoding", "gzip"))
        .at("/part", of("Content-Range", "bytes 0-4999/9999").status(206))
        .at("/no-transform", of("Cache-Control", "public, no-transform"))
        .at("/digest", of("Digest", "sha-256=x"))
        .at("/png", Origin::http().reply(&body).header("Content-Type", "image/png"))
        .at("/grpc", Origin::http().reply(&body).header("Content-Type", "application/grpc+proto"))
        .at("/short", Origin::http().reply("short").header("Content-Type", "text/html"))
        .start();
    let lb = with(&origin, "compress = { types = ['text/*', 'application/*'], min = '1KiB' }");
    let mut client = lb.client();
    assert_eq!(ask(&mut client, "GET / HTTP/1.1", "gzip").header("content-encoding"), Some("gzip"));
    let plain = ask(&mut client, "GET / HTTP/1.1", "deflate");
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("Accept-Encoding")));
    assert!(plain.body == body, "a cache is told, the client gets it plain");
    for path in ["/part", "/no-transform", "/digest", "/png", "/grpc", "/encoded"] {
        let answer = ask(&mut client, &format!("GET {path} HTTP/1.1"), "gzip");
        assert_eq!((answer.header("vary"), answer.header("content-length")), (None, Some("5000")), "{path}");
        assert!(answer.body == body, "{path}");
    }
    assert_eq!(ask(&mut client, "GET /short HTTP/1.1", "gzip").text(), "short");
}

#[test]
fn fields_about_the_bytes_change_with_them_and_are_the_same_for_head() {
    let origin = Origin::http()
        .reply(text(5000))
        .header("Content-Type", "application/json")
        .header("ETag", "\"strong\"")
        .header("Accept-Ranges", "bytes")
        .start();
    let lb = with(&origin, "compress = { with = ['br', 'gzip'] }");
    let mut client = lb.client();
    for method in ["GET", "HEAD"] {
        let answer = ask(&mut client, &format!("{method} / HTTP/1.1"), "gzip, br, zstd");
        assert_eq!(answer.header("content-encoding"), Some("br"), "{method}");
        assert_eq!(answer.header("etag"), Some("W/\"strong\""), "{method}");
        assert_eq!((answer.header("accept-ranges"), answer.header("content-length")), (None, None), "{method}");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"), "{method}");
    }
}

/// A backend that sends the second part of each answer only when it is told to.
fn hesitating(go_on: Receiver<()>) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in socket.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(format!("{head}7\r\nfirst, \r\n").as_bytes()).unwrap();
            if go_on.recv_timeout(DEADLINE).is_err() {
                return;
            }
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").unwrap();
        }
    });
    address
}

/// What comes out of the whole chunks that are there.
fn so_far(coding: &str, mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        let Some(chunk) = bytes.get(line + 2..line + 2 + size) else { break };
        body.extend_from_slice(chunk);
        bytes = bytes.get(line + 4 + size..).unwrap_or_default();
    }
    let mut room = [0; 64];
    let read = match coding {
        "gzip" => flate2::read::GzDecoder::new(body.as_slice()).read(&mut room),
        "br" => brotli::Decompressor::new(body.as_slice(), 4096).read(&mut room),
        _ => zstd::stream::read::Decoder::new(body.as_slice()).and_then(|mut decoder| decoder.read(&mut room)),
    };
    room[..read.unwrap_or(0)].to_vec()
}

#[test]
fn what_a_backend_has_sent_does_not_wait_in_an_encoder_for_what_it_sends_later() {
    let (tell, told) = channel();
    let backend = hesitating(told);
    let lb = Balancer::web(&[backend], "[listener.web.compress]\ntypes = ['text/event-stream']\n");
    for coding in ["gzip", "br", "zstd"] {
        let mut client = lb.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(client.read_exact(1));
        }
        let mut body = Vec::new();
        while so_far(coding, &body) != b"first, " {
            body.extend(client.read_exact(1));
        }
        tell.send(()).unwrap();
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            body.extend(client.read_exact(1));
        }
        assert_eq!(String::from_utf8_lossy(&so_far(coding, &body)), "first, second", "{coding}");
    }
}

#[test]
fn an_answer_that_breaks_off_does_not_look_complete() {
    let origin = Origin::http().reply(text(500_000)).header("Content-Type", "text/html").truncates_body().start();
    let lb = with(&origin, "compress = true");
    for coding in ["gzip", "br", "zstd"] {
        let mut client = lb.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n"));
        assert!(client.try_read_response("GET").is_err(), "{coding}");
    }
}
