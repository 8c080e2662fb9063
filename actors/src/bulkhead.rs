//! Partitions that are kept clear for tenants that start little, so that nobody's flood makes them wait.
//!
//! A flood fills the mailboxes, commits and slots of the partitions that its runs are given to. An eighth of the partitions
//! takes only tenants' first runs of a second, small ones and few at once, so that what these partitions commit is small; and
//! the writer commits it apart from what the others have gathered. (A bulkhead, as in Nygard, *Release It!*.)

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use core314_domain::ids::TenantId;
use core314_domain::plan::FlowPlan;

/// One partition of so many is kept clear.
const OF: u16 = 8;
/// Runs that one tenant starts there in a second and the one before.
const OF_ONE: u32 = 40;
/// Runs that all tenants start there in a second and the one before.
const OF_ALL: u32 = 200;
/// Steps of a flow whose runs may start there.
const STEPS: usize = 16;
/// Writes that such a partition commits apart from the others: more are a flood of its own.
pub(crate) const WRITES: usize = 32;
const SECOND_MS: i64 = 1_000;

/// How many partitions are kept clear, the last ones: none of fewer than eight.
fn kept(partitions: u16) -> u16 {
    partitions / OF
}

/// Whether any of so many is kept clear.
pub(crate) fn keeps(partitions: u16) -> bool {
    kept(partitions) > 0
}

/// Whether a partition is kept clear.
pub(crate) fn is_kept(number: u16, partitions: u16) -> bool {
    number >= partitions - kept(partitions)
}

/// Whether runs of a flow are small: a loop may be of any size, and limits choose a partition by their key.
pub(crate) fn is_small(plan: &FlowPlan) -> bool {
    plan.limits.is_none() && plan.steps.len() <= STEPS && plan.steps.len() == plan.fixed
}

/// Chooses partitions for new runs.
#[derive(Debug)]
pub(crate) struct Bulkhead {
    partitions: u16,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began_ms: i64,
    /// Runs started since, and in the second before: a tenant's, and those in the partitions that are kept clear.
    now: Second,
    before: Second,
    next: u64,
}

#[derive(Debug, Default)]
struct Second {
    tenants: HashMap<TenantId, u32>,
    apart: u32,
}

impl Bulkhead {
    /// For so many partitions.
    pub fn new(partitions: u16) -> Self {
        Self { partitions, state: Mutex::default() }
    }

    /// A partition for so many runs of a tenant, which start at this time; only small ones may start where it is clear.
    /// `is_crowded` says whether entries wait for a slot in a partition.
    pub fn place(
        &self,
        (tenant, is_small): (TenantId, bool),
        runs: u32,
        now_ms: i64,
        is_crowded: impl Fn(u16) -> bool,
    ) -> u16 {
        let kept = kept(self.partitions);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.turn(now_ms);
        state.next += 1;
        let next = state.next;
        let started = state.started(tenant, runs);
        if is_small && started <= OF_ONE && state.now.apart + state.before.apart + runs <= OF_ALL {
            let clear = (0..kept)
                .map(|n| self.partitions - kept + (next + u64::from(n)) as u16 % kept)
                .find(|&n| !is_crowded(n));
            if let Some(number) = clear {
                state.now.apart += runs;
                return number;
            }
        }
        (next % u64::from(self.partitions - kept)) as u16
    }
}

impl State {
    /// Begins a new second when the last is over; a clock that jumps begins one too.
    fn turn(&mut self, now_ms: i64) {
        let age = now_ms - self.began_ms;
        if (0..SECOND_MS).contains(&age) {
            return;
        }
        let last = std::mem::take(&mut self.now);
        self.before = if (0..2 * SECOND_MS).contains(&age) { last } else { Second::default() };
        self.began_ms = now_ms;
    }

    /// How many runs a tenant has started of late, with these.
    fn started(&mut self, tenant: TenantId, runs: u32) -> u32 {
        let before = self.before.tenants.get(&tenant).copied().unwrap_or(0);
        let now = self.now.tenants.entry(tenant).or_default();
        *now = now.saturating_add(runs);
        now.saturating_add(before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use uuid::Uuid;

    /// A tenant, and that its run is small.
    fn tenant(no: u128) -> (TenantId, bool) {
        (TenantId(Uuid::from_u128(no)), true)
    }

    #[test]
    fn a_flood_leaves_an_eighth_of_the_partitions_to_others() {
        let bulkhead = Bulkhead::new(64);
        let flood: Vec<u16> = (0..10_000).map(|n| bulkhead.place(tenant(1), 1, n, |_| false)).collect();
        let apart = flood.iter().filter(|&&n| is_kept(n, 64)).count();
        assert_eq!(apart, OF_ONE as usize, "only its first runs stand there");
        assert_eq!(flood.iter().filter(|&&n| !is_kept(n, 64)).collect::<BTreeSet<_>>().len(), 56);
        for n in 0..OF_ONE.into() {
            assert!(
                is_kept(bulkhead.place(tenant(2), 1, 9_000 + n * 50, |_| false), 64),
                "one that starts little does"
            );
        }
        assert!(!is_kept(bulkhead.place(tenant(3), OF_ONE + 1, 9_999, |_| false), 64), "many at once are many");
        assert!(
            !is_kept(bulkhead.place((tenant(4).0, false), 1, 9_999, |_| false), 64),
            "a large one is a flood by itself"
        );
        assert!(is_kept(bulkhead.place(tenant(1), 1, 12_100, |_| false), 64), "a flood that is over is forgotten");
    }

    #[test]
    fn what_is_kept_clear_stays_clear() {
        let bulkhead = Bulkhead::new(64);
        let apart = (0..1_000).filter(|&n| is_kept(bulkhead.place(tenant(n), 1, 0, |_| false), 64)).count();
        assert_eq!(apart, OF_ALL as usize, "many who start little are many together");
        let placed: BTreeSet<u16> = (0..50).map(|n| bulkhead.place(tenant(n), 1, 5_000, |no| no != 60)).collect();
        assert_eq!(placed, BTreeSet::from([60]), "not where entries wait for a slot");
        assert!(!is_kept(bulkhead.place(tenant(7), 1, 5_000, |_| true), 64));
    }

    #[test]
    fn few_partitions_are_for_all() {
        let bulkhead = Bulkhead::new(3);
        let placed: BTreeSet<u16> = (0..9).map(|_| bulkhead.place(tenant(1), 1, 0, |_| false)).collect();
        assert_eq!(placed, BTreeSet::from([0, 1, 2]));
    }
}
