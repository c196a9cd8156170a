//! What an idle connection costs in the peers' own memory: the slope over a thousand connections.
//!
//! Every connection has had an exchange and waits. Then all of them are busy at once a few times, and wait again: what a
//! peer keeps of its buffers after that is seen by the second slope. The kernel's own memory is the same for all.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::{Length, Section};
use crate::ask;
use crate::origin::Origin;
use crate::peers::Peer;
use crate::report::table;
use crate::tls::{self, Alpn, Sessions};
use crate::work::{Connection, Entry};

/// Connections that are there before the slope begins, so that what is set up once does not count.
const FIRST: usize = 200;
/// Connections of the slope.
const SLOPE: usize = 1_000;
/// Exchanges of every connection in the burst.
const BURST: usize = 5;
const ECHOED: usize = 16 << 10;

const DOORS: [(&str, Entry); 3] = [("plain", Entry::Http), ("TLS", Entry::Https), ("tcp", Entry::Echo)];

/// One peer behind one door.
struct Watched {
    peer: Peer,
    address: SocketAddr,
    held: Vec<Box<dyn Held>>,
    kib: Vec<u64>,
}

trait Held: Read + Write {}
impl<T: Read + Write> Held for T {}

pub fn measure(peers: &[Peer], origin: &Origin, length: Length) -> Result<Section, String> {
    // Longer than any peer here keeps idle connections to its backends.
    let settling = Duration::from_secs(if length == Length::Full { 15 } else { 5 });
    let mut rows = vec![vec!["bytes of memory an idle connection".to_owned()]];
    rows[0].extend(DOORS.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("{name}, after a burst")]));
    let mut values = Vec::new();
    let names: Vec<&str> =
        peers.iter().map(|peer| peer.name.as_str()).filter(|name| *name != "haproxy-splice").collect();
    rows.extend(names.iter().map(|name| vec![(*name).to_owned()]));
    for (door, entry) in DOORS {
        eprint!(".");
        let slopes = of_door(&names, entry, origin, settling).map_err(|error| format!("memory, {door}: {error}"))?;
        for (at, (name, slopes)) in names.iter().zip(slopes).enumerate() {
            let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
            rows[at + 1].extend([cell(slopes.map(|slopes| slopes[0])), cell(slopes.map(|slopes| slopes[1]))]);
            values.push(
                json!({ "peer": name, "door": door, "idle": slopes.map(|s| s[0]), "burst": slopes.map(|s| s[1]) }),
            );
        }
    }
    Ok(Section { name: "memory", text: table(&rows), notes: String::new(), json: Value::from(values) })
}

/// Both slopes of each peer in bytes, idle and after a burst; all peers wait at the same time.
fn of_door(names: &[&str], entry: Entry, origin: &Origin, settling: Duration) -> Result<Vec<Option<[f64; 2]>>, String> {
    let mut watched = Vec::new();
    for name in names {
        let peer = Peer::start(name, origin)?;
        watched.push(peer.entry(entry).map(|address| Watched { peer, address, held: Vec::new(), kib: Vec::new() }));
    }
    // A moment is enough until the burst: nothing but what stands is there.
    let brief = Duration::from_millis(500);
    each(&mut watched, brief, |one| one.open(entry, FIRST))?;
    each(&mut watched, brief, |one| one.open(entry, SLOPE))?;
    each(&mut watched, settling, |one| one.burst(entry))?;
    let slope = |one: &Watched, at: usize| (one.kib[at] as f64 - one.kib[0] as f64) * 1024.0 / SLOPE as f64;
    Ok(watched.iter().map(|one| one.as_ref().map(|one| [slope(one, 1), slope(one, 2)])).collect())
}

fn each(
    watched: &mut [Option<Watched>],
    settling: Duration,
    mut act: impl FnMut(&mut Watched) -> io::Result<()>,
) -> Result<(), String> {
    for one in watched.iter_mut().flatten() {
        act(one).map_err(|error| format!("{}: {error}", one.peer.name))?;
    }
    std::thread::sleep(settling);
    for one in watched.iter_mut().flatten() {
        one.kib.push(one.peer.proportional_kib());
    }
    Ok(())
}

// === impl Watched ===

impl Watched {
    /// Opens so many, each with one exchange.
    fn open(&mut self, entry: Entry, count: usize) -> io::Result<()> {
        let tls = (entry == Entry::Https).then(|| tls::client(Alpn::Http1, Sessions::Fresh));
        for _ in 0..count {
            let mut held = connect(self.address, tls.as_ref())?;
            let (question, answer) = ask::exchange(entry, Connection::Kept, "/1k", 64);
            held.write_all(&question)?;
            ask::read(&mut held, answer)?;
            self.held.push(held);
        }
        Ok(())
    }

    /// All are asked before any is read.
    fn burst(&mut self, entry: Entry) -> io::Result<()> {
        let (question, answer) = ask::exchange(entry, Connection::Kept, "/64k", ECHOED);
        for _ in 0..BURST {
            for held in &mut self.held {
                held.write_all(&question)?;
                held.flush()?;
            }
            for held in &mut self.held {
                ask::read(held, answer)?;
            }
        }
        Ok(())
    }
}

fn connect(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn Held>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(match tls {
        None => Box::new(stream),
        Some(config) => Box::new(StreamOwned::<ClientConnection, _>::new(tls::connection(config), stream)),
    })
}
