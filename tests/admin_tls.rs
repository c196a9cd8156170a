//! TLS on the admin port: what it shows, whose certificates open what, and the commands that speak to it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};
use support::client::Response;
use support::eventually::{DEADLINE, eventually_some};
use support::process::{free_address, run};
use support::tls::{Authority, common_name};
use support::{Client, Process, eventually};

struct Scene {
    balancer: Process,
    ours: Authority,
    config: String,
}

/// Ann may operate, Bob may read, Carol has no role. All of them are ours.
impl Scene {
    fn new() -> Self {
        let (ours, admin) = (Authority::new("ours"), free_address());
        ours.issue("admin", &[&admin.ip().to_string(), "localhost"]);
        ours.issue("ann", &[]);
        ours.issue("someone", &["bob.example.com"]);
        ours.issue("carol", &["carol.example.com"]);
        let config = format!(
            "workers = 1\n[admin]\nbind = \"{}\"\naudit = {{ file = 'audit.log' }}\n\
             clients = [{{ name = 'ann', role = 'operate' }}, {{ name = 'bob.example.com', role = 'read' }}]\n\
             tls = {{ cert = '{1}/admin.pem', key = '{1}/admin.key', client_ca = '{1}/ca.pem' }}\n\
             [listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = [{{ name = 'a', address = '127.0.0.1:9' }}]\n",
            admin,
            ours.folder().display()
        );
        let scene = Self { balancer: Process::spawn(&config), ours, config };
        eventually("it is ready", DEADLINE, || {
            scene.try_connect(&scene.ours.client()).is_ok_and(|mut client| ask(&mut client, "GET", "/readyz").status == 200)
        });
        scene
    }

    fn admin(&self) -> SocketAddr {
        self.balancer.admin()
    }

    fn try_connect(&self, as_whom: &Arc<ClientConfig>) -> std::io::Result<Client> {
        Client::try_connect_tls(self.admin(), "localhost", as_whom)
    }

    /// A connection of somebody whom we know; tried again where there were too many before.
    #[track_caller]
    fn connect(&self, name: &str) -> Client {
        let client = self.ours.client_showing(name, rustls::DEFAULT_VERSIONS);
        eventually_some("it comes in", DEADLINE, || self.try_connect(&client).ok())
    }

    /// A command that speaks TLS to this port, as somebody whom we know.
    fn command(&self, arguments: &[&str], name: Option<&str>) -> Output {
        let admin = format!("https://{}", self.admin());
        let file = |name: &str, ending: &str| self.ours.folder().join(format!("{name}.{ending}")).display().to_string();
        let mut all: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        all.extend(["--admin".into(), admin, "--ca".into(), file("ca", "pem")]);
        if let Some(name) = name {
            all.extend(["--cert".into(), file(name, "pem"), "--key".into(), file(name, "key")]);
        }
        run(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[track_caller]
fn ask(client: &mut Client, method: &str, path: &str) -> Response {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Evenkeel-Request: 1\r\nContent-Length: 0\r\n\r\n"));
    client.try_read_final(method).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_certificate_opens_what_its_name_may() {
    let scene = Scene::new();
    for (file, name, role, deed) in [("ann", "ann", "operate", 200), ("someone", "bob.example.com", "read", 403)] {
        let mut client = scene.connect(file);
        let told: Value = serde_json::from_slice(&ask(&mut client, "GET", "/api/v1/whoami").body).unwrap();
        let may_apply = role == "operate";
        assert_eq!(told, json!({ "name": name, "by": "certificate", "role": role, "may_apply": may_apply }));
        assert_eq!(ask(&mut client, "POST", "/api/v1/reload").status, deed, "{name}");
    }
    let stranger = ask(&mut scene.connect("carol"), "GET", "/api/v1/pools");
    assert_eq!((stranger.status, stranger.header("connection")), (401, Some("close")));
    assert!(stranger.text().contains("no name of this certificate has a role"), "{}", stranger.text());
    let mut nobody = eventually_some("it comes in", DEADLINE, || scene.try_connect(&scene.ours.client()).ok());
    assert_eq!(ask(&mut nobody, "GET", "/api/v1/pools").status, 401);
    assert_eq!(ask(&mut nobody, "GET", "/livez").status, 200, "who watches over it needs none");
    eventually("what was done is told", DEADLINE, || {
        let log = fs::read_to_string(scene.balancer.folder().join("audit.log")).unwrap_or_default();
        let lines = || log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines().any(|line| line["who"] == "ann" && line["by"] == "certificate" && line["outcome"] == "done")
            && lines().any(|line| line["who"] == "bob.example.com" && line["outcome"] == "refused")
    });
}

#[test]
fn a_certificate_that_somebody_else_has_signed_does_not_come_in() {
    let scene = Scene::new();
    let theirs = Authority::new("theirs");
    theirs.issue("ann", &[]);
    fs::copy(scene.ours.folder().join("ca.pem"), theirs.folder().join("ours.pem")).unwrap();
    // Over TLS 1.2 the handshake itself fails; over 1.3 what comes behind it.
    let client = theirs.client_showing("ann", rustls::DEFAULT_VERSIONS);
    assert!(scene.try_connect(&client).is_err(), "it does not trust us either");
    let file = |name: &str| theirs.folder().join(name).display().to_string();
    let admin = format!("https://{}", scene.admin());
    let arguments = ["status", "--admin", &admin, "--ca", &file("ours.pem"), "--cert", &file("ann.pem"), "--key", &file("ann.key")];
    let refused = run(&arguments);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    assert!(!text(&refused.stderr).contains("asks for a token"), "{}", text(&refused.stderr));
}

#[test]
fn commands_speak_tls_and_show_their_certificate() {
    let scene = Scene::new();
    let health = scene.command(&["health"], None);
    assert_eq!((health.status.code(), text(&health.stdout).as_str()), (Some(0), "ready\n"), "{}", text(&health.stderr));
    let status = scene.command(&["status"], Some("someone"));
    assert!(status.status.success() && text(&status.stdout).contains("p:"), "{}", text(&status.stderr));
    let drain = ["drain", "p/a", "--owner", "me", "--force"];
    let refused = scene.command(&drain, Some("someone"));
    assert!(text(&refused.stderr).contains("may look at everything and change nothing"), "{}", text(&refused.stderr));
    let done = scene.command(&drain, Some("ann"));
    assert!(done.status.success(), "{}", text(&done.stderr));
    let nobody = scene.command(&["status"], None);
    assert!(text(&nobody.stderr).contains("--cert"), "{}", text(&nobody.stderr));
    let plain = run(&["status", "--admin", &format!("http://{}", scene.admin())]);
    assert!(text(&plain.stderr).contains("write https://"), "{}", text(&plain.stderr));
    let unknown = run(&["status", "--admin", &format!("https://{}", scene.admin())]);
    assert!(text(&unknown.stderr).contains("--ca says whom to trust"), "{}", text(&unknown.stderr));
}

#[test]
fn certificates_are_replaced_while_it_runs() {
    let scene = Scene::new();
    // Too many handshakes of one address are refused.
    let shown = || scene.try_connect(&scene.ours.client()).ok().map(|client| common_name(&client));
    let before = shown().unwrap();
    scene.ours.issue_with("admin", &["localhost"], |params| {
        params.distinguished_name.push(rcgen::DnType::CommonName, "renewed");
    });
    eventually("the new one is shown", DEADLINE, || shown().is_some_and(|now| now != before));
    // Who signs for clients from now on is somebody else.
    let mut ann = scene.connect("ann");
    assert_eq!(ask(&mut ann, "GET", "/api/v1/pools").status, 200);
    let theirs = Authority::new("theirs");
    let fresh = scene.ours.folder().join("ca.new");
    fs::copy(theirs.file(), &fresh).unwrap();
    fs::rename(&fresh, scene.ours.folder().join("ca.pem")).unwrap();
    let mut last = Response::default();
    eventually("what she has shown counts no more", DEADLINE, || {
        last = ask(&mut ann, "GET", "/api/v1/pools");
        last.status == 401
    });
    assert!(last.text().contains("counts no more"), "{}", last.text());
}

#[test]
fn who_loses_a_role_at_a_reload_is_out_at_once() {
    let scene = Scene::new();
    let mut bob = scene.connect("someone");
    assert_eq!(ask(&mut bob, "GET", "/api/v1/pools").status, 200);
    scene.balancer.write_config(&scene.config.replace(", { name = 'bob.example.com', role = 'read' }", ""));
    assert_eq!(ask(&mut scene.connect("ann"), "POST", "/api/v1/reload").status, 200);
    assert_eq!(ask(&mut bob, "GET", "/api/v1/pools").status, 401);
}

#[test]
fn a_reload_that_would_open_the_port_leaves_it_as_it_was_begun() {
    let scene = Scene::new();
    let end = scene.config.find("clients = ").unwrap();
    let rest = scene.config.find("[listener.web]").unwrap();
    scene.balancer.write_config(&format!("{}{}", &scene.config[..end], &scene.config[rest..]));
    assert_eq!(ask(&mut scene.connect("ann"), "POST", "/api/v1/reload").status, 200);
    let mut nobody = eventually_some("it comes in", DEADLINE, || scene.try_connect(&scene.ours.client()).ok());
    assert_eq!(ask(&mut nobody, "GET", "/api/v1/pools").status, 401);
    assert_eq!(ask(&mut scene.connect("ann"), "GET", "/api/v1/pools").status, 200);
}
