//! Whether what has failed comes of an escalation. It starts no flow of the type `escalation` then, whatever stands in
//! between (a chain of flows, a sub-flow, a repetition): what is done because something failed must not, failing, be done
//! again for its own sake.

use core314_domain::ids::RunId;
use core314_domain::words::TriggerType;
use serde_json::Value;

use super::Starter;
use crate::ports::StoreError;
use crate::ports::signal::Occurrence;

/// Runs above one that are looked at: chains and nesting are bounded far below. What stands under more starts nothing.
const MOST_RUNS: usize = 64;

impl Starter {
    /// Whether an event is about a run that an escalation started, or about one that such a run has brought about.
    pub(super) async fn is_circle(&self, occurrence: &Occurrence, event: &Value) -> Result<bool, StoreError> {
        let mut next: Option<RunId> = event["flow_run_id"].as_str().and_then(|id| id.parse().ok());
        for _ in 0..MOST_RUNS {
            let Some(run) = next else { return Ok(false) };
            let Some(stored) = self.runtime.store.load_runs(vec![run]).await?.pop() else { return Ok(false) };
            let header = &stored.header;
            if header.owner.tenant != occurrence.owner.tenant {
                return Ok(false);
            }
            if header.trigger_type == TriggerType::Escalation {
                return Ok(true);
            }
            next = header.parent_run_id;
        }
        Ok(true)
    }
}
