//! Looking without touching: why a run waits, and what a trigger would do.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::Json;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{Owner, RunId};
use core314_domain::limits::{Hold, Limits, Terms, batch_of};
use core314_domain::plan::{FlowPlan, Problem};
use core314_domain::run::{Reason, Run, RunState, Waiting, matching_scope};
use core314_domain::words::RunStatus;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Engine, TellError};
use crate::clock::rfc3339;
use crate::gates::{Blocked, Full, NoShare};
use crate::ports::store::StoredRun;
use crate::ports::{Scope, StoreError};
use crate::queue_partition::PartitionMsg;

/// What a trigger would do, without doing it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DryRun {
    /// Whether the flow's conditions hold on this trigger.
    pub matches: bool,
    /// The clause that does not hold, or why the conditions cannot be evaluated.
    pub clause: Option<String>,
    /// The steps in their order.
    pub steps: Vec<DryStep>,
}

/// A step of a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DryStep {
    pub id: String,
    pub action_type: String,
    pub action_target: String,
    /// The steps that it waits for.
    pub inputs: Vec<String>,
    pub requires_approval: bool,
    /// What would be sent; null where it depends on the outputs of earlier steps.
    pub action_payload: Value,
    /// Why the payload is not known.
    pub unknown: Option<String>,
}

/// Says of a run that has not begun which limit holds it.
fn limited(reason: &mut Reason, hold: Hold) {
    let of_key = |key: &str| if key.is_empty() { "its flow".to_owned() } else { format!("key '{key}'") };
    reason.code = Waiting::Limit;
    match hold {
        Hold::Concurrency { key, max, holders, ahead } => {
            reason.message =
                format!("at most {max} run(s) of {} go at once; {ahead} wait before this one", of_key(&key));
            reason.held_by = holders.iter().map(ToString::to_string).collect();
        }
        Hold::Rate { key, at_ms, ahead } => {
            reason.message =
                format!("runs of {} start no faster than its rate; {ahead} wait before this one", of_key(&key));
            reason.held_by = vec![format!("rate:{key}")];
            reason.wakes_at_ms = at_ms.or(reason.wakes_at_ms);
        }
        Hold::Gathers { key, terms, count, at_ms } => {
            let until = match terms {
                Terms::Debounce { .. } => "it begins with the last of them when none has come for a while".to_owned(),
                Terms::Batch { max, .. } => {
                    format!("it begins with all of them when there are {max}, or its time is over")
                }
            };
            reason.message = format!("it gathers the triggers of {}, {count} so far; {until}", of_key(&key));
            reason.held_by = vec![format!("{}:{key}", terms.word())];
            reason.wakes_at_ms = Some(at_ms);
        }
    }
}

/// Says of a step that is due which limit of actions holds it, where one does.
fn unshared(reason: &mut Reason, blocked: Option<NoShare>) {
    let Some(NoShare { is_overall, full }) = blocked else { return };
    let (code, whose) = if is_overall {
        (Waiting::OverallLimit, "limit of all tenants together")
    } else {
        (Waiting::TenantLimit, "limit of the tenant")
    };
    let what = match full {
        Full::Concurrent { max } => format!("at most {max} actions are under way at once"),
        Full::Rate { per_second, until_ms } => {
            reason.wakes_at_ms = Some(until_ms);
            format!("actions start no faster than {per_second} a second")
        }
    };
    reason.code = code;
    reason.message = format!("{whose}: {what}");
    reason.held_by = vec![code.as_str().to_owned()];
}

impl Engine {
    /// Why a run of the caller's does not go on, and where it stands.
    pub async fn why(&self, scope: Scope, run: RunId) -> Result<(RunStatus, Vec<Reason>), TellError> {
        let run = self.run_as_stored(scope, run).await?;
        let status = run.state.status;
        let gates = self.inner.runtime.gates.names(run.header.owner.tenant);
        let mut reasons = run.why_among(self.now_ms(), gates.as_deref());
        if status == RunStatus::Pending
            && run.plan.limits.is_some()
            && let Some(hold) = self.hold(run.header.id, run.header.partition).await
            && let Some(begin) = reasons.iter_mut().find(|reason| reason.code == Waiting::Begin)
        {
            limited(begin, hold);
        }
        self.name_duty(&run, &mut reasons).await?;
        for reason in reasons.iter_mut().filter(|reason| reason.code == Waiting::Slot) {
            self.gated(&run, reason);
        }
        Ok((status, reasons))
    }

    /// A run of the caller's as it stands in the store.
    pub async fn run_as_stored(&self, scope: Scope, run: RunId) -> Result<Run, TellError> {
        let stored = self.stored_run(scope, run).await?.ok_or(TellError::NotFound)?;
        Ok(self.rehydrated(stored).await?)
    }

    /// A run that was read, with the plan of its version.
    pub(super) async fn rehydrated(&self, stored: StoredRun) -> Result<Run, StoreError> {
        let (runtime, flow) = (&self.inner.runtime, &stored.header.flow);
        let ready = runtime.plans.version(runtime.catalog.as_ref(), flow.id, flow.version).await?;
        let state = RunState::load(&stored.state).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(Run::rehydrate(Arc::new(stored.header), ready.plan, state, &stored.attempts))
    }

    /// What the limits of its flow hold a run back by, as its partition knows.
    async fn hold(&self, run: RunId, partition: u16) -> Option<Hold> {
        let (answer, heard) = oneshot::channel();
        let target = self.inner.ingress.partition_numbered(partition)?;
        target.tell(PartitionMsg::Hold { run, answer }).ok()?;
        let patience = Duration::from_millis(self.inner.runtime.settings.accept_timeout_ms);
        tokio::time::timeout(patience, heard).await.ok()?.ok()?
    }

    /// Says of a step that is due which limit or breaker of its integration holds it, or which limit of actions.
    fn gated(&self, run: &Run, reason: &mut Reason) {
        let Some((_, step)) = reason.execution_id.and_then(core314_domain::ids::ExecutionId::parts) else { return };
        let target = &run.step_plan(step).action_target;
        let name = (run.header.owner.tenant, target.clone());
        let (gates, now_ms) = (&self.inner.runtime.gates, self.now_ms());
        let Some(blocked) = gates.blocked(&name, now_ms) else {
            return unshared(reason, gates.share_blocked(name.0, now_ms));
        };
        reason.wakes_at_ms = blocked.until_ms();
        reason.held_by = vec![format!("integration:{target}")];
        (reason.code, reason.message) = match blocked {
            Blocked::Breaker { reason, until_ms } => {
                let next = until_ms.map_or_else(
                    || "it is asked again when a call under way has ended, or a person lets it go".to_owned(),
                    |at_ms| format!("it is asked again at {}", rfc3339(at_ms)),
                );
                (Waiting::Breaker, format!("the breaker of integration '{target}' is open: {reason}; {next}"))
            }
            Blocked::Patience { until_ms } => {
                let until = rfc3339(until_ms);
                (
                    Waiting::IntegrationLimit,
                    format!("integration '{target}' has asked for patience (429) until {until}"),
                )
            }
            Blocked::Concurrency { max } => {
                let message = format!("integration '{target}' takes at most {max} calls at once");
                (Waiting::IntegrationLimit, message)
            }
            Blocked::Rate { .. } => {
                (Waiting::IntegrationLimit, format!("calls to integration '{target}' start no faster than its rate"))
            }
        };
    }

    /// What a trigger of this document would do.
    pub async fn dry_run(
        &self,
        document: &FlowDocument,
        owner: &Owner,
        context: Json,
    ) -> Result<Result<DryRun, Vec<Problem>>, StoreError> {
        let known = self.known_of(Some(owner.tenant)).await?;
        match self.inner.runtime.plans.compile(document, &known) {
            Ok(plan) => Ok(Ok(self.dry(&plan, owner, context))),
            Err(problems) => Ok(Err(problems)),
        }
    }

    fn dry(&self, plan: &FlowPlan, owner: &Owner, context: Json) -> DryRun {
        let mut scope = matching_scope(context.clone(), Arc::default(), owner, self.now_ms());
        let clause = match plan.condition.failing_clause(&scope) {
            Ok(clause) => clause,
            Err(error) => Some(error.to_string()),
        };
        let is_batch = plan.limits.as_ref().and_then(Limits::terms).is_some_and(Terms::is_batch);
        scope.input = if is_batch { Arc::new(batch_of(vec![context.as_ref().clone()])) } else { context };
        scope.trigger = scope.input.clone();
        let name = |no: &u32| plan.steps[*no as usize].id.to_string();
        let steps = plan.steps.iter().map(|step| {
            let (action_payload, unknown) = match step.payload.render(&scope) {
                Ok(payload) => (self.shown(&step.action_type, payload), None),
                Err(error) => (Value::Null, Some(error.to_string())),
            };
            DryStep {
                id: step.id.to_string(),
                action_type: step.action_type.to_string(),
                action_target: step.action_target.to_string(),
                inputs: step.inputs.iter().map(name).collect(),
                requires_approval: step.requires_approval,
                action_payload,
                unknown,
            }
        });
        DryRun { matches: clause.is_none(), clause, steps: steps.collect() }
    }

    /// A payload as its executor would have it logged: without secrets.
    pub(super) fn shown(&self, action_type: &str, payload: Value) -> Value {
        match self.inner.runtime.executors.get(action_type) {
            Some(executor) => Arc::unwrap_or_clone(executor.logged(&Arc::new(payload))),
            None => payload,
        }
    }
}
