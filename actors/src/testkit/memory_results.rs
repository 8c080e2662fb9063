//! The log of the store in memory, and what it gives back of results: a run's own, and those that may be used again.

use core314_domain::Json;
use core314_domain::ids::{FlowId, RunId, StepNo, TenantId};
use core314_domain::log::LogEntry;
use core314_domain::run::{CacheKey, Cached, Kept, LastAttempt};

use super::memory_store::Rows;
use crate::ports::StoreError;

impl Rows {
    /// Puts attempts into the log; answers with the number of the last.
    pub(super) fn append(&mut self, id: RunId, tenant: TenantId, partition: u16, log: Vec<LogEntry>) -> Option<i64> {
        let run = self.runs.get_mut(&id).expect("its state was stored before");
        let mut log_seq = None;
        for entry in log {
            let last = LastAttempt {
                step: entry.step,
                attempt: entry.attempt,
                is_final: entry.is_final,
                result: entry.result.clone().map(Kept::Here),
                error: entry.failure.as_ref().map(|f| f.message.clone()),
                reused_from: None,
            };
            run.attempts.retain(|attempt| attempt.step != entry.step || attempt.reused_from.is_some());
            run.attempts.push(last);
            let seq = self.log.iter().filter(|row| row.2 == partition).count() as i64 + 1;
            self.log.push((id, tenant, partition, seq, entry));
            log_seq = Some(seq);
        }
        log_seq
    }

    pub(super) fn results(&self, run: RunId, steps: &[StepNo]) -> Result<Vec<(StepNo, Json)>, StoreError> {
        let attempts = self.runs.get(&run).map_or(&[][..], |run| &run.attempts);
        let result = |step: &StepNo| match attempts.iter().find(|a| a.step == *step).and_then(|a| a.result.clone()) {
            Some(Kept::Here(result)) => Ok((*step, result)),
            _ => Err(StoreError::Corrupt(format!("step {step} has no result"))),
        };
        steps.iter().map(result).collect()
    }

    pub(super) fn found(&self, flow: FlowId, keys: Vec<CacheKey>, now_ms: i64) -> Vec<(CacheKey, Cached)> {
        let found = keys.into_iter().filter_map(|key| {
            let write = self.cached.get(&(flow, key)).filter(|write| write.expires_at_ms > now_ms)?;
            let (result, execution, stored_at_ms) = (write.result.clone(), write.execution, write.at_ms);
            Some((key, Cached { result, execution, stored_at_ms }))
        });
        found.collect()
    }

    pub(super) fn forget_expired(&mut self, now_ms: i64) -> usize {
        let before = self.cached.len();
        self.cached.retain(|_, write| write.expires_at_ms > now_ms);
        before - self.cached.len()
    }
}
