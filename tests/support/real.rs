//! Real Apaches and real `MariaDB`s, each on its own loopback address and port with its own temporary folder.
//!
//! They are Debian's programs (`tests/run` installs them) and end with the value that stands for them.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "support fails by panicking, as tests do")]
#![allow(unreachable_pub, reason = "a test file is a crate of its own, and what is pub here is pub for it")]

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const APACHE: &str = "/usr/sbin/apache2";
const MODULES: &str = "/usr/lib/apache2/modules";
const MARIADB: &str = "/usr/sbin/mariadbd";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A `MariaDB` server. Its user `root` has no password and may come over its socket only.
#[derive(Debug)]
pub struct RealMariaDb {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    options: Vec<String>,
    /// Where its scripts are looked for first.
    scripts: Option<PathBuf>,
    process: Option<Child>,
}

/// The data of a server that never ran, to be copied: making it anew takes seconds.
#[derive(Debug)]
pub struct Installed(TempDir);

impl Installed {
    /// Made by `mariadb-install-db`.
    pub fn new() -> Self {
        demand(MARIADB);
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
            .args(user_option())
            .arg(format!("--datadir={}", data.display()))
            // One that starts clears the folder of temporary tables, also of those of others.
            .arg(format!("--tmpdir={}", folder.path().display()))
            .args(SMALL)
            .output()
            .expect("mariadb-install-db is not there: run tests/run, which installs it");
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        Self(folder)
    }
}

fn copy_of_data(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let copied = Command::new("cp").arg("-a").arg(folder.path().join("data")).arg(copy.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp -a");
    copy
}

impl RealMariaDb {
    /// One on `ip`, on a free port.
    pub async fn start(ip: &str) -> Self {
        Self::start_with(ip, &[]).await
    }

    /// One with further options, like `--max-connect-errors=5`.
    pub async fn start_with(ip: &str, options: &[&str]) -> Self {
        Self::start_at(SocketAddr::new(ip.parse().unwrap(), free_port(ip)), options).await
    }

    /// One with further options, at this address.
    pub async fn start_at(address: SocketAddr, options: &[&str]) -> Self {
        let Installed(folder) = Installed::new();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { address, folder, options, scripts: None, process: None };
        server.launch().await;
        server
    }

    /// One with a copy of these data, not started yet.
    pub fn prepared(installed: &Installed, ip: &str, options: Vec<String>, scripts: Option<PathBuf>) -> Self {
        let address = SocketAddr::new(ip.parse().unwrap(), free_port(ip));
        Self { address, folder: copy_of_data(&installed.0), options, scripts, process: None }
    }

    /// Another one with a copy of its data; both must not run.
    pub fn twin(&self, ip: &str, options: Vec<String>) -> Self {
        assert!(self.process.is_none(), "data cannot be copied while they are used");
        let address = SocketAddr::new(ip.parse().unwrap(), free_port(ip));
        Self { address, folder: copy_of_data(&self.folder), options, scripts: self.scripts.clone(), process: None }
    }

    /// Starts it with one more option, which is forgotten at the next start.
    pub async fn launch_with(&mut self, option: &str) {
        self.options.push(option.to_owned());
        self.launch().await;
        self.options.pop();
    }

    /// Starts it, and waits until it answers.
    pub async fn launch(&mut self) {
        let folder = self.folder.path();
        let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut program = Command::new(MARIADB);
        if let Some(scripts) = &self.scripts {
            program.env("PATH", format!("{}:{}", scripts.display(), std::env::var("PATH").unwrap_or_default()));
        }
        let process = program
            .arg("--no-defaults")
            .args(user_option())
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--tmpdir={}", folder.display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--bind-address={}", self.address.ip()))
            .arg(format!("--port={}", self.address.port()))
            .args(SMALL)
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let (socket, log) = (self.socket(), folder.join("log"));
        wait_until("MariaDB answers", &log, || query(&socket, "SELECT 1").is_ok()).await;
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops it as an operator does, and waits for its end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal(&process, "TERM");
        let _ = process.wait();
    }

    /// Starts it again at the same address, with its data.
    pub async fn restart(&mut self) {
        self.stop();
        self.launch().await;
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// What the `mariadb` program prints for `sql`: rows in lines, columns apart by tabs, no names.
    pub fn query(&self, sql: &str) -> String {
        query(&self.socket(), sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The value of a status variable.
    pub fn status(&self, name: &str) -> u64 {
        let line = self.query(&format!("SHOW GLOBAL STATUS LIKE '{name}'"));
        line.split_whitespace().nth(1).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {line}"))
    }
}

impl Drop for RealMariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Enough for a test, and started within a second.
const SMALL: [&str; 4] = [
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-data-file-path=ibdata1:12M:autoextend",
    "--innodb-flush-log-at-trx-commit=0",
];

fn query(socket: &Path, sql: &str) -> Result<String, String> {
    let output = Command::new("mariadb")
        .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--execute={sql}"))
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// An Apache with its event workers and `server-status`, whose every page under `/` is the one given.
#[derive(Debug)]
pub struct RealApache {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
}

impl RealApache {
    /// One on `ip`, on a free port; `body` is its front page.
    pub async fn start(ip: &str, body: &str) -> Self {
        demand(APACHE);
        let folder = tempfile::tempdir().unwrap();
        // Started as root it serves as nobody, who must be able to read the page.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let pages = folder.path().join("pages");
        fs::create_dir(&pages).unwrap();
        fs::write(pages.join("index.html"), body).unwrap();
        let address = SocketAddr::new(ip.parse().unwrap(), free_port(ip));
        fs::write(folder.path().join("httpd.conf"), Self::config(folder.path(), address)).unwrap();
        let mut server = Self { address, folder, process: None };
        server.launch().await;
        server
    }

    fn config(folder: &Path, address: SocketAddr) -> String {
        let mut config = String::new();
        for module in ["mpm_event", "authz_core", "authz_host", "dir", "status"] {
            writeln!(config, "LoadModule {module}_module {MODULES}/mod_{module}.so").unwrap();
        }
        let folder = folder.display();
        if is_root() {
            config.push_str("User nobody\nGroup nogroup\n");
        }
        write!(
            config,
            "ServerName localhost\nServerRoot {folder}\nListen {address}\nPidFile {folder}/pid\nErrorLog {folder}/log\n\
             DefaultRuntimeDir {folder}\nDocumentRoot {folder}/pages\nDirectoryIndex index.html\n\
             StartServers 1\nServerLimit 4\nThreadsPerChild 25\nMaxRequestWorkers 100\nMinSpareThreads 5\n\
             KeepAlive On\nMaxKeepAliveRequests 0\n\
             <Location /server-status>\n  SetHandler server-status\n  Require all granted\n</Location>\n\
             <Location /forbidden-status>\n  SetHandler server-status\n  Require ip 192.0.2.1\n</Location>\n"
        )
        .unwrap();
        config
    }

    async fn launch(&mut self) {
        let process = Command::new(APACHE)
            .arg("-f")
            .arg(self.folder.path().join("httpd.conf"))
            .arg("-DFOREGROUND")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let (address, log) = (self.address, self.folder.path().join("log"));
        wait_until("Apache listens", &log, || std::net::TcpStream::connect(address).is_ok()).await;
    }

    /// Stops it at once, children and all, and waits for its end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal(&process, "TERM");
        let _ = process.wait();
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) {
        self.stop();
        self.launch().await;
    }

    /// The id of its parent process, while it runs.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }
}

impl Drop for RealApache {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(super) fn demand(program: &str) {
    assert!(
        Path::new(program).exists(),
        "{program} is not installed, and this test needs the real one: run tests/run, which installs it"
    );
}

pub(super) fn free_port(ip: &str) -> u16 {
    let ip: IpAddr = ip.parse().unwrap();
    std::net::TcpListener::bind(SocketAddr::new(ip, 0)).unwrap().local_addr().unwrap().port()
}

pub(super) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// `MariaDB` refuses to run as root unless it is told to.
fn user_option() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

pub(super) fn signal(process: &Child, name: &str) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()).status();
}

pub(super) async fn wait_until(what: &str, log: &Path, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + START_LIMIT;
    while !holds() {
        if Instant::now() > deadline {
            let said = fs::read_to_string(log).unwrap_or_default();
            panic!("not within {START_LIMIT:?}: {what}; its log:\n{said}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
