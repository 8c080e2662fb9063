//! What people settle in the store in memory: flows deleted, dead letters dealt with.

use super::memory_store::Rows;
use crate::ports::catalog::StoredFlow;
use crate::ports::store::{DeadLetter, FlowDeletion, Outcome, Settlement};

impl Rows {
    pub(super) fn delete_flow(&mut self, deletion: FlowDeletion) -> Outcome {
        let own = |versions: &Vec<StoredFlow>| versions.iter().all(|flow| flow.owner.tenant == deletion.tenant);
        if self.flows.get(&deletion.id).is_none_or(|versions| !own(versions)) {
            return Outcome::NotFound;
        }
        self.flows.remove(&deletion.id);
        self.schedules.0.remove(&deletion.id);
        self.audit.push(deletion.audit);
        Outcome::Committed { log_seq: None }
    }

    pub(super) fn settle(&mut self, settlement: Settlement) -> Outcome {
        let known = |letter: &DeadLetter| letter.id == settlement.id && letter.owner.tenant == settlement.tenant;
        if !self.dead_letters.iter().any(known) {
            return Outcome::NotFound;
        }
        self.dead_letters.retain(|letter| !known(letter));
        self.audit.push(settlement.audit);
        Outcome::Committed { log_seq: None }
    }
}
