//! Real Redis servers, each on its own loopback address and port, in memory only.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::real::{demand, free_port, signal, wait_until};

const REDIS: &str = "/usr/bin/redis-server";

/// A Redis server.
#[derive(Debug)]
pub struct RealRedis {
    /// Where it listens.
    pub address: SocketAddr,
    folder: TempDir,
    options: Vec<String>,
    process: Option<Child>,
}

impl RealRedis {
    /// One on `ip`, on a free port, with these options: `--requirepass`, `secret`.
    pub async fn start(ip: &str, options: &[&str]) -> Self {
        Self::start_at(SocketAddr::new(ip.parse().unwrap(), free_port(ip)), options).await
    }

    /// One at this address.
    pub async fn start_at(address: SocketAddr, options: &[&str]) -> Self {
        demand(REDIS);
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { address, folder: tempfile::tempdir().unwrap(), options, process: None };
        server.launch().await;
        server
    }

    /// A replica of this one on `ip`.
    pub async fn replica(&self, ip: &str) -> Self {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        Self::start(ip, &["--replicaof", &host, &port, "--repl-diskless-sync-delay", "0"]).await
    }

    /// Starts it again at the same address.
    pub async fn launch(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let process = Command::new(REDIS)
            .args(["--bind", &self.address.ip().to_string(), "--port", &self.address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let (address, log) = (self.address, self.log());
        wait_until("Redis listens", &log, || std::net::TcpStream::connect(address).is_ok()).await;
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What `redis-cli` prints.
    pub fn ask(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()])
            .args(words)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Kills it, and waits for its end.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal(&process, "KILL");
        let _ = process.wait();
    }
}

impl Drop for RealRedis {
    fn drop(&mut self) {
        self.stop();
    }
}
