//! Entries that wait at the gates of integrations, or for their share of what a tenant and all together may do: a full limit
//! or an open breaker costs no slot and no commit.
//!
//! Entries of one gate keep their order; those without an integration have a gate without a name. Nothing here is stored: an
//! entry whose partition is started again comes back from its run's row, and asks again. A crowd at a shut gate is in nobody's
//! way: runs that only wait at gates leave memory once there are many, their entries stay, and they are read again when they may
//! pass.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use core314_domain::ids::{RunId, StepNo, TenantId};
use core314_domain::run::{Command, Effect};

use super::QueuePartition;
use super::ready::Entry;
use super::runs::Ask;
use crate::gates::{GateName, Passes, Wait, no_gate};
use crate::supervision::Ctx;

/// The entries, and the gates that are worth asking again.
#[derive(Default)]
pub struct Held {
    entries: BTreeMap<GateName, BTreeMap<(i64, RunId, StepNo), Entry>>,
    len: usize,
    /// When a gate may open by time alone.
    due: BTreeSet<(i64, GateName)>,
    due_of: BTreeMap<GateName, i64>,
    /// Gates at which something has changed.
    open: BTreeSet<GateName>,
    /// Gates whose first entry waits for its tenant's share, and not at the gate.
    unshared: BTreeSet<GateName>,
    /// How many entries of a run wait here.
    of_run: HashMap<RunId, u32>,
    /// Runs that have left memory and whose every queued step waits here.
    parked: HashSet<RunId>,
    /// Whether the last turn at a free slot was theirs, and not the queue's.
    pub has_turn: bool,
}

impl Held {
    /// How many entries wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// When the next gate may open by time alone.
    pub fn next_due_ms(&self) -> Option<i64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }

    fn push(&mut self, name: GateName, entry: Entry) {
        let (run, place) = (entry.run, (entry.order, entry.run, entry.step));
        if self.entries.entry(name).or_default().insert(place, entry).is_none() {
            self.len += 1;
            *self.of_run.entry(run).or_default() += 1;
        }
    }

    fn first(&self, name: &GateName) -> Option<(i64, RunId, StepNo)> {
        self.entries.get(name)?.first_key_value().map(|(place, _)| *place)
    }

    fn pop(&mut self, name: &GateName) {
        let Some(entries) = self.entries.get_mut(name) else { return };
        if let Some(((_, run, _), _)) = entries.pop_first() {
            self.len -= 1;
            // Its other entries come back with it.
            self.parked.remove(&run);
            if let Some(left) = self.of_run.get_mut(&run) {
                *left -= 1;
                if *left == 0 {
                    self.of_run.remove(&run);
                }
            }
        }
        if entries.is_empty() {
            self.entries.remove(name);
            self.unshared.remove(name);
            self.set_due(name, None);
        }
    }

    /// Whether a run with so many queued steps does nothing but wait here.
    pub fn holds_all_of(&self, run: RunId, queued: u32) -> bool {
        queued > 0 && self.of_run.get(&run) == Some(&queued)
    }

    /// A run leaves memory; whether it waits here, and need not be read before it may pass.
    pub fn leaves(&mut self, run: RunId, is_parked: bool) {
        if is_parked {
            self.parked.insert(run);
        } else if !self.parked.is_empty() {
            self.parked.remove(&run);
        }
    }

    /// Whether it waits here without being in memory.
    pub fn is_parked(&self, run: RunId) -> bool {
        !self.parked.is_empty() && self.parked.contains(&run)
    }

    /// The first entry of a gate cannot start yet.
    fn waits(&mut self, name: &GateName, wait: Wait) {
        self.set_due(name, wait.until_ms);
        if wait.is_share {
            self.unshared.insert(name.clone());
        }
    }

    /// Whether any entry waits for its tenant's share.
    fn waits_for_share(&self, tenant: TenantId) -> bool {
        self.unshared_of(tenant).next().is_some()
    }

    fn unshared_of(&self, tenant: TenantId) -> impl Iterator<Item = &GateName> {
        self.unshared.range((tenant, no_gate())..).take_while(move |name| name.0 == tenant)
    }

    fn set_due(&mut self, name: &GateName, at_ms: Option<i64>) {
        if let Some(old) = self.due_of.remove(name) {
            self.due.remove(&(old, name.clone()));
        }
        if let Some(at_ms) = at_ms {
            self.due_of.insert(name.clone(), at_ms);
            self.due.insert((at_ms, name.clone()));
        }
    }

    /// Whether any entry of a tenant asks for a share: now, or once the call for which it waits is heard here.
    fn may_come(&self, tenant: TenantId) -> bool {
        let is_open = self.open.range((tenant, no_gate())..).next().is_some_and(|name| name.0 == tenant);
        is_open || self.waits_for_share(tenant)
    }

    /// There is a share for whoever of a tenant comes first, at whichever gate.
    fn shared(&mut self, tenant: TenantId) {
        for name in self.unshared_of(tenant).cloned().collect::<Vec<_>>() {
            self.opened(name);
        }
    }

    /// Something has changed at a gate.
    pub fn opened(&mut self, name: GateName) {
        self.unshared.remove(&name);
        if self.entries.contains_key(&name) {
            self.open.insert(name);
        }
    }

    /// Gates whose time has come.
    pub fn tick(&mut self, now_ms: i64) {
        while let Some((at_ms, name)) = self.due.first().cloned() {
            if at_ms > now_ms {
                return;
            }
            self.set_due(&name, None);
            self.opened(name);
        }
    }
}

impl QueuePartition {
    /// Starts an entry of the queue, or holds it at the gate of its integration.
    pub(super) fn start_or_hold(&mut self, entry: Entry, ctx: &mut Ctx<'_, Self>) {
        let name = match &entry.gate {
            Some(gate) => (entry.tenant, gate.clone()),
            None if self.runtime.gates.bind(entry.tenant) => (entry.tenant, no_gate()),
            None => return self.start_entry(entry.run, entry.step, Passes::default()),
        };
        let run = entry.run;
        if let Some(first) = self.held.first(&name) {
            // Behind others of the same gate it takes its place. One that comes before them was called back.
            let comes_first = (entry.order, entry.run, entry.step) <= first;
            self.held.push(name.clone(), entry);
            if comes_first {
                self.held.opened(name);
            }
            return self.leave_if_done(run, ctx);
        }
        match self.runtime.gates.pass(&name, self.number, self.runtime.now_ms()) {
            Ok(passes) => self.start_entry(entry.run, entry.step, passes),
            Err(wait) => {
                self.held.push(name.clone(), entry);
                self.held.waits(&name, wait);
                self.pass_on(name.0);
                self.leave_if_done(run, ctx);
            }
        }
    }

    /// Starts one that may pass at a gate at which something has changed, or calls its run back. False: there is none.
    pub(super) fn start_held(&mut self) -> bool {
        loop {
            let Some(name) = self.held.open.first().cloned() else { return false };
            let Some((_, run, step)) = self.held.first(&name) else {
                self.held.open.remove(&name);
                self.pass_on(name.0);
                continue;
            };
            if !self.runs.contains_key(&run) {
                if self.to_load.len() >= self.free() {
                    // Those that were called back come first.
                    return false;
                }
                // Read again it queues what it wants, and takes its place here.
                self.held.pop(&name);
                self.want(run);
                return true;
            }
            match self.runtime.gates.pass(&name, self.number, self.runtime.now_ms()) {
                Err(wait) => {
                    self.held.open.remove(&name);
                    self.held.waits(&name, wait);
                    self.pass_on(name.0);
                }
                Ok(passes) => {
                    self.held.pop(&name);
                    self.start_entry(run, step, passes);
                    return true;
                }
            }
        }
    }

    /// Leaves a place to which this partition was called to others, once nobody is left here who asks for it.
    fn pass_on(&self, tenant: TenantId) {
        if self.runtime.gates.bind(tenant) && !self.held.may_come(tenant) {
            self.runtime.gates.pass_on(tenant, self.number);
        }
    }

    fn start_entry(&mut self, run: RunId, step: StepNo, passes: Passes) {
        let passes = if passes.is_empty() { Vec::new() } else { vec![(step, passes)] };
        self.deliver(run, Ask { passes, ..Ask::quiet(Command::Start { steps: vec![step] }) });
    }

    /// Keeps the passes of the steps that start; the others are given back.
    pub(super) fn keep_passes(&mut self, run: RunId, passes: Vec<(StepNo, Passes)>, effects: &[Effect]) {
        for (no, pass) in passes {
            if starts(effects, no) {
                self.passes.insert((run, no), pass);
            } else if let Some(share) = pass.share {
                share.unused();
            }
        }
    }

    /// Gives a run that was read again what its starts were to start with: those that were stored, which happen now, and
    /// those that it is told once more.
    pub(super) fn return_passes(
        &mut self,
        run: RunId,
        passes: Vec<(StepNo, Passes)>,
        stored: &[Effect],
        waiting: &mut VecDeque<Ask>,
    ) {
        let mut kept = Vec::new();
        for (no, pass) in passes {
            let is_told = |ask: &&mut Ask| matches!(&*ask.command, Command::Start { steps } if steps.contains(&no));
            if starts(stored, no) {
                kept.push((no, pass));
            } else if let Some(ask) = waiting.iter_mut().find(is_told) {
                ask.passes.push((no, pass));
            } else if let Some(share) = pass.share {
                share.unused();
            }
        }
        self.keep_passes(run, kept, stored);
    }

    /// Takes out what was kept for a run's starts.
    pub(super) fn take_passes(&mut self, run: RunId) -> Vec<(StepNo, Passes)> {
        let kept: Vec<StepNo> = self.passes.range((run, 0)..=(run, StepNo::MAX)).map(|((_, no), _)| *no).collect();
        kept.into_iter().filter_map(|no| Some((no, self.passes.remove(&(run, no))?))).collect()
    }

    /// Something has changed at the gate of an integration; or, without a name, there is a share for whoever waits for one.
    pub(super) fn gate_opened(&mut self, tenant: TenantId, name: Arc<str>) {
        if !name.is_empty() {
            return self.held.opened((tenant, name));
        }
        // Without a slot, or behind a commit that is heavy, nobody comes: they ask again once somebody may.
        let may = !self.draining && !self.outbox.is_heavy(self.runtime.settings.decision_bytes) && self.free() > 0;
        let comes = may && self.held.waits_for_share(tenant);
        self.held.shared(tenant);
        if !comes {
            self.runtime.gates.pass_on(tenant, self.number);
        }
    }
}

/// Whether one of these starts is the step's.
fn starts(effects: &[Effect], no: StepNo) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::StartAttempt { step, .. } if *step == no))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn somebody_comes_until_the_last_gate_of_a_tenant_was_asked() {
        let (own, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let mut held = Held::default();
        for (tenant, gate) in [(own, "crm"), (own, ""), (other, "crm")] {
            let gate: Arc<str> = gate.into();
            let run = RunId::new(1, 1 << 24);
            let entry = Entry { tenant, order: 1, run, step: 0, gate: Some(gate.clone()), turn: None };
            held.push((tenant, gate.clone()), entry);
            held.waits(&(tenant, gate), Wait { until_ms: None, is_share: true });
        }
        assert!(held.may_come(own), "the call is yet to be heard");
        held.shared(own);
        assert!(!held.waits_for_share(own) && held.may_come(own), "both gates are yet to be asked");
        let [crm, unnamed]: [GateName; 2] = [(own, "crm".into()), (own, no_gate())];
        assert!(held.open.remove(&unnamed) && held.may_come(own));
        assert!(held.open.remove(&crm) && !held.may_come(own));
        assert!(held.may_come(other));
    }
}
