//! TLS in probes: the handshake of every check that speaks TLS, told step by step, and `type = "tls"`, which asks for
//! nothing more.
//!
//! What fails is said with the remedy: that is [`why`], pure. When the leaf ends goes into the transcript, also where the
//! handshake failed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer, plain};
use super::transcript::Log;
use crate::config::certificate::{Certificate, moment};
use crate::config::model::{Address, CheckTls, Dialect, Site, TlsVersion};
use crate::net::tls::{Agreement, Client, Handshake, Refusal, Resume, Terms, TlsStream, refusal};
use crate::net::transport::Transport;

/// How long a server may take to answer our goodbye. In TLS 1.3 it judges our own certificate after the handshake has
/// ended for us, so that only what it says then shows whether it lets us in.
const GOODBYE: Duration = Duration::from_millis(250);
/// Names of a certificate that a message lists.
const NAMES_SHOWN: usize = 4;
const DAY: i64 = 24 * 60 * 60;

/// Opens TLS on a connection as a check wants it.
#[derive(Debug)]
pub(super) struct Opener {
    client: Client,
    wanted: Wanted,
}

/// A stream that stands.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: TlsStream<Transport>,
    /// What speaks against it: the failure that the check ends with.
    pub(super) distrust: Option<Failure>,
}

/// What a failure is measured against.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    dialect: Dialect,
    expires_in: Option<Duration>,
    protocols: String,
}

// === impl Opener ===

impl Opener {
    /// For a check of something at `at`. `protocols`: what would be spoken inside, by ALPN; none: it is not asked.
    ///
    /// # Errors
    /// A sentence: the name is none, there are no roots to trust, or our certificate and key do not fit.
    pub(super) fn new(tls: &CheckTls, at: &Address, protocols: &[Arc<str>]) -> Result<Self, String> {
        let name = tls.server_name.clone().unwrap_or_else(|| at.host()).to_string();
        let terms = Terms {
            dialect: &tls.dialect,
            identity: tls.identity.as_ref(),
            protocols,
            ..Terms::new(&tls.verify, Resume::Never)
        };
        let client = Client::on(&name, &terms)?;
        let wanted =
            Wanted { name, dialect: tls.dialect.clone(), expires_in: tls.expires_in, protocols: protocols.join(", ") };
        Ok(Self { client, wanted })
    }

    /// The handshake, written down; what the check wants of it holds when this is good.
    pub(super) async fn open(&self, stream: Transport, log: &Log) -> Result<TlsStream<Transport>, Failure> {
        let handshake = self.client.watched_handshake(stream).await;
        self.judge(handshake, log)?.trusted()
    }

    /// The same, finished whatever the certificate proves: for servers that count handshakes which break off. Nothing
    /// confidential may be sent where [`Opened::distrust`] says something.
    pub(super) async fn open_to_the_end(&self, stream: Transport, log: &Log) -> Result<Opened, Failure> {
        let handshake = self.client.finished_handshake(stream).await;
        self.judge(handshake, log)
    }

    fn judge(&self, handshake: Handshake, log: &Log) -> Result<Opened, Failure> {
        let chain = &handshake.chain;
        for (position, certificate) in chain.iter().enumerate() {
            log.note(described(position, certificate));
        }
        if let Some(leaf) = chain.first() {
            log.certificate_expires(leaf.not_after);
        }
        let refused = |error: io::Error| {
            log.note(format!("TLS failed: {error}"));
            Failure::new(Layer::Tls, why(&error, chain, &self.wanted, now()))
        };
        let stream = handshake.result.map_err(refused)?;
        let agreed = Agreement::of(&stream);
        let inside = agreed.protocol.as_deref().unwrap_or("none");
        log.note(format!("{}, {}, ALPN {inside}", agreed.version, agreed.cipher));
        let distrust = match handshake.distrust {
            Some(error) => Some(refused(error)),
            None => self.shortcoming(&agreed, chain),
        };
        Ok(Opened { stream, distrust })
    }

    /// What the check wants beyond trust and does not get.
    fn shortcoming(&self, agreed: &Agreement, chain: &[Certificate]) -> Option<Failure> {
        if agreed.protocol.is_none() && !self.wanted.protocols.is_empty() {
            return Some(Failure::new(Layer::Tls, no_protocol(&self.wanted)));
        }
        chain.first().and_then(|leaf| ends_too_soon(leaf, &self.wanted, now()))
    }
}

impl Opened {
    /// The stream, where nothing speaks against it.
    fn trusted(self) -> Result<TlsStream<Transport>, Failure> {
        match self.distrust {
            None => Ok(self.stream),
            Some(failure) => Err(failure),
        }
    }
}

fn described(position: usize, certificate: &Certificate) -> String {
    let Certificate { subject, issuer, not_before, not_after, .. } = certificate;
    let (from, to) = (moment(*not_before), moment(*not_after));
    let names =
        if certificate.names.is_empty() { String::new() } else { format!(", for {}", listed(&certificate.names)) };
    format!("certificate {}: {subject}, issued by {issuer}, valid from {from} to {to}{names}", position + 1)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

// === `type = "tls"` ===

pub(super) async fn ask(question: &Question, address: &Site, log: &Log) -> Result<Finding, Failure> {
    let opener = match question.prepared() {
        Ready::Tls(Ok(opener)) => opener,
        Ready::Tls(Err(why)) => return Err(Failure::new(Layer::Tls, why.clone())),
        _ => return Err(Failure::new(Layer::Local, "this is no question about TLS")),
    };
    let stream = question.connect(address, log).await?;
    let mut stream = opener.open(stream, log).await?;
    let agreed = Agreement::of(&stream);
    let inside = agreed.protocol.map(|protocol| format!(" with {protocol}")).unwrap_or_default();
    say_goodbye(&mut stream).await?;
    let until = log.leaf_ends().map(|end| format!(", certificate until {}", moment(end))).unwrap_or_default();
    Ok(Finding::new(format!("{}{inside}{until}", agreed.version)))
}

/// Ends as the protocol wants it, and hears what the server still has against us.
async fn say_goodbye(stream: &mut TlsStream<Transport>) -> Result<(), Failure> {
    let mut rest = [0; 1024];
    let goodbye = async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    match tokio::time::timeout(GOODBYE, goodbye).await {
        Ok(Err(error)) => late(&error).map_or(Ok(()), Err),
        // It stays silent, which nothing forbids.
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

// === what went wrong ===

/// What TLS itself has against a stream that stood; `None` where the connection broke.
pub(super) fn late(error: &io::Error) -> Option<Failure> {
    match refusal(error)? {
        Refusal::Alert(alert) => Some(Failure::new(Layer::Tls, alerted(&alert))),
        _ => Some(Failure::new(Layer::Tls, format!("TLS broke: {error}"))),
    }
}

fn ends_too_soon(leaf: &Certificate, wanted: &Wanted, now: i64) -> Option<Failure> {
    let span = wanted.expires_in?;
    let left = leaf.not_after.saturating_sub(now);
    if left >= i64::try_from(span.as_secs()).unwrap_or(i64::MAX) {
        return None;
    }
    let end = moment(leaf.not_after);
    let when = match left {
        ..0 => format!("has ended at {end}"),
        0..DAY => format!("ends at {end}, within a day"),
        _ => format!("ends at {end}, in {} days", left / DAY),
    };
    let days = span.as_secs() / DAY.unsigned_abs();
    let span = if days > 0 { format!("{days} days") } else { format!("{span:?}") };
    Some(Failure::new(Layer::Tls, format!("the certificate {when}, and `expires_in` wants {span}; renew it")))
}

fn why(error: &io::Error, chain: &[Certificate], wanted: &Wanted, now: i64) -> String {
    let Some(refusal) = refusal(error) else {
        return format!("{} within the TLS handshake", plain(error));
    };
    match refusal {
        Refusal::WrongName => wrong_name(chain, wanted),
        Refusal::Expired => expired(chain, now),
        Refusal::NotYetValid => match chain.iter().find(|one| one.not_before > now) {
            Some(early) => format!(
                "the certificate of {} is valid only from {} on; is a clock wrong, here or there?",
                early.subject,
                moment(early.not_before)
            ),
            None => "the certificate is not valid yet; is a clock wrong, here or there?".to_owned(),
        },
        Refusal::UnknownIssuer => unknown_issuer(chain),
        Refusal::Distrusted(why) => {
            format!("the certificate is not trusted: {why}; have it made anew, or set `verify = false`")
        }
        Refusal::Alert(alert) => alerted(&alert),
        Refusal::NoProtocol => no_protocol(wanted),
        Refusal::NothingInCommon(what) if what == "version" => {
            match (wanted.dialect.speaks(TlsVersion::V1_2), wanted.dialect.speaks(TlsVersion::V1_3)) {
                (false, true) if wanted.dialect.least == TlsVersion::V1_3 => {
                    "it does not speak TLS 1.3, and `min_version` wants that".to_owned()
                }
                (true, false) if wanted.dialect.most == TlsVersion::V1_2 => {
                    "it does not speak TLS 1.2, and `max_version` wants that".to_owned()
                }
                (true, true) => "it speaks no TLS from version 1.2 on; older ones are broken".to_owned(),
                _ => "it speaks no version of TLS that `ciphers` has one for".to_owned(),
            }
        }
        Refusal::NothingInCommon(what) => format!("nothing in common to speak TLS with: {what}"),
        Refusal::NotTls => "what came is no TLS; is this its plain port?".to_owned(),
        Refusal::Misbehaves(what) => format!("it does not keep to TLS: {what}"),
    }
}

fn wrong_name(chain: &[Certificate], wanted: &Wanted) -> String {
    let name = &wanted.name;
    match chain.first() {
        Some(leaf) if !leaf.names.is_empty() => {
            format!(
                "the certificate is for {}, not for {name}; set `server_name` to one of its names",
                listed(&leaf.names)
            )
        }
        // Names in the subject have not counted for twenty years.
        Some(leaf) => format!(
            "the certificate of {} has no subject alternative names, so it is not for {name}; have it made anew with \
             them, or set `verify = false`",
            leaf.subject
        ),
        None => format!("the certificate is not for {name}; set `server_name` to one of its names"),
    }
}

fn expired(chain: &[Certificate], now: i64) -> String {
    match chain.iter().position(|one| one.not_after < now) {
        Some(0) => {
            format!("the certificate of {} has ended at {}; renew it", chain[0].subject, moment(chain[0].not_after))
        }
        Some(position) => {
            let old = &chain[position];
            format!(
                "the certificate of {}, which is in its chain, has ended at {}; put the new one there",
                old.subject,
                moment(old.not_after)
            )
        }
        None => "a certificate in its chain has ended; renew it".to_owned(),
    }
}

fn unknown_issuer(chain: &[Certificate]) -> String {
    let remedy = "name its issuer with `ca = \"file\"`, or set `verify = false`";
    match chain {
        [only] if only.is_self_signed() => format!(
            "the certificate of {} is signed by itself; name it with `ca = \"file\"`, or set `verify = false`",
            only.subject
        ),
        [only] => format!(
            "nobody trusted has signed the certificate: its issuer is {}; {remedy}, or have the backend send the whole \
             chain",
            only.issuer
        ),
        [.., last] => format!("nobody trusted has signed the certificate: its chain ends at {}; {remedy}", last.issuer),
        [] => format!("nobody trusted has signed the certificate; {remedy}"),
    }
}

fn alerted(alert: &str) -> String {
    let remedy = match alert {
        "certificate required" => "; it wants a certificate of ours: give `cert` and `key`",
        "bad certificate" | "unknown ca" | "certificate unknown" | "certificate expired" | "access denied" => {
            "; it does not trust the certificate that `cert` names, or wants one"
        }
        "handshake failure" => "; it may want a certificate of ours (`cert` and `key`), or ciphers that are not safe",
        "unrecognised name" => "; set `server_name` to a name that it knows",
        "protocol version" => "; it speaks none of the versions of TLS from `min_version` on",
        _ => "",
    };
    format!("it refused with the TLS alert `{alert}`{remedy}")
}

fn no_protocol(wanted: &Wanted) -> String {
    format!("it speaks none of the protocols that were offered by ALPN: {}", wanted.protocols)
}

/// `a, b, c, d and 3 more`.
fn listed(names: &[String]) -> String {
    let shown = names.len().min(NAMES_SHOWN);
    let rest = names.len() - shown;
    let list = names[..shown].join(", ");
    if rest == 0 { list } else { format!("{list} and {rest} more") }
}
