//! Two backends that both say they lead: the rule chooses one or none, and an alarm tells of it.

use crate::support::client::Ending;
use crate::support::eventually;
use crate::support::eventually::DEADLINE;
use crate::{Cast, QUICK, Says, by_role, config};

const ALARM: &str = "b0, b1 say that they are active";

fn asked_for_terms() -> String {
    format!("epoch = '/term', {QUICK}")
}

/// The first leads, by this election.
fn cast(rule: &str, term: Option<u64>, check: &str) -> Cast {
    let keys = format!("{}two_leaders = '{rule}'\non_role_loss = 'close'\n", by_role(check));
    Cast::new(&[Says::Active(term), Says::Standby], &keys)
}

#[test]
fn keep_leaves_the_work_where_it_is_whichever_is_newer() {
    let cast = cast("keep", Some(1), &asked_for_terms());
    let mut session = cast.session();
    cast.becomes(1, Says::Active(Some(2)));
    cast.lb.alarm(Some(&format!("{ALARM}; b0 has the work")));
    cast.served_by("b0");
    assert!(session.echoes("still here"));
    cast.becomes(0, Says::Standby);
    cast.lb.is_active(Some("b1"));
    cast.lb.alarm(None);
    cast.becomes(0, Says::Active(Some(3)));
    cast.lb.alarm(Some(&format!("{ALARM}; b1 has the work")));
    cast.served_by("b1");
}

#[test]
fn refuse_gives_nobody_the_work_until_one_steps_back() {
    let cast = cast("refuse", None, QUICK);
    let mut session = cast.session();
    cast.becomes(1, Says::Active(None));
    cast.lb.is_active(None);
    assert_eq!(session.ending(DEADLINE), Ending::Reset);
    cast.refused();
    let alarms = cast.lb.pool().alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("two say that they are active")), "{alarms:?}");
    cast.becomes(0, Says::Standby);
    cast.lb.is_active(Some("b1"));
    cast.lb.alarm(None);
    cast.served_by("b1");
}

#[test]
fn newest_gives_the_work_to_the_last_election() {
    let cast = cast("newest", Some(7), &asked_for_terms());
    let mut session = cast.session();
    cast.becomes(1, Says::Active(Some(8)));
    cast.lb.is_active(Some("b1"));
    cast.lb.alarm(Some(&format!("{ALARM}; b1 has the work")));
    assert_eq!(session.ending(DEADLINE), Ending::Reset, "whoever stays with the old one writes what is lost");
    cast.lb.counts("evenkeel_backend_cut_total{pool=p,backend=b0}", 1.0);
    cast.served_by("b1");
    // An older one does not get it back.
    cast.becomes(0, Says::Standby);
    cast.lb.alarm(None);
    cast.becomes(0, Says::Active(Some(7)));
    cast.lb.alarm(Some(ALARM));
    cast.served_by("b1");
    cast.becomes(0, Says::Active(Some(9)));
    cast.lb.is_active(Some("b0"));
}

#[test]
fn newest_keeps_the_one_that_has_the_work_where_nobody_tells_which_is_newer() {
    for term in [None, Some(7)] {
        let cast = cast("newest", term, &asked_for_terms());
        cast.becomes(1, Says::Active(term));
        cast.lb.alarm(Some(&format!("{ALARM}; b0 has the work")));
        cast.served_by("b0");
    }
}

#[test]
fn who_has_the_work_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    let cast = cast("keep", None, QUICK);
    let config = config(&cast.origins, &by_role(QUICK));
    let text = format!("state_file = '{}'\n{config}", state.display());
    let cast = cast.restarted(&text);
    cast.lb.is_active(Some("b0"));
    cast.becomes(0, Says::Standby);
    cast.becomes(1, Says::Active(None));
    cast.lb.is_active(Some("b1"));
    cast.becomes(0, Says::Active(None));
    cast.lb.alarm(Some(ALARM));
    eventually("it stands in the file", DEADLINE, || {
        std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"b1\""))
    });
    let cast = cast.restarted(&text);
    cast.lb.is_active(Some("b1"));
    cast.served_by("b1");
    // Without the file, the first in the list has it.
    let cast = cast.restarted(&config);
    cast.lb.is_active(Some("b0"));
}
