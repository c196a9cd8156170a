//! A `MySQL` server that speaks the protocol by the book, and misbehaves in exactly the way its script names.
//!
//! ```ignore
//! let server = FakeMysql::start(Script::new().account("evenkeel", "secret", Method::CachingSha2).read_only());
//! server.becomes(Script::new().refuses(1129));
//! assert_eq!(server.broken_handshakes(), 0); // what a real one would count against our address
//! ```
//! Each connection has a thread of its own. Statements that no script knows are syntax errors.

mod login;
mod script;
mod wire;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, Weak};

pub use login::{Method, rsa};
use script::{Answer, answer};
pub use script::{Fault, Script, Stage};
use socket2::SockRef;
use wire::Wire;

use super::eventually::{DEADLINE, eventually};

/// A server that runs until it is dropped.
pub struct FakeMysql {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

/// What connections share.
struct Shared {
    script: Mutex<Script>,
    statements: Mutex<Vec<String>>,
    open: Mutex<Vec<Weak<TcpStream>>>,
    stalled: Mutex<Stalled>,
    released: Condvar,
    counts: [AtomicUsize; 7],
    /// Accounts whose password the cache of `caching_sha2_password` knows.
    cached: Mutex<Vec<String>>,
}

/// Whether those who stall go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stalled {
    Waiting,
    Released,
}

#[derive(Clone, Copy)]
enum Count {
    Connections,
    /// Ended before the server had judged the login.
    BrokenHandshakes,
    Logins,
    /// Ended by `COM_QUIT`.
    Quits,
    /// Logged in, and ended without it.
    Aborted,
    Pings,
    /// Waits for [`FakeMysql::goes_on`].
    Stalls,
}

impl FakeMysql {
    /// A server on a port of the system's choice.
    pub fn start(script: Script) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// A server at this address.
    pub fn start_at(address: SocketAddr, script: Script) -> Self {
        let listener = Arc::new(TcpListener::bind(address).unwrap());
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            statements: Mutex::default(),
            open: Mutex::default(),
            stalled: Mutex::new(Stalled::Waiting),
            released: Condvar::new(),
            counts: Default::default(),
            cached: Mutex::default(),
        });
        let (accepting, serving) = (Arc::clone(&listener), Arc::clone(&shared));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let stream = Arc::new(stream);
                serving.open.lock().unwrap().push(Arc::downgrade(&stream));
                let shared = Arc::clone(&serving);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, listener, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Behaves by another script from the next statement or connection on.
    pub fn becomes(&self, script: Script) {
        *self.shared.script.lock().unwrap() = script;
    }

    /// Those who stall go on, and nobody stalls any more.
    pub fn goes_on(&self) {
        *self.shared.stalled.lock().unwrap() = Stalled::Released;
        self.shared.released.notify_all();
    }

    /// Closes every connection, as a restart or a `KILL` does.
    pub fn drops_connections(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.shared.count(Count::Connections)
    }

    /// Connections that ended before the login was judged.
    pub fn broken_handshakes(&self) -> usize {
        self.shared.count(Count::BrokenHandshakes)
    }

    /// Logins that were granted.
    pub fn logins(&self) -> usize {
        self.shared.count(Count::Logins)
    }

    /// Connections that were logged in and ended without a goodbye.
    pub fn aborted(&self) -> usize {
        self.shared.count(Count::Aborted)
    }

    /// Pings answered.
    pub fn pings(&self) -> usize {
        self.shared.count(Count::Pings)
    }

    /// How often it began to stall.
    pub fn stalls(&self) -> usize {
        self.shared.count(Count::Stalls)
    }

    /// Waits until so many connections have ended with a goodbye.
    #[track_caller]
    pub fn wait_for_quits(&self, count: usize) {
        eventually(&format!("{count} goodbyes"), DEADLINE, || self.shared.count(Count::Quits) >= count);
    }

    /// What was asked, in order.
    pub fn statements(&self) -> Vec<String> {
        self.shared.statements.lock().unwrap().clone()
    }
}

impl Drop for FakeMysql {
    fn drop(&mut self) {
        self.goes_on();
        // On Linux this wakes a blocked accept.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        self.drops_connections();
    }
}

impl Shared {
    fn count(&self, what: Count) -> usize {
        self.counts[what as usize].load(SeqCst)
    }

    fn add(&self, what: Count) {
        self.counts[what as usize].fetch_add(1, SeqCst);
    }

    fn script(&self) -> Script {
        self.script.lock().unwrap().clone()
    }

    /// Waits until [`FakeMysql::goes_on`].
    fn stall(&self) {
        self.add(Count::Stalls);
        let guard = self.stalled.lock().unwrap();
        drop(self.released.wait_while(guard, |stalled| *stalled == Stalled::Waiting).unwrap());
    }
}

fn serve(stream: Arc<TcpStream>, shared: &Shared) {
    shared.add(Count::Connections);
    let mut wire = Wire::new(stream);
    match login::judge(&mut wire, shared) {
        Ok(true) => {
            if commands(&mut wire, shared).is_ok() {
                shared.add(Count::Quits);
            } else {
                shared.add(Count::Aborted);
            }
        }
        Ok(false) => {}
        Err(_gone) => shared.add(Count::BrokenHandshakes),
    }
    wire.close();
}

/// Answers until `COM_QUIT`.
fn commands(wire: &mut Wire, shared: &Shared) -> io::Result<()> {
    loop {
        let command = wire.receive_command()?;
        match command.split_first() {
            Some((1, _)) => return Ok(()),
            Some((0x0e, _)) => {
                shared.add(Count::Pings);
                wire.send(Stage::Ping, &shared.script(), shared, wire::OK)?;
            }
            Some((3, sql)) => {
                let sql = String::from_utf8_lossy(sql).into_owned();
                shared.statements.lock().unwrap().push(sql.clone());
                let script = shared.script();
                match answer(&script, &sql) {
                    Answer::Done => wire.send(Stage::Statement, &script, shared, wire::OK)?,
                    Answer::Error(code) => {
                        wire.send(Stage::Statement, &script, shared, &wire::error(code, "#42000its own words"))?;
                    }
                    Answer::Rows(columns, rows) => wire.send_rows(&script, shared, &columns, &rows)?,
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
