//! `send_proxy` of a pool: what backends are told of whom a connection is made for.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use crate::support::eventually::DEADLINE;
use crate::support::tls::Authority;
use crate::support::{Balancer, Client, Origin};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));

/// A backend that takes whatever comes first on each connection, answers it as HTTP, and closes.
fn listening() -> (std::net::SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut bytes = vec![0; 4096];
            let mut length = 0;
            while !bytes[..length].ends_with(b"\r\n\r\n") && !bytes[..length].ends_with(b"done") {
                match stream.read(&mut bytes[length..]) {
                    Ok(read) if read > 0 => length += read,
                    _ => break,
                }
            }
            // It may have been a probe, which has gone already.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            if sender.send(bytes[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    (address, heard)
}

#[test]
fn a_tcp_backend_is_told_who_the_client_is_before_the_first_byte() {
    let (address, heard) = listening();
    for (version, wants_block) in [("v1", false), ("v2", true)] {
        let lb = Balancer::tcp(&[address], &format!("send_proxy = '{version}'\n"));
        let mut client = Client::connect(lb.addr("web"));
        client.send("done");
        let said = heard.recv_timeout(DEADLINE).unwrap();
        let (own, reached) = (client.local_addr(), lb.addr("web"));
        if wants_block {
            let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
            expected.extend(own.port().to_be_bytes());
            expected.extend(reached.port().to_be_bytes());
            expected.extend(b"done");
            assert_eq!(said, expected);
        } else {
            let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\ndone", own.port(), reached.port());
            assert_eq!(String::from_utf8(said).unwrap(), line);
        }
    }
}

/// A listener `outer` whose pool says who the client is to the listener `inner`, which believes it.
fn tiers(version: &str, outer: &str, more: &str, origin: &Origin) -> Balancer {
    let socket = format!("unix:@evenkeel-{}-{}", std::process::id(), origin.port());
    Balancer::start(&format!(
        "[listener.outer]\nbind = ['127.0.0.1:0']\npool = 'tier'\n{outer}\n\
         [listener.inner]\nbind = '{socket}'\npool = 'p'\naccept_proxy = ['unix:']\n\
         [pool.tier]\nbackends = ['{socket}']\nsend_proxy = {version}\n{more}\n\
         [pool.p]\nbackends = ['{}']\n",
        origin.addr()
    ))
}

#[test]
fn http_backends_learn_of_each_client_through_two_tiers_and_no_connection_serves_two() {
    for version in ["'v1'", "'v2'", "{ version = 'v2', tlv = ['alpn', 'authority', 'tls', 'unique-id'] }"] {
        let origin = Origin::http().start();
        let lb = tiers(version, "trusted_proxies = '127.9.0.1'", "", &origin);
        let mut proxy = Client::connect_from(PROXY, lb.addr("outer"));
        for client in ["192.0.2.7", "198.51.100.1", "2001:db8::1", "192.0.2.7"] {
            proxy.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"));
            assert_eq!(proxy.read_response().status, 200, "{version}");
            assert_eq!(origin.last_request().header("x-forwarded-for"), Some(client), "{version}");
        }
    }
}

#[test]
fn checks_say_that_it_is_the_balancer_who_asks() {
    let origin = Origin::http().start();
    let checks = "check.home = { type = 'http', interval = '50ms', timeout = '50ms' }";
    for version in ["'v1'", "'v2'"] {
        let lb = tiers(version, "", checks, &origin);
        lb.counts("evenkeel_pool_backends_up{pool=tier}", 1.0);
        drop(lb);
        // Without the header the listener closes the connection.
        let off = checks.replace("type", "send_proxy = 'off', type");
        let lb = tiers(version, "", &off, &origin);
        lb.counts("evenkeel_pool_backends_up{pool=tier}", 0.0);
    }
    assert_eq!(origin.last_request().header("x-forwarded-for"), None, "it is nobody's request");
}

#[test]
fn what_is_known_of_the_client_is_said_beside_its_address() {
    let (address, heard) = listening();
    let ca = Authority::new("CA");
    let certificate = ca.issue("web.example.com", &["web.example.com"]);
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\ntls = {{ certificates = [{certificate}] }}\n[pool.p]\n\
         backends = ['{address}']\nsend_proxy = {{ version = 'v2', tlv = ['authority', 'tls', 'unique-id'] }}\n"
    ));
    let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
    client.send("GET / HTTP/1.1\r\nHost: web.example.com\r\nX-Request-ID: wanted\r\n\r\n");
    assert_eq!(client.read_response().text(), "ok");
    let said = heard.recv_timeout(DEADLINE).unwrap();
    let has = |wanted: &[u8]| said.windows(wanted.len()).any(|part| part == wanted);
    assert!(has(b"\x02\0\x0fweb.example.com"), "{said:?}");
    assert!(has(b"\x05\0\x06wanted"), "{said:?}");
    assert!(has(b"\x01\0\0\0\x01\x21\0\x07TLSv1.3\x23\0"), "no certificate was shown: {said:?}");
    // Its length leads to the first byte of the request.
    let length = usize::from(u16::from_be_bytes([said[14], said[15]]));
    assert!(said[16 + length..].starts_with(b"GET / HTTP/1.1\r\n"), "{said:?}");
}

#[test]
fn a_client_without_an_address_is_unknown() {
    let origin = Origin::http().start();
    let (first, second) = (format!("@evenkeel-{}-a", origin.port()), format!("@evenkeel-{}-b", origin.port()));
    for version in ["v1", "v2"] {
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'outer'\n[pool.outer]\nbackends = ['unix:{first}']\n\
             [listener.middle]\nbind = 'unix:{first}'\npool = 'middle'\n\
             [pool.middle]\nbackends = ['unix:{second}']\nsend_proxy = '{version}'\n\
             [listener.inner]\nbind = 'unix:{second}'\npool = 'p'\naccept_proxy = ['unix:']\n\
             [pool.p]\nbackends = ['{}']\n",
            origin.addr()
        ));
        assert_eq!(lb.get("/").status, 200, "{version}");
        assert_eq!(origin.last_request().header("x-forwarded-for"), None, "{version}");
    }
}

#[test]
fn a_backend_is_told_where_the_client_went_by_a_proxy_in_front() {
    let (address, heard) = listening();
    let said = "PROXY TCP4 192.0.2.7 198.51.100.9 4711 443\r\n";
    for (protocol, bytes) in [("tcp", "done"), ("http", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")] {
        let lb = Balancer::start(&format!(
            "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = '{protocol}'\npool = 'p'\naccept_proxy = '127.0.0.0/8'\n\
             [pool.p]\nbackends = ['{address}']\nsend_proxy = 'v1'\n"
        ));
        let mut client = Client::connect(lb.addr("web"));
        client.send(format!("{said}{bytes}"));
        let told = String::from_utf8(heard.recv_timeout(DEADLINE).unwrap()).unwrap();
        assert!(told.starts_with(said), "{told}");
    }
}
