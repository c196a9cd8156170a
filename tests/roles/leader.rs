//! `mode = "leader"`: one backend at most has the work, the one that says so, and it is found soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

use crate::support::eventually::DEADLINE;
use crate::support::{Client, Load, Origin, client, eventually};
use crate::{Cast, QUICK, Says, by_role};

/// Backends of which the first leads; keys of the pool, and of its check.
fn leading(count: usize, keys: &str, check: &str) -> Cast {
    let mut says = vec![Says::Standby; count];
    says[0] = Says::Active(None);
    Cast::new(&says, &(by_role(check) + keys))
}

/// One client that asks again and again, and writes down who answers.
struct Witness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Witness {
    fn start(cast: &Cast) -> Self {
        let (address, stop) = (cast.lb.addr("web"), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(address);
            let mut seen: Vec<String> = Vec::new();
            while !told.load(SeqCst) {
                let answer = client.get("/");
                assert_eq!(answer.status, 200, "{}", answer.text());
                if seen.last() != Some(&answer.text()) {
                    seen.push(answer.text());
                }
            }
            seen
        });
        Self { stop, thread }
    }

    /// Who answered, one after the other.
    fn saw(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        self.thread.join().expect("every answer was good")
    }
}

#[test]
fn work_goes_from_leader_to_leader_and_never_back_and_forth_and_no_get_fails() {
    let cast = leading(3, "no_leader = { hold = '15s' }", QUICK);
    let load = Load::start(cast.lb.addr("web"), "/", 3);
    let witness = Witness::start(&cast);
    load.wait_for(100);
    let changes = "evenkeel_pool_leader_changes_total{pool=p}";
    let before = cast.lb.metric(changes);
    let mut leader = 0;
    for next in [1, 2, 0, 1] {
        cast.becomes(leader, Says::Standby);
        cast.lb.is_active(None);
        // All of them wait, and none has gone to a standby.
        cast.lb.counts("evenkeel_pool_waiting{pool=p}", 4.0);
        cast.becomes(next, Says::Active(None));
        cast.lb.is_active(Some(&format!("b{next}")));
        load.wait_for(100);
        leader = next;
    }
    load.stop().assert_none_failed();
    // Each time to nobody, and to the next.
    cast.lb.counts(changes, before + 8.0);
    assert_eq!(witness.saw(), ["b0", "b1", "b2", "b0", "b1"]);
}

#[test]
fn while_nobody_leads_nobody_is_asked_and_that_is_said() {
    let cast = leading(2, "", QUICK);
    cast.becomes(0, Says::Standby);
    cast.lb.is_active(None);
    cast.lb.alarm(Some("nobody says that it is active"));
    cast.refused();
    cast.becomes(1, Says::Active(None));
    cast.lb.is_active(Some("b1"));
    cast.lb.alarm(None);
    cast.served_by("b1");
}

#[test]
fn the_work_follows_the_role_within_one_interval() {
    let cast = leading(2, "no_leader = { hold = '15s' }", "interval = '2s', rise = 1, fall = 3");
    let probes = || [0, 1].map(|at| cast.origins[at].requests_for("/role"));
    let before = probes();
    cast.becomes(0, Says::Standby);
    cast.becomes(1, Says::Active(None));
    cast.lb.is_active(Some("b1"));
    // The next answer of the old leader decides, or the one before it of the new; the other is asked out of turn. One
    // more may have been under way as the roles changed.
    let asked = [probes()[0] - before[0], probes()[1] - before[1]];
    assert!(asked.iter().all(|probes| *probes <= 2), "{asked:?}");
}

#[test]
fn when_the_leader_dies_the_others_are_asked_at_once() {
    // Nobody waits for the next turn of a check here.
    let cast = leading(3, "no_leader = { hold = '15s' }", "interval = '1h', rise = 1, fall = 3");
    cast.becomes(2, Says::Active(None));
    cast.origins[0].stop();
    cast.served_by("b2");
    cast.lb.failed("connect_refused", 0);
}

#[test]
fn a_leader_that_comes_back_as_a_standby_gets_nothing() {
    let cast = leading(2, "no_leader = { hold = '15s' }", QUICK);
    cast.origins[0].stop();
    cast.becomes(1, Says::Active(None));
    cast.lb.is_active(Some("b1"));
    cast.becomes(0, Says::Standby);
    let before = cast.work()[0];
    cast.origins[0].start_again();
    cast.up(0, true);
    cast.served_by("b1");
    assert_eq!(cast.work()[0], before);
}

#[test]
fn operators_choose_only_among_those_that_lead() {
    let cast = leading(2, "", QUICK);
    cast.becomes(1, Says::Active(None));
    cast.lb.alarm(Some("b0 has the work"));
    cast.lb.order(&["promote", "p", "b1"]);
    cast.lb.is_active(Some("b1"));
    cast.served_by("b1");
    cast.lb.order(&["demote", "p", "b1"]);
    cast.lb.is_active(Some("b0"));
    cast.becomes(0, Says::Standby);
    cast.lb.is_active(None);
    cast.refused();
    cast.lb.order(&["ready", "p/b1"]);
    eventually("the word is taken back", DEADLINE, || cast.lb.get("/").text() == "b1");
}

#[test]
fn a_request_that_meets_a_leader_which_has_just_lost_its_role_waits_for_the_next_one() {
    // Only what traffic meets brings a probe in time.
    let cast = leading(
        2,
        "no_leader = { hold = '15s' }\nretry.status = [503]",
        "interval = '1h', timeout = '300ms', fast_interval = '50ms', rise = 1, fall = 2",
    );
    let resigned = Origin::http().status(503).at("/role", Origin::http().status(429));
    cast.origins[0].becomes(resigned);
    let address = cast.lb.addr("web");
    let waiting = std::thread::spawn(move || client::get(address, "/"));
    cast.lb.is_active(None);
    cast.becomes(1, Says::Active(None));
    // Whoever looks for a leader asks those who stood by as well.
    let answer = waiting.join().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "b1"));
}
