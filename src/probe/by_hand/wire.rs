//! The same for the checks that speak a protocol of their own, by the programs that every distribution has for it:
//! `psql`, `redis-cli`, `curl`, `ldapwhoami`, `nc`; and for commands.

use std::sync::Arc;

use super::{Place, limited, seconds, whole_seconds};
use crate::config::model::{
    AgentCheck, Check, CheckTls, ExecCheck, Hello, LdapCheck, PostgresCheck, RedisCheck, ScriptCheck, SmtpCheck, Step,
    Telling, Transport, Verify,
};
use crate::config::model::{MasterLink, PostgresAccount};
use crate::probe::shell::Line;

pub(super) fn postgres(check: &Check, postgres: &PostgresCheck, at: &Place) -> String {
    let Some(account) = &postgres.account else {
        let mut line = Line::new("pg_isready", &[], "");
        line.plain("-h").word(&at.host()).plain("-p").word(&at.port.to_string());
        line.plain("-t").word(&whole_seconds(check.timing.timeout)).plain("-U evenkeel");
        return line.finish();
    };
    let mut secrets: Vec<Arc<str>> = account.password.iter().cloned().collect();
    secrets.extend(check.secrets.iter().cloned());
    let mut line = Line::new(&limited(check), &secrets, "PASSWORD");
    line.plain("env");
    if let Some(password) = &account.password {
        line.glued("PGPASSWORD=", password);
    }
    line.glued("PGCONNECT_TIMEOUT=", &whole_seconds(check.timing.timeout));
    line.plain(match tls_of(postgres.tls.as_ref()) {
        None => "PGSSLMODE=disable",
        Some(Verify::Nothing) => "PGSSLMODE=require",
        Some(Verify::System) => "PGSSLMODE=verify-full PGSSLROOTCERT=system",
        Some(Verify::Roots(_)) => "PGSSLMODE=verify-full PGSSLROOTCERT=\"$CA_FILE\"",
    });
    line.plain("psql -XAtw -h").word(&at.host()).plain("-p").word(&at.port.to_string());
    line.plain("-U").word(&account.user).plain("-d").word(&account.database);
    line.plain("-c").word(question(account));
    line.finish()
}

fn question(account: &PostgresAccount) -> &str {
    match (&account.query, account.recovery) {
        (Some(query), _) => &query.sql,
        (None, Some(_)) => "SELECT pg_is_in_recovery()",
        (None, None) => "SELECT 1",
    }
}

pub(super) fn redis(check: &Check, redis: &RedisCheck, at: &Place) -> String {
    let mut secrets: Vec<Arc<str>> = redis.password.iter().cloned().collect();
    secrets.extend(check.secrets.iter().cloned());
    let mut line = Line::new(&limited(check), &secrets, "PASSWORD");
    match at.socket() {
        Some(socket) => _ = line.plain("redis-cli -s").word(&socket),
        None => _ = line.plain("redis-cli -h").word(&at.host()).plain("-p").word(&at.port.to_string()),
    }
    if let Some(user) = &redis.user {
        line.plain("--user").word(user);
    }
    if let Some(password) = &redis.password {
        line.plain("--no-auth-warning -a").word(password);
    }
    if let Some(verify) = tls_of(redis.tls.as_ref()) {
        line.plain("--tls").plain(match verify {
            Verify::Nothing => "--insecure",
            Verify::System => "--cacertdir /etc/ssl/certs",
            Verify::Roots(_) => "--cacert \"$CA_FILE\"",
        });
    }
    let wants_role = redis.role == Telling::Told || redis.master_link == MasterLink::Up;
    line.plain(if wants_role { "ROLE" } else { "PING" });
    line.finish()
}

pub(super) fn smtp(check: &Check, smtp: &SmtpCheck, at: &Place) -> String {
    let (Hello::Helo(name) | Hello::Ehlo(name)) = &smtp.hello;
    let mut line = Line::new("curl", &check.secrets, "SECRET");
    line.plain("-sv --noproxy '*' -m").word(&seconds(check.timing.timeout));
    let scheme = match tls_of(smtp.tls.as_ref()) {
        None => "smtp",
        Some(verify) => {
            match verify {
                Verify::Nothing => _ = line.plain("-k"),
                Verify::Roots(_) => _ = line.plain("--cacert \"$CA_FILE\""),
                Verify::System => {}
            }
            "smtps"
        }
    };
    line.word(&format!("{scheme}://{}:{}/{name}", bracketed(&at.host()), at.port));
    line.finish()
}

pub(super) fn ldap(check: &Check, ldap: &LdapCheck, at: &Place) -> String {
    let mut secrets: Vec<Arc<str>> = ldap.account.iter().map(|account| Arc::clone(&account.password)).collect();
    secrets.extend(check.secrets.iter().cloned());
    let program = match tls_of(ldap.tls.as_ref()) {
        Some(Verify::Nothing) => "env LDAPTLS_REQCERT=never ldapwhoami",
        Some(Verify::Roots(_)) => "env LDAPTLS_CACERT=\"$CA_FILE\" ldapwhoami",
        Some(Verify::System) | None => "ldapwhoami",
    };
    let scheme = if ldap.tls.is_some() { "ldaps" } else { "ldap" };
    let mut line = Line::new(&limited(check), &secrets, "PASSWORD");
    line.plain(program).plain("-x").glued("-o nettimeout=", &whole_seconds(check.timing.timeout));
    line.plain("-H").word(&format!("{scheme}://{}:{}", bracketed(&at.host()), at.port));
    if let Some(account) = &ldap.account {
        line.plain("-D").word(&account.user).plain("-w").word(&account.password);
    }
    line.finish()
}

/// What a script sends over its first connection, all at once: whoever looks at the answer is the one who expects.
pub(super) fn script(check: &Check, script: &ScriptCheck, at: &Place) -> String {
    let mut port = at.port;
    let mut said = Vec::new();
    let mut has_more = false;
    for (position, step) in script.steps.iter().enumerate() {
        match step {
            Step::Connect(first) if position == 0 => port = *first,
            Step::Connect(_) | Step::Tls(_) => {
                has_more = true;
                break;
            }
            Step::Send(bytes) => said.extend_from_slice(bytes),
            Step::Expect(_) | Step::Matches(_) => {}
        }
    }
    let mut secrets = check.secrets.clone();
    secrets.extend(check.secrets.iter().map(|secret| Arc::from(escaped(secret.as_bytes()))));
    let mut line = Line::new("printf %b", &secrets, "SECRET");
    line.word(&escaped(&said)).plain("|");
    let time = whole_seconds(check.timing.timeout);
    match &script.tls {
        None if script.transport == Transport::Udp => {
            line.plain("nc -u -w").word(&time).word(&at.host()).word(&port.to_string());
        }
        None => _ = line.plain("nc -w").word(&time).word(&at.host()).word(&port.to_string()),
        Some(tls) => {
            let name = tls.server_name.as_deref().unwrap_or(&at.name);
            line.plain("timeout").word(&time).plain("openssl s_client -quiet -connect");
            line.word(&format!("{}:{port}", bracketed(&at.host()))).plain("-servername").word(name);
        }
    }
    if has_more {
        line.plain(" # without the steps from the next connection or TLS on");
    }
    line.finish()
}

pub(super) fn agent(check: &Check, agent: &AgentCheck, at: &Place) -> String {
    let time = whole_seconds(check.timing.timeout);
    let mut line = match &agent.send {
        None => Line::new("nc", &check.secrets, "SECRET"),
        Some(text) => {
            let mut line = Line::new("printf %b", &check.secrets, "SECRET");
            line.word(&escaped(text.as_bytes())).plain("| nc");
            line
        }
    };
    line.plain("-w").word(&time).word(&at.host()).word(&at.port.to_string());
    if agent.send.is_none() {
        line.plain("</dev/null");
    }
    line.finish()
}

pub(super) fn exec(check: &Check, exec: &ExecCheck, at: &Place) -> String {
    let mut line = Line::new("env -i PATH=\"$PATH\"", &check.secrets, "SECRET");
    line.glued("EVENKEEL_ADDRESS=", &format!("{}:{}", bracketed(&at.host()), at.port));
    line.glued("EVENKEEL_HOST=", &at.name).glued("EVENKEEL_PORT=", &at.port.to_string());
    line.plain("timeout -s KILL").word(&seconds(check.timing.timeout));
    for word in &exec.command {
        line.word(word);
    }
    line.finish()
}

fn tls_of(tls: Option<&CheckTls>) -> Option<&Verify> {
    tls.map(|tls| &tls.verify)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// As `printf %b` reads it back.
pub(super) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                text.push_str("\\0");
                text.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|digit| char::from(b'0' + digit)));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::command_of;
    use super::*;

    #[test]
    fn each_protocol_is_asked_by_its_own_client() {
        let rows = [
            ("type = 'postgres'", "pg_isready -h 10.0.0.1 -p 4711 -t 1 -U evenkeel"),
            (
                "type = 'postgres', user = 'app', password = 'pa$$', recovery = 'standby'",
                "timeout 2 env PGPASSWORD=\"$PASSWORD\" PGCONNECT_TIMEOUT=1 PGSSLMODE=disable psql -XAtw -h 10.0.0.1 -p 4711 \
                 -U app -d app -c 'SELECT pg_is_in_recovery()'",
            ),
            (
                "type = 'postgres', user = 'app', database = 'd', query = 'SELECT a', tls = { verify = false }",
                "timeout 2 env PGCONNECT_TIMEOUT=1 PGSSLMODE=require psql -XAtw -h 10.0.0.1 -p 4711 -U app -d d -c 'SELECT a'",
            ),
            ("type = 'redis'", "timeout 2 redis-cli -h 10.0.0.1 -p 4711 PING"),
            (
                "type = 'redis', user = 'u', password = 'hunter2', role = true, tls = { verify = false }",
                "timeout 2 redis-cli -h 10.0.0.1 -p 4711 --user u --no-auth-warning -a \"$PASSWORD\" --tls --insecure ROLE",
            ),
            ("type = 'smtp'", "curl -sv --noproxy '*' -m 1 smtp://10.0.0.1:4711/localhost"),
            (
                "type = 'smtp', ehlo = 'lb', tls = { verify = false }",
                "curl -sv --noproxy '*' -m 1 -k smtps://10.0.0.1:4711/lb",
            ),
            ("type = 'ldap'", "timeout 2 ldapwhoami -x -o nettimeout=1 -H ldap://10.0.0.1:4711"),
            (
                "type = 'ldap', user = 'cn=a', password = 'hunter2', tls = { verify = false }",
                "timeout 2 env LDAPTLS_REQCERT=never ldapwhoami -x -o nettimeout=1 -H ldaps://10.0.0.1:4711 -D cn=a -w \"$PASSWORD\"",
            ),
            (
                "type = 'script', steps = [{ send = \"AUTH hunter2\\r\\n\" }, { expect = 'a' }, { send_hex = '00ff5c' }]",
                "printf %b 'AUTH hunter2\\r\\n\\0000\\0377\\\\' | nc -w 1 10.0.0.1 4711",
            ),
            (
                "type = 'script', steps = [{ connect = 5 }, { send = 'a' }, { tls = true }, { expect = 'b' }]",
                "printf %b a | nc -w 1 10.0.0.1 5  # without the steps from the next connection or TLS on",
            ),
            ("type = 'agent', port = 5", "nc -w 1 10.0.0.1 5 </dev/null"),
            ("type = 'agent', port = 5, send = \"web\\n\"", "printf %b 'web\\n' | nc -w 1 10.0.0.1 5"),
        ];
        for (check, expected) in rows {
            assert_eq!(command_of("10.0.0.1:4711", Some("10.0.0.1:4711"), check), expected, "{check}");
        }
    }

    #[test]
    fn a_shell_gives_back_the_bytes_of_a_script() {
        let bytes: Vec<u8> = (1..=255).collect();
        let mut line = Line::new("printf %b", &[], "");
        line.word(&escaped(&bytes));
        let output = std::process::Command::new("sh").arg("-c").arg(line.finish()).output().unwrap();
        assert_eq!(output.stdout, bytes);
    }
}
