//! Runs that steps of other runs start, and wait for.
//!
//! A step asks, after its commit, for its run to be started; the run's idempotency key is the step's execution id and the
//! number of its attempt, so that asking again finds the same run, and doing the step again after that has ended starts
//! another. When a run ends that a step started, that step is told. Neither message is durable: a step that has heard
//! nothing asks again after a while, with the run's id where it has heard of that.
//!
//! A step that is cancelled wants its run to end, and asks for that likewise until it has heard of the end. What it asked
//! for before may still be on its way: a run is started only for a step that waits for it, and none is taken for not
//! started while that is being done.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use core314_domain::Json;
use core314_domain::expr::Output;
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use core314_domain::limits::{Limits, Terms};
use core314_domain::plan::SubFlowRef;
use core314_domain::run::step::{Step, StepStatus};
use core314_domain::run::{Command, Run, RunHeader, RunState, SubRunNews};
use core314_domain::words::{RunStatus, TriggerType};
use tokio::sync::{Semaphore, mpsc};

use crate::engine::{Inner, TellError};
use crate::flow_run::Remark;
use crate::ingress::{Accepted, IdempotencyRequest, Target, Trigger, TriggerError, Triggered};
use crate::plans::computed;
use crate::ports::StoreError;
use crate::queue_partition::PartitionMsg;

/// How many requests may wait; one that finds no place is made again by its step.
const MAX_WAITING: usize = 10_000;
/// How many are worked on at once.
const AT_ONCE: usize = 64;
/// How deep runs may start runs.
const MAX_DEPTH: usize = 16;
/// What the source of such a run begins with; its step's execution id follows.
const SOURCE: &str = "sub_flow:";

/// What is wanted.
#[derive(Debug)]
pub enum SubRunMsg {
    Start(Box<StartRun>),
    /// A run that a step has started is to end.
    Stop(Box<StopRun>),
    /// A run has ended that a step started.
    Ended(Arc<RunHeader>),
}

/// A run that a step wants.
#[derive(Debug)]
pub struct StartRun {
    pub parent: Arc<RunHeader>,
    pub step: StepNo,
    /// The step's present attempt.
    pub attempt: u32,
    /// The run, where the step has heard of it before.
    pub known: Option<RunId>,
    pub flow: SubFlowRef,
    pub version: Option<i64>,
    pub input: Json,
}

/// A run that a step has started and does not want any more.
#[derive(Debug)]
pub struct StopRun {
    pub parent: Arc<RunHeader>,
    pub step: StepNo,
    /// The step's present attempt.
    pub attempt: u32,
    /// The run, where the step has heard of it before.
    pub known: Option<RunId>,
}

/// Where partitions leave their requests.
#[derive(Debug, Clone)]
pub struct SubRuns {
    requests: mpsc::Sender<SubRunMsg>,
    /// The steps whose runs are being started: at most as many as are worked on at once.
    starting: Arc<Mutex<HashSet<ExecutionId>>>,
}

/// A step's run is being started.
struct Starting {
    all: Arc<Mutex<HashSet<ExecutionId>>>,
    execution: ExecutionId,
}

impl Drop for Starting {
    fn drop(&mut self) {
        locked(&self.all).remove(&self.execution);
    }
}

fn locked(all: &Mutex<HashSet<ExecutionId>>) -> MutexGuard<'_, HashSet<ExecutionId>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SubRuns {
    /// A place for requests, and its other end for [`work`].
    pub fn new() -> (Self, mpsc::Receiver<SubRunMsg>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self { requests: sender, starting: Arc::default() }, receiver)
    }

    /// Leaves a request. One that finds no place is lost: its step asks again.
    pub fn ask(&self, msg: SubRunMsg) {
        if self.requests.try_send(msg).is_err() {
            tracing::warn!("too many runs of steps wait to be started: their steps ask again in a while");
        }
    }

    /// Whoever starts a step's run holds this meanwhile; `None` where somebody does already.
    fn begin(&self, execution: ExecutionId) -> Option<Starting> {
        let is_first = locked(&self.starting).insert(execution);
        is_first.then(|| Starting { all: self.starting.clone(), execution })
    }

    fn is_starting(&self, execution: ExecutionId) -> bool {
        locked(&self.starting).contains(&execution)
    }

    /// The source of a run that repeats this one. No step waits for it, whoever started the first.
    pub fn source_again(header: &RunHeader) -> Arc<str> {
        if Self::is_sub_run(header) { TriggerType::Manual.as_str().into() } else { header.trigger_source.clone() }
    }

    /// Whether a run was started by a step.
    pub fn is_sub_run(header: &RunHeader) -> bool {
        header.trigger_source.starts_with(SOURCE)
    }
}

/// Whether a step still wants the run that it asked for: it may have been cancelled since.
fn still_waits(step: Option<&Step>, attempt: u32) -> bool {
    let live = step.filter(|step| step.status == StepStatus::Waiting).and_then(|step| step.live.as_deref());
    live.is_some_and(|live| live.attempt == attempt && !live.cancelled)
}

/// Whether it was cancelled. One that does not wait any more because it has heard of its run was not.
fn is_cancelled(step: Option<&Step>) -> bool {
    let is_told = |step: &Step| step.live.as_deref().is_some_and(|live| live.cancelled);
    step.is_some_and(|step| step.status == StepStatus::Cancelled || is_told(step))
}

/// What becomes of a live run that its step does not want any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    Cancel,
    /// It takes back what it has done: cut short, half of that would stay. Its end is waited for.
    Await,
    /// Others' triggers are behind it too: it is not the step's to cancel, and goes on without it.
    LeaveAlone,
}

/// `is_own`: whether the step's trigger began it, which says nothing of what it has gathered since, or may gather yet. A batch
/// keeps the source of its first trigger, whoever else is in it.
fn stopping(state: &RunState, is_own: bool, limits: Option<&Limits>) -> Stopping {
    let is_batch = limits.and_then(Limits::terms).is_some_and(Terms::is_batch);
    if !is_own || is_batch || state.is_gathering {
        return Stopping::LeaveAlone;
    }
    if state.status == RunStatus::Compensating { Stopping::Await } else { Stopping::Cancel }
}

/// The name of the request for a step's run.
fn key_of(execution: ExecutionId, attempt: u32) -> String {
    if attempt == 0 { format!("{SOURCE}{execution}") } else { format!("{SOURCE}{execution}:{attempt}") }
}

/// Works on requests until the engine is gone.
pub(crate) async fn work(engine: Weak<Inner>, mut requests: mpsc::Receiver<SubRunMsg>) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(msg) = requests.recv().await {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Some(engine) = engine.upgrade() else { return };
        tokio::spawn(async move {
            let _slot = slot;
            let done = match msg {
                SubRunMsg::Start(start) => engine.start_sub_run(*start).await,
                SubRunMsg::Stop(stop) => engine.stop_sub_run(&stop).await,
                SubRunMsg::Ended(header) => engine.tell_parent(&header).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "a step could not be told of its run: it asks again in a while");
            }
        });
    }
}

impl Inner {
    async fn start_sub_run(&self, start: StartRun) -> Result<(), StoreError> {
        if let Some(run) = start.known {
            return self.look_at(&start.parent, start.step, run).await;
        }
        let Some(_starting) = self.runtime.sub_runs.begin(start.parent.id.execution(start.step)) else { return Ok(()) };
        if !still_waits(self.step_of(&start).await?.as_ref(), start.attempt) {
            return Ok(());
        }
        let Some(news) = self.trigger_sub_run(&start).await? else { return Ok(()) };
        let accepted = match &news {
            SubRunNews::Accepted { run, .. } => Some(*run),
            _ => None,
        };
        self.tell(start.parent.id, start.parent.partition, start.step, news);
        let Some(run) = accepted else { return Ok(()) };
        // Another node may have ended the step meanwhile, for which there was no run yet: nobody else would stop it.
        if is_cancelled(self.step_of(&start).await?.as_ref()) {
            let StartRun { parent, step, attempt, .. } = start;
            return self.stop_sub_run(&StopRun { parent, step, attempt, known: Some(run) }).await;
        }
        // It may have ended before the step heard of it.
        self.look_at(&start.parent, start.step, run).await
    }

    /// The step that asks for a run, as it stands now.
    async fn step_of(&self, start: &StartRun) -> Result<Option<Step>, StoreError> {
        let Some(stored) = self.runtime.store.run_states(vec![start.parent.id]).await?.pop() else { return Ok(None) };
        let state = RunState::load(&stored.state).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(state.get(start.step).cloned())
    }

    /// Cancels the run of a step, which is told of its end as of any other.
    async fn stop_sub_run(&self, order: &StopRun) -> Result<(), StoreError> {
        let (parent, step) = (&order.parent, order.step);
        let run = match order.known {
            Some(run) => run,
            None => match self.find_stopped(order).await? {
                Some(run) => run,
                None => return Ok(()),
            },
        };
        let stored = self.runtime.store.run_states(vec![run]).await?.pop();
        let live = stored.filter(|stored| !stored.state.status.is_terminal());
        let Some(live) = live.filter(|stored| stored.header.owner.tenant == parent.owner.tenant) else {
            return self.look_at(parent, step, run).await;
        };
        let is_own = *live.header.trigger_source == *format!("{SOURCE}{}", parent.id.execution(step));
        let flow = &live.header.flow;
        let ready = self.runtime.plans.version(self.runtime.catalog.as_ref(), flow.id, flow.version).await?;
        let state = RunState::load(&live.state).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        match stopping(&state, is_own, ready.plan.limits.as_ref()) {
            Stopping::Cancel => {}
            // The step asks again, and is told of the end in any case.
            Stopping::Await => return Ok(()),
            Stopping::LeaveAlone => {
                self.tell(parent.id, parent.partition, step, SubRunNews::Gone { run });
                return Ok(());
            }
        }
        let reason = format!("the step of run {} that waited for it was cancelled", parent.id);
        let cancel = Command::Cancel { reason };
        match self.ingress.tell(live.header.partition, run, cancel, Remark::default()).await {
            Ok(()) => Ok(()),
            // It has ended meanwhile.
            Err(TellError::Refused(_) | TellError::NotFound) => self.look_at(parent, step, run).await,
            Err(error) => {
                tracing::warn!(%run, %error, "the run of a cancelled step could not be cancelled: the step asks again in a while");
                Ok(())
            }
        }
    }

    /// The run of a cancelled step that has not heard of it: by the key under which it was asked for. The step hears of it;
    /// one that has ended does not listen, but its run is to end all the same.
    async fn find_stopped(&self, stop: &StopRun) -> Result<Option<RunId>, StoreError> {
        let (parent, attempt) = (&stop.parent, stop.attempt);
        let execution = parent.id.execution(stop.step);
        if self.runtime.sub_runs.is_starting(execution) {
            return Ok(None);
        }
        let answer = self.runtime.store.answer_of(parent.owner.tenant, key_of(execution, attempt)).await?;
        let accepted = answer.map(serde_json::from_value::<Accepted>).transpose();
        let accepted = accepted.map_err(|e| StoreError::Corrupt(format!("a stored answer cannot be read: {e}")))?;
        let found = accepted.map(|accepted| accepted.run);
        let news = match found {
            Some(run) => SubRunNews::Accepted { run, attempt },
            None => SubRunNews::Refused { attempt, message: "it was cancelled before its run was started".to_owned() },
        };
        self.tell(parent.id, parent.partition, stop.step, news);
        Ok(found)
    }

    /// `None`: not now; the step asks again.
    async fn trigger_sub_run(&self, start: &StartRun) -> Result<Option<SubRunNews>, StoreError> {
        let attempt = start.attempt;
        let refused = |message: String| Ok(Some(SubRunNews::Refused { attempt, message }));
        if self.depth(&start.parent).await? >= MAX_DEPTH {
            return refused(format!("runs start runs at most {MAX_DEPTH} deep"));
        }
        let owner = start.parent.owner;
        let of_flow = |id| start.version.map_or(Target::Flow(id), |version| Target::Version(id, version));
        let mut context = start.input.clone();
        let target = match &start.flow {
            SubFlowRef::Id(id) => of_flow(*id),
            SubFlowRef::Name(name) => match self.runtime.catalog.flow_by_name(owner.tenant, name.clone()).await? {
                Some(found) => of_flow(found.id),
                None => return refused(format!("there is no flow '{name}'")),
            },
            SubFlowRef::Computed(computed) => {
                context = Arc::new(start.input["input"].clone());
                match self.runtime.plans.computed(&start.input["steps"], computed) {
                    Ok(document) => Target::Action(Arc::new(document)),
                    Err(message) => return refused(message),
                }
            }
        };
        let execution = start.parent.id.execution(start.step);
        let (source, key) = (format!("{SOURCE}{execution}"), key_of(execution, attempt));
        let trigger = Trigger {
            owner,
            target,
            trigger_type: TriggerType::Manual,
            source: source.into(),
            context,
            webhook: Json::default(),
            triggered_by: start.parent.triggered_by.clone(),
            decision_event_id: start.parent.decision_event_id,
            recommendation_id: start.parent.recommendation_id,
            parent_run_id: Some(start.parent.id),
            run_key: None,
            // The key says all: what an attempt asks for never changes.
            idempotency: Some(IdempotencyRequest { key, body_hash: [0; 32] }),
        };
        match self.ingress.trigger(trigger).await {
            Ok(Triggered::Accepted(accepted) | Triggered::Repeated(accepted)) => {
                Ok(Some(SubRunNews::Accepted { run: accepted.run, attempt }))
            }
            Ok(Triggered::NoMatch(_)) => refused("the flow was not started".to_owned()),
            Err(TriggerError::Store(error)) => Err(error),
            Err(TriggerError::Busy { retry_after_seconds }) => {
                tokio::time::sleep(Duration::from_secs(retry_after_seconds.min(5))).await;
                Ok(None)
            }
            Err(TriggerError::Invalid(problems)) => refused(computed::told(&problems)),
            Err(error) => refused(error.to_string()),
        }
    }

    /// How many runs stand above this one.
    async fn depth(&self, header: &RunHeader) -> Result<usize, StoreError> {
        let (mut depth, mut at) = (0, header.clone());
        while depth < MAX_DEPTH && SubRuns::is_sub_run(&at) {
            let Some(parent) = at.parent_run_id else { break };
            let Some(stored) = self.runtime.store.run_states(vec![parent]).await?.pop() else { break };
            at = stored.header;
            depth += 1;
        }
        Ok(depth)
    }

    async fn tell_parent(&self, child: &RunHeader) -> Result<(), StoreError> {
        let execution = child.trigger_source.strip_prefix(SOURCE).and_then(|id| id.parse::<ExecutionId>().ok());
        let Some((parent, step)) = execution.and_then(ExecutionId::parts) else { return Ok(()) };
        let Some(stored) = self.runtime.store.run_states(vec![parent]).await?.pop() else { return Ok(()) };
        self.look_at(&stored.header, step, child.id).await
    }

    /// Tells a step of its run's end, if that has come.
    async fn look_at(&self, parent: &RunHeader, step: StepNo, run: RunId) -> Result<(), StoreError> {
        let Some(stored) = self.runtime.store.load_runs(vec![run]).await?.pop() else {
            self.tell(parent.id, parent.partition, step, SubRunNews::Gone { run });
            return Ok(());
        };
        if !stored.state.status.is_terminal() || stored.header.owner.tenant != parent.owner.tenant {
            return Ok(());
        }
        let flow = &stored.header.flow;
        let ready = self.runtime.plans.version(self.runtime.catalog.as_ref(), flow.id, flow.version).await?;
        let state = RunState::load(&stored.state).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        let run = Run::rehydrate(Arc::new(stored.header), ready.plan, state, &stored.attempts);
        let (status, error) = (run.state.status, run.state.error.clone());
        let output = self.whole(run.header.id, run.output()).await?;
        let news = SubRunNews::Ended { run: run.header.id, status, output, error };
        self.tell(parent.id, parent.partition, step, news);
        Ok(())
    }

    /// What a run has given, wherever it is kept.
    async fn whole(&self, run: RunId, output: Output) -> Result<Json, StoreError> {
        let away = match output {
            Output::Here(value) => return Ok(value),
            Output::Away(away) => away,
        };
        let found = self.runtime.store.results(run, vec![away.step]).await?.pop();
        found.map(|(_, value)| value).ok_or_else(|| StoreError::Corrupt(format!("run {run} has lost its output")))
    }

    fn tell(&self, run: RunId, partition: u16, step: StepNo, news: SubRunNews) {
        let Some(partition) = self.ingress.partition_numbered(partition) else { return };
        let command = Box::new(Command::SubRun { step, news });
        let msg = PartitionMsg::Tell { run, command, remark: Remark::default(), answer: None };
        if partition.tell(msg).is_err() {
            tracing::warn!(%run, step, "a step could not be told of its run: it asks again in a while");
        }
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::document::FlowDocument;
    use core314_domain::plan::{FlowPlan, PlanLimits};
    use core314_domain::run::step::Live;
    use serde_json::json;

    use super::*;

    fn state(status: RunStatus) -> RunState {
        RunState { status, ..RunState::default() }
    }

    #[test]
    fn a_run_that_takes_back_what_it_did_is_not_cut_short() {
        let of = |status: RunStatus| stopping(&state(status), true, None);
        assert_eq!(of(RunStatus::Running), Stopping::Cancel);
        assert_eq!(of(RunStatus::Compensating), Stopping::Await);
    }

    #[test]
    fn a_run_is_started_for_a_step_that_waits_and_stopped_for_one_that_was_cancelled() {
        let step = |status: StepStatus, cancelled: bool| {
            let live = Live { attempt: 1, cancelled, ..Live::default() };
            Step { status, live: (!status.is_terminal()).then(|| Box::new(live)) }
        };
        let judged = |step: &Step| (still_waits(Some(step), 1), is_cancelled(Some(step)));
        assert_eq!(judged(&step(StepStatus::Waiting, false)), (true, false));
        assert_eq!(judged(&step(StepStatus::Waiting, true)), (false, true));
        assert_eq!(judged(&step(StepStatus::Cancelled, false)), (false, true));
        assert_eq!(judged(&step(StepStatus::Completed, false)), (false, false), "it has let its run go");
        assert!(!still_waits(Some(&step(StepStatus::Waiting, false)), 0), "another attempt asked");
        assert!(!still_waits(None, 1) && !is_cancelled(None));
    }

    #[test]
    fn a_run_that_others_triggers_are_in_goes_on_without_the_step() {
        let running = state(RunStatus::Running);
        assert_eq!(stopping(&running, false, None), Stopping::LeaveAlone, "others began it");
        let plan = |limits: serde_json::Value| {
            let step = json!({"id": "a", "config": {"action_type": "noop", "action_payload": {}}});
            let document = json!({"flow_name": "f", "trigger_type": "manual", "flow_steps": [step], "limits": limits});
            let document = FlowDocument::from_value(document).expect("a flow");
            FlowPlan::compile(&document, &["noop"], &PlanLimits::default()).expect("a plan")
        };
        let batch = plan(json!({"batch": {"max": 10, "timeout_seconds": 60}}));
        assert_eq!(stopping(&running, true, batch.limits.as_ref()), Stopping::LeaveAlone);
        let debounced = plan(json!({"debounce": {"period_seconds": 60}}));
        assert_eq!(stopping(&running, true, debounced.limits.as_ref()), Stopping::Cancel);
        let gathering = RunState { is_gathering: true, ..running };
        assert_eq!(stopping(&gathering, true, debounced.limits.as_ref()), Stopping::LeaveAlone);
    }
}
