//! The way in: from a trigger to a run that is durable.
//!
//! A trigger is matched against the tenant's flows ([`matching`]), its payload bounded, and handed to a partition that
//! this node holds. The caller is answered once the run is committed, never before. How many may wait for their commit is
//! bounded; past that the caller is told to come back.

mod flows;
mod gathering;
mod matching;
mod size;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use core314_domain::Json;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{ExecutionId, FlowId, Owner, RowId, RunId, StepNo};
use core314_domain::limits::Claim;
use core314_domain::plan::Problem;
use core314_domain::run::{Command, FlowRef, Reuse, RunHeader};
use core314_domain::words::{ExecutionMode, RunStatus, TriggerType};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use flows::input;
pub(crate) use size::json_bytes;

use crate::bulkhead::{Bulkhead, is_small};
use crate::failpoint;
use crate::flow_run::{Accepting, Remark};
use crate::plans::ReadyFlow;
use crate::ports::StoreError;
use crate::ports::schedule::ScheduleMove;
use crate::ports::store::Idempotency;
use crate::queue_partition::{Answer, NewRun, PartitionMsg, PartitionShared, QueuePartition, claim_of};
use crate::runtime::{Counters, Runtime};
use crate::supervision::Ref;

/// Something that wants a run.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub owner: Owner,
    pub target: Target,
    pub trigger_type: TriggerType,
    /// What the trigger says of itself.
    pub source: Arc<str>,
    pub context: Json,
    /// Headers and query of a webhook; null otherwise.
    pub webhook: Json,
    /// As a run's header keeps it.
    pub triggered_by: Arc<str>,
    pub decision_event_id: Option<RowId>,
    pub recommendation_id: Option<RowId>,
    /// The run that this one repeats.
    pub parent_run_id: Option<RunId>,
    /// The caller's own name for the run.
    pub run_key: Option<RunKey>,
    /// The caller's own name for the request.
    pub idempotency: Option<IdempotencyRequest>,
}

/// What a trigger starts.
#[derive(Debug, Clone)]
pub enum Target {
    /// This flow, whatever its conditions say.
    Flow(FlowId),
    /// The same, in this version.
    Version(FlowId, i64),
    /// The active flows whose trigger and conditions match: the newest, and every one that says `match: all`.
    Matching,
    /// The same, for a delivery to the webhook of this name: it finds the flows that name it as their own, too.
    Delivered(Arc<str>),
    /// This flow, with what has started an earlier run of it.
    Restart(FlowId),
    /// This flow, if its trigger and conditions match.
    Only(FlowId),
    /// This flow, by its schedule, which goes on in the same commit.
    Scheduled(Box<ScheduleMove>),
    /// This flow in this version, from a step of an earlier run on.
    Again { flow: FlowId, version: i64, reuse: Arc<Reuse> },
    /// One action, without a flow.
    Action(Arc<FlowDocument>),
}

/// A caller's own name for a run, unique among the flow's live runs.
#[derive(Debug, Clone)]
pub struct RunKey {
    pub key: Arc<str>,
    pub on_conflict: OnConflict,
}

core314_domain::words! {
    /// What becomes of a trigger whose name a live run has.
    OnConflict { Return = "return", Reject = "reject", CancelRunning = "cancel_running" }
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
    /// The other flows that the same trigger starts. They are part of what a repetition is answered with, so that it
    /// starts those that a crash left out, and no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<FlowId>,
    /// Their runs.
    #[serde(skip)]
    pub others: Vec<Accepted>,
}

impl Accepted {
    /// The run, and those of the other flows that the same trigger started.
    pub fn runs(&self) -> impl Iterator<Item = RunId> {
        std::iter::once(self.run).chain(self.others.iter().map(|other| other.run))
    }
}

/// What a trigger led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Triggered {
    Accepted(Accepted),
    /// The same request was accepted before, or a live run has its name.
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
    /// Change the flow: its condition cannot be evaluated on this trigger, which starts no other flow either; for each flow
    /// that was asked, why not.
    #[error("the conditions of flow '{flow}' cannot be evaluated: {message}")]
    Condition { flow: String, message: String, why_not: Vec<WhyNot> },
    /// Send less.
    #[error("the trigger has {bytes} bytes, at most {limit} are taken")]
    TooLarge { bytes: usize, limit: usize },
    /// Mend what was filled in: pointers lead into the trigger's context.
    #[error("the flow's input_schema refuses the input: {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    InvalidInput(Vec<Problem>),
    /// Mend the flow or the trigger: the key of a limit cannot be computed.
    #[error("the limits of flow '{flow}' cannot be applied: {message}")]
    LimitKey { flow: String, message: String },
    /// Try again when one of these has ended: the flow's limit is full and takes no run that would wait.
    #[error("the limit of flow '{flow}' is full, and its strategy is to skip: {} run(s) hold it, the first is {}", holders.len(), first(holders))]
    Skipped { flow: String, holders: Vec<RunId> },
    /// Mend the action.
    #[error("the action has {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    /// Wait for the run that has this name, or use another one.
    #[error("run {0} has this name and has not ended")]
    RunKeyTaken(RunId),
    /// Use another idempotency key.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// It could not be stored.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How many runs of its name a trigger cancels before it gives up.
const MOST_CANCELLED: usize = 3;

/// The way in.
pub struct Ingress {
    runtime: Arc<Runtime>,
    partitions: Vec<Ref<QueuePartition>>,
    shared: Vec<Arc<PartitionShared>>,
    bulkhead: Bulkhead,
    credits: Semaphore,
    closed: std::sync::atomic::AtomicBool,
}

impl Ingress {
    /// An open way in to these partitions.
    pub fn new(runtime: Arc<Runtime>, partitions: Vec<Ref<QueuePartition>>, shared: Vec<Arc<PartitionShared>>) -> Self {
        let credits = Semaphore::new(runtime.settings.max_pending_accepts);
        let closed = std::sync::atomic::AtomicBool::new(false);
        let bulkhead = Bulkhead::new(partitions.len() as u16);
        Self { runtime, partitions, shared, bulkhead, credits, closed }
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
        let _credit = self.credits_for(1)?;
        self.check_size(&trigger)?;
        let flow = match &trigger.target {
            Target::Matching | Target::Delivered(_) | Target::Only(_) => return self.start_matching(&trigger).await,
            Target::Flow(id) | Target::Restart(id) => self.named_flow(trigger.owner.tenant, *id).await?,
            Target::Scheduled(step) => self.named_flow(trigger.owner.tenant, step.flow).await?,
            Target::Version(id, version) | Target::Again { flow: id, version, .. } => {
                self.flow_version(trigger.owner.tenant, *id, *version).await?
            }
            Target::Action(document) => self.action(trigger.owner, document).await?,
        };
        self.begin(&trigger, &flow, Vec::new()).await
    }

    /// Starts a run of this flow: answers when it is durable.
    async fn begin(&self, trigger: &Trigger, flow: &ReadyFlow, also: Vec<FlowId>) -> Result<Triggered, TriggerError> {
        let mut freed = 0;
        loop {
            let run = self.runtime.run_id();
            let flow = self.for_run(flow, trigger, run)?;
            let (new, accepted, heard) =
                self.new_run_in(run, self.place(trigger.owner, &flow, 1), &flow, trigger, also.clone())?;
            let partition = &self.partitions[usize::from(new.header.partition)];
            self.hand_over(partition, PartitionMsg::Accept(Box::new(new)))?;
            let answer = self.hear(heard).await?;
            match (answer, &trigger.run_key) {
                (Answer::RunKeyTaken(run), Some(named)) => match named.on_conflict {
                    OnConflict::Return => return self.existing(run).await.map(Triggered::Repeated),
                    OnConflict::CancelRunning if freed < MOST_CANCELLED => {
                        freed += 1;
                        self.cancel(run, &trigger.triggered_by).await?;
                    }
                    OnConflict::Reject | OnConflict::CancelRunning => return Err(TriggerError::RunKeyTaken(run)),
                },
                (answer, _) => return self.answered(answer, accepted),
            }
        }
    }

    /// Takes triggers of one flow, stored in one commit; an answer for each, in their order.
    pub async fn trigger_all(
        &self,
        triggers: Vec<Trigger>,
    ) -> Result<Vec<Result<Triggered, TriggerError>>, TriggerError> {
        let Some(first) = triggers.first() else { return Ok(Vec::new()) };
        let Target::Flow(id) = first.target else {
            return Err(TriggerError::Failed("many triggers at once are for one flow".to_owned()));
        };
        let _credits = self.credits_for(triggers.len() as u32)?;
        let flow = self.named_flow(first.owner.tenant, id).await?;
        let number = self.place(first.owner, &flow, triggers.len() as u32);
        let mut waiting = Vec::with_capacity(triggers.len());
        // Limits give each of their keys a home: then those of one home are stored in one commit.
        let mut homes: BTreeMap<u16, Vec<NewRun>> = BTreeMap::new();
        for trigger in &triggers {
            self.check_size(trigger)?;
            let run = self.runtime.run_id();
            let begun = self
                .for_run(&flow, trigger, run)
                .and_then(|flow| self.new_run_in(run, number, &flow, trigger, Vec::new()));
            waiting.push(begun.map(|(new, accepted, heard)| {
                homes.entry(new.header.partition).or_default().push(new);
                (accepted, heard)
            }));
        }
        for (home, all) in homes {
            self.hand_over(&self.partitions[usize::from(home)], PartitionMsg::AcceptAll(all))?;
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for (waited, trigger) in waiting.into_iter().zip(&triggers) {
            let (accepted, heard) = match waited {
                Ok(waited) => waited,
                Err(error) => {
                    answers.push(Err(error));
                    continue;
                }
            };
            let returns = trigger.run_key.as_ref().is_some_and(|named| named.on_conflict == OnConflict::Return);
            answers.push(match self.hear(heard).await {
                Ok(Answer::RunKeyTaken(run)) if returns => self.existing(run).await.map(Triggered::Repeated),
                Ok(answer) => self.answered(answer, accepted),
                Err(error) => Err(error),
            });
        }
        Ok(answers)
    }

    /// Room for so many runs that wait for their commit.
    fn credits_for(&self, count: u32) -> Result<SemaphorePermit<'_>, TriggerError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(TriggerError::Busy { retry_after_seconds: 5 });
        }
        self.credits.try_acquire_many(count).map_err(|_| self.refuse())
    }

    fn refuse(&self) -> TriggerError {
        Counters::add(&self.runtime.counters.refused_busy, 1);
        TriggerError::Busy { retry_after_seconds: 1 }
    }

    /// A run that was accepted before.
    async fn existing(&self, run: RunId) -> Result<Accepted, TriggerError> {
        let found = self.runtime.store.load_runs(vec![run]).await?.pop();
        let stored = found.ok_or_else(|| TriggerError::Failed("the run of this name is gone; send it again".into()))?;
        let flow = &stored.header.flow;
        let ready = self.runtime.plans.version(self.runtime.catalog.as_ref(), flow.id, flow.version).await?;
        Ok(Accepted { status: stored.state.status, ..accepted(&stored.header, &ready, Vec::new()) })
    }

    /// Cancels a run and waits for its end, as long as a trigger may wait.
    async fn cancel(&self, run: RunId, by: &Arc<str>) -> Result<(), TriggerError> {
        let ended = self.runtime.ends.wait(run.0);
        let Some(stored) = self.runtime.store.load_runs(vec![run]).await?.pop() else { return Ok(()) };
        if stored.state.status.is_terminal() {
            return Ok(());
        }
        let command = Box::new(Command::Cancel { reason: "a new run of the same name takes its place".to_owned() });
        let remark = Remark { by: Some(by.clone()), ..Remark::default() };
        let tell = PartitionMsg::Tell { run, command, remark, answer: None };
        self.hand_over(&self.partitions[usize::from(stored.header.partition)], tell)?;
        let patience = Duration::from_millis(self.runtime.settings.accept_timeout_ms);
        let heard = tokio::time::timeout(patience, ended).await;
        self.runtime.ends.forget(run.0);
        heard.map(drop).map_err(|_| TriggerError::RunKeyTaken(run))
    }

    /// A partition for so many new runs of this owner.
    fn place(&self, owner: Owner, flow: &ReadyFlow, runs: u32) -> u16 {
        let is_crowded = |number: u16| self.shared[usize::from(number)].ready.load(Ordering::Relaxed) > 0;
        self.bulkhead.place((owner.tenant, is_small(&flow.plan)), runs, self.runtime.now_ms(), is_crowded)
    }

    /// A run to accept, what its caller is told then, and where that is heard of.
    fn new_run_in(
        &self,
        run: RunId,
        partition: u16,
        flow: &ReadyFlow,
        trigger: &Trigger,
        also: Vec<FlowId>,
    ) -> Result<(NewRun, Accepted, oneshot::Receiver<Answer>), TriggerError> {
        let input = input(flow, trigger)?;
        let mut header = self.header(run, flow, trigger, input, partition);
        let bytes = gathering::shape(&mut header, flow, trigger)?;
        let refuse = |message| TriggerError::LimitKey { flow: flow.flow.name.to_string(), message };
        flow.plan.turn_of(&header).map_err(|error| refuse(error.to_string()))?;
        let claim = claim_of(&flow.plan, &header).map_err(refuse)?;
        if let (Some(limits), Some(claim)) = (&flow.plan.limits, &claim) {
            header.partition = limits.home(claim, self.partitions.len() as u16);
        }
        let claim = claim.map(|claim| Claim { gathers: claim.gathers.filter(|_| bytes.is_some()), ..claim });
        let header = Arc::new(header);
        let accepted = accepted(&header, flow, also);
        let idempotency = trigger.idempotency.as_ref().map(|request| Idempotency {
            key: request.key.clone(),
            body_hash: request.body_hash,
            answer: serde_json::to_value(&accepted).expect("an answer has text keys"),
            expires_at_ms: header.accepted_at_ms + self.runtime.settings.idempotency_ttl_ms,
        });
        let mut accepting = Accepting { idempotency, ..Accepting::default() };
        match &trigger.target {
            Target::Action(document) => accepting.definition = Some(document.clone()),
            Target::Scheduled(step) => {
                accepting.schedule = Some(Box::new(ScheduleMove { run: Some(header.id), ..ScheduleMove::clone(step) }));
            }
            Target::Again { reuse, .. } => accepting.reuse = Some(reuse.clone()),
            Target::Flow(_)
            | Target::Restart(_)
            | Target::Version(..)
            | Target::Matching
            | Target::Delivered(_)
            | Target::Only(_) => {}
        }
        let (answer, heard) = oneshot::channel();
        let (plan, claim, bytes) = (flow.plan.clone(), claim.map(Arc::new), bytes.unwrap_or(0));
        Ok((NewRun { header, plan, accepting, claim, bytes, answer }, accepted, heard))
    }

    fn hand_over(&self, partition: &Ref<QueuePartition>, msg: PartitionMsg) -> Result<(), TriggerError> {
        partition.tell(msg).map_err(|_| self.refuse())
    }

    async fn hear(&self, heard: oneshot::Receiver<Answer>) -> Result<Answer, TriggerError> {
        let patience = Duration::from_millis(self.runtime.settings.accept_timeout_ms);
        match tokio::time::timeout(patience, heard).await {
            Ok(Ok(answer)) => Ok(answer),
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
            Answer::Gathered { run } => Ok(Triggered::Accepted(accepted.joining(run))),
            Answer::Duplicate { same_request: false, .. } => Err(TriggerError::KeyReused),
            Answer::Duplicate { answer, .. } => serde_json::from_value(answer)
                .map(Triggered::Repeated)
                .map_err(|e| TriggerError::Failed(format!("the stored answer cannot be read: {e}"))),
            Answer::RunKeyTaken(run) => Err(TriggerError::RunKeyTaken(run)),
            Answer::Skipped { holders } => Err(TriggerError::Skipped { flow: accepted.flow_name, holders }),
            Answer::Crowded => Err(self.refuse()),
            Answer::Refused(refusal) => Err(TriggerError::Failed(refusal.to_string())),
            Answer::NotFound => Err(TriggerError::Failed("the run was not stored".to_owned())),
            Answer::Failed(message) => Err(TriggerError::Failed(message)),
        }
    }

    fn header(&self, run: RunId, flow: &ReadyFlow, trigger: &Trigger, input: Json, partition: u16) -> RunHeader {
        let now_ms = self.runtime.now_ms();
        RunHeader {
            id: run,
            owner: trigger.owner,
            partition,
            flow: FlowRef::clone(&flow.flow),
            trigger_type: trigger.trigger_type,
            trigger_source: trigger.source.clone(),
            trigger_context: trigger.context.clone(),
            webhook: trigger.webhook.clone(),
            input,
            triggered_by: trigger.triggered_by.clone(),
            environment: self.runtime.environment.clone(),
            decision_event_id: trigger.decision_event_id,
            recommendation_id: trigger.recommendation_id,
            parent_run_id: trigger.parent_run_id,
            run_key: trigger.run_key.as_ref().map(|named| named.key.clone()),
            idempotency_key: trigger.idempotency.as_ref().map(|i| i.key.as_str().into()),
            accepted_at_ms: now_ms,
            deadline_at_ms: flow.plan.deadline_ms.map(|ms| now_ms + ms),
        }
    }
}

fn accepted(header: &RunHeader, flow: &ReadyFlow, also: Vec<FlowId>) -> Accepted {
    Accepted {
        run: header.id,
        flow_id: flow.flow.id,
        flow_name: flow.flow.name.to_string(),
        flow_version: flow.flow.version,
        mode: flow.mode,
        executions: (0..flow.plan.fixed as StepNo).map(|no| header.id.execution(no)).collect(),
        status: match flow.plan.limits {
            // It may have started, or wait: that is for its row to say.
            Some(_) => RunStatus::Pending,
            None if header.needs_approval(&flow.plan) => RunStatus::AwaitingApproval,
            None => RunStatus::Running,
        },
        also,
        others: Vec::new(),
    }
}

fn first(holders: &[RunId]) -> String {
    holders.first().map_or_else(|| "unknown".to_owned(), ToString::to_string)
}
