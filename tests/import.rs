//! Configurations of peers, as people write them, become ours: each file in `tests/import` with the exact text that it
//! becomes, which must load.
//!
//! `EVENKEEL_BLESS=1 cargo test --test import` writes the texts anew; look at the difference before keeping it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use evenkeel::config::import::{Imported, haproxy, nginx};
use evenkeel::config::{self, Source};
use support::{Balancer, Client, Origin, eventually};

fn corpus(peer: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(peer);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cfg" || extension == "conf"));
    files.sort();
    files
}

/// A folder with the certificates that the files name, made anew.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["example.com".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for name in ["vault.pem", "site.pem"] {
        std::fs::write(certs.join(name), format!("{cert}{key}")).unwrap();
    }
    std::fs::create_dir(folder.path().join("trusted")).unwrap();
    std::fs::write(folder.path().join("trusted/ca.pem"), &cert).unwrap();
    folder
}

fn every_file_becomes_its_text(peer: &str, import: impl Fn(&str, &Path) -> Imported) {
    let bless = std::env::var_os("EVENKEEL_BLESS").is_some();
    let folder = certificates();
    let files = corpus(peer);
    assert!(files.len() >= 8, "the corpus is missing");
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let imported = import(&name, &file);
        let golden = file.with_extension("toml");
        if bless {
            std::fs::write(&golden, &imported.toml).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != imported.toml {
            wrong.push(format!("{name} becomes\n{}", imported.toml));
        }
        let ours = folder.path().join("evenkeel.toml");
        std::fs::write(&ours, &imported.toml).unwrap();
        if let Err(problems) = config::load(&Source::Path(ours)) {
            wrong.push(format!("what {name} becomes does not load:\n{problems}\n{}", imported.toml));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn files_of_haproxy_become_what_stands_beside_them() {
    every_file_becomes_its_text("haproxy", |name, file| {
        let beside = |name: &str| std::fs::read_to_string(file.with_file_name(Path::new(name).file_name()?)).ok();
        haproxy::import(name, &std::fs::read_to_string(file).unwrap(), &beside)
    });
}

#[test]
fn files_of_nginx_become_what_stands_beside_them() {
    every_file_becomes_its_text("nginx", |name, file| {
        let sites = |pattern: &str| {
            let site = |site: &str| {
                let path = file.with_file_name(site);
                (site.to_owned(), std::fs::read_to_string(path).unwrap())
            };
            let all = ["sites-enabled/a.conf", "sites-enabled/b.conf"];
            if pattern == "sites-enabled/*.conf" { all.map(site).to_vec() } else { Vec::new() }
        };
        nginx::import(name, &std::fs::read_to_string(file).unwrap(), &sites)
    });
}

#[test]
fn the_command_writes_the_file_and_says_what_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "h.cfg",
        "frontend a\n  bind :80\n  default_backend b\n  capture request header X len 9\nbackend b\n  server s 10.0.0.1:80 check\n",
    );
    std::fs::create_dir(folder.path().join("sites")).unwrap();
    write("sites/a.conf", "server { listen 81; location / { proxy_pass http://10.0.0.1; } limit_req zone=a; }");
    write("n.conf", "http { include sites/*.conf; include nope.conf; }");
    for (peer, file, lost) in [
        ("haproxy", "h.cfg", "h.cfg:4: capture request header X len 9: "),
        ("nginx", "n.conf", "sites/a.conf:1: limit_req zone=a: see `rate`"),
    ] {
        let ours = format!("{peer}.toml");
        let run = |arguments: &[&str]| {
            Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(arguments).current_dir(folder.path()).output().unwrap()
        };
        let ran = run(&["import", peer, file, "-o", &ours]);
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(ran.status.success() && said.contains(lost), "{said}");
        assert!(std::fs::read_to_string(folder.path().join(&ours)).unwrap().contains(&format!("# {lost}")));
        let checked = run(&["check", &ours]);
        assert!(checked.status.success(), "{checked:?}");
    }
}

/// Who answers to a head: what the origin replies, or the status.
fn answered(addr: SocketAddr, head: &str) -> String {
    let mut client = Client::connect(addr);
    let method = head.split(' ').next().unwrap();
    client.send(format!("{head}\r\n\r\n"));
    let answer = client.try_read_final(method).unwrap();
    if answer.status == 200 { answer.text() } else { answer.status.to_string() }
}

#[test]
fn a_listen_section_loses_nothing_in_silence() {
    let lines = ["reqadd X-A:\\ b", "rspadd X-B:\\ c", "capture request header Host len 32", "stats enable"];
    let file =
        format!("listen a\n bind 127.0.0.1:8087\n mode http\n {}\n server s 127.0.0.1:9102\n", lines.join("\n "));
    let lost = haproxy::import("haproxy.cfg", &file, &|_name| None).lost;
    for (at, line) in (4..).zip(lines) {
        assert!(lost.iter().any(|lost| lost.line == at), "{line}: {lost:?}");
    }
}

#[test]
fn requests_go_where_haproxy_sends_them() {
    let (app, files, shop) = (
        Origin::http().reply("app").start(),
        Origin::http().reply("files").start(),
        Origin::http().reply("shop").start(),
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n\
         frontend web\n bind {free}\n acl files path_beg /static\n acl files path_end .css\n\
         acl shop hdr_dom(host) -i shop.example\n acl admin path_beg /admin\n acl beta hdr(X-Beta) -m found\n\
         http-request deny if admin !beta\n http-request redirect prefix https://new.example code 301 if {{ path /old }}\n\
         use_backend files if files !{{ method POST }}\n use_backend shop if shop\n default_backend app\n\
         backend app\n server a {}\nbackend files\n server f {}\nbackend shop\n server s {}\n",
        app.addr(),
        files.addr(),
        shop.addr()
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("haproxy.cfg");
    std::fs::write(&path, &file).unwrap();
    let mut theirs = Command::new("haproxy").arg("-db").arg("-f").arg(&path).spawn().unwrap();
    eventually("haproxy listens", std::time::Duration::from_secs(10), || std::net::TcpStream::connect(free).is_ok());
    let ours = Balancer::start(
        &haproxy::import("haproxy.cfg", &file, &|_name| None).toml.replace(&free.to_string(), "127.0.0.1:0"),
    );
    for head in [
        "GET / HTTP/1.1\r\nHost: a.example",
        "GET /static/x HTTP/1.1\r\nHost: a.example",
        "GET /staticx HTTP/1.1\r\nHost: shop.example",
        "POST /static/x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0",
        "POST /static/x HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 0",
        "GET /a/b.css HTTP/1.1\r\nHost: shop.example",
        "GET /a/b.css.gz HTTP/1.1\r\nHost: shop.example",
        "GET / HTTP/1.1\r\nHost: www.SHOP.example",
        "GET /admin HTTP/1.1\r\nHost: shop.example",
        "GET /admin/x HTTP/1.1\r\nHost: shop.example\r\nX-Beta: 1",
        "GET /admin HTTP/1.1\r\nHost: a.example\r\nX-Beta: 1",
        "GET /old HTTP/1.1\r\nHost: a.example",
        "GET /older HTTP/1.1\r\nHost: a.example",
    ] {
        assert_eq!(answered(ours.addr("web"), head), answered(free, head), "{head}");
    }
    theirs.kill().unwrap();
    theirs.wait().unwrap();
}
