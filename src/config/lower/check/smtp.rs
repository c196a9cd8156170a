//! What a check of type `smtp` says.

use std::sync::Arc;

use super::tls;
use crate::config::model::{Hello, SmtpCheck};
use crate::config::problem::Problem;
use crate::config::section::Section;
use crate::config::units::Fault;

pub(super) fn smtp(section: &Section<'_>) -> Option<SmtpCheck> {
    let tls = tls::tls(section);
    if let (Some(helo), Some(ehlo)) = (section.entry("helo"), section.entry("ehlo")) {
        section.cx.report(
            Problem::error("conflict", ehlo.key_at, "`helo` and `ehlo` at once")
                .label("one greeting too many")
                .second(helo.key_at, "the first one")
                .help("keep one of them: `ehlo` for ESMTP, `helo` for any server"),
        );
        return None;
    }
    let hello = if section.has("ehlo") {
        section.parsed("ehlo", name).map(Hello::Ehlo)
    } else if section.has("helo") {
        section.parsed("helo", name).map(Hello::Helo)
    } else {
        Some(Hello::Helo("localhost".into()))
    };
    Some(SmtpCheck { hello: hello?, tls: tls? })
}

fn name(text: &str) -> Result<Arc<str>, Fault> {
    if (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.into());
    }
    let fault = Fault::new("host", format!("`{text}` is not a name to greet with"), "one word of printable ASCII");
    Err(fault.help("write the balancer's own name, such as \"lb.example.com\", or its address in brackets"))
}
