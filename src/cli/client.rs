//! A client of the admin port, for the commands that speak to a running evenkeel.
//!
//! One request, one connection; over TLS where the address begins with https://.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use evenkeel::config::model::{Identity, Site, UnixName, Verify};
use evenkeel::config::pem;
use evenkeel::net::connect::connect;
use evenkeel::net::tls::{Client, Resume, Terms};
use evenkeel::net::transport::Transport;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

const DEFAULT_PORT: u16 = 8404;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Until an answer that comes line by line has begun.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// 10,000 backends as JSON are some 10 MiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Where the admin port is and what opens it.
#[derive(Debug, Clone, Args)]
pub(super) struct AdminPort {
    /// The admin port: ADDRESS:PORT, http://HOST:PORT, https://HOST:PORT, or unix: and a path
    #[arg(long, env = "EVENKEEL_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:8404")]
    admin: Location,
    /// A file with the bearer token of the admin port
    #[arg(long, env = "EVENKEEL_TOKEN_FILE", value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// Over https://: certificates of those who sign the port's; without it, those that the system trusts
    #[arg(long, env = "EVENKEEL_CA", value_name = "PATH")]
    ca: Option<PathBuf>,
    /// Over https://: the certificate to show, with its key in --key or in the same file
    #[arg(long, env = "EVENKEEL_CERT", value_name = "PATH")]
    cert: Option<PathBuf>,
    /// The key of --cert
    #[arg(long, env = "EVENKEEL_KEY", value_name = "PATH", requires = "cert")]
    key: Option<PathBuf>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: String,
}

/// One request.
struct Asked<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
    /// The hash that what is in force must have.
    over: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, body: Bytes::new(), over: None }
    }

    fn post(path: &'a str, body: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self { body: serde_json::to_vec(body)?.into(), ..Self::new(Method::POST, path) })
    }
}

impl AdminPort {
    /// Sends one request and waits for the whole answer, at most `patience` long.
    pub(super) fn ask(&self, method: Method, path: &str, patience: Duration) -> anyhow::Result<Answer> {
        self.send(Asked::new(method, path), patience)
    }

    /// Sends a value to a path that acts.
    pub(super) fn post(&self, path: &str, body: &impl Serialize, patience: Duration) -> anyhow::Result<Answer> {
        self.send(Asked::post(path, body)?, patience)
    }

    /// The same, only where what is in force has this hash.
    pub(super) fn post_over(
        &self,
        path: &str,
        body: &impl Serialize,
        hash: Option<&str>,
        patience: Duration,
    ) -> anyhow::Result<Answer> {
        self.send(Asked { over: hash, ..Asked::post(path, body)? }, patience)
    }

    fn send(&self, asked: Asked<'_>, patience: Duration) -> anyhow::Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        runtime.block_on(self.exchange(asked, patience))
    }

    /// The address that it is at; none where it is a socket of this machine.
    pub(super) fn address(&self) -> anyhow::Result<Option<std::net::IpAddr>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let sites = runtime.block_on(self.admin.sites())?;
        Ok(sites.first().and_then(Site::ip).map(|address| address.ip()))
    }

    /// The same as `ask`, for whoever has a runtime.
    pub(super) async fn asking(&self, method: Method, path: &str, patience: Duration) -> anyhow::Result<Answer> {
        self.exchange(Asked::new(method, path), patience).await
    }

    /// The same as `post`, for whoever has a runtime.
    pub(super) async fn posting(
        &self,
        path: &str,
        body: &impl Serialize,
        patience: Duration,
    ) -> anyhow::Result<Answer> {
        self.exchange(Asked::post(path, body)?, patience).await
    }

    async fn exchange(&self, asked: Asked<'_>, patience: Duration) -> anyhow::Result<Answer> {
        let whole = async {
            let answer = request(self, asked, self.token()?).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed).context("the answer broke off")?.to_bytes();
            anyhow::Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
        };
        let answer = timeout(patience, whole).await;
        let answer = answer.ok().with_context(|| format!("{} did not answer within {patience:?}", self.admin))??;
        if answer.status == StatusCode::UNAUTHORIZED {
            bail!(
                "{} asks for a token: give the file that holds it with --token-file (or a certificate, --cert)",
                self.admin
            );
        }
        Ok(answer)
    }

    /// Sends a value to a path that answers line by line, for as long as that takes; each whole line is given to `hear`.
    /// What the answer says is the answer's to judge: one that is not good comes back whole.
    pub(super) async fn follow(
        &self,
        path: &str,
        body: &impl Serialize,
        hear: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Answer> {
        self.lines(Asked::post(path, body)?, hear).await
    }

    /// The same for a path that only shows something.
    pub(super) async fn listen(
        &self,
        path: &str,
        hear: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Answer> {
        self.lines(Asked::new(Method::GET, path), hear).await
    }

    async fn lines(
        &self,
        asked: Asked<'_>,
        mut hear: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Answer> {
        let mut answer = timeout(BEGIN_TIMEOUT, request(self, asked, self.token()?))
            .await
            .with_context(|| format!("{} did not answer within {BEGIN_TIMEOUT:?}", self.admin))??;
        let status = answer.status();
        let mut rest = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.context("the answer broke off: the balancer, or the way to it, is gone")?;
            // What has come before has no end of a line in it.
            let mut from = rest.len();
            rest.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
            if !status.is_success() {
                continue;
            }
            while let Some(end) = rest[from..].iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=from + end).collect();
                hear(String::from_utf8_lossy(&line).trim())?;
                from = 0;
            }
        }
        Ok(Answer { status, body: String::from_utf8_lossy(&rest).into_owned() })
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(text.trim().to_owned()))
    }
}

impl Answer {
    /// The body, when the answer is good; else what the answer says is wrong.
    pub(super) fn good(self) -> anyhow::Result<String> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let error = serde_json::from_str::<serde_json::Value>(&self.body).ok();
        let error = error.as_ref().and_then(|value| value["error"].as_str()).unwrap_or(self.body.trim());
        if self.status.is_client_error() {
            // What was asked for is wrong, not the port that says so.
            bail!("{error}");
        }
        bail!("answer {}: {error}", self.status.as_u16())
    }
}

/// Asks, and gives the answer when it has begun.
async fn request(port: &AdminPort, asked: Asked<'_>, token: Option<String>) -> anyhow::Result<Response<Incoming>> {
    let admin = &port.admin;
    let stream = connected(admin).await?;
    let stream = match admin {
        Location::Secure(host, _) => secured(port, host, stream).await?,
        Location::Host(..) | Location::Unix(_) => Box::new(stream),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder().method(asked.method).uri(asked.path);
    request = request.header(HOST, admin.host()).header("X-Evenkeel-Request", "1");
    if !asked.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(hash) = asked.over {
        request = request.header(IF_MATCH, format!("\"{hash}\""));
    }
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(asked.body)).context("the token has characters that a header cannot carry")?;
    tokio::spawn(connection);
    let what = if matches!(admin, Location::Secure(..)) { "" } else { "; if it speaks TLS, write https://" };
    sender.send_request(request).await.with_context(|| format!("{admin} speaks no HTTP{what}"))
}

async fn connected(admin: &Location) -> anyhow::Result<Transport> {
    let missing = || format!("nothing answers at {admin}; is evenkeel running, and is its admin port there?");
    let mut last = None;
    for site in admin.sites().await.with_context(missing)? {
        match connect(&site, CONNECT_TIMEOUT).await {
            Ok(connected) => return Ok(connected),
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) => Err(error).with_context(missing),
        None => bail!("{admin} has no address"),
    }
}

/// A connection, whatever it goes over.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The same over TLS, with our certificate where there is one.
async fn secured(port: &AdminPort, host: &str, stream: Transport) -> anyhow::Result<Box<dyn Stream>> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let verify = match &port.ca {
        None => Verify::System,
        Some(path) => {
            let roots = pem::certificates(&read(path)?);
            Verify::Roots(roots.with_context(|| format!("{} holds no certificate", path.display()))?)
        }
    };
    let identity = match &port.cert {
        None => None,
        Some(path) => {
            let key = port.key.as_ref().unwrap_or(path);
            let chain = pem::certificates(&read(path)?);
            Some(Identity {
                chain: chain.with_context(|| format!("{} holds no certificate", path.display()))?,
                key: pem::key(&read(key)?).with_context(|| format!("{} holds no key", key.display()))?,
            })
        }
    };
    let protocols = ["http/1.1".into()];
    let terms = Terms { identity: identity.as_ref(), protocols: &protocols, ..Terms::new(&verify, Resume::Never) };
    let client = Client::on(host, &terms).map_err(anyhow::Error::msg)?;
    let agreed = client.handshake(stream).await;
    let agreed = agreed.with_context(|| format!("no TLS with {}; --ca says whom to trust", port.admin))?;
    Ok(Box::new(agreed))
}

/// What a path or query may carry as it is; everything else as `%41`.
pub(super) fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let pieces = text.bytes().map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") });
    pieces.collect()
}

/// Where an admin port is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Location {
    /// A host and a port.
    Host(String, u16),
    /// The same over TLS.
    Secure(String, u16),
    /// A socket of this machine.
    Unix(UnixName),
}

impl Location {
    /// Where to connect, in this order.
    async fn sites(&self) -> std::io::Result<Vec<Site>> {
        match self {
            Self::Host(host, port) | Self::Secure(host, port) => {
                Ok(tokio::net::lookup_host((host.as_str(), *port)).await?.map(Site::Ip).collect())
            }
            Self::Unix(name) => Ok(vec![Site::Unix(name.clone())]),
        }
    }

    /// The `Host` of a request there.
    fn host(&self) -> String {
        match self {
            Self::Host(..) => self.to_string(),
            Self::Secure(host, port) => Self::Host(host.clone(), *port).to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Secure(host, port) => write!(f, "https://{}", Self::Host(host.clone(), *port)),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("unix:") || text.starts_with(['/', '@']) {
            return text.parse().map(Self::Unix);
        }
        if let Some(rest) = text.strip_prefix("https://") {
            return match format!("http://{rest}").parse()? {
                Self::Host(host, port) => Ok(Self::Secure(host, port)),
                other => Ok(other),
            };
        }
        let rest = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match rest.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let bad = || format!("{text:?} is no address: write 127.0.0.1:8404 or http://host:8404");
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
            None => DEFAULT_PORT,
        };
        // `:8404` is what people write for "this machine".
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
        if !host.bytes().all(legal) || rest.is_empty() {
            return Err(bad());
        }
        Ok(Self::Host(host.to_owned(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_paths_and_queries() {
        assert_eq!(encoded("us-east_1.a"), "us-east_1.a");
        assert_eq!(encoded("a b&pool=c"), "a%20b%26pool%3Dc");
        assert_eq!(encoded("[::1]:80/x"), "%5B%3A%3A1%5D%3A80%2Fx");
    }

    #[test]
    fn a_location_is_read_in_every_usual_form() {
        for (text, host, port) in [
            ("127.0.0.1:8404", "127.0.0.1", 8404),
            ("http://lb.example.com:9000/", "lb.example.com", 9000),
            ("http://lb.example.com", "lb.example.com", 8404),
            ("[::1]:8404", "::1", 8404),
            ("http://[::1]", "::1", 8404),
            (":8404", "127.0.0.1", 8404),
            ("localhost", "localhost", 8404),
        ] {
            let read = text.parse::<Location>();
            assert_eq!(read, Ok(Location::Host(host.to_owned(), port)), "{text}");
        }
        assert_eq!("https://[::1]:9".parse(), Ok(Location::Secure("::1".to_owned(), 9)));
        assert_eq!("https://lb".parse::<Location>().unwrap().to_string(), "https://lb:8404");
        assert!(matches!("unix:/run/admin.sock".parse(), Ok(Location::Unix(_))));
        assert_eq!("[::1]:1".parse::<Location>().unwrap().to_string(), "[::1]:1");
        for text in [
            "",
            "http://",
            "https://",
            "https://http://lb",
            "lb:http",
            "lb:0",
            "lb:70000",
            "a b:1",
            "user@lb:1",
            "lb/path:1",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
