//! `mode = "active-standby"`: the order of the list decides, and what happens when the first one falls and returns.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::client::{self, Ending};
use crate::support::eventually::DEADLINE;
use crate::support::{Load, Origin, eventually};
use crate::{Cast, QUICK, Says, config};

/// Backends of which none knows a role.
fn cast(count: usize, keys: &str) -> Cast {
    let check = format!("check.page = {{ type = 'http', path = '/page', {QUICK} }}\n");
    Cast::new(&vec![Says::Standby; count], &format!("mode = 'active-standby'\n{check}{keys}"))
}

#[test]
fn the_order_of_the_list_decides_and_no_get_fails_as_one_after_the_other_dies() {
    let cast = cast(3, "failback = 'never'\nhold = '15s'\non_role_loss = 'close'\n");
    let load = Load::start(cast.lb.addr("web"), "/", 4);
    for (dies, next) in [(0, "b1"), (1, "b2")] {
        load.wait_for(100);
        cast.origins[dies].stop();
        cast.lb.is_active(Some(next));
        load.wait_for(20);
        load.forget();
        load.wait_for(100);
        assert!((load.so_far().share(next) - 1.0).abs() < f64::EPSILON, "{:?}", load.so_far());
    }
    // The one that has the work keeps it.
    for returns in [0, 1] {
        cast.origins[returns].start_again();
        cast.up(returns, true);
    }
    load.wait_for(100);
    assert_eq!(cast.lb.pool().active.as_deref(), Some("b2"));
    cast.lb.alarm(None);
    load.stop().assert_none_failed();
}

#[test]
fn at_once_the_first_takes_over_again_and_sessions_move_with_it() {
    let cast = cast(2, "failback = 'at once'\non_role_loss = 'close'\n");
    cast.origins[0].stop();
    cast.lb.is_active(Some("b1"));
    let mut session = cast.session();
    cast.origins[0].start_again();
    cast.lb.is_active(Some("b0"));
    assert_eq!(session.ending(DEADLINE), Ending::Reset);
    cast.lb.counts("evenkeel_backend_cut_total{pool=p,backend=b1}", 1.0);
    cast.served_by("b0");
}

#[test]
fn after_some_time_of_being_well_the_first_takes_over_again() {
    let wait = Duration::from_millis(1_500);
    let cast = cast(2, "failback = 'after 1500ms'\n");
    cast.origins[0].stop();
    cast.lb.is_active(Some("b1"));
    let back = Instant::now();
    cast.origins[0].start_again();
    cast.up(0, true);
    cast.lb.is_active(Some("b0"));
    assert!(back.elapsed() >= wait, "after {:?}", back.elapsed());
    cast.served_by("b0");
}

#[test]
fn by_hand_the_first_waits_for_a_word_and_an_alarm_tells_that_it_could() {
    let cast = cast(2, "failback = 'manual'\n");
    cast.origins[0].stop();
    cast.lb.is_active(Some("b1"));
    cast.lb.alarm(None);
    cast.origins[0].start_again();
    cast.lb.alarm(Some("b0 is well again and may be promoted; b1 has the work"));
    cast.served_by("b1");
    cast.lb.order(&["promote", "p", "b0"]);
    cast.lb.is_active(Some("b0"));
    cast.lb.alarm(None);
    cast.served_by("b0");
}

#[test]
fn with_failover_by_hand_nobody_serves_until_somebody_is_promoted() {
    let cast = cast(2, "failover = 'manual'\nfailback = 'never'\n");
    cast.origins[0].stop();
    cast.lb.is_active(None);
    cast.lb.alarm(Some("`failover` is manual"));
    cast.refused();
    cast.lb.order(&["promote", "p", "b1"]);
    cast.lb.is_active(Some("b1"));
    cast.lb.alarm(None);
    cast.served_by("b1");
    // Taking the word back moves nothing, and neither does the return of the first.
    cast.origins[0].start_again();
    cast.up(0, true);
    cast.lb.order(&["ready", "p/b1"]);
    cast.served_by("b1");
}

#[test]
fn with_failover_by_hand_the_same_one_goes_on_when_it_returns() {
    let cast = cast(2, "failover = 'manual'\n");
    cast.origins[0].stop();
    cast.lb.is_active(None);
    cast.origins[0].start_again();
    cast.lb.is_active(Some("b0"));
    cast.served_by("b0");
}

#[test]
fn a_demoted_one_gets_nothing_until_that_is_taken_back() {
    let cast = cast(2, "on_role_loss = 'close'\n");
    let mut session = cast.session();
    cast.lb.order(&["demote", "p", "b0"]);
    cast.lb.is_active(Some("b1"));
    assert_eq!(session.ending(DEADLINE), Ending::Reset);
    cast.served_by("b1");
    // Not even when nobody else is left.
    cast.origins[1].stop();
    cast.lb.is_active(None);
    cast.refused();
    cast.lb.order(&["ready", "p/b0"]);
    cast.lb.is_active(Some("b0"));
    cast.served_by("b0");
}

#[test]
fn those_that_wait_for_the_work_may_read_meanwhile() {
    let cast = cast(3, "failback = 'at once'\n");
    let readers = || (0..12).map(|_| client::get(cast.lb.addr("reads"), "/").text()).collect::<BTreeSet<_>>();
    let read_by = |names: &[&str]| {
        eventually(&format!("{names:?} read"), DEADLINE, || {
            readers() == names.iter().map(ToString::to_string).collect()
        });
    };
    read_by(&["b1", "b2"]);
    cast.origins[0].stop();
    read_by(&["b2"]);
    cast.served_by("b1");
    cast.origins[2].stop();
    read_by(&["b1"]);
    cast.origins[0].start_again();
    cast.lb.is_active(Some("b0"));
    cast.served_by("b0");
    read_by(&["b1"]);
}

#[test]
fn a_reload_leaves_the_work_where_it_is() {
    let mut cast = cast(2, "failback = 'never'\n");
    cast.origins[0].stop();
    cast.lb.is_active(Some("b1"));
    cast.origins[0].start_again();
    cast.up(0, true);
    let mut session = cast.session();
    // Another backend comes in front of them, and the one that has the work is last now.
    cast.origins.insert(0, Origin::http().reply("new").start());
    let check = format!("check.page = {{ type = 'http', path = '/page', {QUICK} }}\n");
    let keys = format!("mode = 'active-standby'\nfailback = 'never'\non_role_loss = 'close'\n{check}");
    let next = config(&cast.origins, &keys).replace("'b2'", "'b1.'").replace("'b1'", "'b0.'").replace("'b0'", "'new'");
    let answer = cast.lb.reload(&next.replace(".'", "'"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    cast.lb.wait_for_up(3);
    assert_eq!(cast.lb.pool().active.as_deref(), Some("b1"));
    cast.served_by("b1");
    assert!(session.echoes("still here"));
}
