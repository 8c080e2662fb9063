//! What limits hold, in the store in memory.

use core314_domain::ids::RunId;
use core314_domain::limits::Claim;

use super::memory_store::Rows;
use crate::ports::store::{LimitStage, LimitWrite, LimitedRun};

impl Rows {
    pub(super) fn limit(&mut self, run: RunId, partition: u16, limit: Option<Box<LimitWrite>>) {
        let Some(limit) = limit else { return };
        if limit.stage == LimitStage::Left {
            self.limited.remove(&run);
        } else {
            let holds = limit.stage == LimitStage::Holds;
            let claim = Claim::clone(&limit.claim);
            let row = LimitedRun { run, claim, since_ms: limit.since_ms, holds };
            self.limited.insert(run, (partition, row));
        }
        if let (Some((key, _)), Some(bucket)) = (&limit.claim.rate, limit.bucket) {
            self.buckets.insert((limit.claim.flow, key.clone()), (partition, bucket));
        }
    }
}
