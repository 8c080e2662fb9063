//! The entries that may start: ordered within a tenant, tenants in turn.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use core314_domain::ids::{RunId, StepNo, TenantId};

/// Entries by tenant. Each tenant that has one is in the ring once, so that a flood of one delays no other.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    /// Each entry with the time since when it waits here.
    tenants: BTreeMap<TenantId, BTreeMap<(i64, RunId, StepNo), i64>>,
    ring: VecDeque<TenantId>,
    len: usize,
}

impl ReadyQueue {
    /// Adds an entry; one that is there already stays.
    pub fn push(&mut self, tenant: TenantId, order: i64, run: RunId, step: StepNo, now_ms: i64) {
        let entries = self.tenants.entry(tenant).or_default();
        if entries.is_empty() {
            self.ring.push_back(tenant);
        }
        if let Entry::Vacant(place) = entries.entry((order, run, step)) {
            place.insert(now_ms);
            self.len += 1;
        }
    }

    /// The next tenant's first entry.
    pub fn pop(&mut self) -> Option<(RunId, StepNo)> {
        let tenant = self.ring.pop_front()?;
        let entries = self.tenants.get_mut(&tenant)?;
        let ((_, run, step), _) = entries.pop_first()?;
        self.len -= 1;
        if entries.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.ring.push_back(tenant);
        }
        Some((run, step))
    }

    /// Since when the entry waits that has waited longest. Looks at every entry.
    pub fn waits_since_ms(&self) -> Option<i64> {
        self.tenants.values().flat_map(BTreeMap::values).min().copied()
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn tenants_take_turns_and_each_keeps_its_order() {
        let (a, b) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let run = |n: u128| RunId::new(n as i64, n << 24);
        let mut queue = ReadyQueue::default();
        for order in [30, 10, 20] {
            queue.push(a, order, run(order as u128), 0, 1_000 + order);
        }
        queue.push(b, 99, run(99), 0, 1_500);
        queue.push(a, 10, run(10), 0, 2_000);
        assert_eq!(queue.waits_since_ms(), Some(1_010), "an entry waits since it came first");
        assert_eq!(queue.len(), 4, "an entry is there once");
        let popped: Vec<RunId> = std::iter::from_fn(|| queue.pop()).map(|(run, _)| run).collect();
        assert_eq!(popped, [run(10), run(99), run(20), run(30)]);
        assert!(queue.is_empty());
    }
}
