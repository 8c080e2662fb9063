//! The engine as the shell sees it: started once, asked by handlers and commands, drained at the end.

mod act;
mod circles;
mod consents;
mod escalations;
mod events;
mod integrations;
mod keys;
mod look;
mod named_flows;
mod names;
mod on_duty;
pub mod people;
mod replay;
mod rerun;
mod rollouts;
mod rotation;
mod rule_warnings;
mod schedules;
mod signals;
mod start;
mod threads;
mod webhooks;

use std::sync::{Arc, OnceLock};

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::document::warnings::{self, Neighbour};
use core314_domain::ids::{FlowId, Owner, TenantId};
use core314_domain::plan::Problem;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use crate::bulk::{BulkArgs, BulkDesk, BulkDriver};
use crate::commit_writer::{Writer, commit_one};
use crate::escalations::Desk;
use crate::feed::Feed;
use crate::ingress::{Ingress, Trigger, TriggerError, Triggered};
use crate::ports::bulk::BulkJobs;
use crate::ports::catalog::StoredFlow;
use crate::ports::store::{FlowWrite, Outcome, RejectCode, Write};
use crate::ports::{Scope, StoreError};
use crate::queue_partition::PartitionShared;
use crate::random::random;
use crate::relay::Starter;
use crate::runtime::Runtime;
use crate::schedules::{self as scheduling, Schedules, SchedulesMsg};
use crate::supervision::{ChildSpec, Ref, RestartError, Snapshot, Tree, Watchdog};

pub use act::{Restart, TellError, Verdict};
pub use consents::{Consent, ConsentError};
pub use escalations::{OnCallDraft, OverrideDraft, RuleDraft, RuleError, SilenceDraft};
pub use integrations::{ConnectError, IntegrationDraft, SecretChange, SecretDraft, SwitchError, Tested, Untested};
pub use keys::{KeyDraft, KeyError};
pub use look::{DryRun, DryStep};
pub use people::{ContactDraft, MemberDraft, PeopleError};
pub use replay::{Against, ManyReplays, Replay, ReplayError};
pub use rerun::{Rerun, RerunError};
pub use rollouts::{Candidate, RolloutError};
pub use rotation::{RotationBatch, RotationPlace};
pub use schedules::{Backfill, Backfilled, ScheduleError};
pub use signals::{DecisionDraft, MetricDraft, RecommendationDraft, SignalError, VerdictDraft};
pub use start::{Parts, Place, StartError};

/// A running engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) tree: Tree,
    /// Looks for actors that make no progress, as long as it lives.
    pub(crate) _watchdog: Watchdog,
    pub(crate) writer: Writer,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) starter: Arc<Starter>,
    pub(crate) schedules: Ref<Schedules>,
    pub(crate) partitions: Vec<Arc<PartitionShared>>,
    /// How many more rows of deliveries may wait for their commit.
    pub(crate) delivery_credits: Arc<Semaphore>,
    /// Turns true once the engine stops: whoever waits for an end is answered.
    pub(crate) stopping: watch::Sender<bool>,
    /// How many more runs may be replayed at once.
    pub(crate) replay_credits: Arc<Semaphore>,
    /// Jobs that tell many runs the same; absent where nobody keeps them.
    pub(crate) bulk: OnceLock<Arc<BulkDesk>>,
    /// What has failed and who is told; absent where nobody keeps rules.
    pub(crate) escalation: OnceLock<Arc<Desk>>,
    /// Who is told, and how; absent where nobody keeps people.
    pub(crate) people: OnceLock<people::People>,
}

/// Why something was not saved. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SaveError {
    /// Mend the document.
    #[error("the flow has {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    /// Choose another name, or change the flow that has it.
    #[error("there is a flow of this name already")]
    NameTaken,
    /// Read it again: somebody else has changed it.
    #[error("it was changed by somebody else: read it again")]
    Conflict,
    #[error("there is no such flow")]
    NotFound,
    /// End the roll-out first: two versions of the flow share its runs.
    #[error("a roll-out of version {0} is running: promote or return it first")]
    RolloutRunning(i64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A document that can be saved.
#[derive(Debug)]
pub struct Checked {
    /// What is legal, and surely not meant.
    pub warnings: Vec<Problem>,
    /// What its actions name and the tenant does not have yet: it is saved, and is not active until that is there.
    pub missing: Vec<Problem>,
}

impl Checked {
    /// Its warnings where it can run at once, else what is missing.
    pub fn complete(self) -> Result<Vec<Problem>, Vec<Problem>> {
        if self.missing.is_empty() { Ok(self.warnings) } else { Err(self.missing) }
    }
}

/// Whether a flow is to be active and cannot be yet. One with parameters starts nothing anyway, and is checked again when
/// they are filled in.
pub fn is_held(checked: &Checked, document: &FlowDocument) -> bool {
    document.is_active && document.parameters.is_empty() && !checked.missing.is_empty()
}

/// Whether a flow is switched on or off, and nothing else of it changes.
fn is_switched(stored: &FlowDocument, document: &FlowDocument) -> bool {
    stored.is_active != document.is_active
        && FlowDocument { is_active: document.is_active, ..stored.clone() } == *document
}

/// What is missing, with what to do about it.
fn advised(missing: Vec<Problem>) -> impl Iterator<Item = Problem> {
    missing.into_iter().map(|problem| {
        let message = format!(
            "{}: the flow stays inactive until it is there; add the integration (`core314 integration add`), then resume \
             the flow",
            problem.message
        );
        Problem { message, ..problem }
    })
}

/// A flow to save.
#[derive(Debug, Clone)]
pub struct FlowDraft {
    pub owner: Owner,
    pub document: FlowDocument,
    /// Who saves it, for the audit log: `user:ID` or `service:ID`.
    pub by: String,
}

impl Engine {
    /// Takes a trigger: answers when its run is durable. An event is also kept for the runs that wait for it.
    pub async fn trigger(&self, trigger: Trigger) -> Result<Triggered, TriggerError> {
        self.keep_event(&trigger).await?;
        self.begin(trigger).await
    }

    /// The same of an event; also whether it was kept for runs that wait for its like.
    pub async fn take_event(&self, trigger: Trigger) -> Result<(Triggered, bool), TriggerError> {
        let is_kept = self.keep_event(&trigger).await?;
        Ok((self.begin(trigger).await?, is_kept))
    }

    async fn begin(&self, trigger: Trigger) -> Result<Triggered, TriggerError> {
        let triggered = self.inner.ingress.trigger(trigger).await;
        if let Ok(Triggered::Accepted(run) | Triggered::Repeated(run)) = &triggered {
            // Leads from the request's log lines and span to the run, whose own trace begins here.
            tracing::Span::current().record("run_id", tracing::field::display(run.run));
        }
        triggered
    }

    /// Checks a document without saving it. Without a tenant there is no integration that it could name.
    pub async fn check_flow(
        &self,
        tenant: Option<TenantId>,
        document: &FlowDocument,
    ) -> Result<Result<Checked, Vec<Problem>>, StoreError> {
        let known = self.known_of(tenant).await?;
        let examined = self.inner.runtime.plans.examine(document, &known);
        Ok(examined.map(|(plan, missing)| Checked { warnings: plan.warnings, missing }))
    }

    /// What is legal in a document and surely not meant: in itself, and among the flows of a tenant. `id` is absent for a
    /// new flow.
    pub async fn warnings(
        &self,
        tenant: Option<TenantId>,
        id: Option<FlowId>,
        document: &FlowDocument,
    ) -> Result<Vec<Problem>, StoreError> {
        let mut found = warnings::warnings(document);
        if let Ok(Checked { warnings, missing }) = self.check_flow(tenant, document).await? {
            found.extend(warnings.into_iter().chain(advised(missing)));
        }
        found.extend(self.untold_channels(tenant, document).await?);
        let Some(tenant) = tenant else { return Ok(found) };
        found.extend(self.missing_secrets(tenant, document).await?);
        found.extend(self.missing_schedules(tenant, document).await?);
        let catalog = &self.inner.runtime.catalog;
        let others = catalog.active_flows(tenant, document.trigger_type).await?;
        let others: Vec<Neighbour<'_>> =
            others.iter().map(|flow| Neighbour { id: flow.id, document: &flow.document }).collect();
        found.extend(warnings::shadows(id, document, &others));
        found.extend(self.circle(tenant, id, document).await?.map(|told| Problem::new("/trigger_config/flow", told)));
        if let Some(fallback) = document.fallback_flow_id
            && catalog.flow(Scope::Tenant(tenant), fallback).await?.is_none()
        {
            found.push(Problem::new("/fallback_flow_id", "there is no such flow yet"));
        }
        if document.fallback_flow_id.is_some_and(|fallback| id == Some(fallback)) {
            let message = "it takes over from itself, until engine.max_chain_depth ends that";
            found.push(Problem::new("/fallback_flow_id", message));
        }
        found.extend(self.missing_flows(tenant, id, document).await?);
        Ok(found)
    }

    /// Saves a new flow, as version 1.
    pub async fn create_flow(&self, draft: FlowDraft) -> Result<StoredFlow, SaveError> {
        let id = FlowId::new(self.inner.runtime.now_ms(), random());
        self.save_flow(id, 0, draft).await
    }

    /// Saves a changed flow as its next version; `expected_version` is the one that was read.
    pub async fn update_flow(
        &self,
        id: FlowId,
        expected_version: i64,
        draft: FlowDraft,
    ) -> Result<StoredFlow, SaveError> {
        self.save_flow(id, expected_version, draft).await
    }

    async fn save_flow(
        &self,
        id: FlowId,
        expected_version: i64,
        mut draft: FlowDraft,
    ) -> Result<StoredFlow, SaveError> {
        let stored = match expected_version {
            0 => None,
            _ => Some(self.flow(Scope::Tenant(draft.owner.tenant), id).await?.ok_or(SaveError::NotFound)?),
        };
        let stored = stored.as_ref().map(|stored| &stored.document);
        let checked = self.check_draft(stored, &draft).await?;
        if is_held(&checked, &draft.document) {
            if stored.is_some_and(|stored| !stored.is_active) {
                // That is what was asked for: to save it inactive would look like success.
                return Err(SaveError::Invalid(advised(checked.missing).collect()));
            }
            draft.document.is_active = false;
        }
        if expected_version > 0 {
            self.check_no_rollout(draft.owner, id, &draft.document).await?;
        }
        let write = self.flow_write(id, expected_version, draft.owner, draft.document.clone(), draft.by);
        let (version, now_ms) = (expected_version + 1, write.at_ms);
        let outcome = self.commit_and_forget(Write::Flow(Box::new(write)), draft.owner.tenant, id).await?;
        match outcome {
            Outcome::Committed { .. } => {
                Ok(StoredFlow { id, owner: draft.owner, version, document: draft.document, created_at_ms: now_ms })
            }
            Outcome::Rejected { code: RejectCode::NameTaken, .. } => Err(SaveError::NameTaken),
            Outcome::Conflict => Err(SaveError::Conflict),
            other => Err(SaveError::Store(unexpected(other))),
        }
    }

    /// Checks what is to be saved. A document that is only switched on or off was checked when it was written: what is
    /// refused since then keeps nobody from it, least of all from stopping a flow.
    async fn check_draft(&self, stored: Option<&FlowDocument>, draft: &FlowDraft) -> Result<Checked, SaveError> {
        let document = &draft.document;
        let is_switched = stored.is_some_and(|stored| is_switched(stored, document));
        if is_switched && !document.is_active {
            return Ok(Checked { warnings: Vec::new(), missing: Vec::new() });
        }
        let known = self.known_of(Some(draft.owner.tenant)).await?;
        let plans = &self.inner.runtime.plans;
        let examined =
            if is_switched { plans.examine_stored(document, &known) } else { plans.examine(document, &known) };
        let (plan, missing) = examined.map_err(SaveError::Invalid)?;
        Ok(Checked { warnings: plan.warnings, missing })
    }

    /// The write of a flow's next version.
    fn flow_write(
        &self,
        id: FlowId,
        expected_version: i64,
        owner: Owner,
        document: FlowDocument,
        by: String,
    ) -> FlowWrite {
        let version = expected_version + 1;
        let event = if expected_version == 0 { AuditEvent::FlowCreated } else { AuditEvent::FlowUpdated };
        let summary = format!("{} '{}', version {version}", event.as_str().replace('_', " "), document.flow_name);
        let audit = AuditEntry {
            summary,
            details: json!({"flow_version": version}),
            ..self.entry(event, owner, by, ("flow", id.0))
        };
        let at_ms = self.now_ms();
        let schedule = scheduling::plan(&document, id, at_ms);
        FlowWrite { id, owner, expected_version, document, schedule, by: owner.user, at_ms, rollout: None, audit }
    }

    /// An entry of the audit log on what a person did.
    pub(crate) fn entry(
        &self,
        event: AuditEvent,
        owner: Owner,
        by: String,
        (subject_type, subject): (&'static str, uuid::Uuid),
    ) -> AuditEntry {
        AuditEntry {
            owner,
            partition: 0,
            event,
            actor: by,
            subject_type,
            subject_id: Some(subject),
            decision_event_id: None,
            summary: event.as_str().replace('_', " "),
            details: json!({}),
            at_ms: self.inner.runtime.now_ms(),
        }
    }

    /// The time of day.
    pub fn now_ms(&self) -> i64 {
        self.inner.runtime.now_ms()
    }

    /// A flow in its present version.
    pub async fn flow(&self, scope: Scope, id: FlowId) -> Result<Option<StoredFlow>, StoreError> {
        self.inner.runtime.catalog.flow(scope, id).await
    }

    /// Drives bulk jobs from now on, those that an earlier process left among them.
    pub fn drive_bulk(&self, jobs: Arc<dyn BulkJobs>) -> Result<(), StartError> {
        let desk = self.inner.bulk.get_or_init(|| Arc::new(BulkDesk::new(jobs))).clone();
        let args = BulkArgs { engine: Arc::downgrade(&self.inner), desk: desk.clone() };
        let started = self.inner.tree.root().start_child::<BulkDriver>(ChildSpec::new("bulk"), args);
        started.map(|driver| desk.is_driven_by(driver)).map_err(|e| StartError::Actors(e.to_string()))
    }

    pub(crate) fn bulk_desk(&self) -> Result<Arc<BulkDesk>, StoreError> {
        let desk = self.inner.bulk.get().cloned();
        desk.ok_or_else(|| StoreError::Unavailable("this node drives no bulk jobs".to_owned()))
    }

    /// Every live actor.
    pub fn actors(&self) -> Vec<Snapshot> {
        self.inner.tree.registry().snapshots()
    }

    /// Restarts an actor.
    pub fn restart_actor(&self, path: &str) -> Result<(), RestartError> {
        self.inner.tree.registry().restart(path)
    }

    /// What the engine shares with those who measure it.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.inner.runtime
    }

    /// Where committed changes are told: to publish some, or to listen.
    pub fn feed(&self) -> &Feed {
        &self.inner.runtime.feed
    }

    /// Each partition's figures.
    pub fn partitions(&self) -> &[Arc<PartitionShared>] {
        &self.inner.partitions
    }

    /// How many more triggers could wait for their commit.
    pub fn free_credits(&self) -> usize {
        self.inner.ingress.free_credits()
    }

    /// Commits one write that belongs to no run.
    pub(crate) async fn commit(&self, write: Write) -> Result<Outcome, StoreError> {
        self.commit_then(write, || {}).await
    }

    /// Commits a change of the tenant's flows; what is cached of them is forgotten, whether the caller still waits or not.
    async fn commit_and_forget(&self, write: Write, tenant: TenantId, flow: FlowId) -> Result<Outcome, StoreError> {
        let (runtime, schedules) = (self.inner.runtime.clone(), self.inner.schedules.clone());
        let then = move || {
            runtime.plans.forget(tenant);
            // An actor that is restarting reads everything anyway.
            let _ = schedules.tell_urgent(SchedulesMsg::Changed(flow));
        };
        self.commit_then(write, then).await
    }

    async fn commit_then(&self, write: Write, then: impl FnOnce() + Send + 'static) -> Result<Outcome, StoreError> {
        commit_one(&self.inner.writer, &self.inner.runtime.io, write, then).await
    }
}

pub(crate) fn unexpected(outcome: Outcome) -> StoreError {
    match outcome {
        Outcome::Rejected { message, .. } => StoreError::Refused(message),
        Outcome::Fenced => StoreError::Unavailable("this node no longer owns the partition".to_owned()),
        other => StoreError::Corrupt(format!("the store answered {other:?}")),
    }
}
