//! Real `PostgreSQL` servers, each on its own loopback address and port with its own temporary folder; a primary can
//! have a standby that streams from it.
//!
//! They are Debian's programs. They refuse to run as root, so that root runs them as nobody.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::real::{free_port, is_root, signal, wait_until};

/// A `PostgreSQL` server. Its superuser `boss` has no password and may come from its own folder's socket only.
#[derive(Debug)]
pub struct RealPostgres {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
}

impl RealPostgres {
    /// One on `ip`, on a free port, that lets in whoever `hba` says; `options`: lines of `postgresql.conf`.
    pub async fn start(ip: &str, hba: &str, options: &str) -> Self {
        let server = Self::new(ip);
        let made = server.run("initdb", &["-U", "boss", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"]);
        assert!(made.is_ok(), "initdb: {made:?}");
        server.configure(hba, options);
        server.launch().await
    }

    /// A standby of this one on `ip`, streaming.
    pub async fn standby(&self, ip: &str) -> Self {
        let server = Self::new(ip);
        let from = format!("host={} port={} user=boss", self.socket().display(), self.address.port());
        let made = server.run("pg_basebackup", &["-d", &from, "-R", "-X", "stream", "-c", "fast", "--no-sync"]);
        assert!(made.is_ok(), "pg_basebackup: {made:?}");
        let hba = fs::read_to_string(self.data().join("pg_hba.conf")).unwrap();
        let hba = hba.strip_prefix(OWN).unwrap_or(&hba).to_owned();
        server.configure(&hba, "");
        server.launch().await
    }

    fn new(ip: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        fs::create_dir(folder.path().join("socket")).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for inner in ["data", "socket"] {
            let path = folder.path().join(inner);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            if is_root() {
                std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        Self { address: SocketAddr::new(ip.parse().unwrap(), free_port(ip)), folder, process: None }
    }

    fn configure(&self, hba: &str, options: &str) {
        let mut conf = String::new();
        writeln!(conf, "listen_addresses = '{}'\nport = {}", self.address.ip(), self.address.port()).unwrap();
        writeln!(conf, "unix_socket_directories = '{}'", self.socket().display()).unwrap();
        conf.push_str(SMALL);
        conf.push_str(options);
        self.write("postgresql.auto.conf", &conf, Where::Behind);
        self.write("pg_hba.conf", &format!("{OWN}{hba}\n"), Where::Instead);
    }

    /// Writes a file of its data folder, owned by whoever runs it.
    fn write(&self, name: &str, text: &str, place: Where) {
        let path = self.data().join(name);
        let before = if place == Where::Behind { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        fs::write(&path, format!("{before}\n{text}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// Gives it TLS with this certificate and key, PEM.
    pub fn give_tls(&self, certificate: &str, key: &str) {
        self.write("server.crt", certificate, Where::Instead);
        self.write("server.key", key, Where::Instead);
        self.query("ALTER SYSTEM SET ssl = on");
        self.query("SELECT pg_reload_conf()");
    }

    async fn launch(mut self) -> Self {
        self.process = Some(self.spawn());
        let log = self.log();
        wait_until("PostgreSQL answers", &log, || self.try_query("SELECT 1").is_ok()).await;
        self
    }

    fn spawn(&self) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.as_nobody("postgres");
        command.arg("-D").arg(self.data());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.as_nobody(program);
        said(command.arg("-D").arg(self.data()).args(arguments))
    }

    fn as_nobody(&self, program: &str) -> Command {
        let program = installed(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).env("TZ", "UTC");
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it has written into its log.
    pub fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// What `psql` prints for `sql`: rows in lines, no names.
    pub fn query(&self, sql: &str) -> String {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn try_query(&self, sql: &str) -> Result<String, String> {
        let mut command = self.as_nobody("psql");
        command.args(["-XAtw", "-U", "boss", "-d", "postgres", "-p", &self.address.port().to_string()]);
        said(command.arg("-h").arg(self.socket()).args(["-c", sql]))
    }

    /// Makes a primary of a standby.
    pub fn promote(&self) {
        self.query("SELECT pg_promote(true, 30)");
    }

    /// Stops or continues all its processes: `STOP`, `CONT`.
    pub fn signal_all(&self, name: &str) {
        let process = self.process.as_ref().expect("it runs");
        let children = Command::new("pkill").args([&format!("-{name}"), "-P", &process.id().to_string()]).status();
        assert!(children.is_ok());
        signal(process, name);
    }

    /// Kills it as an operator in a hurry does, and waits for its end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal(&process, "CONT");
        signal(&process, "QUIT");
        let _ = process.wait();
    }

    /// Starts it, and does not wait until it answers.
    pub fn begin(&mut self) {
        self.process = Some(self.spawn());
    }
}

impl Drop for RealPostgres {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Behind,
    Instead,
}

const NOBODY: u32 = 65534;

/// Its own rule: whoever reaches the socket.
const OWN: &str = "\nlocal all,replication boss trust\n";

/// Enough for a test, and started within a second.
const SMALL: &str = "shared_buffers = 1MB\nfsync = off\nmax_connections = 20\nwal_level = replica\nmax_wal_senders = 4\n\
    log_min_messages = info\nlog_connections = off\nwal_keep_size = 64MB\n";

fn said(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// Debian keeps the programs of each version in a folder of their own, outside of the path.
fn installed(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(program)).collect();
    found.retain(|path| path.exists());
    found.sort();
    found.pop().unwrap_or_else(|| {
        panic!("{program} is not installed, and this test needs the real one: run tests/run, which installs it")
    })
}
