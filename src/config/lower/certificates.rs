//! `[listener.NAME.tls]`: the certificates that clients are shown. All that can be known of them is said when the
//! configuration is loaded, with the file: what cannot be read, a key of another certificate, what has ended or has not
//! begun, a chain that stops early.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::clients::clients;
use super::dialect::dialect;
use super::identity::belong_together;
use super::staple::staple;
use super::tickets::tickets;
use super::tls::{certificates_of, key_of};
use crate::config::certificate::{Certificate, SOON, moment};
use crate::config::model::{HostPattern, Identity, ListenerTls, Protocol, ServerCertificate};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::substitute;
use crate::config::tree::{Node, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::{CERTIFICATE, LISTENER_TLS};
use crate::confinement::{Use, why_refused};

/// Most certificates of a listener: each is kept in memory with its key.
const MAX_CERTIFICATES: usize = 10_000;

/// `tls` of a listener. `Some(None)`: plain.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn listener_tls(listener: &Section<'_>, protocol: Protocol) -> Option<Option<Arc<ListenerTls>>> {
    if !listener.has("tls") {
        return Some(None);
    }
    let section = listener.section("tls", &LISTENER_TLS)?;
    let dialect = dialect(&section);
    if !section.has("certificates") {
        section.missing("certificates", "write certificates = [{ cert = \"web.pem\", key = \"web.key\" }]");
        return None;
    }
    let mut files = Vec::new();
    let clients = clients(&section, protocol, &mut files);
    let tickets = tickets(&section, &mut files);
    let nodes = section.one_or_more("certificates")?;
    let read: Vec<Option<Vec<ServerCertificate>>> =
        nodes.iter().map(|node| entry(&section, node, &mut files)).collect();
    let all: Option<Vec<_>> = read.into_iter().collect();
    let certificates: Vec<_> = all?.into_iter().flatten().map(Arc::new).collect();
    if certificates.len() > MAX_CERTIFICATES {
        let fault = Fault::new("range", format!("{} certificates are too many", certificates.len()), "too many");
        section.fault(&section.entry("certificates")?.node, fault.help(format!("at most {MAX_CERTIFICATES}")));
        return None;
    }
    let tls = ListenerTls { certificates, files, dialect: dialect?, clients: clients?, tickets: tickets? };
    Some(Some(Arc::new(tls)))
}

/// One entry: a pair of files, one file with both, or a folder of such files.
fn entry(tls: &Section<'_>, node: &Node, files: &mut Vec<PathBuf>) -> Option<Vec<ServerCertificate>> {
    match &node.value {
        Value::Table(table) => {
            let path = tls.path_of("certificates");
            let section = Section::new(tls.cx, table, node.at, path, &CERTIFICATE);
            for key in ["cert", "key"].into_iter().filter(|key| !section.has(key)) {
                section.missing(key, "a certificate and its key belong together; both may stand in one file");
            }
            let (cert, key) = (section.text("cert")?, section.text("key")?);
            files.extend([cert, key].map(|path| substitute::resolve(tls.cx, node.at, path)));
            let (cert_node, key_node) = (&section.entry("cert")?.node, &section.entry("key")?.node);
            let mut made = pair(&section, (cert_node, cert), (key_node, key));
            if section.has("ocsp") {
                let (node, path) = (&section.entry("ocsp")?.node, section.text("ocsp")?);
                files.push(substitute::resolve(tls.cx, node.at, path));
                let staple = staple(&section, (node, path), made.as_ref().map(|made| &*made.identity.chain[0]));
                if let Some(made) = &mut made {
                    made.staple = staple?;
                }
            }
            Some(vec![made?])
        }
        Value::String(text) => {
            let path = substitute::resolve(tls.cx, node.at, &text.value);
            files.push(path.clone());
            if path.is_dir() {
                folder(tls, node, &path)
            } else {
                Some(vec![pair(tls, (node, &text.value), (node, &text.value))?])
            }
        }
        _ => {
            let help =
                "write { cert = \"web.pem\", key = \"web.key\" }, a file that holds both, or a folder of such files";
            tls.wrong_type(node, "certificates", "certificates", help);
            None
        }
    }
}

/// Every `*.pem` and `*.crt` of a folder, with its key in the same file or in the `.key` beside it.
fn folder(tls: &Section<'_>, node: &Node, folder: &Path) -> Option<Vec<ServerCertificate>> {
    tls.cx.note_file(folder);
    let fault = |why: String| {
        tls.fault(node, Fault::new("unreadable-file", format!("`{}`: {why}", folder.display()), "named here"));
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
            let confined = denied.then(|| why_refused(folder, Use::Read)).flatten();
            fault(confined.unwrap_or_else(|| substitute::reason(&error)));
            return None;
        }
    };
    let is_wanted = |path: &Path| path.extension().is_some_and(|extension| extension == "pem" || extension == "crt");
    let mut files: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_wanted(path)).collect();
    files.sort();
    if files.is_empty() {
        fault("no certificate in this folder: it looks for *.pem and *.crt".to_owned());
        return None;
    }
    let read = files.iter().map(|file| {
        let beside = file.with_extension("key");
        let key = if beside.is_file() { beside.as_path() } else { file };
        let mut made = pair(tls, (node, file.to_str()?), (node, key.to_str()?))?;
        let answer = file.with_extension("ocsp");
        if answer.is_file() {
            made.staple = staple(tls, (node, answer.to_str()?), Some(&made.identity.chain[0]))?;
        }
        Some(made)
    });
    // Every file is read, so that all problems are told at once.
    read.collect::<Vec<_>>().into_iter().collect()
}

/// A certificate and its key.
pub(super) fn pair(
    tls: &Section<'_>,
    (cert_node, cert): (&Node, &str),
    (key_node, key): (&Node, &str),
) -> Option<ServerCertificate> {
    let chain = certificates_of(tls, cert_node, cert);
    // One file for both is missed once.
    let is_missed = chain.is_none() && cert == key && !substitute::resolve(tls.cx, cert_node.at, cert).is_file();
    let key_der = if is_missed { None } else { key_of(tls, key_node, key) };
    let (chain, key_der) = (chain?, key_der?);
    let identity = Identity { chain, key: key_der };
    let certificates: Option<Vec<_>> = identity.chain.iter().map(|der| Certificate::parse(der)).collect();
    let Some(certificates) = certificates else {
        let fault = Fault::new("certificate", format!("`{cert}` holds what is no certificate"), "cannot be read");
        tls.fault(cert_node, fault.help("look at it with `openssl x509 -text -in` and the file"));
        return None;
    };
    belong_together(tls, (cert_node, cert), (key_node, key), &identity)?;
    let first = &certificates[0];
    look_at_dates(tls, cert_node, cert, first);
    look_at_chain(tls, cert_node, cert, &certificates);
    Some(ServerCertificate {
        file: substitute::resolve(tls.cx, cert_node.at, cert).into(),
        names: first.names.iter().filter_map(|name| pattern(name)).collect(),
        not_after: first.not_after,
        staple: None,
        identity,
    })
}

/// Warnings, not errors: a program that is started anew must serve its other hosts, and the clock may be what is wrong.
fn look_at_dates(tls: &Section<'_>, node: &Node, file: &str, certificate: &Certificate) {
    let now = jiff::Timestamp::now().as_second();
    let whose = format!("the certificate of {} in `{file}`", certificate.subject);
    let until = format!("valid until {}", moment(certificate.not_after));
    let (message, label, help) = if certificate.not_after < now {
        (format!("{whose} has ended"), until, "renew it: clients refuse it")
    } else if certificate.not_before > now {
        let from = format!("valid from {}", moment(certificate.not_before));
        (format!("{whose} is not valid yet"), from, "look at this machine's clock: clients refuse it until then")
    } else if certificate.not_after - now < SOON {
        let days = (certificate.not_after - now) / (24 * 60 * 60);
        (format!("{whose} ends in {days} days"), until, "renew it")
    } else {
        return;
    };
    tls.cx.report(Problem::warning("certificate", node.at, message).label(label).help(help));
}

/// Clients know roots, and learn of what is between from the server only.
fn look_at_chain(tls: &Section<'_>, node: &Node, file: &str, certificates: &[Certificate]) {
    for (position, certificate) in certificates.iter().enumerate() {
        let next = certificates.get(position + 1);
        if certificate.is_self_signed() || next.is_some_and(|next| next.subject == certificate.issuer) {
            continue;
        }
        let issuer = &certificate.issuer;
        if let Some(next) = next {
            let message =
                format!("the chain in `{file}` is out of order: {} was signed by {issuer}", certificate.subject);
            let problem = Problem::warning("chain", node.at, message).label(format!("followed by {}", next.subject));
            tls.cx.report(problem.help("write each certificate before the one that signed it"));
        } else if !is_root(issuer) {
            let message = format!("the chain in `{file}` ends before a root that this system knows");
            let problem = Problem::warning("chain", node.at, message).label(format!("{issuer} is not in the file"));
            tls.cx.report(problem.help(format!(
                "append the certificate of {issuer}; needless only if it is a root that your clients trust"
            )));
        }
        return;
    }
}

/// Whether the system trusts a root of this name.
fn is_root(subject: &str) -> bool {
    static ROOTS: OnceLock<Vec<String>> = OnceLock::new();
    let names = ROOTS.get_or_init(|| {
        let roots = rustls_native_certs::load_native_certs().certs;
        roots.iter().filter_map(|der| Some(Certificate::parse(der)?.subject)).collect()
    });
    names.iter().any(|name| name == subject)
}

fn pattern(name: &str) -> Option<HostPattern> {
    let name = name.to_ascii_lowercase();
    match name.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => Some(HostPattern::Suffix(suffix.into())),
        Some(_) => None,
        None => Some(HostPattern::Exact(name.into())),
    }
}
