//! nginx; TCP with its module for streams.

use std::path::Path;
use std::process::Command;

use super::{Fault, Recipe, Setup, find, version_of, write};
use crate::work::Entry;

const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

const DOORS: &[Entry] = &[Entry::Http, Entry::Https, Entry::Echo, Entry::EchoOnce, Entry::Bulk];
const DOORS_OF_HTTP: &[Entry] = &[Entry::Http, Entry::Https];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tcp {
    Forwarded,
    Missing,
}

pub fn recipe(setup: &Setup) -> Result<Recipe, Fault> {
    let program = find("nginx", "apt-get install nginx")?;
    let tcp = if Path::new(STREAM).exists() { Tcp::Forwarded } else { Tcp::Missing };
    if tcp == Tcp::Missing {
        eprintln!("nginx cannot forward TCP here; apt-get install libnginx-mod-stream");
    }
    let path = write(setup.folder, super::CONFIG, &config(setup, tcp)).map_err(Fault::Broken)?;
    let version = version_of(Command::new(&program).arg("-v"));
    let mut command = Command::new(program);
    command.arg("-p").arg(setup.folder).arg("-c").arg(path).arg("-e").arg(setup.folder.join("error.log"));
    Ok(Recipe { command, version, doors: if tcp == Tcp::Forwarded { DOORS } else { DOORS_OF_HTTP } })
}

fn config(setup: &Setup, tcp: Tcp) -> String {
    let Setup { ports, origin, certificate, .. } = setup;
    let (cert, key) = (certificate.cert.display(), certificate.key.display());
    let user = if rustix::process::getuid().is_root() { "user root;" } else { "" };
    let (load, stream) = match tcp {
        Tcp::Missing => (String::new(), String::new()),
        Tcp::Forwarded => (format!("load_module {STREAM};"), stream(setup)),
    };
    format!(
        r#"{load}
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    keepalive_timeout 60s;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    upstream http {{
        server 127.0.0.1:{0};
        server 127.0.0.2:{0};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {1};
        listen {2} ssl http2;
        location / {{
            proxy_pass http://http;
            proxy_http_version 1.1;
            proxy_max_temp_file_size 0;
            proxy_request_buffering off;
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
        origin.http, ports.http, ports.https
    )
}

fn stream(setup: &Setup) -> String {
    let servers = setup.tcp().map(|(name, bind, port)| {
        format!(
            "    upstream {name} {{ server 127.0.0.1:{port}; server 127.0.0.2:{port}; }}\n    \
             server {{ listen {bind}; proxy_pass {name}; }}\n"
        )
    });
    format!("stream {{\n    access_log off;\n{}}}", servers.concat())
}
