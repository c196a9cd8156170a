//! A new configuration, and the program's end: what did not change goes on as if nothing had happened, what is removed
//! drains, and what is wrong changes nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "counters are whole numbers")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use support::client::{self, Ending, websocket};
use support::eventually::DEADLINE;
use support::process::free_address;
use support::{BackendProcess, Client, Load, Origin, Process, eventually};

const RELOADS: usize = 100;
/// Of each kind, open all the time.
const SESSIONS: usize = 200;
/// A reload takes milliseconds; a look at the files comes once a second.
const SOON: Duration = Duration::from_millis(500);

fn ok(process: &Process, config: &str) {
    let output = process.reload(config);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
}

fn generation(process: &Process) -> f64 {
    process.metric("evenkeel_config_generation").unwrap()
}

/// All that lives behind the balancer while it is reloaded a hundred times.
struct Town {
    web: Vec<Origin>,
    tcp: Vec<Origin>,
    dead: SocketAddr,
    listeners: [SocketAddr; 4],
}

impl Town {
    fn build() -> Self {
        Self {
            web: ["a", "b", "c"].map(|name| Origin::http().reply(name).upgrade_echo().start()).into(),
            tcp: (0..3).map(|_| Origin::echo().start()).collect(),
            dead: free_address(),
            listeners: [(); 4].map(|()| free_address()),
        }
    }

    /// The configuration of a step: each part changes with a rhythm of its own, the first two backends never do.
    fn config(&self, step: usize) -> String {
        let [web, tcp, half, extra] = self.listeners;
        let third = step.is_multiple_of(2);
        let backends = |origins: &[Origin]| {
            let count = if third { 3 } else { 2 };
            let all = origins.iter().zip(["a", "b", "c"]).take(count);
            all.map(|(it, name)| format!("{{ name = '{name}', address = '{}' }}", it.addr()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let check = match step % 3 {
            0 => "[pool.web.check.page]\ntype = 'http'\ninterval = '300ms'\n",
            1 => "[pool.web.check.page]\ntype = 'http'\npath = '/other'\ninterval = '200ms'\nfall = 5\n",
            _ => "[pool.web.check.port]\ntype = 'tcp'\ninterval = '250ms'\n",
        };
        let extra =
            if step % 4 < 2 { format!("[listener.extra]\nbind = '{extra}'\npool = 'web'\n") } else { String::new() };
        format!(
            "watch = true\n\
             [listener.web]\nbind = '{web}'\npool = 'web'\n\
             [listener.tcp]\nbind = '{tcp}'\nprotocol = 'tcp'\npool = 'tcp'\n\
             [listener.half]\nbind = '{half}'\npool = 'half'\n{extra}\
             [pool.web]\nbackends = [{}]\n{check}\
             [pool.tcp]\nbackends = [{}]\ncheck.port = {{ type = 'tcp', interval = '300ms' }}\n\
             [pool.half]\nbackends = [{{ name = 'a', address = '{}' }}, {{ name = 'dead', address = '{}' }}]\n\
             check.port = {{ type = 'tcp', interval = '300ms' }}\n",
            backends(&self.web),
            backends(&self.tcp),
            self.web[0].addr(),
            self.dead,
        )
    }
}

/// How a reload is brought about.
fn reload_by_turns(process: &Process, step: usize, config: &str) {
    let before = generation(process);
    match step % 10 {
        // Noticed by `watch` alone.
        9 => process.write_config(config),
        even if even % 2 == 0 => {
            process.write_config(config);
            process.signal("HUP");
        }
        _ => ok(process, config),
    }
    eventually("the reload is carried out", DEADLINE, || generation(process) > before);
}

#[track_caller]
fn assert_all_echo(sessions: &mut [Client], what: &str) {
    for (number, session) in sessions.iter_mut().enumerate() {
        assert!(session.echoes(format!("{what} {number}")), "{what} {number} is lost");
    }
}

#[test]
fn a_hundred_reloads_cost_no_request_and_no_session() {
    let town = Town::build();
    let process = Process::start(&town.config(0));
    let [web, tcp, half, extra] = town.listeners;
    let load = [Load::start(web, "/", 3), Load::start(half, "/", 1)];
    let mut sockets: Vec<Client> = (0..SESSIONS).map(|_| websocket(web, "/live")).collect();
    let mut streams: Vec<Client> = (0..SESSIONS).map(|_| Client::connect(tcp)).collect();
    assert_all_echo(&mut sockets, "socket");
    assert_all_echo(&mut streams, "stream");
    let transitions = |pool: &str, backend: &str, to: &str| {
        let labels = format!("{{pool=\"{pool}\",backend=\"{backend}\",to=\"{to}\"}}");
        process.metric(&format!("evenkeel_backend_transitions_total{labels}")).unwrap()
    };
    let flips = || {
        let backends = [("web", "a"), ("web", "b"), ("tcp", "a"), ("tcp", "b"), ("half", "a"), ("half", "dead")];
        backends.map(|(pool, backend)| transitions(pool, backend, "up") + transitions(pool, backend, "down"))
    };
    let accepted = |listener: &str| {
        process.metric(&format!("evenkeel_listener_connections_total{{listener=\"{listener}\"}}")).unwrap()
    };
    let answers =
        || process.metric("evenkeel_backend_requests_total{pool=\"web\",backend=\"a\",code=\"2xx\"}").unwrap();
    let (flips_before, accepted_before) = (flips(), ["web", "tcp", "half"].map(accepted));
    let begun = Instant::now();
    let mut answers_before = answers();
    for step in 1..=RELOADS {
        reload_by_turns(&process, step, &town.config(step));
        // The workers close a socket a moment after the new generation shows.
        eventually("the listener comes and goes", DEADLINE, || client::try_get(extra, "/").is_ok() == (step % 4 < 2));
        if step % 10 == 0 {
            assert_all_echo(&mut sockets, "socket");
            assert_all_echo(&mut streams, "stream");
            assert!(answers() > answers_before, "the counter goes on");
            answers_before = answers();
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_all_echo(&mut sockets, "socket");
    assert_all_echo(&mut streams, "stream");
    assert_eq!(flips(), flips_before, "{}", process.stderr());
    // Nobody had to connect again.
    assert_eq!(["web", "tcp", "half"].map(accepted), accepted_before);
    for load in load {
        load.stop().assert_none_failed();
    }
    drop((sockets, streams));
    for open in
        ["pool_in_flight{pool=\"web\"}", "pool_in_flight{pool=\"tcp\"}", "listener_open_connections{listener=\"web\"}"]
    {
        eventually(open, DEADLINE, || process.metric(&format!("evenkeel_{open}")) == Some(0.0));
    }
    assert!(process.metric("evenkeel_config_reloads_total{result=\"ok\"}").unwrap() >= RELOADS as f64);
    assert_eq!(process.metric("evenkeel_config_reloads_total{result=\"refused\"}"), Some(0.0));
    assert_eq!(process.metric("evenkeel_backend_up{pool=\"half\",backend=\"dead\"}"), Some(0.0));
}

#[test]
fn a_removed_backend_gets_nothing_new_and_finishes_what_it_has() {
    let (stays, leaves) = (Origin::echo().start(), Origin::echo().start());
    let listener = free_address();
    let config = |backends: &str| {
        format!(
            "[listener.t]\nbind = '{listener}'\nprotocol = 'tcp'\npool = 't'\n\
             [pool.t]\nbackends = [{backends}]\non_down = 'close'\n"
        )
    };
    let process = Process::start(&config(&format!("'{}', '{}'", stays.addr(), leaves.addr())));
    let mut sessions: Vec<Client> = (0..6).map(|_| Client::connect(listener)).collect();
    assert_all_echo(&mut sessions, "before");
    let had = leaves.open_connections();
    assert!(had > 0);
    ok(&process, &config(&format!("'{}'", stays.addr())));
    let mut new: Vec<Client> = (0..6).map(|_| Client::connect(listener)).collect();
    assert_all_echo(&mut new, "new");
    assert_all_echo(&mut sessions, "after");
    assert_eq!((leaves.connections(), leaves.open_connections()), (had, had));
    drop(sessions);
    eventually("the last session ends", DEADLINE, || leaves.open_connections() == 0);
    assert!(!process.metrics().contains(&leaves.addr().to_string()), "its metrics are gone");
}

#[test]
fn a_removed_listener_finishes_what_it_has() {
    let origin = Origin::http().reply("slow").delay(SOON).start();
    let echo = Origin::echo().start();
    let [kept, web, tcp] = [(); 3].map(|()| free_address());
    let pools = format!("[pool.web]\nbackends = ['{}']\n[pool.tcp]\nbackends = ['{}']\n", origin.addr(), echo.addr());
    let whole = format!(
        "[listener.kept]\nbind = '{kept}'\npool = 'web'\n{pools}\
         [listener.web]\nbind = '{web}'\npool = 'web'\n[listener.tcp]\nbind = '{tcp}'\nprotocol = 'tcp'\npool = 'tcp'\n"
    );
    let process = Process::start(&whole);
    let mut session = Client::connect(tcp);
    assert!(session.echoes("before"));
    let mut request = Client::connect(web);
    request.send(format!("GET / HTTP/1.1\r\nHost: {web}\r\n\r\n"));
    origin.wait_for_requests(1);
    ok(&process, &format!("[listener.kept]\nbind = '{kept}'\npool = 'web'\n{pools}"));
    eventually("it accepts no more", DEADLINE, || {
        Client::try_connect(web).is_err() && Client::try_connect(tcp).is_err()
    });
    assert_eq!(request.read_response().text(), "slow");
    assert!(session.echoes("after"));
}

#[test]
fn a_file_with_problems_changes_nothing_and_says_so() {
    let origin = Origin::http().reply("a").start();
    let listener = free_address();
    let good =
        format!("[listener.web]\nbind = '{listener}'\npool = 'web'\n[pool.web]\nbackends = ['{}']\n", origin.addr());
    let process = Process::start(&good);
    let mut kept = Client::connect(listener);
    assert_eq!(kept.get("/").text(), "a");
    let bad = good.replace("pool = 'web'", "pool = 'wep'").replace("backends = [", "backends = ['nonsense', ");
    let output = process.reload(&bad);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in ["evenkeel.toml:3:", "wep", "nonsense", "2 errors", "the running configuration stays"] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    process.signal("HUP");
    let refused = || process.metric("evenkeel_config_reloads_total{result=\"refused\"}");
    eventually("the second is refused too", DEADLINE, || refused() == Some(2.0));
    assert_eq!(process.metric("evenkeel_config_last_reload_success"), Some(0.0));
    assert!(process.stderr().contains("the new configuration was refused"), "{}", process.stderr());
    let events = client::get(process.admin(), "/api/v1/events").text();
    assert!(events.contains("\"reload_refused\""), "{events}");
    assert_eq!((generation(&process), kept.get("/").text()), (1.0, "a".to_owned()));
    ok(&process, &good);
    assert_eq!(process.metric("evenkeel_config_last_reload_success"), Some(1.0));
    assert_eq!(kept.get("/").text(), "a");
}

#[test]
fn an_address_in_use_refuses_the_whole_configuration() {
    let (a, b) = (Origin::http().reply("a").start(), Origin::http().reply("b").start());
    let [listener, free] = [(); 2].map(|()| free_address());
    let occupied = TcpListener::bind(free_address()).unwrap();
    let taken = occupied.local_addr().unwrap();
    let config = |backend: &Origin, more: &str| {
        format!(
            "[listener.web]\nbind = '{listener}'\npool = 'web'\n{more}[pool.web]\nbackends = ['{}']\n",
            backend.addr()
        )
    };
    let process = Process::start(&config(&a, ""));
    let more =
        format!("[listener.first]\nbind = '{free}'\npool = 'web'\n[listener.second]\nbind = '{taken}'\npool = 'web'\n");
    let output = process.reload(&config(&b, &more));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("listener `second` cannot listen on") && said.contains(&taken.to_string()), "{said}");
    assert_eq!(client::get(listener, "/").text(), "a", "the backends have not changed either");
    assert!(Client::try_connect(free).is_err(), "nor has the other new listener come");
    assert_eq!(generation(&process), 1.0);
    drop(occupied);
    ok(&process, &config(&b, &more));
    for address in [listener, free, taken] {
        assert_eq!(client::get(address, "/").text(), "b");
    }
}

#[test]
fn a_renamed_listener_keeps_its_socket() {
    let origin = Origin::http().reply("a").start();
    let listener = free_address();
    let config = |name: &str| {
        format!("[listener.{name}]\nbind = '{listener}'\npool = 'web'\n[pool.web]\nbackends = ['{}']\n", origin.addr())
    };
    let process = Process::start(&config("web"));
    let mut patient = Client::connect(listener);
    assert_eq!(patient.get("/").text(), "a");
    let kept = Load::start(listener, "/", 2);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let comers = scope.spawn(|| {
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                assert_eq!(client::get(listener, "/").text(), "a");
                count += 1;
            }
            count
        });
        for number in 0..60 {
            ok(&process, &config(["front", "web"][number % 2]));
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(comers.join().unwrap() > 0);
    });
    kept.stop().assert_none_failed();
    assert_eq!(patient.get("/").text(), "a", "a kept connection goes over to the new name");
    assert_eq!(client::get(listener, "/").text(), "a");
}

#[test]
fn watch_takes_up_what_was_written_or_renamed_into_place() {
    let origins = ["a", "b", "c"].map(|name| Origin::http().reply(name).start());
    let listener = free_address();
    let config = |origin: &Origin| {
        format!(
            "watch = true\n[listener.web]\nbind = '{listener}'\npool = 'web'\n[pool.web]\nbackends = ['{}']\n",
            origin.addr()
        )
    };
    let process = Process::start(&config(&origins[0]));
    assert_eq!(client::get(listener, "/").text(), "a");
    // This renames a new file over the old one.
    process.write_config(&config(&origins[1]));
    eventually("the new file is taken up", DEADLINE, || client::get(listener, "/").text() == "b");
    // This writes into the file.
    let text = std::fs::read_to_string(process.config_path()).unwrap();
    let text = text.replace(&origins[1].addr().to_string(), &origins[2].addr().to_string());
    std::fs::write(process.config_path(), text).unwrap();
    eventually("the changed file is taken up", DEADLINE, || client::get(listener, "/").text() == "c");
}

#[test]
fn term_finishes_what_is_under_way_and_is_not_ready_meanwhile() {
    let backend = BackendProcess::http("a");
    let listener = free_address();
    let mut process = Process::start(&format!(
        "[shutdown]\nlead = '700ms'\ndrain = '20s'\n[listener.web]\nbind = '{listener}'\npool = 'web'\n\
         [pool.web]\nbackends = ['{}']\n",
        backend.addr()
    ));
    let (mut slow, mut idle) = (Client::connect(listener), Client::connect(listener));
    assert_eq!(idle.get("/").text(), "a");
    slow.send(format!("GET /slow/1500 HTTP/1.1\r\nHost: {listener}\r\n\r\n"));
    let in_flight =
        || process.metric(&format!("evenkeel_backend_in_flight{{pool=\"web\",backend=\"{}\"}}", backend.addr()));
    eventually("the request is with the backend", DEADLINE, || in_flight() == Some(1.0));
    process.signal("TERM");
    eventually("it is not ready", SOON, || client::get(process.admin(), "/readyz").status == 503);
    assert_eq!(client::get(process.admin(), "/livez").status, 200);
    assert_eq!(client::get(listener, "/").text(), "a", "it accepts until the lead time is over");
    eventually("it accepts no more", DEADLINE, || Client::try_connect(listener).is_err());
    assert!(idle.closed(), "an idle connection ends");
    assert_eq!(slow.read_response().text(), "a");
    assert!(slow.closed(), "and then its connection");
    assert_eq!(process.wait(DEADLINE).code(), Some(0), "{}", process.stderr());
}

#[test]
fn a_second_term_stops_at_once() {
    let echo = Origin::echo().start();
    let listener = free_address();
    let mut process = Process::start(&format!(
        "[listener.t]\nbind = '{listener}'\nprotocol = 'tcp'\npool = 't'\n[pool.t]\nbackends = ['{}']\n",
        echo.addr()
    ));
    let mut session = Client::connect(listener);
    assert!(session.echoes("before"));
    process.signal("TERM");
    eventually("it accepts no more", DEADLINE, || Client::try_connect(listener).is_err());
    assert!(session.echoes("while it drains"));
    assert_eq!(session.ending(Duration::from_millis(100)), Ending::Open);
    process.signal("TERM");
    assert_eq!(process.wait(Duration::from_secs(2)).code(), Some(1), "{}", process.stderr());
    assert!(session.closed());
}
