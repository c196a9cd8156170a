//! A client's stream, in the manner of a connection of HTTP/1.1 with one request on it.
//!
//! Hot path: no lock, no formatting.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::Method;
use ::http::header::CONTENT_LENGTH;
use ::http::request::Parts;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use tokio::io::ReadBuf;

use super::answer::{self, Asked};
use super::ledger::{Ledger, Parcel};
use super::receiving::{Came, Receiving, Whose};
use super::request::{self, Rest, Shape};
use super::sending::Sending;
use super::{broken, error_of};
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::{Carrier, Stream};
use crate::net::tls::{ClientCertificate, Facts};
use crate::proxy::http::http1::{Framing, Reject, fields};

/// One request, and where its answer goes.
#[derive(Debug)]
pub(super) struct Served {
    request: Receiving,
    answer: Answer,
    asked: Asked,
    /// Bytes that have been taken, and are not written before they are handed over.
    owed: usize,
    ledger: Rc<Ledger>,
    from: Rc<From>,
}

/// How the connection came about that carries a stream.
#[derive(Debug)]
pub(super) struct From {
    /// Over TLS.
    pub(super) is_tls: bool,
    /// Version and cipher of TLS, and the name that the client has asked for.
    agreed: Option<(&'static str, &'static str, Option<Box<str>>)>,
    /// Our end.
    local: Option<SocketAddr>,
    /// The certificate that the client has shown.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

impl From {
    /// What is known of a connection before it carries anything.
    pub(super) fn of(client: &Stream) -> Self {
        let agreed = client.tls().map(|tls| (tls.version, tls.cipher, tls.server_name.map(Into::into)));
        Self {
            is_tls: client.is_tls(),
            agreed,
            local: client.local_address(),
            certificate: client.client_certificate().cloned(),
        }
    }
}

#[derive(Debug)]
enum Answer {
    /// Its head is still to come.
    Head(SendResponse<Parcel>),
    Body(Sending),
    /// It was broken off before it began.
    Broken,
}

impl Served {
    /// Dresses a stream; together with what is wrong with its request. `key`: see [`request::write`].
    pub(super) fn new(
        parts: &Parts,
        body: RecvStream,
        respond: SendResponse<Parcel>,
        ledger: &Rc<Ledger>,
        from: &Rc<From>,
        key: &[u8],
    ) -> (Self, Option<Reject>) {
        let mut head = Buffer::take(Size::Small);
        let rest = if body.is_end_stream() { Rest::Nothing } else { Rest::Follows };
        let (shape, reject) = match request::write(&mut head, parts, rest, key) {
            Ok(shape) => (shape, None),
            Err(reject) => (Shape::Empty, Some(reject)),
        };
        let asked = match (shape, &parts.method) {
            (Shape::Tunnel, _) => Asked::Tunnel,
            (_, method) if method == Method::HEAD => Asked::Head,
            _ => Asked::Other,
        };
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| fields::content_length(length.as_bytes()));
        let request = Receiving::new(Whose::Client(length), Some(head), Some(body), shape);
        (
            Self {
                request,
                answer: Answer::Head(respond),
                asked,
                owed: 0,
                ledger: Rc::clone(ledger),
                from: Rc::clone(from),
            },
            reject,
        )
    }

    /// Sends the head that `bytes` begin with, and says its length.
    fn begin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Answer::Head(respond) = &mut self.answer else { return Err(broken()) };
        let head = answer::read(bytes, self.asked)?;
        if head.response.status().is_informational() {
            respond.send_informational(head.response).map_err(|error| error_of(&error))?;
            return Ok(head.length);
        }
        let is_all = head.framing == Framing::Empty;
        let stream = respond.send_response(head.response, is_all).map_err(|error| error_of(&error))?;
        self.answer = Answer::Body(Sending::new(stream, head.framing, Rc::clone(&self.ledger)));
        Ok(head.length)
    }

    fn reset_for(&mut self, reason: Reason) {
        match &mut self.answer {
            Answer::Head(respond) => {
                respond.send_reset(reason);
                self.answer = Answer::Broken;
            }
            Answer::Body(sending) => sending.reset(reason),
            Answer::Broken => {}
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let head = if matches!(self.answer, Answer::Head(_)) { self.begin(bytes)? } else { 0 };
        match &mut self.answer {
            // To an interim answer, or to one whose head is all, nothing belongs that stands behind it.
            Answer::Body(sending) if !sending.has_ended() && bytes.len() > head => {
                Ok(head + sending.take(&bytes[head..])?)
            }
            _ if head > 0 => Ok(head),
            Answer::Body(_) | Answer::Head(_) | Answer::Broken => Err(broken()),
        }
    }
}

impl Carrier for Served {
    fn poll_read(&mut self, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let came = ready!(self.request.poll_read(context, space));
        if came.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            self.reset_for(Reason::PROTOCOL_ERROR);
        }
        match came? {
            Came::End if !self.request.is_tunnel() => {
                // Nothing follows a request, and that is no end of anything: but the client may give it up.
                ready!(self.poll_gone(context));
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Came::Bytes | Came::End => Poll::Ready(Ok(())),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.owed == 0 {
            self.owed = self.take(bytes)?;
        }
        if let Answer::Body(sending) = &mut self.answer {
            ready!(sending.poll_out(context))?;
        }
        Poll::Ready(Ok(std::mem::take(&mut self.owed)))
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.answer {
            Answer::Head(respond) => respond.poll_reset(context).map(|_| ()),
            Answer::Body(sending) => sending.poll_gone(context),
            Answer::Broken => Poll::Ready(()),
        }
    }

    fn finish_sending(&mut self) {
        if let Answer::Body(sending) = &mut self.answer {
            sending.finish();
        }
    }

    fn reset(&mut self) {
        self.reset_for(Reason::INTERNAL_ERROR);
    }

    fn tls(&self) -> Option<Facts<'_>> {
        let (version, cipher, server_name) = self.from.agreed.as_ref()?;
        let client = self.from.certificate.as_deref();
        Some(Facts { version, cipher, protocol: Some(b"h2"), server_name: server_name.as_deref(), client })
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.from.local
    }

    fn is_tls(&self) -> bool {
        self.from.is_tls
    }

    fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.from.certificate.as_ref()
    }

    fn is_untouched(&self) -> bool {
        false
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if matches!(&self.answer, Answer::Body(sending) if sending.has_ended()) {
            self.ledger.answered();
        }
    }
}
