//! Packets of a server, plain or within TLS, and the ways in which they go wrong.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::Shared;
use super::script::{Fault, Script, Stage};

/// An OK packet: nothing changed, autocommit.
pub(super) const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 2, 0];

/// One connection.
pub(super) struct Wire {
    socket: Arc<TcpStream>,
    tls: Option<StreamOwned<ServerConnection, Plain>>,
    /// Of the next packet.
    number: u8,
}

/// The socket, shared with whoever closes it.
pub(super) struct Plain(Arc<TcpStream>);

impl Read for Plain {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(bytes)
    }
}

impl Write for Plain {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

impl Wire {
    pub(super) fn new(socket: Arc<TcpStream>) -> Self {
        let _ = socket.set_nodelay(true);
        Self { socket, tls: None, number: 0 }
    }

    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Finishes the handshake of TLS.
    pub(super) fn secure(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, Plain(Arc::clone(&self.socket)));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        self.tls = Some(stream);
        Ok(())
    }

    pub(super) fn receive_command(&mut self) -> io::Result<Vec<u8>> {
        self.number = 0;
        self.receive()
    }

    pub(super) fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 4];
        self.read(&mut head)?;
        // A real server holds this against the client, too.
        if head[3] != self.number {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.number = self.number.wrapping_add(1);
        let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16];
        self.read(&mut payload)?;
        Ok(payload)
    }

    /// Sends a packet, or goes wrong as the script says of this stage.
    pub(super) fn send(&mut self, stage: Stage, script: &Script, shared: &Shared, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let packet = [&[length[0], length[1], length[2], self.number], payload].concat();
        self.number = self.number.wrapping_add(1);
        match script.fault_at(stage) {
            None => self.write(&packet),
            Some(Fault::Stall) => {
                shared.stall();
                self.write(&packet)
            }
            Some(Fault::StallHalfway) => {
                self.write(&packet[..packet.len() / 2])?;
                shared.stall();
                self.write(&packet[packet.len() / 2..])
            }
            Some(Fault::Cut) => {
                self.write(&packet[..packet.len() / 2])?;
                self.close();
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Some(Fault::Garbage) => self.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Some(Fault::Close) => {
                self.close();
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }

    pub(super) fn send_rows(
        &mut self,
        script: &Script,
        shared: &Shared,
        columns: &[String],
        rows: &[Vec<Option<String>>],
    ) -> io::Result<()> {
        self.send(Stage::Statement, script, shared, &[columns.len() as u8])?;
        let calm = Script::new();
        for column in columns {
            let mut definition = b"\x03def\0\0\0".to_vec();
            push_text(&mut definition, column);
            definition.extend_from_slice(&[0, 12, 33, 0, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0]);
            self.send(Stage::Statement, &calm, shared, &definition)?;
        }
        self.send(Stage::Statement, &calm, shared, END)?;
        for row in rows {
            let mut packet = Vec::new();
            for value in row {
                match value {
                    None => packet.push(0xfb),
                    Some(text) => push_text(&mut packet, text),
                }
            }
            self.send(Stage::Rows, script, shared, &packet)?;
        }
        self.send(Stage::Statement, &calm, shared, END)
    }

    pub(super) fn close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.conn.send_close_notify();
            let _ = tls.conn.complete_io(&mut tls.sock);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
        // Reads what still comes, so that this end closes with FIN.
        let _ = io::copy(&mut &*self.socket, &mut io::sink());
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.read_exact(bytes),
            None => (&*self.socket).read_exact(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
            None => (&*self.socket).write_all(bytes),
        }
    }
}

/// A text with its length in front.
fn push_text(packet: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 251 {
        packet.push(length as u8);
    } else {
        packet.push(0xfd);
        packet.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes()[..3]);
    }
    packet.extend_from_slice(text.as_bytes());
}

/// An error packet; `text` with its `#SQLSTATE` where it has one.
pub(super) fn error(code: u16, text: &str) -> Vec<u8> {
    [&[0xff], &code.to_le_bytes()[..], text.as_bytes()].concat()
}
