//! The command that repeats a probe by hand: `curl`, `mysql`, `nc`, with everything that the check asks for.
//!
//! PURE. It is shown by `why` and pasted into a terminal, so it is quoted for a shell, and holds no secret: these stand
//! as variables (`"$PASSWORD"`), which whoever pastes it sets before.

mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use self::wire::escaped;
use super::grpc;
use super::mysql::statements;
use super::shell::Line;
use crate::config::model::{
    Address, ApacheCheck, Check, CheckKind, CheckTls, Dialect, GrpcCheck, HttpQuestion, HttpVersion, MysqlCheck,
    SendProxy, Site, TlsCheck, TlsVersion, UnixName, Verify,
};

/// The command that asks what `check` asks of a backend at `backend`; at `asked_at`, where the name points now.
pub fn command(check: &Check, backend: &Address, asked_at: Option<&Site>) -> String {
    let at = Place::of(check, backend, asked_at);
    let mut command = match &check.kind {
        CheckKind::Tcp => tcp(check, &at),
        CheckKind::Http(http) => curl(check, &http.request, &at),
        CheckKind::Apache(ApacheCheck { request, .. }) => curl(check, request, &at),
        CheckKind::Mysql(login) => mysql(check, login, &at),
        CheckKind::Tls(handshake) => s_client(check, handshake, &at),
        CheckKind::Grpc(grpc) => health_call(check, grpc, &at),
        CheckKind::Postgres(postgres) => wire::postgres(check, postgres, &at),
        CheckKind::Redis(redis) => wire::redis(check, redis, &at),
        CheckKind::Smtp(smtp) => wire::smtp(check, smtp, &at),
        CheckKind::Ldap(ldap) => wire::ldap(check, ldap, &at),
        CheckKind::Script(script) => wire::script(check, script, &at),
        CheckKind::Agent(agent) => wire::agent(check, agent, &at),
        CheckKind::Exec(exec) => wire::exec(check, exec, &at),
    };
    let knows_sockets = matches!(
        check.kind,
        CheckKind::Tcp
            | CheckKind::Http(_)
            | CheckKind::Apache(_)
            | CheckKind::Mysql(_)
            | CheckKind::Tls(_)
            | CheckKind::Grpc(_)
            | CheckKind::Redis(_)
            | CheckKind::Exec(_)
    );
    if let Some(socket) = at.socket().filter(|_| !knows_sockets) {
        command.push_str("  # the check asks at a unix socket, not at a port: ");
        command.extend(socket.escape_debug());
    }
    let by_curl = matches!(check.kind, CheckKind::Http(_) | CheckKind::Apache(_));
    match check.send_proxy {
        Some(SendProxy::V2) if by_curl => {
            command.push_str("  # sends version 1 of the PROXY protocol, the check sends version 2");
        }
        Some(_) if !by_curl => command.push_str("  # without the PROXY header that the check sends first"),
        _ => {}
    }
    command
}

/// Where a probe goes.
struct Place {
    /// The name or address that is asked for.
    name: String,
    port: u16,
    /// The address that it is asked at.
    address: Option<SocketAddr>,
    /// The unix socket that it is asked at.
    socket: Option<UnixName>,
}

impl Place {
    fn of(check: &Check, backend: &Address, asked_at: Option<&Site>) -> Self {
        let socket = match asked_at {
            Some(Site::Unix(name)) => Some(name.clone()),
            _ => None,
        };
        let port = check.port.or_else(|| backend.port()).unwrap_or(0);
        let name = check.host.map_or_else(|| backend.host().to_string(), |host| host.to_string());
        Self { name, port, address: asked_at.and_then(Site::ip), socket }
    }

    /// The socket as most programs take it: its path, or its name behind an `@`.
    fn socket(&self) -> Option<String> {
        self.socket.as_ref().map(|name| name.to_string().trim_start_matches("unix:").to_owned())
    }

    /// The address where it is known, else the name: for programs that cannot be told both.
    fn host(&self) -> String {
        self.address.map_or_else(|| self.name.clone(), |address| address.ip().to_string())
    }
}

fn tcp(check: &Check, at: &Place) -> String {
    let mut line = Line::new("nc", &[], "");
    if let Some(socket) = at.socket() {
        line.plain("-vzU -w").word(&whole_seconds(check.timing.timeout)).word(&socket);
        return line.finish();
    }
    line.plain("-vz -w").word(&whole_seconds(check.timing.timeout)).word(&at.host()).word(&at.port.to_string());
    line.finish()
}

fn s_client(check: &Check, handshake: &TlsCheck, at: &Place) -> String {
    let mut line = Line::new(&limited(check), &check.secrets, "SECRET");
    line.plain("openssl s_client");
    let tls = &handshake.tls;
    let name = tls.server_name.as_deref().unwrap_or(&at.name);
    let host = at.host();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    match at.socket() {
        Some(socket) => _ = line.plain("-unix").word(&socket),
        None => _ = line.plain("-connect").word(&format!("{host}:{}", at.port)),
    }
    let is_ip = name.parse::<IpAddr>().is_ok();
    if is_ip {
        line.plain("-noservername");
    } else {
        line.plain("-servername").word(name);
    }
    if tls.verify != Verify::Nothing {
        line.plain("-verify_return_error").plain(if is_ip { "-verify_ip" } else { "-verify_hostname" }).word(name);
    }
    files(&mut line, tls, ["-CAfile", "-cert", "-key"]);
    let dialect = &tls.dialect;
    line.plain(if dialect.least == TlsVersion::V1_3 { "-min_protocol TLSv1.3" } else { "-min_protocol TLSv1.2" });
    if dialect.most == TlsVersion::V1_2 {
        line.plain("-max_protocol TLSv1.2");
    }
    ciphers(&mut line, dialect, ["-cipher", "-ciphersuites", "-groups"]);
    if !handshake.protocols.is_empty() {
        line.plain("-alpn").word(&handshake.protocols.join(","));
    }
    line.plain("</dev/null");
    if let Some(within) = tls.expires_in {
        line.plain("| openssl x509 -noout -enddate -checkend").word(&within.as_secs().to_string());
    }
    line.finish()
}

/// The options for what of TLS is spoken, where that is not everything.
fn ciphers(line: &mut Line, dialect: &Dialect, [older, newest, groups]: [&str; 3]) {
    for (option, version) in [(older, TlsVersion::V1_2), (newest, TlsVersion::V1_3)] {
        let names = dialect.ciphers.iter().filter(|cipher| cipher.version() == version).map(|cipher| cipher.openssl());
        let names = names.collect::<Vec<_>>().join(":");
        if !names.is_empty() {
            line.plain(option).word(&names);
        }
    }
    if !dialect.groups.is_empty() {
        let names = dialect.groups.iter().map(|group| group.iana()).collect::<Vec<_>>().join(":");
        line.plain(groups).word(&names);
    }
}

/// The options for the files that the configuration names, whose names are not known any more.
fn files(line: &mut Line, tls: &CheckTls, [ca, cert, key]: [&str; 3]) {
    if let Verify::Roots(_) = tls.verify {
        line.plain(&format!("{ca} \"$CA_FILE\""));
    }
    if tls.identity.is_some() {
        line.plain(&format!("{cert} \"$CERT_FILE\" {key} \"$KEY_FILE\""));
    }
}

/// By `curl`, which everybody has: a call of gRPC is a POST over HTTP/2. The answer may be any bytes.
fn health_call(check: &Check, health: &GrpcCheck, at: &Place) -> String {
    let request = HttpQuestion {
        version: HttpVersion::V2,
        method: Arc::from("POST"),
        host: health.host.clone(),
        headers: health.headers.clone(),
        tls: health.tls.clone(),
        ..HttpQuestion::get("/grpc.health.v1.Health/Check")
    };
    let mut line = Line::new("printf %b", &check.secrets, "SECRET");
    line.word(&escaped(&grpc::message(&health.service))).plain("| curl");
    line.plain("-H 'Content-Type: application/grpc' -H 'TE: trailers' --data-binary @-");
    asking(&mut line, check, &request, at);
    line.plain("| od -An -c  # where it is SERVING, the message ends with \\b 001; with \\b 002 where it is not");
    line.finish()
}

fn curl(check: &Check, question: &HttpQuestion, at: &Place) -> String {
    let mut line = Line::new("curl", &check.secrets, "SECRET");
    asking(&mut line, check, question, at);
    line.finish()
}

/// The options of `curl` that make it ask like this, and the address.
fn asking(line: &mut Line, check: &Check, question: &HttpQuestion, at: &Place) {
    line.plain("-sSi --noproxy '*' -m").word(&seconds(check.timing.timeout));
    if check.send_proxy.is_some() {
        line.plain("--haproxy-protocol");
    }
    match &*question.method {
        "GET" => {}
        // With -X it would wait for the body that a HEAD does not have.
        "HEAD" => _ = line.plain("--head"),
        other => _ = line.plain("-X").word(other),
    }
    if question.path.contains("/.") {
        line.plain("--path-as-is");
    }
    if question.path.contains(['[', ']', '{', '}']) {
        line.plain("-g");
    }
    let (scheme, mut usual_port) = if question.tls.is_some() { ("https", 443) } else { ("http", 80) };
    if let Some(socket) = &at.socket {
        // A socket has no port, and the name goes without one.
        usual_port = at.port;
        match (socket.path(), socket.abstract_name()) {
            (Some(path), _) => _ = line.plain("--unix-socket").word(&path.to_string_lossy()),
            (None, name) => _ = line.plain("--abstract-unix-socket").word(name.unwrap_or_default()),
        }
    }
    let tls_name = question.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    if question.version == HttpVersion::V2 {
        line.plain(if question.tls.is_some() { "--http2" } else { "--http2-prior-knowledge" });
    }
    if let Some(tls) = &question.tls {
        if tls.verify == Verify::Nothing {
            line.plain("-k");
        }
        if tls.dialect.least == TlsVersion::V1_3 {
            line.plain("--tlsv1.3");
        }
        if tls.dialect.most == TlsVersion::V1_2 {
            line.plain("--tls-max 1.2");
        }
        ciphers(line, &tls.dialect, ["--ciphers", "--tls13-ciphers", "--curves"]);
        files(line, tls, ["--cacert", "--cert", "--key"]);
    }
    let name = tls_name.unwrap_or(&at.name);
    let host = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    if let Some(address) = at.address.filter(|address| address.ip().to_string() != *name) {
        line.plain("--resolve").word(&format!("{host}:{}:{}", at.port, bracketed(address)));
    } else if tls_name.is_some_and(|tls_name| tls_name != at.name) {
        line.plain("--connect-to").word(&format!("::{}:{}", at.name, at.port));
    }
    let authority = if at.port == usual_port { host } else { format!("{host}:{}", at.port) };
    headers(line, question, at, &authority, usual_port);
    line.word(&format!("{scheme}://{authority}{}", question.path));
}

/// The headers that `curl` would not send by itself, or would send otherwise.
fn headers(line: &mut Line, question: &HttpQuestion, at: &Place, authority: &str, usual_port: u16) {
    let given = |wanted: &str| question.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !given("user-agent") {
        line.plain("-A evenkeel");
    }
    if !given("host") {
        let own = if at.name.contains(':') { format!("[{}]", at.name) } else { at.name.clone() };
        let own = if at.port == usual_port { own } else { format!("{own}:{}", at.port) };
        let host = question.host.as_deref().unwrap_or(&own);
        if host != authority {
            line.plain("-H").word(&format!("Host: {host}"));
        }
    }
    for (name, value) in &question.headers {
        // With a colon `curl` takes a header without value for one to leave out.
        let header = if value.is_empty() { format!("{name};") } else { format!("{name}: {value}") };
        line.plain("-H").word(&header);
    }
    if !question.body.is_empty() {
        if !given("content-type") {
            line.plain("-H Content-Type:");
        }
        line.plain("--data-raw").word(&question.body);
    }
}

fn mysql(check: &Check, login: &MysqlCheck, at: &Place) -> String {
    let mut secrets = vec![login.password.clone()];
    secrets.extend(check.secrets.iter().cloned());
    let mut line = Line::new(&limited(check), &secrets, "PASSWORD");
    line.plain("mysql");
    match at.socket() {
        Some(socket) => _ = line.plain("--protocol=SOCKET -S").word(&socket),
        None => _ = line.plain("--protocol=TCP -h").word(&at.host()).plain("-P").word(&at.port.to_string()),
    }
    line.glued("--connect-timeout=", &whole_seconds(check.timing.timeout)).plain("-u").word(&login.user);
    if login.password.is_empty() {
        line.plain("--skip-password");
    } else {
        line.glued("--password=", &login.password);
    }
    if let Some(tls) = &login.tls {
        line.plain(if tls.verify == Verify::Nothing { "--ssl" } else { "--ssl --ssl-verify-server-cert" });
        files(&mut line, tls, ["--ssl-ca", "--ssl-cert", "--ssl-key"]);
    }
    if let Some(database) = &login.database {
        line.plain("-D").word(database);
    }
    line.plain("-e").word(&statements(&login.facts).join("; "));
    line.finish()
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// `0.25`, `1`: what curl takes.
fn seconds(time: Duration) -> String {
    format!("{}", time.as_secs_f64())
}

/// The beginning of a line for a program that may wait for ever. A second more than the check has: a program takes a
/// moment to start, and those with a deadline of their own say more than one that is killed.
fn limited(check: &Check) -> String {
    format!("timeout {}", whole_seconds(check.timing.timeout + Duration::from_secs(1)))
}

/// At least one: what takes no fractions often takes zero for no limit.
fn whole_seconds(time: Duration) -> String {
    time.as_secs_f64().ceil().max(1.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Color, Source};

    pub(super) fn command_of(backend: &str, asked_at: Option<&str>, check: &str) -> String {
        let text = format!(
            "listener.l = {{ bind = '127.0.0.1:0', protocol = 'tcp', pool = 'p' }}\n\
             pool.p.backends = ['{backend}']\npool.p.check.c = {{ {check} }}"
        );
        let loaded = config::load(&Source::text(text)).map_err(|problems| problems.render(Color::Plain, ""));
        let pool = &loaded.unwrap().config.pools[0];
        let site = |at: &str| at.parse().map_or_else(|_name| Site::Unix(at.parse().unwrap()), Site::Ip);
        command(&pool.checks[0], &pool.members[0].address, asked_at.map(site).as_ref())
    }

    #[test]
    fn http_is_asked_by_curl_exactly_as_the_check_asks() {
        let curl = "curl -sSi --noproxy '*' -m";
        let own = ("10.0.0.1:3000", Some("10.0.0.1:3000"));
        let named = ("web.example.com:443", Some("10.0.0.7:443"));
        let rows = [
            (own, "type = 'http'", format!("{curl} 1 -A evenkeel http://10.0.0.1:3000/")),
            (own, "type = 'http', port = 80, timeout = '250ms'", format!("{curl} 0.25 -A evenkeel http://10.0.0.1/")),
            (
                own,
                "type = 'http', method = 'HEAD', path = '/a/../b?x=[1]&y', headers = { Host = 'app', X-A = 'it''s' }"
                    .replace("'it''s'", "\"it's\"")
                    .leak(),
                format!(
                    "{curl} 1 --head --path-as-is -g -A evenkeel -H 'Host: app' -H 'X-A: it'\\''s' \
                     'http://10.0.0.1:3000/a/../b?x=[1]&y'"
                ),
            ),
            (
                own,
                "type = 'http', method = 'POST', headers = { User-Agent = 'me', Authorization = 'Bearer s3cr3t' }",
                format!("{curl} 1 -X POST -H 'User-Agent: me' -H 'Authorization: '\"$SECRET\" http://10.0.0.1:3000/"),
            ),
            (
                own,
                "type = 'http', tls = { server_name = 'app.example.com', verify = false }",
                format!(
                    "{curl} 1 -k --resolve app.example.com:3000:10.0.0.1 -A evenkeel -H 'Host: 10.0.0.1:3000' \
                     https://app.example.com:3000/"
                ),
            ),
            (
                named,
                "type = 'http', tls = true",
                format!("{curl} 1 --resolve web.example.com:443:10.0.0.7 -A evenkeel https://web.example.com/"),
            ),
            (("gone.example.com:80", None), "type = 'http'", format!("{curl} 1 -A evenkeel http://gone.example.com/")),
            (
                ("[2001:db8::1]:80", Some("[2001:db8::1]:80")),
                "type = 'http', send_proxy = 'v1'",
                format!("{curl} 1 --haproxy-protocol -A evenkeel 'http://[2001:db8::1]/'"),
            ),
            (own, "type = 'apache'", format!("{curl} 1 -A evenkeel 'http://10.0.0.1:3000/server-status?auto'")),
        ];
        for ((backend, asked_at), check, expected) in rows {
            assert_eq!(command_of(backend, asked_at, check), expected, "{check}");
        }
    }

    #[test]
    fn bodies_and_versions_are_those_of_the_check() {
        let curl = "curl -sSi --noproxy '*' -m";
        let own = ("10.0.0.1:3000", Some("10.0.0.1:3000"));
        let named = ("web.example.com:443", Some("10.0.0.7:443"));
        let rows = [
            (
                own,
                "type = 'http', http = '2', request_body = '{\"a\": 1}', path = '/ask'",
                format!(
                    "{curl} 1 -X POST --http2-prior-knowledge -A evenkeel -H Content-Type: --data-raw '{{\"a\": 1}}' \
                     http://10.0.0.1:3000/ask"
                ),
            ),
            (
                named,
                "type = 'http', http = '2', tls = { min_version = '1.3' }",
                format!(
                    "{curl} 1 --http2 --tlsv1.3 --resolve web.example.com:443:10.0.0.7 -A evenkeel \
                     https://web.example.com/"
                ),
            ),
        ];
        for ((backend, asked_at), check, expected) in rows {
            assert_eq!(command_of(backend, asked_at, check), expected, "{check}");
        }
    }

    #[test]
    fn sockets_are_asked_at_by_who_can() {
        let rows = [
            ("unix:/run/app.sock", "type = 'tcp'", "nc -vzU -w 1 /run/app.sock"),
            (
                "unix:/run/app.sock",
                "type = 'http', path = '/health'",
                "curl -sSi --noproxy '*' -m 1 --unix-socket /run/app.sock -A evenkeel http://localhost/health",
            ),
            (
                "unix:@app",
                "type = 'http', tls = true",
                "curl -sSi --noproxy '*' -m 1 --abstract-unix-socket app -A evenkeel https://localhost/",
            ),
            (
                "unix:/run/db.sock",
                "type = 'mysql', user = 'u'",
                "timeout 2 mysql --protocol=SOCKET -S /run/db.sock --connect-timeout=1 -u u --skip-password -e 'SELECT 1'",
            ),
            ("unix:/run/redis.sock", "type = 'redis'", "timeout 2 redis-cli -s /run/redis.sock PING"),
            (
                "unix:/run/mail.sock",
                "type = 'smtp'",
                "curl -sv --noproxy '*' -m 1 smtp://localhost:0/localhost  # the check asks at a unix socket, not at a \
                 port: /run/mail.sock",
            ),
        ];
        for (backend, check, expected) in rows {
            assert_eq!(command_of(backend, Some(backend), check), expected, "{check}");
        }
    }

    #[test]
    fn databases_and_ports_are_asked_by_their_own_clients() {
        let rows = [
            ("type = 'tcp', timeout = '1500ms'", "nc -vz -w 2 10.0.0.1 3306"),
            (
                "type = 'grpc', service = 'shop.Cart', tls = { verify = false }, headers = { x-token = '$$s' }",
                "printf %b '\\0000\\0000\\0000\\0000\\0013\\n\\0011shop.Cart' | curl -H 'Content-Type: application/grpc' \
                 -H 'TE: trailers' --data-binary @- -sSi --noproxy '*' -m 1 -X POST --http2 -k -A evenkeel \
                 -H 'x-token: '\"$SECRET\" https://10.0.0.1:3306/grpc.health.v1.Health/Check | od -An -c  \
                 # where it is SERVING, the message ends with \\b 001; with \\b 002 where it is not",
            ),
            (
                "type = 'tls', server_name = 'a.example.com', min_version = '1.3', alpn = 'h2'",
                "timeout 2 openssl s_client -connect 10.0.0.1:3306 -servername a.example.com -verify_return_error \
                 -verify_hostname a.example.com -min_protocol TLSv1.3 -alpn h2 </dev/null",
            ),
            (
                "type = 'mysql', user = 'evenkeel', password = 'pa$$ word'",
                "timeout 2 mysql --protocol=TCP -h 10.0.0.1 -P 3306 --connect-timeout=1 -u evenkeel --password=\"$PASSWORD\" \
                 -e 'SELECT 1'",
            ),
            (
                "type = 'mysql', user = 'u', database = 'app', read_only = 'down', query = \"SELECT 'a'\", equals = 'a'",
                "timeout 2 mysql --protocol=TCP -h 10.0.0.1 -P 3306 --connect-timeout=1 -u u --skip-password -D app \
                 -e 'SELECT @@global.read_only, @@global.innodb_read_only, @@global.max_connections; \
                 SELECT '\\''a'\\'''",
            ),
            (
                "type = 'mysql', user = 'o''k', send_proxy = 'v2'",
                "timeout 2 mysql --protocol=TCP -h 10.0.0.1 -P 3306 --connect-timeout=1 -u 'o'\\''k' --skip-password \
                 -e 'SELECT 1'  # without the PROXY header that the check sends first",
            ),
            (
                "type = 'mysql', user = 'm', database = 'app', tls = { verify = false }, replica = { lag_max = '5s' }, \
                 query = 'SELECT 1 FROM t'",
                "timeout 2 mysql --protocol=TCP -h 10.0.0.1 -P 3306 --connect-timeout=1 -u m --skip-password --ssl \
                 -D app -e 'SHOW REPLICA STATUS; SELECT 1 FROM t'",
            ),
            (
                "type = 'tls', server_name = 'db.example.com', expires_in = '7d', alpn = ['h2']",
                "timeout 2 openssl s_client -connect 10.0.0.1:3306 -servername db.example.com -verify_return_error \
                 -verify_hostname db.example.com -min_protocol TLSv1.2 -alpn h2 </dev/null \
                 | openssl x509 -noout -enddate -checkend 604800",
            ),
            (
                "type = 'tls', verify = false, min_version = '1.3'",
                "timeout 2 openssl s_client -connect 10.0.0.1:3306 -noservername -min_protocol TLSv1.3 </dev/null",
            ),
        ];
        for (check, expected) in rows {
            let check = check.replace("'o''k'", "\"o'k\"");
            assert_eq!(command_of("10.0.0.1:3306", Some("10.0.0.1:3306"), &check), expected, "{check}");
        }
    }
}
