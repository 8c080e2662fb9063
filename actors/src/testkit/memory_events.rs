//! What the store in memory keeps of events that runs wait for.

use std::collections::{BTreeMap, BTreeSet};

use core314_domain::document;
use core314_domain::ids::{RowId, RunId, StepNo, TenantId};

use super::memory_store::Rows;
use crate::ports::event::{DeliveryPlace, EventDelivery, NewEvent};
use crate::ports::store::{RunWrite, WaitWrite};

/// The rows of waits and events.
#[derive(Debug, Default, Clone)]
pub struct Events {
    /// What open waits wait for: the tenant, the type and the key.
    pub waits: BTreeMap<(RunId, StepNo), (TenantId, String, String)>,
    pub kept: BTreeMap<RowId, NewEvent>,
    pub deliveries: BTreeSet<DeliveryPlace>,
    pub taken: BTreeSet<(RunId, RowId)>,
}

impl Rows {
    pub(super) fn keep_event(&mut self, new: &NewEvent) {
        let events = &mut self.events;
        let is_open = |id: &RowId| events.deliveries.iter().any(|place| place.0 == *id);
        let old: Vec<RowId> =
            events.kept.values().filter(|e| e.at_ms < new.oldest_ms && !is_open(&e.id)).map(|e| e.id).collect();
        old.iter().for_each(|id| drop(events.kept.remove(id)));
        if events.kept.values().any(|kept| kept.tenant == new.tenant && kept.name == new.name) {
            return;
        }
        let wanted = (new.tenant, new.kind.clone(), new.key.clone());
        let told = events.waits.iter().filter(|(_, what)| **what == wanted).map(|(at, _)| (new.id, at.0, at.1));
        events.deliveries.extend(told);
        events.kept.insert(new.id, new.clone());
        let same = |kept: &&NewEvent| (kept.tenant, &kept.kind, &kept.key) == (new.tenant, &new.kind, &new.key);
        let same: Vec<RowId> = events.kept.values().filter(same).map(|kept| kept.id).collect();
        for id in same.iter().rev().skip(new.most as usize) {
            if !events.deliveries.iter().any(|place| place.0 == *id) {
                events.kept.remove(id);
            }
        }
    }

    pub(super) fn told_of_event(&mut self, place: &DeliveryPlace) {
        self.events.deliveries.remove(place);
    }

    /// What changes about a run's waits, as [`WaitWrite`] says it.
    pub(super) fn wait_for_events(&mut self, write: &RunWrite) {
        for wait in &write.waits {
            match wait {
                WaitWrite::Opened { step, kind, key, since_ms, but } => {
                    let (events, wanted) = (&mut self.events, (write.tenant, kind.to_string(), key.clone()));
                    let counts = |e: &&NewEvent| {
                        (e.tenant, e.kind.as_str(), e.key.as_str()) == (wanted.0, &*wanted.1, &*wanted.2)
                            && e.at_ms >= *since_ms
                            && but.as_ref() != Some(&e.name)
                            && !events.taken.contains(&(write.id, e.id))
                    };
                    let told = events.kept.values().filter(counts).map(|e| (e.id, write.id, *step));
                    events.deliveries.extend(told.collect::<Vec<_>>());
                    events.waits.insert((write.id, *step), wanted);
                }
                WaitWrite::Closed { step, taken } => {
                    self.events.waits.remove(&(write.id, *step));
                    self.events.deliveries.retain(|place| (place.1, place.2) != (write.id, *step));
                    self.events.taken.extend(taken.map(|event| (write.id, event)));
                }
                WaitWrite::Over => {
                    self.events.waits.retain(|(run, _), _| *run != write.id);
                    self.events.deliveries.retain(|place| place.1 != write.id);
                    self.events.taken.retain(|(run, _)| *run != write.id);
                }
            }
        }
    }

    pub(super) fn event_deliveries(&self, after: Option<DeliveryPlace>, limit: usize) -> Vec<EventDelivery> {
        let behind = self.events.deliveries.iter().filter(|place| after.is_none_or(|after| **place > after));
        let found = behind.filter_map(|(event, run, step)| {
            let content = self.events.kept.get(event)?.event.clone();
            let partition = self.runs.get(run)?.header.partition;
            Some(EventDelivery { event: *event, run: *run, step: *step, partition, content })
        });
        found.take(limit).collect()
    }

    pub(super) fn waited_events(&self, tenant: TenantId) -> BTreeSet<String> {
        let own = self.flows.values().flatten().filter(|flow| flow.owner.tenant == tenant);
        own.flat_map(|flow| document::waited_events(&flow.document)).collect()
    }
}
