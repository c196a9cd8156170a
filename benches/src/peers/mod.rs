//! The programs that are compared: one thread each, on one CPU, set up for equal work.
//!
//! Equal work means: the same four headers added (X-Forwarded-For, -Proto, -Host, X-Request-ID), connections to the
//! origin kept and shared, no access log, health checks every two seconds where the program has them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::cpu;
use crate::origin::Origin;
use crate::work::Entry;

/// A peer that runs.
pub struct Peer {
    pub name: String,
    pub version: String,
    http: Option<SocketAddr>,
    echo: Option<SocketAddr>,
    echo_once: Option<SocketAddr>,
    pub admin: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Peer {
    /// Starts `evenkeel`, `haproxy` or `nginx` in front of the origin.
    pub fn start(name: &str, origin: &Origin) -> Result<Self, String> {
        let ports = Ports::free();
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        match name {
            "evenkeel" => evenkeel(&evenkeel_config(&ports, origin), &ports, folder),
            "haproxy" => haproxy(&ports, origin, folder),
            "nginx" => nginx(&ports, origin, folder),
            other => Err(format!("{other}: no such peer; there are evenkeel, haproxy and nginx")),
        }
    }

    /// Starts Evenkeel with a configuration of one's own; `http` is where it will listen.
    pub fn evenkeel(config: &str, http: SocketAddr, admin: SocketAddr) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let ports = Ports { http, admin, ..Ports::free() };
        evenkeel(config, &ports, folder)
    }

    /// Where a kind of work enters; `None` where the peer cannot do it.
    pub fn entry(&self, entry: Entry) -> Option<SocketAddr> {
        match entry {
            Entry::Http => self.http,
            Entry::Echo => self.echo,
            Entry::EchoOnce => self.echo_once,
        }
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
        self.folder.path().join("peer.conf")
    }

    /// Memory in use by the process itself, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
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

    fn run(
        name: &str,
        version: String,
        mut command: Command,
        ports: &Ports,
        tcp: Tcp,
        folder: TempDir,
    ) -> Result<Self, String> {
        let log = File::create(folder.path().join("log")).map_err(|error| error.to_string())?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(folder.path());
        let child = cpu::pinned(cpu::OF_PEERS, || command.spawn()).map_err(|error| format!("{name}: {error}"))?;
        let tcp = tcp == Tcp::Forwarded;
        let mut peer = Self {
            name: name.to_owned(),
            version,
            http: Some(ports.http),
            echo: tcp.then_some(ports.echo),
            echo_once: tcp.then_some(ports.echo_once),
            admin: ports.admin,
            child,
            folder,
        };
        peer.wait_until_ready()?;
        Ok(peer)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let start = Instant::now();
        let address = self.http.expect("every peer speaks HTTP");
        while !answers(address) {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || start.elapsed() > Duration::from_mins(1) {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                return Err(format!("{} does not serve ({ended:?}):\n{log}", self.name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tcp {
    Forwarded,
    Missing,
}

/// Where a peer listens.
pub struct Ports {
    pub http: SocketAddr,
    pub echo: SocketAddr,
    pub echo_once: SocketAddr,
    pub admin: SocketAddr,
}

impl Ports {
    /// Ports that are free now; all are held until the last one is known, so that they differ.
    pub fn free() -> Self {
        let held: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free")).collect();
        let at = |n: usize| held[n].local_addr().expect("it is bound");
        Self { http: at(0), echo: at(1), echo_once: at(2), admin: at(3) }
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

// === evenkeel ===

/// The program that is measured.
pub fn evenkeel_program() -> PathBuf {
    std::env::var_os("EVENKEEL").map_or_else(|| PathBuf::from("target/release/evenkeel"), PathBuf::from)
}

fn evenkeel(config: &str, ports: &Ports, folder: TempDir) -> Result<Peer, String> {
    let program = fs::canonicalize(evenkeel_program())
        .map_err(|error| format!("{}: {error}; run `cargo build --release` first", evenkeel_program().display()))?;
    let path = write(&folder, config)?;
    let mut command = Command::new(&program);
    command.arg("run").arg("--config").arg(path);
    let version = version_of(Command::new(&program).arg("version"));
    Peer::run("evenkeel", version, command, ports, Tcp::Forwarded, folder)
}

fn evenkeel_config(ports: &Ports, origin: &Origin) -> String {
    let Ports { http, echo, echo_once, admin } = ports;
    let check = "interval = \"2s\"\ntimeout = \"1s\"";
    format!(
        r#"workers = 1

[admin]
bind = "{admin}"

[log]
access = "off"
level = "error"

[listener.http]
bind = "{http}"
pool = "http"

[listener.echo]
bind = "{echo}"
protocol = "tcp"
pool = "echo"

[listener.echo_once]
bind = "{echo_once}"
protocol = "tcp"
pool = "echo_once"

[pool.http]
backends = ["127.0.0.1:{0}", "127.0.0.2:{0}"]

[pool.http.check.web]
type = "http"
path = "/health"
{check}

[pool.echo]
backends = ["127.0.0.1:{1}", "127.0.0.2:{1}"]

[pool.echo.check.port]
type = "tcp"
{check}

[pool.echo_once]
backends = ["127.0.0.1:{2}", "127.0.0.2:{2}"]

[pool.echo_once.check.port]
type = "tcp"
{check}
"#,
        origin.http, origin.echo, origin.echo_once
    )
}

// === haproxy ===

fn haproxy(ports: &Ports, origin: &Origin, folder: TempDir) -> Result<Peer, String> {
    let program = find("haproxy")?;
    let path = write(&folder, &haproxy_config(ports, origin))?;
    let version = version_of(Command::new(&program).arg("-v"));
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(path);
    Peer::run("haproxy", version, command, ports, Tcp::Forwarded, folder)
}

fn haproxy_config(ports: &Ports, origin: &Origin) -> String {
    let Ports { http, echo, echo_once, .. } = ports;
    format!(
        r"global
    nbthread 1
    maxconn 4096

defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
    default-server check inter 2s

frontend http
    mode http
    bind {http}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID
    default_backend http

backend http
    mode http
    balance roundrobin
    http-reuse always
    option httpchk GET /health
    server a 127.0.0.1:{0}
    server b 127.0.0.2:{0}

listen echo
    mode tcp
    bind {echo}
    balance roundrobin
    server a 127.0.0.1:{1}
    server b 127.0.0.2:{1}

listen echo_once
    mode tcp
    bind {echo_once}
    balance roundrobin
    server a 127.0.0.1:{2}
    server b 127.0.0.2:{2}
",
        origin.http, origin.echo, origin.echo_once
    )
}

// === nginx ===

const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

fn nginx(ports: &Ports, origin: &Origin, folder: TempDir) -> Result<Peer, String> {
    let program = find("nginx")?;
    let tcp = if Path::new(NGINX_STREAM).exists() { Tcp::Forwarded } else { Tcp::Missing };
    if tcp == Tcp::Missing {
        eprintln!("nginx cannot forward TCP here; apt-get install libnginx-mod-stream");
    }
    let path = write(&folder, &nginx_config(ports, origin, tcp))?;
    let version = version_of(Command::new(&program).arg("-v"));
    let mut command = Command::new(program);
    command.arg("-p").arg(folder.path()).arg("-c").arg(path).arg("-e").arg(folder.path().join("error.log"));
    Peer::run("nginx", version, command, ports, tcp, folder)
}

fn nginx_config(ports: &Ports, origin: &Origin, tcp: Tcp) -> String {
    let http = ports.http;
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let (load, stream) = match tcp {
        Tcp::Missing => (String::new(), String::new()),
        Tcp::Forwarded => (format!("load_module {NGINX_STREAM};"), nginx_stream(ports, origin)),
    };
    format!(
        r#"{load}
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    upstream http {{
        server 127.0.0.1:{0};
        server 127.0.0.2:{0};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {http};
        location / {{
            proxy_pass http://http;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-ID $request_id;
        }}
    }}
}}
{stream}
"#,
        origin.http
    )
}

fn nginx_stream(ports: &Ports, origin: &Origin) -> String {
    format!(
        r"stream {{
    access_log off;
    upstream echo {{ server 127.0.0.1:{2}; server 127.0.0.2:{2}; }}
    upstream echo_once {{ server 127.0.0.1:{3}; server 127.0.0.2:{3}; }}
    server {{ listen {0}; proxy_pass echo; }}
    server {{ listen {1}; proxy_pass echo_once; }}
}}",
        ports.echo, ports.echo_once, origin.echo, origin.echo_once
    )
}

// === all of them ===

fn write(folder: &TempDir, config: &str) -> Result<PathBuf, String> {
    let path = folder.path().join("peer.conf");
    fs::write(&path, config).map_err(|error| error.to_string())?;
    Ok(path)
}

fn find(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|file| file.exists())
        .ok_or_else(|| format!("{program} is missing: apt-get install {program}, or leave it out with --peers"))
}

/// The first line that the program says about itself.
fn version_of(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
}
