//! The budget of probes is never exceeded: not too many at once, no question too often, and out of turn only for a token.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use evenkeel::health::agenda::QuestionId;
use foldhash::fast::FixedState;

use crate::counts::Counts;
use crate::program::{EVIDENCE_BURST, EVIDENCE_PER_SECOND, MOST_AT_ONCE};

/// Evidence brings the same question no sooner again.
const GAP: Duration = Duration::from_millis(20);
/// An interval is shortened by chance, but never more.
const SHORTEST: f64 = 0.95;
/// Tokens are counted over this time.
const WINDOW: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Probes {
    asked: HashMap<QuestionId, Asked, FixedState>,
    under_way: usize,
    paid: VecDeque<Duration>,
}

#[derive(Debug)]
struct Asked {
    last: Duration,
    pace: Duration,
    excuse: Excuse,
}

/// What allows to ask again before the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    None,
    /// A token was paid.
    Token,
    /// The first interval of a question, and the first after a reload, may be as short as spreads it best.
    Spread,
}

impl Probes {
    pub(super) fn asked(&mut self, id: QuestionId, pace: Duration, now: Duration, counts: &mut Counts) {
        self.under_way += 1;
        counts.waits_for_room += u64::from(self.under_way == MOST_AT_ONCE);
        assert!(self.under_way <= MOST_AT_ONCE, "{} probes at once", self.under_way);
        let Some(known) = self.asked.get_mut(&id) else {
            self.asked.insert(id, Asked { last: now, pace, excuse: Excuse::Spread });
            return;
        };
        let (gone, excuse) = (now.saturating_sub(known.last), known.excuse);
        let usual = known.pace.mul_f64(SHORTEST);
        match excuse {
            _ if gone >= usual => {}
            Excuse::Spread => {}
            Excuse::Token => assert!(gone >= GAP, "question {id} is asked again after {gone:?}, evidence or not"),
            Excuse::None => panic!("question {id} is asked again after {gone:?}, not {usual:?}, and no token was paid"),
        }
        *known = Asked { last: now, pace, excuse: Excuse::None };
    }

    pub(super) fn answered(&mut self) {
        self.under_way -= 1;
    }

    pub(super) fn excuse_all(&mut self) {
        self.asked.values_mut().for_each(|asked| asked.excuse = Excuse::Spread);
    }

    pub(super) fn paid(&mut self, questions: &[QuestionId], now: Duration, counts: &mut Counts) {
        for id in questions {
            if let Some(asked) = self.asked.get_mut(id).filter(|asked| asked.excuse == Excuse::None) {
                asked.excuse = Excuse::Token;
            }
        }
        self.paid.push_back(now);
        while self.paid.front().is_some_and(|at| *at + WINDOW < now) {
            self.paid.pop_front();
        }
        let most = EVIDENCE_BURST as usize + WINDOW.as_secs() as usize * EVIDENCE_PER_SECOND as usize + 1;
        counts.tokens_run_out += u64::from(self.paid.len() + 2 >= most);
        assert!(self.paid.len() <= most, "{} probes out of turn within {WINDOW:?}", self.paid.len());
    }

    /// Every question that was asked within a while.
    pub(super) fn asked_since(&self, since: Duration) -> usize {
        self.asked.values().filter(|asked| asked.last >= since).count()
    }
}
