//! `instructions`: what Evenkeel's worker executes for one exchange, counted by valgrind's callgrind.
//!
//! Each case runs twice, with fewer and with more exchanges, on one connection at a time; the difference leaves out all
//! that is done once. Only the worker's thread counts: what control does goes by the clock. A count does not depend on
//! what else the machine does, so it may be taken anywhere; it says nothing of the kernel.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Options;
use crate::ask;
use crate::compare::scale;
use crate::origin::Origin;
use crate::peers::{Peer, Ports, evenkeel_program};
use crate::report::table;
use crate::work::{Connection, Entry};

/// Where the counts are kept that new ones are compared with.
const FILE: &str = "benches/instructions.txt";

/// How far a count may grow.
const GROWTH_MAX: f64 = 0.02;

/// Counts of which the least is taken.
const COUNTS_MAX: usize = 3;

/// Exchanges of both runs; fewer of those that take their time.
const EXCHANGES: [u64; 2] = [500, 2_500];
const EXCHANGES_NEW: [u64; 2] = [200, 1_000];

/// Long enough for a worker under callgrind to do all that there is to do.
const PAUSE: Duration = Duration::from_millis(3);

struct Case {
    name: &'static str,
    entry: Entry,
    connection: Connection,
    backends: usize,
    routes: usize,
}

const KEPT: Case =
    Case { name: "http-keepalive-1k", entry: Entry::Http, connection: Connection::Kept, backends: 1, routes: 1 };

const CASES: [Case; 5] = [
    KEPT,
    Case { name: "http-new-connection", connection: Connection::New, ..KEPT },
    Case { name: "tcp-small", entry: Entry::Echo, ..KEPT },
    Case { name: "backends-10000", backends: scale::BACKENDS[1], ..KEPT },
    Case { name: "routes-10000", routes: scale::ROUTES[1], ..KEPT },
];

pub fn run(options: &Options) -> Result<(), String> {
    let valgrind = Command::new("valgrind").arg("--version").output();
    let valgrind = valgrind.map_err(|_absent| "valgrind is missing: apt-get install valgrind".to_owned())?;
    let known = fs::read_to_string(FILE).unwrap_or_default();
    let origin = Origin::start();
    let mut rows = vec![["instructions an exchange", "kept", "now", "moved"].map(str::to_owned).to_vec()];
    let mut text = format!(
        "# What Evenkeel's worker executes for one exchange; `benches/instructions --bless` writes this.\n\
         # {}, counted by {}",
        version(),
        String::from_utf8_lossy(&valgrind.stdout)
    );
    let mut grown = Vec::new();
    for case in &CASES {
        let before = kept(&known, case.name);
        if options.kinds.as_ref().is_some_and(|kinds| !kinds.iter().any(|kind| kind == case.name)) {
            // Blessing some leaves the others as they were.
            if let Some(before) = before {
                let _ = writeln!(text, "{} {before:.0}", case.name);
            }
            continue;
        }
        let enough = before.filter(|_| !options.bless).map(|before| before * (1.0 + GROWTH_MAX / 2.0));
        let now = least(case, &origin, enough).map_err(|error| format!("{}: {error}", case.name))?;
        let moved = before.map(|before| now / before - 1.0);
        let percent = moved.map_or("new".to_owned(), |moved| format!("{:+.2} %", moved * 100.0));
        rows.push(vec![
            case.name.to_owned(),
            before.map_or("-".to_owned(), |before| format!("{before:.0}")),
            format!("{now:.0}"),
            percent,
        ]);
        let _ = writeln!(text, "{} {now:.0}", case.name);
        if moved.is_some_and(|moved| moved > GROWTH_MAX) {
            grown.push(case.name);
        }
    }
    print!("{}", table(&rows));
    if options.bless {
        return fs::write(FILE, text).map_err(|error| format!("{FILE}: {error}"));
    }
    if grown.is_empty() {
        return Ok(());
    }
    Err(format!("grown by more than {:.0} %: {}; `--bless` keeps the new counts", GROWTH_MAX * 100.0, grown.join(", ")))
}

fn version() -> String {
    let output = Command::new(evenkeel_program()).arg("version").output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default()).lines().next().unwrap_or("evenkeel").to_owned()
}

fn kept(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The least of some counts, or the first that is not more than `enough`: on a machine with much else to do, more bytes
/// come before or after they are looked for, and that only ever adds.
fn least(case: &Case, origin: &Origin, enough: Option<f64>) -> Result<f64, String> {
    let mut least = f64::INFINITY;
    for _ in 0..COUNTS_MAX {
        least = least.min(count(case, origin)?);
        if enough.is_some_and(|enough| least <= enough) {
            break;
        }
    }
    Ok(least)
}

/// Instructions of one exchange.
fn count(case: &Case, origin: &Origin) -> Result<f64, String> {
    let exchanges = if case.connection == Connection::New { EXCHANGES_NEW } else { EXCHANGES };
    let mut counts = Vec::new();
    for exchanges in exchanges {
        counts.push(of_threads(case, origin, exchanges)?);
    }
    // Threads are numbered as they begin, in both runs alike; the worker is the one whose count goes with the exchanges.
    let [fewer, more] = exchanges;
    let differences = counts[0].iter().zip(&counts[1]).map(|(fewer, more)| more - fewer);
    Ok(differences.fold(0.0, f64::max) / (more - fewer) as f64)
}

/// Instructions of each thread of a run with so many exchanges.
fn of_threads(case: &Case, origin: &Origin, exchanges: u64) -> Result<Vec<f64>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let out = format!("--callgrind-out-file={}", folder.path().join("out").display());
    let within = ["valgrind", "--tool=callgrind", "--separate-threads=yes", &out];
    let ports = Ports::free();
    let config = config(case, &ports, origin);
    let peer = Peer::evenkeel_within(&within, &config, ports.http, ports.echo)?;
    let address = peer.entry(case.entry).ok_or("Evenkeel has no such door")?;
    ask_often(case, address, exchanges).map_err(|error| error.to_string())?;
    peer.end(Duration::from_mins(1))?;
    totals(folder.path())
}

fn ask_often(case: &Case, address: SocketAddr, exchanges: u64) -> io::Result<()> {
    let (question, answer) = ask::exchange(case.entry, case.connection, "/1k", 64);
    let question = String::from_utf8_lossy(&question).replace(crate::tls::NAME, scale::HOST).into_bytes();
    let mut stream = None;
    for _ in 0..exchanges {
        let mut open = match stream.take() {
            Some(open) => open,
            None => connect(address)?,
        };
        if case.connection == Connection::New {
            // Whether a question comes before or after its connection was looked at would be chance.
            std::thread::sleep(PAUSE);
        }
        open.write_all(&question)?;
        ask::read(&mut open, answer)?;
        match case.connection {
            Connection::Kept => stream = Some(open),
            // Evenkeel ends first, so that each connection has ended before the next one begins.
            Connection::New => {
                io::copy(&mut open, &mut io::sink())?;
                std::thread::sleep(PAUSE);
            }
        }
    }
    Ok(())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn config(case: &Case, ports: &Ports, origin: &Origin) -> String {
    let http = scale::config(ports, origin.http, case.backends, case.routes);
    format!(
        "{http}\n[listener.echo]\nbind = \"{}\"\nprotocol = \"tcp\"\npool = \"echo\"\n\n\
         [pool.echo]\nbackends = [\"127.0.0.1:{}\"]\n\n[pool.echo.check.port]\ntype = \"tcp\"\ninterval = \"1h\"\n\
         timeout = \"1s\"\ninitial = \"up\"\n",
        ports.echo, origin.echo
    )
}

/// What callgrind says of each thread, in the order of their numbers.
fn totals(folder: &Path) -> Result<Vec<f64>, String> {
    let mut totals = Vec::new();
    loop {
        let path = folder.join(format!("out-{:02}", totals.len() + 1));
        let Ok(text) = fs::read_to_string(&path) else { break };
        let total = text.lines().rev().find_map(|line| line.strip_prefix("totals:")?.trim().parse::<f64>().ok());
        totals.push(total.ok_or_else(|| format!("{}: no totals", path.display()))?);
    }
    if totals.is_empty() { Err("callgrind wrote nothing".to_owned()) } else { Ok(totals) }
}
