//! A backend that is a process of its own (`origin_process.rs`), for what can only be done to processes.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::eventually::{DEADLINE, eventually};
use super::process::free_address;

/// A process that answers with its name, or has been killed and may start again at the same address.
pub struct BackendProcess {
    address: SocketAddr,
    name: String,
    speaks: Option<&'static str>,
    child: Mutex<Option<Child>>,
}

impl BackendProcess {
    /// One that speaks HTTP.
    #[track_caller]
    pub fn http(name: &str) -> Self {
        Self::start(name, None)
    }

    /// One that echoes bytes.
    #[track_caller]
    pub fn echo(name: &str) -> Self {
        Self::start(name, Some("echo"))
    }

    #[track_caller]
    fn start(name: &str, speaks: Option<&'static str>) -> Self {
        let backend = Self { address: free_address(), name: name.to_owned(), speaks, child: Mutex::default() };
        backend.start_again();
        backend
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Starts it at its address; returns when it listens.
    #[track_caller]
    pub fn start_again(&self) {
        let program = program();
        let child = Command::new(&program)
            .arg(self.address.to_string())
            .arg(&self.name)
            .args(self.speaks)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `cargo build --example origin` makes it", program.display()));
        *self.child.lock().unwrap() = Some(child);
        let listens = || TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok();
        eventually("the backend listens", DEADLINE, listens);
    }

    /// Ends it by KILL, and waits until it is gone.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it by TERM, and waits until it is gone.
    pub fn terminate(&self) {
        self.signal("TERM");
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let _ = child.wait();
        }
    }

    /// Sends a signal by its name: `STOP`, `CONT`, ….
    pub fn signal(&self, name: &str) {
        let child = self.child.lock().unwrap();
        let pid = child.as_ref().expect("it runs").id().to_string();
        let done = Command::new("kill").arg(format!("-{name}")).arg(pid).status();
        assert!(done.is_ok_and(|status| status.success()), "kill -{name}");
    }
}

impl Drop for BackendProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Cargo builds examples together with the tests, beside them.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own file");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/PROFILE/deps");
    folder.join("examples").join("origin")
}
