//! A stream to a backend, in the manner of a connection of HTTP/1.1 that takes one request.
//!
//! Hot path: no lock, no formatting.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::http::Response;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use tokio::io::ReadBuf;

use super::asked::{self, Asked};
use super::ledger::Place;
use super::links::{Link, Sender};
use super::receiving::{Receiving, Whose};
use super::sending::Sending;
use super::{broken, error_of};
use crate::net::buffer::{Buffer, Size};
use crate::net::stream::Carrier;
use crate::net::tls::{ClientCertificate, Facts};
use crate::proxy::http::http1::Framing;

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Call {
    link: Rc<Link>,
    sender: Sender,
    request: Request,
    answer: Answer,
    /// An interim answer that has not been read.
    interim: Option<Buffer>,
    /// Bytes that have been taken, and are not written before they are handed over.
    owed: usize,
    is_untouched: bool,
    _place: Place,
}

#[derive(Debug)]
enum Request {
    /// Its head is still to come.
    Head,
    Body(Sending),
    Broken,
}

#[derive(Debug)]
enum Answer {
    /// Nobody has been asked.
    None,
    Awaited(ResponseFuture, Asked),
    Coming(Receiving),
}

impl Call {
    pub(super) fn new(link: Rc<Link>, sender: Sender, place: Place) -> Self {
        let (request, answer) = (Request::Head, Answer::None);
        Self { link, sender, request, answer, interim: None, owed: 0, is_untouched: false, _place: place }
    }

    /// Sends the head that `bytes` begin with, and says its length.
    fn begin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let terms = asked::Terms {
            is_tls: self.link.is_tls,
            authority: &self.link.authority,
            takes_tunnels: self.sender.is_extended_connect_protocol_enabled(),
        };
        let head = asked::read(bytes, &terms)?;
        let is_all = head.framing == Framing::Empty;
        let sent = self.sender.send_request(head.request, is_all);
        let (answer, stream) = sent.map_err(|error| self.failed(&error))?;
        self.answer = Answer::Awaited(answer, head.asked);
        self.request = Request::Body(Sending::new(stream, head.framing, self.link.ledger()));
        Ok(head.length)
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let head = if matches!(self.request, Request::Head) { self.begin(bytes)? } else { 0 };
        match &mut self.request {
            Request::Body(sending) if !sending.has_ended() && bytes.len() > head => {
                Ok(head + sending.take(&bytes[head..])?)
            }
            _ if head > 0 => Ok(head),
            Request::Head | Request::Body(_) | Request::Broken => Err(broken()),
        }
    }

    /// Notes what an error says of the request and of the connection.
    fn failed(&mut self, error: &h2::Error) -> io::Error {
        let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        // Streams that the backend has begun with are not ended by its GOAWAY (RFC 9113, section 6.8).
        let is_going = error.is_go_away() && error.is_remote();
        self.is_untouched |= is_refused || is_going;
        if !error.is_reset() {
            self.link.retire();
        }
        error_of(error)
    }

    /// Waits for the head of the answer, or for an interim one, and makes text of it.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Answer::Awaited(answer, asked) = &mut self.answer else { return Poll::Pending };
        let came = match answer.poll_informational(context) {
            Poll::Ready(Some(Ok(interim))) => {
                let mut text = Buffer::take(Size::Small);
                asked::write_interim(&mut text, &interim);
                self.interim = Some(text);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(None) | Poll::Pending => ready!(Pin::new(answer).poll(context)),
        };
        let asked = asked.clone();
        match came {
            Ok(response) => {
                self.answer = Answer::Coming(coming(response, &asked));
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(self.failed(&error))),
        }
    }
}

fn coming(response: Response<RecvStream>, asked: &Asked) -> Receiving {
    let (parts, body) = response.into_parts();
    let mut text = Buffer::take(Size::Small);
    let shape = asked::write(&mut text, &parts, body.is_end_stream(), asked);
    Receiving::new(Whose::Backend, Some(text), Some(body), shape)
}

impl Carrier for Call {
    fn poll_read(&mut self, context: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(text) = &mut self.interim {
                let count = text.filled().len().min(space.remaining());
                space.put_slice(&text.filled()[..count]);
                text.consume(count);
                if text.is_empty() {
                    self.interim = None;
                }
                return Poll::Ready(Ok(()));
            }
            match &mut self.answer {
                Answer::Coming(receiving) => return receiving.poll_read(context, space).map_ok(|_came| ()),
                Answer::Awaited(..) => ready!(self.poll_head(context))?,
                Answer::None => return Poll::Pending,
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.owed == 0 {
            if matches!(self.request, Request::Head) {
                // The backend may have as many streams as it takes.
                ready!(self.sender.poll_ready(context)).map_err(|error| self.failed(&error))?;
            }
            self.owed = self.take(bytes)?;
        }
        if let Request::Body(sending) = &mut self.request {
            ready!(sending.poll_out(context))?;
        }
        Poll::Ready(Ok(std::mem::take(&mut self.owed)))
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.request {
            Request::Body(sending) => sending.poll_gone(context),
            Request::Head | Request::Broken => Poll::Pending,
        }
    }

    fn finish_sending(&mut self) {
        if let Request::Body(sending) = &mut self.request {
            sending.finish();
        }
    }

    fn reset(&mut self) {
        if let Request::Body(sending) = &mut self.request {
            sending.reset(Reason::CANCEL);
        }
        self.request = Request::Broken;
        self.answer = Answer::None;
    }

    fn is_tls(&self) -> bool {
        self.link.is_tls
    }

    fn tls(&self) -> Option<Facts<'_>> {
        // Told of clients only.
        None
    }

    fn local_address(&self) -> Option<SocketAddr> {
        None
    }

    fn client_certificate(&self) -> Option<&Arc<ClientCertificate>> {
        None
    }

    fn is_untouched(&self) -> bool {
        self.is_untouched
    }
}
