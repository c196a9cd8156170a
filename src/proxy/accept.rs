//! Taking connections from a listening socket of the worker, as many as the limits allow.
//!
//! At a limit, and when the system has no descriptor left, accepting pauses: connections wait in the kernel's queue
//! and nothing spins.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
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

/// Accepts on one socket, for the listener that `name` says, until it says none.
pub async fn run(worker: Rc<Worker>, socket: TcpListener, mut name: watch::Receiver<Option<Arc<str>>>) {
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "a listening socket cannot be used");
            return;
        }
    };
    let mut current = None;
    // Said once, not at every look: a flood would fill the log as well.
    let (mut full, mut failing) = (false, false);
    loop {
        let Some(listener) = current_listener(&worker, &name, &mut current) else {
            if let Some((_, listener)) = current {
                take_the_rest(&worker, &socket, &listener);
            }
            return;
        };
        if is_full(&worker, &listener) {
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(listener = %listener.config.name, "the limit of connections is reached; accepting pauses");
            }
            pause(&mut name).await;
            continue;
        }
        full = false;
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            changed = name.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        };
        match accepted {
            Ok((stream, address)) => {
                failing = false;
                begin(&worker, listener, Stream::new(stream), address);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(listener = %listener.config.name, %error, "accepting pauses");
                }
                pause(&mut name).await;
            }
        }
    }
}

/// The listener as the newest table has it; `None` when the socket is nobody's any more.
fn current_listener(
    worker: &Worker,
    name: &watch::Receiver<Option<Arc<str>>>,
    current: &mut Option<(u64, Arc<Listener>)>,
) -> Option<Arc<Listener>> {
    let view = worker.view();
    let name = name.borrow();
    let name = name.as_ref()?;
    let known = current.as_ref().filter(|(generation, _)| *generation == view.table.generation);
    if let Some((_, listener)) = known.filter(|(_, listener)| listener.config.name == *name) {
        return Some(Arc::clone(listener));
    }
    let newest = view.table.listeners.iter().find(|listener| listener.config.name == *name);
    // The table and the name change one after the other: between them it goes on as before.
    let listener = newest.or(current.as_ref().map(|(_, listener)| listener)).cloned()?;
    if newest.is_some() {
        *current = Some((view.table.generation, Arc::clone(&listener)));
    }
    Some(listener)
}

/// Closing the socket would reset those who have connected and were not accepted yet.
fn take_the_rest(worker: &Rc<Worker>, socket: &tokio::net::TcpListener, listener: &Arc<Listener>) {
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Ok((stream, address))) = socket.poll_accept(&mut context) {
        begin(worker, Arc::clone(listener), Stream::new(stream), address);
    }
}

fn is_full(worker: &Worker, listener: &Listener) -> bool {
    listener.open.load(Relaxed) >= listener.config.limits.connections.get()
        || worker.open.load(Relaxed) >= worker.view().table.config.limits.connections.get()
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

async fn pause(name: &mut watch::Receiver<Option<Arc<str>>>) {
    // Either way the loop looks at everything again.
    let _ = tokio::time::timeout(PAUSE, name.changed()).await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::net::SocketAddr;

    use super::*;

    /// Size of what `serve` becomes, without calling it.
    fn bytes<F: Future>(_serve: impl FnOnce(Rc<Worker>, Arc<Listener>, Stream, SocketAddr) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_is_small() {
        // Each open connection holds its future, busy or idle: these bounds are what ten thousand of them may cost.
        let (http, tcp) = (bytes(connection::serve), bytes(tcp::serve));
        assert!(http <= 2304, "HTTP: {http} bytes");
        assert!(tcp <= 1152, "TCP: {tcp} bytes");
    }
}
