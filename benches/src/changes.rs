//! `changes`: reloads and upgrades of the program, one after the other, under sessions that stay open and requests that
//! never pause. Nothing may be reset, and no request may fail.
//!
//! A hundred reloads and twenty upgrades with 1,000 WebSockets and 200 connections of TCP, unless `--rounds` says fewer
//! reloads: a fifth as many upgrades go with them. Upgrades are made by `--takeover` and by USR2 in turn. After each change
//! every session says something and hears it back.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, Builder, Scope};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Options;
use crate::peers::{Ports, evenkeel_program};

const WEBSOCKETS: usize = 1_000;
const STREAMS: usize = 200;
const RELOADS: usize = 100;
const RELOADS_PER_UPGRADE: usize = 5;
/// Clients that ask for one thing after the other: so many on a connection that is kept, and so many on new ones.
const CLIENTS: usize = 3;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of a backend's thread, which has next to nothing to remember.
const STACK_BYTES: usize = 64 * 1024;

/// What became of the requests.
#[derive(Default)]
struct Tally {
    good: AtomicU64,
    failed: AtomicU64,
    first: Mutex<Option<String>>,
    over: AtomicBool,
}

/// The processes of the program; the last one has the work.
struct Program<'f> {
    folder: &'f Path,
    admin: SocketAddr,
    children: Vec<Child>,
    /// Of those that USR2 has started.
    adopted: Vec<String>,
    main: String,
}

pub fn run(options: &Options) -> Result<(), String> {
    raise_limit();
    let reloads = options.rounds.unwrap_or(RELOADS);
    let (ports, folder) = (Ports::free(), tempfile::tempdir().map_err(said)?);
    let backend = TcpListener::bind("127.0.0.1:0").map_err(said)?;
    let address = backend.local_addr().map_err(said)?;
    let tally = Tally::default();
    thread::spawn(move || serve(&backend));
    let mut program = Program::start(folder.path(), &ports, address)?;
    let begun = Instant::now();
    let result = thread::scope(|scope| {
        start_clients(scope, ports.http, &tally);
        let result = change(&mut program, &ports, address, reloads);
        tally.over.store(true, SeqCst);
        result
    });
    let resets = result?;
    let (good, failed) = (tally.good.load(SeqCst), tally.failed.load(SeqCst));
    println!(
        "{reloads} reloads and {} upgrades in {:.1} s with {WEBSOCKETS} WebSockets and {STREAMS} connections of TCP",
        reloads / RELOADS_PER_UPGRADE,
        begun.elapsed().as_secs_f64()
    );
    println!("sessions reset: {resets}; requests: {good} good, {failed} failed");
    match tally.first.into_inner().ok().flatten() {
        Some(first) => Err(format!("the first failure: {first}")),
        None if resets > 0 => Err("sessions were reset".to_owned()),
        None => Ok(()),
    }
}

/// Makes the changes; how many sessions were lost.
fn change(program: &mut Program<'_>, ports: &Ports, backend: SocketAddr, reloads: usize) -> Result<usize, String> {
    let mut sessions = Vec::with_capacity(WEBSOCKETS + STREAMS);
    for _ in 0..WEBSOCKETS {
        sessions.push(websocket(ports.http).map_err(|error| format!("a WebSocket: {error}"))?);
    }
    for _ in 0..STREAMS {
        sessions.push(connect(ports.echo).map_err(said)?);
    }
    let mut counted = 0.0;
    for round in 1..=reloads {
        program.reload(&config(ports, backend, round))?;
        if round.is_multiple_of(RELOADS_PER_UPGRADE) {
            program.upgrade(round / RELOADS_PER_UPGRADE)?;
            let now = program.metric("evenkeel_listener_requests_total{listener=\"http\",code=\"2xx\"}");
            if now < counted {
                return Err(format!("a counter went back from {counted} to {now}"));
            }
            counted = now;
        }
        let lost = sessions.iter_mut().filter_map(|session| echo(session).err()).count();
        if lost > 0 {
            return Ok(lost);
        }
    }
    Ok(0)
}

impl<'f> Program<'f> {
    fn start(folder: &'f Path, ports: &Ports, backend: SocketAddr) -> Result<Self, String> {
        let mut program =
            Self { folder, admin: ports.admin, children: Vec::new(), adopted: Vec::new(), main: String::new() };
        fs::write(folder.join("evenkeel.toml"), config(ports, backend, 0)).map_err(said)?;
        program.spawn(&[])?;
        program.until("it is ready", |program| program.metric("evenkeel_ready") > 0.0)?;
        Ok(program)
    }

    fn spawn(&mut self, arguments: &[&str]) -> Result<(), String> {
        let log = File::options().create(true).append(true).open(self.folder.join("log")).map_err(said)?;
        let program = fs::canonicalize(evenkeel_program()).map_err(said)?;
        let mut command = Command::new(program);
        command.args(["run", "evenkeel.toml"]).args(arguments).current_dir(self.folder);
        let child = command.stdin(Stdio::null()).stderr(log).spawn().map_err(said)?;
        self.main = child.id().to_string();
        self.children.push(child);
        Ok(())
    }

    fn reload(&self, config: &str) -> Result<(), String> {
        fs::write(self.folder.join("evenkeel.toml"), config).map_err(said)?;
        let ran =
            Command::new(evenkeel_program()).args(["reload", "--admin", &format!("http://{}", self.admin)]).output();
        let ran = ran.map_err(said)?;
        if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).into_owned()) }
    }

    fn upgrade(&mut self, number: usize) -> Result<(), String> {
        let before = self.metric("evenkeel_config_generation");
        let is_done = |program: &Self| program.metric("evenkeel_config_generation") > before;
        if number.is_multiple_of(2) {
            kill("USR2", &self.main);
            self.until("a process that USR2 has started takes over", is_done)?;
            let log = fs::read_to_string(self.folder.join("log")).map_err(said)?;
            let pid = log.rsplit("finishes here pid=").next().and_then(|rest| rest.split(' ').next());
            self.main = pid.ok_or("the log does not say who has taken over")?.to_owned();
            self.adopted.push(self.main.clone());
            Ok(())
        } else {
            self.spawn(&["--takeover", "upgrade.sock"])?;
            self.until("a process that was told to takes over", is_done)
        }
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_so(self) {
            if begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("not within {PATIENCE:?}: {what}\n{log}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A metric by its name and labels; 0 where nobody answers.
    fn metric(&self, name: &str) -> f64 {
        let asked = connect(self.admin).and_then(|mut line| {
            // It answers to its own name only.
            write!(line.get_mut(), "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)?;
            let mut text = String::new();
            line.read_to_string(&mut text)?;
            Ok(text)
        });
        let text = asked.unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.adopted.iter().for_each(|pid| kill("KILL", pid));
    }
}

fn kill(signal: &str, pid: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), pid]).stderr(Stdio::null()).status();
}

/// Half of all rounds have a route and a backend more.
fn config(ports: &Ports, backend: SocketAddr, round: usize) -> String {
    let Ports { http, echo, admin, .. } = ports;
    let workers = 1 + round / RELOADS_PER_UPGRADE % 3;
    let (route, more) = if round.is_multiple_of(2) {
        ("", "")
    } else {
        (
            "[[listener.http.route]]\npath = \"/new\"\npool = \"echo\"\n",
            ", { name = \"b\", address = \"127.0.0.1:9\", backup = true }",
        )
    };
    format!(
        "workers = {workers}\n[admin]\nbind = \"{admin}\"\n[log]\naccess = \"off\"\n[upgrade]\nsocket = \"upgrade.sock\"\n\
         [shutdown]\ndrain = \"1h\"\n\
         [listener.http]\nbind = \"{http}\"\npool = \"http\"\n{route}\
         [listener.echo]\nbind = \"{echo}\"\nprotocol = \"tcp\"\npool = \"echo\"\n\
         [pool.http]\nbackends = [{{ name = \"a\", address = \"{backend}\" }}{more}]\n\
         check.web = {{ type = \"http\", interval = \"2s\" }}\n\
         [pool.echo]\nbackends = [\"{backend}\"]\ncheck.port = {{ type = \"tcp\", interval = \"2s\" }}\n"
    )
}

fn start_clients<'s>(scope: &'s Scope<'s, '_>, to: SocketAddr, tally: &'s Tally) {
    for client in 0..2 * CLIENTS {
        scope.spawn(move || {
            let mut kept = None;
            while !tally.over.load(SeqCst) {
                let keeps = client < CLIENTS;
                match get(&mut kept, to, keeps) {
                    Ok(()) => _ = tally.good.fetch_add(1, SeqCst),
                    Err(error) => {
                        tally.failed.fetch_add(1, SeqCst);
                        if let Ok(mut first) = tally.first.lock() {
                            first.get_or_insert(format!(
                                "{error}, on a connection that is {}",
                                if keeps { "kept" } else { "new" }
                            ));
                        }
                    }
                }
                // The changes are what is measured.
                thread::sleep(Duration::from_millis(2));
            }
        });
    }
}

type Session = BufReader<TcpStream>;

fn connect(to: SocketAddr) -> io::Result<Session> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

fn get(kept: &mut Option<Session>, to: SocketAddr, keeps: bool) -> io::Result<()> {
    let mut session = kept.take().map_or_else(|| connect(to), Ok)?;
    let end = if keeps { "" } else { "Connection: close\r\n" };
    write!(session.get_mut(), "GET / HTTP/1.1\r\nHost: x\r\n{end}\r\n")?;
    let head = head(&mut session)?;
    if !head.starts_with("http/1.1 200") {
        return Err(io::Error::other(head));
    }
    let mut body = [0; 4];
    session.read_exact(&mut body)?;
    if keeps && !head.contains("\r\nconnection: close") {
        *kept = Some(session);
    }
    Ok(())
}

fn websocket(to: SocketAddr) -> io::Result<Session> {
    let mut session = connect(to)?;
    session.get_mut().write_all(
        b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let head = head(&mut session)?;
    if head.starts_with("http/1.1 101") { Ok(session) } else { Err(io::Error::other(head)) }
}

/// A head in small letters.
fn head(session: &mut Session) -> io::Result<String> {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        if session.read_line(&mut text)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(text.to_ascii_lowercase())
}

fn echo(session: &mut Session) -> io::Result<()> {
    session.get_mut().write_all(b"hear")?;
    let mut back = [0; 4];
    session.read_exact(&mut back)
}

/// The backend: answers requests, and says back what comes on everything else.
fn serve(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let thread = Builder::new().stack_size(STACK_BYTES);
        let started = thread.spawn(move || {
            // Its other side ends it.
            let _ = answer(stream);
        });
        started.expect("a thread for each session");
    }
}

fn answer(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut session = BufReader::with_capacity(1024, stream);
    loop {
        if !session.fill_buf()?.starts_with(b"GET") {
            break;
        }
        let head = head(&mut session)?;
        if head.contains("\r\nupgrade: websocket") {
            session.get_mut().write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            )?;
            break;
        }
        session.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")?;
    }
    loop {
        let length = {
            let bytes = session.fill_buf()?.to_vec();
            session.get_mut().write_all(&bytes)?;
            bytes.len()
        };
        if length == 0 {
            return Ok(());
        }
        session.consume(length);
    }
}

/// Each session is three descriptors here, and four in the program.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Where that is not allowed, the first session that finds none says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn said(error: io::Error) -> String {
    error.to_string()
}
