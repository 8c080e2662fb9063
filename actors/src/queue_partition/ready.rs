//! The entries that may start: ordered within a tenant, tenants in turn.
//!
//! Deficit round robin with entries of one size: in its turn a tenant gets as many starts as its weight, and what it does not
//! use is not saved up. Urgency, priority and ageing order a tenant's own entries, and no other's. Where a flow has a key for
//! that, its entries take turns by key: each start uses up the earliest place that they have, whichever of them it is that
//! starts there, namely the first of the key whose turn it is. So turns delay no other flow.

use std::collections::btree_map::Entry as Room;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use core314_domain::ids::{FlowId, RunId, StepNo, TenantId};

use crate::fairness::TenantWeights;

/// Entries by tenant. Each tenant that has one is in the ring once, so that a flood of one delays no other.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    tenants: BTreeMap<TenantId, Entries>,
    ring: VecDeque<TenantId>,
    weights: TenantWeights,
    /// How many the tenant whose turn it is has had of it.
    taken: u32,
    len: usize,
}

/// Where an entry stands among those of its tenant.
type Place = (i64, RunId, StepNo);

/// The entries of a tenant.
#[derive(Debug, Default)]
struct Entries {
    /// Those that are in nobody's turn.
    plain: BTreeMap<Place, Waits>,
    /// The places of the flows whose entries take turns, as many as they have entries. More than one at a place: an entry that
    /// started at another's has come back.
    places: BTreeMap<(Place, FlowId), u32>,
    turns: BTreeMap<FlowId, Turns>,
}

/// The entries of a flow by their keys. Each key that has one is in the ring once.
#[derive(Debug, Default)]
struct Turns {
    keys: BTreeMap<Arc<str>, BTreeMap<Place, Waits>>,
    ring: VecDeque<Arc<str>>,
}

/// Since when an entry waits, and the integration that its action names.
#[derive(Debug)]
struct Waits {
    since_ms: i64,
    gate: Option<Arc<str>>,
}

/// A flow, and one of the keys of it that take turns.
pub type Turn = (FlowId, Arc<str>);

/// An entry that has come up.
#[derive(Debug)]
pub struct Entry {
    pub tenant: TenantId,
    pub order: i64,
    pub run: RunId,
    pub step: StepNo,
    pub gate: Option<Arc<str>>,
    pub turn: Option<Turn>,
}

impl Entries {
    /// Adds an entry. False: it is there already, and stays.
    fn push(&mut self, place: Place, waits: Waits, turn: Option<Turn>) -> bool {
        let Some((flow, key)) = turn else {
            let Room::Vacant(room) = self.plain.entry(place) else { return false };
            room.insert(waits);
            return true;
        };
        let is_new = self.turns.entry(flow).or_default().push(key, place, waits);
        if is_new {
            *self.places.entry((place, flow)).or_default() += 1;
        }
        is_new
    }

    /// What starts at the earliest place, which is used up.
    fn pop(&mut self) -> Option<(Place, Waits, Option<Turn>)> {
        let plain = self.plain.first_key_value().map(|(place, _)| *place);
        let in_turn = self.places.first_entry().filter(|first| plain.is_none_or(|plain| first.key().0 < plain));
        let Some(mut first) = in_turn else {
            return self.plain.pop_first().map(|(place, waits)| (place, waits, None));
        };
        let (_, flow) = *first.key();
        *first.get_mut() -= 1;
        if *first.get() == 0 {
            first.remove();
        }
        let turns = self.turns.get_mut(&flow)?;
        let popped = turns.pop();
        if turns.ring.is_empty() {
            self.turns.remove(&flow);
        }
        popped.map(|(key, place, waits)| (place, waits, Some((flow, key))))
    }

    fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.turns.is_empty()
    }

    fn waits(&self) -> impl Iterator<Item = &Waits> {
        let in_turn = self.turns.values().flat_map(|turns| turns.keys.values()).flat_map(BTreeMap::values);
        self.plain.values().chain(in_turn)
    }
}

impl Turns {
    fn push(&mut self, key: Arc<str>, place: Place, waits: Waits) -> bool {
        let entries = self.keys.entry(key.clone()).or_default();
        let is_first = entries.is_empty();
        let Room::Vacant(room) = entries.entry(place) else { return false };
        room.insert(waits);
        if is_first {
            self.ring.push_back(key);
        }
        true
    }

    fn pop(&mut self) -> Option<(Arc<str>, Place, Waits)> {
        let key = self.ring.pop_front()?;
        let entries = self.keys.get_mut(&key)?;
        let (place, waits) = entries.pop_first()?;
        if entries.is_empty() {
            self.keys.remove(&key);
        } else {
            self.ring.push_back(key.clone());
        }
        Some((key, place, waits))
    }

    fn is_first(&self, key: &Arc<str>, run: RunId) -> bool {
        let first = self.keys.get(key).and_then(BTreeMap::first_key_value);
        first.is_some_and(|((_, first, _), _)| *first == run)
    }
}

impl ReadyQueue {
    /// An empty queue in which tenants have these weights.
    pub fn new(weights: TenantWeights) -> Self {
        Self { weights, ..Self::default() }
    }

    /// Adds an entry; one that is there already stays.
    pub fn push(&mut self, entry: Entry, now_ms: i64) {
        let Entry { tenant, order, run, step, gate, turn } = entry;
        let entries = self.tenants.entry(tenant).or_default();
        if entries.is_empty() {
            self.ring.push_back(tenant);
        }
        if entries.push((order, run, step), Waits { since_ms: now_ms, gate }, turn) {
            self.len += 1;
        }
    }

    /// The first entry of the tenant whose turn it is.
    pub fn pop(&mut self) -> Option<Entry> {
        let tenant = *self.ring.front()?;
        let entries = self.tenants.get_mut(&tenant)?;
        let ((order, run, step), Waits { gate, .. }, turn) = entries.pop()?;
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
        Some(Entry { tenant, order, run, step, gate, turn })
    }

    /// Whether a run has the entry that starts when its key has its turn.
    pub fn is_first_of_its_key(&self, tenant: TenantId, (flow, key): &Turn, run: RunId) -> bool {
        let turns = self.tenants.get(&tenant).and_then(|entries| entries.turns.get(flow));
        turns.is_some_and(|turns| turns.is_first(key, run))
    }

    /// Since when the entry waits that has waited longest. Looks at every entry.
    pub fn waits_since_ms(&self) -> Option<i64> {
        self.tenants.values().flat_map(Entries::waits).map(|waits| waits.since_ms).min()
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
        queue.push(Entry { tenant, order, run, step: 0, gate: None, turn: None }, now_ms);
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

    #[test]
    fn keys_of_a_flow_take_turns_at_its_places() {
        let tenant = TenantId(Uuid::from_u128(1));
        let run = |n: u128| RunId::new(n as i64, n << 24);
        let mut queue = ReadyQueue::default();
        let mut keyed = |order: i64, flow: u128, key: &str| {
            let turn = Some((FlowId(Uuid::from_u128(flow)), key.into()));
            let entry = Entry { tenant, order, run: run(order as u128), step: 0, gate: None, turn };
            queue.push(entry, 0);
        };
        for (order, key) in [(1, "a"), (2, "a"), (4, "a"), (9, "b"), (1, "a")] {
            keyed(order, 7, key);
        }
        // Another flow's keys are its own, also where they are called the same.
        keyed(5, 8, "a");
        push(&mut queue, tenant, 3, run(3), 0);
        push(&mut queue, tenant, 10, run(10), 0);
        assert_eq!(queue.len(), 7, "an entry is there once");
        let of_a = (FlowId(Uuid::from_u128(7)), "a".into());
        assert!(queue.is_first_of_its_key(tenant, &of_a, run(1)));
        assert!(!queue.is_first_of_its_key(tenant, &of_a, run(2)), "another is before it");
        let popped: Vec<RunId> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(popped, [1, 9, 3, 2, 5, 4, 10].map(run));
        assert!(queue.tenants.is_empty() && queue.is_empty(), "nothing is left of whose turn it was");
    }

    #[test]
    fn a_flood_of_one_key_delays_another_by_one_turn() {
        let (tenant, flow) = (TenantId(Uuid::from_u128(1)), FlowId(Uuid::from_u128(7)));
        let run = |n: u128| RunId::new(n as i64, n << 24);
        let mut queue = ReadyQueue::default();
        let wait = |queue: &mut ReadyQueue, order: i64, n: u128, key: &Arc<str>| {
            let turn = Some((flow, key.clone()));
            queue.push(Entry { tenant, order, run: run(n), step: 0, gate: None, turn }, 0);
        };
        let (flood, other): (Arc<str>, Arc<str>) = ("flood".into(), "other".into());
        (0..100_000).for_each(|n| wait(&mut queue, -3_600_000, n, &flood));
        for n in 200_000..201_000 {
            wait(&mut queue, n as i64, n, &other);
            let before = (0..2).position(|_| pop(&mut queue) == Some(run(n)));
            assert!(before.is_some(), "entry {n} waited for more than a turn");
        }
    }

    #[test]
    fn turns_of_a_flow_delay_no_other_flow() {
        let (tenant, flow) = (TenantId(Uuid::from_u128(1)), FlowId(Uuid::from_u128(7)));
        let run = |n: i64| RunId::new(n, (n as u128) << 24);
        let mut queue = ReadyQueue::default();
        let wait = |queue: &mut ReadyQueue, order: i64, key: &str| {
            let turn = Some((flow, key.into()));
            queue.push(Entry { tenant, order, run: run(order), step: 0, gate: None, turn }, 0);
        };
        (1..=100).for_each(|order| wait(&mut queue, order, "old"));
        (1_000..1_500).for_each(|order| wait(&mut queue, order, &format!("key {}", order % 50)));
        push(&mut queue, tenant, 101, run(101), 0);

        let before: Vec<RunId> = (0..100).filter_map(|_| pop(&mut queue)).collect();
        assert_eq!(before.iter().filter(|popped| **popped <= run(100)).count(), 2, "51 keys take turns: {before:?}");
        assert_eq!(pop(&mut queue), Some(run(101)), "a hundred of the flow's were before it");
        // One that started at an earlier place comes back, and finds its own still there.
        wait(&mut queue, 1_000, "key 0");
        wait(&mut queue, 1_000, "key 0");
        assert_eq!(queue.len(), 501, "an entry is there once");
        let rest: std::collections::BTreeSet<RunId> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(rest.len(), 501, "each starts once");
        assert!(queue.tenants.is_empty() && queue.is_empty(), "no place is left over");
    }
}
