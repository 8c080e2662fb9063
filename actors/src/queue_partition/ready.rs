//! The entries that may start: ordered within a tenant, tenants in turn.
//!
//! Deficit round robin with entries of one size: in its turn a tenant gets as many starts as its weight, and what it does not
//! use is not saved up. Urgency, priority and ageing order a tenant's own entries, and no other's.

use std::collections::btree_map::Entry as Place;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use core314_domain::ids::{RunId, StepNo, TenantId};

use crate::fairness::TenantWeights;

/// Entries by tenant. Each tenant that has one is in the ring once, so that a flood of one delays no other.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    /// Each entry with the time since when it waits here.
    tenants: BTreeMap<TenantId, BTreeMap<(i64, RunId, StepNo), Waits>>,
    ring: VecDeque<TenantId>,
    weights: TenantWeights,
    /// How many the tenant whose turn it is has had of it.
    taken: u32,
    len: usize,
}

/// Since when an entry waits, and the integration that its action names.
#[derive(Debug)]
struct Waits {
    since_ms: i64,
    gate: Option<Arc<str>>,
}

/// An entry that has come up.
#[derive(Debug)]
pub struct Entry {
    pub tenant: TenantId,
    pub order: i64,
    pub run: RunId,
    pub step: StepNo,
    pub gate: Option<Arc<str>>,
}

impl ReadyQueue {
    /// An empty queue in which tenants have these weights.
    pub fn new(weights: TenantWeights) -> Self {
        Self { weights, ..Self::default() }
    }

    /// Adds an entry; one that is there already stays.
    pub fn push(&mut self, entry: Entry, now_ms: i64) {
        let Entry { tenant, order, run, step, gate } = entry;
        let entries = self.tenants.entry(tenant).or_default();
        if entries.is_empty() {
            self.ring.push_back(tenant);
        }
        if let Place::Vacant(place) = entries.entry((order, run, step)) {
            place.insert(Waits { since_ms: now_ms, gate });
            self.len += 1;
        }
    }

    /// The first entry of the tenant whose turn it is.
    pub fn pop(&mut self) -> Option<Entry> {
        let tenant = *self.ring.front()?;
        let entries = self.tenants.get_mut(&tenant)?;
        let ((order, run, step), Waits { gate, .. }) = entries.pop_first()?;
        self.len -= 1;
        self.taken += 1;
        if entries.is_empty() {
            self.tenants.remove(&tenant);
            self.ring.pop_front();
            self.taken = 0;
        } else if self.taken >= self.weights.of(tenant) {
            self.ring.rotate_left(1);
            self.taken = 0;
        }
        Some(Entry { tenant, order, run, step, gate })
    }

    /// Since when the entry waits that has waited longest. Looks at every entry.
    pub fn waits_since_ms(&self) -> Option<i64> {
        self.tenants.values().flat_map(BTreeMap::values).map(|waits| waits.since_ms).min()
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

    fn push(queue: &mut ReadyQueue, tenant: TenantId, order: i64, run: RunId, now_ms: i64) {
        queue.push(Entry { tenant, order, run, step: 0, gate: None }, now_ms);
    }

    fn pop(queue: &mut ReadyQueue) -> Option<RunId> {
        queue.pop().map(|entry| entry.run)
    }

    #[test]
    fn a_flood_of_one_tenant_delays_another_by_one_turn() {
        let (flood, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let run = |n: u128| RunId::new(n as i64, n << 24);
        for weight in [1, 3] {
            let weights = TenantWeights::try_from(vec![format!("{flood}={weight}")]).unwrap();
            let mut queue = ReadyQueue::new(weights);
            for n in 0..100_000 {
                push(&mut queue, flood, -3_600_000, run(n), 0);
            }
            // The other one sends little and nothing urgent: each of its entries starts at most one turn later.
            for n in 0..1_000 {
                push(&mut queue, other, n, run(200_000 + n as u128), 0);
                let before = (0..=weight).position(|_| pop(&mut queue) == Some(run(200_000 + n as u128)));
                assert!(
                    before.is_some_and(|before| before <= weight as usize),
                    "entry {n} waited for more than a turn"
                );
            }
            // Where both have much to do they share by weight.
            for n in 0..1_000 {
                push(&mut queue, other, 0, run(300_000 + n), 0);
            }
            let of_other =
                (0..400 * (weight + 1)).filter(|_| pop(&mut queue).is_some_and(|r| r >= run(300_000))).count();
            assert_eq!(of_other, 400);
        }
    }

    #[test]
    fn tenants_take_turns_and_each_keeps_its_order() {
        let (a, b) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let run = |n: u128| RunId::new(n as i64, n << 24);
        let mut queue = ReadyQueue::default();
        for order in [30, 10, 20] {
            push(&mut queue, a, order, run(order as u128), 1_000 + order);
        }
        push(&mut queue, b, 99, run(99), 1_500);
        push(&mut queue, a, 10, run(10), 2_000);
        assert_eq!(queue.waits_since_ms(), Some(1_010), "an entry waits since it came first");
        assert_eq!(queue.len(), 4, "an entry is there once");
        let popped: Vec<RunId> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(popped, [run(10), run(99), run(20), run(30)]);
        assert!(queue.is_empty());
    }
}
