//! Error pages: what clients read where something is wrong, and what stays of the answer around it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use support::client::{Client, Response};
use support::h2::{H2, get, post};
use support::process::free_address;
use support::{Balancer, Origin};

/// One listener `web` with these keys and routes, and a pool `p` of one backend.
fn with_pages(backend: std::net::SocketAddr, rules: &str) -> Balancer {
    Balancer::start(&config(backend, rules))
}

fn config(backend: std::net::SocketAddr, rules: &str) -> String {
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{rules}\n[pool.p]\nbackends = ['{backend}']\nall_down = 'serve-anyway'\n"
    )
}

fn ask(client: &mut Client, method: &str, head: &str) -> Response {
    client.send(format!("{method} {head}\r\n\r\n"));
    client.try_read_response(method).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// === of the balancer's own ===

#[test]
fn a_page_is_found_by_status_and_by_class_and_a_route_has_its_own_first() {
    let pages = "errors = { '5xx' = { text = 'any of five' }, '502' = { text = '<p>none</p>', type = 'text/html' } }\n\
                 [[listener.web.route]]\npath = '/own'\npool = 'p'\nerrors = { '5xx' = { text = 'the route says' } }\n\
                 [[listener.web.route]]\npath = '/bare'\npool = 'p'\nerrors = false\n\
                 [[listener.web.route]]\npath = '/gone'\nrespond = 503\n\
                 [[listener.web.route]]\npath = '/says'\nrespond = { status = 503, text = 'itself' }\n";
    let lb = with_pages(free_address(), pages);
    let mut client = lb.client();
    let answer = client.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (502, "<p>none</p>"));
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(client.get("/own").text(), "the route says");
    assert!(client.get("/bare").text().starts_with("502 Bad Gateway"), "the usual sentence");
    let busy = client.get("/gone");
    assert_eq!((busy.text().as_str(), busy.header("retry-after")), ("any of five", Some("1")));
    assert_eq!(client.get("/says").text(), "itself", "an answer of one's own is no error");
    let head = ask(&mut client, "HEAD", "/ HTTP/1.1\r\nHost: a");
    assert_eq!((head.status, head.text().as_str(), head.header("content-length")), (502, "", Some("11")));
    assert_eq!(client.get("/").status, 502, "it goes on");
}

#[test]
fn requests_that_are_not_understood_get_the_pages_of_the_listener() {
    let pages = "errors = { '400' = { text = 'no request' }, '404' = { text = 'nothing here: $request_id' } }\n\
                 [[listener.web.route]]\npath = '/'\nhost = 'a.example'\npool = 'p'\nerrors = { '4xx' = { text = 'route' } }\n";
    let rules = format!("{pages}\n[pool.q]\nbackends = ['127.0.0.1:1']")
        .replace("[pool.q]", "[listener.other]\nbind = '127.0.0.1:0'\npool = 'q'\n[pool.q]");
    let text = config(free_address(), &rules).replacen("pool = 'p'\n", "", 1);
    let lb = Balancer::start(&text);
    let bad = ask(&mut lb.client(), "GET", "/ HTTP/1.1\r\nHost : a");
    assert_eq!((bad.status, bad.text().as_str(), bad.header("connection")), (400, "no request", Some("close")));
    let nobody = ask(&mut lb.client(), "GET", "/ HTTP/1.1\r\nHost: b\r\nX-Request-ID: <b>\"7\"</b>");
    assert_eq!((nobody.status, nobody.text().as_str()), (404, "nothing here: <b>\"7\"</b>"), "plain text");
    let made = ask(&mut lb.client(), "GET", "/ HTTP/1.1\r\nHost: b");
    let id = made.header("x-request-id").unwrap().to_owned();
    assert_eq!((id.len(), made.text()), (32, format!("nothing here: {id}")));
    lb.rejected("no_route", 2);
}

#[test]
fn nothing_that_a_client_says_becomes_more_than_text() {
    let pages = "errors = { '502' = { text = '<p title=$request_id>$status at $listener for $client_ip, $$5</p>', type = 'text/html' } }\n\
                 [[listener.web.route]]\npath = '/json'\npool = 'p'\nerrors = { '502' = { text = '{\"id\": \"$request_id\"}', type = 'application/json' } }\n";
    let lb = with_pages(free_address(), pages);
    let evil = "HTTP/1.1\r\nHost: a\r\nX-Request-ID: x\"><script>alert('1')</script>\\";
    let answer = ask(&mut lb.client(), "GET", &format!("/ {evil}"));
    assert_eq!(
        answer.text(),
        "<p title=x&#34;&#62;&#60;script&#62;alert&#40;&#39;1&#39;&#41;&#60;/script&#62;&#92;>502 at web for 127.0.0.1, $5</p>"
    );
    let answer = ask(&mut lb.client(), "GET", &format!("/json {evil}"));
    let parsed: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(parsed["id"], "x\"><script>alert('1')</script>\\");
}

#[test]
fn refusals_keep_what_the_client_must_know() {
    let origin = Origin::http().reply("fine").start();
    let folder = tempfile::tempdir().unwrap();
    let users = write(folder.path(), "users", "a:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZabcde\n");
    let pages = format!(
        "errors = {{ '4xx' = {{ text = 'listener: $status' }} }}\n[listener.web.limits]\nbody = '10B'\n\
         [[listener.web.route]]\npath = '/rate'\npool = 'p'\nrate = {{ requests = 1, every = '1h' }}\n\
         [[listener.web.route]]\npath = '/door'\npool = 'p'\nbasic_auth = {{ users = '{users}' }}\n\
         [[listener.web.route]]\npath = '/deny'\npool = 'p'\ndeny = '127.0.0.0/8'\nerrors = {{ '403' = {{ text = 'route: $status' }} }}\n\
         [[listener.web.route]]\npath = '/shown'\npool = 'p'\ndeny = '127.0.0.0/8'\nerrors = {{ '403' = {{ text = 'look', status = 200 }} }}\n"
    );
    let lb = with_pages(origin.addr(), &pages);
    let mut client = lb.client();
    assert_eq!(client.get("/rate").text(), "fine");
    let answer = client.get("/rate");
    assert_eq!((answer.status, answer.text().as_str()), (429, "listener: 429"));
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 3000);
    let answer = client.get("/door");
    assert_eq!((answer.status, answer.text().as_str()), (401, "listener: 401"));
    assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "));
    let answer = client.get("/deny");
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.header("connection")),
        (403, "route: 403", Some("close"))
    );
    let answer = lb.get("/shown");
    assert_eq!((answer.status, answer.text().as_str()), (200, "look"));
    lb.rejected("denied", 2);
    let answer = ask(&mut lb.client(), "POST", "/ HTTP/1.1\r\nHost: a\r\nContent-Length: 11");
    assert_eq!((answer.status, answer.text().as_str()), (413, "listener: 413"));
    let answer = ask(&mut lb.client(), "CONNECT", "a:1 HTTP/1.1\r\nHost: a:1");
    assert_eq!((answer.status, answer.header("allow").is_some()), (405, true));
    lb.counts("evenkeel_listener_requests_total{code=2xx,listener=web}", 2.0);
}

#[test]
fn calls_of_grpc_have_a_status_of_their_own_and_no_pages() {
    let pages = "http = ['1.1', '2']\nerrors = { '4xx' = { text = 'four' }, '5xx' = { text = 'five' } }\n\
                 [[listener.web.route]]\npath = '/deny'\npool = 'p'\ndeny = '127.0.0.0/8'\n";
    let lb = with_pages(free_address(), pages);
    let mut http2 = H2::connect(lb.addr("web"));
    let call = |path: &str| {
        let mut request = post(path);
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request
    };
    let answer = http2.ask(call("/a.B/C"), Some(b""));
    assert_eq!((answer.status, answer.header("grpc-status"), answer.text().as_str()), (200, Some("14"), ""));
    let answer = http2.ask(call("/deny"), None);
    assert_eq!((answer.status, answer.header("grpc-status"), answer.text().as_str()), (200, Some("7"), ""));
    assert_eq!((http2.get("/").text(), http2.get("/deny").text()), ("five".into(), "four".into()));
    let head = http2.ask(http::Request::head("http://a.example/").body(()).unwrap(), None);
    assert_eq!((head.status, head.header("content-length"), head.text().as_str()), (502, Some("4"), ""));
    assert_eq!(http2.ask(get("/"), None).status, 502);
}

// === of backends ===

#[test]
fn answers_of_backends_are_theirs_unless_all_are_wanted() {
    let origin = Origin::http().status(503).reply("theirs").start();
    let pages = "errors = { '503' = { text = 'ours' } }\n\
                 [[listener.web.route]]\npath = '/all'\npool = 'p'\nerrors_of = 'all'\n";
    let lb = with_pages(origin.addr(), pages);
    assert_eq!(lb.get("/").text(), "theirs");
    assert_eq!(lb.get("/all").text(), "ours");
    lb.counts("evenkeel_pool_requests_total{pool=p,code=5xx}", 2.0);
}

#[test]
fn what_a_backend_says_around_an_error_stays_and_its_connection_as_well() {
    let script = Origin::http()
        .status(401)
        .reply("<p>theirs, longer than ours</p>")
        .header("WWW-Authenticate", "Basic realm=\"x\"")
        .header("Set-Cookie", "a=b")
        .header("ETag", "\"1\"")
        .header("Content-Encoding", "none")
        .header("Retry-After", "77");
    let origin = script.at("/chunks", Origin::http().status(500).chunked(["one", "two"])).start();
    let pages = "errors_of = 'all'\nerrors = { '4xx' = { text = 'ours' }, '500' = { text = 'broken', status = 502 } }\n\
                 response_headers = { add = { 'X-By' = '$backend $status' } }\n";
    let lb = with_pages(origin.addr(), pages);
    let mut client = lb.client();
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (401, "ours"));
        let kept = ["www-authenticate", "set-cookie", "retry-after", "etag", "content-encoding", "content-length"];
        let kept = kept.map(|name| answer.header(name));
        assert_eq!(kept, [Some("Basic realm=\"x\""), Some("a=b"), Some("77"), None, None, Some("4")]);
        assert_eq!(answer.header("x-by").map(|by| by.ends_with(" 401")), Some(true));
        let answer = client.get("/chunks");
        assert_eq!((answer.status, answer.text().as_str()), (502, "broken"));
        assert_eq!(answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")).count(), 0);
    }
    let head = ask(&mut client, "HEAD", "/ HTTP/1.1\r\nHost: a");
    assert_eq!((head.status, head.header("content-length")), (401, Some("4")));
    assert_eq!(client.get("/").status, 401);
    assert_eq!(origin.connections(), 1, "all of it over one connection");
}

#[test]
fn an_error_of_a_backend_that_goes_on_and_on_costs_its_connection_and_nothing_else() {
    let long = "x".repeat(1 << 20);
    let origin = Origin::http().status(500).reply(&long).start();
    let endless = Origin::http().status(500).reply("some").stalls_mid_body().start();
    let lb = with_pages(origin.addr(), "errors_of = 'all'\nerrors = { '5xx' = { text = 'ours' } }\n");
    let mut client = lb.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "ours");
    }
    assert_eq!(origin.connections(), 2);
    let lb = with_pages(endless.addr(), "errors_of = 'all'\nerrors = { '5xx' = { text = 'ours' } }\n");
    let mut client = lb.client();
    for _ in 0..2 {
        assert_eq!(client.get("/").text(), "ours", "without waiting for the rest of theirs");
    }
}

// === files ===

#[test]
fn files_are_read_at_load_and_taken_up_again_at_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let plain = write(folder.path(), "502.html", "<h1>$status as it stands</h1>");
    let filled = write(folder.path(), "filled.html", "<h1>$status: $request_id</h1>");
    let backend = free_address();
    let pages = format!(
        "errors = {{ '502' = {{ file = '{plain}' }} }}\n[[listener.web.route]]\npath = '/filled'\npool = 'p'\n\
         errors = {{ '502' = {{ file = '{filled}', variables = true }} }}\n"
    );
    let lb = with_pages(backend, &pages);
    let answer = lb.get("/");
    assert_eq!(answer.text(), "<h1>$status as it stands</h1>");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let answer = lb.get("/filled");
    assert_eq!(answer.text(), format!("<h1>502: {}</h1>", answer.header("x-request-id").unwrap()));
    std::fs::write(&plain, "another").unwrap();
    assert_eq!(lb.get("/").text(), "<h1>$status as it stands</h1>", "what is read is read");
    assert_eq!(lb.reload(&config(backend, &pages)).status, 200);
    assert_eq!(lb.get("/").text(), "another");
    std::fs::write(&plain, vec![b'x'; 256 * 1024 + 1]).unwrap();
    let refused = lb.reload(&config(backend, &pages));
    assert!(refused.status != 200 && refused.text().contains("longer than 256KiB"), "{}", refused.text());
    std::fs::remove_file(&plain).unwrap();
    let refused = lb.reload(&config(backend, &pages));
    assert!(refused.status != 200 && refused.text().contains("there is no such file"), "{}", refused.text());
    assert_eq!(lb.get("/").text(), "another");
}
