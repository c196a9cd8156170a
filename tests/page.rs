//! The page of the admin port: what it is made of, the stream behind it, and what a real browser makes of both.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::eventually::DEADLINE;
use support::{Client, Origin, Process, client, eventually};

const PAGE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n";

fn in_front_of(origins: &[&Origin], admin: &str) -> Process {
    let backends: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.addr())).collect();
    Process::start(&format!(
        "{admin}[listener.web]\nbind = '127.0.0.1:0'\npool = 'portal'\n[pool.portal]\nbackends = [{}]\n\
         [pool.portal.check.home]\ntype = 'http'\ninterval = '50ms'\nrise = 1\nfall = 1\n",
        backends.join(", ")
    ))
}

/// The messages of a stream that has begun, one after the other.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn follow(admin: SocketAddr) -> Self {
        let mut asking = Client::connect(admin);
        asking.send("GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let stream = asking.stream().try_clone().expect("a socket");
        Self(BufReader::new(stream))
    }

    fn next(&mut self) -> (String, Value) {
        let mut kind = None;
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("the stream goes on") > 0, "it has ended");
            if let Some(word) = line.strip_prefix("event: ") {
                kind = Some(word.trim().to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (kind.expect("its kind comes first"), serde_json::from_str(data).expect("JSON on one line"));
            }
        }
    }
}

#[test]
fn a_browser_gets_the_page_and_a_tool_the_list_of_paths() {
    let lb = in_front_of(&[&Origin::http().start()], "");
    let page = client::try_request(lb.admin(), PAGE).expect("an answer");
    assert!(page.text().contains("<!doctype html>"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(client::get(lb.admin(), "/").text().contains("GET  /metrics"));
    for (path, kind) in [("/page/page.js", "text/javascript"), ("/page/page.css", "text/css")] {
        let file = client::get(lb.admin(), path);
        assert!(file.status == 200 && file.header("content-type").is_some_and(|it| it.starts_with(kind)), "{path}");
    }
    assert_eq!(client::get(lb.admin(), "/page/../Cargo.toml").status, 404);
}

#[test]
fn the_stream_tells_what_is_and_then_what_changes() {
    let origin = Origin::http().start();
    let lb = in_front_of(&[&origin], "");
    eventually("it is up", DEADLINE, || client::get(lb.admin(), "/readyz?pool=portal").status == 200);
    let mut stream = Stream::follow(lb.admin());
    let (kind, events) = stream.next();
    assert_eq!((kind.as_str(), &events["fresh"]), ("events", &Value::Bool(true)));
    assert_eq!(events["events"][0]["kind"], "up");
    let (kind, overview) = stream.next();
    assert_eq!((kind.as_str(), &overview["pools"][0]["backends_up"]), ("overview", &Value::from(1)));
    origin.stop();
    eventually("the fall is told", DEADLINE, || {
        let (kind, data) = stream.next();
        kind == "events" && data["fresh"] == false && data["events"][0]["kind"] == "down"
    });
    eventually("and seen", DEADLINE, || stream.next().1["pools"][0]["backends"][0]["state"] == "down");
}

#[test]
fn who_has_no_token_sees_an_empty_page_and_no_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "open-sesame\n").expect("a file");
    let admin =
        format!("[admin]\nbind = \"{}\"\ntoken_file = '{}'\n", support::process::free_address(), token.display());
    let origin = Origin::http().start();
    let lb = in_front_of(&[&origin], &admin);
    assert_eq!(client::try_request(lb.admin(), PAGE).expect("an answer").status, 200);
    assert_eq!(client::get(lb.admin(), "/api/v1/live").status, 401);
}

#[test]
fn followers_beyond_the_limit_are_told_so_and_who_leaves_makes_room() {
    let origin = Origin::http().start();
    let lb = in_front_of(&[&origin], "");
    let mut followers: Vec<Stream> = (0..32).map(|_| Stream::follow(lb.admin())).collect();
    for follower in &mut followers {
        follower.next();
    }
    assert_eq!(client::get(lb.admin(), "/api/v1/live").status, 503);
    followers.pop();
    eventually("there is room again", DEADLINE, || {
        let mut asking = Client::connect(lb.admin());
        asking.send("GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        String::from_utf8_lossy(&asking.read_exact(12)).ends_with("200")
    });
}

/// What a browser has made of the page after so many of its seconds.
fn seen_by_chromium(admin: SocketAddr) -> String {
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--virtual-time-budget=4000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{admin}/"))
        .output()
        .expect("chromium, which tests/run installs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_real_browser_shows_pools_backends_and_events() {
    let (well, dead) = (Origin::http().start(), Origin::http().refuses().start());
    let lb = in_front_of(&[&well, &dead], "");
    let mut page = String::new();
    eventually("the page is filled", Duration::from_mins(2), || {
        page = seen_by_chromium(lb.admin());
        page.contains("1 of 2 up")
    });
    for text in ["portal", &dead.addr().to_string(), "connection refused", "badge down", "id=\"events\"", "backends up"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("no connection to the balancer"), "{page}");
}

#[test]
fn a_real_browser_is_told_whom_it_shows_the_page_and_offers_that_one_no_orders() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, token) in [("reader", "the-token-of-a-reader"), ("operator", "the-token-of-an-operator")] {
        std::fs::write(folder.path().join(name), token).expect("a file");
    }
    let (admin, front) = (support::process::free_address(), support::process::free_address());
    // A browser that has a token in its hand, as far as the port can tell.
    let lb = Process::start(&format!(
        "[admin]\nbind = \"{admin}\"\ntokens = [\n  {{ name = 'grafana', role = 'read', file = '{0}/reader' }},\n  \
         {{ name = 'ann', role = 'operate', file = '{0}/operator' }},\n]\n\
         [listener.front]\nbind = '{front}'\npool = 'portal'\n\
         request_headers = {{ set = {{ Authorization = 'Bearer the-token-of-a-reader' }} }}\n\
         [pool.portal]\nbackends = ['{admin}']\n",
        folder.path().display()
    ));
    let mut page = String::new();
    eventually("the page is filled", Duration::from_mins(2), || {
        page = seen_by_chromium(front);
        page.contains("1 of 1 up")
    });
    assert!(page.contains("grafana (read)") && page.contains("data-role=\"read\""), "{page}");
    let style = client::get(lb.admin(), "/page/page.css").text();
    assert!(style.contains("body[data-role=\"read\"] .operate { display: none; }"), "{style}");
    let buttons = page.split("<button").filter(|button| button.contains(">Order</button>"));
    assert!(buttons.clone().count() > 0 && buttons.clone().all(|button| button.contains("class=\"operate\"")), "{page}");
}
