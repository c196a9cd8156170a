//! `tickets` of `[listener.NAME.tls]`: whether clients may take up sessions again, and by whose keys.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::config::model::{TicketKey, Tickets};
use crate::config::section::{Choice, Section};
use crate::config::substitute;
use crate::config::tree::{Node, Value};
use crate::config::units::Fault;
use crate::config::vocabulary::TICKETS;

/// Most keys: a ticket's is found by its name, one after the other.
const MAX_KEYS: usize = 16;

const OFF: Choice<()> = Choice {
    words: &[("off", ())],
    foreign: &[
        ("none", "off"),
        ("no", "off"),
        ("false", "off"),
        ("on", "leave `tickets` out: then the balancer has keys of its own, which change by themselves"),
        ("true", "leave `tickets` out: then the balancer has keys of its own, which change by themselves"),
        ("auto", "leave `tickets` out: then the balancer has keys of its own, which change by themselves"),
    ],
    later: &[],
};

/// How a file of keys is made.
const HELP: &str = "`openssl rand -base64 -A 80` makes a line of such a file; the first key seals, all of them open";

/// `tickets`; `None` where it could not be read.
pub(super) fn tickets(tls: &Section<'_>, files: &mut Vec<PathBuf>) -> Option<Tickets> {
    let Some(entry) = tls.table.get("tickets") else { return Some(Tickets::Own) };
    match &entry.node.value {
        Value::Table(_) => {
            let section = tls.section("tickets", &TICKETS)?;
            if !section.has("keys") {
                section.missing("keys", "write keys = \"tickets.key\"");
                return None;
            }
            let nodes = section.one_or_more("keys")?;
            let read: Vec<_> = nodes.iter().map(|node| keys(&section, node, files)).collect();
            let all = read.into_iter().collect::<Option<Vec<_>>>()?.concat();
            if all.len() > MAX_KEYS {
                let fault = Fault::new("range", format!("{} keys for tickets are too many", all.len()), "too many");
                section.fault(&section.entry("keys")?.node, fault.help(format!("at most {MAX_KEYS}")));
                return None;
            }
            Some(Tickets::Keys(all))
        }
        Value::String(_) => tls.choice("tickets", &OFF).map(|()| Tickets::Off),
        _ => {
            let help = "write tickets = \"off\", or tickets = { keys = \"tickets.key\" }";
            tls.wrong_type(&entry.node, "tickets", "\"off\" or a table", help);
            None
        }
    }
}

/// The keys of a file: one as it is, or lines of Base64.
fn keys(section: &Section<'_>, node: &Node, files: &mut Vec<PathBuf>) -> Option<Vec<TicketKey>> {
    let path = section.text_of(node, "keys")?;
    files.push(substitute::resolve(section.cx, node.at, path));
    let content = substitute::read_bytes(section.cx, node.at, path)?;
    if TicketKey::LENGTHS.contains(&content.len()) {
        return Some(vec![TicketKey::new(&content)]);
    }
    let lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    let mut keys = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#")) {
        let Some(key) = BASE64_STANDARD.decode(line).ok().filter(|key| TicketKey::LENGTHS.contains(&key.len())) else {
            let message = format!("line {} of `{path}` is no key for tickets", number + 1);
            section.fault(node, Fault::new("key", message, "expected Base64 of 48 or 80 bytes").help(HELP));
            return None;
        };
        keys.push(TicketKey::new(&key));
    }
    if keys.is_empty() {
        section.fault(node, Fault::new("key", format!("`{path}` holds no key for tickets"), "empty").help(HELP));
        return None;
    }
    Some(keys)
}
