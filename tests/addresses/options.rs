//! `source` of a pool, and what sockets are told by `[listener.NAME.tcp]` and `[pool.NAME.tcp]`.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::Socket;

use crate::support::eventually::{DEADLINE, eventually, eventually_some};
use crate::support::{Balancer, Client, Origin};

/// A backend that answers each request by the address of whoever asks, and says of each: who, and for what.
fn mirror() -> (SocketAddr, Receiver<(IpAddr, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let sender = sender.clone();
            std::thread::spawn(move || {
                let from = stream.peer_addr().unwrap().ip();
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    let head = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    let body = from.to_string();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    if sender.send((from, path)).is_err() || stream.write_all((head + &body).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

/// The socket of this process, which is the balancer's as well, from an address to another; `None` for any port of its
/// own. Found by its number, so that no other descriptor is touched: they belong to tests that run beside this one.
fn socket_between(local: (IpAddr, Option<u16>), peer: SocketAddr) -> Option<Socket> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let inode = table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = parsed(fields[1])?;
        let fits = own.ip() == local.0 && local.1.is_none_or(|port| port == own.port());
        (fits && parsed(fields[2])? == peer && fields[9] != "0").then(|| format!("socket:[{}]", fields[9]))
    })?;
    let number = std::fs::read_dir("/proc/self/fd").unwrap().find_map(|entry| {
        let entry = entry.ok()?;
        let link = std::fs::read_link(entry.path()).ok()?;
        if link.to_str()? == inode { entry.file_name().to_str()?.parse().ok() } else { None }
    })?;
    let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok().map(Socket::from)
}

/// `0100007F:1F90`, as the kernel writes an address and port.
fn parsed(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    Some(SocketAddr::from((address, u16::from_str_radix(port, 16).ok()?)))
}

/// What the balancer's end of this client's connection was told.
fn accepted(client: &Client, listener: SocketAddr) -> Socket {
    eventually_some("it is accepted", DEADLINE, || {
        socket_between((listener.ip(), Some(listener.port())), client.local_addr())
    })
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn backends_are_asked_from_the_sources_by_turns_by_traffic_and_by_probes() {
    let (address, heard) = mirror();
    let lb = Balancer::tcp(
        &[address],
        "source = ['127.0.0.2', '127.0.0.3', '::1']\n\
         check.home = { type = 'http', path = '/probe', interval = '50ms', timeout = '50ms' }",
    );
    let seen: Vec<String> = (0..6).map(|_| lb.get("/").text()).collect();
    let turns: HashSet<&[String]> = seen.chunks(2).collect();
    assert_eq!(turns.len(), 1, "one after the other: {seen:?}");
    let both: HashSet<IpAddr> = seen.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(both, HashSet::from(["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()]));
    let mut probed = HashSet::new();
    while probed.len() < 2 {
        let (from, path) = heard.recv_timeout(DEADLINE).unwrap();
        assert!(both.contains(&from), "{from} {path}");
        if path == "/probe" {
            probed.insert(from);
        }
    }
}

#[test]
fn two_backends_are_reached_from_the_same_source_by_many_connections() {
    let (a, b) = (Origin::echo().start(), Origin::echo().start());
    let lb = Balancer::tcp(&[a.addr(), b.addr()], "source = '127.0.0.2'");
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(lb.addr("web"))).collect();
    for client in &mut clients {
        assert!(client.echoes("x"));
    }
}

#[test]
fn sockets_are_told_what_is_given_and_nothing_else() {
    let origin = Origin::echo().start();
    let usual = Balancer::tcp(&[origin.addr()], "");
    let client = Client::connect(usual.addr("web"));
    let socket = accepted(&client, usual.addr("web"));
    assert!(socket.keepalive().unwrap(), "clients are asked whether they are still there");
    assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(60));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(15));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    assert_eq!(socket.tos_v4().unwrap(), 0);

    let (address, heard) = mirror();
    let lb = Balancer::start(&format!(
        "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[listener.web.tcp]\nuser_timeout = '7s'\ndscp = 46\n\
         keepalive = {{ idle = '11s', interval = '3s', count = 5 }}\nmax_segment = 1000\nfast_open = 16\n\
         [pool.p]\nbackends = ['{address}']\nsource = '127.0.0.2'\ntimeouts.idle = '1h'\n[pool.p.tcp]\nuser_timeout = '9s'\n\
         keepalive = {{ idle = '21s', interval = '4s', count = 6 }}\ndscp = 10\nmax_segment = 900\n"
    ));
    let mut client = lb.client();
    assert_eq!(client.get("/").text(), "127.0.0.2");
    let heard = heard.recv_timeout(DEADLINE).unwrap();
    let socket = accepted(&client, lb.addr("web"));
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(7)));
    assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(11));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(3));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
    assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
    assert!(socket.tcp_mss().unwrap() <= 1000);
    let socket = socket_between((heard.0, None), address).unwrap();
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(9)));
    assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(21));
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(4));
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
    assert_eq!(socket.tos_v4().unwrap(), 10 << 2);
    assert!(socket.tcp_mss().unwrap() <= 900);
}

#[test]
fn a_reload_tells_sockets_that_stay_open_something_else() {
    let origin = Origin::http().reply("a").start();
    let config = |tcp: &str| {
        format!("[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{tcp}\n[pool.p]\nbackends = ['{}']\n", origin.addr())
    };
    let lb = Balancer::start(&config("tcp = { user_timeout = '7s', keepalive = false, dscp = 8 }"));
    let address = lb.addr("web");
    let mut kept = lb.client();
    assert_eq!(kept.get("/").text(), "a");
    assert!(!accepted(&kept, address).keepalive().unwrap());
    for (tcp, user_timeout, idle, tos) in [
        ("tcp = { user_timeout = '8s', dscp = 9 }", Some(seconds(8)), 60, 9 << 2),
        ("tcp = { keepalive = { idle = '30s' } }", None, 30, 0),
        ("", None, 60, 0),
    ] {
        assert_eq!(lb.reload(&config(tcp)).status, 200);
        let client = lb.client();
        let socket = accepted(&client, address);
        assert_eq!(socket.tcp_user_timeout().unwrap(), user_timeout, "{tcp}");
        assert!(socket.keepalive().unwrap(), "{tcp}");
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(idle), "{tcp}");
        assert_eq!(socket.tos_v4().unwrap(), tos, "{tcp}");
        assert_eq!(kept.get("/").text(), "a", "a connection of before goes on");
    }
}

#[test]
fn another_source_is_used_from_the_next_request_on() {
    let (address, _heard) = mirror();
    let config = |source: &str| {
        format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n[pool.p]\nbackends = ['{address}']\ntimeouts.idle = '1h'\n{source}\n"
        )
    };
    let lb = Balancer::start(&config("source = '127.0.0.2'"));
    let mut client = lb.client();
    assert_eq!(client.get("/").text(), "127.0.0.2");
    assert_eq!(client.get("/").text(), "127.0.0.2");
    for (source, from) in [("source = '127.0.0.3'", "127.0.0.3"), ("", "127.0.0.1")] {
        assert_eq!(lb.reload(&config(source)).status, 200);
        eventually("an idle connection of before is not used", DEADLINE, || client.get("/").text() == from);
        assert_eq!(client.get("/").text(), from);
    }
}

#[test]
fn what_this_machine_cannot_do_is_refused_with_the_remedy_and_changes_nothing() {
    let origin = Origin::http().reply("a").start();
    let config = |listener: &str, pool: &str| {
        format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{listener}\n[pool.p]\nbackends = ['{}']\n{pool}\n",
            origin.addr()
        )
    };
    let lb = Balancer::start(&config("", ""));
    let absent = "192.0.2.77";
    for (listener, pool, said) in [
        ("", format!("source = ['127.0.0.1', '{absent}']"), "pool.p: this machine has no address 192.0.2.77"),
        ("", "tcp.interface = 'nothing0'".to_owned(), "pool.p: this machine has no interface `nothing0`"),
        ("tcp.interface = 'nothing0'", String::new(), "listener.web.tcp: this machine has no interface `nothing0`"),
    ] {
        let answer = lb.reload(&config(listener, &pool));
        assert_ne!(answer.status, 200);
        assert!(answer.text().contains(said), "{}", answer.text());
        assert_eq!(lb.get("/").text(), "a");
    }
}

#[test]
fn a_mark_is_set_or_the_capability_named_that_it_needs() {
    let origin = Origin::http().reply("a").start();
    let config = |tcp: &str| {
        format!(
            "[listener.web]\nbind = '127.0.0.1:0'\npool = 'p'\n{tcp}\n[pool.p]\nbackends = ['{}']\n{tcp}\n",
            origin.addr()
        )
    };
    let lb = Balancer::start(&config(""));
    let answer = lb.reload(&config("tcp.mark = 7"));
    if answer.status == 200 {
        let client = lb.client();
        assert_eq!(accepted(&client, lb.addr("web")).mark().unwrap(), 7);
    } else {
        for name in ["listener.web.tcp", "pool.p"] {
            let said = format!("{name}: `mark` needs the capability CAP_NET_ADMIN");
            assert!(answer.text().contains(&said), "{}", answer.text());
        }
    }
    assert_eq!(lb.get("/").text(), "a");
}
