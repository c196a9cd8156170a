//! Taking connections from a listening socket of the worker, as many as the limits allow.
//!
//! At a limit, and when the system has no descriptor left, accepting pauses: connections wait in the kernel's queue
//! and nothing spins.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;

use super::http::connection;
use super::tcp;
use super::worker::Worker;
use crate::config::model::Protocol;
use crate::net::stream::Stream;
use crate::route::Listener;

/// How long accepting pauses at a limit before it looks again.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether a listening socket goes on accepting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepting {
    /// It does.
    Yes,
    /// It is being closed.
    No,
}

/// Accepts on one socket until told to stop. `name` finds the listener in the newest table.
pub async fn run(worker: Rc<Worker>, socket: TcpListener, name: Arc<str>, mut go_on: watch::Receiver<Accepting>) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = %name, %error, "a listening socket cannot be used");
            return;
        }
    };
    let mut current: Option<(u64, Arc<Listener>)> = None;
    let mut full_logged = false;
    loop {
        let view = worker.view();
        let listener = match &current {
            Some((generation, listener)) if *generation == view.table.generation => Arc::clone(listener),
            _ => {
                let found = view.table.listeners.iter().find(|listener| listener.config.name == name);
                let Some(listener) = found else { return };
                current = Some((view.table.generation, Arc::clone(listener)));
                Arc::clone(listener)
            }
        };
        let limit_reached = listener.open.load(Relaxed) >= listener.config.limits.connections.get()
            || worker.open.load(Relaxed) >= view.table.config.limits.connections.get();
        drop(view);
        if limit_reached {
            if !std::mem::replace(&mut full_logged, true) {
                tracing::warn!(listener = %name, "the limit of connections is reached; accepting pauses");
            }
            if pause(&mut go_on).await == Accepting::No {
                return;
            }
            continue;
        }
        full_logged = false;
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            changed = go_on.changed() => match changed {
                Ok(()) if *go_on.borrow() == Accepting::Yes => continue,
                _ => return,
            },
        };
        match accepted {
            Ok((stream, address)) => begin(&worker, listener, Stream::new(stream), address),
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %name, %error, "accepting pauses");
                if pause(&mut go_on).await == Accepting::No {
                    return;
                }
            }
        }
    }
}

fn begin(worker: &Rc<Worker>, listener: Arc<Listener>, stream: Stream, address: std::net::SocketAddr) {
    let place = worker.place(&listener.open);
    let worker = Rc::clone(worker);
    let stats = Arc::clone(&listener.stats);
    stats.mine().connections.inc();
    let protocol = listener.config.protocol;
    tokio::task::spawn_local(async move {
        match protocol {
            Protocol::Http => connection::serve(worker, listener, stream, address).await,
            Protocol::Tcp => tcp::serve(worker, listener, stream, address).await,
        }
        stats.mine().connections_ended.inc();
        drop(place);
    });
}

/// Errors that concern the connection that was about to come, not the socket (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn pause(go_on: &mut watch::Receiver<Accepting>) -> Accepting {
    match tokio::time::timeout(PAUSE, go_on.wait_for(|accepting| *accepting == Accepting::No)).await {
        Ok(_) => Accepting::No,
        Err(_elapsed) => Accepting::Yes,
    }
}
