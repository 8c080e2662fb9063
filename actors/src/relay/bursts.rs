//! Requests for approval that come in bursts, such as those of a large loop: a message for each would tell nobody anything,
//! and hold up what else is to be told.
//!
//! ```text
//! first ──► tells, how many wait         within its window ──► held, written down
//!                                        its window is over ──► one of them tells, how many wait; the others are settled
//! ```
//! A window is over before its time where what it holds would expire in it, and where nothing waits any more of what was
//! told: held to its end, a request would expire with nobody told, and one after the other would be told ever later.
//!
//! Whoever tells counts what waits in the run at that moment. So only what was seen before it counted may be settled
//! without being told by itself: that is committed, and so among what it counted. All this is in memory alone: after a
//! restart, or beside another node, people are told once more often, and never less.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use core314_domain::ids::RowId;
use uuid::Uuid;

use crate::ports::signal::Occurrence;

/// A window grows with each that has held something, up to so many times its length.
const LONGEST: i64 = 16;
/// Bursts that are remembered at once; where there are more, some people are told more often.
const MOST: usize = 100_000;
/// Requests that one window remembers; others wait for the next.
const MOST_HELD: usize = 10_000;

/// Which requests are told of together: those of one run that are for the same people and equally urgent.
pub type Key = (Uuid, u64);

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It tells: of itself, or of all that was held.
    Tells { is_digest: bool },
    /// It stays written down until a window is over.
    Waits {
        /// Of the first that is held: how many are. One of them looks for all whether the window is to end now.
        held: Option<usize>,
    },
    /// Another has told of it.
    Told,
}

/// The bursts under way.
#[derive(Debug)]
pub struct Bursts {
    window_ms: i64,
    all: Mutex<BTreeMap<Key, Burst>>,
}

#[derive(Debug, Default)]
struct Burst {
    since_ms: i64,
    length_ms: i64,
    /// What waits for the end of this window.
    held: BTreeSet<RowId>,
    /// What the last that told has told of, and is still written down.
    told: BTreeSet<RowId>,
}

impl Burst {
    /// A clock that was set back ends it, too.
    fn lasts(&self, now_ms: i64) -> bool {
        (0..self.length_ms).contains(&(now_ms - self.since_ms))
    }
}

impl Bursts {
    /// No burst yet; 0: each request is told of by itself.
    pub const fn new(window_ms: i64) -> Self {
        Self { window_ms, all: Mutex::new(BTreeMap::new()) }
    }

    /// Which burst a request belongs to.
    pub fn key(request: &Occurrence) -> Key {
        let mut hasher = DefaultHasher::new();
        for name in ["approvers", "allow_self", "urgency"] {
            request.context["asked"][name].to_string().hash(&mut hasher);
        }
        (request.subject, hasher.finish())
    }

    /// What is to be done with a request now, which may expire.
    pub fn turn(&self, key: Key, id: RowId, expires_at_ms: Option<i64>, now_ms: i64) -> Turn {
        let mut all = self.all();
        if all.len() >= MOST && !all.contains_key(&key) {
            all.retain(|_, burst| burst.lasts(now_ms) || !burst.held.is_empty());
            if all.len() >= MOST {
                all.clear();
            }
        }
        let burst = all.entry(key).or_default();
        if burst.told.remove(&id) {
            return Turn::Told;
        }
        if let Some(expires_at_ms) = expires_at_ms.filter(|at_ms| *at_ms > now_ms && burst.lasts(now_ms)) {
            // Half of its time is left to whoever decides. Looked at again and again, the first look counts.
            let half_ms = now_ms + (expires_at_ms - now_ms) / 2;
            burst.length_ms = burst.length_ms.min((half_ms - burst.since_ms).max(1));
        }
        if burst.lasts(now_ms) {
            if burst.held.len() < MOST_HELD {
                burst.held.insert(id);
            }
            let is_first = burst.held.first() == Some(&id);
            return Turn::Waits { held: is_first.then_some(burst.held.len()) };
        }
        let is_digest = !burst.held.is_empty();
        let longest_ms = self.window_ms.saturating_mul(LONGEST);
        // One that was over before its time does not make the next ones shorter.
        let grown_ms = (burst.length_ms * 2).max(self.window_ms).min(longest_ms);
        burst.length_ms = if is_digest { grown_ms } else { self.window_ms };
        burst.since_ms = now_ms;
        burst.told = std::mem::take(&mut burst.held);
        burst.told.remove(&id);
        Turn::Tells { is_digest }
    }

    /// Nothing waits of what was told: the window that holds this request is over, and the next is no longer for it.
    pub fn end(&self, key: Key, id: RowId) {
        if let Some(burst) = self.all().get_mut(&key).filter(|burst| burst.held.contains(&id)) {
            burst.length_ms = 0;
        }
    }

    /// Whoever was to tell could not: the next that comes does.
    pub fn forget(&self, key: Key) {
        self.all().remove(&key);
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Burst>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::{Owner, UserId};
    use core314_domain::words::OccurrenceKind;
    use serde_json::{Value, json};

    use super::*;

    const KEY: Key = (Uuid::nil(), 1);
    const WAITS: Turn = Turn::Waits { held: None };

    fn id(number: u128) -> RowId {
        RowId(Uuid::from_u128(number))
    }

    #[test]
    fn the_first_tells_and_one_tells_of_all_that_come_within_the_window() {
        let bursts = Bursts::new(1_000);
        let turn = |number, now_ms| bursts.turn(KEY, id(number), None, now_ms);
        assert_eq!(turn(1, 0), Turn::Tells { is_digest: false });
        assert_eq!(turn(2, 10), Turn::Waits { held: Some(1) });
        for number in 3..=9 {
            assert_eq!(turn(number, 10), WAITS);
        }
        assert_eq!(turn(2, 999), Turn::Waits { held: Some(8) }, "it is looked at again and again");
        assert_eq!(
            bursts.turn((Uuid::nil(), 2), id(50), None, 500),
            Turn::Tells { is_digest: false },
            "for other people"
        );
        assert_eq!(turn(2, 1_000), Turn::Tells { is_digest: true });
        for number in 3..=9 {
            assert_eq!(turn(number, 1_001), Turn::Told);
        }
        // The burst goes on: the next window is longer, and what comes then is not settled before it was told.
        assert_eq!(turn(10, 2_999), Turn::Waits { held: Some(1) });
        assert_eq!(turn(10, 3_000), Turn::Tells { is_digest: true });
        assert_eq!(turn(11, 60_000), Turn::Tells { is_digest: false }, "it is over");
        assert_eq!(turn(12, 60_500), Turn::Waits { held: Some(1) });
        assert_eq!(turn(12, 59_000), Turn::Tells { is_digest: true }, "the clock was set back");
    }

    #[test]
    fn what_could_not_be_told_is_told_by_the_next_and_no_window_tells_of_each() {
        let bursts = Bursts::new(1_000);
        assert_eq!(bursts.turn(KEY, id(1), None, 0), Turn::Tells { is_digest: false });
        bursts.forget(KEY);
        assert_eq!(bursts.turn(KEY, id(2), None, 1), Turn::Tells { is_digest: false });
        let none = Bursts::new(0);
        for number in 1..=3 {
            assert_eq!(none.turn(KEY, id(number), None, 0), Turn::Tells { is_digest: false });
        }
    }

    #[test]
    fn a_window_is_over_before_what_it_holds_expires() {
        let bursts = Bursts::new(30_000);
        let turn = |number, expires_at_ms, now_ms| bursts.turn(KEY, id(number), expires_at_ms, now_ms);
        assert_eq!(turn(1, None, 0), Turn::Tells { is_digest: false });
        assert_eq!(turn(2, Some(26_000), 6_000), Turn::Waits { held: Some(1) });
        assert_eq!(turn(3, Some(60_000), 7_000), WAITS, "the soonest counts");
        assert_eq!(turn(2, Some(26_000), 15_999), Turn::Waits { held: Some(2) }, "a later look puts nothing off");
        assert_eq!(turn(2, Some(26_000), 16_000), Turn::Tells { is_digest: true });
        assert_eq!(turn(3, Some(60_000), 16_001), Turn::Told);
        // The next is no shorter for it; what has expired already ends nothing.
        assert_eq!(turn(4, Some(20_000), 21_000), Turn::Waits { held: Some(1) });
        assert_eq!(turn(4, None, 45_999), Turn::Waits { held: Some(1) });
        assert_eq!(turn(4, None, 48_000), Turn::Tells { is_digest: true });
    }

    #[test]
    fn a_window_is_over_when_nothing_waits_of_what_was_told() {
        let bursts = Bursts::new(1_000);
        let turn = |number, now_ms| bursts.turn(KEY, id(number), None, now_ms);
        assert_eq!(turn(1, 0), Turn::Tells { is_digest: false });
        assert_eq!((turn(2, 1), turn(3, 1)), (Turn::Waits { held: Some(1) }, WAITS));
        bursts.end(KEY, id(9));
        assert_eq!(turn(2, 2), Turn::Waits { held: Some(2) }, "it holds no such request");
        bursts.end(KEY, id(2));
        assert_eq!((turn(2, 2), turn(3, 2)), (Turn::Tells { is_digest: true }, Turn::Told));
        // One after the other, each at once, and the windows do not grow.
        for number in 4..=20 {
            assert_eq!(turn(number, 3), Turn::Waits { held: Some(1) });
            bursts.end(KEY, id(number));
            assert_eq!(turn(number, 3), Turn::Tells { is_digest: true });
        }
        assert_eq!(turn(21, 1_002), Turn::Waits { held: Some(1) });
        assert_eq!(turn(21, 1_003), Turn::Tells { is_digest: true });
    }

    #[test]
    fn a_window_grows_to_a_limit() {
        let bursts = Bursts::new(1_000);
        let (mut now_ms, mut told) = (0, 0);
        for number in 1..=600_u128 {
            told += u32::from(matches!(bursts.turn(KEY, id(number), None, now_ms), Turn::Tells { .. }));
            now_ms += 100;
        }
        // At 0, 1, 3, 7, 15, 31 and 47 seconds.
        assert_eq!(told, 7);
    }

    #[test]
    fn a_burst_is_of_one_run_and_for_the_same_people() {
        let request = |subject: u128, asked: Value| Occurrence {
            id: id(1),
            owner: Owner::new(UserId(Uuid::nil()), None),
            kind: OccurrenceKind::ApprovalRequested,
            subject: Uuid::from_u128(subject),
            context: json!({"asked": asked}),
            by: String::new(),
            at_ms: 0,
        };
        let asked = json!({"step_id": "a", "approvers": ["role:admin"], "allow_self": true, "urgency": "high"});
        let key = Bursts::key(&request(1, asked.clone()));
        let mut other = asked.clone();
        other["step_id"] = json!("b");
        assert_eq!(Bursts::key(&request(1, other.clone())), key);
        assert_ne!(Bursts::key(&request(2, asked.clone())), key);
        other["urgency"] = json!("low");
        assert_ne!(Bursts::key(&request(1, other)), key);
    }
}
