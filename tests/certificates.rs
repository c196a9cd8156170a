//! What is said of certificates when a configuration is loaded: with the file, the fault and the remedy.

mod support;

use evenkeel::config::{self, Color, Source};
use rcgen::{ExtendedKeyUsagePurpose, date_time_ymd};
use support::tls::Authority;

/// Everything that is said of a listener with these certificates.
fn said(certificates: &str) -> Result<String, String> {
    let text = format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\ntls.certificates = [{certificates}]\n\
         [pool.p]\nbackends = ['127.0.0.1:1']\n"
    );
    match config::load(&Source::text(text)) {
        Ok(loaded) => Ok(loaded.warnings.render(Color::Plain, "")),
        Err(problems) => Err(problems.render(Color::Plain, "")),
    }
}

fn path(ca: &Authority, file: &str) -> String {
    ca.folder().join(file).display().to_string()
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[test]
fn a_good_certificate_is_taken_without_a_word() {
    let ca = Authority::new("CA");
    assert_eq!(said(&ca.issue("web", &["web.example.com"])), Ok("no problems\n".to_owned()));
    let both = ["web.pem", "web.key"].map(|file| std::fs::read_to_string(path(&ca, file)).unwrap()).concat();
    std::fs::write(path(&ca, "both.pem"), both).unwrap();
    assert_eq!(said(&format!("'{}'", path(&ca, "both.pem"))), Ok("no problems\n".to_owned()), "one file with both");
}

#[test]
fn every_form_of_key_that_openssl_writes_is_read() {
    let ca = Authority::new("CA");
    for (algorithm, form) in [
        ("rsa:2048", "-traditional"),
        ("rsa:2048", ""),
        ("ec:P-256", "-traditional"),
        ("ec:P-384", ""),
        ("ed25519", ""),
    ] {
        let (key, cert) = (path(&ca, "made.key"), path(&ca, "made.pem"));
        let generate = match algorithm.split_once(':') {
            Some(("rsa", bits)) => format!("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}"),
            Some((_, curve)) => format!("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve}"),
            None => "openssl genpkey -algorithm ed25519".to_owned(),
        };
        let script = format!(
            "set -e; {generate} -out '{key}.raw' 2>/dev/null; openssl pkey {form} -in '{key}.raw' -out '{key}'; \
             openssl req -x509 -key '{key}' -subj /CN=web -addext subjectAltName=DNS:web.example.com -days 90 -out '{cert}'"
        );
        let ran = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(ran.status.success(), "{algorithm} {form}: {}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(
            said(&format!("{{ cert = '{cert}', key = '{key}' }}")),
            Ok("no problems\n".to_owned()),
            "{algorithm} {form}"
        );
    }
}

#[test]
fn a_key_of_another_certificate_is_named_with_both_files() {
    let ca = Authority::new("CA");
    ca.issue("web", &["web.example.com"]);
    ca.issue("other", &["other.example.com"]);
    let problem =
        said(&format!("{{ cert = '{}', key = '{}' }}", path(&ca, "web.pem"), path(&ca, "other.key"))).unwrap_err();
    assert_says(&problem, &["other.key` is not the key of the certificate in", "web.pem"]);
}

#[test]
fn the_same_is_said_of_what_pools_and_checks_show_to_backends() {
    let ca = Authority::new("CA");
    ca.issue("our", &["us"]);
    ca.issue("other", &["them"]);
    for (key, fits) in [("our.key", true), ("other.key", false)] {
        let tls = format!("{{ cert = '{}', key = '{}' }}", path(&ca, "our.pem"), path(&ca, key));
        for keys in [format!("tls = {tls}"), format!("check.it = {{ type = 'http', path = '/', tls = {tls} }}")] {
            let text = format!(
                "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['127.0.0.1:1']\n{keys}\n"
            );
            let loaded = config::load(&Source::text(text));
            let problem = loaded.err().map(|problems| problems.render(Color::Plain, ""));
            assert_eq!(problem.is_none(), fits, "{keys}");
            if let Some(text) = problem {
                assert_says(&text, &["other.key` is not the key of", "our.pem"]);
            }
        }
    }
}

#[test]
fn certificates_that_have_ended_have_not_begun_or_are_about_to_end_are_warned_of() {
    let ca = Authority::new("CA");
    let ended = ca.issue_with("ended", &["a.example.com"], |params| params.not_after = date_time_ymd(2024, 1, 1));
    assert_says(&said(&ended).unwrap(), &["warning", "CN=ended", "ended.pem` has ended", "2024-01-01", "renew it"]);
    let early = ca.issue_with("early", &["a.example.com"], |params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    });
    assert_says(&said(&early).unwrap(), &["warning", "CN=early", "early.pem` is not valid yet", "3000-01-01", "clock"]);
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let soon = &now + jiff::Span::new().days(10);
    let soon = ca.issue_with("soon", &["a.example.com"], |params| {
        let month = u8::try_from(soon.month()).unwrap();
        params.not_after = date_time_ymd(i32::from(soon.year()), month, u8::try_from(soon.day()).unwrap());
    });
    assert_says(&said(&soon).unwrap(), &["warning", "CN=soon", "soon.pem` ends in", "renew it"]);
}

#[test]
fn a_chain_that_stops_early_or_is_out_of_order_is_warned_of() {
    let ca = Authority::new("Private CA");
    ca.issue_with("web", &["web.example.com"], |params| {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    });
    let whole = std::fs::read_to_string(path(&ca, "web.pem")).unwrap();
    let second = whole.rfind("-----BEGIN").unwrap();
    let entry = |chain: &str| {
        std::fs::write(path(&ca, "cut.pem"), chain).unwrap();
        format!("{{ cert = '{}', key = '{}' }}", path(&ca, "cut.pem"), path(&ca, "web.key"))
    };
    let warning = said(&entry(&whole[..second])).unwrap();
    assert_says(&warning, &["warning", "cut.pem` ends before a root", "CN=Private CA is not in the file", "append"]);
    let other = Authority::new("Other CA");
    let stray = std::fs::read_to_string(other.file()).unwrap();
    let warning = said(&entry(&format!("{}{stray}", &whole[..second]))).unwrap();
    assert_says(&warning, &["warning", "out of order", "followed by CN=Other CA"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ca = Authority::new("CA");
    ca.issue("web", &["web.example.com"]);
    let empty = ca.folder().join("empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(path(&ca, "none.pem"), "hello").unwrap();
    std::fs::write(
        path(&ca, "locked.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    let pair = |cert: &str, key: &str| format!("{{ cert = '{}', key = '{}' }}", path(&ca, cert), path(&ca, key));
    for (certificates, words) in [
        (pair("web.pem", "gone.key"), vec!["gone.key", "no such file"]),
        (pair("gone.pem", "web.key"), vec!["gone.pem", "no such file"]),
        (pair("none.pem", "web.key"), vec!["none.pem` holds no certificate", "BEGIN CERTIFICATE"]),
        (pair("web.pem", "none.pem"), vec!["none.pem` holds no private key"]),
        (pair("web.pem", "locked.key"), vec!["locked.key", "it is encrypted", "openssl pkey"]),
        (pair("web.key", "web.pem"), vec!["web.key` holds no certificate", "web.pem` holds no private key"]),
        (format!("'{}'", empty.display()), vec!["empty", "no certificate in this folder"]),
        (format!("{{ cert = '{}' }}", path(&ca, "web.pem")), vec!["has no `key`"]),
        ("1".to_owned(), vec!["`certificates` takes certificates"]),
    ] {
        assert_says(&said(&certificates).unwrap_err(), &words);
    }
}
