//! The way in: from a trigger to a run that is durable.
//!
//! A trigger is matched against the tenant's flows, its payload bounded, and handed to a partition that this node
//! holds. The caller is answered once the run is committed, never before. How many may wait for their commit is
//! bounded; past that the caller is told to come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use core314_domain::Json;
use core314_domain::ids::{ExecutionId, FlowId, Owner, RowId, RunId, StepNo};
use core314_domain::run::{FlowRef, RunHeader, matching_scope};
use core314_domain::words::{ExecutionMode, RunStatus, TriggerType};
use tokio::sync::{Semaphore, oneshot};

use crate::failpoint;
use crate::plans::ReadyFlow;
use crate::ports::StoreError;
use crate::ports::store::Idempotency;
use crate::queue_partition::{Answer, NewRun, PartitionMsg, QueuePartition};
use crate::runtime::{Counters, Runtime};
use crate::supervision::Ref;

/// Something that wants a run.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub owner: Owner,
    /// This flow, whatever its conditions say; else the newest active flow whose trigger and conditions match.
    pub flow: Option<FlowId>,
    pub trigger_type: TriggerType,
    /// What the trigger says of itself.
    pub source: Arc<str>,
    pub context: Json,
    /// Headers and query of a webhook; null otherwise.
    pub webhook: Json,
    /// `user:ID`, `service:ID` or `webhook:ID`.
    pub triggered_by: Arc<str>,
    pub decision_event_id: Option<RowId>,
    pub recommendation_id: Option<RowId>,
    /// The caller's own name for the request.
    pub idempotency: Option<IdempotencyRequest>,
}

/// A caller's name for a request, and a digest of the request.
#[derive(Debug, Clone)]
pub struct IdempotencyRequest {
    pub key: String,
    pub body_hash: [u8; 32],
}

/// A run that was accepted, durably.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Accepted {
    pub run: RunId,
    pub flow_id: FlowId,
    pub flow_name: String,
    pub flow_version: i64,
    pub mode: ExecutionMode,
    pub executions: Vec<ExecutionId>,
    /// As far as the accept itself went.
    pub status: RunStatus,
}

/// What a trigger led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Triggered {
    Accepted(Accepted),
    /// The same request was accepted before.
    Repeated(Accepted),
    /// No active flow's trigger and conditions match; for each flow asked, why not.
    NoMatch(Vec<WhyNot>),
}

/// Why a flow was not started.
#[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct WhyNot {
    pub flow_id: FlowId,
    pub flow_name: String,
    /// The clause of its conditions that does not hold.
    pub clause: String,
}

/// Why a trigger was not taken. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TriggerError {
    /// Come back in a while.
    #[error("the runtime cannot take more work just now")]
    Busy { retry_after_seconds: u64 },
    /// The flow does not exist, for this caller.
    #[error("there is no such flow")]
    NoSuchFlow,
    /// The flow takes no triggers at the moment.
    #[error("flow '{0}' is not active")]
    Inactive(String),
    /// Change the flow: its condition cannot be evaluated on this trigger.
    #[error("the conditions of flow '{flow}' cannot be evaluated: {message}")]
    Condition { flow: String, message: String },
    /// Send less.
    #[error("the trigger has {bytes} bytes, at most {limit} are taken")]
    TooLarge { bytes: usize, limit: usize },
    /// Use another idempotency key.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// It could not be stored.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The way in.
pub struct Ingress {
    runtime: Arc<Runtime>,
    partitions: Vec<Ref<QueuePartition>>,
    next: AtomicU64,
    credits: Semaphore,
    closed: std::sync::atomic::AtomicBool,
}

impl Ingress {
    /// An open way in to these partitions.
    pub fn new(runtime: Arc<Runtime>, partitions: Vec<Ref<QueuePartition>>) -> Self {
        let credits = Semaphore::new(runtime.settings.max_pending_accepts);
        let closed = std::sync::atomic::AtomicBool::new(false);
        Self { runtime, partitions, next: AtomicU64::new(0), credits, closed }
    }

    /// Takes no more triggers: the node is stopping.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// How many more triggers could wait for their commit.
    pub fn free_credits(&self) -> usize {
        self.credits.available_permits()
    }

    /// The partition of a run.
    pub fn partition(&self, run: &RunHeader) -> Option<&Ref<QueuePartition>> {
        self.partitions.get(usize::from(run.partition))
    }

    /// The partition with this number.
    pub fn partition_numbered(&self, number: u16) -> Option<&Ref<QueuePartition>> {
        self.partitions.get(usize::from(number))
    }

    /// Takes a trigger: answers when its run is durable.
    pub async fn trigger(&self, trigger: Trigger) -> Result<Triggered, TriggerError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(TriggerError::Busy { retry_after_seconds: 5 });
        }
        let Ok(_credit) = self.credits.try_acquire() else {
            Counters::add(&self.runtime.counters.refused_busy, 1);
            return Err(TriggerError::Busy { retry_after_seconds: 1 });
        };
        self.check_size(&trigger)?;
        let flow = match trigger.flow {
            Some(id) => self.named_flow(&trigger, id).await?,
            None => match self.matching_flow(&trigger).await? {
                Ok(flow) => flow,
                Err(why_not) => return Ok(Triggered::NoMatch(why_not)),
            },
        };
        self.start(flow, trigger).await
    }

    fn check_size(&self, trigger: &Trigger) -> Result<(), TriggerError> {
        let limit = self.runtime.settings.max_trigger_bytes;
        let mut counter = ByteCounter(0);
        serde_json::to_writer(&mut counter, &*trigger.context).map_err(|e| TriggerError::Failed(e.to_string()))?;
        if counter.0 > limit { Err(TriggerError::TooLarge { bytes: counter.0, limit }) } else { Ok(()) }
    }

    async fn named_flow(&self, trigger: &Trigger, id: FlowId) -> Result<ReadyFlow, TriggerError> {
        let found = self.runtime.plans.current(self.runtime.catalog.as_ref(), trigger.owner.tenant, id).await?;
        let flow = found.ok_or(TriggerError::NoSuchFlow)?;
        if flow.is_active { Ok(flow) } else { Err(TriggerError::Inactive(flow.flow.name.to_string())) }
    }

    async fn matching_flow(&self, trigger: &Trigger) -> Result<Result<ReadyFlow, Vec<WhyNot>>, TriggerError> {
        let catalog = self.runtime.catalog.as_ref();
        let flows = self.runtime.plans.active(catalog, trigger.owner.tenant, trigger.trigger_type).await?;
        let scope =
            matching_scope(trigger.context.clone(), trigger.webhook.clone(), &trigger.owner, self.runtime.now_ms());
        let mut why_not = Vec::new();
        for flow in flows.iter() {
            let failing = flow
                .plan
                .condition
                .failing_clause(&scope)
                .map_err(|e| TriggerError::Condition { flow: flow.flow.name.to_string(), message: e.to_string() })?;
            match failing {
                None => return Ok(Ok(flow.clone())),
                Some(clause) => {
                    why_not.push(WhyNot { flow_id: flow.flow.id, flow_name: flow.flow.name.to_string(), clause });
                }
            }
        }
        Ok(Err(why_not))
    }

    async fn start(&self, flow: ReadyFlow, trigger: Trigger) -> Result<Triggered, TriggerError> {
        let number = (self.next.fetch_add(1, Ordering::Relaxed) % self.partitions.len() as u64) as u16;
        let header = Arc::new(self.header(&flow, &trigger, number));
        let accepted = accepted(&header, &flow);
        let idempotency = trigger.idempotency.map(|request| Idempotency {
            key: request.key,
            body_hash: request.body_hash,
            answer: serde_json::to_value(&accepted).expect("an answer has text keys"),
            expires_at_ms: header.accepted_at_ms + self.runtime.settings.idempotency_ttl_ms,
        });
        let (answer, heard) = oneshot::channel();
        let new = NewRun { header, plan: flow.plan, idempotency, answer };
        let partition = &self.partitions[usize::from(number)];
        if partition.tell(PartitionMsg::Accept(Box::new(new))).is_err() {
            Counters::add(&self.runtime.counters.refused_busy, 1);
            return Err(TriggerError::Busy { retry_after_seconds: 1 });
        }
        let patience = Duration::from_millis(self.runtime.settings.accept_timeout_ms);
        match tokio::time::timeout(patience, heard).await {
            Ok(Ok(answer)) => self.answered(answer, accepted),
            Ok(Err(_)) => Err(TriggerError::Failed("the run's partition was restarted; send it again".to_owned())),
            Err(_) => Err(TriggerError::Busy { retry_after_seconds: 5 }),
        }
    }

    fn answered(&self, answer: Answer, accepted: Accepted) -> Result<Triggered, TriggerError> {
        match answer {
            Answer::Committed => {
                failpoint::hit("accept.after");
                Counters::add(&self.runtime.counters.runs_accepted, 1);
                Ok(Triggered::Accepted(accepted))
            }
            Answer::Duplicate { same_request: false, .. } => Err(TriggerError::KeyReused),
            Answer::Duplicate { answer, .. } => serde_json::from_value(answer)
                .map(Triggered::Repeated)
                .map_err(|e| TriggerError::Failed(format!("the stored answer cannot be read: {e}"))),
            Answer::Refused(refusal) => Err(TriggerError::Failed(refusal.to_string())),
            Answer::NotFound => Err(TriggerError::Failed("the run was not stored".to_owned())),
            Answer::Failed(message) => Err(TriggerError::Failed(message)),
        }
    }

    fn header(&self, flow: &ReadyFlow, trigger: &Trigger, partition: u16) -> RunHeader {
        let now_ms = self.runtime.now_ms();
        RunHeader {
            id: self.runtime.run_id(),
            owner: trigger.owner,
            partition,
            flow: FlowRef::clone(&flow.flow),
            trigger_type: trigger.trigger_type,
            trigger_source: trigger.source.clone(),
            trigger_context: trigger.context.clone(),
            webhook: trigger.webhook.clone(),
            input: trigger.context.clone(),
            triggered_by: trigger.triggered_by.clone(),
            environment: self.runtime.environment.clone(),
            decision_event_id: trigger.decision_event_id,
            recommendation_id: trigger.recommendation_id,
            parent_run_id: None,
            idempotency_key: trigger.idempotency.as_ref().map(|i| i.key.as_str().into()),
            accepted_at_ms: now_ms,
            deadline_at_ms: flow.plan.deadline_ms.map(|ms| now_ms + ms),
        }
    }
}

fn accepted(header: &RunHeader, flow: &ReadyFlow) -> Accepted {
    Accepted {
        run: header.id,
        flow_id: flow.flow.id,
        flow_name: flow.flow.name.to_string(),
        flow_version: flow.flow.version,
        mode: flow.mode,
        executions: (0..flow.plan.steps.len() as StepNo).map(|no| header.id.execution(no)).collect(),
        status: if flow.plan.requires_approval { RunStatus::AwaitingApproval } else { RunStatus::Running },
    }
}

/// Counts what would be written.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
