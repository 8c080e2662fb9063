//! What a partition tells the feed: how its runs and their steps stand, once that is durable.
//!
//! Nothing is made up where nobody listens: the changes of a decision are kept as they are until its commit, and are
//! turned into words only then.

use std::collections::BTreeMap;
use std::sync::Arc;

use core314_domain::ids::{ExecutionId, FlowId, RunId, StepNo};
use core314_domain::plan::FlowPlan;
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Change, Run, RunHeader};
use core314_domain::words::{ExecutionStatus, RunStatus};
use serde::Serialize;

use super::QueuePartition;
use super::outbox::Pending;
use crate::clock::rfc3339;
use crate::feed::Topic;
use crate::ports::Scope;

/// How much of an error is told; all of it is in the run's row.
const ERROR_CHARS: usize = 500;

/// What a decision changed, and of which run.
pub struct News {
    pub header: Arc<RunHeader>,
    pub plan: Arc<FlowPlan>,
    pub changes: Vec<Change>,
    /// Ids of the steps that changed and have no number of their own in the plan.
    pub loose: BTreeMap<StepNo, Arc<str>>,
}

impl News {
    fn step_id(&self, step: StepNo) -> &str {
        let fixed = self.plan.steps.get(step as usize).map(|plan| &plan.id);
        self.loose.get(&step).or(fixed).map_or("", |id| id)
    }
}

/// A run, on the topic `runs`.
#[derive(Serialize)]
struct RunChange<'a> {
    id: RunId,
    run_status: RunStatus,
    orchestration_flow_id: FlowId,
    flow_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// When it was durable; RFC 3339.
    at: String,
}

/// A step of a run, on the topic `executions`.
#[derive(Serialize)]
struct ExecutionChange<'a> {
    id: ExecutionId,
    flow_run_id: RunId,
    step_id: &'a str,
    execution_status: ExecutionStatus,
    /// When it was durable; RFC 3339.
    at: String,
}

impl QueuePartition {
    /// Tells what has been stored.
    pub(super) fn tell_news(&self, stored: &Pending) {
        let News { header, changes, .. } = &stored.news;
        if !stored.write.phases.is_empty() {
            self.runtime.phases.note(header, &stored.write.phases);
        }
        if stored.write.accept.is_some() || changes.iter().any(changes_run) {
            self.tell_run(header, stored.write.state.status, changes.iter().find_map(error_of_run));
        }
        if self.runtime.feed.listens(Scope::Tenant(header.owner.tenant), Topic::Executions) {
            // A step that waits for others has not changed, and yet is news: it stands in the queue from the accept on.
            let news = &stored.news;
            let new = if stored.write.accept.is_some() { news.plan.fixed as StepNo } else { 0 };
            let waiting = (0..new).map(|no| (no, StepStatus::Blocked));
            let stand: BTreeMap<StepNo, StepStatus> = waiting.chain(changes.iter().filter_map(step_change)).collect();
            stand.into_iter().for_each(|(step, status)| self.tell_step(header, news.step_id(step), step, status));
        }
    }

    /// Tells how a run stands that was loaded again because the outcome of its write was unknown.
    pub(super) fn tell_all(&self, run: &Run) {
        self.tell_run(&run.header, run.state.status, run.state.error.as_deref());
        run.state.all().for_each(|(no, step)| self.tell_step(&run.header, &run.step_plan(no).id, no, step.status));
    }

    fn tell_run(&self, header: &RunHeader, run_status: RunStatus, error: Option<&str>) {
        let scope = Scope::Tenant(header.owner.tenant);
        self.runtime.feed.publish(scope, Topic::Runs, header.id, || RunChange {
            id: header.id,
            run_status,
            orchestration_flow_id: header.flow.id,
            flow_name: &header.flow.name,
            error: error.map(|text| text.chars().take(ERROR_CHARS).collect()),
            at: rfc3339(self.runtime.now_ms()),
        });
    }

    fn tell_step(&self, header: &RunHeader, step_id: &str, step: StepNo, status: StepStatus) {
        let id = header.id.execution(step);
        self.runtime.feed.publish(Scope::Tenant(header.owner.tenant), Topic::Executions, id, || ExecutionChange {
            id,
            flow_run_id: header.id,
            step_id,
            execution_status: status.execution_status(),
            at: rfc3339(self.runtime.now_ms()),
        });
    }
}

/// Whether the run's own state is another.
fn changes_run(change: &Change) -> bool {
    match change {
        Change::RunAwaitsApproval
        | Change::RunStarted { .. }
        | Change::RunPaused { .. }
        | Change::RunReopened { .. }
        | Change::RunResumed
        | Change::RunLinesUp
        | Change::RollbackBegan { .. }
        | Change::UndoSettled { .. }
        | Change::RollbackEnded { .. }
        | Change::RunEnded { .. } => true,
        Change::RunHeld
        | Change::RunStepsAside
        | Change::RunGathers
        | Change::RunGathered { .. }
        | Change::RunClosing { .. }
        | Change::StepReleased { .. }
        | Change::StepAdjusted { .. }
        | Change::ApprovalOverdue { .. }
        | Change::StepReset { .. }
        | Change::StepStarted { .. }
        | Change::StepRetrying { .. }
        | Change::StepParked { .. }
        | Change::StepEnded { .. }
        | Change::ApprovalRequested { .. }
        | Change::ApprovalDecided { .. }
        | Change::StepWaiting { .. }
        | Change::WaitOpened { .. }
        | Change::WaitClosed { .. }
        | Change::LoopOpened { .. }
        | Change::LoopReopened { .. }
        | Change::LoopDropped { .. }
        | Change::RoundOpened { .. }
        | Change::RoundClosed { .. }
        | Change::VarsSet { .. }
        | Change::Voted { .. }
        | Change::SignalKept { .. }
        | Change::SignalTaken { .. }
        | Change::SignalNamed(_)
        | Change::PhaseMoved(_)
        | Change::PhaseLate { .. }
        | Change::UndoOpened { .. }
        | Change::OutputSet { .. }
        | Change::ResultCached { .. }
        | Change::AttemptLogged(_) => false,
    }
}

/// Why the run has ended badly.
fn error_of_run(change: &Change) -> Option<&str> {
    match change {
        Change::RunEnded { error, .. } => error.as_deref(),
        _ => None,
    }
}

/// Which step went where.
fn step_change(change: &Change) -> Option<(StepNo, StepStatus)> {
    match change {
        Change::StepReleased { step, status, .. } | Change::StepEnded { step, status } => Some((*step, *status)),
        Change::StepStarted { step, .. } => Some((*step, StepStatus::InProgress)),
        Change::StepWaiting { step, .. } => Some((*step, StepStatus::Waiting)),
        Change::StepRetrying { step, .. } => Some((*step, StepStatus::Retrying)),
        Change::StepReset { step } => Some((*step, StepStatus::Blocked)),
        Change::StepParked { step, .. } => Some((*step, StepStatus::AwaitingApproval)),
        Change::RunAwaitsApproval
        | Change::RunStarted { .. }
        | Change::RunPaused { .. }
        | Change::RunReopened { .. }
        | Change::RunHeld
        | Change::RunStepsAside
        | Change::RunLinesUp
        | Change::RunGathers
        | Change::RunGathered { .. }
        | Change::StepAdjusted { .. }
        | Change::ApprovalOverdue { .. }
        | Change::RunResumed
        | Change::RunClosing { .. }
        | Change::RunEnded { .. }
        | Change::ApprovalRequested { .. }
        | Change::ApprovalDecided { .. }
        | Change::WaitOpened { .. }
        | Change::WaitClosed { .. }
        | Change::LoopOpened { .. }
        | Change::LoopReopened { .. }
        | Change::LoopDropped { .. }
        | Change::RoundOpened { .. }
        | Change::RoundClosed { .. }
        | Change::VarsSet { .. }
        | Change::Voted { .. }
        | Change::SignalKept { .. }
        | Change::SignalTaken { .. }
        | Change::SignalNamed(_)
        | Change::PhaseMoved(_)
        | Change::PhaseLate { .. }
        | Change::RollbackBegan { .. }
        | Change::UndoOpened { .. }
        | Change::UndoSettled { .. }
        | Change::RollbackEnded { .. }
        | Change::OutputSet { .. }
        | Change::ResultCached { .. }
        | Change::AttemptLogged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_run_and_on_each_of_its_steps_counts() {
        let ended = |step, status| Change::StepEnded { step, status };
        let changes = [
            Change::RunStarted { at_ms: 1 },
            Change::StepStarted { step: 1, attempt: 0, at_ms: 1, epoch: 1 },
            ended(0, StepStatus::Completed),
            ended(1, StepStatus::Failed),
            Change::RunEnded { status: RunStatus::Failed, error: Some("no".to_owned()), at_ms: 2 },
        ];
        assert_eq!(changes.iter().map(changes_run).collect::<Vec<_>>(), [true, false, false, false, true]);
        assert_eq!(changes.iter().find_map(error_of_run), Some("no"));
        let last: BTreeMap<_, _> = changes.iter().filter_map(step_change).collect();
        assert_eq!(last.into_iter().collect::<Vec<_>>(), [(0, StepStatus::Completed), (1, StepStatus::Failed)]);
    }
}
