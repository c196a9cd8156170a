//! TLS with clients and with backends: which certificate is shown, what goes through, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use rustls::version::{TLS12, TLS13};
use support::eventually::DEADLINE;
use support::tls::{Authority, common_name};
use support::{Balancer, Client, Origin, eventually};

/// A listener `web` with these certificates before a pool `p` of one backend, and further keys of the listener.
fn listener(certificates: &str, keys: &str, backend: SocketAddr) -> String {
    format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{keys}\n[listener.web.tls]\ncertificates = [{certificates}]\n\
         [pool.p]\nbackends = ['{backend}']\n"
    )
}

fn get(client: &mut Client, host: &str, path: &str) -> support::client::Response {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.read_response()
}

// === which TLS ===

/// A client that trusts this authority, of these versions, suites and groups; all where none are named.
fn client_of(
    ca: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    suites: &[rustls::SupportedCipherSuite],
    groups: &[&'static dyn rustls::crypto::SupportedKxGroup],
) -> std::sync::Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    if !groups.is_empty() {
        provider.kx_groups = groups.to_vec();
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(ca.file()).unwrap()).unwrap();
    let builder =
        rustls::ClientConfig::builder_with_provider(provider.into()).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth().into()
}

#[test]
fn clients_are_spoken_to_in_the_versions_suites_and_groups_that_are_named() {
    use rustls::crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as OLD_128, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as OLD_256,
        TLS13_AES_128_GCM_SHA256 as NEW_128, TLS13_AES_256_GCM_SHA384 as NEW_256,
    };
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["web.example.com"]);
    let origin = Origin::http().start();
    let config = |tls: &str| {
        let text = listener(&certificate, "", origin.addr());
        text.replace("[pool.p]", &format!("{tls}\n[pool.p]"))
    };
    let lb = Balancer::start(&config(""));
    let agreed = |versions: &[&'static rustls::SupportedProtocolVersion], suites: &[_], groups: &[_]| {
        let client = client_of(&ca, versions, suites, groups);
        let stream = Client::try_connect_tls(lb.addr("web"), "web.example.com", &client).ok()?;
        let tls = stream.tls();
        Some((tls.negotiated_cipher_suite()?.suite(), tls.negotiated_key_exchange_group()?.name()))
    };
    assert!(agreed(&[&TLS12], &[], &[]).is_some() && agreed(&[&TLS13], &[], &[]).is_some());
    assert_eq!(lb.reload(&config("max_version = '1.2'")).status, 200);
    assert!(agreed(&[&TLS12], &[], &[]).is_some());
    assert!(agreed(&[&TLS13], &[], &[]).is_none());
    let ciphers = "ciphers = ['TLS_AES_128_GCM_SHA256', 'ECDHE-ECDSA-AES128-GCM-SHA256']\ngroups = ['secp256r1']";
    assert_eq!(lb.reload(&config(ciphers)).status, 200);
    let group = SECP256R1.name();
    assert_eq!(agreed(&[&TLS13], &[], &[]), Some((NEW_128.suite(), group)));
    assert_eq!(agreed(&[&TLS12], &[], &[]), Some((OLD_128.suite(), group)));
    assert_eq!(agreed(&[&TLS13], &[NEW_256], &[]), None);
    assert_eq!(agreed(&[&TLS12], &[OLD_256], &[]), None);
    assert_eq!(agreed(&[&TLS13], &[NEW_128], &[X25519]), None);
    assert_eq!(lb.reload(&config("ciphers = ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384']")).status, 200);
    assert_eq!(agreed(&[&TLS13], &[], &[]), None, "a version without a suite is not spoken");
    assert_eq!(agreed(&[&TLS13, &TLS12], &[], &[]).unwrap().0, OLD_256.suite());
}

#[test]
fn backends_and_their_checks_are_spoken_to_as_the_pool_says() {
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["web.example.com"]);
    let origin = Origin::http().reply("inside").start();
    let lb = |inner: &str, outer: &str| {
        let lb = Balancer::start(&format!(
            "[listener.inner]\nbind = 'unix:@evenkeel-tls-{0}-{1}'\npool = 'p'\n[listener.inner.tls]\n\
             certificates = [{certificate}]\n{inner}\n[pool.p]\nbackends = ['{2}']\n\
             [listener.web]\nbind = '127.0.0.1:0'\npool = 'over'\n\
             [pool.over]\nbackends = ['unix:@evenkeel-tls-{0}-{1}']\n\
             tls = {{ server_name = 'web.example.com', ca = '{3}', {outer} }}\n\
             check.home = {{ type = 'http', interval = '2s', timeout = '2s' }}\n",
            std::process::id(),
            origin.port(),
            origin.addr(),
            ca.file().display()
        ));
        let is_up = lb.metric("evenkeel_pool_backends_up{pool=over}") > 0.0;
        (is_up, lb.get("/").status)
    };
    for (inner, outer, works) in [
        ("max_version = '1.2'", "max_version = '1.2'", true),
        ("min_version = '1.3'", "max_version = '1.2'", false),
        ("ciphers = ['TLS_AES_128_GCM_SHA256']", "ciphers = ['TLS_AES_128_GCM_SHA256']", true),
        ("ciphers = ['TLS_AES_128_GCM_SHA256']", "ciphers = ['TLS_AES_256_GCM_SHA384']", false),
        ("groups = ['secp384r1']", "groups = ['secp384r1', 'x25519']", true),
        ("groups = ['secp384r1']", "groups = ['x25519']", false),
    ] {
        let (is_up, status) = lb(inner, outer);
        assert_eq!((is_up, status == 200), (works, works), "{inner} {outer}: {status}");
    }
}

// === with clients ===

#[test]
fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let ca = Authority::new("CA");
    let certificates = [
        ca.issue("first", &["first.example.com", "127.0.0.1"]),
        ca.issue("second", &["second.example.com", "third.example.com"]),
        ca.issue("any", &["*.wild.example.com"]),
    ];
    let lb = Balancer::start(&listener(&certificates.join(", "), "", Origin::http().start().addr()));
    let shown = |name: &str| common_name(&Client::connect_tls(lb.addr("web"), name, &ca.client()));
    assert_eq!(shown("first.example.com"), "CN=first");
    assert_eq!(shown("Second.Example.com"), "CN=second");
    assert_eq!(shown("third.example.com"), "CN=second");
    assert_eq!(shown("x.wild.example.com"), "CN=any");
    assert_eq!(shown("127.0.0.1"), "CN=first", "a client that names nothing");
    for unknown in ["other.example.com", "x.y.wild.example.com", "wild.example.com"] {
        let refused = Client::try_connect_tls(lb.addr("web"), unknown, &ca.client()).err().unwrap().to_string();
        assert!(refused.contains("certificate"), "{unknown} is shown the first one, which is not for it: {refused}");
    }
}

#[test]
fn requests_and_answers_of_any_size_go_through_and_say_https() {
    let ca = Authority::new("CA");
    let large: Vec<u8> = (0..1_500_000_u32).map(|n| (n % 251) as u8).collect();
    let origin = Origin::http().reply("small").at("/large", Origin::http().reply(&large)).start();
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), "", origin.addr()));
    for version in [&TLS12, &TLS13] {
        let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client_with(&[version]));
        assert_eq!(get(&mut client, "web.example.com", "/").text(), "small");
        assert_eq!(origin.last_request().header("x-forwarded-proto"), Some("https"));
        assert!(get(&mut client, "web.example.com", "/large").body == large, "1.5 MB are the same behind TLS");
        assert_eq!(client.post("/", &large).text(), "small");
        assert!(origin.last_request().body == large, "1.5 MB are the same before TLS");
    }
    lb.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=ok}", 2.0);
    let status = support::process::run(&["status", "--admin", &lb.admin().to_string()]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("web: http over TLS on"), "{status}");
}

#[test]
fn an_old_version_is_refused_where_the_listener_asks_for_a_newer_one() {
    let ca = Authority::new("CA");
    let config = listener(&ca.issue("web", &["web.example.com"]), "", Origin::http().start().addr());
    let lb = Balancer::start(&config.replace("[listener.web.tls]\n", "[listener.web.tls]\nmin_version = '1.3'\n"));
    let try_with = |version| Client::try_connect_tls(lb.addr("web"), "web.example.com", &ca.client_with(&[version]));
    assert!(try_with(&TLS12).is_err());
    assert!(try_with(&TLS13).is_ok());
    lb.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=failed}", 1.0);
}

#[test]
fn a_session_is_taken_up_again() {
    let ca = Authority::new("CA");
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), "", Origin::http().start().addr()));
    for version in [&TLS12, &TLS13] {
        let config = ca.client_with(&[version]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &config);
            get(&mut client, "web.example.com", "/");
            kinds.push(client.tls().handshake_kind());
        }
        assert_eq!(kinds[1], Some(rustls::HandshakeKind::Resumed), "{version:?}: {kinds:?}");
    }
}

#[test]
fn the_key_exchange_withstands_quantum_computers() {
    let ca = Authority::new("CA");
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), "", Origin::http().start().addr()));
    let client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
    let group = client.tls().negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[test]
fn certificates_are_replaced_when_their_files_change_and_open_connections_go_on() {
    let ca = Authority::new("CA");
    let origin = Origin::http().reply("still here").start();
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), "", origin.addr()));
    let mut old = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
    let serial = |client: &Client| client.tls().peer_certificates().unwrap()[0].to_vec();
    let before = serial(&old);
    std::fs::write(ca.folder().join("web.pem"), "no certificate at all").unwrap();
    get(&mut old, "web.example.com", "/");
    let shown = || serial(&Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client()));
    assert!(shown() == before, "what cannot be used changes nothing");
    ca.issue("web", &["web.example.com"]);
    eventually("the new one is shown", DEADLINE, || shown() != before);
    assert_eq!(get(&mut old, "web.example.com", "/").text(), "still here");
}

#[test]
fn a_folder_may_hold_the_certificates() {
    let ca = Authority::new("CA");
    let folder = ca.folder().join("sites");
    std::fs::create_dir(&folder).unwrap();
    let fill = |name: &str| {
        ca.issue(name, &[&format!("{name}.example.com")]);
        for ending in ["key", "pem"] {
            let file = format!("{name}.{ending}");
            std::fs::rename(ca.folder().join(&file), folder.join(&file)).unwrap();
        }
    };
    fill("one");
    let lb = Balancer::start(&listener(&format!("'{}'", folder.display()), "", Origin::http().start().addr()));
    let shown = |name: &str| {
        let client = Client::try_connect_tls(lb.addr("web"), &format!("{name}.example.com"), &ca.client()).ok()?;
        Some(common_name(&client))
    };
    assert_eq!(shown("one").as_deref(), Some("CN=one"));
    assert_eq!(shown("two"), None);
    fill("two");
    eventually("a new file is taken up", DEADLINE, || shown("two").is_some());
}

#[test]
fn clients_that_do_not_speak_tls_or_say_nothing_are_let_go() {
    let ca = Authority::new("CA");
    let keys = "timeouts.head = '300ms'";
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), keys, Origin::http().start().addr()));
    let mut plain = lb.client();
    plain.send("GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\n");
    assert!(plain.try_read_response("GET").is_err());
    lb.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=failed}", 1.0);
    let mut silent = lb.client();
    assert!(silent.closed());
    lb.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=late}", 1.0);
    lb.counts("evenkeel_listener_open_connections{listener=web}", 0.0);
}

#[test]
fn when_a_certificate_ends_is_a_metric() {
    let ca = Authority::new("CA");
    let certificate =
        ca.issue_with("web", &["web.example.com"], |params| params.not_after = rcgen::date_time_ymd(2030, 1, 1));
    let lb = Balancer::start(&listener(&certificate, "", Origin::http().start().addr()));
    let file = ca.folder().join("web.pem");
    let metric =
        format!("evenkeel_listener_certificate_expiry_timestamp_seconds{{listener=web,file={}}}", file.display());
    lb.counts(&metric, 1_893_456_000.0);
}

#[test]
fn bytes_go_through_where_the_listener_looks_at_nothing_else() {
    let ca = Authority::new("CA");
    let origin = Origin::echo().start();
    let config = listener(&ca.issue("web", &["web.example.com"]), "protocol = 'tcp'", origin.addr());
    let lb = Balancer::start(&config);
    let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
    let large = vec![7; 300_000];
    assert!(client.echoes("hello"));
    assert!(client.echoes(&large));
}

// === hosts and redirects ===

#[test]
fn plain_http_is_sent_to_https_with_path_and_query() {
    let lb = Balancer::start("[listener.web]\nbind = '127.0.0.1:0'\nredirect = 'https'\n");
    let mut client = lb.client();
    for (host, location) in [
        ("web.example.com", "https://web.example.com/a/b?c=d"),
        ("web.example.com:8080", "https://web.example.com/a/b?c=d"),
        ("[::1]:80", "https://[::1]/a/b?c=d"),
    ] {
        let answer = get(&mut client, host, "/a/b?c=d");
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)));
    }
    client.send("POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://a/form")));
    assert!(client.closed(), "what is left of the request is not taken for another");
    let mut old = lb.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.read_response().status, 400, "without a host there is nowhere to go");
}

#[test]
fn a_host_that_nobody_names_is_refused_where_that_is_asked_for() {
    let ca = Authority::new("CA");
    let origin = Origin::http().start();
    let keys = "unknown_host = 'refuse'\n[[listener.web.route]]\nhost = ['routed.example.com', '*.apps.example.com']\npool = 'p'";
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), keys, origin.addr()));
    for (host, status) in [
        ("web.example.com", 200),
        ("WEB.example.com:443", 200),
        ("routed.example.com", 200),
        ("x.apps.example.com", 200),
        ("other.example.com", 421),
        ("apps.example.com", 421),
    ] {
        let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
        assert_eq!(get(&mut client, host, "/").status, status, "{host}");
    }
    lb.rejected("unknown_host", 2);
}

// === with backends ===

/// An origin behind TLS, by way of another balancer.
fn behind_tls(certificate: &str, origin: &Origin) -> Balancer {
    Balancer::start(&listener(certificate, "", origin.addr()))
}

#[test]
fn a_backend_must_prove_its_name_and_its_authority() {
    let (ca, other) = (Authority::new("CA"), Authority::new("Other CA"));
    let origin = Origin::http().reply("secret").start();
    let tier = behind_tls(&ca.issue("inner", &["inner.example.com", "127.0.0.1"]), &origin);
    for (tls, status) in [
        (format!("{{ server_name = 'inner.example.com', ca = '{}' }}", ca.file().display()), 200),
        (format!("{{ ca = '{}' }}", ca.file().display()), 200),
        ("{ verify = false }".to_owned(), 200),
        (format!("{{ server_name = 'wrong.example.com', ca = '{}' }}", ca.file().display()), 502),
        (format!("{{ ca = '{}' }}", other.file().display()), 502),
        ("true".to_owned(), 502),
    ] {
        let lb = Balancer::web(&[tier.addr("web")], &format!("tls = {tls}"));
        let answer = lb.get("/");
        assert_eq!(answer.status, status, "{tls}: {}", answer.text());
        if status == 502 {
            assert!(lb.metric("evenkeel_pool_failed_total{pool=p,cause=tls_failed}") > 0.0);
        }
    }
}

#[test]
fn connections_to_backends_are_kept_over_tls_and_carry_bodies_both_ways() {
    let ca = Authority::new("CA");
    let large: Vec<u8> = (0..700_000_u32).map(|n| (n % 253) as u8).collect();
    let origin = Origin::http().reply("small").at("/large", Origin::http().reply(&large)).start();
    let tier = behind_tls(&ca.issue("inner", &["127.0.0.1"]), &origin);
    let lb = Balancer::web(&[tier.addr("web")], &format!("tls = {{ ca = '{}' }}", ca.file().display()));
    let mut client = lb.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "small");
        assert!(client.get("/large").body == large);
        assert_eq!(client.post("/", &large).text(), "small");
    }
    tier.counts("evenkeel_listener_connections_total{listener=web}", 1.0);
    let bytes = Balancer::tcp(&[tier.addr("web")], &format!("tls = {{ ca = '{}' }}", ca.file().display()));
    assert_eq!(bytes.client().get("/").text(), "small", "bytes go through TLS, too");
}

#[test]
fn a_backend_that_does_not_speak_tls_is_tried_elsewhere() {
    let ca = Authority::new("CA");
    let (origin, plain) = (Origin::http().reply("good").start(), Origin::http().start());
    let tier = behind_tls(&ca.issue("inner", &["127.0.0.1"]), &origin);
    let rest = format!(
        "timeouts.connect = '300ms'
tls = {{ ca = '{}' }}",
        ca.file().display()
    );
    let lb = Balancer::web(&[plain.addr(), tier.addr("web")], &rest);
    for _ in 0..6 {
        assert_eq!(lb.get("/").text(), "good");
    }
}

#[test]
fn a_websocket_goes_through_both_tiers() {
    let ca = Authority::new("CA");
    let origin = Origin::http().upgrade_echo().start();
    let tier = behind_tls(&ca.issue("inner", &["127.0.0.1"]), &origin);
    let pool = format!("[pool.p]\ntls = {{ ca = '{}' }}\n", ca.file().display());
    let outer = listener(&ca.issue("outer", &["outer.example.com"]), "", tier.addr("web")).replace("[pool.p]\n", &pool);
    let lb = Balancer::start(&outer);
    let mut client = Client::connect_tls(lb.addr("web"), "outer.example.com", &ca.client());
    client.send("GET /live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.read_response().status, 101);
    assert!(client.echoes("ping") && client.echoes(vec![1; 200_000]));
}

#[test]
fn an_end_that_tls_did_not_announce_is_not_passed_on_as_an_end() {
    let ca = Authority::new("CA");
    let origin = Origin::http().reply("whole").close_delimited().start();
    let cut = Origin::http().reply(vec![7; 50_000]).resets_mid_body().start();
    for (origin, is_whole) in [(origin, true), (cut, false)] {
        let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), "", origin.addr()));
        let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.try_read_response("GET");
        assert_eq!(answer.is_ok(), is_whole, "{answer:?}");
    }
}

#[test]
fn a_stop_ends_connections_over_tls_in_order() {
    let ca = Authority::new("CA");
    let lb = Balancer::start(&listener(&ca.issue("web", &["web.example.com"]), "", Origin::http().start().addr()));
    let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &ca.client());
    get(&mut client, "web.example.com", "/");
    drop(lb);
    let end = client.ending(Duration::from_secs(5));
    assert!(matches!(end, support::client::Ending::Closed | support::client::Ending::Reset), "{end:?}");
}

// === sessions that several share, staples, and turns ===

/// How a client gets on with each of these, one after the other, with one memory for sessions.
fn kinds(
    ca: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
    lbs: &[&Balancer],
) -> Vec<rustls::HandshakeKind> {
    let config = ca.client_with(&[version]);
    let kinds = lbs.iter().map(|lb| {
        let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &config);
        get(&mut client, "web.example.com", "/");
        client.tls().handshake_kind().unwrap()
    });
    kinds.collect()
}

#[test]
fn sessions_are_taken_up_by_whoever_has_the_same_keys() {
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["web.example.com"]);
    let (file, other) = (ca.folder().join("tickets.key"), ca.folder().join("raw.key"));
    let keys = |bytes: &[u8]| {
        let lines = bytes.iter().map(|byte| base64::prelude::BASE64_STANDARD.encode([*byte; 80]));
        lines.collect::<Vec<_>>().join("\n") + "\n"
    };
    std::fs::write(&file, format!("# first seals\n{}", keys(&[1, 2]))).unwrap();
    std::fs::write(&other, [3; 48]).unwrap();
    let with = |tickets: &str| {
        let config = listener(&certificate, "", Origin::http().start().addr());
        Balancer::start(&config.replace("[listener.web.tls]\n", &format!("[listener.web.tls]\ntickets = {tickets}\n")))
    };
    let shared = format!("{{ keys = '{}' }}", file.display());
    let (one, two) = (with(&shared), with(&shared));
    let three = with(&format!("{{ keys = ['{}'] }}", other.display()));
    let (full, resumed) = (rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed);
    for version in [&TLS12, &TLS13] {
        assert_eq!(kinds(&ca, version, &[&one, &two, &one]), [full, resumed, resumed], "{version:?}");
        assert_eq!(kinds(&ca, version, &[&one, &three, &three]), [full, full, resumed], "{version:?}");
    }
    let off = with("'off'");
    for version in [&TLS12, &TLS13] {
        assert_eq!(kinds(&ca, version, &[&off, &off]), [full, full], "{version:?}");
    }

    // Rotated: what was sealed by the first key is opened as long as that is in the file.
    let config = ca.client();
    let kind = |lb: &Balancer| {
        let mut client = Client::connect_tls(lb.addr("web"), "web.example.com", &config);
        get(&mut client, "web.example.com", "/");
        client.tls().handshake_kind().unwrap()
    };
    kind(&one);
    std::fs::write(&file, keys(&[4, 1])).unwrap();
    let fresh = with(&shared);
    assert_eq!(kind(&fresh), resumed);
    eventually("the others have read it as well", DEADLINE, || {
        kinds(&ca, &TLS13, &[&fresh, &one]) == [full, resumed] && kinds(&ca, &TLS13, &[&fresh, &two]) == [full, resumed]
    });
}

#[test]
fn who_takes_up_a_session_elsewhere_is_judged_there() {
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["web.example.com"]);
    let file = ca.folder().join("tickets.key");
    std::fs::write(&file, [1; 80]).unwrap();
    let origin = Origin::http().start();
    let with = |clients: &str| {
        let config = listener(&certificate, "", origin.addr());
        let tls = format!("[listener.web.tls]\ntickets = {{ keys = '{}' }}\n{clients}\n", file.display());
        Balancer::start(&config.replace("[listener.web.tls]\n", &tls))
    };
    let (open, closed) = (with(""), with(&format!("clients = {{ ca = '{}' }}", ca.file().display())));
    for version in [&TLS12, &TLS13] {
        let config = ca.client_with(&[version]);
        let mut client = Client::connect_tls(open.addr("web"), "web.example.com", &config);
        assert_eq!(get(&mut client, "web.example.com", "/").status, 200);
        let mut client = Client::try_connect_tls(closed.addr("web"), "web.example.com", &config).ok();
        let answer = client.as_mut().map(|client| {
            let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.try_read_response("GET")
        });
        assert!(!matches!(answer, Some(Ok(_))), "{version:?}: a session of an open door opens a closed one");
    }
    closed.counts("evenkeel_listener_tls_handshakes_total{listener=web,result=no_certificate}", 2.0);
}

#[test]
fn openssl_takes_a_session_from_one_process_to_another() {
    let ca = Authority::new("CA");
    let certificate = ca.issue("web", &["web.example.com"]);
    let file = ca.folder().join("tickets.key");
    std::fs::write(&file, [1; 80]).unwrap();
    let origin = Origin::http().start();
    let bind = support::process::free_address();
    let config = listener(&certificate, "", origin.addr()).replace("127.0.0.1:0", &bind.to_string());
    let tls = format!("[listener.web.tls]\ntickets = {{ keys = '{}' }}\n", file.display());
    let config = config.replace("[listener.web.tls]\n", &tls);
    let session = ca.folder().join("session.pem");
    let openssl = |option: &str| {
        let script = format!(
            "printf 'GET / HTTP/1.0\\r\\nHost: a\\r\\n\\r\\n' | openssl s_client -connect {bind} -servername \
             web.example.com -ign_eof {option} '{}' 2>&1",
            session.display()
        );
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let first = support::Process::start(&config);
    let said = openssl("-sess_out");
    assert!(said.contains("New, TLSv1.3"), "{said}");
    drop(first);
    let _second = support::Process::start(&config);
    let said = openssl("-sess_in");
    assert!(said.contains("Reused, TLSv1.3"), "{said}");
}

/// An authority, a certificate and a responder's answer about it, as openssl makes them; the entry of `certificates`.
fn stapled(folder: &std::path::Path, days: u32) -> String {
    let script = format!(
        "set -e; cd '{}'; touch index.txt
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout o.key -out o-ca.pem -days 99 -subj /CN=O
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout s.key -out s.csr -subj /CN=web
         printf 'subjectAltName=DNS:web.example.com' > ext
         openssl x509 -req -in s.csr -CA o-ca.pem -CAkey o.key -set_serial 0x1234 -days 90 -extfile ext -out s.pem
         printf 'V\\t991231235959Z\\t\\t1234\\tunknown\\t/CN=web\\n' > index.txt
         openssl ocsp -issuer o-ca.pem -cert s.pem -reqout q -no_nonce
         openssl ocsp -index index.txt -CA o-ca.pem -rsigner o-ca.pem -rkey o.key -reqin q -respout s.ocsp -ndays {days}
         cat o-ca.pem >> s.pem",
        folder.display()
    );
    let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    format!("{{ cert = '{0}/s.pem', key = '{0}/s.key', ocsp = '{0}/s.ocsp' }}", folder.display())
}

#[test]
fn what_a_responder_says_is_shown_with_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = stapled(folder.path(), 7);
    let lb = Balancer::start(&listener(&certificate, "", Origin::http().start().addr()));
    let script =
        format!("openssl s_client -connect {} -servername web.example.com -status < /dev/null 2>&1", lb.addr("web"));
    let shown = || {
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let said = shown();
    assert!(said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"), "{said}");
    let problem = |file: &str, content: &[u8]| {
        std::fs::write(folder.path().join(file), content).unwrap();
        let text = listener(&certificate.replace("s.ocsp", file), "", "127.0.0.1:1".parse().unwrap());
        let loaded = evenkeel::config::load(&evenkeel::config::Source::text(text));
        loaded.err().map(|problems| problems.render(evenkeel::config::Color::Plain, "")).unwrap_or_default()
    };
    assert!(problem("none.ocsp", b"hello").contains("none.ocsp` holds no answer of an OCSP responder"));
    let answer = std::fs::read(folder.path().join("s.ocsp")).unwrap();
    let at = answer.windows(4).position(|part| part == [2, 2, 0x12, 0x34]).unwrap();
    let mut other = answer.clone();
    other[at + 3] = 0x35;
    assert!(problem("other.ocsp", &other).contains("other.ocsp` is about another certificate"));
    assert_eq!(problem("same.ocsp", &answer), "");
}

#[test]
fn a_check_over_http_goes_over_the_tls_of_its_pool_unless_it_says_otherwise() {
    let ca = Authority::new("CA");
    let origin = Origin::http().start();
    let tier = behind_tls(&ca.issue("inner", &["127.0.0.1"]), &origin);
    let other_port = format!(", port = {}", origin.addr().port());
    for (check, up) in [("", 1), (", tls = false", 0), (", tls = true", 0), (other_port.as_str(), 1)] {
        let keys =
            format!("tls = {{ ca = '{}' }}\ncheck.web = {{ type = 'http', path = '/'{check} }}", ca.file().display());
        Balancer::web(&[tier.addr("web")], &keys).wait_for_up(up);
    }
}
