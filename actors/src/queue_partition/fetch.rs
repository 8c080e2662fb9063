//! Reading results for runs that cannot decide without them: those of their own steps, and those of earlier runs.
//!
//! A run lets large results go, also such as are decided and not yet stored: none is read before the run's write under way
//! has ended.

use std::collections::BTreeMap;

use core314_domain::ids::RunId;
use core314_domain::run::RunHeader;

use super::{PartitionMsg, QueuePartition};
use crate::flow_run::{Brought, RunMsg, Wants};
use crate::ports::StoreError;
use crate::runtime::Runtime;
use crate::supervision::Ctx;

/// What an actor of a run wants.
pub struct Wanted {
    run: RunId,
    /// An actor that is gone wants nothing.
    generation: u32,
    wants: Wants,
}

impl QueuePartition {
    /// A run waits for results.
    pub(super) fn wants(&mut self, run: RunId, generation: u32, wants: Wants) {
        self.wanted.push(Wanted { run, generation, wants });
    }

    /// Reads what is wanted and can be read.
    pub(super) fn fetch(&mut self, ctx: &mut Ctx<'_, Self>) {
        if self.wanted.is_empty() || self.paging.is_paused() {
            return;
        }
        for wanted in std::mem::take(&mut self.wanted) {
            let Some(resident) = self.runs.get(&wanted.run).filter(|r| r.generation == wanted.generation) else {
                continue;
            };
            let Some(header) = resident.header.clone().filter(|_| resident.writes == 0) else {
                self.wanted.push(wanted);
                continue;
            };
            let (runtime, wants) = (self.runtime.clone(), wanted.wants.clone());
            let work = async move { read(&runtime, &header, wants).await };
            self.read(ctx, work, move |found| PartitionMsg::Brought { wanted, found });
        }
    }

    /// Results were read: the run goes on.
    pub(super) fn brought(&mut self, wanted: Wanted, found: Result<Brought, StoreError>, ctx: &mut Ctx<'_, Self>) {
        let Some(resident) = self.runs.get(&wanted.run).filter(|r| r.generation == wanted.generation) else { return };
        match found {
            Ok(found) => {
                if let Some((actor, _)) = &resident.actor {
                    // An actor that is gone is heard of as an exit; what it was told is told again then.
                    let _ = actor.tell_urgent(RunMsg::Brought(found));
                }
            }
            Err(error @ StoreError::Unavailable(_)) => {
                self.wanted.push(wanted);
                self.store_away(&error, ctx);
            }
            Err(error) => {
                self.drop_actor(wanted.run, ctx);
                self.unreadable(wanted.run, &error.to_string());
            }
        }
    }
}

async fn read(runtime: &Runtime, header: &RunHeader, wants: Wants) -> Result<Brought, StoreError> {
    let mut brought = Brought::default();
    if !wants.steps.is_empty() {
        brought.results = runtime.store.results(header.id, wants.steps).await?;
    }
    if !wants.keys.is_empty() {
        let (tenant, flow, now_ms) = (header.owner.tenant, header.flow.id, runtime.now_ms());
        let nothing: BTreeMap<_, _> = wants.keys.iter().map(|key| (*key, None)).collect();
        let found = runtime.store.cached(tenant, flow, wants.keys, now_ms).await?;
        brought.cached = nothing;
        brought.cached.extend(found.into_iter().map(|(key, cached)| (key, Some(cached))));
    }
    Ok(brought)
}
