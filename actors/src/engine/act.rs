//! What people do to what there is: tell runs, delete flows, review attempts, settle dead letters.
//!
//! Everything here is written to the audit log in the same commit, with whoever did it.

use std::time::Duration;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{FlowId, LogId, Owner, RowId, RunId, UserId};
use core314_domain::run::{Command, Refusal};
use serde_json::json;
use uuid::Uuid;

use super::{Engine, SaveError, unexpected};
use crate::flow_run::Remark;
use crate::ingress::{Target, Trigger, TriggerError, Triggered};
use crate::ports::store::{FlowDeletion, Outcome, Review, Settlement, StoredRun, Write};
use crate::ports::{Scope, StoreError};
use crate::sub_runs::SubRuns;

/// Why a run was not told something.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TellError {
    /// It does not exist, for this caller.
    #[error("there is no such run")]
    NotFound,
    /// Look at the run: it is not in a state in which this could be done.
    #[error(transparent)]
    Refused(Refusal),
    /// Wait for the run that has its name: a name is unique among the flow's live runs.
    #[error("run {0} has this run's run_key and has not ended")]
    RunKeyTaken(RunId),
    /// Try again when one of these has ended: the flow's limit is full and takes no run that would wait.
    #[error("the flow's limit is full, and its strategy is to skip: {} run(s) hold it", holders.len())]
    Skipped { holders: Vec<RunId> },
    /// Come back in a while.
    #[error("the runtime is busy: try again")]
    Busy,
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Takes triggers of one flow, stored in one commit; an answer for each, in their order.
    pub async fn trigger_all(
        &self,
        triggers: Vec<Trigger>,
    ) -> Result<Vec<Result<Triggered, TriggerError>>, TriggerError> {
        self.inner.ingress.trigger_all(triggers).await
    }

    /// A run as stored, if the caller may see it.
    pub async fn stored_run(&self, scope: Scope, run: RunId) -> Result<Option<StoredRun>, StoreError> {
        let found = self.inner.runtime.store.load_runs(vec![run]).await?.pop();
        Ok(found.filter(|stored| match scope {
            Scope::Platform => true,
            Scope::Tenant(tenant) => stored.header.owner.tenant == tenant,
        }))
    }

    /// Tells a run of the caller's something, and waits until it is durable.
    pub async fn tell(&self, scope: Scope, run: RunId, command: Command, remark: Remark) -> Result<(), TellError> {
        let stored = self.stored_run(scope, run).await?.ok_or(TellError::NotFound)?;
        let command = self.with_duty(&stored, command).await?;
        self.inner.ingress.tell(stored.header.partition, run, command, remark).await
    }

    /// Waits for the end of a run or an execution. `ended` looks whether it has ended already: it is asked once, after
    /// the wait has begun, so that an end in between is not missed. False when the time is over first, or the engine stops.
    pub async fn wait_for_end<E>(
        &self,
        id: Uuid,
        patience: Duration,
        ended: impl Future<Output = Result<bool, E>>,
    ) -> Result<bool, E> {
        let ends = &self.inner.runtime.ends;
        let heard = ends.wait(id);
        let ended = ended.await;
        if !matches!(ended, Ok(false)) {
            drop(heard);
            ends.forget(id);
            return ended;
        }
        let mut stopping = self.inner.stopping.subscribe();
        let in_time = tokio::select! {
            biased;
            heard = heard => heard.is_ok(),
            _ = stopping.wait_for(|is_stopping| *is_stopping) => false,
            () = tokio::time::sleep(patience) => false,
        };
        ends.forget(id);
        Ok(in_time)
    }

    /// Starts a run anew, with what started it, on its flow as it is now.
    pub async fn restart(&self, scope: Scope, run: RunId, again: Restart) -> Result<Triggered, TriggerError> {
        let stored = self.stored_run(scope, run).await?.ok_or(TriggerError::NoSuchFlow)?;
        let header = stored.header;
        let target = if header.flow.is_single_action() {
            let found = self.inner.runtime.catalog.flow_version(header.flow.id, header.flow.version).await?;
            let flow = found.ok_or_else(|| StoreError::Corrupt(format!("run {run} has lost its definition")))?;
            Target::Action(std::sync::Arc::new(flow.document))
        } else {
            Target::Restart(header.flow.id)
        };
        let trigger = Trigger {
            owner: header.owner,
            target,
            trigger_type: header.trigger_type,
            source: SubRuns::source_again(&header),
            context: header.trigger_context,
            webhook: header.webhook,
            triggered_by: again.by.into(),
            decision_event_id: header.decision_event_id,
            recommendation_id: header.recommendation_id,
            parent_run_id: Some(run),
            run_key: None,
            idempotency: again.idempotency,
        };
        self.trigger(trigger).await
    }

    /// Deletes a flow. Its live runs go on with the versions that they have.
    pub async fn delete_flow(&self, owner: Owner, id: FlowId, by: String) -> Result<(), SaveError> {
        let audit = self.entry(AuditEvent::FlowDeleted, owner, by, ("flow", id.0));
        let write = Write::DeleteFlow(Box::new(FlowDeletion { id, tenant: owner.tenant, audit }));
        saved(self.commit_and_forget(write, owner.tenant, id).await?)
    }

    /// Notes a person's verdict on an attempt of the log.
    pub async fn review(&self, owner: Owner, log: LogId, verdict: Verdict, by: String) -> Result<(), SaveError> {
        let runtime = &self.inner.runtime;
        let audit = AuditEntry {
            details: json!({"verdict": verdict.verdict}),
            ..self.entry(AuditEvent::ExecutionReviewed, owner, by, ("execution_log", log.0))
        };
        let review = Review {
            id: runtime.row_id(),
            tenant: owner.tenant,
            log,
            reviewer: verdict.reviewer,
            verdict: verdict.verdict,
            notes: verdict.notes,
            audit,
            at_ms: runtime.now_ms(),
        };
        saved(self.commit(Write::Review(Box::new(review))).await?)
    }

    /// Settles a dead letter: `retried` or `discarded`.
    pub async fn settle(&self, owner: Owner, id: RowId, how: &'static str, by: String) -> Result<(), SaveError> {
        let audit = AuditEntry {
            details: json!({"settlement": how}),
            ..self.entry(AuditEvent::DeadLetterSettled, owner, by, ("dead_letter", id.0))
        };
        let at_ms = self.inner.runtime.now_ms();
        let settlement = Settlement { id, tenant: owner.tenant, how, audit, at_ms };
        saved(self.commit(Write::SettleDeadLetter(Box::new(settlement))).await?)
    }
}

/// Who starts a run anew.
#[derive(Debug, Clone)]
pub struct Restart {
    /// `user:ID` or `service:KEY`.
    pub by: String,
    pub idempotency: Option<crate::ingress::IdempotencyRequest>,
}

/// What a person says of an attempt.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub reviewer: UserId,
    pub verdict: String,
    pub notes: Option<String>,
}

fn saved(outcome: Outcome) -> Result<(), SaveError> {
    match outcome {
        Outcome::Committed { .. } => Ok(()),
        Outcome::NotFound => Err(SaveError::NotFound),
        Outcome::Conflict => Err(SaveError::Conflict),
        other => Err(SaveError::Store(unexpected(other))),
    }
}
