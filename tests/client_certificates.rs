//! Certificates of clients: who gets in, what the backend is told, and what happens when the files change.

mod support;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel::config::{self, Color, Source};
use rcgen::{DnType, SanType, SerialNumber, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DEFAULT_VERSIONS, HandshakeKind};
use support::client::Response;
use support::eventually::DEADLINE;
use support::tls::Authority;
use support::{Balancer, Client, Origin, eventually};

/// A listener `web` that asks its clients for certificates, by these keys, and speaks by those.
fn asking(ca: &Authority, clients: &str, listener: &str, backend: SocketAddr) -> String {
    let certificate = ca.issue("web", &["web.example.com"]);
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{listener}\n[listener.web.tls]\ncertificates = [{certificate}]\n\
         [listener.web.tls.clients]\nca = '{}'\n{clients}\n[pool.p]\nbackends = ['{backend}']\n",
        ca.file().display()
    )
}

/// With TLS 1.3 a client learns only after its handshake that it is not let in.
fn try_get(lb: &Balancer, config: &Arc<ClientConfig>, headers: &str) -> io::Result<Response> {
    let mut client = Client::try_connect_tls(lb.addr("web"), "web.example.com", config)?;
    client.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))?;
    client.try_read_response("GET")
}

/// Whatever the answer is.
fn is_let_in(lb: &Balancer, config: &Arc<ClientConfig>) -> bool {
    try_get(lb, config, "").is_ok()
}

fn handshakes(lb: &Balancer, result: &str, count: f64) {
    lb.counts(&format!("evenkeel_listener_tls_handshakes_total{{listener=web,result={result}}}"), count);
}

fn said(text: &str) -> Result<String, String> {
    match config::load(&Source::text(text.to_owned())) {
        Ok(loaded) => Ok(loaded.warnings.render(Color::Plain, "")),
        Err(problems) => Err(problems.render(Color::Plain, "")),
    }
}

#[test]
fn who_has_no_certificate_or_one_of_a_stranger_does_not_get_in_where_one_is_required() {
    let (ca, stranger) = (Authority::new("CA"), Authority::new("Stranger"));
    ca.issue("alice", &["alice"]);
    ca.issue_with("old", &["old"], |params| params.not_after = date_time_ymd(2024, 1, 1));
    stranger.issue("mallory", &["mallory"]);
    for ending in ["pem", "key"] {
        let file = format!("mallory.{ending}");
        std::fs::copy(stranger.folder().join(&file), ca.folder().join(&file)).unwrap();
    }
    let lb = Balancer::start(&asking(&ca, "", "", Origin::http().start().addr()));
    for (round, version) in [(1.0, &TLS12), (2.0, &TLS13)] {
        let showing = |file| ca.client_showing(file, &[version]);
        assert!(is_let_in(&lb, &showing("alice")), "{version:?}");
        assert!(!is_let_in(&lb, &ca.client_with(&[version])), "{version:?}");
        handshakes(&lb, "no_certificate", round);
        assert!(!is_let_in(&lb, &showing("mallory")), "{version:?}");
        handshakes(&lb, "unknown_issuer", round);
        assert!(!is_let_in(&lb, &showing("old")), "{version:?}");
        handshakes(&lb, "expired", round);
        handshakes(&lb, "ok", round);
    }
}

#[test]
fn the_backend_is_told_whose_certificate_it_was_and_nobody_can_say_so_himself() {
    let ca = Authority::new("CA");
    ca.issue_with("alice", &["alice.example.com"], |params| {
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc");
        params.subject_alt_names.push(SanType::URI("spiffe://example/alice".try_into().unwrap()));
    });
    let origin = Origin::http().start();
    let lb = Balancer::start(&asking(&ca, "verify = 'optional'\nheaders = true", "", origin.addr()));
    let forged = "X-Client-Verified: yes\r\nx_client_verified: yes\r\nX-Client-Cert-Subject: CN=root\r\n\
                  X-Client_Cert-SAN: DNS:root\r\nX-CLIENT-CERT-FINGERPRINT: 00\r\nX-Client-Cert: root\r\nX-Client: kept\r\n";
    let said = |name: &str| origin.last_request().headers(name).join("|");
    let of_that_kind = || {
        let head = origin.last_request().head.to_ascii_lowercase().replace('_', "-");
        head.lines().filter(|line| line.starts_with("x-client-")).count()
    };

    let alice = ca.client_showing("alice", DEFAULT_VERSIONS);
    assert_eq!(try_get(&lb, &alice, forged).unwrap().status, 200);
    assert_eq!(said("x-client-verified"), "yes");
    assert_eq!(said("x-client-cert-subject"), "O=Example\\, Inc,CN=alice");
    assert_eq!(said("x-client-cert-san"), "DNS:alice.example.com,URI:spiffe://example/alice");
    let print = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(ca.folder().join("alice.pem"))
        .output()
        .unwrap();
    let print = String::from_utf8(print.stdout).unwrap();
    let print = print.trim().split_once('=').unwrap().1.replace(':', "").to_lowercase();
    assert_eq!(said("x-client-cert-fingerprint"), print);
    assert_eq!(of_that_kind(), 4, "one of each, and nothing alike");

    assert_eq!(try_get(&lb, &ca.client(), forged).unwrap().status, 200);
    assert_eq!(said("x-client-verified"), "no");
    assert_eq!(of_that_kind(), 1);
    assert_eq!(said("x-client"), "kept");
}

#[test]
fn where_nobody_is_told_headers_of_these_names_are_any_headers() {
    let ca = Authority::new("CA");
    ca.issue("alice", &["alice"]);
    let origin = Origin::http().start();
    let lb = Balancer::start(&asking(&ca, "", "", origin.addr()));
    try_get(&lb, &ca.client_showing("alice", DEFAULT_VERSIONS), "X-Client-Verified: maybe\r\n").unwrap();
    assert_eq!(origin.last_request().header("x-client-verified"), Some("maybe"));
}

#[test]
fn who_has_been_revoked_is_out_as_soon_as_the_list_says_so_even_in_a_session_of_before() {
    let ca = Authority::new("CA");
    for (file, serial) in [("alice", 5_u64), ("bob", 6)] {
        ca.issue_with(file, &[file], |params| params.serial_number = Some(SerialNumber::from(serial)));
    }
    let (list, origin) = (ca.revoke("ca.crl", &[5], 30), Origin::http().start());
    let lb = Balancer::start(&asking(&ca, &format!("crl = '{}'", list.display()), "", origin.addr()));
    let [alice, bob] = ["alice", "bob"].map(|file| ca.client_showing(file, DEFAULT_VERSIONS));
    assert!(!is_let_in(&lb, &alice));
    handshakes(&lb, "revoked", 1.0);
    assert!(is_let_in(&lb, &bob));
    let mut standing = Client::connect_tls(lb.addr("web"), "web.example.com", &bob);
    assert_eq!(standing.tls().handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(standing.get("/").status, 200);
    ca.revoke("ca.crl", &[6], 30);
    eventually("bob is out", DEADLINE, || !is_let_in(&lb, &bob));
    assert!(is_let_in(&lb, &alice), "and alice is back");
    assert_eq!(standing.get("/").status, 200, "connections that stand are not asked again");
}

#[test]
fn another_authority_in_the_file_counts_without_a_reload() {
    let (ca, other) = (Authority::new("CA"), Authority::new("Other CA"));
    other.issue("bob", &["bob"]);
    for ending in ["pem", "key"] {
        let file = format!("bob.{ending}");
        std::fs::copy(other.folder().join(&file), ca.folder().join(&file)).unwrap();
    }
    std::fs::copy(ca.file(), ca.folder().join("trusted.pem")).unwrap();
    let config = asking(&ca, "", "", Origin::http().start().addr()).replace("/ca.pem", "/trusted.pem");
    let lb = Balancer::start(&config);
    let bob = ca.client_showing("bob", DEFAULT_VERSIONS);
    assert!(!is_let_in(&lb, &bob));
    let both = [ca.file(), other.file()].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    std::fs::write(ca.folder().join("trusted.pem"), both).unwrap();
    eventually("bob is let in", DEADLINE, || is_let_in(&lb, &bob));
}

#[test]
fn bytes_are_passed_on_for_those_who_are_let_in_only() {
    let ca = Authority::new("CA");
    ca.issue("alice", &["alice"]);
    let origin = Origin::echo().start();
    let lb = Balancer::start(&asking(&ca, "", "protocol = 'tcp'", origin.addr()));
    let alice = ca.client_showing("alice", DEFAULT_VERSIONS);
    assert!(Client::connect_tls(lb.addr("web"), "web.example.com", &alice).echoes("hello"));
    let mut nobody = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
    assert!(nobody.try_send("hello").and_then(|()| nobody.try_read_exact(5)).is_err());
    handshakes(&lb, "no_certificate", 1.0);
}

#[test]
fn a_reload_that_asks_for_certificates_takes_up_no_session_of_those_who_had_none() {
    let ca = Authority::new("CA");
    let origin = Origin::http().start();
    let lb = Balancer::start(&asking(&ca, "verify = 'optional'", "", origin.addr()));
    let nobody = ca.client();
    assert!(is_let_in(&lb, &nobody));
    assert_eq!(lb.reload(&asking(&ca, "verify = 'required'", "", origin.addr())).status, 200);
    assert!(!is_let_in(&lb, &nobody));
    handshakes(&lb, "no_certificate", 1.0);
}

#[test]
fn what_is_wrong_with_the_files_is_said_when_they_are_loaded() {
    let (ca, other) = (Authority::new("CA"), Authority::new("Other CA"));
    let config = |clients: &str| asking(&ca, clients, "", "127.0.0.1:1".parse().unwrap());
    let good = ca.revoke("ca.crl", &[], 30);
    assert_eq!(said(&config(&format!("crl = '{}'", good.display()))), Ok("no problems\n".to_owned()));
    let der = ca.folder().join("ca.der");
    let made = std::process::Command::new("openssl")
        .args(["crl", "-outform", "DER", "-in"])
        .args([&good, std::path::Path::new("-out"), &der])
        .status();
    assert!(made.unwrap().success());
    assert_eq!(said(&config(&format!("crl = '{}'", der.display()))), Ok("no problems\n".to_owned()), "as published");

    let overdue = ca.revoke("overdue.crl", &[], -3);
    let warning = said(&config(&format!("crl = '{}'", overdue.display()))).unwrap();
    assert!(warning.contains("the list of CN=CA is out of date"), "{warning}");
    let strange = other.revoke("other.crl", &[], 30);
    let warning = said(&config(&format!("crl = '{}'", strange.display()))).unwrap();
    assert!(warning.contains("no list says which certificates of CN=CA are revoked"), "{warning}");

    for (clients, words) in [
        (format!("crl = '{}'", ca.file().display()), "ca.pem` holds no list of revoked certificates"),
        ("crl = 'gone.crl'".to_owned(), "there is no such file"),
        ("crl = []".to_owned(), "`crl` is an empty list"),
    ] {
        let problem = said(&config(&clients)).unwrap_err();
        assert!(problem.contains(words), "{problem}");
    }
    let problem = said(&config("").replace("ca.pem", "web.key")).unwrap_err();
    assert!(problem.contains("web.key` holds no certificate"), "{problem}");
    let warning = said(&config("headers = true").replace("pool = 'p'\n", "pool = 'p'\nprotocol = 'tcp'\n")).unwrap();
    assert!(warning.contains("`headers` has no effect on a tcp listener"), "{warning}");
}
