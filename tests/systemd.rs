//! What systemd is told, what it hands over, and what the unit that comes with the program is worth.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::client;
use support::eventually::DEADLINE;
use support::process::{PROGRAM, free_address};
use support::{Origin, eventually};
use tempfile::TempDir;

/// A program under a supervisor that listens.
struct Unit {
    child: Child,
    socket: UnixDatagram,
    folder: TempDir,
    admin: SocketAddr,
}

impl Unit {
    fn start(listeners: &str, backend: SocketAddr, environment: &[(&str, &str)], given: Option<TcpListener>) -> Self {
        let (folder, admin) = (tempfile::tempdir().unwrap(), free_address());
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let config =
            format!("workers = 2\n[admin]\nbind = '{admin}'\n{listeners}\n[pool.p]\nbackends = ['{backend}']\n");
        fs::write(folder.path().join("evenkeel.toml"), config).unwrap();
        // What systemd does between fork and exec: the number of the process is known to itself alone.
        let script =
            "[ -n \"$LISTEN_FDS\" ] && export LISTEN_PID=$$; exec 3<&0 </dev/null; exec \"$0\" run evenkeel.toml";
        let child = Command::new("sh")
            .args(["-c", script, PROGRAM])
            .current_dir(folder.path())
            .env("NOTIFY_SOCKET", &path)
            .envs(environment.iter().copied())
            .stdin(given.map_or_else(Stdio::null, |socket| OwnedFd::from(socket).into()))
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self { child, socket, folder, admin }
    }

    /// The next thing that is said and is no sign of life.
    fn hears(&self) -> String {
        loop {
            let said = self.hears_anything();
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    }

    fn hears_anything(&self) -> String {
        let mut room = [0; 4096];
        let length = self.socket.recv(&mut room).unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        String::from_utf8(room[..length].to_vec()).unwrap()
    }

    fn signal(&self, name: &str) {
        Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_is_told_of_readiness_reloads_upgrades_and_the_end() {
    let (http, web) = (Origin::http().start(), free_address());
    let mut unit = Unit::start(&format!("[listener.web]\nbind = '{web}'\npool = 'p'"), http.addr(), &[], None);
    assert_eq!(unit.hears(), "READY=1\nSTATUS=serving");
    unit.signal("HUP");
    let reloading = unit.hears();
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    assert!(micros.parse::<u64>().unwrap() > 0);
    assert!(unit.hears().starts_with("READY=1\nSTATUS=generation 2: 1 listener, 1 pool"));
    let path = unit.folder.path().join("evenkeel.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "nonsense = 1").unwrap();
    unit.signal("HUP");
    assert!(unit.hears().starts_with("RELOADING=1"));
    assert_eq!(unit.hears(), "READY=1\nSTATUS=serving; the last reload was refused");
    fs::write(&path, good).unwrap();
    unit.signal("USR2");
    let main = unit.hears();
    let pid = main.strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{main}\n{}", unit.log())).to_owned();
    assert_ne!(pid, unit.child.id().to_string());
    assert_eq!(unit.hears(), "READY=1\nSTATUS=serving");
    assert!(unit.child.wait().unwrap().success());
    assert_eq!(client::get(web, "/").status, 200);
    Command::new("kill").arg(&pid).status().unwrap();
    assert!(unit.hears().starts_with("STOPPING=1"));
}

#[test]
fn the_watchdog_hears_of_a_program_that_turns() {
    let (http, web) = (Origin::http().start(), free_address());
    let listener = format!("[listener.web]\nbind = '{web}'\npool = 'p'");
    let unit = Unit::start(&listener, http.addr(), &[("WATCHDOG_USEC", "200000")], None);
    eventually("three signs of life", DEADLINE, || (0..3).all(|_| !unit.hears_anything().is_empty()));
    eventually("another one", DEADLINE, || unit.hears_anything() == "WATCHDOG=1");
    // Another process is meant.
    let unit = Unit::start(
        &listener.replace(&web.to_string(), &free_address().to_string()),
        http.addr(),
        &[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")],
        None,
    );
    assert_eq!(unit.hears_anything(), "READY=1\nSTATUS=serving");
    unit.signal("TERM");
    assert!(unit.hears_anything().starts_with("STOPPING=1"), "without a sign of life in between");
}

#[test]
fn sockets_of_systemd_are_found_by_name_and_by_address() {
    let http = Origin::http().start();
    for (name, bind) in [("web", None), ("evenkeel.socket", Some(()))] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        // By its name, whatever the configuration says of its address; or by that.
        let bind = bind.map_or_else(free_address, |()| address);
        let environment = [("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name)];
        let listener = format!("[listener.web]\nbind = '{bind}'\npool = 'p'");
        let mut early = client::Client::connect(address);
        let unit = Unit::start(&listener, http.addr(), &environment, Some(socket));
        // Who has connected before there was a program is served.
        assert_eq!(early.get("/").status, 200, "{}", unit.log());
        for _ in 0..4 {
            assert_eq!(client::get(address, "/").status, 200);
        }
        unit.signal("USR2");
        assert!(unit.hears().starts_with("READY=1"));
        let main = unit.hears();
        let pid = main.strip_prefix("MAINPID=").unwrap_or_else(|| panic!("{main}\n{}", unit.log()));
        assert_eq!(client::get(address, "/").status, 200);
        Command::new("kill").args(["-KILL", pid]).status().unwrap();
    }
}

#[test]
fn a_socket_that_no_listener_is_for_is_told_of() {
    let (http, web) = (Origin::http().start(), free_address());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let environment = [("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "wep")];
    let listener = format!("[listener.web]\nbind = '{web}'\npool = 'p'");
    let unit = Unit::start(&listener, http.addr(), &environment, Some(socket));
    assert!(unit.hears().starts_with("READY=1"));
    assert!(unit.log().contains("systemd has opened a socket that no listener is for"), "{}", unit.log());
    assert_eq!(client::get(unit.admin, "/readyz").status, 200);
}

#[test]
fn the_unit_is_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/evenkeel.service");
    let ran =
        Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=19"]).arg(&unit).output();
    // `tests/run` installs it; where it is missing, that has been said there.
    let Ok(ran) = ran else { return };
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "exposure of 2.0 or more:\n{said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}
