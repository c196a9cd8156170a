//! The data-path threads: started once, told what to do through a channel each, ended together.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::metrics;
use crate::net::listen::Unserved;
use crate::net::wheel;
use crate::pool::{Bell, Notice};
use crate::proxy::accept::{self, Door};
use crate::proxy::udp;
use crate::proxy::worker::{Drain, Worker};
use crate::route::Published;

/// Events of sockets handled between two looks at timers and channels; swept from 31 to 127, CPU differs by less than noise.
const EVENT_INTERVAL: u32 = 61;

/// What a worker is told to do.
#[derive(Debug)]
enum Order {
    /// Accept on this socket for the listener that `door` says, until it says none.
    Accept { socket: Unserved, door: watch::Receiver<Door> },
    /// Take datagrams from this socket for the listener that `door` says, until it says none.
    Receive { socket: UdpSocket, door: watch::Receiver<Door> },
    /// Say that this thread turns.
    Answer(oneshot::Sender<()>),
    /// Let connections end after what they are at.
    Drain(Drain),
    /// Tell tunnels that they end, drop everything, and end.
    End,
}

/// All data-path threads.
#[derive(Debug)]
pub(super) struct Workers {
    orders: Vec<UnboundedSender<Order>>,
    threads: Vec<JoinHandle<()>>,
    /// Client connections open in the process.
    pub(super) open: Arc<AtomicU32>,
}

/// Whether all threads turn.
#[derive(Debug)]
pub(super) struct Pulse(Vec<UnboundedSender<Order>>);

impl Pulse {
    /// Ends when each of them has said so.
    pub(super) async fn felt(&self) {
        for worker in &self.0 {
            let (answer, answered) = oneshot::channel();
            tell(worker, Order::Answer(answer));
            if answered.await.is_err() {
                // It has ended, by a panic or with the program: neither is a sign of life.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What a thread starts with.
struct Start {
    index: usize,
    workers: usize,
    published: Arc<Published>,
    open: Arc<AtomicU32>,
    orders: UnboundedReceiver<Order>,
    notices: UnboundedReceiver<Notice>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(count: usize, published: &Arc<Published>, bell: &Bell) -> std::io::Result<Self> {
        let open = Arc::new(AtomicU32::new(0));
        let mut all = Self { orders: Vec::new(), threads: Vec::new(), open: Arc::clone(&open) };
        for index in 0..count {
            let (order, orders) = unbounded_channel();
            let (notice, notices) = unbounded_channel();
            bell.add(notice);
            let start = Start {
                index,
                workers: count,
                published: Arc::clone(published),
                open: Arc::clone(&open),
                orders,
                notices,
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || work(start))?;
            all.orders.push(order);
            all.threads.push(thread);
        }
        Ok(all)
    }

    /// The workers accept on these sockets, by turns: where there are more sockets than workers, none is left out.
    pub(super) fn accept(&self, sockets: Vec<Unserved>, door: &watch::Receiver<Door>) {
        for (order, socket) in self.orders.iter().cycle().zip(sockets) {
            tell(order, Order::Accept { socket, door: door.clone() });
        }
    }

    /// The same for datagrams.
    pub(super) fn receive(&self, sockets: Vec<UdpSocket>, door: &watch::Receiver<Door>) {
        for (order, socket) in self.orders.iter().cycle().zip(sockets) {
            tell(order, Order::Receive { socket, door: door.clone() });
        }
    }

    /// How to find out whether they turn.
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(self.orders.clone())
    }

    /// Lets connections end after what they are at.
    pub(super) fn drain(&self, drain: Drain) {
        self.orders.iter().for_each(|order| tell(order, Order::Drain(drain)));
    }

    /// Drops everything and waits for the threads' end.
    pub(super) fn end(self) {
        self.orders.iter().for_each(|order| tell(order, Order::End));
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had ended by a panic");
            }
        }
    }
}

fn tell(worker: &UnboundedSender<Order>, order: Order) {
    // A worker that has ended has nothing left to do.
    let _ = worker.send(order);
}

fn work(start: Start) {
    metrics::i_am_worker(start.index);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .max_io_events_per_tick(256)
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(live(start)),
        Err(error) => tracing::error!(worker = start.index, %error, "a worker cannot start"),
    }
}

async fn live(start: Start) {
    let seed = rand_seed(start.index);
    let mut orders = start.orders;
    let worker = Worker::new(start.published, start.open, start.workers, seed);
    tokio::task::spawn_local(wheel::run());
    tokio::task::spawn_local(Rc::clone(&worker).listen_to_control(start.notices));
    tokio::task::spawn_local(Rc::clone(&worker).sweep());
    while let Some(order) = orders.recv().await {
        match order {
            Order::Accept { socket, door } => {
                tokio::task::spawn_local(accept::run(Rc::clone(&worker), socket, door));
            }
            Order::Receive { socket, door } => {
                tokio::task::spawn_local(udp::run(Rc::clone(&worker), socket, door));
            }
            Order::Answer(answer) => {
                // Whoever asked has waited long enough.
                let _ = answer.send(());
            }
            Order::Drain(drain) => worker.drain(drain),
            Order::End => {
                worker.end().await;
                break;
            }
        }
    }
    worker.log.flush();
}

/// A seed that differs between workers, processes and starts: the standard library's hasher is seeded by the system.
fn rand_seed(worker: usize) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(worker)
}
