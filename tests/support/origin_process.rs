//! A backend as a program of its own, to be killed, stopped and started as one kills real ones.
//!
//! `origin ADDRESS NAME`: speaks HTTP/1.1 with kept connections and answers every request with NAME; `/slow/MS` takes
//! so long; a request for an upgrade is answered 101 and then echoed. `origin ADDRESS NAME echo`: echoes bytes.
#![expect(clippy::expect_used, reason = "a test's backend fails by panicking")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest request head that it reads.
const MAX_HEAD: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("an address");
    let name: &'static str = arguments.next().expect("a name").leak();
    let echoes = arguments.next().is_some_and(|word| word == "echo");
    let listener = TcpListener::bind(address).await.expect("the address is free");
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            // An error is the other side's end.
            let _ = if echoes { echo(stream, Vec::new()).await } else { serve(stream, name).await };
        });
    }
}

async fn serve(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if buffer.len() > MAX_HEAD || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        buffer.drain(..end + 4);
        if head.contains("\r\nupgrade:") {
            let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(answer).await?;
            return echo(stream, buffer).await;
        }
        if let Some((_, slow)) = head.split_once(" /slow/") {
            let millis = slow.split(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
        stream.write_all(answer.as_bytes()).await?;
        if head.contains("\r\nconnection: close") {
            return Ok(());
        }
    }
}

async fn echo(mut stream: TcpStream, begun: Vec<u8>) -> std::io::Result<()> {
    stream.write_all(&begun).await?;
    let (mut from, mut to) = stream.split();
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}
