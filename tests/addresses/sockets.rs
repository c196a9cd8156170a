//! Unix sockets: to listen on, to reach backends at, for the admin port.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::support::eventually::{DEADLINE, eventually};
use crate::support::process::run;
use crate::support::tls::Authority;
use crate::support::{Balancer, Client, Origin, Process, client};

/// Asks over a socket; what comes until the other side closes.
fn ask(path: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A listener `outer` on a port, whose backend is the listener `inner` on a socket, whose backend is `origin`.
fn two_in_a_row(socket: &str, inner: &str, rest: &str, origin: &Origin) -> String {
    format!(
        "workers = 3\n[listener.outer]\nbind = '127.0.0.1:0'\npool = 'socket'\n{rest}\n\
         [listener.inner]\nbind = 'unix:{socket}'\npool = 'p'\n{inner}\n[pool.p]\nbackends = ['{}']\n\
         [pool.socket]\nbackends = ['unix:{socket}']\n",
        origin.addr()
    )
}

#[test]
fn requests_go_over_sockets_on_both_sides_and_every_worker_serves() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inner.sock");
    let origin = Origin::http().reply("over a socket").start();
    let lb = Balancer::start(&two_in_a_row(path.to_str().unwrap(), "", "", &origin));
    for _ in 0..60 {
        assert_eq!(client::get(lb.addr("outer"), "/").text(), "over a socket");
    }
    assert_eq!(origin.last_request().header("x-forwarded-for"), None, "who comes by a socket has no address");
    assert!(ask(&path, GET).ends_with("over a socket"));
    drop(lb);
    assert!(!path.exists(), "the file goes with the process");
}

#[test]
fn a_socket_without_a_file_works_as_well_and_its_clients_can_be_trusted() {
    let socket = format!("@evenkeel-{}-trusted", std::process::id());
    let origin = Origin::http().start();
    let lb = Balancer::start(&two_in_a_row(&socket, "trusted_proxies = ['unix:']", "", &origin));
    assert_eq!(client::get(lb.addr("outer"), "/").status, 200);
    assert_eq!(origin.last_request().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn a_proxy_header_names_the_client_behind_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inner.sock");
    let origin = Origin::http().start();
    let inner = "accept_proxy = ['unix:']";
    let _lb = Balancer::start(&two_in_a_row(path.to_str().unwrap(), inner, "", &origin));
    for (header, client) in [
        ("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n", Some("192.0.2.7")),
        ("PROXY UNKNOWN\r\n", None),
        ("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02", Some("1.2.3.4")),
    ] {
        assert!(ask(&path, &format!("{header}{GET}")).starts_with("HTTP/1.1 200"), "{header:?}");
        assert_eq!(origin.last_request().header("x-forwarded-for"), client, "{header:?}");
    }
}

#[test]
fn tls_and_bytes_go_over_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tls.sock");
    let path = path.to_str().unwrap();
    let ca = Authority::new("CA");
    let certificate = ca.issue("localhost", &["localhost"]);
    let root = ca.file();
    let origin = Origin::echo().start();
    let lb = Balancer::start(&format!(
        "[listener.outer]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'socket'\n\
         [listener.inner]\nbind = 'unix:{path}'\nprotocol = 'tcp'\npool = 'p'\n\
         tls = {{ certificates = [{certificate}] }}\n\
         [pool.p]\nbackends = ['{}']\n[pool.socket]\nbackends = ['unix:{path}']\ntls = {{ ca = '{}' }}\n\
         check.hello = {{ type = 'tls', ca = '{}' }}\n",
        origin.addr(),
        root.display(),
        root.display(),
    ));
    let mut client = Client::connect(lb.addr("outer"));
    let sent = vec![b'x'; 300_000];
    client.send(&sent);
    assert_eq!(client.read_exact(sent.len()), sent);
    assert!(lb.metrics().contains(&format!("backend=\"unix:{path}\"")));
}

fn behind_a_socket(path: &Path, origin: &Origin) -> String {
    format!(
        "[listener.web]\nbind = 'unix:{}'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n",
        path.display(),
        origin.addr()
    )
}

#[test]
fn what_a_killed_process_leaves_is_replaced_and_checks_see_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let origin = Origin::http().reply("app").start();
    let app = Process::start(&behind_a_socket(&path, &origin));
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['unix:{}']\n\
         check.home = {{ type = 'http', interval = '50ms', timeout = '50ms' }}\ncheck.open = {{ type = 'tcp', \
         interval = '50ms', timeout = '50ms' }}\n",
        path.display()
    ));
    lb.wait_for_up(1);
    assert_eq!(lb.get("/").text(), "app");
    app.signal("KILL");
    lb.wait_for_up(0);
    assert!(path.exists(), "nobody could take it away");
    assert_eq!(lb.get("/").status, 503);
    let mut app = Process::start(&behind_a_socket(&path, &origin));
    lb.wait_for_up(1);
    assert_eq!(lb.get("/").text(), "app");
    assert!(app.stop().success());
    assert!(!path.exists());
}

#[test]
fn the_socket_of_a_living_process_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let origin = Origin::http().reply("app").start();
    let config = behind_a_socket(&path, &origin);
    let _app = Process::start(&config);
    let mut second = Process::spawn(&config);
    assert!(!second.wait(DEADLINE).success());
    assert!(second.stderr().contains("a living process accepts there"), "{}", second.stderr());
    assert!(ask(&path, GET).ends_with("app"));
    let file = folder.path().join("precious");
    std::fs::write(&file, "words").unwrap();
    let mut third = Process::spawn(&behind_a_socket(&file, &origin));
    assert!(!third.wait(DEADLINE).success());
    assert!(third.stderr().contains("no socket stands there"), "{}", third.stderr());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "words");
    let missing = folder.path().join("missing/app.sock");
    let mut fourth = Process::spawn(&behind_a_socket(&missing, &origin));
    assert!(!fourth.wait(DEADLINE).success());
    assert!(fourth.stderr().contains("its folder is missing"), "{}", fourth.stderr());
}

#[test]
fn a_reload_keeps_a_socket_and_gives_it_other_rights_and_takes_it_away_with_its_listener() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let origin = Origin::http().start();
    let pool = format!("[pool.p]\nbackends = ['{}']\n", origin.addr());
    let more = "[listener.more]\nbind = '127.0.0.1:0'\npool = 'p'\n";
    let web = |keys: &str| format!("[listener.web]\nbind = 'unix:{}'\npool = 'p'\n{keys}\n", path.display());
    let lb = Balancer::start(&format!("{}{more}{pool}", web("")));
    let before = std::fs::metadata(&path).unwrap();
    assert_eq!(before.permissions().mode() & 0o777, 0o660);
    let mut open = UnixStream::connect(&path).unwrap();
    assert_eq!(lb.reload(&format!("{}{more}{pool}", web("socket_mode = '0666'"))).status, 200);
    let after = std::fs::metadata(&path).unwrap();
    assert_eq!((after.ino(), after.permissions().mode() & 0o777), (before.ino(), 0o666));
    assert_eq!(lb.reload(&format!("{more}{pool}")).status, 200);
    assert!(!path.exists());
    open.write_all(GET.as_bytes()).unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "who had connected is served: {answer:?}");
    assert_eq!(lb.reload(&format!("{}{pool}", web(""))).status, 200);
    assert!(ask(&path, GET).starts_with("HTTP/1.1 200"));
}

#[test]
fn the_admin_port_may_be_a_socket_that_asks_for_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let origin = Origin::http().start();
    let mut program = Process::spawn(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['{}']\n\
         [admin]\nbind = \"unix:{}\"\n",
        origin.addr(),
        path.display()
    ));
    let admin = format!("unix:{}", path.display());
    eventually("the admin port answers", DEADLINE, || run(&["status", "--admin", &admin]).status.success());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let reloaded = run(&["reload", "--admin", &admin]);
    assert!(reloaded.status.success(), "{}", String::from_utf8_lossy(&reloaded.stderr));
    assert!(ask(&path, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200"));
    assert!(program.stop().success());
    assert!(!path.exists());
}

#[test]
fn a_backend_whose_queue_is_full_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("busy.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let first = UnixStream::connect(&path).unwrap();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['unix:{}']\nretry = {{ attempts = 0 }}\n",
        path.display()
    ));
    let mut client = lb.client();
    client.send(GET);
    client.patience(Duration::from_millis(100));
    assert!(client.try_read_response("GET").is_err(), "the queue is full");
    client.patience(DEADLINE);
    let answered = std::thread::spawn(move || {
        loop {
            let mut stream = UnixStream::from(OwnedFd::from(socket.accept().unwrap().0));
            // Who only looks whether somebody accepts leaves at once.
            if stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                return;
            }
        }
    });
    drop(first);
    assert_eq!(client.read_response().text(), "ok");
    answered.join().unwrap();
}

#[test]
fn the_log_says_that_a_client_came_by_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let origin = Origin::http().start();
    let program = Process::start(&format!("log.access = 'json'\n{}", behind_a_socket(&path, &origin)));
    ask(&path, GET);
    eventually("the line is written", DEADLINE, || program.stdout().contains("\"client\":\"unix:\""));
}
