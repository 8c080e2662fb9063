//! Doing what a row says. Everything here is either a durable single execution under the row's own key, or may be done twice
//! without harm: a crash between the doing and its note repeats it.

use std::sync::Arc;

use core314_domain::document::FlowDocument;
use core314_domain::escalation::{LevelAction, MOST_CONTEXT_BYTES, bounded_to};
use core314_domain::ids::{FlowId, RunId};
use core314_domain::run::Command;
use core314_domain::words::{RunStatus, TriggerType};
use serde_json::json;

use super::{Desk, message};
use crate::engine::{FlowDraft, SaveError, SwitchError, TellError};
use crate::flow_run::Remark;
use crate::ingress::{IdempotencyRequest, Target, Trigger, TriggerError, Triggered};
use crate::ports::escalation::{OutboxKind, OutboxRow, StoredEscalation};
use crate::ports::{Scope, StoreError};

/// Live runs of a flow that one halt or resumption tells.
const MOST_RUNS: usize = 10_000;
/// How often a flow is read again that somebody else saves meanwhile.
const TRIES: usize = 5;

/// Bytes of what is added to the context that an action is given.
const OWN_BYTES: usize = 256;

/// What doing it has come to.
pub(super) enum Done {
    /// This run performs it: its end says how it went.
    Performs(RunId),
    /// It is done.
    Done,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDone {
    /// Try again later.
    #[error("{0}")]
    Later(String),
    #[error("{0}")]
    Never(String),
}

impl From<StoreError> for NotDone {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

impl Desk {
    /// Does what a row says.
    pub(super) async fn perform(&self, escalation: &StoredEscalation, row: &OutboxRow) -> Result<Done, NotDone> {
        if row.kind == OutboxKind::Notify {
            return self.execute(escalation, row, "send_notification", &row.channel).await;
        }
        match row.channel.parse::<LevelAction>() {
            Ok(LevelAction::HaltFlow) => self.set_active(escalation, row, false).await,
            Ok(LevelAction::ResumeFlow) => self.set_active(escalation, row, true).await,
            Ok(LevelAction::RunFlow) => {
                let flow = self.flow_named(escalation, row.target.as_deref().unwrap_or_default()).await?;
                self.run(escalation, row, Target::Flow(flow)).await
            }
            Ok(LevelAction::Retry) => self.retry(escalation).await,
            Ok(LevelAction::RollbackChanges) => self.roll_back(escalation).await,
            Ok(LevelAction::SwitchToBackup) => self.switch_to_backup(escalation, row).await,
            Ok(LevelAction::RetryWithFallback) => {
                let flow = self.own_flow(escalation).await?;
                let fallback = flow.document.fallback_flow_id.ok_or_else(|| {
                    NotDone::Never(format!("the flow '{}' has no fallback_flow_id", flow.document.flow_name))
                })?;
                self.run(escalation, row, Target::Flow(fallback)).await
            }
            Ok(LevelAction::Recover) => Err(NotDone::Never(
                "recover needs the self-healing engine, which this version does not have".to_owned(),
            )),
            Ok(LevelAction::NotifyUser | LevelAction::NotifyAdmin | LevelAction::PageOncall) => {
                Err(NotDone::Never(format!("'{}' is no action of its own", row.channel)))
            }
            Ok(LevelAction::CreateTicket) | Err(_) => {
                let action_type = message::action_type(&row.channel).unwrap_or(&row.channel).to_owned();
                self.execute(escalation, row, &action_type, row.target.as_deref().unwrap_or_default()).await
            }
        }
    }

    async fn execute(
        &self,
        escalation: &StoredEscalation,
        row: &OutboxRow,
        action_type: &str,
        target: &str,
    ) -> Result<Done, NotDone> {
        let document: FlowDocument =
            message::single(action_type, target, &row.payload).map_err(|e| NotDone::Never(e.to_string()))?;
        self.run(escalation, row, Target::Action(Arc::new(document))).await
    }

    /// Starts a run under the row's key: the same key starts it once.
    async fn run(&self, escalation: &StoredEscalation, row: &OutboxRow, target: Target) -> Result<Done, NotDone> {
        let by = format!("escalation:{}", escalation.id);
        // What an earlier release kept may be larger than a trigger may be.
        let most = MOST_CONTEXT_BYTES.min(self.runtime().settings.max_trigger_bytes.saturating_sub(OWN_BYTES));
        let mut context = bounded_to((*escalation.context).clone(), most);
        context["escalation_event_id"] = json!(escalation.id);
        context["escalation_level"] = json!(row.level);
        let trigger = Trigger {
            owner: escalation.owner,
            target,
            trigger_type: TriggerType::Escalation,
            source: by.as_str().into(),
            context: Arc::new(context),
            webhook: Arc::default(),
            triggered_by: by.as_str().into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            run_key: None,
            // A client's own key cannot hold a space.
            idempotency: Some(IdempotencyRequest { key: format!("escalation {}", row.key), body_hash: [0; 32] }),
        };
        match self.engine()?.trigger(trigger).await {
            Ok(Triggered::Accepted(run) | Triggered::Repeated(run)) => Ok(Done::Performs(run.run)),
            Ok(Triggered::NoMatch(_)) => Err(NotDone::Never("no flow takes it".to_owned())),
            Err(error) if error.is_passing() => Err(NotDone::Later(error.to_string())),
            Err(TriggerError::Invalid(problems)) => {
                let first = problems.first().map(|p| format!("{}: {}", p.pointer, p.message)).unwrap_or_default();
                Err(NotDone::Never(first))
            }
            Err(error) => Err(NotDone::Never(error.to_string())),
        }
    }

    /// Takes the run up again that has failed.
    async fn retry(&self, escalation: &StoredEscalation) -> Result<Done, NotDone> {
        let (run, status) = self.own_run(escalation).await?;
        if !status.is_terminal() || status == RunStatus::Completed {
            // It goes on already, or a crash came between the retry and its note.
            return Ok(Done::Performs(run));
        }
        self.tell_run(escalation, run, Command::Retry { step: None }).await
    }

    /// Takes back what the run did that has failed.
    async fn roll_back(&self, escalation: &StoredEscalation) -> Result<Done, NotDone> {
        let (run, status) = self.own_run(escalation).await?;
        match status {
            // By itself, or a crash came between the order and its note.
            RunStatus::Compensating | RunStatus::RolledBack => Ok(Done::Performs(run)),
            status if !status.is_terminal() => {
                Err(NotDone::Later("the run has not ended: what it did is taken back once it has".to_owned()))
            }
            _ => self.tell_run(escalation, run, Command::Rollback).await,
        }
    }

    async fn own_run(&self, escalation: &StoredEscalation) -> Result<(RunId, RunStatus), NotDone> {
        let run = escalation.run.ok_or_else(|| NotDone::Never("the event is about no run".to_owned()))?;
        let stored = self.engine()?.stored_run(Scope::Tenant(escalation.owner.tenant), run).await?;
        let stored = stored.ok_or_else(|| NotDone::Never("the run is gone".to_owned()))?;
        Ok((run, stored.state.status))
    }

    async fn tell_run(&self, escalation: &StoredEscalation, run: RunId, command: Command) -> Result<Done, NotDone> {
        let remark = Remark { by: Some(format!("escalation:{}", escalation.id).into()), ..Remark::default() };
        match self.engine()?.tell(Scope::Tenant(escalation.owner.tenant), run, command, remark).await {
            Ok(()) => Ok(Done::Performs(run)),
            Err(TellError::Busy | TellError::Store(_) | TellError::Skipped { .. } | TellError::RunKeyTaken(_)) => {
                Err(NotDone::Later("the run cannot be taken up again just now".to_owned()))
            }
            Err(error) => Err(NotDone::Never(error.to_string())),
        }
    }

    /// Lets the backup endpoint of an integration take over: the one that the action names, or else what has failed.
    async fn switch_to_backup(&self, escalation: &StoredEscalation, row: &OutboxRow) -> Result<Done, NotDone> {
        let failed = escalation.context.get("integration").and_then(serde_json::Value::as_str);
        let name = row.target.as_deref().or(failed).ok_or_else(|| {
            NotDone::Never(
                "the event is about no integration, and switch_to_backup names none as its target".to_owned(),
            )
        })?;
        let engine = self.engine()?;
        let known = engine.connections(escalation.owner.tenant).await?;
        let missing = || NotDone::Never(format!("there is no integration '{name}'"));
        let found = known.integration_named(name).ok_or_else(missing)?;
        match engine.switch_to_backup(found, &format!("escalation {}", escalation.id)).await {
            Ok(()) => Ok(Done::Done),
            Err(SwitchError::Store(error)) => Err(error.into()),
            Err(error) => Err(NotDone::Never(format!("integration '{name}': {error}"))),
        }
    }

    /// Pauses a flow and its runs, or lets both go on.
    async fn set_active(
        &self,
        escalation: &StoredEscalation,
        row: &OutboxRow,
        is_active: bool,
    ) -> Result<Done, NotDone> {
        let engine = self.engine()?;
        let id = match row.target.as_deref() {
            Some(name) => self.flow_named(escalation, name).await?,
            None => self.own_flow(escalation).await?.id,
        };
        let (scope, by) = (Scope::Tenant(escalation.owner.tenant), format!("escalation:{}", escalation.id));
        for tried in 0.. {
            let Some(flow) = engine.flow(scope, id).await? else {
                return Err(NotDone::Never("there is no such flow any more".to_owned()));
            };
            if flow.document.is_active == is_active {
                break;
            }
            let document = FlowDocument { is_active, ..flow.document };
            let draft = FlowDraft { owner: flow.owner, document, by: by.clone() };
            match engine.update_flow(id, flow.version, draft).await {
                Ok(_) => break,
                Err(SaveError::Conflict) if tried < TRIES => {}
                Err(SaveError::Store(error)) => return Err(error.into()),
                Err(error) => return Err(NotDone::Never(error.to_string())),
            }
        }
        let command = |by: &str| if is_active { Command::Resume } else { Command::Pause { by: by.into() } };
        for run in self.book.live_runs(escalation.owner.tenant, id, MOST_RUNS).await? {
            let remark = Remark { by: Some(by.as_str().into()), ..Remark::default() };
            match engine.tell(scope, run, command(&by), remark).await {
                // One that is paused, or has ended meanwhile, is as it should be.
                Ok(()) | Err(TellError::Refused(_) | TellError::NotFound) => {}
                Err(error) => return Err(NotDone::Later(error.to_string())),
            }
        }
        Ok(Done::Done)
    }

    async fn own_flow(&self, escalation: &StoredEscalation) -> Result<crate::ports::catalog::StoredFlow, NotDone> {
        let id = escalation.flow.ok_or_else(|| NotDone::Never("the event is about no flow".to_owned()))?;
        let found = self.engine()?.flow(Scope::Tenant(escalation.owner.tenant), id).await?;
        found.ok_or_else(|| NotDone::Never("there is no such flow any more".to_owned()))
    }

    async fn flow_named(&self, escalation: &StoredEscalation, name: &str) -> Result<FlowId, NotDone> {
        if let Ok(id) = name.parse() {
            return Ok(id);
        }
        let catalog = &self.runtime().catalog;
        let found = catalog.flow_by_name(escalation.owner.tenant, name.to_owned()).await?;
        found.map(|flow| flow.id).ok_or_else(|| NotDone::Never(format!("there is no flow '{name}'")))
    }

    /// Stops what is under way for an event that nobody needs any more.
    pub(super) async fn cancel(&self, escalation: &StoredEscalation, run: RunId) {
        let remark = Remark { by: Some(format!("escalation:{}", escalation.id).into()), ..Remark::default() };
        let command = Command::Cancel { reason: "the escalation was acknowledged or has ended".to_owned() };
        let told = match self.engine() {
            Ok(engine) => engine.tell(Scope::Tenant(escalation.owner.tenant), run, command, remark).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = told {
            // It has ended, or ends by itself: its row says how.
            tracing::debug!(%run, %error, "what was being sent could not be stopped");
        }
    }
}

/// For a row that is not to be done: nothing of a payload is kept in an error.
pub(super) fn short(text: &str) -> String {
    text.replace('\0', "\u{fffd}").chars().take(500).collect()
}
