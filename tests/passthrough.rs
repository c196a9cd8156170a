//! Routes of tcp listeners: by the name that a TLS client asks for, which is read and never decrypted, and by who it is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use support::eventually::DEADLINE;
use support::tls::{Authority, common_name};
use support::{Balancer, Client, Origin};

/// A server that speaks TLS and answers with its name: another balancer, with this certificate.
fn speaker(ca: &Authority, name: &str, names: &[&str]) -> Balancer {
    let origin = Box::leak(Box::new(Origin::http().reply(name).start()));
    let certificate = ca.issue(name, names);
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\ntls.certificates = [{certificate}]\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ))
}

/// A tcp listener `web` with these keys and routes to pools `a`, `b` and `p`.
fn before(keys: &str, routes: &str, [a, b, p]: [SocketAddr; 3]) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\n{keys}\n{routes}\n\
         [listener.spare]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n\
         [pool.a]\nbackends = ['{a}']\n[pool.b]\nbackends = ['{b}']\n[pool.p]\nbackends = ['{p}']\n"
    ))
}

const ROUTES: &str = "[[listener.web.route]]\nhost = ['a.example.com', '*.apps.example.com']\npool = 'a'\n\
                      [[listener.web.route]]\nhost = 'b.example.com'\npool = 'b'\n";

fn speakers(ca: &Authority) -> [Balancer; 3] {
    [
        speaker(ca, "a", &["a.example.com", "x.apps.example.com"]),
        speaker(ca, "b", &["b.example.com"]),
        speaker(ca, "rest", &["127.0.0.1", "other.example.com"]),
    ]
}

fn addresses(speakers: &[Balancer; 3]) -> [SocketAddr; 3] {
    [0, 1, 2].map(|at| speakers[at].addr("web"))
}

/// The hello of a client that asks for this name, as a real one writes it.
fn hello(ca: &Authority, name: &str) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(ca.client(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn tls_goes_to_the_pool_of_the_name_that_is_asked_for_and_ends_there() {
    let ca = Authority::new("CA");
    let speakers = speakers(&ca);
    let lb = before("pool = 'p'", ROUTES, addresses(&speakers));
    for (name, shown) in [
        ("a.example.com", "CN=a"),
        ("A.Example.com", "CN=a"),
        ("x.apps.example.com", "CN=a"),
        ("b.example.com", "CN=b"),
        ("other.example.com", "CN=rest"),
        ("127.0.0.1", "CN=rest"),
    ] {
        let mut client = Client::connect_tls(lb.addr("web"), name, &ca.client());
        assert_eq!(common_name(&client), shown, "{name}");
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.read_response().text(), shown.trim_start_matches("CN="));
    }
}

#[test]
fn a_name_that_comes_in_pieces_is_waited_for() {
    let ca = Authority::new("CA");
    let [a, p] = [Origin::echo().start(), Origin::http().start()];
    let lb = before("pool = 'p'", ROUTES, [a.addr(), p.addr(), p.addr()]);
    let hello = hello(&ca, "a.example.com");
    let records: Vec<u8> = hello[5..]
        .chunks(100)
        .flat_map(|part| [&[22, 3, 1, 0, u8::try_from(part.len()).unwrap()][..], part].concat())
        .collect();
    for bytes in [hello, records] {
        let mut stream = TcpStream::connect(lb.addr("web")).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        for piece in bytes.chunks(97) {
            stream.write_all(piece).unwrap();
        }
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == bytes, "every byte got there as it came, and once");
    }
}

#[test]
fn who_asks_for_nobody_here_is_told_so_and_counted() {
    let ca = Authority::new("CA");
    let speakers = speakers(&ca);
    let lb = before("", ROUTES, addresses(&speakers));
    let refused = Client::try_connect_tls(lb.addr("web"), "other.example.com", &ca.client()).err().unwrap();
    assert!(refused.to_string().contains("UnrecognisedName"), "{refused}");
    lb.rejected("no_route", 1);
    let mut plain = lb.client();
    plain.send("GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n");
    assert!(plain.try_read_response("GET").is_err(), "what is not TLS has no name");
    lb.rejected("no_route", 2);
    assert_eq!(common_name(&Client::connect_tls(lb.addr("web"), "b.example.com", &ca.client())), "CN=b");
}

#[test]
fn what_is_not_tls_goes_to_the_pool_of_the_listener() {
    let [a, p] = [Origin::http().start(), Origin::echo().start()];
    let lb = before("pool = 'p'", ROUTES, [a.addr(), a.addr(), p.addr()]);
    assert!(lb.client().echoes("SSH-2.0-OpenSSH_9.9\r\n"));
    assert!(lb.client().echoes("\u{16}\u{2}"), "nearly TLS");
}

#[test]
fn nonsense_silence_and_endless_hellos_are_let_go_of() {
    let ca = Authority::new("CA");
    let origin = Origin::echo().start();
    let lb = before("pool = 'p'\ntimeouts.head = '300ms'", ROUTES, [origin.addr(); 3]);
    let hello = hello(&ca, "a.example.com");
    let mut silent = lb.client();
    assert!(silent.closed());
    lb.rejected("client_hello", 1);
    let mut slow = lb.client();
    slow.send(&hello[..100]);
    assert!(slow.closed());
    lb.rejected("client_hello", 2);
    let mut broken = hello.clone();
    broken[5] = 2;
    let mut nonsense = lb.client();
    nonsense.send(&broken);
    assert!(nonsense.closed());
    lb.rejected("client_hello", 3);
    let mut endless = lb.client();
    let zeros: Vec<u8> =
        [22, 3, 1, 0, 1, 1].into_iter().chain([22, 3, 1, 0, 1, 0].into_iter().cycle()).take(20_000).collect();
    let _ = endless.try_send(&zeros);
    assert!(endless.closed());
    lb.rejected("client_hello", 4);
    drop(lb.client());
    lb.counts("evenkeel_listener_open_connections{listener=web}", 0.0);
    lb.rejected("client_hello", 4);
}

#[test]
fn where_tls_ends_here_the_name_that_was_agreed_on_chooses_the_pool() {
    let ca = Authority::new("CA");
    let [a, b] = ["a", "b"].map(|name| Origin::http().reply(name).start());
    let certificate = ca.issue("web", &["a.example.com", "b.example.com", "c.example.com"]);
    let keys = format!("tls.certificates = [{certificate}]");
    let lb = before(&keys, ROUTES, [a.addr(), b.addr(), a.addr()]);
    for name in ["a", "b"] {
        let mut client = Client::connect_tls(lb.addr("web"), &format!("{name}.example.com"), &ca.client());
        client.send("GET / HTTP/1.1\r\nHost: c.example.com\r\n\r\n");
        assert_eq!(client.read_response().text(), name);
    }
    let mut client = Client::connect_tls(lb.addr("web"), "c.example.com", &ca.client());
    assert!(client.closed());
    lb.rejected("no_route", 1);
}

#[test]
fn a_client_may_be_routed_by_its_address_alone() {
    let [a, b] = [Origin::echo().start(), Origin::http().start()];
    let routes = "[[listener.web.route]]\nclient = '127.0.0.0/8'\npool = 'a'\n";
    let lb = before("pool = 'p'", routes, [a.addr(), b.addr(), b.addr()]);
    assert!(lb.client().echoes("nobody waits for a hello"));
}

#[test]
fn curl_says_what_the_balancer_has_told_it() {
    let ca = Authority::new("CA");
    let speakers = speakers(&ca);
    let lb = before("", ROUTES, addresses(&speakers));
    let curl = |name: &str| {
        let port = lb.addr("web").port();
        let ran = Command::new("curl")
            .args(["-sS", "--max-time", "10", "--cacert"])
            .arg(ca.file())
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1"), &format!("https://{name}:{port}/")])
            .output()
            .unwrap();
        (String::from_utf8_lossy(&ran.stdout).into_owned(), String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    assert_eq!(curl("b.example.com").0, "b");
    let (_, error) = curl("other.example.com");
    assert!(error.contains("unrecognized name"), "{error}");
}
