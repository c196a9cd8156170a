//! The real program with a configuration of the test's own, in a folder that goes with it.
//!
//! Addresses come from [`free_address`]: loopback addresses that belong to this test process alone, so that no two
//! tests meet on a port. Dropping a [`Process`] kills it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use tempfile::TempDir;

use super::client;
use super::eventually::{DEADLINE, eventually, eventually_some};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_evenkeel");

/// A running `evenkeel run`.
pub struct Process {
    child: Child,
    folder: TempDir,
    admin: SocketAddr,
}

/// An address that nobody else on this machine uses: its host is made from the process id, its port from a count.
pub fn free_address() -> SocketAddr {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(10_000);
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 64 | (a & 0x3f), b, c);
    loop {
        let address = SocketAddr::from((own, NEXT_PORT.fetch_add(1, SeqCst)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

impl Process {
    /// Runs with `config` and waits until `/readyz` says yes. Without an `[admin]` table, one is added.
    #[track_caller]
    pub fn start(config: &str) -> Self {
        Self::spawn(config).ready()
    }

    /// Waits until `/readyz` says yes.
    #[track_caller]
    pub fn ready(mut self) -> Self {
        let admin = self.admin;
        eventually_some("the program is ready", DEADLINE, || {
            self.assert_running();
            client::try_get(admin, "/readyz").ok().filter(|response| response.status == 200)
        });
        self
    }

    /// Runs with `config` and waits for nothing.
    pub fn spawn(config: &str) -> Self {
        Self::spawn_in(tempfile::tempdir().unwrap(), Path::new(PROGRAM), config)
    }

    /// The same in a folder that is there already, by this file of the program.
    pub fn spawn_in(folder: TempDir, program: &Path, config: &str) -> Self {
        let admin = admin_of(config).unwrap_or_else(free_address);
        write_config(folder.path(), config, admin);
        let child = Command::new(program)
            .args(["run", "--config"])
            .arg(folder.path().join("evenkeel.toml"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("stdout")).unwrap())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .expect("the program starts");
        Self { child, folder, admin }
    }

    /// Where the admin port is.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("evenkeel.toml")
    }

    /// Its folder, for further files that a configuration names.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Replaces the configuration file; nothing is told to the program.
    pub fn write_config(&self, config: &str) {
        write_config(self.folder.path(), config, self.admin);
    }

    /// Replaces the configuration and has it loaded by `evenkeel reload`; gives what that command said.
    pub fn reload(&self, config: &str) -> Output {
        self.write_config(config);
        run(&["reload", "--admin", &format!("http://{}", self.admin)])
    }

    /// Sends a signal by its name: `HUP`, `TERM`, `STOP`, `CONT`, `KILL`.
    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(done.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Asks it to end (TERM) and waits for it.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(DEADLINE)
    }

    /// Whether it runs no more.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        eventually("the program ends", deadline, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.expect("eventually returned, so it ended")
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.folder.path().join("stdout")).unwrap_or_default()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// All metrics as text.
    #[track_caller]
    pub fn metrics(&self) -> String {
        client::get(self.admin, "/metrics").text()
    }

    /// The value of a metric, by its name with its labels as they stand in the text; `None` where it is missing.
    pub fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let metrics = self.metrics();
        metrics.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' ')?.trim().parse().ok())
    }

    #[track_caller]
    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the program ended with {status}:\n{}{}", self.stdout(), self.stderr());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be stopped (SIGSTOP) or gone already; KILL ends both.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs one command of the program to its end.
#[track_caller]
pub fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("the program starts")
}

fn write_config(folder: &Path, config: &str, admin: SocketAddr) {
    let admin = if config.contains("[admin]") { String::new() } else { format!("\n[admin]\nbind = \"{admin}\"\n") };
    // Written beside and renamed: who watches the file never sees half of it.
    let beside = folder.join("evenkeel.toml.new");
    fs::write(&beside, format!("{config}{admin}")).unwrap();
    fs::rename(beside, folder.join("evenkeel.toml")).unwrap();
}

/// The `bind` of the `[admin]` table, where there is one.
fn admin_of(config: &str) -> Option<SocketAddr> {
    let table = config.split("[admin]").nth(1)?;
    let line = table.lines().find(|line| line.trim_start().starts_with("bind"))?;
    line.split('"').nth(1)?.parse().ok()
}
