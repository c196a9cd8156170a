//! When which question is asked next. Knows times (since any fixed moment) and questions, nothing of answers.
//!
//! Called by the schedule, and by the simulation with questions of its own. A question that several checks ask is here once. First probes come at once, a few
//! hundred microseconds apart; later ones are spread over their interval, so that ten thousand never meet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState as FixedState;
/// First probes of new backends start this far apart, or closer where there are many.
const FIRST_STEP: Duration = Duration::from_micros(100);
/// All first probes have started after this.
const FIRST_SPAN: Duration = Duration::from_secs(1);
/// Evidence brings the same question no sooner again; doubles while the answers are good.
const GAP: Duration = Duration::from_millis(20);
const GAP_MAX: Duration = Duration::from_secs(1);
/// An interval is shortened by up to this share, never lengthened, so that detection keeps its promise.
const JITTER: f64 = 0.05;

/// Number of a question, never used again.
pub type QuestionId = u64;

/// A check that wants to know the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Serial of the backend's slot.
    pub backend: u64,
    /// Position in its list of checks.
    pub check: usize,
}

/// A question, who asks it, and when.
#[derive(Debug)]
pub struct Asked<Q> {
    /// The question.
    pub question: Arc<Q>,
    /// Who wants to know.
    pub askers: Vec<Asker>,
    due: Option<Duration>,
    /// Which entry of the heap is the valid one.
    turn: u32,
    /// When the last attempt started.
    started: Option<Duration>,
    ended: u64,
    flight: Flight,
    occasion: Occasion,
    gap: Duration,
}

/// Where an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    Idle,
    /// In the urgent queue.
    Urgent,
    UnderWay,
    /// Under way, and evidence came meanwhile: one more after it.
    Again,
}

/// What brings an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    Time,
    Evidence,
}

/// Which attempts may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// None.
    None,
    /// Those that evidence brings.
    Urgent,
    /// All that are due.
    All,
}

impl Room {
    /// The room while `under_way` of `most` attempts are under way. An eighth is kept for what is urgent: a thousand
    /// probes that wait for dead machines must not hide a death.
    pub fn of(under_way: usize, most: usize) -> Self {
        if under_way >= most {
            Self::None
        } else if under_way >= most - most / 8 {
            Self::Urgent
        } else {
            Self::All
        }
    }
}

/// What the askers want next.
#[derive(Debug, Clone, Copy)]
pub struct Next {
    /// The shortest interval of the askers, faster in transition.
    pub interval: Duration,
    /// No asker is in transition: the phase may be chosen freely after the first attempt.
    pub calm: bool,
    /// The answer was good.
    pub good: bool,
    /// Asking does harm: not even evidence brings it sooner than this.
    pub slow: Option<Duration>,
}

/// The questions and their times.
#[derive(Debug)]
pub struct Agenda<Q> {
    asked: HashMap<QuestionId, Asked<Q>, FixedState>,
    ids: HashMap<Arc<Q>, QuestionId, FixedState>,
    heap: BinaryHeap<Reverse<(Duration, QuestionId, u32)>>,
    urgent: VecDeque<QuestionId>,
    fresh: Vec<QuestionId>,
    next_id: QuestionId,
    noise: u64,
}

impl<Q: Eq + Hash> Agenda<Q> {
    /// Nothing is asked. `seed` makes what little chance there is.
    pub fn new(seed: u64) -> Self {
        Self {
            asked: HashMap::default(),
            ids: HashMap::default(),
            heap: BinaryHeap::new(),
            urgent: VecDeque::new(),
            fresh: Vec::new(),
            next_id: 0,
            noise: seed | 1,
        }
    }

    /// What is known of a question.
    pub fn get(&self, id: QuestionId) -> Option<&Asked<Q>> {
        self.asked.get(&id)
    }

    /// The same, to change the askers.
    pub fn get_mut(&mut self, id: QuestionId) -> Option<&mut Asked<Q>> {
        self.asked.get_mut(&id)
    }

    /// How many different questions there are.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// Nobody asks anything, until [`Agenda::ask`] says otherwise.
    pub fn forget_askers(&mut self) {
        self.asked.values_mut().for_each(|asked| asked.askers.clear());
    }

    /// `asker` wants to know this. New questions wait for [`Agenda::begin`].
    pub fn ask(&mut self, question: &Arc<Q>, asker: Asker) -> QuestionId {
        let id = self.ids.get(question).copied().unwrap_or_else(|| self.add(question));
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.askers.push(asker);
        }
        id
    }

    fn add(&mut self, question: &Arc<Q>) -> QuestionId {
        let id = self.next_id;
        self.next_id += 1;
        let asked = Asked {
            question: Arc::clone(question),
            askers: Vec::new(),
            due: None,
            turn: 0,
            started: None,
            ended: 0,
            flight: Flight::Idle,
            occasion: Occasion::Time,
            gap: GAP,
        };
        self.asked.insert(id, asked);
        self.ids.insert(Arc::clone(question), id);
        self.fresh.push(id);
        id
    }

    /// Drops the questions that nobody asks any more.
    pub fn prune(&mut self) {
        self.asked.retain(|_, asked| !asked.askers.is_empty());
        let asked = &self.asked;
        self.ids.retain(|_, id| asked.contains_key(id));
        self.heap.retain(|Reverse((_, id, _))| asked.contains_key(id));
        self.fresh.retain(|id| asked.contains_key(id));
    }

    /// Gives every new question its first time; `interval` says how long it may wait, `None` that it may not.
    pub fn begin(&mut self, now: Duration, interval: impl Fn(&Asked<Q>) -> Option<Duration>) {
        let fresh = std::mem::take(&mut self.fresh);
        let step = FIRST_STEP.min(FIRST_SPAN / u32::try_from(fresh.len().max(1)).unwrap_or(u32::MAX));
        let mut first = now;
        for id in fresh {
            // Evidence may have brought it before it had a time of its own.
            let Some(asked) = self.asked.get(&id).filter(|asked| asked.is_untouched()) else { continue };
            if let Some(interval) = interval(asked) {
                self.due_at(id, now + interval.mul_f64(phase(id)));
            } else {
                self.due_at(id, first);
                first += step;
            }
        }
    }

    /// A question that is asked already has a new asker, or a shorter interval: it waits no longer than `interval`.
    pub fn hasten(&mut self, now: Duration, interval: impl Fn(&Asked<Q>) -> Duration) {
        let late = self.asked.iter().filter(|(_, asked)| asked.due.is_some_and(|due| due > now + interval(asked)));
        let late: Vec<(QuestionId, Duration)> = late.map(|(id, asked)| (*id, interval(asked))).collect();
        for (id, interval) in late {
            self.due_at(id, now + interval.mul_f64(phase(id)));
        }
    }

    /// Somebody new asks it, of whom nothing is known: it is asked now, unless it is new itself.
    pub fn soon(&mut self, id: QuestionId, now: Duration) {
        if self.asked.get(&id).is_some_and(|asked| asked.flight == Flight::Idle && asked.due.is_some()) {
            self.due_at(id, now);
        }
    }

    /// The next time of a question, instead of any that it had.
    pub fn due_at(&mut self, id: QuestionId, at: Duration) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.turn = asked.turn.wrapping_add(1);
            asked.due = Some(at);
            self.heap.push(Reverse((at, id, asked.turn)));
        }
    }

    /// Evidence came: asks now, or as soon as the gap allows.
    pub fn urge(&mut self, id: QuestionId, now: Duration) {
        let Some(asked) = self.asked.get_mut(&id) else { return };
        match asked.flight {
            Flight::Idle => {}
            Flight::Urgent => return,
            Flight::UnderWay | Flight::Again => {
                asked.flight = Flight::Again;
                return;
            }
        }
        asked.occasion = Occasion::Evidence;
        let at = asked.earliest();
        if at.is_none_or(|at| at <= now) {
            asked.turn = asked.turn.wrapping_add(1);
            asked.due = None;
            asked.flight = Flight::Urgent;
            self.urgent.push_back(id);
        } else if let Some(at) = at
            && asked.due.is_none_or(|due| due > at)
        {
            self.due_at(id, at);
        }
    }

    /// Somebody wants to know now: asks as soon as there is room. The number of the attempt that will tell.
    pub fn now(&mut self, id: QuestionId, now: Duration) -> Option<u64> {
        let asked = self.asked.get_mut(&id)?;
        let next = asked.ended + 1;
        match asked.flight {
            Flight::Idle => {}
            Flight::Urgent => return Some(next),
            Flight::UnderWay | Flight::Again => {
                asked.flight = Flight::Again;
                return Some(next + 1);
            }
        }
        self.due_at(id, now);
        Some(next)
    }

    /// When the attempt began that is under way.
    pub fn under_way_since(&self, id: QuestionId) -> Option<Duration> {
        let asked = self.asked.get(&id)?;
        asked.started.filter(|_| matches!(asked.flight, Flight::UnderWay | Flight::Again))
    }

    /// Whether evidence wants to know the answer of the attempt that is under way.
    pub fn is_evidence(&self, id: QuestionId) -> bool {
        self.asked.get(&id).is_some_and(|it| it.occasion == Occasion::Evidence || it.flight == Flight::Again)
    }

    /// Whether evidence would have to wait for the gap.
    pub fn would_wait(&self, id: QuestionId, now: Duration) -> bool {
        self.asked.get(&id).and_then(Asked::earliest).is_some_and(|at| at > now)
    }

    /// The next question that is due, where there is room for it.
    pub fn pop(&mut self, now: Duration, room: Room) -> Option<QuestionId> {
        if room == Room::None {
            return None;
        }
        while let Some(id) = self.urgent.pop_front() {
            if self.asked.contains_key(&id) {
                return Some(id);
            }
        }
        if room == Room::Urgent || self.next_due()? > now {
            return None;
        }
        let Reverse((_, id, _)) = self.heap.pop()?;
        Some(id)
    }

    /// When the next question is due; entries that no longer hold leave.
    pub fn next_due(&mut self) -> Option<Duration> {
        while let Some(Reverse((at, id, turn))) = self.heap.peek() {
            if self.asked.get(id).is_some_and(|asked| asked.turn == *turn && asked.due.is_some()) {
                return Some(*at);
            }
            self.heap.pop();
        }
        None
    }

    /// An attempt starts.
    pub fn started(&mut self, id: QuestionId, now: Duration) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.due = None;
            asked.turn = asked.turn.wrapping_add(1);
            asked.started = Some(now);
            asked.flight = Flight::UnderWay;
        }
    }

    /// It cannot be asked yet and waits for [`Agenda::urge`].
    pub fn parked(&mut self, id: QuestionId) {
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.due = None;
            asked.flight = Flight::Idle;
        }
    }

    /// An attempt ended: when the next one is due.
    pub fn ended(&mut self, id: QuestionId, now: Duration, next: Next) {
        let noise = self.noise();
        let Some(asked) = self.asked.get_mut(&id) else { return };
        let started = asked.started.unwrap_or(now);
        let flight = std::mem::replace(&mut asked.flight, Flight::Idle);
        let occasion = std::mem::replace(&mut asked.occasion, Occasion::Time);
        asked.ended += 1;
        asked.gap = if let Some(slow) = next.slow {
            slow
        } else if next.good && occasion == Occasion::Evidence {
            (asked.gap * 2).min(GAP_MAX)
        } else {
            GAP
        };
        let interval = next.interval.max(next.slow.unwrap_or_default());
        let interval = if asked.ended == 1 && next.calm && next.slow.is_none() {
            interval.mul_f64(phase(id))
        } else {
            interval.mul_f64(1.0 - JITTER * noise)
        };
        self.due_at(id, (started + interval).max(now));
        if flight == Flight::Again {
            self.urge(id, now);
        }
    }

    /// A number from 0 to 1. Xorshift: good enough to keep intervals from marching in step.
    fn noise(&mut self) -> f64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        (self.noise >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl<Q> Asked<Q> {
    /// How many attempts have ended.
    pub fn attempts(&self) -> u64 {
        self.ended
    }

    /// When it is asked next; `None` while it is being asked.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// It has never been asked, and nothing wants to ask it.
    fn is_untouched(&self) -> bool {
        self.started.is_none() && self.flight == Flight::Idle
    }

    fn earliest(&self) -> Option<Duration> {
        self.started.map(|started| started + self.gap)
    }
}

/// Where in its interval a question is asked: neighbours by number lie far apart (the golden ratio's doing).
fn phase(id: QuestionId) -> f64 {
    ((id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);
    const ASKER: Asker = Asker { backend: 1, check: 0 };

    fn question(number: usize) -> Arc<usize> {
        Arc::new(number)
    }

    fn agenda(questions: usize) -> Agenda<usize> {
        let mut agenda = Agenda::new(1);
        for number in 0..questions {
            agenda.ask(&question(number), ASKER);
        }
        agenda
    }

    fn next(good: bool) -> Next {
        Next { interval: INTERVAL, calm: true, good, slow: None }
    }

    /// Runs the agenda for a while with attempts that take no time; when each was asked.
    fn run(agenda: &mut Agenda<usize>, from: Duration, until: Duration) -> Vec<(Duration, QuestionId)> {
        let mut asked = Vec::new();
        while let Some(due) = agenda.next_due().filter(|due| *due < from + until) {
            while let Some(id) = agenda.pop(due, Room::All) {
                agenda.started(id, due);
                agenda.ended(id, due, next(true));
                asked.push((due.saturating_sub(from), id));
            }
        }
        asked
    }

    #[test]
    fn few_first_probes_start_at_once_and_ten_thousand_within_a_second() {
        for (count, limit_ms) in [(3, 1), (100, 10), (10_000, 1_000)] {
            let mut agenda = agenda(count);
            let now = Duration::from_secs(5);
            agenda.begin(now, |_| None);
            let mut times = std::iter::from_fn(|| {
                let due = agenda.next_due()?;
                agenda.pop(due, Room::All).map(|_| due.saturating_sub(now))
            });
            assert_eq!(times.next(), Some(Duration::ZERO));
            let last = times.last().unwrap();
            assert!(last <= Duration::from_millis(limit_ms), "{count}: {last:?}");
        }
    }

    #[test]
    fn what_evidence_has_brought_already_is_not_begun_again() {
        let mut agenda = agenda(3);
        let now = Duration::from_secs(5);
        agenda.urge(0, now);
        agenda.urge(1, now);
        assert_eq!(agenda.pop(now, Room::Urgent), Some(0));
        agenda.started(0, now);
        agenda.begin(now, |_| None);
        let popped: Vec<_> = std::iter::from_fn(|| agenda.pop(now + INTERVAL, Room::All)).collect();
        assert_eq!(popped, [1, 2], "one is under way, one is urgent, one is new");
    }

    #[test]
    fn later_probes_are_spread_evenly_and_never_later_than_their_interval() {
        let mut agenda = agenda(1_000);
        let now = Duration::from_secs(5);
        agenda.begin(now, |_| None);
        let asked = run(&mut agenda, now, 20 * INTERVAL);
        for tenth in 0..10 {
            let (from, to) = (10 * INTERVAL + tenth * INTERVAL / 10, 10 * INTERVAL + (tenth + 1) * INTERVAL / 10);
            let count = asked.iter().filter(|(at, _)| (from..to).contains(at)).count();
            assert!((60..160).contains(&count), "tenth {tenth}: {count}");
        }
        let mut last = HashMap::new();
        for (at, id) in asked {
            if let Some(before) = last.insert(id, at) {
                assert!(at <= before + INTERVAL, "{id}: {before:?} {at:?}");
            }
        }
        assert_eq!(last.len(), 1_000);
    }

    #[test]
    fn what_needs_no_first_probe_starts_within_its_interval() {
        let mut agenda = agenda(100);
        let now = Duration::from_secs(5);
        agenda.begin(now, |_| Some(INTERVAL));
        let asked = run(&mut agenda, now, INTERVAL + Duration::from_millis(1));
        assert!(asked.iter().filter(|(at, _)| *at < INTERVAL / 2).count().abs_diff(asked.len() / 2) < 20);
    }

    #[test]
    fn evidence_brings_a_probe_now_but_repeats_it_ever_slower_while_the_answers_are_good() {
        let mut agenda = agenda(1);
        let start = Duration::from_secs(5);
        agenda.begin(start, |_| None);
        assert_eq!(agenda.pop(start, Room::All), Some(0));
        agenda.started(0, start);
        agenda.ended(0, start, next(true));
        let mut now = start;
        let mut gaps = Vec::new();
        for _ in 0..8 {
            agenda.urge(0, now);
            agenda.urge(0, now);
            let due = agenda.next_due().unwrap();
            gaps.push(due.saturating_sub(now).as_millis());
            now = due;
            assert_eq!(agenda.pop(now, Room::All), Some(0));
            assert_eq!(agenda.pop(now, Room::All), None, "twice urged is asked once");
            agenda.started(0, now);
            agenda.ended(0, now, next(true));
        }
        assert_eq!(gaps[..4], [20, 40, 80, 160]);
        agenda.urge(0, now + INTERVAL);
        assert_eq!(agenda.pop(now + INTERVAL, Room::Urgent), Some(0), "urgent ones need less room");
        agenda.started(0, now + INTERVAL);
        agenda.urge(0, now + INTERVAL);
        agenda.ended(0, now + INTERVAL, next(false));
        let due = agenda.next_due().unwrap();
        assert_eq!(due, now + INTERVAL + GAP, "evidence during an attempt brings one more; a failure resets the gap");
    }

    #[test]
    fn a_question_that_does_harm_is_asked_slowly_whatever_traffic_says() {
        let mut agenda = agenda(1);
        let start = Duration::from_secs(5);
        agenda.begin(start, |_| None);
        assert_eq!(agenda.pop(start, Room::All), Some(0));
        agenda.started(0, start);
        let slow = 10 * INTERVAL;
        agenda.ended(0, start, Next { slow: Some(slow), ..next(false) });
        agenda.urge(0, start + INTERVAL);
        let due = agenda.next_due().unwrap();
        assert!(due >= start + slow.mul_f64(1.0 - JITTER) && due <= start + slow, "{due:?}");
        assert_eq!(agenda.now(0, start + INTERVAL), Some(2), "an operator may ask all the same");
        assert_eq!(agenda.next_due(), Some(start + INTERVAL));
    }

    #[test]
    fn an_eighth_of_the_room_is_for_what_is_urgent() {
        let rows = [(0, 1, Room::All), (1, 1, Room::None), (6, 8, Room::All), (7, 8, Room::Urgent), (8, 8, Room::None)];
        for (under_way, most, expected) in rows {
            assert_eq!(Room::of(under_way, most), expected, "{under_way} of {most}");
        }
    }

    #[test]
    fn without_room_nothing_is_asked() {
        let mut agenda = agenda(2);
        let now = Duration::from_secs(5);
        agenda.begin(now, |_| None);
        assert_eq!(agenda.pop(now, Room::Urgent), None);
        agenda.urge(1, now);
        assert_eq!(agenda.pop(now, Room::None), None);
        assert_eq!(agenda.pop(now, Room::Urgent), Some(1));
        assert_eq!(agenda.pop(now, Room::All), Some(0));
    }

    #[test]
    fn the_same_question_is_one_and_goes_with_its_last_asker() {
        let mut agenda = Agenda::new(1);
        let first = agenda.ask(&question(1), ASKER);
        assert_eq!(agenda.ask(&question(1), Asker { backend: 2, check: 5 }), first);
        assert_ne!(agenda.ask(&question(2), ASKER), first);
        let now = Duration::from_secs(5);
        agenda.begin(now, |_| None);
        agenda.forget_askers();
        agenda.ask(&question(1), ASKER);
        agenda.prune();
        assert_eq!(agenda.len(), 1);
        assert_eq!(agenda.pop(now, Room::All), Some(first));
        assert_eq!(agenda.next_due(), None);
        agenda.forget_askers();
        agenda.prune();
        assert_ne!(agenda.ask(&question(1), ASKER), first, "it is new again");
    }

    #[test]
    fn a_shorter_interval_takes_effect_at_once() {
        let mut agenda = agenda(1);
        let now = Duration::from_secs(5);
        agenda.begin(now, |_| Some(100 * INTERVAL));
        agenda.hasten(now, |_| INTERVAL);
        assert!(agenda.next_due().unwrap() <= now + INTERVAL);
    }
}
