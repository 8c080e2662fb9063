//! Running a run again from one of its steps: a new run, with what came before.

use std::collections::HashMap;
use std::sync::Arc;

use core314_domain::Json;
use core314_domain::ids::{RunId, StepNo};
use core314_domain::run::{Kept, LastAttempt, NoReuse};

use super::Engine;
use crate::ingress::{IdempotencyRequest, RunKey, Target, Trigger, TriggerError, Triggered, json_bytes};
use crate::ports::store::StoredRun;
use crate::ports::{Scope, StoreError};
use crate::sub_runs::SubRuns;

/// From where, and how.
#[derive(Debug, Clone)]
pub struct Rerun {
    /// The id of the step with which it begins.
    pub from_step: String,
    /// The version of the flow; absent: that of the run.
    pub version: Option<i64>,
    pub run_key: Option<RunKey>,
    /// `user:ID` or `service:KEY`.
    pub by: String,
    pub idempotency: Option<IdempotencyRequest>,
}

/// Why a run was not run again from a step. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RerunError {
    /// It does not exist, for this caller.
    #[error("there is no such run")]
    NotFound,
    /// Choose another step, or another way: the message says which.
    #[error(transparent)]
    Refused(#[from] NoReuse),
    /// Name a version that the flow has.
    #[error("the flow has no version {version}; its newest is {newest}")]
    NoSuchVersion { version: i64, newest: i64 },
    #[error("a single action has nothing before it: restart the run")]
    SingleAction,
    /// Begin earlier, so that less is taken over, or restart the run.
    #[error("the results that it would take over have {bytes} bytes; at most {limit} are taken over")]
    TooLarge { bytes: usize, limit: usize },
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Starts a new run from a step of one that has ended: what came before is taken over, and not done again.
    pub async fn rerun(&self, scope: Scope, run: RunId, again: Rerun) -> Result<Triggered, RerunError> {
        let runtime = &self.inner.runtime;
        let stored = self.stored_run(scope, run).await?.ok_or(RerunError::NotFound)?;
        let limit = runtime.settings.max_reused_bytes;
        let stored = self.with_results(stored).await?.map_err(|bytes| RerunError::TooLarge { bytes, limit })?;
        let header = stored.header.clone();
        if header.flow.is_single_action() {
            return Err(RerunError::SingleAction);
        }
        let newest = self.inner.ingress.named_flow(header.owner.tenant, header.flow.id).await?.flow.version;
        let version = again.version.unwrap_or(header.flow.version);
        if !(1..=newest).contains(&version) {
            return Err(RerunError::NoSuchVersion { version, newest });
        }
        let flow = runtime.plans.version(runtime.catalog.as_ref(), header.flow.id, version).await?;
        let log = stored.attempts.clone();
        let reuse = self.rehydrated(stored).await?.reuse(&log, &flow.plan, &again.from_step)?;
        let results = reuse.steps.values().filter_map(|reused| reused.outcome.as_ref()?.result.as_deref());
        let bytes = results.map(json_bytes).sum();
        if bytes > limit {
            return Err(RerunError::TooLarge { bytes, limit });
        }
        let trigger = Trigger {
            owner: header.owner,
            target: Target::Again { flow: header.flow.id, version, reuse: Arc::new(reuse) },
            trigger_type: header.trigger_type,
            source: SubRuns::source_again(&header),
            context: header.trigger_context,
            webhook: header.webhook,
            triggered_by: again.by.into(),
            decision_event_id: header.decision_event_id,
            recommendation_id: header.recommendation_id,
            parent_run_id: Some(run),
            run_key: again.run_key,
            idempotency: again.idempotency,
        };
        Ok(self.trigger(trigger).await?)
    }

    /// The run with the large results of its steps, or the bytes of these where they are more than may be taken over.
    pub(super) async fn with_results(&self, mut stored: StoredRun) -> Result<Result<StoredRun, usize>, StoreError> {
        let runtime = &self.inner.runtime;
        let away = |last: &LastAttempt| match last.result {
            Some(Kept::Away { bytes }) => Some((last.step, bytes)),
            Some(Kept::Here(_)) | None => None,
        };
        let (steps, sizes): (Vec<StepNo>, Vec<usize>) = stored.attempts.iter().filter_map(away).unzip();
        let bytes = sizes.into_iter().sum();
        if bytes > runtime.settings.max_reused_bytes {
            return Ok(Err(bytes));
        }
        if steps.is_empty() {
            return Ok(Ok(stored));
        }
        let mut found: HashMap<StepNo, Json> =
            runtime.store.results(stored.header.id, steps).await?.into_iter().collect();
        for last in stored.attempts.iter_mut().filter(|last| away(last).is_some()) {
            last.result = found.remove(&last.step).map(Kept::Here);
        }
        Ok(Ok(stored))
    }
}
