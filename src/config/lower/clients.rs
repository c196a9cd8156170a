//! `[listener.NAME.tls.clients]`: which certificates clients must or may show, and who is told of them.
//!
//! Lists of revoked certificates are looked at when the configuration is loaded: one that is missing for somebody in `ca`
//! turns everybody away whom that one has signed, and one that is overdue misses whatever was revoked since.

use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;

use super::identity;
use super::listener::no_effect;
use super::tls::certificates_of;
use crate::config::certificate::{Certificate, Revocations, moment};
use crate::config::model::{ClientTrust, Demand, Protocol, Told};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::substitute;
use crate::config::tree::Node;
use crate::config::units::Fault;
use crate::config::vocabulary::CLIENTS;

/// Most lists of revoked certificates: each is looked through at every handshake.
const MAX_LISTS: usize = 256;

const DEMAND: Choice<Demand> = Choice {
    words: &[("required", Demand::Required), ("optional", Demand::Optional)],
    foreign: &[
        ("true", "required"),
        ("on", "required"),
        ("require", "required"),
        ("mandatory", "required"),
        ("RequireAndVerifyClientCert", "required"),
        ("VerifyClientCertIfGiven", "optional"),
        ("request", "optional"),
        ("false", "leave the section out: then no client is asked for a certificate"),
        ("off", "leave the section out: then no client is asked for a certificate"),
        ("none", "leave the section out: then no client is asked for a certificate"),
        ("optional_no_ca", "a certificate that nobody has verified proves nothing: write \"optional\" and a `ca`"),
        (
            "RequireAnyClientCert",
            "a certificate that nobody has verified proves nothing: write \"required\" and a `ca`",
        ),
    ],
    later: &[],
};

/// `clients` of a listener's TLS. `Some(None)`: they are not asked.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn clients(tls: &Section<'_>, protocol: Protocol, files: &mut Vec<PathBuf>) -> Option<Option<ClientTrust>> {
    if !tls.has("clients") {
        return Some(None);
    }
    let section = tls.section("clients", &CLIENTS)?;
    no_effect(&section, protocol, &["headers"]);
    let demand = section.choice("verify", &DEMAND);
    let told = section.boolean("headers");
    let is_good = (demand.is_some() || !section.has("verify")) && (told.is_some() || !section.has("headers"));
    if !section.has("ca") {
        section.missing("ca", "write ca = \"clients-ca.pem\": the certificates of those who sign the clients'");
        return None;
    }
    let told = if told == Some(true) { Told::Headers } else { Told::Nothing };
    let keys = Keys { roots: "ca", revoked: "crl" };
    let trust = trust(&section, keys, files)?;
    let trust = ClientTrust { demand: demand.unwrap_or(Demand::Required), told, ..trust };
    is_good.then_some(Some(trust))
}

/// The keys of a section by which clients are judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    /// Who has signed their certificates.
    pub(super) roots: &'static str,
    /// Which of them count no more.
    pub(super) revoked: &'static str,
}

/// By whom clients are judged, of whom none must come with a certificate, and of whom nobody is told.
pub(super) fn trust(section: &Section<'_>, keys: Keys, files: &mut Vec<PathBuf>) -> Option<ClientTrust> {
    let (roots, revoked) = (roots(section, keys.roots, files), revoked(section, keys.revoked, files));
    let trust = ClientTrust { roots: roots?, revoked: revoked?, demand: Demand::Optional, told: Told::Nothing };
    let entry = section.entry(keys.roots)?;
    if let Err(why) = identity::can_judge(&trust) {
        let message = format!("clients cannot be judged by these files: {why}");
        let problem = Problem::error("certificate", entry.node.at, message).label("cannot be used");
        let problem = match section.entry(keys.revoked) {
            Some(crl) => problem.second(crl.node.at, "with these lists"),
            None => problem,
        };
        section.cx.report(problem.help("look at them with `openssl x509 -text -in` and `openssl crl -text -in`"));
        return None;
    }
    look_at_lists(section, keys.revoked, &trust);
    Some(trust)
}

fn roots(section: &Section<'_>, key: &str, files: &mut Vec<PathBuf>) -> Option<Vec<Arc<[u8]>>> {
    let nodes = section.one_or_more(key)?;
    let read: Vec<_> = nodes.iter().map(|node| root(section, node, key, files)).collect();
    let all: Option<Vec<_>> = read.into_iter().collect();
    Some(all?.concat())
}

fn root(section: &Section<'_>, node: &Node, key: &str, files: &mut Vec<PathBuf>) -> Option<Vec<Arc<[u8]>>> {
    let path = section.text_of(node, key)?;
    files.push(substitute::resolve(section.cx, node.at, path));
    let roots = certificates_of(section, node, path)?;
    let now = jiff::Timestamp::now().as_second();
    for root in roots.iter().filter_map(|der| Certificate::parse(der)).filter(|root| root.not_after < now) {
        let message = format!("the certificate of {} in `{path}` has ended", root.subject);
        let problem = Problem::warning("certificate", node.at, message);
        let label = format!("valid until {}", moment(root.not_after));
        section.cx.report(problem.label(label).help("name the one that follows it as well"));
    }
    Some(roots)
}

fn revoked(section: &Section<'_>, key: &str, files: &mut Vec<PathBuf>) -> Option<Vec<Arc<[u8]>>> {
    if !section.has(key) {
        return Some(Vec::new());
    }
    let nodes = section.one_or_more(key)?;
    let read: Vec<_> = nodes.iter().map(|node| lists(section, node, key, files)).collect();
    let all: Option<Vec<_>> = read.into_iter().collect();
    let all = all?.concat();
    if all.len() > MAX_LISTS {
        let fault = Fault::new("range", format!("{} lists are too many", all.len()), "too many");
        section.fault(&section.entry(key)?.node, fault.help(format!("at most {MAX_LISTS}")));
        return None;
    }
    Some(all)
}

/// The lists of a file: PEM, or one as DER, as authorities publish it.
fn lists(section: &Section<'_>, node: &Node, key: &str, files: &mut Vec<PathBuf>) -> Option<Vec<Arc<[u8]>>> {
    let path = section.text_of(node, key)?;
    files.push(substitute::resolve(section.cx, node.at, path));
    let content = substitute::read_bytes(section.cx, node.at, path)?;
    let pem: Result<Vec<CertificateRevocationListDer<'_>>, _> =
        CertificateRevocationListDer::pem_slice_iter(&content).collect();
    let lists: Vec<Arc<[u8]>> = match pem {
        Ok(lists) if !lists.is_empty() => lists.iter().map(|list| Arc::from(list.as_ref())).collect(),
        _ => vec![content.into()],
    };
    if lists.iter().all(|list| Revocations::parse(list).is_some()) {
        return Some(lists);
    }
    let fault = Fault::new("crl", format!("`{path}` holds no list of revoked certificates"), "expected PEM or DER");
    section.fault(node, fault.help("a PEM file has lines like -----BEGIN X509 CRL-----"));
    None
}

/// Warnings, not errors: whoever has such a certificate is turned away, the others are served.
fn look_at_lists(section: &Section<'_>, key: &str, trust: &ClientTrust) {
    let Some(crl) = section.entry(key) else { return };
    let lists: Vec<Revocations> = trust.revoked.iter().filter_map(|der| Revocations::parse(der)).collect();
    let now = jiff::Timestamp::now().as_second();
    for list in &lists {
        if let Some(due) = list.next_update.filter(|due| *due < now) {
            let message = format!("the list of {} is out of date", list.issuer);
            section.cx.report(
                Problem::warning("crl", crl.node.at, message)
                    .label(format!("the next one was due on {}", moment(due)))
                    .help(
                        "fetch it: whatever was revoked since is still let in; the file is read anew when it changes",
                    ),
            );
        }
    }
    for root in trust.roots.iter().filter_map(|der| Certificate::parse(der)) {
        if !lists.iter().any(|list| list.issuer == root.subject) {
            let message = format!("no list says which certificates of {} are revoked", root.subject);
            section.cx.report(
                Problem::warning("crl", crl.node.at, message)
                    .label("none of these is from that authority")
                    .help("add its list: without it nobody is let in whom it has signed"),
            );
        }
    }
}
