//! A real directory, Debian's `slapd`, empty but for its administrator.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::real::{demand, free_port, signal, wait_until};

const SLAPD: &str = "/usr/sbin/slapd";

/// A directory. `cn=boss,dc=example` binds with `letmein8`.
#[derive(Debug)]
pub struct RealSlapd {
    /// Where it listens.
    pub address: SocketAddr,
    _folder: TempDir,
    process: Child,
}

impl RealSlapd {
    /// One on `ip`, on a free port; `options`: further lines at the top of its configuration.
    pub async fn start(ip: &str, options: &str) -> Self {
        demand(SLAPD);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        fs::create_dir(folder.path().join("data")).unwrap();
        let conf = format!(
            "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
             pidfile {path}/pid\n{options}\ndatabase mdb\nmaxsize 1048576\nsuffix dc=example\n\
             rootdn cn=boss,dc=example\nrootpw letmein8\ndirectory {path}/data\n"
        );
        let file = folder.path().join("slapd.conf");
        fs::write(&file, conf).unwrap();
        let address = SocketAddr::new(ip.parse().unwrap(), free_port(ip));
        let log = folder.path().join("log");
        let process = Command::new(SLAPD)
            .args(["-d", "0", "-h", &format!("ldap://{address}"), "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        wait_until("slapd listens", &log, || std::net::TcpStream::connect(address).is_ok()).await;
        Self { address, _folder: folder, process }
    }
}

impl Drop for RealSlapd {
    fn drop(&mut self) {
        signal(&self.process, "KILL");
        let _ = self.process.wait();
    }
}
