//! The access log: one line for each request or connection, with where its time went and why it ended.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use support::Load;
use support::client::{self, Client};
use support::eventually::{DEADLINE, eventually, eventually_some};
use support::h2::H2;
use support::origin::Origin;
use support::process::{Process, free_address, run};
use support::tls::Authority;

fn config(format: &str, web: std::net::SocketAddr, tcp: std::net::SocketAddr, backend: std::net::SocketAddr) -> String {
    format!(
        "[log]\naccess = \"{format}\"\n\
         [listener.web]\nbind = \"{web}\"\npool = \"app\"\n\
         [listener.raw]\nbind = \"{tcp}\"\nprotocol = \"tcp\"\npool = \"app\"\n\
         [pool.app]\nbackends = [{{ name = \"one\", address = \"{backend}\" }}]\n"
    )
}

/// Lines of the log after the program has ended: what a worker still held must be there too.
fn lines(format: &str) -> Vec<String> {
    let origin = Origin::http().reply("hello").start();
    let (web, tcp) = (free_address(), free_address());
    let mut process = Process::start(&config(format, web, tcp, origin.addr()));
    let mut client = Client::connect(web);
    client.send("GET /a?b HTTP/1.1\r\nHost: shop.example\r\nX-Request-ID: abc-1\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    assert_eq!(client::try_request(web, "GET / HTTP/1.1\r\n\r\n").unwrap().status, 400);
    assert_eq!(client::get(tcp, "/over-tcp").status, 200);
    drop(client);
    assert!(process.stop().success());
    process.stdout().lines().map(str::to_owned).collect()
}

fn field<'a>(object: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    object.get(name).unwrap_or_else(|| panic!("no {name} in {object}"))
}

#[test]
fn a_line_of_json_says_who_asked_what_who_answered_and_how_long_it_took() {
    let lines: Vec<serde_json::Value> = lines("json").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let request = lines.iter().find(|line| field(line, "target") == "/a?b").expect("the request's line");
    for (name, value) in [
        ("listener", "web"),
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", "shop.example"),
        ("pool", "app"),
        ("backend", "one"),
        ("end", "ok"),
        ("phase", "done"),
        ("request_id", "abc-1"),
    ] {
        assert_eq!(field(request, name), value, "{name}");
    }
    assert_eq!(field(request, "status"), 200);
    assert_eq!((field(request, "retries"), field(request, "tries")), (&0.into(), &1.into()));
    let time = |name: &str| field(request, name).as_f64().unwrap();
    assert!(time("response_seconds") > 0.0 && time("connect_seconds") > 0.0);
    assert!(time("seconds") >= time("response_seconds"));
    assert!(field(request, "sent_bytes").as_u64().unwrap() > 5);
    let refused = lines.iter().find(|line| field(line, "status") == 400).expect("the refused request's line");
    assert_eq!((field(refused, "end"), field(refused, "phase")), (&"missing_host".into(), &"request".into()));
    let connection = lines.iter().find(|line| field(line, "listener") == "raw").expect("the connection's line");
    assert_eq!(field(connection, "status"), 0);
    assert!(field(connection, "received_bytes").as_u64().unwrap() > 0);
}

#[test]
fn a_line_of_text_reads_like_a_sentence_and_cannot_be_forged() {
    let lines = lines("text");
    let request = lines.iter().find(|line| line.contains("/a?b")).expect("the request's line");
    for part in ["127.0.0.1 web", "\"GET shop.example/a?b\" 200", "app/one", "retries=0 ok done abc-1"] {
        assert!(request.contains(part), "{part} in {request}");
    }
    assert!(lines.iter().any(|line| line.contains("127.0.0.1 raw tcp app/one")), "{lines:?}");
}

#[test]
fn without_the_option_nothing_is_written() {
    let origin = Origin::http().reply("hello").start();
    let web = free_address();
    let mut process = Process::start(&format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"app\"\n[pool.app]\nbackends = [\"{}\"]\n",
        origin.addr()
    ));
    assert_eq!(client::get(web, "/").status, 200);
    process.stop();
    assert_eq!(process.stdout(), "");
}

/// A listener `web` with this in its section, and a pool of this backend.
fn with(web: std::net::SocketAddr, log: &str, backend: std::net::SocketAddr) -> String {
    format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"app\"\nlog = {{ {log} }}\n\
         [pool.app]\nbackends = [{{ name = \"one\", address = \"{backend}\" }}]\n"
    )
}

/// What the program writes into its standard output about these requests, with this format.
fn written(format: &str, requests: &[&str]) -> Vec<String> {
    let origin = Origin::http().reply("hello").header("X-Where", "cellar\" \\ end").start();
    let web = free_address();
    let mut process = Process::start(&with(web, &format!("access = {format}"), origin.addr()));
    for request in requests {
        client::try_request(web, request).unwrap();
    }
    assert!(process.stop().success());
    process.stdout().lines().map(str::to_owned).collect()
}

#[test]
fn the_combined_format_is_the_one_that_every_analyser_reads() {
    let lines = written(
        "\"combined\"",
        &[
            "GET /a?b=c HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: curl \"8\"\r\nConnection: close\r\n\r\n",
        ],
    );
    let (before, behind) = lines[0].split_once(']').unwrap();
    assert!(before.starts_with("127.0.0.1 - - [") && before.ends_with(" +0000"), "{before}");
    let (sent, rest) = behind.strip_prefix(" \"GET /a?b=c HTTP/1.1\" 200 ").unwrap().split_once(' ').unwrap();
    assert!(sent.parse::<u32>().unwrap() > 5);
    assert_eq!(rest, r#""http://r/" "curl \"8\"""#);
}

#[test]
fn a_format_of_ones_own_has_headers_and_cookies_and_cannot_be_forged() {
    let format = "{ format = '[$header:x-note] [$cookie:id] [$response_header:x-where] $path $status $tries $end/$phase $$5 $${method}s' }";
    let lines = written(
        format,
        &[
            "PUT /p?q HTTP/1.1\r\nHost: x\r\nX-Note: a\" b\\ \u{85}c\r\nCookie: no=1; id=7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        ],
    );
    assert_eq!(lines, [r#"[a\" b\\ \xc2\x85c] [7] [cellar\" \\ end] /p 200 1 ok/done $5 PUTs"#]);
    let lines = written(
        "{ format = '{\"note\":\"$header:x-note\",\"none\":\"$header:none\",\"status\":$status}' }",
        &["GET / HTTP/1.1\r\nHost: x\r\nX-Note: \"},{\"status\":999\r\nConnection: close\r\n\r\n"],
    );
    let object: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(object, serde_json::json!({ "note": "\"},{\"status\":999", "none": "", "status": 200 }));
}

#[test]
fn a_line_says_what_the_backend_was_asked_for_after_a_rewrite() {
    let origin = Origin::http().start();
    let web = free_address();
    let log = "access = { format = '$target $backend_target $backend_path' }";
    let rules = "rewrite = { strip_prefix = '/app' }\n\
                 request_headers = { set = { 'X-Asked' = '$backend_target', 'X-Path' = '$backend_path' } }\n\
                 response_headers = { set = { 'X-Asked' = '$backend_target' } }\n\
                 [[listener.web.route]]\npath = '/own'\nrespond = 204\n[pool.app]";
    let mut process = Process::start(&with(web, log, origin.addr()).replace("[pool.app]", rules));
    for (target, asked, path) in [("/app/a?b", "/a?b", "/a"), ("/other?b", "/other?b", "/other")] {
        let answer = client::get(web, target);
        assert_eq!(answer.header("x-asked"), Some(asked));
        let seen = origin.last_request();
        assert_eq!((&*seen.target, seen.header("x-asked"), seen.header("x-path")), (asked, Some(asked), Some(path)));
    }
    client::get(web, "/own");
    assert!(process.stop().success());
    // Two workers may have served them, each of which hands over its own lines.
    let lines: HashSet<String> = process.stdout().lines().map(str::to_owned).collect();
    assert_eq!(lines, ["/app/a?b /a?b /a", "/other?b /other?b /other", "/own - -"].map(str::to_owned).into());
}

#[test]
fn a_line_says_how_far_a_request_came_before_it_failed() {
    let (refuses, breaks) =
        (Origin::http().refuses().start(), Origin::http().reply("x".repeat(500)).resets_mid_body().start());
    let web = free_address();
    let config = with(web, "access = { format = '$path $status $end $phase $tries' }", refuses.addr());
    let mut process = Process::start(&config.replace(
        "[pool.app]",
        &format!(
            "[[listener.web.route]]\npath = \"/breaks\"\npool = \"b\"\n[pool.b]\nbackends = [\"{}\"]\n[pool.app]",
            breaks.addr()
        ),
    ));
    assert_eq!(client::get(web, "/refused").status, 502);
    let broken = client::try_get(web, "/breaks");
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(
        client::try_request(web, "GET /odd HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n").unwrap().status,
        400
    );
    process.stop();
    let lines: HashSet<String> = process.stdout().lines().map(str::to_owned).collect();
    let expected = [
        "/refused 502 connect_refused connect 1",
        "/breaks 200 reset_in_body body 1",
        "- 400 bad_content_length request 0",
    ];
    assert_eq!(lines, expected.map(str::to_owned).into());
}

#[test]
fn of_what_went_well_a_sample_may_do_and_of_what_did_not_every_line_is_there() {
    let origin = Origin::http().reply("hello").at("/no", Origin::http().status(404)).start();
    let web = free_address();
    let mut process =
        Process::start(&with(web, "access = { format = '$path $status' }, sample = \"0%\"", origin.addr()));
    for _ in 0..20 {
        client::get(web, "/yes");
        client::get(web, "/no");
    }
    process.stop();
    assert_eq!(process.stdout(), "/no 404\n".repeat(20));
}

#[test]
fn each_listener_has_its_log_and_takes_over_what_it_does_not_say() {
    let origin = Origin::http().reply("hello").start();
    let [one, two, three] = [free_address(), free_address(), free_address()];
    let config = format!(
        "[log]\naccess = {{ format = \"$listener\" }}\nto = {{ file = \"all.log\" }}\n\
         [listener.one]\nbind = \"{one}\"\npool = \"app\"\n\
         [listener.two]\nbind = \"{two}\"\npool = \"app\"\nlog = {{ to = \"stdout\" }}\n\
         [listener.three]\nbind = \"{three}\"\npool = \"app\"\nlog = {{ access = \"off\" }}\n\
         [pool.app]\nbackends = [\"{}\"]\n",
        origin.addr()
    );
    let mut process = Process::start(&config);
    for address in [one, two, three] {
        client::get(address, "/");
    }
    // Another format and another file, from the next request on.
    let said = process.reload(&config.replace("$listener", "again $listener").replace("all.log", "more.log"));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    client::get(one, "/");
    process.stop();
    let file = |name: &str| fs::read_to_string(process.folder().join(name)).unwrap();
    assert_eq!((file("all.log"), file("more.log")), ("one\n".to_owned(), "again one\n".to_owned()));
    assert_eq!(process.stdout(), "two\n");
}

#[test]
fn a_log_that_cannot_be_opened_refuses_the_configuration() {
    let origin = Origin::http().reply("hello").start();
    let web = free_address();
    let good = with(web, "access = \"json\"", origin.addr());
    let bad = with(web, "access = \"json\", to = { file = \"nowhere/access.log\" }", origin.addr());
    let process = Process::start(&good);
    let said = process.reload(&bad);
    let text = String::from_utf8_lossy(&said.stderr).into_owned() + &String::from_utf8_lossy(&said.stdout);
    assert!(!said.status.success() && text.contains("nowhere/access.log` cannot be opened"), "{text}");
    assert_eq!(client::get(web, "/").status, 200);
}

/// Every line of these files, each of them whole: numbers that the requests had in their path.
fn numbers(folder: &Path) -> Vec<u64> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("access.log"));
    let number = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        object["target"].as_str().unwrap().trim_start_matches("/n").parse().unwrap()
    };
    logs.flat_map(|path| fs::read_to_string(path).unwrap().lines().map(number).collect::<Vec<u64>>()).collect()
}

#[test]
fn files_are_turned_over_under_load_and_no_line_is_lost_or_cut() {
    let origin = Origin::http().reply("hello").start();
    let web = free_address();
    let mut process = Process::start(&with(web, "access = \"json\", to = { file = \"access.log\" }", origin.addr()));
    let (folder, pid) = (process.folder().to_owned(), process.pid());
    let asking: Vec<_> = (0..4_u64)
        .map(|client| {
            std::thread::spawn(move || {
                let mut connection = Client::connect(web);
                for number in 0..1500 {
                    let path = number * 4 + client;
                    connection.send(format!("GET /n{path} HTTP/1.1\r\nHost: x\r\n\r\n"));
                    assert_eq!(connection.read_response().status, 200);
                }
            })
        })
        .collect();
    let log = folder.join("access.log");
    let turned = (0..12)
        .filter(|turn| {
            let full = || fs::metadata(&log).is_ok_and(|data| data.len() > 0);
            eventually("lines come, or all have been asked", DEADLINE, || {
                full() || asking.iter().all(std::thread::JoinHandle::is_finished)
            });
            if !full() {
                return false;
            }
            fs::rename(&log, folder.join(format!("access.log.{turn}"))).unwrap();
            let told = std::process::Command::new("kill").arg("-USR1").arg(pid.to_string()).status();
            assert!(told.unwrap().success());
            true
        })
        .count();
    for client in asking {
        client.join().unwrap();
    }
    assert!(process.stop().success());
    let mut numbers = numbers(&folder);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..6000).collect::<Vec<_>>(), "turned over {turned} times");
    assert!(turned > 1, "{turned}");
}

#[test]
fn a_deleted_file_is_made_anew() {
    let origin = Origin::http().reply("hello").start();
    let web = free_address();
    let process = Process::start(&with(web, "access = \"json\", to = { file = \"access.log\" }", origin.addr()));
    let log = process.folder().join("access.log");
    client::get(web, "/n1");
    eventually("its line", DEADLINE, || numbers(process.folder()) == [1]);
    fs::remove_file(&log).unwrap();
    client::get(web, "/n2");
    eventually("the file is there again", DEADLINE, || log.exists() && numbers(process.folder()) == [2]);
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let origin = Origin::http().reply("hello").start();
    let web = free_address();
    let mut process = Process::start(&with(web, "access = \"json\", to = { file = \"/dev/full\" }", origin.addr()));
    client::get(web, "/");
    eventually("it is said", DEADLINE, || process.stderr().contains("the access log cannot be written"));
    for _ in 0..50 {
        assert_eq!(client::get(web, "/").status, 200);
    }
    assert!(process.stop().success());
    assert_eq!(process.stderr().matches("cannot be written").count(), 1, "{}", process.stderr());
}

#[test]
fn whoever_reads_too_slowly_costs_lines_and_nothing_else() {
    let origin = Origin::http().reply("hello").start();
    let (web, daemon) = (free_address(), TcpListener::bind("127.0.0.1:0").unwrap());
    let to = format!("to = {{ syslog = \"tcp:{}\" }}", daemon.local_addr().unwrap());
    let process = Process::start(&with(web, &format!("access = {{ format = '$header:x-long' }}, {to}"), origin.addr()));
    let long = "x".repeat(12 * 1024);
    let mut client = Client::connect(web);
    let metric = || {
        let text = client::get(process.admin(), "/metrics").text();
        let line = text.lines().find(|line| line.starts_with("evenkeel_access_log_dropped_total "));
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap()
    };
    // The daemon takes the connection and reads nothing.
    let mut asked = 0;
    eventually("lines are dropped", DEADLINE * 2, || {
        for _ in 0..100 {
            client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"));
            assert_eq!(client.read_response().status, 200);
        }
        asked += 100;
        metric() > 0.0
    });
    assert!(asked > 300, "some wait in memory: {asked}");
    eventually("it is said", DEADLINE, || process.stderr().contains("lines of the access log were dropped"));
    assert_eq!(run(&["health", "--admin", &format!("http://{}", process.admin())]).status.code(), Some(0));
}

#[test]
fn syslog_gets_messages_as_rfc_5424_has_them() {
    let origin = Origin::http().reply("hello").start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (local, udp) = (UnixDatagram::bind(&path).unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (of_udp, of_tcp) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    for (to, facility, number) in [
        (path.display().to_string(), "daemon", 30),
        (format!("udp:{of_udp}"), "local3", 158),
        (format!("tcp:{of_tcp}"), "user", 14),
    ] {
        let web = free_address();
        let log = format!(
            "access = {{ format = '$method $target' }}, to = {{ syslog = \"{to}\", facility = \"{facility}\", tag = \"lb\" }}"
        );
        let mut process = Process::start(&with(web, &log, origin.addr()));
        client::get(web, "/one");
        client::get(web, "/two");
        process.stop();
        let mut room = [0; 2048];
        let mut messages = Vec::new();
        if to.starts_with("tcp") {
            let mut text = String::new();
            tcp.accept().unwrap().0.read_to_string(&mut text).unwrap();
            while !text.is_empty() {
                let (length, rest) = text.split_once(' ').unwrap();
                let (message, rest) = rest.split_at(length.parse().unwrap());
                messages.push(message.to_owned());
                text = rest.to_owned();
            }
        } else {
            for _ in 0..2 {
                let length = if to.starts_with("udp") { udp.recv(&mut room) } else { local.recv(&mut room) }.unwrap();
                messages.push(String::from_utf8(room[..length].to_vec()).unwrap());
            }
        }
        // Two workers may have served them, each of which hands over its own lines.
        messages.sort_by_key(|message| message.rsplit(' ').next().map(str::to_owned));
        for (message, path) in messages.iter().zip(["/one", "/two"]) {
            let words: Vec<&str> = message.split(' ').collect();
            assert_eq!(words[0], format!("<{number}>1"), "{message}");
            assert!(words[1].ends_with('Z') && words[1].len() == 27, "{message}");
            let pid = process.pid().to_string();
            assert_eq!(words[3..], ["lb", &pid, "-", "-", "GET", path], "{message}");
        }
        assert_eq!(messages.len(), 2, "{messages:?}");
    }
}

#[test]
fn a_daemon_that_comes_back_gets_what_waited() {
    let origin = Origin::http().reply("hello").start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let web = free_address();
    let log = format!("access = {{ format = '$target' }}, to = {{ syslog = \"{}\" }}", path.display());
    let process = Process::start(&with(web, &log, origin.addr()));
    let load = Load::start(web, "/waiting", 1);
    load.wait_for(20);
    load.stop().assert_none_failed();
    eventually("it is said", DEADLINE, || process.stderr().contains("the access log cannot be written"));
    let daemon = UnixDatagram::bind(&path).unwrap();
    daemon.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut room = [0; 2048];
    let mut got = 0;
    eventually_some("it is said, too", DEADLINE, || {
        let length = daemon.recv(&mut room).unwrap();
        assert!(room[..length].ends_with(b"/waiting"));
        got += 1;
        (got >= 20 && process.stderr().contains("is written again")).then_some(())
    });
}

#[test]
fn versions_and_what_tls_has_agreed_on_are_logged_and_told() {
    let origin = Origin::http().reply("hello").start();
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["web.example.com"]);
    ca.issue("alice", &["alice.example.com"]);
    let (web, plain, raw) = (free_address(), free_address(), free_address());
    let fields = "$tls_version $tls_cipher $tls_server_name $tls_client_subject";
    let tls = format!("{{ certificates = [{certificate}], clients = {{ ca = '{}' }} }}", ca.file().display());
    let mut process = Process::start(&format!(
        "[log]\naccess = {{ format = '$listener $protocol \"$request\" {fields}' }}\n\
         [listener.web]\nbind = '{web}'\npool = 'p'\ntls = {tls}\nrequest_headers = {{ set = {{ X-TLS = '{fields}' }} }}\n\
         [listener.plain]\nbind = '{plain}'\npool = 'p'\nhttp = ['1.1', '2']\n\
         [listener.raw]\nbind = '{raw}'\nprotocol = 'tcp'\npool = 'p'\ntls = {tls}\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ));
    let config = ca.client_showing("alice", rustls::DEFAULT_VERSIONS);
    let agreed = "TLSv1.3 TLS_AES_256_GCM_SHA384 web.example.com CN=alice";
    let mut client = Client::connect_tls(web, "web.example.com", &config);
    assert_eq!(client.get("/one").text(), "hello");
    assert_eq!(origin.last_request().header("x-tls"), Some(agreed));
    drop(client);
    let mut offering = (*config).clone();
    offering.alpn_protocols = vec![b"h2".to_vec()];
    assert_eq!(H2::connect_tls(web, "web.example.com", &offering.into()).get("/two").text(), "hello");
    assert_eq!(origin.last_request().header("x-tls"), Some(agreed));
    assert_eq!(H2::connect(plain).get("/three").text(), "hello");
    let mut client = Client::connect_tls(raw, "web.example.com", &config);
    assert_eq!(client.get("/four").text(), "hello");
    drop(client);
    process.stop();
    let mut lines: Vec<String> = process.stdout().lines().map(str::to_owned).collect();
    lines.sort();
    let expected = [
        "plain HTTP/2.0 \"GET /three HTTP/2.0\" - - - -".to_owned(),
        format!("raw - \"-\" {agreed}"),
        format!("web HTTP/1.1 \"GET /one HTTP/1.1\" {agreed}"),
        format!("web HTTP/2.0 \"GET /two HTTP/2.0\" {agreed}"),
    ];
    assert_eq!(lines, expected);
}
