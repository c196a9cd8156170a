//! What the soak's Evenkeel is configured with, as far as the build has it.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use super::BACKENDS;
use crate::peers::evenkeel_program;

/// Parts of the traffic that a build may not have.
pub struct Features {
    pub h2: bool,
    pub udp: bool,
}

/// Where everything listens.
pub struct Places {
    pub http: SocketAddr,
    pub tls: SocketAddr,
    pub tcp: SocketAddr,
    pub udp: SocketAddr,
    pub admin: SocketAddr,
    pub backends: [u16; BACKENDS],
}

impl Places {
    /// Ports that were free a moment ago; a backend needs two in a row.
    pub fn free() -> Result<Self, String> {
        let free = || -> Result<SocketAddr, String> {
            let socket = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
            socket.local_addr().map_err(|error| error.to_string())
        };
        let mut backends = [0; BACKENDS];
        for (number, port) in backends.iter_mut().enumerate() {
            // Below the range from which clients get their ports.
            let first = 20_000 + (std::process::id() % 500) as u16 * 20 + number as u16 * 2;
            *port = first;
        }
        Ok(Self { http: free()?, tls: free()?, tcp: free()?, udp: free()?, admin: free()?, backends })
    }
}

impl Features {
    /// What this build takes.
    pub fn of(folder: &Path, places: &Places) -> Self {
        let takes = |features: &Self| {
            let file = folder.join("try.toml");
            fs::write(&file, config(places, features, 0)).is_ok()
                && Command::new(evenkeel_program()).arg("check").arg(&file).output().is_ok_and(|it| it.status.success())
        };
        Self { h2: takes(&Self { h2: true, udp: false }), udp: takes(&Self { h2: false, udp: true }) }
    }
}

/// The configuration of this round; a reload changes weights, a header and a listener.
pub fn config(places: &Places, features: &Features, round: usize) -> String {
    let Places { http, tls, tcp, udp, admin, backends } = places;
    let mut text = format!(
        "[admin]\nbind = \"{admin}\"\n[log]\naccess = \"json\"\nto = {{ file = \"access.log\" }}\nlevel = \"warn\"\n\
         [listener.http]\nbind = \"{http}\"\npool = \"app\"\nresponse_headers = {{ set = {{ \"X-Round\" = \"{round}\" }} }}\n\
         [[listener.http.route]]\npath = \"/own\"\nrespond = {{ text = \"round {round}\" }}\n\
         [listener.tls]\nbind = \"{tls}\"\npool = \"app\"\n{}\
         tls = {{ certificates = [{{ cert = \"tls.pem\", key = \"tls.key\" }}] }}\n\
         [listener.tcp]\nbind = \"{tcp}\"\nprotocol = \"tcp\"\npool = \"echo\"\n",
        if features.h2 { "http = [\"1.1\", \"2\"]\n" } else { "" },
    );
    if round % 4 == 1 {
        // A listener that comes and goes.
        let _ = write!(text, "[listener.guest]\nbind = \"127.0.0.1:0\"\npool = \"app\"\n");
    }
    if features.udp {
        let _ = write!(
            text,
            "[listener.udp]\nbind = \"{udp}\"\nprotocol = \"udp\"\npool = \"echo\"\ntimeouts = {{ flow_idle = \"3s\" }}\n"
        );
    }
    for (name, offset, check) in [("app", 0, "type = \"http\"\npath = \"/health\""), ("echo", 1, "type = \"tcp\"")] {
        let _ = write!(text, "[pool.{name}]\nhold = \"5s\"\nbackends = [\n");
        for (number, port) in backends.iter().enumerate() {
            let weight = 1 + (round + number) % 3;
            let _ = writeln!(
                text,
                "  {{ name = \"b{number}\", address = \"127.0.0.1:{}\", weight = {weight} }},",
                port + offset
            );
        }
        let _ = write!(
            text,
            "]\ntimeouts = {{ response = \"10s\" }}\n\
             [pool.{name}.check.well]\n{check}\ninterval = \"500ms\"\ntimeout = \"400ms\"\nfall = 2\n"
        );
    }
    text
}
