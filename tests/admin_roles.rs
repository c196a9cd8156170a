//! Who may do what at the admin port: tokens with roles, what becomes of wrong ones, and who is told of all that.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use support::client::{Ending, Response};
use support::eventually::DEADLINE;
use support::process::{PROGRAM, free_address};
use support::{Client, Origin, Process, client, eventually};
use tempfile::TempDir;

/// Another machine, as far as rates are concerned.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));

const READER: &str = "token-of-the-reader";
/// By bcrypt, at its cheapest.
const READER_HASH: &str = "$2y$04$CCCCCCCCCCCCCCCCCCCCC.CTWNgDAmvtK7vJQn768NKorClinGKp2\n";
const OPERATOR: &str = "token-of-the-operator";
const OPERATOR_HASH: &str = "$2y$04$DDDDDDDDDDDDDDDDDDDDD.MEMI7XS/JkRO.sirfr4jToDP4/LbtPG\n";

/// A balancer with a token for each role, as hashes.
struct Scene {
    balancer: Process,
    files: TempDir,
    config: String,
    reader: String,
    operator: String,
    _origin: Origin,
}

/// A new token, its hash in a file of this name.
fn make(files: &TempDir, name: &str, role: &str) -> String {
    let path = files.path().join(format!("{name}.token"));
    let path = path.to_str().unwrap();
    let made = support::process::run(&["token", name, "--role", role, "--hash-file", path]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

impl Scene {
    fn new(more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        // Hashes that cost next to nothing: a machine under load must not make a test of them.
        for (name, hash) in [("grafana", READER_HASH), ("ann", OPERATOR_HASH)] {
            fs::write(files.path().join(format!("{name}.token")), hash).unwrap();
        }
        let (reader, operator) = (READER.to_owned(), OPERATOR.to_owned());
        let origin = Origin::http().start();
        let config = format!(
            "workers = 1\n[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
             [pool.p]\nbackends = [{{ name = 'a', address = '{}' }}]\n\
             [pool.p.check.store]\ntype = 'redis'\npassword = 'hunter2'\ninterval = '1h'\n\
             [admin]\nbind = \"{}\"\n\
             tokens = [\n  {{ name = 'grafana', role = 'read', file = '{2}/grafana.token' }},\n  \
             {{ name = 'ann', role = 'operate', file = '{2}/ann.token' }},\n]\n{more}",
            origin.addr(),
            free_address(),
            files.path().display()
        );
        Self { balancer: Process::start(&config), files, config, reader, operator, _origin: origin }
    }

    fn request(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nX-Evenkeel-Request: 1\r\n{authorization}\
             Content-Length: {}\r\n\r\n{body}",
            self.balancer.admin(),
            body.len()
        )
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Response {
        client::try_request(self.balancer.admin(), &self.request(method, path, token, body)).unwrap()
    }

    #[track_caller]
    fn get(&self, path: &str, token: &str) -> Response {
        self.ask("GET", path, token, "")
    }

    /// A GET from another address.
    fn get_from_elsewhere(&self, path: &str, token: &str) -> Response {
        let mut client = Client::connect_from(ELSEWHERE, self.balancer.admin());
        client.send(self.request("GET", path, token, ""));
        client.read_response()
    }

    /// A command that asks this port with a token.
    fn command(&self, arguments: &[&str], token: &str) -> Output {
        let file = self.files.path().join("in-hand");
        fs::write(&file, token).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--admin", &self.balancer.admin().to_string()]).arg("--token-file").arg(file);
        command.output().unwrap()
    }

    /// Has another configuration take effect.
    #[track_caller]
    fn reload(&self, config: &str) {
        self.balancer.write_config(config);
        let done = self.ask("POST", "/api/v1/reload", &self.operator, "");
        assert_eq!(done.status, 200, "{}", done.text());
    }

    fn audit_file(&self) -> PathBuf {
        self.balancer.folder().join("audit.log")
    }

    fn audited(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.audit_file()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn error(response: &Response) -> String {
    serde_json::from_slice::<Value>(&response.body).unwrap()["error"].as_str().unwrap_or_default().to_owned()
}

// === roles ===

#[test]
fn a_reader_sees_everything_and_changes_nothing() {
    let scene = Scene::new("");
    let list = scene.get("/", &scene.reader).text();
    let named = |method: &str| {
        let rows = list.lines().filter(|line| line.starts_with(method));
        let paths = rows.map(|row| row.split_whitespace().nth(1).unwrap().to_owned());
        paths.map(|path| path.replace("POOL", "p").replace("BACKEND", "a").replace("NUMBER", "1")).collect::<Vec<_>>()
    };
    let acting = named("POST");
    assert!(acting.len() > 12, "{list}");
    for path in &acting {
        let answer = scene.ask("POST", path, &scene.reader, r#"{"owner": "me"}"#);
        assert_eq!(answer.status, 403, "{path}");
        assert!(error(&answer).contains("role `operate`"), "{path}: {}", error(&answer));
    }
    for path in named("GET").iter().filter(|path| !path.ends_with("/live")) {
        let path = path.replace("FROM", "1").replace("TO", "1");
        let answer = scene.get(&path, &scene.reader);
        // The backend is down: it is no Redis.
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let events = scene.get("/api/v1/overrides", &scene.reader).text();
    assert!(events.contains("\"overrides\":[]"), "nothing has happened: {events}");
    assert_eq!(scene.ask("POST", "/api/v1/pools/p/backends/a/drain", &scene.operator, r#"{"owner": "me"}"#).status, 200);
}

#[test]
fn a_reader_sees_no_secrets_and_an_operator_does() {
    let scene = Scene::new("");
    for path in ["/api/v1/generations/1", "/api/v1/configuration"] {
        let of_reader: Value = serde_json::from_slice(&scene.get(path, &scene.reader).body).unwrap();
        let of_operator: Value = serde_json::from_slice(&scene.get(path, &scene.operator).body).unwrap();
        assert!(!of_reader.to_string().contains("hunter2"), "{of_reader}");
        assert!(of_operator.to_string().contains("hunter2"), "{of_operator}");
        assert_eq!((&of_reader["hidden"], &of_operator["hidden"]), (&json!(1), &json!(0)), "{path}");
    }
}

#[test]
fn everybody_is_told_whom_the_port_takes_him_for() {
    let scene = Scene::new("");
    for (token, name, role, may_apply) in
        [(&scene.reader, "grafana", "read", false), (&scene.operator, "ann", "operate", true)]
    {
        let told: Value = serde_json::from_slice(&scene.get("/api/v1/whoami", token).body).unwrap();
        assert_eq!(told, json!({ "name": name, "by": "token", "role": role, "may_apply": may_apply }));
    }
    for token in ["", "wrong"] {
        let answer = scene.get("/api/v1/whoami", token);
        assert_eq!((answer.status, answer.header("www-authenticate").is_some()), (401, true), "{token:?}");
    }
    let open = Process::start("[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:9']\n");
    let told: Value = serde_json::from_slice(&client::get(open.admin(), "/api/v1/whoami").body).unwrap();
    assert_eq!(told, json!({ "name": null, "by": "open", "role": "operate", "may_apply": false }));
}

#[test]
fn commands_take_tokens_of_both_roles() {
    let scene = Scene::new("");
    let drain = ["drain", "p/a", "--owner", "me", "--force"];
    assert!(scene.command(&["status"], &scene.reader).status.success());
    let refused = scene.command(&drain, &scene.reader);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("may look at everything and change nothing"), "{said}");
    let done = scene.command(&drain, &scene.operator);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_one_token_may_be_a_hash_too_and_opens_everything() {
    let files = tempfile::tempdir().unwrap();
    let token = make(&files, "only", "operate");
    let config = format!(
        "[admin]\nbind = \"{}\"\ntoken_file = '{}/only.token'\n[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n\
         [pool.p]\nbackends = ['127.0.0.1:9']\n",
        free_address(),
        files.path().display()
    );
    let balancer = Process::start(&config);
    let ask = |token: &str| {
        let request = format!("GET /api/v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n");
        client::try_request(balancer.admin(), &request).unwrap()
    };
    let told: Value = serde_json::from_slice(&ask(&token).body).unwrap();
    assert_eq!((&told["name"], &told["role"]), (&json!("token_file"), &json!("operate")));
    let hash = fs::read_to_string(files.path().join("only.token")).unwrap();
    assert_eq!(ask(hash.trim()).status, 401, "the hash is no token");
}

// === what a reload changes ===

/// Whether a stream ends by itself, whatever it says before.
fn ends(follower: &mut Client) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < DEADLINE {
        match follower.ending(DEADLINE) {
            Ending::Data(_) => {}
            Ending::Closed => return true,
            Ending::Reset | Ending::Open => return false,
        }
    }
    false
}

#[test]
fn a_token_that_is_taken_away_opens_nothing_more_and_ends_what_it_follows() {
    let scene = Scene::new("");
    let follow = |token: &str, path: &str| {
        let mut follower = Client::connect(scene.balancer.admin());
        follower.send(scene.request("GET", path, token, ""));
        follower
    };
    let mut live = follow(&scene.reader, "/api/v1/live");
    let mut operator = follow(&scene.operator, "/api/v1/live");
    for follower in [&mut live, &mut operator] {
        assert!(String::from_utf8_lossy(&follower.read_exact(12)).ends_with("200"));
    }
    // An event that is not there yet is waited for.
    let last: Value = serde_json::from_slice(&scene.get("/api/v1/events", &scene.reader).body).unwrap();
    let path = format!("/api/v1/events?after={}&wait=30&run={}", last["last"], last["run"].as_str().unwrap());
    let without = scene.config.lines().filter(|line| !line.contains("'grafana'")).collect::<Vec<_>>().join("\n");
    let mut events = follow(&scene.reader, &path);
    scene.reload(&without);
    assert!(ends(&mut live), "who is no reader any more follows no more");
    // It has waited already, or comes after the reload.
    assert_eq!(events.read_response().status, 401);
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 401);
    assert_eq!(scene.get("/api/v1/pools", &scene.operator).status, 200);
    assert!(matches!(operator.ending(DEADLINE), Ending::Data(_)), "the other one follows on");
}

#[test]
fn a_token_whose_file_has_changed_is_another_one_from_the_next_reload_on() {
    let scene = Scene::new("");
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 200);
    fs::write(scene.files.path().join("grafana.token"), "as-plain-as-this-one-is\n").unwrap();
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 200, "nobody has reloaded");
    scene.reload(&scene.config);
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 401);
    assert_eq!(scene.get("/api/v1/pools", "as-plain-as-this-one-is").status, 200);
}

#[test]
fn a_token_that_gets_another_role_has_it_from_the_reload_on() {
    let scene = Scene::new("");
    let order = || scene.ask("POST", "/api/v1/pools/p/probe", &scene.reader, "").status;
    assert_eq!(order(), 403);
    scene.reload(&scene.config.replace("role = 'read'", "role = 'operate'"));
    assert_eq!(order(), 200);
}

#[test]
fn a_reload_that_takes_every_token_away_leaves_those_of_the_start() {
    let scene = Scene::new("");
    let begin = scene.config.find("tokens = [").unwrap();
    scene.reload(&scene.config[..begin]);
    assert_eq!(scene.get("/api/v1/pools", "").status, 401);
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 200);
    assert_eq!(scene.ask("POST", "/api/v1/pools/p/probe", &scene.reader, "").status, 403);
}

// === floods ===

#[test]
fn wrong_tokens_are_refused_unread_after_a_few_and_keep_nobody_out() {
    let scene = Scene::new("");
    assert_eq!(scene.get("/api/v1/whoami", &scene.reader).status, 200);
    let answers: Vec<Response> = (0..40).map(|number| scene.get("/api/v1/pools", &format!("guess-{number}"))).collect();
    // The right one was not known either when it first came.
    assert!(answers[..9].iter().all(|answer| answer.status == 401), "some are looked at");
    let slowed: Vec<&Response> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(slowed.len() >= 15, "{} of 40", slowed.len());
    let wait: u64 = slowed[0].header("retry-after").unwrap().parse().unwrap();
    assert!(wait == 1 && error(slowed[0]).contains("nobody knows"), "{wait}");
    // Who is known passes, from there as well; and so does somebody new from elsewhere.
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 200);
    assert_eq!(scene.get_from_elsewhere("/api/v1/pools", &scene.operator).status, 200);
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let scene = Scene::new("rate = { requests = 1, every = '1h', burst = 3 }\n");
    // The first one was not known yet, and counted as a stranger's.
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 200);
    let statuses: Vec<u16> = (0..5).map(|_| scene.get("/api/v1/pools", &scene.reader).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    let strangers: Vec<u16> = (0..4).map(|_| scene.get("/api/v1/pools", "").status).collect();
    assert_eq!(strangers, [401, 401, 429, 429], "they count for themselves");
    let refused = scene.get("/metrics", &scene.reader);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&wait) && error(&refused).contains("admin.rate"), "{wait}");
    assert_eq!(scene.get("/readyz", "").status, 200, "who watches over it does not count");
    assert_eq!(scene.get_from_elsewhere("/api/v1/pools", &scene.reader).status, 200);
}

#[test]
fn one_address_leaves_connections_to_others() {
    let scene = Scene::new("");
    let seen: Value = serde_json::from_slice(&scene.get("/api/v1/events", &scene.reader).body).unwrap();
    // Nothing happens to a pool that is not there.
    let path =
        format!("/api/v1/events?after={}&wait=30&pool=none&run={}", seen["last"], seen["run"].as_str().unwrap());
    let wait = || {
        let mut client = Client::connect(scene.balancer.admin());
        // One too many is closed, perhaps before it has said anything.
        let _ = client.try_send(scene.request("GET", &path, &scene.reader, ""));
        client
    };
    let mut crowd: Vec<Client> = (0..128).map(|_| wait()).collect();
    assert!(wait().closed(), "half of all connections are waiting");
    assert_eq!(scene.get_from_elsewhere("/api/v1/pools", &scene.reader).status, 200);
    crowd.pop();
    eventually("there is room again", DEADLINE, || {
        let request = scene.request("GET", "/api/v1/pools", &scene.reader, "");
        client::try_request(scene.balancer.admin(), &request).is_ok_and(|answer| answer.status == 200)
    });
}

// === the audit log ===

#[test]
fn changes_and_refusals_are_told_with_name_and_generation() {
    let scene = Scene::new("audit = { file = 'audit.log' }\n");
    let body = r#"{"owner": "Ann", "reason": "new disk", "percent": 50}"#;
    assert_eq!(scene.ask("POST", "/api/v1/pools/p/backends/a/weight", &scene.operator, body).status, 200);
    assert_eq!(scene.ask("POST", "/api/v1/pools/p/backends/b/weight", &scene.operator, body).status, 404);
    assert_eq!(scene.ask("POST", "/api/v1/pools/p/backends/a/drain?x=y", &scene.reader, body).status, 403);
    assert_eq!(scene.get("/api/v1/pools", "guessed").status, 401);
    assert_eq!(scene.get("/api/v1/pools", &scene.reader).status, 200);
    scene.reload(&scene.config.replace("interval = '1h'", "interval = '2h'"));
    eventually("all of it is told", DEADLINE, || scene.audited().len() == 5);
    let lines = scene.audited();
    let field = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("outcome"), ["done", "failed", "refused", "refused", "done"]);
    assert_eq!(field("who"), [json!("ann"), json!("ann"), json!("grafana"), Value::Null, json!("ann")]);
    assert_eq!(field("role"), [json!("operate"), json!("operate"), json!("read"), Value::Null, json!("operate")]);
    assert_eq!(field("status"), [200, 404, 403, 401, 200]);
    assert_eq!(field("generation_before"), [1, 1, 1, 1, 1]);
    assert_eq!(field("generation_after"), [1, 1, 1, 1, 2]);
    assert_eq!(lines[0]["said"]["reason"], "new disk");
    assert_eq!((&lines[2]["path"], &lines[2]["query"]), (&json!("/api/v1/pools/p/backends/a/drain"), &json!("x=y")));
    assert!(lines.iter().all(|line| line["from"] == "127.0.0.1" || line["from"].as_str().unwrap().starts_with("127.")));
    assert!(lines.iter().all(|line| line["at"].as_str().is_some_and(|at| at.ends_with('Z'))));
    let log = scene.balancer.stderr();
    assert!(log.contains("/api/v1/pools/p/backends/a/weight") && log.contains("who=ann"), "{log}");
    assert!(!log.contains(&scene.operator) && !log.contains("guessed"), "no token stands in a log: {log}");
}

#[test]
fn a_flood_of_refusals_is_told_in_a_few_lines() {
    let scene = Scene::new("audit = { file = 'audit.log' }\n");
    for number in 0..200 {
        let status = scene.get("/api/v1/pools", &format!("guess-{number}")).status;
        assert!(matches!(status, 401 | 429), "{status}");
    }
    // What comes from elsewhere says how many were left out.
    assert_eq!(scene.get_from_elsewhere("/api/v1/pools", "another").status, 401);
    eventually("the last one is told", DEADLINE, || {
        scene.audited().iter().any(|line| line["from"] == ELSEWHERE.to_string())
    });
    let lines = scene.audited();
    let left_out: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    assert_eq!(lines.len() as u64 + left_out, 201, "each is told or counted");
    assert!(left_out > 100, "{left_out}");
}

// === the command that makes tokens ===

#[test]
fn a_token_is_made_or_hashed_and_never_written_over() {
    let files = tempfile::tempdir().unwrap();
    let made = support::process::run(&["token", "grafana", "--json"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!((&made["role"], made["token"].as_str().unwrap().len()), (&json!("read"), 64));
    let fits = |hash: &Value, token: &str| {
        evenkeel::config::users::Secret::read(hash.as_str().unwrap()).unwrap().fits(token.as_bytes())
    };
    assert!(fits(&made["hash"], made["token"].as_str().unwrap()));
    let hash_of = |given: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["token", "x", "--stdin", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let hashed: Value = serde_json::from_slice(&hash_of("a-token-of-my-own\n").stdout).unwrap();
    assert!(fits(&hashed["hash"], "a-token-of-my-own"));
    assert!(!hash_of("short\n").status.success());
    let path = files.path().join("there");
    fs::write(&path, "precious").unwrap();
    let refused = support::process::run(&["token", "x", "--hash-file", path.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let said = String::from_utf8(support::process::run(&["token", "grafana"]).stdout).unwrap();
    assert!(said.contains("$argon2id$") && said.contains(r#"{ name = "grafana", role = "read""#), "{said}");
}
