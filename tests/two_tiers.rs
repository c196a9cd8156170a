//! Proxies in front: who the client is when somebody else has taken its connection.

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use support::tls::Authority;
use support::{Balancer, Client, Origin};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 8, 0, 1));

/// A listener `web` with these keys before one backend.
fn balancer(keys: &str, backend: SocketAddr) -> Balancer {
    Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{keys}\n[pool.p]\nbackends = ['{backend}']\n"
    ))
}

/// The headers that a backend got, after a request from `source` with these lines.
fn told(lb: &Balancer, origin: &Origin, source: IpAddr, lines: &str) -> [Option<String>; 3] {
    let mut client = Client::connect_from(source, lb.addr("web"));
    client.send(format!("GET / HTTP/1.1\r\nHost: inner\r\n{lines}\r\n"));
    assert_eq!(client.read_response().status, 200);
    let request = origin.last_request();
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| {
        let values = request.headers(name);
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().map(|value| (*value).to_owned())
    })
}

#[test]
fn who_the_client_is_is_what_trusted_proxies_say_and_nobody_else() {
    let origin = Origin::http().start();
    let lb = balancer("trusted_proxies = ['127.9.0.0/16', '10.0.0.0/8']", origin.addr());
    let said = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n";
    let some = |values: [&str; 3]| values.map(|value| Some(value.to_owned()));
    assert_eq!(told(&lb, &origin, PROXY, said), some(["192.0.2.7", "https", "outer"]));
    assert_eq!(told(&lb, &origin, STRANGER, said), some(["127.8.0.1", "http", "inner"]), "anybody can say anything");
    assert_eq!(told(&lb, &origin, PROXY, ""), some(["127.9.0.1", "http", "inner"]), "it speaks for itself");
    for (chain, client) in [
        ("X-Forwarded-For: 1.1.1.1, 192.0.2.7, 10.0.0.1\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\n", "10.0.0.1"),
        ("X-Forwarded-For: 192.0.2.7:4711\r\n", "192.0.2.7"),
        ("X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"),
        ("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
        ("X-Forwarded-For: ::ffff:192.0.2.7\r\n", "192.0.2.7"),
        ("X-Forwarded-For: 192.0.2.7, unknown\r\n", "127.9.0.1"),
        ("X-Forwarded-For: 192.0.2.7, unknown, 10.0.0.1\r\n", "10.0.0.1"),
        ("X_Forwarded_For: 192.0.2.7\r\n", "127.9.0.1"),
    ] {
        assert_eq!(told(&lb, &origin, PROXY, chain)[0].as_deref(), Some(client), "{chain}");
    }
    assert_eq!(told(&lb, &origin, PROXY, "X-Forwarded-Proto: gopher\r\n")[1].as_deref(), Some("http"));
}

#[test]
fn one_connection_of_a_proxy_may_speak_for_many_clients() {
    let origin = Origin::http().start();
    let lb = balancer(
        "trusted_proxies = '127.9.0.1'\n[[listener.web.route]]\nclient = '192.0.2.0/24'\npool = 'p'",
        origin.addr(),
    );
    let mut proxy = Client::connect_from(PROXY, lb.addr("web"));
    for client in ["192.0.2.7", "198.51.100.1", "192.0.2.8"] {
        proxy.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\r\n"));
        assert_eq!(proxy.read_response().status, 200);
        assert_eq!(origin.last_request().header("x-forwarded-for"), Some(client));
    }
}

#[test]
fn a_header_of_the_proxy_protocol_says_who_the_client_is_and_nothing_of_what_follows_is_lost() {
    let origin = Origin::http().start();
    let lb = balancer("trusted_proxies = '127.9.0.1'\naccept_proxy = true", origin.addr());
    let v2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc0\x00\x02\x07\x7f\0\0\x01\x12\x67\0\x50\x04\0\x04abcd";
    let unknown = b"PROXY UNKNOWN\r\n";
    for (header, expected) in [
        (&b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n"[..], "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", "2001:db8::1"),
        (v2, "192.0.2.7"),
        (unknown, "127.9.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.9.0.1"),
    ] {
        for cut in [0, 1, 14, 15, header.len() - 1, header.len()] {
            let mut proxy = Client::connect_from(PROXY, lb.addr("web"));
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let (first, second) = header.split_at(cut.min(header.len()));
            proxy.send(first);
            proxy.send([second, request].concat());
            assert_eq!(proxy.read_response().status, 200, "{header:?} cut at {cut}");
            assert_eq!(origin.last_request().header("x-forwarded-for"), Some(expected));
        }
    }
    let mut stranger = Client::connect_from(STRANGER, lb.addr("web"));
    stranger.send("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stranger.read_response().status, 400, "from anybody else it is no header");
}

#[test]
fn connections_of_a_proxy_without_its_header_are_closed_and_counted() {
    let origin = Origin::http().start();
    let lb = balancer("accept_proxy = '127.9.0.0/16'\ntimeouts.head = '300ms'", origin.addr());
    for (count, bytes) in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\nGET / HTTP/1.1\r\n",
        &[b'P'; 200],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\x00\x02\x07\x7f\0\0\x01\x12\x67\0\x50",
        b"PROXY TCP4 192",
        b"",
    ]
    .iter()
    .enumerate()
    {
        let mut proxy = Client::connect_from(PROXY, lb.addr("web"));
        proxy.send(bytes);
        assert!(proxy.closed(), "{bytes:?}");
        lb.rejected("proxy_header", u32::try_from(count).expect("few") + 1);
    }
    assert_eq!(origin.request_count(), origin.requests_for("/health"), "nothing of it got through");
}

#[test]
fn the_header_comes_before_tls() {
    let ca = Authority::new("CA");
    let origin = Origin::http().start();
    let certificate = ca.issue("web", &["web.example.com"]);
    let lb = balancer(&format!("accept_proxy = '127.0.0.0/8'\ntls.certificates = [{certificate}]"), origin.addr());
    let mut client = Client::connect(lb.addr("web"));
    client.send("PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n");
    let mut client = client.agree_on_tls("web.example.com", &ca.client()).expect("TLS begins behind the header");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_response().status, 200);
    let request = origin.last_request();
    assert_eq!(
        (request.header("x-forwarded-for"), request.header("x-forwarded-proto")),
        (Some("192.0.2.7"), Some("https"))
    );
}

#[test]
fn proxies_must_be_named_before_their_word_counts() {
    let text =
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\naccept_proxy = true\n[pool.p]\nbackends = ['127.0.0.1:1']\n";
    let problems = evenkeel::config::load(&evenkeel::config::Source::text(text)).expect_err("from whom?");
    let text = problems.render(evenkeel::config::Color::Plain, "");
    assert!(text.contains("says not from whom") && text.contains("trusted_proxies"), "{text}");
}
