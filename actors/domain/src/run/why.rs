//! Why a run that has not ended does not go on: one reason for each step that waits, and for the run itself.
//!
//! Every reason names what has to happen: a time, a person, a step, a slot, or an attempt that is under way. That there
//! always is one is invariant 8.

use schemars::JsonSchema;
use serde::Serialize;

use super::decide::{GatedNames, retry_of};
use super::step::StepStatus;
use super::{Closing, Place, Run};
use crate::ids::{ExecutionId, StepNo};
use crate::plan::{StepKind, WaitFor};
use crate::words::{RunStatus, words};

/// Nobody should take the one for the other: to agree to a step, and to agree that it is taken back.
pub(super) const TAKES_BACK: &str = "what takes the step back waits for a person's approval";

words! {
    /// What a run or a step waits for.
    Waiting {
        Approval = "approval", Dependency = "dependency", Schedule = "schedule", Retry = "retry", Slot = "slot",
        Attempt = "attempt", Paused = "paused", Ending = "ending", OutcomeUnknown = "outcome_unknown",
        Begin = "begin", Limit = "limit", Timer = "timer", Signal = "signal", Event = "event", SubFlow = "sub_flow",
        Inner = "inner_steps", Phase = "phase", Breaker = "breaker_open", IntegrationLimit = "integration_limit",
        TenantLimit = "tenant_limit", OverallLimit = "overall_limit",
    }
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "WaitingReason")]
pub struct Reason {
    pub code: Waiting,
    /// For people.
    pub message: String,
    /// The step that waits; absent: the run itself.
    pub execution_id: Option<ExecutionId>,
    pub step_id: Option<String>,
    /// When it goes on by itself, in milliseconds since the epoch; absent: somebody or something else must act.
    #[serde(skip)]
    pub wakes_at_ms: Option<i64>,
    /// Who or what holds it: executions, or `person`.
    pub held_by: Vec<String>,
}

impl Run {
    /// Why the run does not go on, as of `now_ms`. Empty for one that has ended.
    pub fn why(&self, now_ms: i64) -> Vec<Reason> {
        self.why_among(now_ms, None)
    }

    /// The same, where the integrations of its tenant are known.
    pub fn why_among(&self, now_ms: i64, gates: Option<&GatedNames>) -> Vec<Reason> {
        let status = self.state.status;
        if status.is_terminal() {
            return Vec::new();
        }
        let mut reasons: Vec<Reason> = self.run_reason().into_iter().collect();
        reasons.extend(self.state.numbers().into_iter().filter_map(|no| self.step_reason(no, now_ms, gates)));
        reasons
    }

    fn run_reason(&self) -> Option<Reason> {
        let of_run = |code, message: String, held_by: Vec<String>| {
            let wakes_at_ms = self.header.deadline_at_ms;
            Some(Reason { code, message, execution_id: None, step_id: None, wakes_at_ms, held_by })
        };
        let person = vec!["person".to_owned()];
        match (self.state.status, self.state.closing) {
            (_, Some(closing)) => {
                let why = match closing {
                    Closing::Failed => "it has failed",
                    Closing::Cancelled => "it was cancelled",
                    Closing::TimedOut => "its deadline has passed",
                    Closing::Stopped | Closing::StoppedFailed | Closing::StoppedCancelled => "a step stopped it",
                };
                of_run(Waiting::Ending, format!("{why}, and ends once its attempts under way have"), Vec::new())
            }
            (RunStatus::AwaitingApproval, None) => {
                of_run(Waiting::Approval, "the run waits for a person's approval before it begins".to_owned(), person)
            }
            (RunStatus::Paused, None) => {
                let by = self.state.paused_by.as_deref().unwrap_or("somebody");
                of_run(Waiting::Paused, format!("the run was paused by {by}"), vec![by.to_owned()])
            }
            (RunStatus::Pending, None) => {
                of_run(Waiting::Begin, "the run was accepted and is about to begin".to_owned(), Vec::new())
            }
            _ => None,
        }
    }

    fn step_reason(&self, no: StepNo, now_ms: i64, gates: Option<&GatedNames>) -> Option<Reason> {
        let step = self.state.get(no)?;
        let plan = self.step_plan(no);
        let live = step.live.as_deref().copied().unwrap_or_default();
        let later = live.due_at_ms.filter(|at| *at > now_ms);
        let (code, message, wakes_at_ms, held_by) = match step.status {
            StepStatus::Blocked => {
                let inputs = self.all_beside(no, &plan.inputs);
                let is_open = |no: &StepNo| self.state.get(*no).is_some_and(|step| !step.status.is_terminal());
                let held: Vec<String> =
                    inputs.into_iter().filter(is_open).map(|no| self.header.id.execution(no).to_string()).collect();
                if held.is_empty() {
                    return self.held_by_place(no);
                }
                let message = format!("it waits for {} of its {} inputs", plan.needed, plan.inputs.len());
                (Waiting::Dependency, message, None, held)
            }
            StepStatus::AwaitingApproval if matches!(plan.kind, StepKind::Approval(_)) => {
                let StepKind::Approval(approval) = &plan.kind else { return None };
                let given = self.state.votes.get(&no).map_or(0, Vec::len);
                let message = format!("{given} of {} people have agreed", approval.required);
                let mut who: Vec<String> = approval.approvers.iter().map(ToString::to_string).collect();
                if who.is_empty() {
                    who.push("role:operator".to_owned());
                }
                (Waiting::Approval, message, live.expires_at_ms, who)
            }
            StepStatus::Waiting => return Some(self.waiting_reason(no)),
            StepStatus::AwaitingApproval if plan.requires_approval && !live.approved => {
                let is_undo = matches!(self.place(no), Place::Undo { .. });
                let message = if is_undo { TAKES_BACK } else { "it waits for a person's approval" }.to_owned();
                (Waiting::Approval, message, live.expires_at_ms, vec!["person".to_owned()])
            }
            StepStatus::AwaitingApproval => {
                let message = "an attempt was cut off and nobody knows whether it took effect: a person must say \
                               whether to try again"
                    .to_owned();
                (Waiting::OutcomeUnknown, message, live.expires_at_ms, vec!["person".to_owned()])
            }
            StepStatus::Pending if later.is_some() => {
                (Waiting::Schedule, "it is scheduled for later".to_owned(), later, Vec::new())
            }
            StepStatus::Retrying if later.is_some() => {
                let most = retry_of(plan, gates).max_attempts;
                let message = if live.verifying {
                    let made = live.probes;
                    format!(
                        "probe {made} of {most} could not tell whether the attempt before took effect; the next one is due"
                    )
                } else {
                    format!("attempt {} of {most} has failed; the next one is due", live.attempt - live.base)
                };
                (Waiting::Retry, message, later, Vec::new())
            }
            StepStatus::Pending | StepStatus::Retrying => {
                (Waiting::Slot, "it is due, and waits for a free slot".to_owned(), None, Vec::new())
            }
            StepStatus::InProgress => {
                let until = live.started_at_ms.zip(plan.timeout_ms).map(|(at, timeout_ms)| at + timeout_ms as i64);
                (Waiting::Attempt, format!("attempt {} is under way", live.attempt), until, Vec::new())
            }
            _ => return None,
        };
        let (execution_id, step_id) = (Some(self.header.id.execution(no)), Some(plan.id.to_string()));
        Some(Reason { code, message, execution_id, step_id, wakes_at_ms, held_by })
    }
}

impl Run {
    fn reason(&self, no: StepNo, code: Waiting, message: String, held_by: Vec<String>) -> Reason {
        let live = self.state.get(no).and_then(|step| step.live.as_deref()).copied().unwrap_or_default();
        let wakes_at_ms = [live.due_at_ms, live.expires_at_ms].into_iter().flatten().min();
        let (execution_id, step_id) = (Some(self.header.id.execution(no)), Some(self.step_plan(no).id.to_string()));
        Reason { code, message, execution_id, step_id, wakes_at_ms, held_by }
    }

    /// A blocked step whose inputs are there: what it stands in has not begun, or its phase has not.
    fn held_by_place(&self, no: StepNo) -> Option<Reason> {
        if let Some(container) = self.container(no) {
            let held = vec![self.header.id.execution(container).to_string()];
            let message = "the step that it stands in has not begun".to_owned();
            return Some(self.reason(no, Waiting::Dependency, message, held));
        }
        let phase = self.step_plan(no).phase?;
        let message = format!("phase {phase} has not begun: phase {} is under way", self.state.phase.current);
        Some(self.reason(no, Waiting::Phase, message, vec![format!("phase:{}", self.state.phase.current)]))
    }

    fn awaits_event(&self, no: StepNo, kind: &str) -> (Waiting, String, Vec<String>) {
        let key = self.state.event_keys.get(&no).map(String::as_str).unwrap_or_default();
        let message = format!("it waits for an event of type '{kind}' with the subject '{key}'");
        (Waiting::Event, message, vec![format!("event:{kind}:{key}")])
    }

    /// The run that the step has started is known to it from when it has heard that it was accepted.
    fn awaits_run(&self, no: StepNo) -> (Waiting, String, Vec<String>) {
        let live = self.state.get(no).and_then(|step| step.live.as_deref()).copied().unwrap_or_default();
        let (child, told) = (live.child, if live.cancelled { " and has told to end" } else { "" });
        let message = child.map_or_else(
            || "it has asked for its run, and has yet to hear that it was accepted".to_owned(),
            |run| format!("it waits for the end of run {run}, which it started{told}"),
        );
        (Waiting::SubFlow, message, child.iter().map(ToString::to_string).collect())
    }

    fn waiting_reason(&self, no: StepNo) -> Reason {
        let (code, message, held_by) = match &self.step_plan(no).kind {
            StepKind::Wait(wait) => match &wait.what {
                WaitFor::Seconds(_) | WaitFor::Until(_) => {
                    (Waiting::Timer, "it waits for its time".to_owned(), Vec::new())
                }
                WaitFor::Signal(name) => {
                    (Waiting::Signal, format!("it waits for the signal '{name}'"), vec![format!("signal:{name}")])
                }
                WaitFor::Event { kind, .. } => self.awaits_event(no, kind),
            },
            StepKind::SubFlow(_) => self.awaits_run(no),
            _ => {
                let open: Vec<String> = self
                    .state
                    .all()
                    .filter(|(_, step)| !step.status.is_terminal())
                    .filter(|(inner, _)| self.container(*inner) == Some(no))
                    .take(20)
                    .map(|(inner, _)| self.header.id.execution(inner).to_string())
                    .collect();
                (Waiting::Inner, "it waits for the steps that stand in it".to_owned(), open)
            }
        };
        self.reason(no, code, message, held_by)
    }
}
