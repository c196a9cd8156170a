//! A server that plays a part: it says and hears what the test wrote down, byte by byte, and tells what it heard.
//!
//! The same part can be cut anywhere: then it falls silent, or closes, at that place.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "support fails by panicking, as tests do")]
#![allow(unreachable_pub, reason = "a test file is a crate of its own, and what is pub here is pub for it")]

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// One act of a part.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Reads as many bytes as these, and expects these.
    Hear(Vec<u8>),
    /// Reads so many bytes, whatever they are.
    HearAny(usize),
    /// Lets TLS begin.
    Tls,
    /// Says and hears nothing more, and holds the connection.
    Stall,
    /// Closes at once.
    Close,
}

/// `Say`, from anything that has bytes.
pub fn say(bytes: impl AsRef<[u8]>) -> Act {
    Act::Say(bytes.as_ref().to_vec())
}

/// `Hear`, from anything that has bytes.
pub fn hear(bytes: impl AsRef<[u8]>) -> Act {
    Act::Hear(bytes.as_ref().to_vec())
}

/// What became of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// Acts that went as written.
    pub acts: usize,
    /// What was heard where something else was expected.
    pub instead: Option<Vec<u8>>,
    /// What came after the last act.
    pub rest: Vec<u8>,
    /// Whether the client ended it with FIN.
    pub ended_well: bool,
}

/// A running fake.
#[derive(Debug)]
pub struct Fake {
    /// Where it listens.
    pub address: SocketAddr,
    played: mpsc::UnboundedReceiver<Played>,
}

impl Fake {
    /// Plays this part to every connection; when it is over, waits for the client's end.
    pub async fn play(acts: Vec<Act>) -> Self {
        Self::play_all(vec![acts], None).await
    }

    /// The same, able to begin TLS.
    pub async fn play_secured(acts: Vec<Act>, tls: TlsAcceptor) -> Self {
        Self::play_all(vec![acts], Some(tls)).await
    }

    /// Plays one part after the other, a connection each; the last one again and again.
    pub async fn play_all(parts: Vec<Vec<Act>>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, played) = mpsc::unbounded_channel();
        let parts = Arc::new(parts);
        tokio::spawn(async move {
            let mut turn = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (parts, sender, tls) = (Arc::clone(&parts), sender.clone(), tls.clone());
                let part = turn.min(parts.len() - 1);
                turn += 1;
                tokio::spawn(async move {
                    let _ = sender.send(perform(stream, &parts[part], tls).await);
                });
            }
        });
        Self { address, played }
    }

    /// What became of the next connection that has ended.
    pub async fn played(&mut self) -> Played {
        tokio::time::timeout(std::time::Duration::from_secs(15), self.played.recv()).await.expect("it ends").unwrap()
    }
}

/// A part cut at every place, each with `then` instead of the rest.
pub fn cut(acts: &[Act], then: &Act) -> Vec<Vec<Act>> {
    let stages = (0..acts.len()).filter(|stage| !matches!(acts[*stage], Act::Hear(_) | Act::HearAny(_)));
    stages.map(|stage| acts[..stage].iter().chain([then]).cloned().collect()).collect()
}

trait Line: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Line for T {}

async fn perform(stream: TcpStream, acts: &[Act], tls: Option<TlsAcceptor>) -> Played {
    let mut line: Box<dyn Line> = Box::new(stream);
    let mut played = Played { acts: 0, instead: None, rest: Vec::new(), ended_well: false };
    for act in acts {
        match act {
            Act::Say(bytes) => {
                if line.write_all(bytes).await.is_err() || line.flush().await.is_err() {
                    return played;
                }
            }
            Act::Hear(expected) => {
                let mut heard = vec![0; expected.len()];
                if line.read_exact(&mut heard).await.is_err() || heard != *expected {
                    played.instead = Some(heard);
                    return played;
                }
            }
            Act::HearAny(count) => {
                if line.read_exact(&mut vec![0; *count]).await.is_err() {
                    return played;
                }
            }
            Act::Tls => match tls.as_ref().expect("it can do TLS").accept(line).await {
                Ok(secured) => line = Box::new(secured),
                Err(_) => return played,
            },
            Act::Stall => std::future::pending().await,
            Act::Close => return played,
        }
        played.acts += 1;
    }
    played.ended_well = line.read_to_end(&mut played.rest).await.is_ok();
    played
}

/// TLS with a fresh certificate for 127.0.0.1.
pub fn tls() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
