//! What limits hold, and what runs gather, in the store in memory.

use core314_domain::ids::RunId;
use core314_domain::limits::{Claim, Progress};

use super::memory_store::Rows;
use crate::ports::store::{GatherWrite, LimitStage, LimitWrite, LimitedRun, Outcome};

impl Rows {
    pub(super) fn limit(&mut self, run: RunId, partition: u16, limit: Option<Box<LimitWrite>>) {
        let Some(limit) = limit else { return };
        if limit.stage == LimitStage::Left {
            self.limited.remove(&run);
        } else {
            let holds = limit.stage == LimitStage::Holds;
            let gathers = match limit.stage {
                LimitStage::Gathers(progress) => Some(progress),
                _ => None,
            };
            let claim = Claim::clone(&limit.claim);
            let row = LimitedRun { run, claim, since_ms: limit.since_ms, holds, gathers };
            self.limited.insert(run, (partition, row));
        }
        if limit.stage == LimitStage::Left || limit.gathered.is_some() {
            self.brought.retain(|(of, _), _| *of != run);
        }
        if let (Some(header), Some(stored)) = (&limit.gathered, self.runs.get_mut(&run)) {
            stored.header = (**header).clone();
        }
        if let (Some((key, _)), Some(bucket)) = (&limit.claim.rate, limit.bucket) {
            self.buckets.insert((limit.claim.flow, key.clone()), (partition, bucket));
        }
    }

    pub(super) fn gather(&mut self, write: &GatherWrite) -> Outcome {
        if write.epoch != self.epoch {
            return Outcome::Fenced;
        }
        if let Some(wanted) = &write.idempotency
            && let Some((hash, answer)) = self.keys.get(&(write.tenant, wanted.key.clone()))
        {
            return Outcome::Duplicate { answer: answer.clone(), same_request: *hash == wanted.body_hash };
        }
        let Some(gathers) = self.limited.get_mut(&write.run).and_then(|(_, row)| row.gathers.as_mut()) else {
            return Outcome::NotFound;
        };
        if let Some(step) = &write.schedule
            && self.schedules.go_on((**step).clone()) == Outcome::Stale
        {
            return Outcome::Stale;
        }
        if let Some(wanted) = &write.idempotency {
            let known = (wanted.body_hash, wanted.answer.clone());
            self.keys.insert((write.tenant, wanted.key.clone()), known);
        }
        if self.brought.values().any(|(id, _)| *id == write.id) {
            return Outcome::Committed { log_seq: None };
        }
        if write.is_last_alone {
            self.brought.retain(|(run, no), _| *run != write.run || *no > write.no);
        }
        self.brought.insert((write.run, write.no), (write.id, write.brought.clone()));
        *gathers = Progress {
            count: gathers.count + 1,
            bytes: gathers.bytes + write.bytes,
            last_no: gathers.last_no.max(write.no),
            last_ms: gathers.last_ms.max(write.at_ms),
        };
        Outcome::Committed { log_seq: None }
    }
}
