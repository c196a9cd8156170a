//! HAProxy, and a second one that moves bytes by splice.

use std::fmt::Write as _;
use std::process::Command;

use super::{Fault, Recipe, Setup, find, version_of, write};
use crate::work::Entry;

const DOORS: &[Entry] = &[Entry::Http, Entry::Https, Entry::Echo, Entry::EchoOnce, Entry::Bulk];

/// Whether bytes of TCP pass through the program's own memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Splice {
    Off,
    /// `option splice-response`, where answers are bulk: what `splice-auto` looks for, 2.6 never found here. It differs
    /// for bulk alone, so that is all this one is asked for.
    On,
}

pub fn recipe(setup: &Setup, splice: Splice) -> Result<Recipe, Fault> {
    let program = find("haproxy", "apt-get install haproxy")?;
    let path = write(setup.folder, super::CONFIG, &config(setup, splice)).map_err(Fault::Broken)?;
    let version = version_of(Command::new(&program).arg("-v"));
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(path);
    Ok(Recipe { command, version, doors: if splice == Splice::On { &[Entry::Bulk] } else { DOORS } })
}

fn config(setup: &Setup, splice: Splice) -> String {
    let Setup { ports, origin, certificate, .. } = setup;
    let both = certificate.both.display();
    let mut text = format!(
        r"global
    nbthread 1
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.3

defaults
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 60s
    option http-ignore-probes
    default-server check inter 2s

backend http
    mode http
    balance roundrobin
    http-reuse always
    option httpchk GET /health
    server a 127.0.0.1:{0}
    server b 127.0.0.2:{0}
",
        origin.http
    );
    let secure = format!("{} ssl crt {both} alpn h2,http/1.1", ports.https);
    for (name, bind) in [("http", ports.http.to_string()), ("https", secure)] {
        let _ = write!(
            text,
            r"
frontend {name}
    mode http
    bind {bind}
    option forwardfor
    http-request set-header X-Forwarded-Proto {name}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID
    default_backend http
"
        );
    }
    let option = if splice == Splice::On { "option splice-response" } else { "" };
    for (name, bind, port) in setup.tcp() {
        let _ = write!(
            text,
            r"
listen {name}
    mode tcp
    bind {bind}
    balance roundrobin
    {option}
    server a 127.0.0.1:{port}
    server b 127.0.0.2:{port}
"
        );
    }
    text
}
