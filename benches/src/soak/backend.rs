//! A backend of the soak: HTTP on one port, an echo of bytes on the next, and of datagrams on the same.
//!
//! A process of its own, so that it can be killed and stopped. A thread for each connection; it ends with its parent's
//! standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

/// Serves on `port` and the one behind it until standard input ends.
pub fn run(port: u16) -> Result<(), String> {
    let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).map_err(|error| format!("port {port}: {error}"));
    let (http, echo) = (bind(port)?, bind(port + 1)?);
    let udp = UdpSocket::bind(("127.0.0.1", port + 1)).map_err(|error| error.to_string())?;
    thread::spawn(move || accept(&http, |stream| drop(serve(stream))));
    thread::spawn(move || accept(&echo, |mut stream| drop(give_back(&mut stream))));
    thread::spawn(move || {
        let mut room = [0; 2048];
        while let Ok((length, from)) = udp.recv_from(&mut room) {
            let _ = udp.send_to(&room[..length], from);
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

fn accept(listener: &TcpListener, each: fn(TcpStream)) {
    for stream in listener.incoming().flatten() {
        let _ = stream.set_nodelay(true);
        thread::spawn(move || each(stream));
    }
}

fn give_back(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut room = [0; 16 * 1024];
    loop {
        match stream.read(&mut room)? {
            0 => return Ok(()),
            length => stream.write_all(&room[..length])?,
        }
    }
}

/// `GET /bytes/N`, `POST` (says how many bytes came), an upgrade (echoes); anything else is well.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let block = vec![b'x'; 64 * 1024];
    loop {
        let Some(head) = head(&mut reader)? else { return Ok(()) };
        let lower = head.to_ascii_lowercase();
        if lower.contains("\r\nupgrade:") {
            writer.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )?;
            writer.write_all(reader.buffer())?;
            return give_back(&mut writer);
        }
        let got = body(&mut reader, &lower)?;
        let mut rest: usize = head
            .split_once(" /bytes/")
            .map_or(0, |(_, rest)| rest.split([' ', '?']).next().and_then(|number| number.parse().ok()).unwrap_or(0));
        if rest == 0 {
            let text = got.to_string();
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
            continue;
        }
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {rest}\r\n\r\n")?;
        while rest > 0 {
            let now = rest.min(block.len());
            writer.write_all(&block[..now])?;
            rest -= now;
        }
    }
}

fn head(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn body(reader: &mut impl BufRead, head: &str) -> std::io::Result<u64> {
    let take = |reader: &mut dyn BufRead, length: u64| std::io::copy(&mut reader.take(length), &mut std::io::sink());
    if head.contains("\r\ntransfer-encoding: chunked") {
        let mut all = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
            all += take(reader, length)?;
            reader.read_line(&mut String::new())?;
            if length == 0 {
                return Ok(all);
            }
        }
    }
    let length =
        head.split_once("\r\ncontent-length:").and_then(|(_, rest)| rest.split("\r\n").next()?.trim().parse().ok());
    take(reader, length.unwrap_or(0))
}
