//! The description of the API against the real port: each path that it names is there, each that is there is named, what
//! is answered has the form that it gives, and each operation takes the role that it says.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use support::client::Response;
use support::json_schema::faults;
use support::process::free_address;
use support::{Client, Origin, Process};
use tempfile::TempDir;

const READER: &str = "the-token-of-a-reader";
const OPERATOR: &str = "the-token-of-an-operator";

struct Scene {
    balancer: Process,
    config: String,
    document: Value,
    _files: TempDir,
    _origins: [Origin; 2],
}

impl Scene {
    fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        for (name, token) in [("reader", READER), ("operator", OPERATOR)] {
            fs::write(files.path().join(name), token).unwrap();
        }
        let origins = [Origin::http().start(), Origin::http().start()];
        let config = format!(
            "workers = 1\n[admin]\nbind = \"{}\"\ntokens = [\n  {{ name = 'r', role = 'read', file = '{2}/reader' }},\n  \
             {{ name = 'o', role = 'operate', file = '{2}/operator' }},\n]\n[listener.web]\nbind = '{1}'\npool = 'p'\n\
             [pool.p]\nmode = 'active-standby'\nbackends = [{{ name = 'a', address = '{3}' }}, {{ name = 'b', address = '{4}' }}]\n\
             [pool.p.check.home]\ntype = 'tcp'\n",
            free_address(),
            free_address(),
            files.path().display(),
            origins[0].addr(),
            origins[1].addr(),
        );
        let balancer = Process::start(&config);
        let mut scene = Self { balancer, config, document: Value::Null, _files: files, _origins: origins };
        scene.document = serde_json::from_slice(&scene.ask("GET", "/api/v1/openapi.json", READER, "").body).unwrap();
        scene
    }

    fn begin(&self, method: &str, path: &str, token: &str, body: &str) -> Client {
        let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
        let mut client = Client::connect(self.balancer.admin());
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Evenkeel-Request: 1\r\n\
             {authorization}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Response {
        self.begin(method, path, token, body).try_read_final(method).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// All operations: method, path as it is described, and what is said of it.
    fn operations(&self) -> Vec<(String, String, Value)> {
        let mut all = Vec::new();
        for (path, methods) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                all.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
        all
    }

    /// An answer is as it is described.
    #[track_caller]
    fn assert_described(&self, what: &str, operation: &Value, answer: &Response) {
        let described = &operation["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{what}: {} is not described: {}", answer.status, answer.text());
        let described = match described["$ref"].as_str() {
            Some(reference) => self.document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => described,
        };
        let kind = answer.header("content-type").unwrap().split(';').next().unwrap();
        let content = &described["content"][kind];
        assert!(content.is_object(), "{what}: {kind} is not described: {described}");
        if kind == "application/json" {
            let value = serde_json::from_slice(&answer.body).unwrap();
            let wrong = faults(&self.document, &content["schema"], &value);
            assert!(wrong.is_empty(), "{what}: {wrong:#?}\n{value:#}");
        }
    }
}

/// A path with names that are there.
fn filled(path: &str) -> String {
    let names = [("{pool}", "p"), ("{backend}", "a"), ("{number}", "1"), ("{from}", "1"), ("{to}", "1")];
    let path = path.replace("{file}", "page.js");
    names.iter().fold(path, |path, (open, name)| path.replace(open, name))
}

#[test]
fn what_is_described_is_what_there_is() {
    let scene = Scene::new();
    assert_eq!(scene.document["openapi"], "3.1.0");
    let list = scene.ask("GET", "/", READER, "").text();
    let rows = list.lines().filter(|line| line.starts_with("GET ") || line.starts_with("POST "));
    let there: BTreeSet<(String, String)> = rows
        .map(|row| {
            let mut words = row.split_whitespace();
            (words.next().unwrap().to_owned(), words.next().unwrap().to_owned())
        })
        .collect();
    let listed = |path: &str| {
        let words = path.split('/').map(|word| word.strip_prefix('{').map_or(word.to_owned(), |open| open.trim_end_matches('}').to_uppercase()));
        words.collect::<Vec<_>>().join("/")
    };
    let described = scene.operations().into_iter().map(|(method, path, _)| (method, listed(&path)));
    // What the page is made of stands in no list for people.
    let described: BTreeSet<_> = described.filter(|(_, path)| !path.starts_with("/page/")).collect();
    assert_eq!(described, there);
    for (method, path, _) in scene.operations() {
        let path = filled(&path);
        let answer = scene.ask("DELETE", &path, OPERATOR, "");
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.header("allow").unwrap().contains(&method), "{method} {path}");
    }
}

#[test]
fn each_operation_takes_the_role_that_it_says() {
    let scene = Scene::new();
    for (method, path, operation) in scene.operations() {
        let role = operation["x-role"].as_str().unwrap();
        let status = |token: &str| {
            // The head alone: a stream has no end.
            let line = scene.begin(&method, &filled(&path), token, "").read_exact("HTTP/1.1 200".len());
            let status: u16 = String::from_utf8_lossy(&line[9..]).parse().unwrap();
            assert!(operation["responses"][status.to_string()].is_object(), "{method} {path}: {status} is not described");
            status
        };
        match role {
            "none" => assert!(!matches!(status(""), 401 | 403), "{path}"),
            "read" => assert_eq!((status(""), matches!(status(READER), 401 | 403)), (401, false), "{path}"),
            "operate" => assert_eq!((status(""), status(READER)), (401, 403), "{path}"),
            other => panic!("{path}: {other}"),
        }
    }
}

#[test]
fn what_is_shown_has_the_form_that_is_described() {
    let scene = Scene::new();
    let mut looked_at = 0;
    for (method, path, operation) in scene.operations().into_iter().filter(|(method, ..)| method == "GET") {
        if path == "/api/v1/live" {
            continue;
        }
        for token in [READER, OPERATOR] {
            let answer = scene.ask(&method, &filled(&path), token, "");
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            scene.assert_described(&path, &operation, &answer);
        }
        let refused = scene.ask(&method, &filled(&path), "", "");
        scene.assert_described(&path, &operation, &refused);
        looked_at += 1;
    }
    assert!(looked_at > 15, "{looked_at}");
    for path in ["/api/v1/pools/x", "/api/v1/events?x=y", "/api/v1/generations/99", "/metrics?x=y", "/readyz?pool=x"] {
        let known = path.split('?').next().unwrap().replace("/x", "/{pool}").replace("99", "{number}");
        let answer = scene.ask("GET", path, READER, "");
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        scene.assert_described(path, &scene.document["paths"][known]["get"], &answer);
    }
}

#[test]
fn what_comes_in_pieces_has_the_form_that_is_described() {
    let scene = Scene::new();
    let mut live = scene.begin("GET", "/api/v1/live", READER, "");
    let pieces = &scene.document["paths"]["/api/v1/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]["x-pieces"];
    let mut seen = BTreeMap::new();
    let mut text = String::new();
    while seen.len() < 2 {
        text.push_str(&String::from_utf8_lossy(&live.read_exact(1)));
        if !text.ends_with("\n\n") {
            continue;
        }
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        if let (Some(kind), Some(data)) = (field("event: "), field("data: ")) {
            seen.insert(kind, serde_json::from_str::<Value>(&data).unwrap());
        }
        text.clear();
    }
    for (kind, value) in &seen {
        assert_eq!(faults(&scene.document, &pieces[kind], value), Vec::<String>::new(), "{kind}");
    }
    let drill = json!({ "owner": "me", "mode": "refuse", "for_seconds": 0.2, "abort_if": "errors > 50%", "force": true });
    let path = "/api/v1/pools/{pool}/backends/{backend}/drill";
    let lines = scene.ask("POST", &filled(path), OPERATOR, &drill.to_string());
    assert_eq!(lines.status, 200, "{}", lines.text());
    let described = &scene.document["paths"][path]["post"]["responses"]["200"]["content"]["application/x-ndjson"];
    assert!(lines.text().lines().count() >= 3, "it begins, ends and is reported: {}", lines.text());
    for line in lines.text().lines() {
        let value = serde_json::from_str(line).unwrap();
        assert_eq!(faults(&scene.document, &described["x-pieces"]["line"], &value), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn what_is_done_is_answered_in_the_form_that_is_described() {
    let scene = Scene::new();
    let me = json!({ "owner": "me", "force": true }).to_string();
    let with = |key: &str, value: Value| {
        let mut body = json!({ "owner": "me", "force": true });
        body[key] = value;
        body.to_string()
    };
    let other = scene.config.replace("type = 'tcp'", "type = 'tcp'\ninterval = '3s'");
    let backend = "/api/v1/pools/{pool}/backends/{backend}";
    let deeds = [
        ("/api/v1/plan", "", other.clone()),
        ("/api/v1/apply", "?confirm=60s&owner=me", other.clone()),
        ("/api/v1/confirm", "", String::new()),
        ("/api/v1/save", "", String::new()),
        ("/api/v1/apply", "?confirm=60s", scene.config.clone()),
        ("/api/v1/take-back", "", json!({ "owner": "me" }).to_string()),
        ("/api/v1/generations/{number}/rollback", "", String::new()),
        ("/api/v1/reload", "", json!({ "reason": "a test" }).to_string()),
        ("/api/v1/pools/{pool}/probe", "", String::new()),
        (&format!("{backend}/probe"), "", String::new()),
        (&format!("{backend}/promote"), "", me.clone()),
        ("/api/v1/pools/{pool}/promote", "", with("reset", json!(true))),
        (&format!("{backend}/demote"), "", me.clone()),
        (&format!("{backend}/weight"), "", with("percent", json!(50))),
        (&format!("{backend}/drain"), "", me.clone()),
        (&format!("{backend}/maintenance"), "", me.clone()),
        (&format!("{backend}/ready"), "", me),
    ];
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for (path, query, body) in &deeds {
        let answer = scene.ask("POST", &(filled(path) + query), OPERATOR, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        scene.assert_described(path, &scene.document["paths"][*path]["post"], &answer);
        done.insert(path);
    }
    for (method, path, operation) in scene.operations().into_iter().filter(|(method, ..)| method == "POST") {
        // Of drills there is a test of their own.
        assert!(done.contains(&*path) || path.ends_with("/drill"), "{method} {path} is not tried");
        let nonsense = scene.ask(&method, &filled(&path), OPERATOR, "{\"nonsense\": ");
        scene.assert_described(&path, &operation, &nonsense);
    }
}

#[test]
fn what_is_sent_is_described_as_it_is_taken() {
    let scene = Scene::new();
    for (path, good, bad) in [
        ("/api/v1/reload", json!({ "owner": "me" }), json!({ "who": "me" })),
        ("/api/v1/pools/{pool}/backends/{backend}/drain", json!({ "owner": "me", "for_seconds": 5.0 }), json!({ "owner": 7 })),
        ("/api/v1/plan", json!({ "files": [] }), json!({ "files": 7 })),
    ] {
        let schema = &scene.document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(faults(&scene.document, schema, &good), Vec::<String>::new(), "{path}");
        assert!(!faults(&scene.document, schema, &bad).is_empty(), "{path}: {schema}");
    }
}
