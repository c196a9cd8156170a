//! `connections_max`: no backend has more to do at once than it may, and whoever waits for a place gets it in turn.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use support::eventually::DEADLINE;
use support::{Balancer, Client, Origin, client, eventually};

/// Longer than any request here, shorter than the deadlines that are not meant.
const SOON: Duration = Duration::from_secs(5);

fn metric(name: &str, labels: &str) -> String {
    format!("evenkeel_{name}{{pool=p{labels}}}")
}

fn waiting(lb: &Balancer, count: u32) {
    eventually("so many wait", DEADLINE, || lb.pool().waiting == count);
}

fn get_from(source: IpAddr, address: SocketAddr, path: &str) -> Client {
    let mut client = Client::connect_from(source, address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    client
}

/// A TCP backend that says hello and then listens, with one session held through the balancer.
fn one_session(rest: &str) -> (Origin, Balancer, Client) {
    let backend = Origin::echo().start();
    let lb = Balancer::tcp(&[backend.addr()], rest);
    let mut held = lb.client();
    assert!(held.echoes("first"));
    (backend, lb, held)
}

// === the limit ===

#[test]
fn no_backend_ever_has_more_at_once_than_it_may_and_everybody_is_served() {
    const CLIENTS: usize = 24;
    const EACH: usize = 25;
    let busy: Vec<_> = (0..2).map(|_| (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)))).collect();
    let backend = |at: usize| {
        let (now, peak) = busy[at].clone();
        let answer = Origin::http().reply("fine").delay(Duration::from_millis(2));
        let judge = move |_: &support::origin::Received| {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let answer = answer.clone();
            now.fetch_sub(1, SeqCst);
            answer
        };
        Origin::http().by(judge).start()
    };
    let backends = [backend(0), backend(1)];
    let lb = Balancer::start(&format!(
        "workers = 3\n[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nconnections_max = 3\nbackends = ['{}', \
         {{ address = '{}', connections_max = 1 }}]\n[pool.p.timeouts]\nqueue = '20s'\n",
        backends[0].addr(),
        backends[1].addr()
    ));
    let web = lb.addr("web");
    let most = |at: usize| format!("evenkeel_backend_in_flight{{pool=p,backend={}}}", backends[at].addr());
    std::thread::scope(|scope| {
        let load: Vec<_> = (0..CLIENTS)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::connect_from([127, 0, 1, number as u8].into(), web);
                    (0..EACH).filter(|_| client.get("/").status == 200).count()
                })
            })
            .collect();
        while !load.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            assert!(lb.metric(&most(0)) <= 3.0 && lb.metric(&most(1)) <= 1.0, "{}", lb.metrics());
        }
        for client in load {
            assert_eq!(client.join().unwrap(), EACH);
        }
    });
    assert!(busy[0].1.load(SeqCst) <= 3 && busy[1].1.load(SeqCst) <= 1, "{busy:?}");
    assert!(backends.iter().all(|backend| backend.request_count() > EACH), "both have worked");
    assert!(lb.metric(&metric("pool_queued_total", "")) > 0.0);
    lb.counts(&most(0), 0.0);
    lb.counts(&most(1), 0.0);
    assert_eq!(lb.pool().waiting, 0);
}

#[test]
fn a_session_that_ends_lets_the_next_one_in() {
    let (_backend, lb, held) = one_session("connections_max = 1\n");
    let mut next = lb.client();
    next.send("second");
    waiting(&lb, 1);
    drop(held);
    assert_eq!(next.read_exact(6), b"second");
    let view = lb.pool();
    assert_eq!((view.backends[0].in_flight, view.backends[0].connections_max, view.waiting), (1, Some(1), 0));
    lb.counts(&metric("pool_queue_duration_seconds_count", ""), 1.0);
    lb.counts(&metric("pool_queued_total", ""), 1.0);
    lb.counts(&metric("pool_held_total", ""), 0.0);
}

#[test]
fn a_client_that_leaves_the_queue_takes_no_place_with_it() {
    let (_backend, lb, held) = one_session("connections_max = 1\n");
    let gone: Vec<Client> = (0..5).map(|_| lb.client()).collect();
    waiting(&lb, 5);
    gone.into_iter().for_each(Client::reset);
    waiting(&lb, 0);
    drop(held);
    let mut next = lb.client();
    assert!(next.echoes("well"));
}

#[test]
fn websockets_count() {
    let backend = Origin::http().upgrade_echo().start();
    let lb = Balancer::web(&[backend.addr()], "connections_max = 1\n[pool.p.timeouts]\nqueue = '100ms'\n");
    let mut tunnel = client::websocket(lb.addr("web"), "/live");
    assert!(tunnel.echoes("hello"));
    assert_eq!(lb.get("/").status, 503);
    drop(tunnel);
    eventually("its place is free", DEADLINE, || lb.get("/").status == 200);
}

// === the queue ===

#[test]
fn whoever_waits_for_too_long_is_told_so() {
    let origin = Origin::http().at("/slow", Origin::http().stalls_before_answer()).reply("fine").start();
    let lb = Balancer::web(&[origin.addr()], "connections_max = 1\n[pool.p.timeouts]\nqueue = '150ms'\n");
    let slow = get_from([127, 0, 0, 1].into(), lb.addr("web"), "/slow");
    origin.wait_for_requests(1);
    let begun = Instant::now();
    let answer = lb.get("/");
    assert!(begun.elapsed() >= Duration::from_millis(150) && begun.elapsed() < SOON);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.text().contains("busy"), "{}", answer.text());
    lb.failed("queue_timeout", 1);
    slow.reset();
    eventually("its place is free", DEADLINE, || lb.get("/").status == 200);
}

#[test]
fn without_a_queue_a_full_pool_refuses_at_once() {
    let origin = Origin::http().stalls_before_answer().start();
    let lb = Balancer::web(&[origin.addr()], "connections_max = 1\nqueue = 0\n");
    let _slow = get_from([127, 0, 0, 1].into(), lb.addr("web"), "/slow");
    origin.wait_for_requests(1);
    assert_eq!(lb.get("/").status, 503);
    lb.failed("queue_full", 1);
}

#[test]
fn a_client_with_many_requests_does_not_keep_others_from_their_turn() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let origin = {
        let order = Arc::clone(&order);
        Origin::http()
            .by(move |request| {
                order.lock().unwrap().push(request.path().to_owned());
                let delay = if request.path() == "/first" { 400 } else { 1 };
                Origin::http().reply("fine").delay(Duration::from_millis(delay))
            })
            .start()
    };
    let lb = Balancer::web(&[origin.addr()], "connections_max = 1\n");
    let (web, greedy, modest) = (lb.addr("web"), [127, 0, 0, 2].into(), [127, 0, 0, 3].into());
    let mut clients = vec![get_from(greedy, web, "/first")];
    origin.wait_for_requests(1);
    for number in 0..20_u32 {
        clients.push(get_from(greedy, web, &format!("/greedy{number}")));
        waiting(&lb, number + 1);
    }
    clients.push(get_from(modest, web, "/modest"));
    for client in &mut clients {
        assert_eq!(client.read_response().status, 200);
    }
    let order = order.lock().unwrap();
    let turn = order.iter().position(|path| path == "/modest").unwrap();
    assert!(turn <= 3, "behind one of the other's, and not behind all: {order:?}");
    let greedy: Vec<_> = order.iter().filter(|path| path.starts_with("/greedy")).collect();
    let came: Vec<_> = (0..20).map(|number| format!("/greedy{number}")).collect();
    assert!(greedy.iter().eq(&came.iter().collect::<Vec<_>>()), "in the order in which they came: {order:?}");
}

#[test]
fn where_the_queue_is_full_whoever_has_most_in_it_gives_way() {
    let origin = Origin::http().at("/slow", Origin::http().stalls_before_answer()).reply("fine").start();
    let lb = Balancer::web(&[origin.addr()], "connections_max = 1\nqueue = 4\n[pool.p.timeouts]\nqueue = '30s'\n");
    let (web, greedy, modest) = (lb.addr("web"), [127, 0, 0, 2].into(), [127, 0, 0, 3].into());
    let slow = get_from(greedy, web, "/slow");
    origin.wait_for_requests(1);
    let mut waiters: Vec<Client> = (0..4)
        .map(|number| {
            let client = get_from(greedy, web, "/");
            waiting(&lb, number + 1);
            client
        })
        .collect();
    assert_eq!(get_from(greedy, web, "/").read_response().status, 503, "no more of the same");
    let mut other = get_from(modest, web, "/");
    let displaced = waiters.pop().unwrap().read_response();
    assert_eq!(displaced.status, 503, "its last one");
    waiting(&lb, 4);
    slow.reset();
    assert_eq!(other.read_response().status, 200);
    assert!(waiters.iter_mut().all(|client| client.read_response().status == 200));
    lb.failed("queue_full", 2);
}

// === changes ===

#[test]
fn a_reload_that_raises_the_limit_lets_those_in_who_wait() {
    let (backend, lb, _held) = one_session("connections_max = 1\n");
    let mut next = lb.client();
    next.send("second");
    waiting(&lb, 1);
    let answer = lb.reload(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\nprotocol = 'tcp'\npool = 'p'\n[pool.p]\nconnections_max = 2\nbackends = ['{}']\n",
        backend.addr()
    ));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(next.read_exact(6), b"second");
}

#[test]
fn a_backend_that_comes_up_takes_those_who_wait_at_another() {
    let (first, second) = (Origin::echo().start(), Origin::echo().start());
    second.stop();
    let lb = Balancer::tcp(
        &[first.addr(), second.addr()],
        "connections_max = 1\n[pool.p.check.c]\ntype = 'tcp'\ninterval = '50ms'\nrise = 1\nfall = 1\n",
    );
    let mut held = lb.client();
    assert!(held.echoes("first"));
    let mut next = lb.client();
    next.send("second");
    waiting(&lb, 1);
    second.start_again();
    assert_eq!(next.read_exact(6), b"second");
    assert_eq!(second.open_connections(), 1);
}

#[test]
fn an_agent_says_how_much_its_backend_takes() {
    let agent = Origin::tcp_banner("up maxconn:2\n").start();
    let lb = {
        let backend = Origin::http().stalls_before_answer().start();
        let lb = Balancer::web(
            &[backend.addr()],
            &format!(
                "connections_max = 9\n[pool.p.timeouts]\nqueue = '100ms'\n[pool.p.check.agent]\ntype = 'agent'\nport = {}\n\
                 interval = '50ms'\n",
                agent.port()
            ),
        );
        let limit = metric("backend_connections_max", &format!(",backend={}", backend.addr()));
        lb.counts(&limit, 2.0);
        let _slow: Vec<_> = (0..2).map(|_| get_from([127, 0, 0, 1].into(), lb.addr("web"), "/")).collect();
        backend.wait_for_requests(2);
        assert_eq!(lb.get("/").status, 503);
        agent.becomes(Origin::tcp_banner("maxconn:0\n"));
        lb.counts(&limit, 9.0);
        lb
    };
    drop(lb);
}
