//! What an origin does: a value that is put together by naming the behaviours, then started.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::{Origin, Received};

/// The behaviour of an origin.
#[derive(Clone)]
pub struct Script {
    pub(super) protocol: Protocol,
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    pub(super) accept: Accept,
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Arc<[u8]>,
    pub(super) framing: Framing,
    pub(super) fault: Fault,
    pub(super) interim: Vec<u16>,
    pub(super) before_body: BeforeBody,
    pub(super) delay: Duration,
    pub(super) drip: Option<Duration>,
    /// Where dripping begins.
    pub(super) drips_from: DripsFrom,
    /// Requests served before it stalls.
    pub(super) stalls_after: Option<usize>,
    pub(super) paths: Vec<(String, Script)>,
    pub(super) by: Option<Judge>,
}

/// Decides for each request how it is answered.
pub(super) type Judge = Arc<dyn Fn(&Received) -> Script + Send + Sync>;

/// What an origin speaks.
#[derive(Clone)]
pub(super) enum Protocol {
    Http,
    Echo,
    Banner(Arc<[u8]>),
    AnswerAtEnd(Arc<[u8]>),
    Source(usize),
    ResetAfter(usize),
}

/// What happens to a new connection.
#[derive(Clone, Copy)]
pub(super) enum Accept {
    Serve,
    Refuse,
    Stall,
    Reset,
    Close,
}

/// How an answer's end is known.
#[derive(Clone)]
pub(super) enum Framing {
    Length,
    Chunked(Vec<Vec<u8>>),
    Close,
    /// These bytes are the whole answer.
    Raw(Arc<[u8]>),
}

/// What happens between a request's head and its body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BeforeBody {
    Nothing,
    Continue,
    /// The whole answer.
    Answer,
}

/// What of an answer comes byte by byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DripsFrom {
    Head,
    Body,
}

/// How an answer goes wrong, or what comes after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    ResetMidHead,
    ResetMidBody,
    TruncateBody,
    StallBeforeAnswer,
    StallMidHead,
    StallMidBody,
    CloseBeforeAnswer,
    ResetBeforeAnswer,
    HalfClose,
    CloseAfter,
    CloseOnReuse,
    ResetOnReuse,
    Garbage,
    HugeHead,
    EndlessBody,
    UpgradeEcho,
}

impl Script {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            ip: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            accept: Accept::Serve,
            status: 200,
            headers: Vec::new(),
            body: Arc::default(),
            framing: Framing::Length,
            fault: Fault::None,
            interim: Vec::new(),
            before_body: BeforeBody::Nothing,
            delay: Duration::ZERO,
            drip: None,
            drips_from: DripsFrom::Body,
            stalls_after: None,
            paths: Vec::new(),
            by: None,
        }
    }

    /// Starts the origin on a port of the system's choice.
    pub fn start(self) -> Origin {
        Origin::start(self)
    }

    /// Listens there instead of on 127.0.0.1; any 127.x.y.z will do.
    pub fn on(mut self, ip: impl Into<IpAddr>) -> Self {
        self.ip = ip.into();
        self
    }

    /// Listens at this port instead of one of the system's choice.
    pub fn at_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Answers each request as this says; how connections are accepted stays as it is.
    pub fn by(mut self, judge: impl Fn(&Received) -> Self + Send + Sync + 'static) -> Self {
        self.by = Some(Arc::new(judge));
        self
    }

    /// Answers with this body.
    pub fn reply(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().into();
        self
    }

    /// Answers with this status code.
    pub fn status(mut self, code: u16) -> Self {
        self.status = code;
        self
    }

    /// Adds a header to each answer.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Behaves otherwise for one path (without query).
    pub fn at(mut self, path: &str, script: Self) -> Self {
        self.paths.push((path.into(), script));
        self
    }

    /// Answers in chunks, one for each part.
    pub fn chunked<P: AsRef<[u8]>>(mut self, parts: impl IntoIterator<Item = P>) -> Self {
        self.framing = Framing::Chunked(parts.into_iter().map(|part| part.as_ref().to_vec()).collect());
        self
    }

    /// Answers without a length; the connection's end is the body's.
    pub fn close_delimited(mut self) -> Self {
        self.framing = Framing::Close;
        self
    }

    /// Answers each request with exactly these bytes.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.framing = Framing::Raw(bytes.as_ref().into());
        self
    }

    /// Answers `100 Continue` before it reads a body, asked or not.
    pub fn continue_100(mut self) -> Self {
        self.before_body = BeforeBody::Continue;
        self
    }

    /// Answers before it reads the body, then reads it.
    pub fn answers_early(mut self) -> Self {
        self.before_body = BeforeBody::Answer;
        self
    }

    /// Sends an interim answer (103) before the real one.
    pub fn informs(mut self, code: u16) -> Self {
        self.interim.push(code);
        self
    }

    /// Takes so long to answer, or to send a banner.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends the body byte by byte, with so much time between two bytes.
    pub fn slow(mut self, interval: Duration) -> Self {
        self.drip = Some(interval);
        self
    }

    /// Sends the whole answer byte by byte, status line and all.
    pub fn drips(mut self, interval: Duration) -> Self {
        self.drips_from = DripsFrom::Head;
        self.slow(interval)
    }

    /// Nothing listens; connections are refused.
    pub fn refuses(self) -> Self {
        self.accepting(Accept::Refuse)
    }

    /// Accepts, reads, never answers.
    pub fn accepts_and_stalls(self) -> Self {
        self.accepting(Accept::Stall)
    }

    /// Answers so many requests, then reads and answers no more.
    pub fn stalls_after(mut self, requests: usize) -> Self {
        self.stalls_after = Some(requests);
        self
    }

    /// Resets each connection as soon as it is accepted.
    pub fn resets_on_accept(self) -> Self {
        self.accepting(Accept::Reset)
    }

    /// Closes each connection as soon as it is accepted.
    pub fn closes_on_accept(self) -> Self {
        self.accepting(Accept::Close)
    }

    /// Reads a request and never answers.
    pub fn stalls_before_answer(self) -> Self {
        self.failing(Fault::StallBeforeAnswer)
    }

    /// Sends half a head and then nothing.
    pub fn stalls_mid_head(self) -> Self {
        self.failing(Fault::StallMidHead)
    }

    /// Sends half of a body and then nothing; give it a body.
    pub fn stalls_mid_body(self) -> Self {
        self.failing(Fault::StallMidBody)
    }

    /// Reads a request and resets.
    pub fn resets_before_answer(self) -> Self {
        self.failing(Fault::ResetBeforeAnswer)
    }

    /// Reads a request and closes.
    pub fn closes_before_answer(self) -> Self {
        self.failing(Fault::CloseBeforeAnswer)
    }

    /// Sends half a head and resets.
    pub fn resets_mid_head(self) -> Self {
        self.failing(Fault::ResetMidHead)
    }

    /// Sends half of a body and resets; give it a body.
    pub fn resets_mid_body(self) -> Self {
        self.failing(Fault::ResetMidBody)
    }

    /// Sends half of a body and closes; give it a body.
    pub fn truncates_body(self) -> Self {
        self.failing(Fault::TruncateBody)
    }

    /// Answers, ends its own side, and reads on.
    pub fn half_closes(self) -> Self {
        self.failing(Fault::HalfClose)
    }

    /// Answers as if the connection would stay, and closes it.
    pub fn keep_alive_then_closes_silently(self) -> Self {
        self.failing(Fault::CloseAfter)
    }

    /// Answers the first request of a connection; closes without an answer when a second one comes.
    pub fn closes_on_reuse(self) -> Self {
        self.failing(Fault::CloseOnReuse)
    }

    /// Answers the first request of a connection; resets when a second one comes.
    pub fn resets_on_reuse(self) -> Self {
        self.failing(Fault::ResetOnReuse)
    }

    /// Answers with bytes that are no HTTP, and closes.
    pub fn garbage(self) -> Self {
        self.failing(Fault::Garbage)
    }

    /// Answers with a head of a mebibyte.
    pub fn huge_head(self) -> Self {
        self.failing(Fault::HugeHead)
    }

    /// Answers with a body that never ends.
    pub fn endless_body(self) -> Self {
        self.failing(Fault::EndlessBody)
    }

    /// Answers a request that asks for an upgrade with 101 and then echoes; others as usual.
    pub fn upgrade_echo(self) -> Self {
        self.failing(Fault::UpgradeEcho)
    }

    fn accepting(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    fn failing(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }
}
