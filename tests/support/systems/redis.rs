//! Redis: a master or a replica, which answers the few words that checks and a curious client say.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use socket2::SockRef;

/// One server; `GET name` tells which.
pub struct RedisNode {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: TcpListener,
}

struct Shared {
    name: String,
    is_master: AtomicBool,
    /// Times that somebody asked what it is.
    asked: AtomicUsize,
    gone: AtomicBool,
}

impl RedisNode {
    /// A replica of this name.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            is_master: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        });
        let (accepting, by) = (listener.try_clone().unwrap(), Arc::clone(&shared));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                if by.gone.load(SeqCst) {
                    return;
                }
                let by = Arc::clone(&by);
                // An error is the other side's end.
                std::thread::spawn(move || drop(by.serve(&stream)));
            }
        });
        Self { address: listener.local_addr().unwrap(), shared, listener }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Makes it a master or a replica.
    pub fn set_master(&self, is_master: bool) {
        self.shared.is_master.store(is_master, SeqCst);
    }

    /// How often somebody asked what it is.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(SeqCst)
    }
}

impl Drop for RedisNode {
    fn drop(&mut self) {
        self.shared.gone.store(true, SeqCst);
        // On Linux this wakes a blocked accept.
        let _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
    }
}

impl Shared {
    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        while let Some(words) = command(&mut lines)? {
            let master = self.is_master.load(SeqCst);
            let answer = match &words.to_ascii_uppercase()[..] {
                "PING" => "+PONG\r\n".to_owned(),
                "AUTH SECRET" | "QUIT" => "+OK\r\n".to_owned(),
                "ROLE" if master => "*3\r\n$6\r\nmaster\r\n:14\r\n*0\r\n".to_owned(),
                "ROLE" => "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n".to_owned(),
                "INFO REPLICATION" => bulk(&format!(
                    "# Replication\r\nrole:{}\r\nconnected_slaves:0\r\n",
                    if master { "master" } else { "slave" }
                )),
                "GET NAME" => bulk(&self.name),
                _ => "-ERR unknown command\r\n".to_owned(),
            };
            if answer.contains("role:") || words.eq_ignore_ascii_case("role") {
                self.asked.fetch_add(1, SeqCst);
            }
            stream.write_all(answer.as_bytes())?;
            if words.eq_ignore_ascii_case("quit") {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The words of the next command, which comes in a line or as an array.
fn command(lines: &mut impl Iterator<Item = io::Result<String>>) -> io::Result<Option<String>> {
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let Some(count) = first.strip_prefix('*') else { return Ok(Some(first)) };
    let mut words = Vec::new();
    for _ in 0..count.parse().unwrap_or(0) {
        // Its length, and the word.
        let Some(word) = lines.by_ref().nth(1).transpose()? else { return Ok(None) };
        words.push(word);
    }
    Ok(Some(words.join(" ")))
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
