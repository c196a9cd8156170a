//! Backends of which one leads, as threads of this program: the leader answers requests, the others refuse them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Nobody leads.
const NOBODY: usize = usize::MAX;

/// Backends that know which of them leads.
pub struct Republic {
    pub addresses: Vec<SocketAddr>,
    leader: Arc<AtomicUsize>,
}

impl Republic {
    /// So many; the first one leads. They live as long as this program.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let leader = Arc::new(AtomicUsize::new(0));
        let mut addresses = Vec::new();
        for number in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addresses.push(listener.local_addr()?);
            let leader = Arc::clone(&leader);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let leader = Arc::clone(&leader);
                    std::thread::spawn(move || serve(stream, number, &leader));
                }
            });
        }
        Ok(Self { addresses, leader })
    }

    /// From now on this one leads; `None`: nobody.
    pub fn elect(&self, number: Option<usize>) {
        self.leader.store(number.unwrap_or(NOBODY), SeqCst);
    }
}

fn serve(mut stream: TcpStream, number: usize, leader: &AtomicUsize) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 4096];
    let mut request = Vec::new();
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        request.extend_from_slice(&buffer[..length]);
        if !request.ends_with(b"\r\n\r\n") {
            continue;
        }
        let leads = leader.load(SeqCst) == number;
        let status = match (request.starts_with(b"GET /role "), leads) {
            (_, true) => "200 OK",
            (true, false) => "429 Standby",
            // A request that came to a standby is a mistake of the balancer's, and shall be seen as a failure.
            (false, false) => "503 Not The Leader",
        };
        request.clear();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 1024\r\n\r\n{:1024}", "");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
