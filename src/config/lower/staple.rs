//! `ocsp` of a certificate: what a responder says of it, shown to clients with it.
//!
//! One that is out of date is not shown: some clients refuse a certificate because of it that they would take without.

use crate::config::certificate::{Certificate, moment};
use crate::config::model;
use crate::config::ocsp::{Says, Staple};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::substitute;
use crate::config::tree::Node;
use crate::config::units::Fault;

/// The answer that a file holds, for the certificate `of` (DER). `Some(None)`: there is none that can be shown.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
pub(super) fn staple(
    tls: &Section<'_>,
    (node, path): (&Node, &str),
    of: Option<&[u8]>,
) -> Option<Option<model::Staple>> {
    let content = substitute::read_bytes(tls.cx, node.at, path)?;
    let Some(read) = Staple::parse(&content) else {
        let fault = Fault::new("ocsp", format!("`{path}` holds no answer of an OCSP responder"), "expected DER");
        tls.fault(
            node,
            fault.help("`openssl ocsp -respout` writes one; look at it with `openssl ocsp -resp_text -respin`"),
        );
        return None;
    };
    if of.and_then(Certificate::serial).is_some_and(|serial| serial != read.serial) {
        let fault = Fault::new("ocsp", format!("`{path}` is about another certificate"), "another serial number");
        tls.fault(node, fault.help("ask the responder about the certificate that stands beside it"));
        return None;
    }
    let warn = |message: String, label: String, help: &str| {
        tls.cx.report(Problem::warning("ocsp", node.at, message).label(label).help(help));
    };
    if read.says != Says::Good {
        let says = if read.says == Says::Revoked { "revoked" } else { "unknown to the responder" };
        warn(
            format!("the certificate is {says}, says `{path}`"),
            "clients refuse it".to_owned(),
            "renew the certificate",
        );
    }
    let now = jiff::Timestamp::now().as_second();
    if let Some(due) = read.next_update.filter(|due| *due < now) {
        let label = format!("good until {}", moment(due));
        warn(
            format!("`{path}` is out of date, and not shown"),
            label,
            "fetch a new one; it is taken up when the file changes",
        );
        return Some(None);
    }
    Some(Some(model::Staple { answer: content.into(), next_update: read.next_update }))
}
