//! What a check of type `mysql` asks: the login, the facts about a server, and a query of the operator's own.

use std::sync::Arc;

use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;

use super::{compare, tls};
use crate::config::model::{Galera, Group, Keep, MostConnections, MysqlCheck, MysqlFacts, ReadOnly, Replica};
use crate::config::problem::Problem;
use crate::config::section::{Choice, Section};
use crate::config::substitute;
use crate::config::tree::Value;
use crate::config::units::{self, Fault};
use crate::config::vocabulary::REPLICA;

const READ_ONLY: Choice<ReadOnly> = Choice {
    words: &[("standby", ReadOnly::Standby), ("read", ReadOnly::Read), ("down", ReadOnly::Down)],
    foreign: &[
        ("replica", "standby"),
        ("slave", "standby"),
        ("secondary", "standby"),
        ("reader", "read"),
        ("fail", "down"),
        ("off", "it says what a read-only backend is: \"standby\", \"read\" or \"down\""),
        ("active", "it says what a read-only backend is: \"standby\", \"read\" or \"down\"; any other one is active"),
    ],
    later: &[],
};

const GALERA: Choice<Galera> = Choice {
    words: &[("synced", Galera::Synced), ("synced-or-donor", Galera::SyncedOrDonor)],
    foreign: &[("donor", "synced-or-donor"), ("4", "synced"), ("ready", "synced"), ("primary", "synced")],
    later: &[],
};

const GROUP: Choice<Group> = Choice {
    words: &[("primary", Group::Primary), ("online", Group::Online)],
    foreign: &[
        ("secondary", "write \"online\": a secondary then has the role `standby`"),
        ("member", "online"),
        ("active", "primary"),
    ],
    later: &[],
};

pub(super) fn mysql(section: &Section<'_>) -> Option<MysqlCheck> {
    if !section.has("user") {
        let help = "write user = \"evenkeel\"; an account that the server does not know is fine: its refusal proves that it is alive";
        section.missing("user", help);
    }
    let password = section.parsed("password", |text| sendable("password", text));
    let tls = tls::tls(section);
    let public_key = if section.has("public_key") { Some(public_key(section)) } else { None };
    let database = section.parsed("database", |text| name("database", text));
    let facts = facts(section);
    let keep = match section.boolean("keep") {
        Some(true) => Keep::Connection,
        _ => Keep::Nothing,
    };
    let user = section.parsed("user", |text| name("user", text))?;
    Some(MysqlCheck {
        user,
        password: password.unwrap_or_else(|| "".into()),
        database,
        tls: tls?,
        public_key: match public_key {
            Some(key) => Some(key?),
            None => None,
        },
        facts: facts?,
        keep,
    })
}

fn facts(section: &Section<'_>) -> Option<MysqlFacts> {
    let read_only = section.choice("read_only", &READ_ONLY);
    let group = section.choice("group_replication", &GROUP);
    if let (Some(first), Some(second)) = (section.entry("read_only"), section.entry("group_replication")) {
        section.cx.report(
            Problem::error("conflict", first.key_at, "`read_only` and `group_replication` both tell the role")
                .label("one of the two")
                .second(second.key_at, "the other one")
                .help("take `read_only` out: the secondaries of a group are read-only anyway"),
        );
    }
    let replica = if section.has("replica") { replica(section) } else { Some(None) };
    let connections = if section.has("connections") { Some(connections(section)) } else { None };
    let query = compare::query(section);
    Some(MysqlFacts {
        read_only,
        replica: replica?,
        galera: section.choice("galera", &GALERA),
        group,
        connections: match connections {
            Some(most) => Some(most?),
            None => None,
        },
        query: query?,
    })
}

fn sendable(what: &'static str, text: &str) -> Result<Arc<str>, Fault> {
    if text.contains('\0') {
        return Err(Fault::new("text", format!("`{what}` cannot be sent"), "holds a NUL byte"));
    }
    Ok(text.into())
}

fn name(what: &'static str, text: &str) -> Result<Arc<str>, Fault> {
    if text.is_empty() || text.len() > 80 {
        let noun = if what == "user" { "a user name" } else { "the name of a database" };
        let fault = Fault::new("text", format!("`{what}` is not {noun}"), "1 to 80 bytes");
        return Err(fault.help(format!("write {what} = \"evenkeel\"")));
    }
    sendable(what, text)
}

/// `Some(None)` is `replica = false`.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read, as everywhere here")]
fn replica(section: &Section<'_>) -> Option<Option<Replica>> {
    let entry = section.entry("replica")?;
    match entry.node.value {
        Value::Boolean(false) => return Some(None),
        Value::Boolean(true) => return Some(Some(Replica { lag_max: None })),
        Value::Table(_) => {}
        _ => {
            let help = "write replica = { lag_max = \"5s\" }, or true for any lag";
            section.wrong_type(&entry.node, "replica", "a table or true", help);
            return None;
        }
    }
    let replica = section.section("replica", &REPLICA)?;
    let lag_max = if replica.has("lag_max") { Some(replica.duration("lag_max")?) } else { None };
    Some(Some(Replica { lag_max }))
}

fn connections(section: &Section<'_>) -> Option<MostConnections> {
    let entry = section.entry("connections")?;
    if let Value::Integer(_) = entry.node.value {
        let count = section.integer("connections", 1..=1_000_000)?;
        return Some(MostConnections::Count(u32::try_from(count).ok()?));
    }
    section.parsed("connections", |text| {
        let share = units::share(text)
            .map_err(|fault| fault.help("write \"90%\" of the server's max_connections, or a number without quotes"))?;
        #[expect(clippy::cast_sign_loss, reason = "a share goes from 0 to 1")]
        let percent = (share * 100.0).round() as u8;
        if percent == 0 {
            let fault = Fault::new("range", format!("`{text}` of the connections is none"), "the probe itself is one");
            return Err(fault.help("write \"90%\""));
        }
        Ok(MostConnections::Percent(percent))
    })
}

/// The first public key of a PEM file, DER.
fn public_key(section: &Section<'_>) -> Option<Arc<[u8]>> {
    let path = section.text("public_key")?;
    let node = &section.entry("public_key")?.node;
    let content = substitute::read_bytes(section.cx, node.at, path)?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(&content).ok();
    if der.is_none() {
        let fault = Fault::new("public-key", format!("`{path}` holds no public key"), "expected a PEM file");
        let help = "a PEM file has lines like -----BEGIN PUBLIC KEY-----; MySQL keeps its own in public_key.pem";
        section.fault(node, fault.help(help));
    }
    Some(der?.as_ref().into())
}
