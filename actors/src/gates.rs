//! The way out to integrations: how many calls go at once, how fast they start, and whether the service is well.
//!
//! ```text
//! partition ── enter ──> Go(pass) ── attempt ── leave ──> whoever waits is told
//!                 └────> Wait: the entry waits in the partition, without a slot and without a commit
//! ```
//! A gate is shared by all partitions, so it stands outside of them, behind a lock that is held for a few comparisons. What
//! it knows is rebuilt at a start: calls under way are none then, and of a breaker what is stored.
//!
//! Invariants:
//! - A pass is given back once: by its end, or by being dropped.
//! - Who was told to wait is told when something has changed; a time alone is theirs to keep.
//! - Tenants without integrations have no gate, and are not slowed down by a look at one.

mod shares;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use core314_domain::breaker::{Breaker, BreakerHold, Counts, Health, Kept, Pass as Passed, Ticket};
use core314_domain::ids::{Owner, RowId, TenantId};
use core314_domain::integration::CallLimits;
use core314_domain::limits::Bucket;
use core314_domain::retry::RetryPolicy;
use core314_domain::run::GatedNames;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::ports::integration::{Integration, KeptBreakers};

pub use shares::{Full, NoShare, Passes, Share, Wait, no_gate};

/// Told when a gate may let somebody pass again: the partitions that wait at it.
pub type Tell = Box<dyn Fn(u16, &GateName) + Send + Sync>;

/// A gate by its tenant and its integration's name.
pub type GateName = (TenantId, Arc<str>);

/// All gates of this node.
#[derive(Default)]
pub struct Gates {
    by_tenant: DashMap<TenantId, BTreeMap<Arc<str>, Arc<Gate>>>,
    /// What runs of a tenant are told: which names have a gate, and which of those let nobody pass unasked.
    names: DashMap<TenantId, Arc<GatedNames>>,
    /// The same of a tenant without integrations, where something bounds its actions.
    unnamed: Arc<GatedNames>,
    shares: shares::Shares,
    tell: OnceLock<Tell>,
}

/// The gate of one integration.
pub struct Gate {
    pub id: RowId,
    pub owner: Owner,
    pub name: Arc<str>,
    state: Mutex<State>,
}

struct State {
    limits: CallLimits,
    /// How what fails is tried again, where the integration says so.
    retry: Option<RetryPolicy>,
    under_way: u32,
    bucket: Bucket,
    primary: Breaker,
    /// Where there is a backup endpoint.
    backup: Option<Breaker>,
    /// The service has asked for patience until then; 0: it has not.
    patience_until_ms: i64,
    /// Partitions in which somebody waits.
    waiting: BTreeSet<u16>,
}

/// Why somebody waits at a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    Breaker {
        reason: String,
        until_ms: Option<i64>,
    },
    Concurrency {
        max: u32,
    },
    Rate {
        until_ms: i64,
    },
    /// The service has answered that it has had enough, and until when.
    Patience {
        until_ms: i64,
    },
}

impl Blocked {
    /// When it passes by time alone.
    pub const fn until_ms(&self) -> Option<i64> {
        match self {
            Self::Breaker { until_ms, .. } => *until_ms,
            Self::Rate { until_ms } | Self::Patience { until_ms } => Some(*until_ms),
            Self::Concurrency { .. } => None,
        }
    }
}

/// The right to make one call. Dropped, it is given back, and says nothing about the service.
pub struct CallPass {
    gate: Arc<Gate>,
    gates: Arc<Gates>,
    ticket: Option<Ticket>,
    pub is_backup: bool,
    is_done: bool,
}

/// A breaker that has changed its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Turned {
    pub integration: RowId,
    pub owner: Owner,
    pub name: Arc<str>,
    pub is_backup: bool,
    pub kept: Kept,
    /// What is to be stored.
    pub both: KeptBreakers,
}

/// Why calls could not be sent to a backup endpoint. The texts say what a person should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoBackup {
    #[error("there is no such integration any more")]
    Gone,
    #[error("it has no backup_endpoint: give it one")]
    NoEndpoint,
    #[error("its breaker is held closed: a person has decided that the primary endpoint is called")]
    Held,
}

/// A gate as people see it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub primary: (Kept, Counts),
    pub backup: Option<(Kept, Counts)>,
    pub under_way: u32,
    pub uses_backup: bool,
    /// Until when the service has asked to be left alone, where it has.
    pub patience_until_ms: Option<i64>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // The guarded code does not panic half-way: a poisoned lock still guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Why no call may start now; else whether the backup takes it.
    fn way(&self, now_ms: i64) -> Result<bool, Blocked> {
        if now_ms < self.patience_until_ms {
            return Err(Blocked::Patience { until_ms: self.patience_until_ms });
        }
        if let Some(max) = self.limits.concurrency.filter(|max| self.under_way >= *max) {
            return Err(Blocked::Concurrency { max });
        }
        if !self.primary.is_open(now_ms) {
            return Ok(false);
        }
        if self.backup.as_ref().is_some_and(|backup| !backup.is_open(now_ms)) {
            return Ok(true);
        }
        let kept = self.primary.kept();
        let until = [Some(&self.primary), self.backup.as_ref()].into_iter().flatten();
        let until_ms = until.filter_map(|breaker| breaker.kept().until_ms).filter(|until| *until > now_ms).min();
        Err(Blocked::Breaker { reason: kept.reason.clone(), until_ms: until_ms.filter(|_| kept.held.is_none()) })
    }

    fn enter(&mut self, now_ms: i64) -> Result<(bool, Ticket), Blocked> {
        let is_backup = self.way(now_ms)?;
        self.patience_until_ms = 0;
        if let Some(rate) = self.limits.rate() {
            let taken = self.bucket.take(rate, now_ms * 1_000);
            taken.map_err(|at_us| Blocked::Rate { until_ms: at_us.div_euclid(1_000) + 1 })?;
        }
        let breaker = if is_backup { self.backup.as_mut() } else { Some(&mut self.primary) };
        match breaker.map(|breaker| breaker.enter(now_ms)) {
            Some(Passed::Yes(ticket)) => Ok((is_backup, ticket)),
            Some(Passed::No { until_ms }) => {
                Err(Blocked::Breaker { reason: self.primary.kept().reason.clone(), until_ms })
            }
            None => Err(Blocked::Breaker { reason: String::new(), until_ms: None }),
        }
    }

    fn both(&self) -> KeptBreakers {
        KeptBreakers { primary: self.primary.kept().clone(), backup: self.backup.as_ref().map(|b| b.kept().clone()) }
    }

    /// Whether a call must ask before it starts.
    fn is_shut(&self) -> bool {
        use core314_domain::breaker::BreakerState::Closed;
        let is_well = |breaker: &Breaker| breaker.kept().state == Closed && breaker.kept().held.is_none();
        let has_limits = self.limits.concurrency.is_some() || self.limits.rate().is_some();
        let is_patient = self.patience_until_ms > 0;
        has_limits || is_patient || !(is_well(&self.primary) || self.backup.as_ref().is_some_and(is_well))
    }
}

impl Gates {
    /// Whom to tell of gates that let pass again; said once.
    pub fn tell_by(&self, tell: Tell) {
        assert!(self.tell.set(tell).is_ok(), "gates have one engine");
    }

    /// An integration is there, or has changed.
    pub fn put(&self, integration: &Integration, kept: KeptBreakers) {
        let tenant = integration.owner.tenant;
        let policy = integration.definition.breaker.clone().unwrap_or_default();
        let name: Arc<str> = integration.name.as_str().into();
        let has_backup = integration.definition.backup_endpoint.is_some();
        let known =
            self.by_tenant.entry(tenant).or_default().get(&name).filter(|gate| gate.id == integration.id).cloned();
        if let Some(gate) = known {
            let mut state = gate.state();
            state.limits = integration.definition.limits;
            state.retry.clone_from(&integration.definition.retry);
            state.primary.set_policy(policy.clone());
            state.backup = has_backup.then(|| {
                let mut backup = state.backup.take().unwrap_or_else(|| Breaker::new(policy.clone(), Kept::default()));
                backup.set_policy(policy);
                backup
            });
        } else {
            let state = State {
                limits: integration.definition.limits,
                retry: integration.definition.retry.clone(),
                under_way: 0,
                bucket: Bucket::default(),
                backup: has_backup.then(|| Breaker::new(policy.clone(), kept.backup.unwrap_or_default())),
                primary: Breaker::new(policy, kept.primary),
                patience_until_ms: 0,
                waiting: BTreeSet::new(),
            };
            let gate =
                Gate { id: integration.id, owner: integration.owner, name: name.clone(), state: Mutex::new(state) };
            self.by_tenant.entry(tenant).or_default().insert(name.clone(), Arc::new(gate));
        }
        self.refresh(tenant);
        self.tell_waiting(&(tenant, name));
    }

    /// An integration is gone: who waits for it goes on, and fails in words.
    pub fn remove(&self, tenant: TenantId, id: RowId) {
        let mut gone = None;
        if let Some(mut gates) = self.by_tenant.get_mut(&tenant) {
            let name = gates.values().find(|gate| gate.id == id).map(|gate| gate.name.clone());
            gone = name.and_then(|name| gates.remove(&name));
        }
        let Some(gate) = gone else { return };
        self.refresh(tenant);
        self.tell_all(&gate, &(tenant, gate.name.clone()));
    }

    /// What runs of this tenant must know; `None` where it has no integrations and nothing bounds its actions.
    pub fn names(&self, tenant: TenantId) -> Option<Arc<GatedNames>> {
        let names = self.names.get(&tenant).map(|names| names.clone());
        names.or_else(|| self.shares.bind(tenant).then(|| self.unnamed.clone()))
    }

    fn gate(&self, name: &GateName) -> Option<Arc<Gate>> {
        self.by_tenant.get(&name.0)?.get(&name.1).cloned()
    }

    /// Asks for a call on behalf of a partition. `None` where there is no such gate: nothing is in the way.
    pub fn enter(self: &Arc<Self>, name: &GateName, partition: u16, now_ms: i64) -> Option<Result<CallPass, Blocked>> {
        let gate = self.gate(name)?;
        let mut state = gate.state();
        let was = state.is_shut();
        let entered = state.enter(now_ms);
        let is = state.is_shut();
        match &entered {
            Ok(_) => state.under_way += 1,
            Err(_) => {
                state.waiting.insert(partition);
            }
        }
        // Others are looked at below, and this one with them.
        drop(state);
        if was != is {
            self.refresh(name.0);
        }
        Some(entered.map(|(is_backup, ticket)| CallPass {
            gate,
            gates: self.clone(),
            ticket: Some(ticket),
            is_backup,
            is_done: false,
        }))
    }

    /// A pass for a call that cannot wait any more: it counts, and the service is judged by it where that can be.
    pub fn enter_now(self: &Arc<Self>, name: &GateName, now_ms: i64) -> Option<CallPass> {
        let gate = self.gate(name)?;
        let mut state = gate.state();
        let entered = state.enter(now_ms).ok();
        state.under_way += 1;
        drop(state);
        let (is_backup, ticket) = entered.map_or((false, None), |(is_backup, ticket)| (is_backup, Some(ticket)));
        Some(CallPass { gate, gates: self.clone(), ticket, is_backup, is_done: false })
    }

    /// A pass for one call at the backup endpoint, whoever takes the calls now: to see whether it answers.
    pub fn enter_backup(self: &Arc<Self>, name: &GateName, now_ms: i64) -> Result<CallPass, NoBackup> {
        let gate = self.gate(name).ok_or(NoBackup::Gone)?;
        let mut state = gate.state();
        let entered = state.backup.as_mut().ok_or(NoBackup::NoEndpoint)?.enter(now_ms);
        state.under_way += 1;
        drop(state);
        self.refresh(name.0);
        let ticket = match entered {
            Passed::Yes(ticket) => Some(ticket),
            // It is judged by others just now; the call says what it says all the same.
            Passed::No { .. } => None,
        };
        Ok(CallPass { gate, gates: self.clone(), ticket, is_backup: true, is_done: false })
    }

    /// Lets the backup endpoint take over until the primary one is healthy: the primary's breaker opens as failed calls
    /// would open it, and is asked again with care when its time is over. `None`: calls go to the backup already.
    pub fn switch_to_backup(&self, name: &GateName, by: &str, now_ms: i64) -> Result<Option<Turned>, NoBackup> {
        let gate = self.gate(name).ok_or(NoBackup::Gone)?;
        let mut state = gate.state();
        if state.backup.is_none() {
            return Err(NoBackup::NoEndpoint);
        }
        if state.primary.is_open(now_ms) {
            return Ok(None);
        }
        if !state.primary.trip(format!("switched to the backup by {by}"), now_ms) {
            return Err(NoBackup::Held);
        }
        let turned = turned(&gate, false, &state);
        drop(state);
        self.refresh(name.0);
        self.tell_waiting(name);
        Ok(Some(turned))
    }

    /// Why a call would wait now.
    pub fn blocked(&self, name: &GateName, now_ms: i64) -> Option<Blocked> {
        let gate = self.gate(name)?;
        let state = gate.state();
        if let Err(blocked) = state.way(now_ms) {
            return Some(blocked);
        }
        let mut bucket = state.bucket;
        let rate = state.limits.rate()?;
        let taken = bucket.take(rate, now_ms * 1_000);
        taken.err().map(|at_us| Blocked::Rate { until_ms: at_us.div_euclid(1_000) + 1 })
    }

    /// A gate as people see it.
    pub fn seen(&self, name: &GateName, now_ms: i64) -> Option<Seen> {
        let gate = self.gate(name)?;
        let state = gate.state();
        let of = |breaker: &Breaker| (breaker.kept().clone(), breaker.counts(now_ms));
        Some(Seen {
            primary: of(&state.primary),
            backup: state.backup.as_ref().map(of),
            under_way: state.under_way,
            uses_backup: state.primary.is_open(now_ms) && state.backup.is_some(),
            patience_until_ms: Some(state.patience_until_ms).filter(|until| *until > now_ms),
        })
    }

    /// Holds the breaker of the primary endpoint, or lets it go.
    pub fn hold(&self, name: &GateName, hold: Option<BreakerHold>, by: &str, now_ms: i64) -> Option<Turned> {
        let gate = self.gate(name)?;
        let mut state = gate.state();
        state.primary.hold(hold, by, now_ms);
        let turned = turned(&gate, false, &state);
        drop(state);
        self.refresh(name.0);
        self.tell_waiting(name);
        Some(turned)
    }

    /// Breakers by their state, for metrics: closed, open, half-open; and calls under way.
    pub fn figures(&self) -> ([u64; 3], u64) {
        let (mut by_state, mut under_way) = ([0; 3], 0);
        for gates in &self.by_tenant {
            for gate in gates.values() {
                let state = gate.state();
                for breaker in [Some(&state.primary), state.backup.as_ref()].into_iter().flatten() {
                    by_state[breaker.kept().state as usize] += 1;
                }
                under_way += u64::from(state.under_way);
            }
        }
        (by_state, under_way)
    }

    fn refresh(&self, tenant: TenantId) {
        // Looked up under the lock that it is kept under: of two at once the later sees what the earlier was told of.
        let place = self.names.entry(tenant);
        let names = self.by_tenant.get(&tenant).map(|gates| {
            let shut = gates.iter().filter(|(_, gate)| gate.state().is_shut()).map(|(name, _)| name.clone()).collect();
            let retry = |(name, gate): (&Arc<str>, &Arc<Gate>)| Some((name.clone(), gate.state().retry.clone()?));
            let retries = gates.iter().filter_map(retry).collect();
            GatedNames { all: gates.keys().cloned().collect(), shut, retries, asks_all: self.shares.bind(tenant) }
        });
        match (names.filter(|names| !names.all.is_empty()), place) {
            (Some(names), place) => drop(place.insert(Arc::new(names))),
            (None, Entry::Occupied(place)) => drop(place.remove()),
            (None, Entry::Vacant(_)) => {}
        }
    }

    fn tell_waiting(&self, name: &GateName) {
        if let Some(gate) = self.gate(name) {
            self.tell_all(&gate, name);
        }
    }

    fn tell_all(&self, gate: &Gate, name: &GateName) {
        let waiting = std::mem::take(&mut gate.state().waiting);
        if let Some(tell) = self.tell.get() {
            waiting.into_iter().for_each(|partition| tell(partition, name));
        }
    }
}

fn turned(gate: &Gate, is_backup: bool, state: &State) -> Turned {
    let both = state.both();
    let kept = if is_backup { both.backup.clone().unwrap_or_default() } else { both.primary.clone() };
    Turned { integration: gate.id, owner: gate.owner, name: gate.name.clone(), is_backup, kept, both }
}

impl CallPass {
    /// The call is over. Answers with the breaker that has changed by it, which is to be stored.
    pub fn leave(mut self, health: Health, took_ms: u64, now_ms: i64) -> Option<Turned> {
        self.done(health, took_ms, now_ms)
    }

    /// The service has asked to be left alone for so long: all who want to call it wait, not this caller alone.
    pub fn ask_patience(&self, for_ms: i64, now_ms: i64) {
        let mut state = self.gate.state();
        state.patience_until_ms = state.patience_until_ms.max(now_ms + for_ms);
        drop(state);
        self.gates.refresh(self.gate.owner.tenant);
    }

    fn done(&mut self, health: Health, took_ms: u64, now_ms: i64) -> Option<Turned> {
        if std::mem::replace(&mut self.is_done, true) {
            return None;
        }
        let mut guard = self.gate.state();
        let state = &mut *guard;
        state.under_way = state.under_way.saturating_sub(1);
        let breaker = if self.is_backup { state.backup.as_mut() } else { Some(&mut state.primary) };
        let mut has_turned = false;
        if let (Some(breaker), Some(ticket)) = (breaker, self.ticket) {
            let before = breaker.kept().state;
            breaker.leave(ticket, health, took_ms, now_ms);
            has_turned = breaker.kept().state != before;
        }
        let told = has_turned.then(|| turned(&self.gate, self.is_backup, state));
        drop(guard);
        let name = (self.gate.owner.tenant, self.gate.name.clone());
        if has_turned {
            self.gates.refresh(name.0);
        }
        self.gates.tell_all(&self.gate, &name);
        told
    }
}

impl Drop for CallPass {
    fn drop(&mut self) {
        // Nothing turns by a call that says nothing; the time does not matter to it.
        drop(self.done(Health::Unknown, 0, 0));
    }
}

#[cfg(test)]
mod tests;
