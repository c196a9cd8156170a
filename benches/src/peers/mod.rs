//! The programs that are compared: one thread each, on one CPU, set up for equal work.
//!
//! Equal work means: the same four headers added (X-Forwarded-For, -Proto, -Host, X-Request-ID), connections to the
//! origin kept and shared, no access log, health checks every two seconds where the program has them.

mod envoy;
mod evenkeel;
mod haproxy;
mod nginx;
mod pingora;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cpu;
use crate::origin::Origin;
use crate::tls::{self, Certificate};
use crate::work::Entry;

pub use evenkeel::program as evenkeel_program;

/// All peers, in the order of the report.
pub const ALL: [&str; 6] = ["evenkeel", "haproxy", "haproxy-splice", "nginx", "envoy", "pingora"];

/// The name of a peer's configuration in its folder.
const CONFIG: &str = "peer.conf";

/// Why a peer does not run.
pub enum Fault {
    /// It is not here, and how to get it.
    Missing(String),
    Broken(String),
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        let (Fault::Missing(why) | Fault::Broken(why)) = fault;
        why
    }
}

/// What a peer is started with.
pub struct Setup<'a> {
    pub ports: &'a Ports,
    pub origin: &'a Origin,
    pub certificate: &'a Certificate,
    pub folder: &'a Path,
}

impl Setup<'_> {
    /// What is forwarded as TCP: a name, where the peer listens, and the origin's port.
    fn tcp(&self) -> [(&'static str, SocketAddr, u16); 3] {
        let Self { ports, origin, .. } = self;
        [
            ("echo", ports.echo, origin.echo),
            ("echo_once", ports.echo_once, origin.echo_once),
            ("bulk", ports.bulk, origin.bulk),
        ]
    }
}

/// How a peer is started, and which doors it has then.
pub struct Recipe {
    pub command: Command,
    pub version: String,
    pub doors: &'static [Entry],
}

/// A peer that runs.
pub struct Peer {
    pub name: String,
    pub version: String,
    /// From its start to its first good answer.
    pub started_in: Duration,
    pub admin: SocketAddr,
    ports: Ports,
    doors: &'static [Entry],
    child: Child,
    folder: TempDir,
}

impl Peer {
    /// Starts one of [`ALL`] in front of the origin.
    pub fn start(name: &str, origin: &Origin) -> Result<Self, Fault> {
        let ports = Ports::free();
        let folder = tempfile::tempdir().map_err(|error| Fault::Broken(error.to_string()))?;
        let certificate = tls::own_certificate(folder.path()).map_err(Fault::Broken)?;
        let setup = Setup { ports: &ports, origin, certificate: &certificate, folder: folder.path() };
        let recipe = match name {
            "evenkeel" => evenkeel::recipe(&setup),
            "haproxy" => haproxy::recipe(&setup, haproxy::Splice::Off),
            "haproxy-splice" => haproxy::recipe(&setup, haproxy::Splice::On),
            "nginx" => nginx::recipe(&setup),
            "envoy" => envoy::recipe(&setup),
            "pingora" => pingora::recipe(&setup),
            other => Err(Fault::Broken(format!("{other}: no such peer; there are {}", ALL.join(", ")))),
        }?;
        Self::run(name, recipe, ports, folder).map_err(Fault::Broken)
    }

    /// Starts Evenkeel with a configuration of one's own; `http` is where it will listen.
    pub fn evenkeel(config: &str, http: SocketAddr, admin: SocketAddr) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let recipe = evenkeel::of(config, folder.path())?;
        Self::run("evenkeel", recipe, Ports { http, admin, ..Ports::free() }, folder)
    }

    /// The same as a child of another program, whose command line is `within`.
    pub fn evenkeel_within(within: &[&str], config: &str, http: SocketAddr, echo: SocketAddr) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let recipe = evenkeel::of(config, folder.path())?;
        let mut command = Command::new(within[0]);
        command.args(&within[1..]).arg(recipe.command.get_program()).args(recipe.command.get_args());
        Self::run("evenkeel", Recipe { command, ..recipe }, Ports { http, echo, ..Ports::free() }, folder)
    }

    /// Ends it and waits for that, at most so long.
    pub fn end(mut self, within: Duration) -> Result<(), String> {
        self.terminate(within).then_some(()).ok_or_else(|| format!("{} did not end within {within:?}", self.name))
    }

    /// Whether it has ended well.
    fn terminate(&mut self, within: Duration) -> bool {
        let _ = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < within {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Where a kind of work enters; `None` where the peer cannot do it.
    pub fn entry(&self, entry: Entry) -> Option<SocketAddr> {
        let at = match entry {
            Entry::Http => self.ports.http,
            Entry::Https => self.ports.https,
            Entry::Echo => self.ports.echo,
            Entry::EchoOnce => self.ports.echo_once,
            Entry::Bulk => self.ports.bulk,
        };
        self.doors.contains(&entry).then_some(at)
    }

    /// CPU time used, nanoseconds.
    pub fn cpu(&self) -> u64 {
        cpu::nanos(self.child.id())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join(CONFIG)
    }

    /// Memory in use by the process itself, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
    }

    /// Memory of all its processes, KiB; what they share counts once.
    pub fn proportional_kib(&self) -> u64 {
        let of = |pid: u32| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
        };
        cpu::family(self.pid()).into_iter().map(of).sum()
    }

    /// Evenkeel's own count: the sum of a metric over all label sets that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = get(self.admin, "/metrics").unwrap_or_default();
        text.lines()
            .filter(|line| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    fn run(name: &str, recipe: Recipe, ports: Ports, folder: TempDir) -> Result<Self, String> {
        let Recipe { mut command, version, doors } = recipe;
        let log = File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder.path());
        let start = Instant::now();
        let child = cpu::pinned(cpu::OF_PEERS, || command.spawn()).map_err(|error| format!("{name}: {error}"))?;
        let (name, admin) = (name.to_owned(), ports.admin);
        let mut peer = Self { name, version, started_in: Duration::ZERO, admin, ports, doors, child, folder };
        peer.wait_until_ready(start)?;
        peer.started_in = start.elapsed();
        Ok(peer)
    }

    fn wait_until_ready(&mut self, start: Instant) -> Result<(), String> {
        while !answers(self.ports.http) {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || start.elapsed() > Duration::from_mins(1) {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("{} does not serve ({ended:?}):\n{log}", self.name));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) || self.terminate(Duration::from_secs(1)) {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a peer listens.
pub struct Ports {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub echo: SocketAddr,
    pub echo_once: SocketAddr,
    pub bulk: SocketAddr,
    pub admin: SocketAddr,
}

impl Ports {
    /// Ports that are free now; all are held until the last one is known, so that they differ.
    pub fn free() -> Self {
        let held: [TcpListener; 6] =
            std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free"));
        let [http, https, echo, echo_once, bulk, admin] =
            held.each_ref().map(|listener| listener.local_addr().expect("it is bound"));
        Self { http, https, echo, echo_once, bulk, admin }
    }
}

/// Whether a request to `address` is answered by 200.
fn answers(address: SocketAddr) -> bool {
    get(address, "/health").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// All that comes back for one GET.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(folder: &Path, name: &str, config: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    fs::write(&path, config).map_err(|error| error.to_string())?;
    Ok(path)
}

/// A program of this name, or how to get it.
fn find(program: &str, remedy: &str) -> Result<PathBuf, Fault> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|file| file.exists())
        .ok_or_else(|| Fault::Missing(format!("{program} is missing: {remedy}")))
}

/// The first line that the program says about itself.
fn version_of(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
