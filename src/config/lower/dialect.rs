//! `min_version`, `max_version`, `ciphers` and `groups` of every section about TLS.

use crate::config::model::{Cipher, Dialect, KeyGroup, TlsVersion};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::units::Fault;
use crate::config::unknown::nearest;

const VERSION: Choice<TlsVersion> = Choice {
    words: &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)],
    foreign: &[
        ("TLSv1.2", "1.2"),
        ("TLSv1.3", "1.3"),
        ("TLS1.2", "1.2"),
        ("TLS1.3", "1.3"),
        ("1.0", "older versions than 1.2 are broken and not spoken: write \"1.2\""),
        ("1.1", "older versions than 1.2 are broken and not spoken: write \"1.2\""),
    ],
    later: &[],
};

const GROUP: Choice<KeyGroup> = Choice {
    words: &[
        ("X25519MLKEM768", KeyGroup::X25519MlKem768),
        ("x25519", KeyGroup::X25519),
        ("secp256r1", KeyGroup::Secp256r1),
        ("secp384r1", KeyGroup::Secp384r1),
    ],
    foreign: &[
        ("X25519", "x25519"),
        ("curve25519", "x25519"),
        ("prime256v1", "secp256r1"),
        ("P-256", "secp256r1"),
        ("P256", "secp256r1"),
        ("P-384", "secp384r1"),
        ("P384", "secp384r1"),
        ("X25519Kyber768Draft00", "X25519MLKEM768"),
    ],
    later: &["x448", "secp521r1"],
};

/// What a section about TLS says of this; `None` where it could not be read.
pub(super) fn dialect(tls: &Section<'_>) -> Option<Dialect> {
    let version = |key: &str, usual| if tls.has(key) { tls.choice(key, &VERSION) } else { Some(usual) };
    let (least, most) = (version("min_version", TlsVersion::V1_2), version("max_version", TlsVersion::V1_3));
    let ciphers = listed(tls, "ciphers", cipher);
    let groups = listed(tls, "groups", |text| GROUP.find("groups", text));
    let dialect = Dialect { least: least?, most: most?, ciphers: ciphers?, groups: groups? };
    is_speakable(tls, &dialect).then_some(dialect)
}

/// Nothing where the key is not there; `None` where one of the list could not be read.
fn listed<T: PartialEq>(tls: &Section<'_>, key: &str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<Vec<T>> {
    if !tls.has(key) {
        return Some(Vec::new());
    }
    let count = tls.one_or_more(key)?.len();
    let mut values: Vec<T> = Vec::with_capacity(count);
    let read = tls.parsed_list(key, parse)?;
    let all_good = read.len() == count;
    for (value, at) in read {
        if values.contains(&value) {
            let fault = Fault::new("twice", format!("`{key}` has this one twice"), "the same again");
            tls.fault_at(at, fault.help("take it out"));
            return None;
        }
        values.push(value);
    }
    all_good.then_some(values)
}

fn cipher(text: &str) -> Result<Cipher, Fault> {
    let is = |cipher: &Cipher| cipher.iana().eq_ignore_ascii_case(text) || cipher.openssl().eq_ignore_ascii_case(text);
    if let Some(cipher) = Cipher::ALL.into_iter().find(is) {
        return Ok(cipher);
    }
    let fault = Fault::new("unknown-word", format!("`ciphers` knows no `{text}`"), "not one that is spoken here");
    if text.contains(':') {
        return Err(fault.help("write a list: ciphers = [\"TLS_AES_128_GCM_SHA256\", \"ECDHE-RSA-AES128-GCM-SHA256\"]"));
    }
    let names = || Cipher::ALL.into_iter().flat_map(|cipher| [cipher.iana(), cipher.openssl()]);
    let known = Cipher::ALL.map(Cipher::openssl).join(", ");
    Err(match nearest(text, names()) {
        Some(near) => fault.help(format!("did you mean \"{near}\"? it takes {known}")),
        None => fault.help(format!("it takes {known}, by these names or IANA's; others are weak")),
    })
}

/// Whether there is anything left to speak; what is left out by an oversight is said.
fn is_speakable(tls: &Section<'_>, dialect: &Dialect) -> bool {
    let (least, most) = (dialect.least, dialect.most);
    let at = |key: &str| tls.entry(key).map_or(tls.at, |entry| entry.node.at);
    if least > most {
        tls.cx.report(
            Problem::error("conflict", at("max_version"), "`max_version` is older than `min_version`")
                .label(format!("no version is {} or newer and {} or older", least.word(), most.word()))
                .help(format!("write max_version = \"{}\", or take one of them out", least.word())),
        );
        return false;
    }
    let all = [TlsVersion::V1_2, TlsVersion::V1_3].into_iter().filter(|version| (least..=most).contains(version));
    let (spoken, silent): (Vec<_>, Vec<_>) = all.partition(|version| dialect.speaks(*version));
    let example =
        |version| if version == TlsVersion::V1_3 { "TLS_AES_128_GCM_SHA256" } else { "ECDHE-RSA-AES128-GCM-SHA256" };
    let Some(version) = silent.first().copied() else { return true };
    let help = format!("add one of its own, such as \"{}\"", example(version));
    if spoken.is_empty() {
        tls.cx.report(
            Problem::error("conflict", at("ciphers"), format!("none of `ciphers` is one of TLS {}", version.word()))
                .label("nothing is left to be spoken")
                .help(format!("{help}, or allow the other version")),
        );
        return false;
    }
    let bound = if version == TlsVersion::V1_3 { "max_version = \"1.2\"" } else { "min_version = \"1.3\"" };
    tls.cx.report(
        Problem::warning("no-effect", at("ciphers"), format!("TLS {} is not spoken", version.word()))
            .label("none of these is one of its own")
            .help(format!("{help}, or say so: {bound}")),
    );
    true
}
