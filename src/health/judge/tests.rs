//! Judges at work: each test is a short story of one pool, told second by second.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::health::{
    AllDown, Disagree, Expression, Failback, Flaps, Initial, Says, Serves, Settle, Standing, Succession, Timing,
    TwoLeaders, Wish,
};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One good answer brings a check up, one bad answer takes it down.
const QUICK: Timing = Timing {
    interval: s(1),
    fast_interval: s(1),
    down_interval: s(1),
    timeout: s(1),
    rise: NonZeroU32::MIN,
    fall: NonZeroU32::MIN,
    initial: Initial::Unknown,
};

const WELL: Answer = Answer::Good(SAYS_NOTHING);
const SAYS_NOTHING: Says = Says { wish: Wish::Work, role: None, share: None, connections: None, epoch: None };

fn role(role: Role) -> Answer {
    Answer::Good(Says { role: Some(role), ..SAYS_NOTHING })
}

fn leads(epoch: u64) -> Answer {
    Answer::Good(Says { role: Some(Role::Active), epoch: Some(epoch), ..SAYS_NOTHING })
}

/// A pool, its judge and the time.
struct Court {
    judge: Judge,
    now: Duration,
    checks: usize,
    done: Vec<Action>,
}

impl Court {
    /// Backends a, b, c, …; capitals are backups.
    fn new(names: &str, policy: Policy) -> Self {
        Self::with(names, policy, 1, Source::Checks, None)
    }

    fn with(names: &str, policy: Policy, checks: usize, source: Source, incumbent: Option<&str>) -> Self {
        let judge = Judge::new(plan(names, policy, checks, source), incumbent, s(1_000));
        Self { judge, now: s(1_000), checks, done: Vec::new() }
    }

    fn at(&self, name: char) -> usize {
        let is_it = |case: &Case| case.name.starts_with(name);
        self.judge.cases.iter().position(is_it).expect("the story names its backends")
    }

    /// All checks of these backends answer so.
    fn answer(&mut self, names: &str, answer: Answer) -> &mut Self {
        for name in names.chars() {
            for check in 0..self.checks {
                self.judge.probed((self.at(name), check), answer, InARow::default(), None, self.now);
            }
        }
        self.conclude()
    }

    fn conclude(&mut self) -> &mut Self {
        let actions = self.judge.conclude(self.now);
        self.done.extend(actions);
        self
    }

    /// Time passes, and the judge wakes whenever it wants to.
    fn wait(&mut self, time: Duration) -> &mut Self {
        let end = self.now + time;
        while let Some(due) = self.judge.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.conclude();
            assert!(self.judge.due().is_none_or(|next| next > self.now), "the judge does not wake for nothing");
        }
        self.now = end;
        self.conclude()
    }

    fn order(&mut self, name: char, orders: Orders) -> &mut Self {
        self.judge.ordered(self.at(name), orders, || "an operator".to_owned());
        self.conclude()
    }

    /// Traffic fails so often in a row; a probe that it brings is answered so.
    fn traffic_fails(&mut self, name: char, symptom: Symptom, times: u32) -> Response {
        let row = InARow { suspicions: times, failures: times };
        let response = self.judge.traffic_failed(self.at(name), symptom, row, self.now);
        self.conclude();
        response
    }

    /// One letter for each backend: what it serves, `-` nothing, `?` unknown.
    fn serves(&self) -> String {
        let letter = |case: &Case| match (case.verdict.state, case.verdict.serves) {
            (State::Unknown, _) => '?',
            (_, Serves::Nothing) => '-',
            (_, Serves::Work) => 'w',
            (_, Serves::Reads) => 'r',
            (_, Serves::Both) => 'b',
        };
        self.judge.cases.iter().map(letter).collect()
    }

    /// One letter for each: the state.
    fn states(&self) -> String {
        let letter = |case: &Case| match case.verdict.state {
            State::Draining => 'n',
            state => state.word().chars().next().unwrap_or_default(),
        };
        self.judge.cases.iter().map(letter).collect()
    }

    fn share(&self, name: char) -> u16 {
        self.judge.verdict(self.at(name)).share
    }

    fn alarms(&self) -> Vec<AlarmKind> {
        self.judge.alarms().iter().map(|alarm| alarm.kind).collect()
    }

    fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.done)
    }

    fn has(&mut self, wanted: &Action) -> bool {
        self.take().contains(wanted)
    }
}

fn plan(names: &str, policy: Policy, checks: usize, source: Source) -> Plan {
    let check = |number: usize| PlannedCheck {
        name: Arc::from(format!("check{number}")),
        question: number as u64,
        timing: QUICK,
        past: None,
    };
    let backend = |name: char| Planned {
        id: u64::from(name),
        name: Arc::from(name.to_string()),
        standing: if name.is_uppercase() { Standing::Backup } else { Standing::Regular },
        location: Location::Known,
        stands: Verdict::UNKNOWN,
        checks: (0..checks).map(check).collect(),
    };
    Plan { policy, source, backends: names.chars().map(backend).collect() }
}

fn usual() -> Policy {
    Policy::usual(Expression::all_of(1))
}

fn leader(rule: TwoLeaders) -> Policy {
    Policy { mode: Mode::Leader(rule), ..usual() }
}

fn active_standby(failover: Failover, failback: Failback) -> Policy {
    Policy { mode: Mode::ActiveStandby(Succession { failover, failback }), ..usual() }
}

fn leave(leave: Leave) -> Orders {
    Orders { leave: Some(leave), ..Orders::default() }
}

fn rank(rank: Rank) -> Orders {
    Orders { rank: Some(rank), ..Orders::default() }
}

// === what answers say ===

#[test]
fn wishes_are_obeyed_at_once_where_the_checks_hold() {
    let mut court = Court::new("ab", usual());
    court.answer("ab", WELL);
    assert_eq!((court.states().as_str(), court.serves().as_str()), ("uu", "bb"));
    court.answer("a", Answer::Good(Says::wish(Wish::Drain)));
    assert_eq!((court.states().as_str(), court.serves().as_str()), ("nu", "-b"));
    court.answer("a", Answer::Good(Says::wish(Wish::Maintenance)));
    assert_eq!(court.states(), "mu");
    court.answer("a", Answer::Bad);
    assert_eq!(court.states(), "du", "what is down is down whatever it wished");
    court.answer("a", WELL);
    assert_eq!(court.serves(), "bb");
    court.answer("a", Answer::Good(Says { share: Some(0), ..SAYS_NOTHING }));
    assert_eq!(court.states(), "nu", "no share is a drain said in numbers");
}

#[test]
fn shares_are_the_least_that_is_told_times_the_operators() {
    let mut court = Court::with("ab", usual(), 2, Source::Checks, None);
    let share = |percent| Answer::Good(Says { share: Some(percent), ..SAYS_NOTHING });
    court.answer("ab", WELL);
    assert_eq!((court.share('a'), court.share('b')), (100, 100));
    court.judge.probed((0, 0), share(80), InARow::default(), None, court.now);
    court.judge.probed((0, 1), share(40), InARow::default(), None, court.now);
    court.conclude();
    assert_eq!(court.share('a'), 40);
    court.answer("a", share(42)).wait(s(1));
    assert_eq!(court.share('a'), 40, "small changes are noise");
    court.answer("a", share(61)).wait(s(1));
    assert_eq!(court.share('a'), 60);
    court.order('a', Orders { weight: Some(50), ..Orders::default() }).wait(s(1));
    assert_eq!(court.share('a'), 30);
    court.order('a', Orders { weight: Some(1), ..Orders::default() }).wait(s(1));
    assert_eq!(court.share('a'), 1, "one that serves gets some work");
    court.order('a', Orders { weight: Some(0), ..Orders::default() });
    assert_eq!(court.states(), "nu");
}

#[test]
fn shares_alone_change_the_layout_seldom() {
    let mut court = Court::new("ab", usual());
    court.answer("ab", WELL).take();
    for tick in 0..100 {
        court.answer("a", Answer::Good(Says { share: Some(10 + 5 * (tick % 10)), ..SAYS_NOTHING }));
        court.wait(Duration::from_millis(10));
    }
    let changes = court.take().len();
    assert!((3..=5).contains(&changes), "{changes} in a second");
}

#[test]
fn a_check_that_is_down_says_nothing() {
    let mut policy = usual();
    policy.healthy_when = Expression::Check(0);
    let mut court = Court::with("a", policy, 2, Source::Checks, None);
    court.judge.probed((0, 0), WELL, InARow::default(), None, court.now);
    court.judge.probed((0, 1), role(Role::Active), InARow::default(), None, court.now);
    court.conclude();
    assert_eq!(court.judge.verdict(0).role, Some(Role::Active));
    court.judge.probed((0, 1), Answer::Bad, InARow::default(), None, court.now);
    court.conclude();
    assert_eq!((court.judge.verdict(0).role, court.states().as_str()), (None, "u"));
}

#[test]
fn an_unknown_backend_keeps_its_verdict_when_a_reload_adds_a_check() {
    let mut court = Court::new("ab", usual());
    court.answer("a", WELL).answer("b", Answer::Bad);
    let two = Policy::usual(Expression::all_of(2));
    court.judge.replan(plan("bca", two, 2, Source::Checks), court.now);
    court.conclude();
    assert_eq!(court.states(), "duu");
}

// === hysteresis ===

#[test]
fn a_verdict_counts_when_it_has_settled() {
    let settle = Settle { up: s(5), down: s(2) };
    let mut court = Court::new("ab", Policy { settle, ..usual() });
    court.answer("ab", WELL);
    assert_eq!(court.states(), "uu", "the first one counts at once");
    court.answer("a", Answer::Bad).wait(s(1));
    assert_eq!(court.states(), "uu");
    court.answer("a", WELL).wait(s(1)).answer("a", Answer::Bad).wait(Duration::from_millis(1_999));
    assert_eq!(court.states(), "uu");
    court.wait(Duration::from_millis(1));
    assert_eq!(court.states(), "du");
    court.answer("a", WELL).wait(Duration::from_millis(4_999));
    assert_eq!(court.states(), "du");
    court.wait(Duration::from_millis(1));
    assert_eq!(court.states(), "uu");
}

#[test]
fn one_that_flaps_waits_but_not_when_it_is_the_last() {
    let flaps = Some(Flaps { max: NonZeroU32::new(4).unwrap(), within: s(60), hold: s(10) });
    let mut court = Court::new("ab", Policy { flaps, ..usual() });
    court.answer("ab", WELL);
    for _ in 0..2 {
        court.wait(s(1)).answer("a", Answer::Bad).wait(s(1)).answer("a", WELL);
    }
    assert_eq!(court.states(), "du", "the fourth flip would be up");
    assert_eq!(court.alarms(), [AlarmKind::Flapping]);
    assert!(court.judge.remarks(0, court.now)[0].contains("too often"));
    court.wait(s(9));
    assert_eq!(court.states(), "du");
    court.wait(s(1));
    assert_eq!((court.states().as_str(), court.alarms()), ("uu", vec![]));
    court.answer("a", Answer::Bad).answer("a", WELL);
    assert_eq!(court.states(), "du");
    court.answer("b", Answer::Bad);
    assert_eq!(court.states(), "ud", "one that flaps is better than none");
}

#[test]
fn who_comes_back_while_others_serve_starts_slowly() {
    let mut court = Court::new("abc", Policy { slow_start: s(20), ..usual() });
    court.answer("abc", WELL);
    assert_eq!((court.share('a'), court.share('c')), (100, 100), "not at a start");
    court.answer("a", Answer::Bad).wait(s(1)).answer("a", WELL);
    assert_eq!((court.share('a'), court.share('b')), (10, 100));
    court.wait(Duration::from_millis(10_001));
    assert_eq!(court.share('a'), 55);
    court.wait(s(10));
    assert_eq!(court.share('a'), 100);
    court.answer("bc", Answer::Bad).wait(s(1)).answer("b", WELL).wait(Duration::from_millis(1_001));
    assert_eq!(court.share('b'), 14);
    court.answer("a", Answer::Bad).wait(s(1));
    assert_eq!(court.share('b'), 100, "nobody else is left");
}

#[test]
fn a_slow_start_takes_few_steps() {
    let mut court = Court::new("ab", Policy { slow_start: s(30), ..usual() });
    court.answer("ab", WELL).answer("a", Answer::Bad).answer("a", WELL).take();
    court.wait(s(31));
    let steps = court.take().len();
    assert!((15..=20).contains(&steps), "{steps}");
}

// === traffic ===

fn ejecting(max_ejected: f32) -> Policy {
    let outliers = super::super::Outliers { max_ejected, ..super::super::Outliers::default() };
    Policy { outliers, ..usual() }
}

#[test]
fn broken_answers_take_out_never_more_than_the_share_and_never_the_last() {
    let mut court = Court::new("abcd", ejecting(0.5));
    court.answer("abcd", WELL);
    assert_eq!(court.traffic_fails('a', Symptom::BadAnswer, 4), Response::Probe);
    assert_eq!(court.states(), "uuuu");
    for name in ['a', 'b', 'c'] {
        court.traffic_fails(name, Symptom::BadAnswer, 5);
    }
    assert_eq!(court.states(), "dduu", "half of them");
    assert_eq!(court.judge.disagreement(2), Some(Disagreement::TrafficFails), "the third is named only");
    court.wait(s(10));
    assert_eq!(court.states(), "uuuu");
    let mut court = Court::new("ab", ejecting(1.0));
    court.answer("ab", WELL);
    court.traffic_fails('a', Symptom::BadAnswer, 5);
    court.traffic_fails('b', Symptom::BadAnswer, 500);
    assert_eq!(court.states(), "du");
    court.answer("b", Answer::Bad);
    assert_eq!(court.states(), "ud", "a broken answer is better than none");
}

#[test]
fn failures_that_a_probe_could_explain_wait_for_one() {
    let mut court = Court::new("ab", usual());
    court.answer("ab", WELL);
    assert_eq!(court.traffic_fails('a', Symptom::Reset, 9), Response::Probe);
    assert_eq!(court.states(), "uu", "perhaps it is dead, and back in a moment");
    let row = InARow { suspicions: 9, failures: 9 };
    court.judge.suspect(0, Symptom::Reset);
    court.judge.probed((0, 0), WELL, row, None, court.now);
    court.conclude();
    assert!(court.has(&Action::EvidenceTaken(0)));
    court.traffic_fails('a', Symptom::Reset, 10);
    assert_eq!(court.states(), "du", "its probes are fine, and traffic fails on");
    let rows = [(1, "d"), (0, "u")];
    for (failures, expected) in rows {
        let mut court = Court::new("a", Policy { mode: Mode::ActiveActive, ..usual() });
        court.answer("a", WELL);
        court.judge.suspect(0, Symptom::Reset);
        let row = InARow { suspicions: failures, failures };
        let slow = Timing { fall: NonZeroU32::new(3).unwrap(), ..QUICK };
        court.judge.cases[0].checks[0].streak.retune(1, slow.fall.get());
        court.judge.probed((0, 0), Answer::Bad, row, None, court.now);
        court.conclude();
        assert_eq!(court.states(), expected, "{failures} failures and one bad probe");
    }
}

#[test]
fn without_checks_a_closed_door_is_knocked_at_and_broken_answers_eject() {
    let policy = Policy::usual(Expression::all_of(0));
    let mut court = Court::with("ab", policy, 0, Source::Traffic, None);
    court.conclude();
    assert_eq!(court.states(), "uu");
    assert_eq!(court.traffic_fails('a', Symptom::Refused, 2), Response::Nothing);
    assert_eq!(court.traffic_fails('a', Symptom::Refused, 3), Response::Knock);
    let knock = PlannedCheck {
        name: "knock".into(),
        question: 7,
        timing: Timing { initial: Initial::Up, ..QUICK },
        past: None,
    };
    court.judge.knock(0, &knock);
    court.conclude();
    assert_eq!(court.states(), "uu");
    court.judge.probed((0, 0), Answer::Bad, InARow { suspicions: 3, failures: 3 }, None, court.now);
    court.conclude();
    assert_eq!(court.states(), "du");
    court.judge.probed((0, 0), WELL, InARow { suspicions: 3, failures: 3 }, None, court.now);
    court.judge.stop_knocking(0);
    court.conclude();
    assert_eq!(court.states(), "uu");
    court.traffic_fails('b', Symptom::BadAnswer, 5);
    assert_eq!(court.states(), "ud");
}

#[test]
fn errors_and_slowness_over_a_window_eject_and_end() {
    let rules = super::super::Outliers { errors: Some(0.3), latency: Some(4.0), ..super::super::Outliers::default() };
    let mut court = Court::new("abcd", Policy { outliers: rules, ..usual() });
    court.answer("abcd", WELL);
    assert!(court.judge.wants_samples());
    for second in 0..5_u64 {
        for at in 0..4 {
            let tally = Tally {
                requests: 100 * second,
                errors: if at == 1 { 40 * second } else { second },
                latency: Duration::from_millis(if at == 2 { 90 } else { 20 }),
            };
            court.judge.sampled(at, tally, InARow::default(), court.now);
        }
        court.judge.weigh_samples(court.now);
        court.wait(s(1));
    }
    assert_eq!(court.states(), "uddu");
    let why = |at| court.judge.ejected(at).unwrap().1.to_owned();
    assert!(why(1).contains("requests failed"), "{}", why(1));
    assert!(why(2).contains("it needs 90.0ms"), "{}", why(2));
    assert_eq!((court.judge.disagreement(1), court.judge.disagreement(2)), (Some(Disagreement::TrafficFails), None));
    court.wait(s(10));
    assert_eq!(court.states(), "uuuu");
}

#[test]
fn probes_that_fail_while_traffic_is_fine_are_named_and_obeyed_or_not() {
    for (policy, expected) in [(ProbeFails::Down, "du"), (ProbeFails::Keep, "uu")] {
        let disagree = Disagree { probe_fails: policy, ..Disagree::default() };
        let mut court = Court::new("ab", Policy { disagree, ..usual() });
        court.answer("ab", WELL);
        court.judge.cases[0].checks[0].streak.retune(1, 3);
        for round in 1..=3 {
            let tally = Tally { requests: 100 * round, errors: 7, latency: Duration::ZERO };
            court.judge.probed((0, 0), Answer::Bad, InARow::default(), Some(tally), court.now);
            court.wait(s(1));
        }
        assert_eq!(court.states(), expected, "{policy:?}");
        assert_eq!(court.judge.disagreement(0), Some(Disagreement::ProbeFails));
        assert!(court.take().contains(&Action::Disagreement(0, Some(Disagreement::ProbeFails))));
        if policy == ProbeFails::Keep {
            let tally = Tally { requests: 400, errors: 8, latency: Duration::ZERO };
            court.judge.sampled(0, tally, InARow { suspicions: 1, failures: 1 }, court.now);
            court.conclude();
            assert_eq!(court.states(), "du", "the first failure ends it");
        }
        court.answer("a", WELL);
        assert_eq!((court.states().as_str(), court.judge.disagreement(0)), ("uu", None));
    }
}

#[test]
fn traffic_that_kept_one_up_lets_it_fall_as_soon_as_it_fails() {
    let disagree = Disagree { probe_fails: ProbeFails::Keep, ..Disagree::default() };
    let mut court = Court::new("ab", Policy { disagree, ..usual() });
    court.answer("ab", WELL);
    for requests in [0, 100] {
        court.wait(s(1));
        court.judge.sampled(0, Tally { requests, ..Tally::default() }, InARow::default(), court.now);
    }
    court.answer("a", Answer::Bad);
    assert_eq!((court.states().as_str(), court.judge.disagreement(0)), ("uu", Some(Disagreement::ProbeFails)));
    court.traffic_fails('a', Symptom::BadAnswer, 5);
    assert_eq!((court.states().as_str(), court.judge.disagreement(0)), ("du", None));
}

#[test]
fn silence_of_traffic_keeps_nobody_up() {
    let disagree = Disagree { probe_fails: ProbeFails::Keep, ..Disagree::default() };
    let mut court = Court::new("ab", Policy { disagree, ..usual() });
    court.answer("ab", WELL);
    for _ in 0..3 {
        let tally = Tally { requests: 100, errors: 0, latency: Duration::ZERO };
        court.judge.probed((0, 0), Answer::Bad, InARow::default(), Some(tally), court.now);
        court.wait(s(1));
    }
    assert_eq!((court.states().as_str(), court.judge.disagreement(0)), ("du", None));
}

#[test]
fn traffic_that_fails_is_only_reported_where_the_policy_says_so() {
    let disagree = Disagree { traffic_fails: TrafficFails::Report, ..Disagree::default() };
    let mut court = Court::new("ab", Policy { disagree, ..usual() });
    court.answer("ab", WELL);
    court.traffic_fails('a', Symptom::BadAnswer, 50);
    assert_eq!((court.states().as_str(), court.judge.disagreement(0)), ("uu", Some(Disagreement::TrafficFails)));
    court.answer("a", WELL);
    assert_eq!(court.judge.disagreement(0), None, "nothing fails any more");
}

#[test]
fn without_checks_samples_tell_that_nothing_fails_any_more() {
    let fine = Tally { requests: 100, errors: 0, latency: s(0) };
    for (source, traffic_fails) in [
        (Source::Traffic, TrafficFails::Report),
        (Source::Traffic, TrafficFails::Eject),
        (Source::Followed, TrafficFails::Report),
    ] {
        let policy = Policy { disagree: Disagree { traffic_fails, ..Disagree::default() }, ..usual() };
        let mut court = Court::with("ab", policy, 0, source, None);
        for backend in [0, 1] {
            court.judge.followed(backend, Verdict::plain(State::Up));
        }
        court.conclude();
        assert!(!court.judge.wants_samples());
        court.traffic_fails('a', Symptom::BadAnswer, 5);
        assert_eq!(court.judge.disagreement(0), Some(Disagreement::TrafficFails));
        court.wait(s(60));
        assert_eq!(court.judge.disagreement(0), Some(Disagreement::TrafficFails), "nobody has said otherwise");
        assert!(court.judge.wants_samples());
        court.judge.sampled(0, fine, InARow::default(), court.now);
        court.conclude();
        assert_eq!(court.judge.disagreement(0), None, "{source:?} {traffic_fails:?}");
        assert!(!court.judge.wants_samples());
    }
}

// === nobody is left ===

#[test]
fn when_all_are_down_the_policy_decides() {
    let alive = AllDown::ServeWhen(Expression::Check(1));
    for (all_down, expected) in
        [(AllDown::Fail, "---"), (AllDown::Hold, "---"), (AllDown::ServeAnyway, "bb-"), (alive, "-b-")]
    {
        let announced = if expected == "---" { vec![] } else { vec![AlarmKind::ServingDown] };
        let policy = Policy { all_down, ..Policy::usual(Expression::Check(0)) };
        let mut court = Court::with("abc", policy, 2, Source::Checks, None);
        for at in 0..2 {
            court.judge.probed((at, 0), Answer::Bad, InARow::default(), None, court.now);
            let alive = if at == 1 { WELL } else { Answer::Bad };
            court.judge.probed((at, 1), alive, InARow::default(), None, court.now);
        }
        court.conclude();
        assert_eq!(court.serves(), "--?", "one is not known yet");
        court.answer("c", Answer::Bad).order('c', leave(Leave::Maintenance));
        assert_eq!((court.serves(), court.alarms()), (expected.to_owned(), announced));
        court.answer("a", WELL);
        assert_eq!((court.serves().as_str(), court.alarms()), ("b--", vec![]));
    }
}

#[test]
fn a_name_without_an_address_never_serves() {
    let mut court = Court::new("ab", Policy { all_down: AllDown::ServeAnyway, ..usual() });
    court.judge.located(0, Location::Nowhere, "no address");
    court.answer("b", Answer::Bad);
    assert_eq!((court.states().as_str(), court.serves().as_str()), ("dd", "-b"));
    court.judge.located(0, Location::Known, "found");
    court.answer("a", WELL);
    assert_eq!(court.serves(), "b-");
}

#[test]
fn too_few_raise_an_alarm() {
    let mut court = Court::new("abc", Policy { min_healthy: 2, ..usual() });
    assert_eq!(court.conclude().alarms(), [], "not before everybody is known");
    court.answer("abc", WELL);
    court.answer("ab", Answer::Bad);
    assert_eq!(court.alarms(), [AlarmKind::MinHealthy]);
    assert_eq!(court.judge.alarms()[0].message, "1 of 3 backends are up, `min_healthy` wants 2");
    court.answer("b", WELL);
    assert_eq!(court.alarms(), []);
}

#[test]
fn backups_work_only_when_no_regular_one_does() {
    let mut court = Court::new("aB", usual());
    court.answer("aB", WELL);
    assert_eq!(court.serves(), "b-");
    court.answer("a", Answer::Bad);
    assert_eq!(court.serves(), "-b");
}

// === leaders ===

#[test]
fn work_follows_the_leader_at_once() {
    let mut court = Court::new("abc", leader(TwoLeaders::Keep));
    court.answer("a", role(Role::Active)).answer("bc", role(Role::Standby));
    assert_eq!(court.serves(), "wrr");
    court.take();
    court.answer("a", role(Role::Standby));
    assert_eq!((court.serves().as_str(), court.alarms()), ("rrr", vec![AlarmKind::NoLeader]));
    assert_eq!(court.judge.urgency(), Urgency::Searching);
    let done = court.take();
    assert!(done.contains(&Action::Lost(0)), "{done:?}");
    assert!(done.contains(&Action::Ask(1)) && done.contains(&Action::Ask(2)), "the others are asked at once");
    court.answer("b", role(Role::Active));
    assert_eq!((court.serves().as_str(), court.alarms()), ("rwr", vec![]));
    court.answer("b", Answer::Bad);
    assert_eq!(court.serves(), "r-r");
    court.answer("ac", Answer::Bad).answer("a", role(Role::Active));
    assert_eq!(court.serves(), "b--", "where no standby is up the leader reads, too");
}

#[test]
fn of_two_leaders_the_rule_chooses() {
    let rows = [(TwoLeaders::Keep, "w-", "w-"), (TwoLeaders::Refuse, "--", "w-"), (TwoLeaders::Newest, "-w", "w-")];
    for (rule, expected, after) in rows {
        let mut court = Court::new("ab", leader(rule));
        court.answer("a", leads(1)).answer("b", role(Role::Standby)).take();
        court.wait(s(1)).answer("b", leads(2));
        assert_eq!(court.serves().replace('b', "w"), expected, "{rule:?}");
        assert!(court.has(&Action::Ask(0)), "the other one is asked whether it still leads");
        assert_ne!(court.alarms().first(), Some(&AlarmKind::TwoLeaders), "perhaps it does not");
        court.wait(Duration::from_millis(5)).answer("a", leads(1));
        assert_eq!(court.alarms().first(), Some(&AlarmKind::TwoLeaders), "{rule:?}");
        court.answer("b", role(Role::Standby));
        assert_eq!((court.serves().replace('r', "-"), court.alarms()), (after.to_owned(), vec![]));
    }
}

#[test]
fn an_incumbent_is_remembered_through_its_fall_a_reload_and_a_restart() {
    let mut court = Court::new("abc", leader(TwoLeaders::Keep));
    court.answer("b", role(Role::Active)).answer("ac", role(Role::Standby));
    court.answer("b", Answer::Bad).answer("c", role(Role::Active));
    assert_eq!(court.judge.holder().map(AsRef::as_ref), Some("c"));
    court.answer("b", role(Role::Active));
    assert_eq!(court.serves(), "r-w", "the one that came back does not get it");
    court.judge.replan(plan("cab", leader(TwoLeaders::Keep), 1, Source::Checks), court.now);
    court.conclude();
    assert_eq!((court.serves().as_str(), court.judge.incumbent().map(AsRef::as_ref)), ("wr-", Some("c")));
    let mut court = Court::with("abc", leader(TwoLeaders::Keep), 1, Source::Checks, Some("c"));
    court.answer("ab", role(Role::Active));
    assert_eq!(court.serves(), "--?", "the incumbent is to be heard first");
    court.answer("c", role(Role::Active));
    assert_eq!(court.serves(), "--b");
}

#[test]
fn a_start_hears_those_before_in_the_list_but_not_for_ever() {
    let mut court = Court::new("ab", leader(TwoLeaders::Keep));
    court.answer("b", role(Role::Active));
    assert_eq!((court.serves().as_str(), court.alarms()), ("?-", vec![]));
    court.answer("a", role(Role::Active));
    assert_eq!(court.serves(), "b-");
    let mut court = Court::new("ab", active_standby(Failover::Automatic, Failback::Never));
    court.answer("b", WELL);
    assert_eq!(court.serves(), "?r");
    court.wait(s(5));
    assert_eq!(court.serves(), "?b", "patience ends");
    court.answer("a", WELL);
    assert_eq!(court.serves(), "rw");
}

#[test]
fn operators_pin_a_leader_among_those_that_lead() {
    let mut court = Court::new("abc", leader(TwoLeaders::Refuse));
    court.answer("ab", role(Role::Active)).answer("c", role(Role::Standby));
    assert_eq!(court.serves(), "--r");
    court.order('b', rank(Rank::Promoted));
    assert_eq!(court.serves(), "-wr");
    court.order('b', rank(Rank::Demoted));
    assert_eq!(court.serves(), "w-r", "one claim is left");
    court.order('a', rank(Rank::Demoted));
    assert_eq!(court.serves(), "--r");
}

#[test]
fn a_leader_is_never_ejected_but_a_standby_may_be() {
    let mut court = Court::new("abc", Policy { mode: Mode::Leader(TwoLeaders::Keep), ..ejecting(1.0) });
    court.answer("a", role(Role::Active)).answer("bc", role(Role::Standby));
    court.traffic_fails('a', Symptom::BadAnswer, 50);
    court.traffic_fails('b', Symptom::BadAnswer, 50);
    assert_eq!((court.states().as_str(), court.serves().as_str()), ("udu", "w-r"));
}

// === active-standby ===

#[test]
fn failover_and_failback_go_by_the_policy() {
    let rows = [
        (Failback::Never, "rwr", "rwr", vec![]),
        (Failback::Manual, "rwr", "rwr", vec![AlarmKind::FailbackWaiting]),
        (Failback::AtOnce, "wrr", "wrr", vec![]),
        (Failback::After(s(60)), "rwr", "wrr", vec![]),
    ];
    for (failback, at_once, later, alarms) in rows {
        let mut court = Court::new("abc", active_standby(Failover::Automatic, failback));
        court.answer("abc", WELL);
        assert_eq!(court.serves(), "wrr");
        court.take();
        court.answer("a", Answer::Bad);
        assert_eq!(court.serves(), "-wr");
        assert!(court.has(&Action::Lost(0)));
        court.wait(s(5)).answer("a", WELL);
        assert_eq!(court.serves(), at_once, "{failback:?}");
        court.wait(s(59));
        assert_eq!(court.serves(), at_once, "{failback:?}");
        court.wait(s(1));
        assert_eq!((court.serves().as_str(), court.alarms()), (later, alarms), "{failback:?}");
    }
}

#[test]
fn time_to_fail_back_counts_anew_after_each_fall() {
    let mut court = Court::new("ab", active_standby(Failover::Automatic, Failback::After(s(60))));
    court.answer("ab", WELL).answer("a", Answer::Bad).answer("a", WELL).wait(s(50));
    court.answer("a", Answer::Bad).answer("a", WELL).wait(s(59));
    assert_eq!(court.serves(), "rw");
    court.wait(s(1));
    assert_eq!(court.serves(), "wr");
}

#[test]
fn manual_failover_waits_for_a_word() {
    let mut court = Court::new("ab", active_standby(Failover::Manual, Failback::Never));
    court.answer("ab", WELL).answer("a", Answer::Bad);
    assert_eq!((court.serves().as_str(), court.alarms()), ("-r", vec![AlarmKind::NoLeader]));
    court.order('b', rank(Rank::Promoted));
    assert_eq!(court.serves(), "-b");
    court.order('b', Orders::default()).answer("a", WELL);
    assert_eq!(court.serves(), "rw", "taking the word back moves nothing");
    court.order('b', rank(Rank::Demoted));
    assert_eq!(court.serves(), "wr");
}

#[test]
fn standbys_and_replicas_by_their_checks_never_get_the_work() {
    let mut court = Court::new("abcD", active_standby(Failover::Automatic, Failback::Never));
    court.answer("a", role(Role::Standby)).answer("b", role(Role::Read)).answer("c", WELL).answer("D", WELL);
    assert_eq!(court.serves(), "rrwr");
    court.answer("c", Answer::Bad);
    assert_eq!(court.serves(), "rr-w", "then the backup, last in line");
    court.answer("D", Answer::Bad);
    assert_eq!((court.serves().as_str(), court.alarms()), ("rr--", vec![AlarmKind::NoLeader]));
    court.order('a', rank(Rank::Promoted));
    assert_eq!(court.serves(), "rr--", "not before it may serve");
    court.answer("a", role(Role::Active));
    assert_eq!(court.serves(), "wr--");
}

#[test]
fn in_need_one_alone_has_the_work() {
    let policy = Policy { all_down: AllDown::ServeAnyway, ..active_standby(Failover::Automatic, Failback::Never) };
    let mut court = Court::new("abc", policy);
    court.answer("abc", WELL).answer("a", Answer::Bad).answer("c", Answer::Bad).answer("b", Answer::Bad);
    assert_eq!(court.serves(), "-b-", "who had it last");
    assert_eq!(court.alarms(), [AlarmKind::ServingDown]);
    court.answer("a", WELL);
    assert_eq!((court.serves().as_str(), court.alarms()), ("b--", vec![]));
}

// === operators ===

#[test]
fn a_drain_ends_new_work_and_its_deadline_the_old() {
    let mut court = Court::new("ab", usual());
    court.answer("ab", WELL).take();
    court.order('a', leave(Leave::Drain { until: Some(court.now + s(300)) }));
    assert_eq!((court.states().as_str(), court.serves().as_str()), ("nu", "-b"));
    court.wait(s(299));
    assert!(!court.has(&Action::Cut(0)));
    court.wait(s(1));
    assert!(court.has(&Action::Cut(0)));
    court.judge.replan(plan("ab", usual(), 1, Source::Checks), court.now);
    court.wait(s(100));
    assert!(!court.has(&Action::Cut(0)), "once");
    court.answer("a", Answer::Bad);
    assert_eq!(court.states(), "du", "what is down is down");
    court.answer("a", WELL);
    assert_eq!(court.states(), "nu", "and not up again before an operator says so");
    court.order('a', Orders::default());
    assert_eq!(court.serves(), "bb");
}

#[test]
fn maintenance_makes_probes_decide_nothing() {
    let mut court = Court::new("ab", usual());
    court.order('a', leave(Leave::Maintenance));
    assert_eq!(court.states(), "mu", "even before the first answer");
    court.answer("ab", Answer::Bad);
    assert_eq!(court.states(), "md");
    court.order('a', Orders::default());
    assert_eq!(court.states(), "dd");
}

#[test]
fn draining_the_active_one_moves_the_work() {
    let mut court = Court::new("ab", active_standby(Failover::Automatic, Failback::Never));
    court.answer("ab", WELL).order('a', leave(Leave::Drain { until: None }));
    assert_eq!(court.serves(), "-b");
    court.order('a', Orders::default());
    assert_eq!(court.serves(), "rw");
}

// === following ===

#[test]
fn who_follows_does_what_the_other_pool_does() {
    let mut court = Court::with("ab", Policy::usual(Expression::all_of(0)), 0, Source::Followed, None);
    court.conclude();
    assert_eq!(court.serves(), "??");
    let verdict = |state, role, serves| Verdict { state, role, serves, ..Verdict::UNKNOWN };
    court.judge.followed(0, verdict(State::Up, Some(Role::Active), Serves::Work));
    court.judge.followed(1, verdict(State::Up, Some(Role::Standby), Serves::Reads));
    court.conclude();
    assert_eq!((court.serves().as_str(), court.judge.verdict(0).role), ("wr", Some(Role::Active)));
    court.judge.followed(0, verdict(State::Draining, Some(Role::Active), Serves::Nothing));
    court.judge.followed(1, verdict(State::Down, None, Serves::Both));
    court.conclude();
    assert_eq!((court.states().as_str(), court.serves().as_str()), ("nd", "-b"), "it serves although it is down");
    court.order('b', leave(Leave::Maintenance));
    assert_eq!(court.serves(), "--", "orders of its own hold");
    for order in [leave(Leave::Drain { until: None }), Orders { weight: Some(0), ..Orders::default() }] {
        court.order('b', Orders::default());
        assert_eq!(court.serves(), "-b");
        court.order('b', order);
        assert_eq!(court.serves(), "--", "{order:?} holds, too");
    }
    assert_eq!(court.alarms(), []);
}
