//! Datagrams: each client has a flow, each flow a backend and a socket of its own towards it.
//!
//! `run` is called for each socket of a UDP listener, once for each worker: the system gives all datagrams of a client to
//! the same worker. Nothing is answered by the balancer itself, so it amplifies nothing; nothing is held, because a
//! client that hears nothing asks again.

mod desk;
mod flow;
mod flows;
mod leg;

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;

use super::accept::{Door, newest};
use super::worker::Worker;
use crate::net::datagram::Face;
use desk::Desk;

/// How long taking datagrams pauses after an error of the socket, or before its listener is in the table.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes datagrams from one socket, for the listener that `door` says, until it says none; then its flows end. Where
/// another process takes them from now on, answers to what has been asked already still go out here.
pub async fn run(worker: Rc<Worker>, socket: std::net::UdpSocket, mut door: watch::Receiver<Door>) {
    let mut face = match Face::new(socket) {
        Ok(face) => Some(face),
        Err(error) => {
            tracing::error!(%error, "a socket for datagrams cannot be used");
            return;
        }
    };
    let (mut seat, mut desk) = (None, None);
    // Said once, not at every look.
    let mut failing = false;
    while door.borrow_and_update().name().is_some() {
        let Some(seat) = newest(&worker, &door, &mut seat) else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if let Some(face) = face.take() {
            desk = Some(Rc::new(Desk::new(Rc::clone(&worker), face, seat.clone())));
        }
        let Some(desk) = &desk else { break };
        desk.take_seat(seat);
        let taken = tokio::select! {
            biased;
            ready = desk.readable() => ready.and_then(|()| desk.take_in()),
            changed = door.changed() => if changed.is_ok() { continue } else { break },
            // Perhaps a new table: an old one must not be kept for want of clients.
            () = worker.ready_changes() => continue,
        };
        if let Err(error) = taken {
            if !std::mem::replace(&mut failing, true) {
                tracing::warn!(%error, "taking datagrams pauses");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    if let Some(desk) = desk
        && *door.borrow() != Door::Left
    {
        desk.close();
    }
}
