//! Probes over TLS: what a certificate must prove, what a failure says, and what is told of a handshake.
#![expect(clippy::unwrap_used, reason = "the servers of a test fail by panicking, as tests do")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evenkeel::config::model::{
    CheckKind, CheckTls, Dialect, HttpCheck, HttpQuestion, Identity, TlsCheck, TlsVersion, Verify,
};
use evenkeel::config::{self, Source};
use evenkeel::probe::{Layer, Question, Report, attempt};
use rcgen::{BasicConstraints, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use support::certificates::{DAY, Issuer, Made, authority, params, self_signed, signed, valid};
use support::probing::{answering, bad, good, probe, probe_within, server, tells};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

static ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
static ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];

// === certificates ===

fn roots(certificate: &CertificateDer<'_>) -> Verify {
    Verify::Roots(vec![Arc::from(certificate.as_ref())])
}

impl Made {
    fn identity(&self) -> Identity {
        Identity {
            chain: self.chain.iter().map(|one| Arc::from(one.as_ref())).collect(),
            key: Arc::from(self.key.as_slice()),
        }
    }
}

// === servers ===

struct Serves {
    made: Made,
    versions: &'static [&'static SupportedProtocolVersion],
    protocols: Vec<Vec<u8>>,
    /// Whose clients it lets in; `None`: everybody.
    clients: Option<CertificateDer<'static>>,
}

impl From<Made> for Serves {
    fn from(made: Made) -> Self {
        Self { made, versions: rustls::DEFAULT_VERSIONS, protocols: Vec::new(), clients: None }
    }
}

/// A server that answers HTTP over TLS, and closes without saying so in TLS, as many do.
async fn serving(serves: impl Into<Serves>) -> SocketAddr {
    let serves = serves.into();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(serves.versions).unwrap();
    let builder = match serves.clients {
        None => builder.with_no_client_auth(),
        Some(root) => {
            let mut store = RootCertStore::empty();
            store.add(root).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let key = PrivateKeyDer::try_from(serves.made.key).unwrap();
    let mut config = builder.with_single_cert(serves.made.chain, key).unwrap();
    config.alpn_protocols = serves.protocols;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut head = [0; 1024];
            if stream.read(&mut head).await.is_ok_and(|n| n > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok").await;
            }
        }
    })
    .await
}

// === questions ===

fn tls(name: &str, verify: Verify) -> CheckTls {
    CheckTls { server_name: Some(Arc::from(name)), verify, ..CheckTls::default() }
}

fn handshake(tls: CheckTls) -> CheckKind {
    CheckKind::Tls(TlsCheck { tls, protocols: Vec::new() })
}

fn https(tls: CheckTls) -> CheckKind {
    CheckKind::Http(HttpCheck::new(HttpQuestion { tls: Some(tls), ..HttpQuestion::get("/secret-path") }))
}

fn ends(report: &Report) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let left = report.transcript.certificate_expires.expect("a certificate was shown") - i64::try_from(now).unwrap();
    left / DAY
}

// === what a certificate must prove ===

#[tokio::test]
async fn a_good_certificate_is_good_and_its_end_is_recorded() {
    let ca = authority("Test CA");
    let at = serving(signed(&params("web", &["web.example.com", "127.0.0.1"]), &ca)).await;
    for kind in [handshake, https] {
        let report = probe(kind(tls("web.example.com", roots(ca.der()))), at).await;
        good(&report, "");
        assert_eq!(ends(&report), 90);
        tells(
            &report,
            &[
                "connected to",
                "certificate 1: CN=web, issued by CN=Test CA, valid from",
                "for web.example.com, 127.0.0.1",
                "TLS 1.3, TLS13_AES_",
            ],
        );
        // Without a name, the address is the name.
        good(&probe(kind(CheckTls { server_name: None, ..tls("", roots(ca.der())) }), at).await, "");
    }
    let report = probe(handshake(tls("web.example.com", roots(ca.der()))), at).await;
    good(&report, "TLS 1.3, certificate until 20");
    let report = probe(https(tls("web.example.com", roots(ca.der()))), at).await;
    tells(&report, &["TLS 1.3", "sent", "GET /secret-path HTTP/1.1", "received", "HTTP/1.1 200 OK"]);
}

/// What is wrong with a certificate, and the words that must say so.
fn faults(ca: &Issuer) -> Vec<(Made, Verify, &'static str, Vec<&'static str>)> {
    let names = &["web.example.com"];
    let trusted = || roots(ca.der());
    let mut expired = params("web", names);
    valid(&mut expired, -9 * DAY, -2 * DAY);
    let mut early = params("web", names);
    valid(&mut early, 2 * DAY, 9 * DAY);
    let mut client_only = params("web", names);
    client_only.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let many: Vec<String> = (0..7).map(|n| format!("n{n}.example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let good = params("web", names);
    vec![
        (signed(&expired, ca), trusted(), "web.example.com", vec!["CN=web has ended at 20", "renew it"]),
        (signed(&early, ca), trusted(), "web.example.com", vec!["CN=web is valid only from 20", "clock"]),
        (
            signed(&good, ca),
            trusted(),
            "other.example.com",
            vec!["is for web.example.com, not for other.example.com", "set `server_name`"],
        ),
        (signed(&params("web", &many), ca), trusted(), "other.example.com", vec!["n3.example.com and 3 more"]),
        (
            signed(&params("web.example.com", &[]), ca),
            trusted(),
            "web.example.com",
            vec!["no subject alternative names"],
        ),
        (
            signed(&good, &authority("Other CA")),
            trusted(),
            "web.example.com",
            vec!["its issuer is CN=Other CA", "`ca = \"file\"`", "verify = false"],
        ),
        (self_signed(&good), trusted(), "web.example.com", vec!["CN=web is signed by itself", "`ca = \"file\"`"]),
        (self_signed(&good), Verify::System, "web.example.com", vec![""]),
        (signed(&client_only, ca), trusted(), "web.example.com", vec!["not trusted", "not made for servers"]),
    ]
}

#[tokio::test]
async fn every_fault_of_a_certificate_is_named_with_its_remedy() {
    let ca = authority("Test CA");
    for (made, verify, name, words) in faults(&ca) {
        let at = serving(made).await;
        for kind in [handshake, https] {
            let report = probe(kind(tls(name, verify.clone())), at).await;
            for word in &words {
                bad(&report, Layer::Tls, word);
            }
            if verify != Verify::System {
                tells(&report, &["connected to", "certificate 1: CN=web", "TLS failed: "]);
                assert!(report.transcript.certificate_expires.is_some());
            }
            good(&probe(kind(tls(name, Verify::Nothing)), at).await, "");
        }
    }
}

#[tokio::test]
async fn a_chain_is_followed_and_its_old_link_is_named() {
    let ca = authority("Test CA");
    let chain = |to: i64| {
        let mut middle = params("Middle CA", &[]);
        middle.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        valid(&mut middle, -9 * DAY, to);
        let middle = CertifiedIssuer::signed_by(middle, KeyPair::generate().unwrap(), &ca).unwrap();
        let mut made = signed(&params("web", &["web.example.com"]), &middle);
        let alone = Made { chain: made.chain.clone(), key: made.key.clone() };
        made.chain.push(middle.der().clone());
        (made, alone)
    };
    let ask = || handshake(tls("web.example.com", roots(ca.der())));
    let (whole, alone) = chain(900 * DAY);
    let report = probe(ask(), serving(whole).await).await;
    good(&report, "TLS 1.3");
    tells(
        &report,
        &["certificate 1: CN=web, issued by CN=Middle CA", "certificate 2: CN=Middle CA, issued by CN=Test CA"],
    );
    let report = probe(ask(), serving(alone).await).await;
    bad(&report, Layer::Tls, "its issuer is CN=Middle CA");
    bad(&report, Layer::Tls, "send the whole chain");
    let report = probe(ask(), serving(chain(-DAY).0).await).await;
    bad(&report, Layer::Tls, "CN=Middle CA, which is in its chain, has ended");
}

#[tokio::test]
async fn whoever_names_a_self_signed_certificate_trusts_exactly_that() {
    // As `openssl req -x509` makes it: an authority that serves.
    let mut own = params("web", &["web.example.com"]);
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let made = self_signed(&own);
    let trusted = roots(&made.chain[0]);
    let at = serving(made).await;
    good(&probe(handshake(tls("web.example.com", trusted.clone())), at).await, "TLS 1.3");
    bad(&probe(handshake(tls("b.example.com", trusted.clone())), at).await, Layer::Tls, "not for b.example.com");
    let double = serving(self_signed(&own)).await;
    bad(&probe(handshake(tls("web.example.com", trusted)), double).await, Layer::Tls, "");

    for (from, to, words) in [(-9, -2, "has ended"), (2, 9, "valid only from")] {
        valid(&mut own, from * DAY, to * DAY);
        let made = self_signed(&own);
        let trusted = roots(&made.chain[0]);
        bad(&probe(handshake(tls("web.example.com", trusted)), serving(made).await).await, Layer::Tls, words);
    }
}

#[tokio::test]
async fn a_certificate_that_ends_too_soon_fails_before_it_ends() {
    let ca = authority("Test CA");
    let at = serving(signed(&params("web", &["web.example.com"]), &ca)).await;
    for kind in [handshake, https] {
        let ask = |days: u64| {
            let expires_in = Some(Duration::from_secs(days * DAY.unsigned_abs()));
            kind(CheckTls { expires_in, ..tls("web.example.com", roots(ca.der())) })
        };
        good(&probe(ask(14), at).await, "");
        good(&probe(ask(89), at).await, "");
        let report = probe(ask(91), at).await;
        bad(&report, Layer::Tls, "in 90 days, and `expires_in` wants 91 days; renew it");
        assert_eq!(ends(&report), 90);
    }
    // Trust is one thing, the end another.
    let mut old = params("web", &["web.example.com"]);
    valid(&mut old, -9 * DAY, -2 * DAY);
    let ask = CheckTls { expires_in: Some(Duration::from_secs(60)), ..tls("web.example.com", Verify::Nothing) };
    bad(&probe(handshake(ask), serving(self_signed(&old)).await).await, Layer::Tls, "has ended at");
}

// === what both sides speak ===

#[tokio::test]
async fn versions_and_protocols_must_fit() {
    let ca = authority("Test CA");
    let trusted = || tls("web.example.com", roots(ca.der()));
    let made = || signed(&params("web", &["web.example.com"]), &ca);
    let old = serving(Serves { versions: ONLY_1_2, ..made().into() }).await;
    let new = serving(Serves { versions: ONLY_1_3, ..made().into() }).await;
    good(&probe(handshake(trusted()), old).await, "TLS 1.2");
    good(&probe(handshake(trusted()), new).await, "TLS 1.3");
    let newest =
        || handshake(CheckTls { dialect: Dialect { least: TlsVersion::V1_3, ..Dialect::default() }, ..trusted() });
    good(&probe(newest(), new).await, "TLS 1.3");
    bad(&probe(newest(), old).await, Layer::Tls, "min_version");

    let asks = |names: &[&str]| {
        let protocols = names.iter().map(|name| Arc::from(*name)).collect();
        CheckKind::Tls(TlsCheck { tls: trusted(), protocols })
    };
    let both = serving(Serves { protocols: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..made().into() }).await;
    let report = probe(asks(&["h2"]), both).await;
    good(&report, "TLS 1.3 with h2");
    tells(&report, &["ALPN h2"]);
    good(&probe(asks(&["spdy/3", "http/1.1"]), both).await, "with http/1.1");
    bad(&probe(asks(&["spdy/3", "imap"]), both).await, Layer::Tls, "offered by ALPN: spdy/3, imap");
    bad(&probe(asks(&["h2"]), old).await, Layer::Tls, "offered by ALPN: h2");
}

#[tokio::test]
async fn a_backend_that_wants_our_certificate_gets_it_or_says_no() {
    let ca = authority("Test CA");
    for versions in [ONLY_1_2, ONLY_1_3] {
        let made = signed(&params("web", &["web.example.com"]), &ca);
        let at = serving(Serves { versions, clients: Some(ca.der().clone()), ..made.into() }).await;
        for kind in [handshake, https] {
            let ask =
                |identity: Option<Identity>| kind(CheckTls { identity, ..tls("web.example.com", roots(ca.der())) });
            let known = signed(&params("balancer", &["balancer"]), &ca).identity();
            good(&probe(ask(Some(known.clone())), at).await, "");
            bad(&probe(ask(None), at).await, Layer::Tls, "give `cert` and `key`");
            let stranger = self_signed(&params("stranger", &["stranger"])).identity();
            bad(&probe(ask(Some(stranger.clone())), at).await, Layer::Tls, "the TLS alert");
            let torn = Identity { key: stranger.key, ..known };
            bad(&probe(ask(Some(torn)), at).await, Layer::Tls, "certificate and key cannot be used");
        }
    }
}

// === who does not speak TLS ===

#[tokio::test]
async fn whoever_does_not_speak_tls_fails_there() {
    let ask = || handshake(tls("web.example.com", Verify::Nothing));
    let short = Duration::from_millis(200);
    // It waits for the end of a head that never comes, so it closes only when we do.
    let plain = answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    bad(&probe_within(ask(), plain, short).await, Layer::Timeout, "last: connected");
    let eager = server(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n").await;
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    bad(&probe(ask(), eager).await, Layer::Tls, "no TLS; is this its plain port?");
    let closing = server(|_stream| async {}).await;
    bad(&probe(ask(), closing).await, Layer::Tls, "within the TLS handshake");
    let bad_name = probe(handshake(tls("two words", Verify::Nothing)), eager).await;
    bad(&bad_name, Layer::Tls, "no server name");
}

#[tokio::test]
async fn a_server_that_stays_after_our_goodbye_costs_no_verdict() {
    let made = self_signed(&params("web", &["web.example.com"]));
    let key = PrivateKeyDer::try_from(made.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(made.chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let at = server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let _held = acceptor.accept(stream).await;
            std::future::pending::<()>().await;
        }
    })
    .await;
    good(&probe(handshake(tls("web.example.com", Verify::Nothing)), at).await, "TLS 1.3");
}

// === from a file ===

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("a comment before it\n-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

#[tokio::test]
async fn files_of_the_configuration_are_what_is_trusted_and_shown() {
    let ca = authority("Test CA");
    let made = signed(&params("web", &["web.example.com"]), &ca);
    let at = serving(Serves { clients: Some(ca.der().clone()), ..made.into() }).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let own = signed(&params("balancer", &["balancer"]), &ca);
    write("ca.pem", pem("CERTIFICATE", ca.der()));
    write("me.pem", pem("CERTIFICATE", &own.chain[0]) + &pem("PRIVATE KEY", &own.key));
    write("locked.pem", pem("ENCRYPTED PRIVATE KEY", &own.key));
    write("empty.pem", String::new());
    let ask = |keys: &str| {
        let text = format!(
            "listener.l = {{ bind = '127.0.0.1:0', protocol = 'tcp', pool = 'p' }}\n\
             pool.p.backends = ['{at}']\n[pool.p.check.c]\ntype = 'tls'\nserver_name = 'web.example.com'\n{keys}"
        );
        write("evenkeel.toml", text);
        config::load(&Source::Path(folder.path().join("evenkeel.toml")))
    };
    let loaded = ask("ca = 'ca.pem'\ncert = 'me.pem'\nkey = 'me.pem'\nexpires_in = '14d'").unwrap();
    assert_eq!(loaded.files.len(), 3, "a new certificate is a change: {:?}", loaded.files);
    let pool = &loaded.config.pools[0];
    let question = Arc::new(Question::of(&pool.checks[0], &pool.members[0].address));
    good(&attempt(question, at).await, "TLS 1.3, certificate until");
    assert!(!format!("{:?}", pool.checks).contains(&format!("{:?}", own.key[..8].to_vec())), "the key is not shown");

    for (keys, words) in [
        ("ca = 'empty.pem'", "`empty.pem` holds no certificate"),
        ("cert = 'me.pem'\nkey = 'ca.pem'", "`ca.pem` holds no private key"),
        ("cert = 'me.pem'\nkey = 'locked.pem'", "it is encrypted"),
    ] {
        let problems = ask(keys).unwrap_err().to_string();
        assert!(problems.contains(words), "{problems}");
    }
}
