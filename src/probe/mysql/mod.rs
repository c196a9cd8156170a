//! `type = "mysql"`: a login to `MySQL` or `MariaDB`, ended as politely as it began.
//!
//! The server counts every handshake that breaks off, and after `max_connect_errors` of them it refuses the balancer's
//! address, client traffic included. So no login is ever dropped half-way: one that does not end in time goes on in the
//! background, and until it has ended no other is begun ([`Stragglers`]).

mod packet;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::packet::{Greeting, Reply, Switch};
use super::question::{Question, Ready};
use super::report::{Failure, Finding, Layer};
use super::transcript::{Log, Recorder};
use crate::config::model::MysqlCheck;

/// A packet of the login phase that is longer is no such packet.
const MAX_PACKET: usize = 16 * 1024;
/// Questions of the server after the login packet: a switch of method, more data, and the verdict.
const MAX_ROUNDS: usize = 5;
/// Longest life of a login that does not end in time: a server that was stopped and goes on finds it waiting.
const LONGEST: Duration = Duration::from_secs(600);
/// How long the server may take to close after it was told goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The login that did not end in time, if there is one.
#[derive(Debug, Default)]
pub(super) struct Stragglers(Mutex<Option<JoinHandle<Login>>>);

type Login = Result<Finding, Failure>;

pub(super) async fn ask(
    question: &Arc<Question>,
    check: &MysqlCheck,
    address: SocketAddr,
    log: &Log,
) -> Result<Finding, Failure> {
    let Ready::Mysql(stragglers) = question.prepared() else {
        return Err(Failure::new(Layer::Local, "this is no question to MySQL"));
    };
    let deadline = Instant::now() + question.timeout;
    let late = || Failure::new(Layer::Timeout, format!("no login within {:?}", question.timeout));
    let slot = || stragglers.0.lock().unwrap_or_else(PoisonError::into_inner);

    let straggler = slot().take();
    if let Some(mut straggler) = straggler
        && tokio::time::timeout_at(deadline, &mut straggler).await.is_err()
    {
        *slot() = Some(straggler);
        log.note("an earlier login is still waiting for the server; no other is begun");
        return Err(late());
    }
    let stream = question.connect(address, log).await?;
    let check = check.clone();
    let mut login = tokio::spawn({
        let log = log.clone();
        async move { Box::pin(log_in(stream, &check, &log)).await }
    });
    match tokio::time::timeout_at(deadline, &mut login).await {
        Ok(Ok(result)) => result,
        Ok(Err(_ended)) => Err(Failure::new(Layer::Local, "the login was stopped")),
        Err(_elapsed) => {
            *slot() = Some(login);
            Err(late())
        }
    }
}

async fn log_in(stream: TcpStream, check: &MysqlCheck, log: &Log) -> Login {
    let mut stream = Recorder::new(stream, log);
    let talk = converse(&mut stream, check, log);
    let result = match tokio::time::timeout(LONGEST, talk).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Failure::new(Layer::Timeout, format!("no login within {LONGEST:?}"))),
    };
    // The server closes first. Whatever it still says is read, so that we end with FIN and not with a reset.
    let mut rest = [0_u8; 512];
    let goodbye = async {
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // A server that does not close within the time has been told all the same.
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    result
}

async fn converse(stream: &mut Recorder<TcpStream>, check: &MysqlCheck, log: &Log) -> Result<Finding, Failure> {
    let (payload, _) = receive(stream, "a greeting").await?;
    let greeting = match Greeting::parse(&payload) {
        Ok(greeting) => greeting,
        Err(reply) => return refused(&reply, log),
    };
    log.note(format!("greeted by {}", greeting.version));
    send(stream, 1, &packet::login(&greeting, &check.user, &check.password)).await?;
    let mut alive = Finding::new(format!("logged in to {}", greeting.version));
    for _ in 0..MAX_ROUNDS {
        let (payload, number) = receive(stream, "an answer to the login").await?;
        let answer = match Reply::parse(&payload) {
            Reply::Ok => {
                log.note("logged in");
                send(stream, 0, &packet::QUIT).await?;
                return Ok(alive);
            }
            Reply::Switch(switch) => {
                let (bytes, note) = reply_to(&switch, &check.password);
                log.note(format!("asked to log in by {}{note}", switch.method));
                bytes
            }
            // The password is right by the server's cache: its verdict follows.
            Reply::More(3) => continue,
            Reply::More(_) => {
                alive.what = "alive; this method of login needs TLS".into();
                vec![0]
            }
            reply => return refused(&reply, log),
        };
        send(stream, number.wrapping_add(1), &answer).await?;
    }
    Err(Failure::new(Layer::Protocol, "the login leads nowhere"))
}

fn reply_to(switch: &Switch, password: &str) -> (Vec<u8>, &'static str) {
    match switch.method.as_str() {
        "mysql_native_password" => (packet::scramble(password, &switch.salt), ""),
        // For a user without a password one zero byte says so. For another one it is refused with 1045, which proves
        // life as well and ends the handshake properly.
        "caching_sha2_password" | "sha256_password" if password.is_empty() => (vec![0], ""),
        _ => (vec![0], ", which is not supported: give the user mysql_native_password"),
    }
}

/// The server said no: whether that is a sign of life, and what to do about it.
fn refused(reply: &Reply, log: &Log) -> Result<Finding, Failure> {
    let Reply::Error { code, text } = reply else {
        return Err(Failure::new(Layer::Protocol, "what came is not the MySQL protocol"));
    };
    log.note(format!("error {code}: {text}"));
    let (code, remedy) = match code {
        // Access denied (also by database, method or lock), user's own limits: whoever says so is alive.
        1044 | 1045 | 1226 | 1251 | 1524 | 1698 | 1820 | 1862 | 3118 | 4151 => {
            return Ok(Finding::new(format!("alive (error {code}: access denied)")));
        }
        1129 => {
            (code, "it has blocked the balancer's address: run FLUSH HOSTS there, and find out who breaks off logins")
        }
        1130 => (code, "it lets no user in from the balancer's address: create one for it"),
        1040 => (code, "too many connections: raise max_connections or find out who holds them"),
        1203 => (code, "this user has too many connections: raise its max_user_connections"),
        1053 => (code, "it is shutting down"),
        1047 => (code, "this Galera node is not ready (WSREP): wait until it has joined"),
        1043 | 1156 => (code, "it did not understand the login"),
        _ => return Err(Failure::new(Layer::Answer, format!("error {code}: {text}"))),
    };
    Err(Failure::new(Layer::Answer, format!("error {code}: {remedy} (it says: {text})")))
}

/// One packet: its payload and its number.
async fn receive(stream: &mut Recorder<TcpStream>, waiting_for: &str) -> Result<(Vec<u8>, u8), Failure> {
    let broken = |error: io::Error| Failure::broken(&error, waiting_for);
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(broken)?;
    let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
    if length == 0 || length > MAX_PACKET {
        return Err(Failure::new(Layer::Protocol, "what came is not the MySQL protocol"));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.map_err(broken)?;
    Ok((payload, head[3]))
}

async fn send(stream: &mut Recorder<TcpStream>, number: u8, payload: &[u8]) -> Result<(), Failure> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + 4);
    bytes.extend_from_slice(&[length[0], length[1], length[2], number]);
    bytes.extend_from_slice(payload);
    stream.write_all(&bytes).await.map_err(|error| Failure::broken(&error, "the login was sent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_and_name_the_remedy() {
        let rows: &[(u16, Result<&str, &str>)] = &[
            (1045, Ok("access denied")),
            (1698, Ok("access denied")),
            (1226, Ok("access denied")),
            (1129, Err("FLUSH HOSTS")),
            (1130, Err("create one")),
            (1040, Err("max_connections")),
            (1053, Err("shutting down")),
            (1047, Err("WSREP")),
            (1043, Err("did not understand")),
            (9999, Err("9999: its words")),
        ];
        for (code, expected) in rows {
            let found = refused(&Reply::Error { code: *code, text: "its words".to_owned() }, &Log::new());
            match (&found, expected) {
                (Ok(found), Ok(words)) => assert!(found.what.contains(words), "{code}: {found:?}"),
                (Err(failure), Err(words)) => {
                    assert!(failure.what.contains(words) && failure.what.contains("its words"), "{failure}");
                    assert_eq!(failure.layer, Layer::Answer);
                }
                _ => panic!("{code}: {found:?}"),
            }
        }
    }
}
