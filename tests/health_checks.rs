//! Probes that only knock: an open port, a closed one, and one that does not answer.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use evenkeel::config::model::CheckKind;
use evenkeel::net::connect::connect;
use evenkeel::probe::Layer;
use support::probing::{bad, closed_port, good, probe, probe_within, server};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

// === tcp ===

#[tokio::test]
async fn an_open_port_is_up_and_a_closed_one_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    good(&probe(CheckKind::Tcp, listener.local_addr().unwrap()).await, "open");
    bad(&probe(CheckKind::Tcp, closed_port().await).await, Layer::Connect, "refused");
}

#[tokio::test]
async fn a_knock_is_never_seen_by_the_server() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let at = server(move |_stream| {
        count.fetch_add(1, SeqCst);
        async {}
    })
    .await;
    for _ in 0..200 {
        good(&probe(CheckKind::Tcp, at).await, "open");
    }
    // Whatever had been accepted before this one would have been counted by now.
    let mut last = connect(&at.into(), support::probing::LONG).await.unwrap();
    let _ = last.read(&mut [0]).await;
    assert_eq!(seen.load(SeqCst), 1);
}

#[tokio::test]
async fn a_full_backlog_is_a_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let at = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        let filler = tokio::net::TcpSocket::new_v4().unwrap();
        held.push(tokio::spawn(filler.connect(at)));
    }
    while probe_within(CheckKind::Tcp, at, Duration::from_millis(200)).await.result.is_ok() {}
    bad(&probe_within(CheckKind::Tcp, at, Duration::from_millis(200)).await, Layer::Timeout, "no connection within");
}
