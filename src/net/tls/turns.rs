//! Handshakes by turns: one that costs something, then everybody else, then the next one.
//!
//! A full handshake is 100 to 400 µs of cryptography in one piece. Without turns a burst of a hundred clients would keep
//! all other connections of its worker waiting until the last of them is through. With them, a connection that becomes
//! ready waits for one handshake at most; clients wait for theirs in the order in which they came.
//!
//! Hot path: no lock; an allocation only for a step that has cost a thousand times as much.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// What has taken less was no cryptography: a message that has not come yet, an answer that does not fit.
const CHEAP: Duration = Duration::from_micros(30);

thread_local! {
    /// Whose turn it is on this worker. A semaphore is fair, and a client that leaves while it waits is forgotten.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Does what a handshake does, step by step, each in its turn.
pub(super) async fn by_turns<T>(work: impl Future<Output = T>) -> T {
    let turn = TURN.with(Arc::clone);
    let mut work = pin!(work);
    loop {
        // Nobody closes it; whoever did would only end the turns.
        let permit = Arc::clone(&turn).acquire_owned().await.ok();
        let begun = Instant::now();
        let step = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        if begun.elapsed() > CHEAP {
            // The runtime comes back to this after it has looked at all sockets and at whoever was ready.
            tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                drop(permit);
            });
        }
        if let Poll::Ready(done) = step {
            return done;
        }
        woken().await;
    }
}

/// Waits until somebody wakes the task: `work` has asked for that.
async fn woken() {
    let mut is_first = true;
    poll_fn(|_context| if std::mem::replace(&mut is_first, false) { Poll::Pending } else { Poll::Ready(()) }).await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;

    use tokio::io::AsyncReadExt;
    use tokio::runtime::{Builder, LocalOptions};

    use super::*;

    /// Cryptography, as far as others notice.
    fn toil() {
        let begun = Instant::now();
        while begun.elapsed() < 4 * CHEAP {}
    }

    fn pair() -> (TcpStream, tokio::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_nonblocking(true).unwrap();
        (near, tokio::net::TcpStream::from_std(far).unwrap())
    }

    #[test]
    fn whoever_becomes_ready_waits_for_one_handshake_at_most() {
        const MANY: u32 = 200;
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let done = Rc::new(Cell::new(0));
            let (mut near, mut far) = pair();
            let seen = Rc::clone(&done);
            let reader = tokio::task::spawn_local(async move {
                far.read_u8().await.unwrap();
                seen.get()
            });
            let work = |client: u32| {
                let (done, mut near) = (Rc::clone(&done), near.try_clone().unwrap());
                async move {
                    toil();
                    done.set(done.get() + 1);
                    if client == 50 {
                        near.write_all(b"x").unwrap();
                    }
                    tokio::task::yield_now().await;
                    toil();
                    done.get()
                }
            };
            let clients: Vec<_> = (0..MANY).map(|client| tokio::task::spawn_local(by_turns(work(client)))).collect();
            let before = reader.await.unwrap();
            assert!((51..=53).contains(&before), "{before} handshakes had begun");
            for client in clients {
                assert!(client.await.unwrap() <= MANY);
            }
            assert_eq!(done.get(), MANY);
            near.flush().unwrap();
        });
    }

    #[test]
    fn who_leaves_while_it_waits_keeps_nobody_waiting() {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap();
        runtime.block_on(async {
            let first = tokio::task::spawn_local(by_turns(async { toil() }));
            let leaves = tokio::task::spawn_local(by_turns(async { toil() }));
            let last = tokio::task::spawn_local(by_turns(async { toil() }));
            leaves.abort();
            first.await.unwrap();
            last.await.unwrap();
            assert!(leaves.await.unwrap_err().is_cancelled());
        });
    }
}
