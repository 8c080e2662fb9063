//! What a schedule does now: fire an instant, pass over some, or wait.
//!
//! A schedule stands at the next instant that nobody has dealt with. What is due and older than the grace was *missed*:
//! nobody was there, or the clock jumped forward. A clock that jumps back changes nothing, because a schedule only goes on
//! from the last instant that fired.

use super::{Missed, Overlap, Schedule};
use crate::ids::FlowId;

/// More instants that are due are not counted one by one: of those the newest so many are looked at.
pub const MOST_COUNTED: usize = 10_000;

/// Where a schedule stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The next instant that nobody has dealt with; `None`: there is none.
    pub next_ms: Option<i64>,
    /// The last instant that fired: none before it fires again.
    pub last_ms: Option<i64>,
    /// What is due waits for the run before it (`overlap: queue`): it was not missed.
    pub is_waiting: bool,
}

/// What limits a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How late an instant is still on time.
    pub grace_ms: i64,
    /// How many instants are kept to be caught up with, or to wait for the run before them.
    pub most_kept: usize,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is due before this time; `None`: ever.
    Wait { due_ms: Option<i64> },
    /// This instant fires.
    Fire {
        instant_ms: i64,
        /// Instants before it that were missed and have no run.
        missed: u64,
        /// Instants that waited for the run before them, and were too many.
        dropped: u64,
        then: Standing,
    },
    /// Nothing fires, and these instants were missed.
    Pass { missed: u64, then: Standing },
}

impl Schedule {
    /// What to do at `now_ms`.
    pub fn decide(&self, flow: FlowId, standing: Standing, rules: Rules, now_ms: i64) -> Step {
        let Some(first) = self.first(standing) else { return Step::Wait { due_ms: None } };
        let due_ms = self.due_ms(flow, first);
        if due_ms > now_ms {
            return Step::Wait { due_ms: Some(due_ms) };
        }
        let due = self.due(flow, first, now_ms);
        if standing.is_waiting && self.overlap == Overlap::Queue {
            let dropped = due.len().saturating_sub(rules.most_kept);
            return self.fire(flow, due[dropped], (0, dropped), true, now_ms);
        }
        let on_time = |instant: &&i64| now_ms - self.due_ms(flow, **instant) <= rules.grace_ms;
        let late = due.iter().position(|instant| on_time(&instant)).unwrap_or(due.len());
        let first_on_time = due.get(late).copied();
        match (self.missed, first_on_time) {
            (Missed::All, _) if late > 0 => {
                let dropped = late.saturating_sub(rules.most_kept);
                self.fire(flow, due[dropped], (dropped, 0), false, now_ms)
            }
            (_, Some(instant)) => self.fire(flow, instant, (late, 0), false, now_ms),
            (Missed::One, None) => self.fire(flow, due[late - 1], (late - 1, 0), false, now_ms),
            (Missed::Skip | Missed::All, None) => {
                let last = due[late - 1];
                let then = Standing { next_ms: self.next_after(last), last_ms: standing.last_ms, is_waiting: false };
                Step::Pass { missed: late as u64, then }
            }
        }
    }

    /// The next instant that nobody has dealt with: behind the last one that fired, whatever the clock says.
    fn first(&self, standing: Standing) -> Option<i64> {
        let next = standing.next_ms?;
        match standing.last_ms {
            Some(last) if next <= last => self.next_after(last),
            _ => Some(next),
        }
    }

    /// The instants from this one on that are due, in their order: the newest, where they are too many.
    fn due(&self, flow: FlowId, first: i64, now_ms: i64) -> Vec<i64> {
        let mut from = first;
        loop {
            let mut due = vec![from];
            while due.len() <= MOST_COUNTED {
                match self.next_after(*due.last().expect("it begins with one")) {
                    Some(next) if self.due_ms(flow, next) <= now_ms => due.push(next),
                    _ => return due,
                }
            }
            // Half of the time that is left holds about half of the instants.
            match self.next_after(from + (now_ms - from) / 2) {
                Some(later) if later > from && self.due_ms(flow, later) <= now_ms => from = later,
                _ => return due,
            }
        }
    }

    fn fire(
        &self,
        flow: FlowId,
        instant_ms: i64,
        (missed, dropped): (usize, usize),
        was_waiting: bool,
        now_ms: i64,
    ) -> Step {
        let next_ms = self.next_after(instant_ms);
        // What is due already goes on waiting: it stands behind the run that begins now.
        let is_waiting = was_waiting && next_ms.is_some_and(|next| self.due_ms(flow, next) <= now_ms);
        let then = Standing { next_ms, last_ms: Some(instant_ms), is_waiting };
        Step::Fire { instant_ms, missed: missed as u64, dropped: dropped as u64, then }
    }
}
