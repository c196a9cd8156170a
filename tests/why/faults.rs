//! The faults, each with the check that meets it, what must be said of it, and what shows it by hand.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use tempfile::TempDir;

use crate::secrets::{BEARER, BODY, COOKIE, ECHO, KEY, PASSWORD, QUERY, TOLD_AGENT, TOLD_COMMAND, TOLD_SCRIPT};
use crate::servers::{Full, grpc, postgres_error, saying, secured};
use crate::support::Origin;
use crate::support::certificates::{DAY, authority, params, signed, valid};
use crate::support::mysql::{self, FakeMysql, Method, Stage};
use crate::support::origin::Script;
use crate::support::probing::closed_port;
use crate::support::real_redis::RealRedis;
use crate::support::real_slapd::RealSlapd;

/// For what fails at once: nothing of it is ever late.
const PATIENT: &str = "interval = '10s'\ntimeout = '10s'\nfall = 1\n";
/// For what waits.
const HURRIED: &str = "interval = '2s'\ntimeout = '600ms'\nfall = 1\n";

/// What shows a fault by hand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ByHand {
    /// These words in the output of the command.
    Says(&'static str),
    /// The same, where the moment decides which of them.
    SaysEither(&'static str, &'static str),
    /// Its exit code.
    Ends(i32),
}

/// A fault and all that is expected of it.
pub(crate) struct Fault {
    /// The name of its pool.
    pub(crate) name: &'static str,
    check: String,
    at: String,
    /// One word, or two where the moment decides: `connect or protocol`.
    pub(crate) layer: &'static str,
    pub(crate) says: &'static str,
    pub(crate) by_hand: ByHand,
    /// Nothing happens before it that a transcript could hold.
    pub(crate) is_stepless: bool,
}

/// All faults, and the servers that have them.
pub(crate) struct Scene {
    pub(crate) faults: Vec<Fault>,
    /// What a reader of the commands would set.
    pub(crate) variables: HashMap<&'static str, String>,
    folder: TempDir,
    running: Vec<Box<dyn Any + Send + Sync>>,
}

use ByHand::{Ends, Says, SaysEither};

impl Scene {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let variables = HashMap::from([("PASSWORD", PASSWORD.to_owned())]);
        let mut scene = Self { faults: Vec::new(), variables, folder, running: Vec::new() };
        for (name, secret) in
            [("key", KEY), ("body", BODY), ("script", TOLD_SCRIPT), ("command", TOLD_COMMAND), ("agent", TOLD_AGENT)]
        {
            fs::write(scene.path().join(name), secret).unwrap();
        }
        scene.connections().await;
        scene.answers().await;
        scene.certificates().await;
        scene.mysql();
        scene.databases().await;
        scene.dialogues().await;
        scene
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A pool for each fault.
    pub(crate) fn config(&self) -> String {
        let mut config = "workers = 1\n[log]\nlevel = 'debug'\n[exec]\nallow = ['/bin', '/usr/bin']\n".to_owned();
        for Fault { name, check, at, .. } in &self.faults {
            let pool = format!(
                "[listener.{name}]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = '{name}'\n\
                 [pool.{name}]\nbackends = [{{ name = 'b', address = '{at}' }}]\n[pool.{name}.check.c]\n{check}\n"
            );
            write!(config, "{pool}").unwrap();
        }
        config
    }

    #[expect(clippy::needless_pass_by_value, reason = "addresses of all kinds, at every call")]
    fn add(
        &mut self,
        name: &'static str,
        at: impl ToString,
        check: &str,
        (layer, says): (&'static str, &'static str),
        by_hand: ByHand,
    ) {
        let is_stepless = name == "connect-timeout";
        self.faults.push(Fault {
            name,
            check: check.to_owned(),
            at: at.to_string(),
            layer,
            says,
            by_hand,
            is_stepless,
        });
    }

    /// A check over HTTP that holds secrets wherever one may be.
    fn http(&self, timing: &str, rest: &str) -> String {
        let folder = self.path().display();
        format!(
            "{timing}type = 'http'\npath = '/health?token={QUERY}&x=1'\nrequest_body = 'a=${{file:{folder}/body}}'\n\
             headers = {{ Authorization = 'Bearer {BEARER}', X-Own = '${{file:{folder}/key}}', Cookie = 'sid={COOKIE}' }}\n\
             {rest}\n"
        )
    }

    fn origin(&mut self, script: Script) -> SocketAddr {
        let origin = script.start();
        let at = origin.addr();
        self.running.push(Box::new(origin));
        at
    }

    async fn connections(&mut self) {
        let (plain, hurried) = (self.http(PATIENT, ""), self.http(HURRIED, ""));
        let tcp = |timing: &str| format!("{timing}type = 'tcp'");
        self.add("refused", closed_port().await, &tcp(PATIENT), ("connect", "connection refused"), Says("refused"));
        let full = Full::new();
        self.add(
            "connect-timeout",
            full.address,
            &tcp(HURRIED),
            ("timeout", "no connection within"),
            Says("timed out"),
        );
        self.running.push(Box::new(full));
        self.add("unknown-name", "nosuch.invalid:80", &plain, ("resolve", "nosuch.invalid"), Says("Could not resolve"));
        let at = self.origin(Origin::http().resets_on_accept());
        self.add(
            "reset-at-connect",
            at,
            &plain,
            ("protocol or connect", "connection reset"),
            SaysEither("reset", "Failed to connect"),
        );
        let at = self.origin(Origin::http().resets_before_answer());
        self.add("reset-before-answer", at, &plain, ("protocol", "reset before an answer"), Says("reset"));
        let at = self.origin(Origin::http().reply("a body").resets_mid_body());
        let reads = self.http(PATIENT, "body = { contains = 'x' }");
        self.add(
            "reset-mid-answer",
            at,
            &reads,
            ("protocol", "connection reset within the body of HTTP 200"),
            Says("reset"),
        );
        let at = self.origin(Origin::http().accepts_and_stalls());
        let tls = self.http(HURRIED, "tls = { verify = false }");
        self.add("tls-timeout", at, &tls, ("timeout", "not done within 600ms; last: connected to"), Says("timed out"));
        let hello = format!("{HURRIED}type = 'tls'\nverify = false");
        self.add("hello-timeout", at, &hello, ("timeout", "not done within 600ms; last: connected to"), Ends(124));
        let at = self.origin(Origin::http().stalls_before_answer());
        self.add("answer-timeout", at, &hurried, ("timeout", "not done within 600ms"), Says("timed out"));
        let at = self.origin(Origin::http().reply("a body").stalls_mid_head());
        self.add("head-timeout", at, &hurried, ("timeout", "last: received"), Says("timed out"));
        let at = self.origin(Origin::http().reply("a body").stalls_mid_body());
        let reads = self.http(HURRIED, "body = { contains = 'x' }");
        self.add("body-timeout", at, &reads, ("timeout", "last: head: HTTP 200"), Says("timed out"));
    }

    async fn answers(&mut self) {
        let plain = self.http(PATIENT, "");
        let at = self.origin(Origin::http().status(503).reply(ECHO));
        self.add("wrong-status", at, &plain, ("answer", "HTTP 503"), Says("503"));
        let at = self.origin(Origin::http().reply(ECHO));
        let body = self.http(PATIENT, "body = { contains = 'all is well' }");
        self.add("wrong-body", at, &body, ("answer", "all is well"), Says("you sent"));
        let long = format!("{}{BEARER}{}", "x".repeat(4_000), "y".repeat(4_000));
        let at = self.origin(Origin::http().reply(&long));
        self.add("long-body", at, &body, ("answer", "all is well"), Says("yyyy"));
        let at = self.origin(Origin::http().reply(r#"{"database": "starting"}"#));
        let json = self.http(PATIENT, "body = { json = '/database', equals = 'ok' }");
        self.add("wrong-value", at, &json, ("answer", "starting"), Says("starting"));
        let at = saying("SSH-2.0-OpenSSH_9.2p1\r\n").await;
        self.add("no-http", at, &plain, ("protocol", "SSH-2.0"), Says("HTTP/0.9"));
        let check = format!("{PATIENT}type = 'grpc'\nheaders = {{ x-token = '{BEARER}' }}\nservice = 'shop.Cart'");
        self.add("not-serving", grpc(2).await, &check, ("answer", "NOT_SERVING"), Says("\\b 002"));
        let at = self.origin(Origin::http().reply("BusyWorkers: 9\nIdleWorkers: 0\n"));
        let check = format!("{PATIENT}type = 'apache'\nheaders = {{ Authorization = 'Bearer {BEARER}' }}");
        self.add("no-idle-worker", at, &check, ("answer", "idle"), Says("IdleWorkers: 0"));
    }

    async fn certificates(&mut self) {
        let (ca, other) = (authority("Test CA"), authority("Other CA"));
        let file = self.path().join("ca.pem");
        fs::write(&file, ca.pem()).unwrap();
        self.variables.insert("CA_FILE", file.display().to_string());
        let names = ["web.example.com"];
        let mut expired = params("web", &names);
        valid(&mut expired, -9 * DAY, -2 * DAY);
        let mut early = params("web", &names);
        valid(&mut early, 2 * DAY, 9 * DAY);
        let soon = params("web", &names);
        let tls = format!("server_name = 'web.example.com', ca = '{}'", file.display());
        let web = self.http(PATIENT, &format!("tls = {{ {tls} }}"));
        let handshake = format!("{PATIENT}type = 'tls'\n{}", tls.replace(", ", "\n"));
        let at = secured(signed(&expired, &ca)).await;
        self.add("expired", at, &web, ("tls", "has ended"), Says("certificate has expired"));
        self.add("expired-tls", at, &handshake, ("tls", "has ended"), Says("certificate has expired"));
        let at = secured(signed(&early, &ca)).await;
        self.add("too-early", at, &web, ("tls", "valid only from"), Says("not yet valid"));
        let at = secured(signed(&params("web", &["other.example.com"]), &ca)).await;
        self.add("wrong-name", at, &web, ("tls", "other.example.com"), Says("no alternative certificate subject name"));
        self.add("wrong-name-tls", at, &handshake, ("tls", "other.example.com"), Says("mismatch"));
        let at = secured(signed(&soon, &other)).await;
        self.add(
            "unknown-ca",
            at,
            &web,
            ("tls", "nobody trusted has signed"),
            Says("unable to get local issuer certificate"),
        );
        let at = secured(signed(&soon, &ca)).await;
        let ends = format!("{handshake}\nexpires_in = '120d'");
        self.add("ends-soon", at, &ends, ("tls", "ends"), Says("Certificate will expire"));
        let plain = self.http(PATIENT, "");
        self.add("plain-to-tls", at, &plain, ("protocol", "TLS"), Ends(1));
        let at = saying("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        let check = self.http(PATIENT, "tls = { verify = false }");
        self.add("tls-to-plain", at, &check, ("tls", "no TLS"), Says("SSL"));
    }

    fn mysql(&mut self) {
        let script = || mysql::Script::new().account("evenkeel", PASSWORD, Method::Native);
        let login = format!("type = 'mysql'\nuser = 'evenkeel'\npassword = '{PASSWORD}'\n");
        let patient = format!("{PATIENT}{login}");
        let mut add = |name, script, check: String, what, by_hand| {
            let server = FakeMysql::start(script);
            self.add(name, server.addr(), &check, what, by_hand);
            self.running.push(Box::new(server));
        };
        let stalls = script().fault(Stage::Greeting, mysql::Fault::Stall);
        let hurried = format!("{HURRIED}{login}");
        add("greeting-timeout", stalls, hurried, ("timeout", "within 600ms"), Says("2013"));
        let other = mysql::Script::new().account("evenkeel", "another", Method::Native);
        let read_only = format!("{patient}read_only = 'down'");
        add("bad-password", other, read_only.clone(), ("answer", "1045"), Says("1045"));
        add("host-blocked", script().refuses(1129), patient.clone(), ("answer", "1129"), Says("1129"));
        add("too-many-connections", script().refuses(1040), patient.clone(), ("answer", "1040"), Says("1040"));
        add("read-only", script().read_only(), read_only, ("answer", "read_only"), Says("1\t0\t151"));
        let lags = script().replica("", ["Yes", "Yes"], Some(60));
        let check = format!("{patient}replica = {{ lag_max = '5s' }}");
        add("lag", lags, check, ("answer", "60"), Says("60"));
        let donor = script().galera("ON", "Primary", "2");
        add("donor", donor, format!("{patient}galera = 'synced'"), ("answer", "onor"), Says("wsrep_local_state\t2"));
        let query = script().answers("SELECT count(*)", &[Some("9000")]);
        let check = format!("{patient}query = 'SELECT count(*) FROM jobs'\nbelow = 100");
        add("wrong-row", query, check, ("answer", "9000"), Says("9000"));
    }

    async fn databases(&mut self) {
        let login = format!("{PATIENT}type = 'postgres'\nuser = 'app'\npassword = '{PASSWORD}'\nquery = 'SELECT 1'");
        let at = saying(postgres_error("28P01", "password authentication failed for user \"app\"")).await;
        self.add("postgres-password", at, &login, ("answer", "password authentication failed"), Says("password auth"));
        let at = saying(postgres_error("57P03", "the database system is starting up")).await;
        self.add("postgres-starts", at, &login, ("answer", "starting up"), Says("starting up"));
        let redis = RealRedis::start("127.0.0.1", &["--requirepass", "another"]).await;
        let check = format!("{PATIENT}type = 'redis'\npassword = '{PASSWORD}'");
        self.add("redis-password", redis.address, &check, ("answer", "WRONGPASS"), Says("WRONGPASS"));
        self.running.push(Box::new(redis));
        let redis = RealRedis::start("127.0.0.1", &["--replicaof", "127.0.0.1", "1"]).await;
        let check = format!("{PATIENT}type = 'redis'\nmaster_link = 'up'");
        self.add("redis-link", redis.address, &check, ("answer", "connect"), Says("connect"));
        self.running.push(Box::new(redis));
        let directory = RealSlapd::start("127.0.0.1", "").await;
        let check = format!("{PATIENT}type = 'ldap'\nuser = 'cn=boss,dc=example'\npassword = '{PASSWORD}'");
        self.add("ldap-password", directory.address, &check, ("answer", "49"), Says("Invalid credentials (49)"));
        self.running.push(Box::new(directory));
    }

    async fn dialogues(&mut self) {
        let folder = self.path().display().to_string();
        let at = saying("554 no service here\r\n").await;
        self.add("smtp-refuses", at, &format!("{PATIENT}type = 'smtp'"), ("answer", "554"), Says("554"));
        let soon = "interval = '2s'\ntimeout = '2s'\nfall = 1\n";
        let at = saying(format!("-ERR {TOLD_SCRIPT} is not wanted\r\n")).await;
        let script = format!(
            "{soon}type = 'script'\nsteps = [{{ send = \"AUTH ${{file:{folder}/script}}\\r\\n\" }}, {{ expect = '+OK' }}]"
        );
        self.add("script-unmatched", at, &script, ("answer", "`+OK` did not come within 2s"), Says("is not wanted"));
        let at = saying(format!("down#disk of {TOLD_AGENT} is broken\n")).await;
        let agent = format!("{soon}type = 'agent'\nport = {}\nsend = \"${{file:{folder}/agent}}\\n\"", at.port());
        self.add("agent-down", at, &agent, ("answer", "is broken"), Says("is broken"));
        let exec = |timing: &str, line: &str| {
            format!("{timing}type = 'exec'\ncommand = ['/bin/sh', '-c', '{line}', 'x', '${{file:{folder}/command}}']")
        };
        let fails = exec(PATIENT, "echo the queue of $1 is full; exit 3");
        self.add("exec-fails", at, &fails, ("answer", "is full"), Ends(3));
        let hangs = exec(HURRIED, "exec sleep 60");
        self.add("exec-hangs", at, &hangs, ("timeout", "600ms"), Ends(137));
    }
}
