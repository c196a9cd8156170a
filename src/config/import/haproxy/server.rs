//! `server` and `default-server` lines: the backends of a pool, and what they say of TLS, limits and checks.

use super::super::draft::{Backend, Draft, Keys, Pool};
use super::super::quote::quoted;
use super::words::{Line, time};
use super::{Section, bind};

/// What servers say of their checks.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Somebody is checked.
    pub(super) checked: bool,
    /// Keys of every check.
    pub(super) check: Keys,
    /// `check-ssl` where the traffic is plain.
    pub(super) tls: bool,
    /// Keys of an agent.
    pub(super) agent: Keys,
}

pub(super) fn read(draft: &mut Draft, section: &Section, pool: &mut Pool, port: Option<&str>) -> Told {
    let mut told = Told::default();
    let defaults: Vec<&Line> = section.lines().filter(|line| line.word(0) == "default-server").collect();
    for line in section.own.iter().filter(|line| matches!(line.word(0), "server" | "server-template")) {
        let (name, mut address, from) = match line.word(0) {
            "server" => (Some(line.word(1)), line.word(2), 3),
            _ => (None, line.word(3), 4),
        };
        if name.is_none() {
            draft.lose(
                line.at,
                &line.shown(),
                "one backend by its name: it is asked for anew, and all of its addresses are tried",
            );
        }
        if let Some((first, _)) = address.split_once(',') {
            address = first;
        }
        let mut address = bind::address(address);
        let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if let (false, false, Some(port)) = (has_port, address.starts_with("unix:"), port) {
            address = format!("{}:{port}", address.trim_end_matches(':'));
        }
        let mut backend = Backend { address, at: line.at, ..Backend::default() };
        if let Some(name) = name {
            backend.keys.text("name", name, line.at);
        }
        let mut reading = Reading { draft, pool, told: &mut told, backend, serves: true };
        for defaults in &defaults {
            reading.words(defaults, 1);
        }
        reading.words(line, from);
        let (backend, serves) = (reading.backend, reading.serves);
        if serves {
            pool.backends.push(backend);
        } else {
            draft.lose(
                line.at,
                &line.shown(),
                "out of service, left out: add it to `backends`, then `evenkeel drain` and `ready`",
            );
        }
    }
    finish(pool);
    told
}

/// `tls = true`, or a table of what is said of it.
fn finish(pool: &mut Pool) {
    if !pool.keys.has("tls") {
        *pool.tables.of("tls") = Keys::default();
    } else if !pool.tables.of("tls").is_empty() {
        pool.keys.remove("tls");
    }
}

struct Reading<'a> {
    draft: &'a mut Draft,
    pool: &'a mut Pool,
    told: &'a mut Told,
    backend: Backend,
    serves: bool,
}

impl Reading<'_> {
    fn words(&mut self, line: &Line, from: usize) {
        let mut words = line.from(from).iter().peekable();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().unwrap_or_default();
            match word.as_str() {
                "weight" => {
                    let weight = value();
                    self.serves &= weight != "0";
                    self.backend.keys.written("weight", weight, line.at);
                }
                "backup" => self.backend.keys.written("backup", "true", line.at),
                "maxconn" => match value().as_str() {
                    "0" => self.backend.keys.remove("connections_max"),
                    most => self.backend.keys.written("connections_max", most, line.at),
                },
                "disabled" => self.serves = false,
                "enabled" => self.serves = true,
                "check" => self.told.checked = true,
                "no-check" | "cookie" | "id" | "maxqueue" | "minconn" | "init-addr" | "resolvers"
                | "resolve-prefer" | "resolve-opts" | "on-error" | "observe" | "error-limit" | "pool-max-conn"
                | "pool-purge-delay" | "proto" | "redir" | "track" | "usesrc" | "source" | "max-reuse"
                | "namespace" => {
                    let what = if word == "no-check" { String::new() } else { value() };
                    self.lesser(line, word, &what);
                }
                "inter" | "fastinter" | "downinter" | "rise" | "fall" | "port" | "addr" => {
                    let value = value();
                    self.check(line, word, &value);
                }
                "agent-check" => self.told.agent.written("type", "\"agent\"", line.at),
                "agent-port" => self.told.agent.written("port", value(), line.at),
                "agent-send" => self.told.agent.text("send", &value(), line.at),
                "agent-inter" => {
                    if let Some(time) = time(&value()) {
                        self.told.agent.text("interval", &time, line.at);
                    }
                }
                "slowstart" => self.duration(line, "slow_start", &value()),
                "on-marked-down" => {
                    if value() == "shutdown-sessions" {
                        self.pool.keys.text("on_down", "close", line.at);
                    }
                }
                "send-proxy" => self.pool.keys.text("send_proxy", "v1", line.at),
                "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => {
                    self.pool.keys.text("send_proxy", "v2", line.at);
                }
                "check-send-proxy" | "check-via-socks4" | "non-stick" | "no-verifyhost" | "no-ssl" | "no-backup" => {}
                "check-ssl" => self.told.tls = true,
                other => {
                    let other = other.to_owned();
                    let value = if takes_value(&other) { value() } else { String::new() };
                    self.tls(line, &other, &value);
                }
            }
        }
    }

    fn tls(&mut self, line: &Line, word: &str, value: &str) {
        let tls = self.pool.tables.of("tls");
        match (word, value) {
            ("ssl", _) => self.pool.keys.written("tls", "true", line.at),
            ("verify", "none") => tls.written("verify", "false", line.at),
            ("verify", _) => tls.remove("verify"),
            ("ca-file", "@system-ca") => {}
            ("ca-file", file) => tls.text("ca", file, line.at),
            ("crt", file) => {
                tls.text("cert", file, line.at);
                tls.text("key", file, line.at);
            }
            ("sni", sni) if sni.starts_with("str(") => {
                tls.text("server_name", sni.trim_start_matches("str(").trim_end_matches(')'), line.at);
            }
            ("verifyhost" | "check-sni", name) => {
                if !tls.has("server_name") {
                    tls.text("server_name", name, line.at);
                }
            }
            ("alpn", protocols) => {
                if protocols.starts_with("h2") {
                    self.pool.keys.text("http", "2", line.at);
                }
            }
            _ => {
                let what = format!("{word} {value}");
                self.draft.lose(line.at, what.trim(), "ours do not say that of a backend");
            }
        }
    }

    fn lesser(&mut self, line: &Line, word: &str, value: &str) {
        let why = match word {
            "track" => "checks of another pool: see `follows`",
            "redir" | "usesrc" | "source" | "namespace" | "proto" => "ours do not say that of a backend",
            "on-error" | "observe" | "error-limit" => "traffic is always watched: see `outliers`",
            "no-check" => "checks are those of the pool, and ask all of its backends",
            "minconn" | "maxqueue" => "one limit for each backend, and one queue for the pool",
            _ => return,
        };
        self.draft.lose(line.at, format!("{word} {value}").trim(), why);
    }

    fn duration(&mut self, line: &Line, key: &str, value: &str) {
        if let Some(time) = time(value) {
            self.pool.keys.text(key, &time, line.at);
        }
    }

    fn check(&mut self, line: &Line, word: &str, value: &str) {
        let (key, written) = match word {
            "inter" => ("interval", time(value).map(|time| quoted(&time))),
            "fastinter" => ("fast_interval", time(value).map(|time| quoted(&time))),
            "downinter" => ("down_interval", time(value).map(|time| quoted(&time))),
            "addr" => ("host", Some(quoted(value))),
            _ => (word, Some(value.to_owned())),
        };
        let Some(written) = written else { return };
        let known = self.told.check.get(key).is_some_and(|known| known != written);
        if known && line.word(0) == "server" && !self.pool.backends.is_empty() {
            self.draft.lose(
                line.at,
                &format!("{word} {value}"),
                "checks are those of the pool: what its first server says counts",
            );
        } else {
            self.told.check.written(key, written, line.at);
        }
    }
}

fn takes_value(word: &str) -> bool {
    !matches!(
        word,
        "ssl"
            | "tfo"
            | "allow-0rtt"
            | "no-tls-tickets"
            | "no-tlsv10"
            | "no-tlsv11"
            | "no-sslv3"
            | "force-tlsv12"
            | "no-ssl-reuse"
            | "stick"
    )
}
