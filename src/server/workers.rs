//! The data-path threads: started once, told what to do through a channel each, ended together.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::metrics;
use crate::net::listen::Unserved;
use crate::net::wheel;
use crate::pool::{Bell, Notice};
use crate::proxy::accept;
use crate::proxy::udp;
use crate::proxy::worker::Worker;
use crate::route::Published;

/// Events of sockets handled between two looks at timers and channels; swept from 31 to 127, CPU differs by less than noise.
const EVENT_INTERVAL: u32 = 61;

/// What a worker is told to do.
#[derive(Debug)]
enum Order {
    /// Accept on this socket for the listener that `name` says, until it says none.
    Accept { socket: Unserved, name: watch::Receiver<Option<Arc<str>>> },
    /// Take datagrams from this socket for the listener that `name` says, until it says none.
    Receive { socket: UdpSocket, name: watch::Receiver<Option<Arc<str>>> },
    /// Let connections end after what they are at.
    Drain,
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

    /// Each worker accepts on its own of these sockets, which are as many as there are workers.
    pub(super) fn accept(&self, sockets: Vec<Unserved>, name: &watch::Receiver<Option<Arc<str>>>) {
        for (order, socket) in self.orders.iter().zip(sockets) {
            tell(order, Order::Accept { socket, name: name.clone() });
        }
    }

    /// The same for datagrams.
    pub(super) fn receive(&self, sockets: Vec<UdpSocket>, name: &watch::Receiver<Option<Arc<str>>>) {
        for (order, socket) in self.orders.iter().zip(sockets) {
            tell(order, Order::Receive { socket, name: name.clone() });
        }
    }

    /// Lets connections end after what they are at.
    pub(super) fn drain(&self) {
        self.orders.iter().for_each(|order| tell(order, Order::Drain));
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
            Order::Accept { socket, name } => {
                tokio::task::spawn_local(accept::run(Rc::clone(&worker), socket, name));
            }
            Order::Receive { socket, name } => {
                tokio::task::spawn_local(udp::run(Rc::clone(&worker), socket, name));
            }
            Order::Drain => worker.drain(),
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
