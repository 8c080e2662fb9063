//! Roll-outs as people steer them: begun, looked at, promoted, returned.

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId};
use core314_domain::rollout::{RolloutStatus, RolloutTerms};
use serde_json::json;

use super::{Checked, Engine, SaveError, unexpected};
use crate::ports::catalog::{Rollout, RolloutState, StoredFlow};
use crate::ports::store::{FlowWrite, Outcome, RejectCode, RolloutChange, RolloutWrite, Write};
use crate::ports::{Scope, StoreError};
use crate::rollouts;

/// What is rolled out.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// A version that is stored.
    Version(i64),
    /// A new one, saved in the commit that begins its roll-out, so that no run gets it before.
    Document(Box<FlowDocument>),
}

/// Why a roll-out did not begin or end. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RolloutError {
    #[error("there is no such flow")]
    NoFlow,
    #[error("the flow has no version {0}")]
    NoVersion(i64),
    #[error("no roll-out of this flow is running")]
    NotRunning,
    /// End the running one first.
    #[error("a roll-out of version {0} is running: promote or return it first")]
    Running(i64),
    /// Mend the terms: (field, message).
    #[error("{}", .0.iter().map(|(field, message)| format!("{field}: {message}")).collect::<Vec<_>>().join("; "))]
    Terms(Vec<(String, String)>),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// A flow's newest roll-out, running or ended.
    pub async fn rollout(&self, scope: Scope, flow: FlowId) -> Result<Option<RolloutState>, StoreError> {
        self.runtime().catalog.rollout(scope, flow).await
    }

    /// Gives a version to a share of the flow's new runs. `base` is for the others: by default the present version, or the
    /// one before where the present one is rolled out.
    pub async fn begin_rollout(
        &self,
        owner: Owner,
        flow: FlowId,
        candidate: Candidate,
        base: Option<i64>,
        terms: RolloutTerms,
        by: String,
    ) -> Result<RolloutState, RolloutError> {
        check_terms(&terms)?;
        let stored = self.flow(Scope::Tenant(owner.tenant), flow).await?.ok_or(RolloutError::NoFlow)?;
        let (version, document) = match candidate {
            Candidate::Version(version) => (version, None),
            Candidate::Document(document) => (stored.version + 1, Some(*document)),
        };
        let before = if version == stored.version { version - 1 } else { stored.version };
        let base = base.unwrap_or(before);
        for wanted in [Some(base), document.is_none().then_some(version)].into_iter().flatten() {
            let found = self.runtime().catalog.flow_version(flow, wanted).await?;
            found.filter(|found| found.owner.tenant == owner.tenant).ok_or(RolloutError::NoVersion(wanted))?;
        }
        if base == version {
            let message = "must be another version than the one that is rolled out".to_owned();
            return Err(RolloutError::Terms(vec![("base_version".to_owned(), message)]));
        }
        let rollout = Rollout {
            id: self.row_id(),
            owner: Owner { tenant: owner.tenant, ..stored.owner },
            flow,
            candidate: version,
            base,
            terms,
            status: RolloutStatus::Running,
            reason: None,
            started_at_ms: self.now_ms(),
            ended_at_ms: None,
        };
        let audit = self.rollout_audit(&rollout, &stored, by.clone());
        let change = RolloutChange::Begin(Box::new(rollout));
        let write = if let Some(document) = document {
            self.check_flow(Some(owner.tenant), &document)
                .await
                .map_err(SaveError::Store)?
                .and_then(Checked::complete)
                .map_err(SaveError::Invalid)?;
            let write = self.flow_write(flow, stored.version, owner, document, by);
            Write::Flow(Box::new(FlowWrite { rollout: Some(change), audit, ..write }))
        } else {
            Write::Rollout(Box::new(RolloutWrite { tenant: owner.tenant, change, audit }))
        };
        let outcome = self.commit_and_forget(write, owner.tenant, flow).await?;
        match outcome {
            Outcome::Committed { .. } => self.found(owner, flow).await,
            Outcome::Conflict => Err(match self.running_rollout(owner, flow).await? {
                Some(running) => RolloutError::Running(running.rollout.candidate),
                None => SaveError::Conflict.into(),
            }),
            Outcome::Rejected { code: RejectCode::NameTaken, .. } => Err(SaveError::NameTaken.into()),
            other => Err(unexpected(other).into()),
        }
    }

    /// Ends the running roll-out of a flow: `Promoted` gives the candidate to all new runs, `Returned` the base.
    pub async fn end_rollout(
        &self,
        owner: Owner,
        flow: FlowId,
        status: RolloutStatus,
        by: String,
    ) -> Result<RolloutState, RolloutError> {
        let state = self.running_rollout(owner, flow).await?.ok_or(RolloutError::NotRunning)?;
        let reason = format!("by {by}");
        let (runtime, writer) = (self.runtime(), &self.inner.writer);
        match rollouts::end(runtime, writer, &state, status, reason, by).await? {
            Outcome::Committed { .. } => self.found(owner, flow).await,
            Outcome::Conflict => Err(SaveError::Conflict.into()),
            other => Err(unexpected(other).into()),
        }
    }

    /// The running roll-out of a flow of this owner's tenant.
    pub async fn running_rollout(&self, owner: Owner, flow: FlowId) -> Result<Option<RolloutState>, StoreError> {
        let found = self.rollout(Scope::Tenant(owner.tenant), flow).await?;
        Ok(found.filter(|state| state.rollout.status == RolloutStatus::Running))
    }

    async fn found(&self, owner: Owner, flow: FlowId) -> Result<RolloutState, RolloutError> {
        let found = self.rollout(Scope::Tenant(owner.tenant), flow).await?;
        found.ok_or_else(|| StoreError::Corrupt("a roll-out that was just stored is gone".to_owned()).into())
    }

    fn rollout_audit(&self, rollout: &Rollout, flow: &StoredFlow, by: String) -> AuditEntry {
        let name = &flow.document.flow_name;
        AuditEntry {
            summary: format!(
                "version {} of '{name}' is given to {} % of its runs",
                rollout.candidate, rollout.terms.percent
            ),
            details: json!({"rollout_id": RowId(rollout.id.0), "version": rollout.candidate,
                "base_version": rollout.base, "terms": rollout.terms}),
            ..self.entry(AuditEvent::RolloutStarted, rollout.owner, by, ("flow", rollout.flow.0))
        }
    }

    /// Refuses a change of what a flow does while two versions of it share its runs: whoever ends the roll-out would undo
    /// it unseen. Whether it is active may change.
    pub(super) async fn check_no_rollout(
        &self,
        owner: Owner,
        flow: FlowId,
        document: &FlowDocument,
    ) -> Result<(), SaveError> {
        let Some(running) = self.running_rollout(owner, flow).await? else { return Ok(()) };
        let stored = self.flow(Scope::Tenant(owner.tenant), flow).await?.ok_or(SaveError::NotFound)?;
        let same = FlowDocument { is_active: stored.document.is_active, flow_version: None, ..document.clone() };
        if same == (FlowDocument { flow_version: None, ..stored.document }) {
            return Ok(());
        }
        Err(SaveError::RolloutRunning(running.rollout.candidate))
    }
}

fn check_terms(terms: &RolloutTerms) -> Result<(), RolloutError> {
    let told = terms.problems().into_iter().map(|(field, message)| (field.to_owned(), message.to_owned()));
    let mut problems: Vec<(String, String)> = told.collect();
    if let Err(error) = terms.key_expression() {
        problems.push(("key".to_owned(), error.to_string()));
    }
    if problems.is_empty() { Ok(()) } else { Err(RolloutError::Terms(problems)) }
}
