//! How a server behaves: who may log in, what it says of itself, and what goes wrong at which stage.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::login::Method;

/// Everything that a server does; [`Script::new`] is one that is well and lets everybody in without a password.
#[derive(Clone)]
pub struct Script {
    pub(super) version: String,
    pub(super) accounts: Vec<Account>,
    pub(super) greets_with: Option<u16>,
    pub(super) refuses_login: Option<u16>,
    pub(super) tls: Option<Arc<ServerConfig>>,
    faults: Vec<(Stage, Fault)>,
    read_only: bool,
    connections: (u32, u32),
    galera: Option<[String; 3]>,
    sources: Vec<[Option<String>; 4]>,
    members: Vec<[&'static str; 3]>,
    answers: Vec<(String, Answer)>,
}

/// Who may log in, and how.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) method: Method,
}

/// Where something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The first packet.
    Greeting,
    /// The handshake of TLS.
    Tls,
    /// Within a method of login: a switch, a key, a wish for more.
    Method,
    /// The verdict on the login.
    Verdict,
    /// The answer to a ping.
    Ping,
    /// The first packet of the answer to a statement.
    Statement,
    /// Its rows.
    Rows,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing comes until the server goes on.
    Stall,
    /// Half a packet comes, and the rest when the server goes on.
    StallHalfway,
    /// Half a packet comes, and the end.
    Cut,
    /// Something else comes.
    Garbage,
    /// The end comes.
    Close,
}

#[derive(Clone)]
pub(super) enum Answer {
    Done,
    Error(u16),
    Rows(Vec<String>, Vec<Vec<Option<String>>>),
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    /// Version 8.0.36, well, and open to everybody.
    pub fn new() -> Self {
        Self {
            version: "8.0.36".to_owned(),
            accounts: Vec::new(),
            greets_with: None,
            refuses_login: None,
            tls: None,
            faults: Vec::new(),
            read_only: false,
            connections: (3, 151),
            galera: None,
            sources: Vec::new(),
            members: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Another version.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// Only accounts may log in: this one, by this method.
    pub fn account(mut self, user: &str, password: &str, method: Method) -> Self {
        self.accounts.push(Account { user: user.to_owned(), password: password.to_owned(), method });
        self
    }

    /// Greets with this error.
    pub fn refuses(mut self, code: u16) -> Self {
        self.greets_with = Some(code);
        self
    }

    /// Answers every login with this error.
    pub fn refuses_login(mut self, code: u16) -> Self {
        self.refuses_login = Some(code);
        self
    }

    /// Offers TLS with this certificate and key, both DER.
    pub fn tls(mut self, certificate: &[u8], key: &[u8]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.to_vec())],
                PrivateKeyDer::try_from(key.to_vec()).unwrap(),
            );
        self.tls = Some(Arc::new(config.unwrap()));
        self
    }

    /// Goes wrong there.
    pub fn fault(mut self, stage: Stage, fault: Fault) -> Self {
        self.faults.push((stage, fault));
        self
    }

    /// Takes no writes.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Has so many connections of so many.
    pub fn connections(mut self, used: u32, most: u32) -> Self {
        self.connections = (used, most);
        self
    }

    /// Is a Galera node: `wsrep_ready`, `wsrep_cluster_status` and `wsrep_local_state`.
    pub fn galera(mut self, ready: &str, part: &str, state: &str) -> Self {
        self.galera = Some([ready, part, state].map(str::to_owned));
        self
    }

    /// Replicates from one more source: its channel, both threads (`Yes`, `No`, `Connecting`) and seconds behind.
    pub fn replica(mut self, channel: &str, threads: [&str; 2], behind: Option<u32>) -> Self {
        let some = |text: &str| Some(text.to_owned());
        let behind = behind.map(|seconds| seconds.to_string());
        self.sources.push([some(channel), some(threads[0]), some(threads[1]), behind]);
        self
    }

    /// Has one more member in its replication group: whether it is itself (`1`), its state and its role.
    pub fn member(mut self, own: &'static str, state: &'static str, role: &'static str) -> Self {
        self.members.push([own, state, role]);
        self
    }

    /// Answers statements that begin so with one row; `None` is NULL.
    pub fn answers(mut self, sql: &str, row: &[Option<&str>]) -> Self {
        let columns = (0..row.len()).map(|column| format!("c{column}")).collect();
        let row = row.iter().map(|value| value.map(str::to_owned)).collect();
        self.answers.push((sql.to_owned(), Answer::Rows(columns, vec![row])));
        self
    }

    /// Answers statements that begin so with so many rows of this text.
    pub fn answers_many(mut self, sql: &str, text: &str, rows: usize) -> Self {
        let rows = vec![vec![Some(text.to_owned())]; rows];
        self.answers.push((sql.to_owned(), Answer::Rows(vec!["c".to_owned()], rows)));
        self
    }

    /// Answers statements that begin so with OK and no rows.
    pub fn does(mut self, sql: &str) -> Self {
        self.answers.push((sql.to_owned(), Answer::Done));
        self
    }

    /// Refuses statements that begin so.
    pub fn refuses_statement(mut self, sql: &str, code: u16) -> Self {
        self.answers.push((sql.to_owned(), Answer::Error(code)));
        self
    }

    pub(super) fn fault_at(&self, stage: Stage) -> Option<Fault> {
        self.faults.iter().find(|(at, _)| *at == stage).map(|(_, fault)| *fault)
    }
}

pub(super) fn answer(script: &Script, sql: &str) -> Answer {
    if let Some((_, answer)) = script.answers.iter().find(|(begin, _)| sql.starts_with(begin.as_str())) {
        return answer.clone();
    }
    let some = |text: String| Some(text);
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let renamed = script.version.starts_with('8') || script.version.starts_with('9');
    let words = if renamed { ("Replica", "Source") } else { ("Slave", "Master") };
    match sql {
        _ if sql.starts_with("SELECT @@global.read_only") => {
            let values = [u32::from(script.read_only), 0, script.connections.1];
            Answer::Rows(columns(&["a", "b", "c"]), vec![values.iter().map(|value| some(value.to_string())).collect()])
        }
        _ if sql.starts_with("SHOW GLOBAL STATUS") => {
            let mut rows = vec![vec![some("Threads_connected".to_owned()), some(script.connections.0.to_string())]];
            let names = ["wsrep_ready", "wsrep_cluster_status", "wsrep_local_state"];
            for (name, value) in names.iter().zip(script.galera.iter().flatten()) {
                rows.push(vec![some((*name).to_owned()), some(value.clone())]);
            }
            Answer::Rows(columns(&["Variable_name", "Value"]), rows)
        }
        "SHOW REPLICA STATUS" if !renamed => Answer::Error(1064),
        "SHOW SLAVE STATUS" if renamed => Answer::Error(1064),
        "SHOW ALL SLAVES STATUS" if !script.version.contains("MariaDB") => Answer::Error(1064),
        "SHOW REPLICA STATUS" | "SHOW SLAVE STATUS" | "SHOW ALL SLAVES STATUS" => {
            let names = [
                "Channel_Name".to_owned(),
                format!("{}_IO_Running", words.0),
                format!("{}_SQL_Running", words.0),
                format!("Seconds_Behind_{}", words.1),
            ];
            Answer::Rows(names.to_vec(), script.sources.iter().map(|source| source.to_vec()).collect())
        }
        _ if sql.contains("replication_group_members") => {
            let rows = script.members.iter().map(|member| member.map(|text| some(text.to_owned())).to_vec());
            Answer::Rows(columns(&["own", "MEMBER_STATE", "MEMBER_ROLE"]), rows.collect())
        }
        _ => Answer::Error(1064),
    }
}
