//! Limits of actions: how many are under way at once and how fast they start, of each tenant and of all together.
//!
//! ```text
//! partition ── pass ──> Passes: the action starts; its share is given back when it has ended
//!                 └───> Wait: the entry waits in the partition, without a slot and without a commit, until it is called
//! ```
//! A share is counted for this node: what other nodes do is theirs. Whoever waits is called in turn, tenants one after the
//! other and each tenant's partitions likewise: a flood of one tenant takes no turn of another.
//!
//! Invariants:
//! - A share is given back once: when it is dropped, however its action ends. What it took of a rate is given back only where
//!   its action never starts.
//! - A place to which a partition is called is taken, so that nobody slips in before it; where the partition does not come
//!   within a second, the place is free again.
//! - Where there is room, whoever waits waits for the limit of its own tenant.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use core314_domain::ids::TenantId;
use core314_domain::limits::Bucket;
use core314_domain::run::GatedNames;

use super::{CallPass, GateName, Gates};
use crate::clock::{Clock, SystemClock};
use crate::fairness::{ActionLimit, ActionLimits};

/// How long a place is kept for a partition that was called.
const CALL_MS: i64 = 1_000;
/// Who waits for a place asks again after so long, should a call not have come: its partition may have been started again.
const ASK_AGAIN_MS: i64 = 5_000;
/// So many tenants are remembered before it is looked who need not be.
const SWEEP_AT: usize = 1_024;

/// What an action starts with.
#[derive(Default)]
pub struct Passes {
    /// The right to call its integration, where it had to ask for it.
    pub call: Option<CallPass>,
    /// Its share of what its tenant and all together may do, where that is bounded.
    pub share: Option<Share>,
}

impl Passes {
    /// Whether it needs none.
    pub const fn is_empty(&self) -> bool {
        self.call.is_none() && self.share.is_none()
    }
}

/// An entry waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When it is worth asking again, should nobody call.
    pub until_ms: Option<i64>,
    /// It waits for a share, and not at the gate of its integration.
    pub is_share: bool,
}

/// One action under way. Dropped, it is given back, and whoever waits is called.
pub struct Share {
    gates: Arc<Gates>,
    tenant: TenantId,
    /// Its action never starts: what it took of a rate is given back, too.
    is_unused: bool,
}

impl Share {
    /// Its action does not start after all.
    pub fn unused(mut self) {
        self.is_unused = true;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gates.give_back(self.tenant, self.is_unused);
    }
}

/// Why no action of a tenant may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoShare {
    /// All tenants together have what they may, and not this one.
    pub is_overall: bool,
    pub full: Full,
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Concurrent { max: u32 },
    Rate { per_second: u32, until_ms: i64 },
}

/// What is taken of one limit.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    under_way: u32,
    bucket: Bucket,
}

impl Used {
    /// The same with one action more.
    fn with_one(self, limit: ActionLimit, now_ms: i64) -> Result<Self, Full> {
        if limit.concurrent > 0 && self.under_way >= limit.concurrent {
            return Err(Full::Concurrent { max: limit.concurrent });
        }
        let mut bucket = self.bucket;
        if let Some(rate) = limit.rate() {
            let until = |at_us: i64| Full::Rate { per_second: limit.per_second, until_ms: at_us.div_euclid(1_000) + 1 };
            bucket.take(rate, now_ms * 1_000).map_err(until)?;
        }
        Ok(Self { under_way: self.under_way + 1, bucket })
    }

    /// The same with one action less, which has started or not.
    fn without_one(self, limit: ActionLimit, is_unused: bool) -> Self {
        let mut bucket = self.bucket;
        if let Some(rate) = limit.rate().filter(|_| is_unused) {
            bucket.give_back(rate);
        }
        Self { under_way: self.under_way.saturating_sub(1), bucket }
    }
}

/// What is known of a tenant.
#[derive(Debug, Default)]
struct Tenant {
    used: Used,
    /// Partitions in which somebody waits, in turn.
    waiting: VecDeque<u16>,
    /// Partitions that were called, and until when their place is kept.
    called: BTreeMap<u16, i64>,
    is_in_ring: bool,
}

#[derive(Debug, Default)]
struct State {
    overall: Used,
    tenants: BTreeMap<TenantId, Tenant>,
    /// Tenants that could start something as far as they themselves are concerned, in turn.
    ring: VecDeque<TenantId>,
    /// All calls, the oldest first; those that were answered are passed over.
    calls: VecDeque<(i64, TenantId, u16)>,
    /// As it was when somebody last asked or gave something back.
    now_ms: i64,
    sweep_at: usize,
}

/// Whom to call, or to tell that it is worth asking: a partition, and for which tenant.
type Calls = Vec<(u16, TenantId)>;

impl State {
    /// What is used with one action more of a tenant: its own, and that of all.
    fn with_one(&self, limits: &ActionLimits, tenant: TenantId, now_ms: i64) -> Result<(Used, Used), NoShare> {
        let own = self.tenants.get(&tenant).map(|own| own.used).unwrap_or_default();
        let no = |is_overall: bool| move |full: Full| NoShare { is_overall, full };
        let own = own.with_one(limits.of(tenant), now_ms).map_err(no(false))?;
        Ok((own, self.overall.with_one(limits.overall(), now_ms).map_err(no(true))?))
    }

    /// Asks for a place on behalf of a partition.
    fn enter(
        &mut self,
        limits: &ActionLimits,
        (tenant, partition): (TenantId, u16),
        now_ms: i64,
        calls: &mut Calls,
    ) -> Result<(), NoShare> {
        // Whoever comes has its place, also where that lapses just now.
        let called = self.tenants.get_mut(&tenant).and_then(|own| own.called.remove(&partition));
        self.tick(limits, now_ms);
        self.sweep();
        if called.is_some() {
            self.serve(limits, None, calls);
            return Ok(());
        }
        let own = self.tenants.entry(tenant).or_default();
        if !own.waiting.contains(&partition) {
            own.waiting.push_back(partition);
        }
        self.join_ring(tenant);
        if self.serve(limits, Some((tenant, partition)), calls) {
            return Ok(());
        }
        match self.with_one(limits, tenant, self.now_ms) {
            Err(no) => Err(no),
            // Others had their turn with what was free.
            Ok(_) => Err(NoShare { is_overall: true, full: Full::Concurrent { max: limits.overall().concurrent } }),
        }
    }

    /// Gives what is free to those who wait, in turn. Whoever asks just now need not be called: whether it got a place.
    fn serve(&mut self, limits: &ActionLimits, asker: Option<(TenantId, u16)>, calls: &mut Calls) -> bool {
        let mut has_served = false;
        while let Some(tenant) = self.ring.front().copied() {
            let taken = self.with_one(limits, tenant, self.now_ms);
            // Who was told that all places are taken does not know when there will be a token: it asks, and hears it. An
            // asker that gets nothing hears it itself.
            if (asker.is_none() || has_served)
                && matches!(taken, Err(NoShare { full: Full::Rate { .. }, .. }))
                && let Some(first) = self.tenants.get(&tenant).and_then(|own| own.waiting.front().copied())
            {
                calls.push((first, tenant));
            }
            if taken.is_err_and(|no| no.is_overall) {
                break;
            }
            self.ring.pop_front();
            let Some(own) = self.tenants.get_mut(&tenant) else { continue };
            own.is_in_ring = false;
            // Its own limit is full: it comes back with what is given back of that, or asks when its time has come.
            let (Ok((used, overall)), Some(partition)) = (taken, own.waiting.front().copied()) else { continue };
            own.waiting.pop_front();
            own.used = used;
            if asker == Some((tenant, partition)) {
                has_served = true;
            } else {
                let until_ms = self.now_ms + CALL_MS;
                own.called.insert(partition, until_ms);
                self.calls.push_back((until_ms, tenant, partition));
                calls.push((partition, tenant));
            }
            self.overall = overall;
            self.join_ring(tenant);
        }
        has_served
    }

    fn join_ring(&mut self, tenant: TenantId) {
        if let Some(own) = self.tenants.get_mut(&tenant).filter(|own| !own.is_in_ring && !own.waiting.is_empty()) {
            own.is_in_ring = true;
            self.ring.push_back(tenant);
        }
    }

    /// Time goes on: places to which nobody has come are free again.
    fn tick(&mut self, limits: &ActionLimits, now_ms: i64) {
        // Two that read the clock one after the other may come here the other way round.
        let now_ms = now_ms.max(self.now_ms);
        self.now_ms = now_ms;
        while let Some((until_ms, tenant, partition)) = self.calls.front().copied().filter(|call| call.0 <= now_ms) {
            self.calls.pop_front();
            if self.tenants.get(&tenant).is_some_and(|own| own.called.get(&partition) == Some(&until_ms)) {
                self.uncall(limits, tenant, partition);
            }
        }
    }

    /// A partition that was called does not come. False where it was not.
    fn uncall(&mut self, limits: &ActionLimits, tenant: TenantId, partition: u16) -> bool {
        let called = self.tenants.get_mut(&tenant).and_then(|own| own.called.remove(&partition));
        if called.is_some() {
            self.free(limits, tenant, true);
        }
        called.is_some()
    }

    /// One action less, which has started or not.
    fn free(&mut self, limits: &ActionLimits, tenant: TenantId, is_unused: bool) {
        self.overall = self.overall.without_one(limits.overall(), is_unused);
        if let Some(own) = self.tenants.get_mut(&tenant) {
            own.used = own.used.without_one(limits.of(tenant), is_unused);
        }
        self.join_ring(tenant);
    }

    /// Forgets tenants that do nothing, where there are many.
    fn sweep(&mut self) {
        if self.tenants.len() >= self.sweep_at.max(SWEEP_AT) {
            let now_us = self.now_ms * 1_000;
            let is_idle = |own: &Tenant| {
                own.used.under_way == 0 && own.waiting.is_empty() && !own.is_in_ring && own.used.bucket.is_full(now_us)
            };
            self.tenants.retain(|_, own| !is_idle(own));
            // With as many that do something it is looked again when there are twice as many.
            self.sweep_at = self.tenants.len() * 2;
        }
    }
}

/// The limits, and what is used of them.
pub(super) struct Shares {
    limits: ActionLimits,
    /// Places are kept from when they become free, whenever somebody asked last.
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { limits: ActionLimits::default(), clock: Arc::new(SystemClock::default()), state: Mutex::default() }
    }
}

impl Shares {
    fn state(&self) -> MutexGuard<'_, State> {
        // The guarded code does not panic half-way: a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now: what has become free is kept from now on.
    fn state_now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.now_ms = state.now_ms.max(self.clock.now_ms());
        state
    }

    /// Whether anything bounds the actions of a tenant.
    pub(super) fn bind(&self, tenant: TenantId) -> bool {
        self.limits.bind(tenant)
    }
}

/// The name of no gate: entries whose action names no integration wait under it for their share.
pub fn no_gate() -> Arc<str> {
    Arc::from("")
}

impl Gates {
    /// Gates of a node whose actions are bounded so.
    pub fn with_limits(limits: ActionLimits, clock: Arc<dyn Clock>) -> Self {
        let unnamed = Arc::new(GatedNames { asks_all: true, ..GatedNames::default() });
        Self { shares: Shares { limits, clock, state: Mutex::default() }, unnamed, ..Self::default() }
    }

    /// Whether anything bounds the actions of a tenant, beside its integrations.
    pub fn bind(&self, tenant: TenantId) -> bool {
        self.shares.bind(tenant)
    }

    /// All that an action needs to start which goes through this gate, or through none ([`no_gate`]).
    pub fn pass(self: &Arc<Self>, name: &GateName, partition: u16, now_ms: i64) -> Result<Passes, Wait> {
        let (tenant, has_gate) = (name.0, !name.1.is_empty());
        let at_gate = |until_ms: Option<i64>| Wait { until_ms, is_share: false };
        // Whoever would wait at the gate takes no share meanwhile.
        if has_gate
            && self.bind(tenant)
            && self.blocked(name, now_ms).is_some()
            && let Some(Err(blocked)) = self.enter(name, partition, now_ms)
        {
            // Its partition, if that was called, may have another that comes instead.
            return Err(at_gate(blocked.until_ms()));
        }
        let share = self.share(tenant, partition, now_ms).map_err(|no| match no.full {
            Full::Rate { until_ms, .. } => Wait { until_ms: Some(until_ms), is_share: true },
            Full::Concurrent { .. } => Wait { until_ms: Some(now_ms + ASK_AGAIN_MS), is_share: true },
        })?;
        let call = if has_gate { self.enter(name, partition, now_ms).transpose() } else { Ok(None) };
        match call {
            Ok(call) => Ok(Passes { call, share }),
            Err(blocked) => {
                share.into_iter().for_each(Share::unused);
                Err(at_gate(blocked.until_ms()))
            }
        }
    }

    fn share(self: &Arc<Self>, tenant: TenantId, partition: u16, now_ms: i64) -> Result<Option<Share>, NoShare> {
        if !self.bind(tenant) {
            return Ok(None);
        }
        let mut calls = Calls::new();
        let entered = self.shares.state().enter(&self.shares.limits, (tenant, partition), now_ms, &mut calls);
        self.call(&calls);
        entered.map(|()| Some(Share { gates: self.clone(), tenant, is_unused: false }))
    }

    /// A share for an action that cannot wait any more: it counts.
    pub fn share_now(self: &Arc<Self>, tenant: TenantId) -> Option<Share> {
        if !self.bind(tenant) {
            return None;
        }
        let mut state = self.shares.state();
        state.overall.under_way += 1;
        state.tenants.entry(tenant).or_default().used.under_way += 1;
        drop(state);
        Some(Share { gates: self.clone(), tenant, is_unused: false })
    }

    /// Why no action of a tenant would start now.
    pub fn share_blocked(&self, tenant: TenantId, now_ms: i64) -> Option<NoShare> {
        self.bind(tenant).then(|| self.shares.state().with_one(&self.shares.limits, tenant, now_ms).err())?
    }

    /// A partition that was called, if it was, has nobody who comes.
    pub fn pass_on(&self, tenant: TenantId, partition: u16) {
        let mut calls = Calls::new();
        let mut state = self.shares.state_now();
        if state.uncall(&self.shares.limits, tenant, partition) {
            state.serve(&self.shares.limits, None, &mut calls);
        }
        drop(state);
        self.call(&calls);
    }

    fn give_back(&self, tenant: TenantId, is_unused: bool) {
        let mut calls = Calls::new();
        let mut state = self.shares.state_now();
        state.free(&self.shares.limits, tenant, is_unused);
        state.serve(&self.shares.limits, None, &mut calls);
        drop(state);
        self.call(&calls);
    }

    fn call(&self, calls: &[(u16, TenantId)]) {
        if let Some(tell) = self.tell.get() {
            calls.iter().for_each(|(partition, tenant)| tell(*partition, &(*tenant, no_gate())));
        }
    }
}

#[cfg(test)]
mod tests;
