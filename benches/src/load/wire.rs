//! One connection of the load, plain or in TLS, without blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use crate::tls;

pub struct Wire {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq)]
pub enum Stand {
    NotYet,
    /// Bytes can go; in TLS, whether an earlier session was taken up.
    Standing(Option<HandshakeKind>),
}

impl Wire {
    /// Begins to connect; events come with this token.
    pub fn connect(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, tls: tls.map(|config| Box::new(tls::connection(config))) })
    }

    /// Does what can be done now to agree.
    pub fn establish(&mut self) -> io::Result<Stand> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        let Some(tls) = &mut self.tls else { return Ok(Stand::Standing(None)) };
        loop {
            if !send(tls, &mut self.stream)? {
                return Ok(Stand::NotYet);
            }
            if !tls.is_handshaking() {
                return Ok(Stand::Standing(tls.handshake_kind()));
            }
            match tls.read_tls(&mut self.stream) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => _ = tls.process_new_packets().map_err(io::Error::other)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Stand::NotYet),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends some of these bytes; none when the socket takes none now.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return match self.stream.write(bytes) {
                Err(error) if is_later(&error) => Ok(0),
                result => result,
            };
        };
        let taken = tls.writer().write(bytes)?;
        send(tls, &mut self.stream)?;
        Ok(taken)
    }

    /// The next bytes; `Ok(0)` at the end.
    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.read(into) };
        loop {
            match tls.reader().read(into) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            if tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
            send(tls, &mut self.stream)?;
        }
    }

    /// Says goodbye.
    pub fn close(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            send(tls, &mut self.stream)?;
        }
        self.stream.shutdown(std::net::Shutdown::Write)
    }
}

/// Sends what TLS has ready; `false` when the socket takes no more now.
fn send(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(error) if is_later(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
