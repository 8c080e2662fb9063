//! The promises of the system, numbered, as functions.
//!
//! Tests, the simulation and checks in production call the same ones. The numbers are those of the data model's list of
//! invariants; each function checks the part of its promise that can be seen from what it is given.

use std::collections::BTreeSet;

use crate::ids::StepNo;
use crate::log::LogEntry;
use crate::plan::{StepKind, WaitFor};
use crate::run::step::StepStatus;
use crate::run::{Place, Run, Timing};
use crate::words::{OnError, RunStatus};

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant {number}: {message}")]
pub struct Violation {
    pub number: u8,
    pub message: String,
}

fn check(number: u8, holds: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { number, message: message() }) }
}

/// Invariant 2: one log row for every attempt, none twice, numbered without a gap, and a final one for each completed
/// step that the run did itself.
pub fn attempts_are_logged_once(run: &Run, log: &[LogEntry]) -> Result<(), Violation> {
    let mut seen = BTreeSet::new();
    for entry in log {
        check(2, seen.insert((entry.step, entry.attempt)), || {
            format!("step {} attempt {} is logged twice", entry.step, entry.attempt)
        })?;
    }
    for (no, step) in run.state.all() {
        let attempts = seen.range((no, 0)..(no + 1, 0)).count();
        let finals = log.iter().filter(|e| e.step == no && e.is_final).count();
        let under_way = step.status == StepStatus::InProgress;
        let live = step.live.as_deref();
        check(2, (0..attempts as u32).all(|a| seen.contains(&(no, a))), || {
            format!("step {no} has a gap in its attempts")
        })?;
        // Each time that a person takes the run up again, or it has rolled back, the step may end once more.
        let rolled_back = run.state.rollback.as_ref().map_or(0, |rollback| rollback.before as usize);
        let most = 1 + run.state.reopened as usize + rolled_back;
        check(2, finals <= most, || format!("step {no} has {finals} final attempts"))?;
        let is_done = step.status == StepStatus::Completed && !run.state.reused.contains(no);
        check(2, !is_done || finals >= 1, || format!("step {no} is completed without a final attempt in the log"))?;
        check(2, live.is_none_or(|l| l.attempt as usize == attempts), || {
            format!(
                "step {no} is at attempt {:?} with {attempts} logged, under way: {under_way}",
                live.map(|l| l.attempt)
            )
        })?;
    }
    Ok(())
}

/// Invariant 3: a step that was released has inputs that allow it, and one that started was approved and due.
pub fn steps_wait_for_their_inputs(run: &Run, now_ms: i64) -> Result<(), Violation> {
    let satisfied = |no: &StepNo| {
        let Some(status) = run.state.get(*no).map(|step| step.status) else { return false };
        let tolerated = status.fails_the_run() && run.step_plan(*no).on_error == OnError::Continue;
        status.satisfies() || tolerated
    };
    for (no, step) in run.state.all() {
        let plan = run.step_plan(no);
        let released = matches!(
            step.status,
            StepStatus::AwaitingApproval
                | StepStatus::Pending
                | StepStatus::InProgress
                | StepStatus::Waiting
                | StepStatus::Retrying
                | StepStatus::Completed
        );
        // Those that it took over were released by another run.
        let released = released && !run.state.reused.contains(no);
        let count = run.all_beside(no, &plan.inputs).iter().filter(|n| satisfied(n)).count();
        check(3, !released || count >= plan.needed, || format!("step {no} is {:?} with {count} inputs", step.status))?;
        let Some(live) = step.live.as_deref() else { continue };
        let started = step.status == StepStatus::InProgress;
        check(3, !started || !plan.requires_approval || live.approved, || format!("step {no} started unapproved"))?;
        check(3, !started || live.due_at_ms.is_none_or(|due| due <= now_ms), || format!("step {no} started early"))?;
        let expired = live.expires_at_ms.is_some_and(|x| live.started_at_ms.is_some_and(|t| t >= x));
        check(3, !started || !expired, || format!("step {no} started after it had expired"))?;
    }
    Ok(())
}

/// Invariant 3, for where a step stands: it begins after the step that it stands in, in the list that was taken, and in a
/// phase that has come.
pub fn steps_wait_for_their_place(run: &Run) -> Result<(), Violation> {
    let phase = run.state.phase;
    for (no, step) in run.state.all() {
        let Some(live) = step.live.as_deref() else { continue };
        // What is cut off may outlive what it stands in.
        if run.state.closing.is_some() || live.cancelled {
            continue;
        }
        let Some(Place::Fixed(plan) | Place::Round { plan, .. }) = run.state.place(&run.plan, no) else { continue };
        let plan = &run.plan.steps[plan as usize];
        // Whoever takes a run up again may begin what an earlier phase has left.
        let has_come = |own| own == phase.current || (own < phase.current && run.state.reopened > 0);
        check(3, plan.phase.is_none_or(has_come), || {
            format!("step {no} of phase {:?} is {:?} in phase {}", plan.phase, step.status, phase.current)
        })?;
        let Some(container) = run.container(no) else { continue };
        let found = run.state.get(container);
        let waits = found.is_some_and(|found| found.status == StepStatus::Waiting);
        check(3, waits, || format!("step {no} is {:?} in step {container}, which has not begun", step.status))?;
        let taken = found.and_then(|found| found.live.as_deref()).and_then(|live| live.lane);
        check(3, taken.is_none_or(|taken| taken == plan.lane), || {
            format!("step {no} is {:?} in a list of step {container} that was not taken", step.status)
        })?;
    }
    Ok(())
}

/// Invariant 2, for the run: it has ended exactly when all its steps have.
pub fn ends_with_its_steps(run: &Run) -> Result<(), Violation> {
    let open = run.state.all().filter(|(_, s)| !s.status.is_terminal()).count();
    let ended = run.state.status.is_terminal();
    let begun = !matches!(run.state.status, RunStatus::Pending | RunStatus::AwaitingApproval);
    check(2, !ended || open == 0, || format!("the run is {} with {open} steps open", run.state.status))?;
    let is_held = run.state.status == RunStatus::Paused;
    check(2, ended || open > 0 || !begun || is_held, || {
        format!("all steps have ended and the run is {}", run.state.status)
    })?;
    let carries =
        |s: &crate::run::step::Step| s.live.is_some() && (s.status.is_terminal() || s.status == StepStatus::Blocked);
    check(2, !run.state.all().any(|(_, step)| carries(step)), || {
        "a step that is not live carries live state".to_owned()
    })
}

/// Whether the step names a signal or an event that it waits for.
fn waits_for_an_event(run: &Run, no: StepNo) -> bool {
    matches!(&run.step_plan(no).kind, StepKind::Wait(wait) if matches!(wait.what, WaitFor::Signal(_) | WaitFor::Event { .. }))
}

/// Invariant 8: whatever has not ended is under way, in the queue, waits for a time, or names whom or what it waits for.
/// `is_held`: a limit of its flow holds the run, and knows of it.
pub fn nothing_waits_in_vain(run: &Run, timing: Timing, is_held: bool) -> Result<(), Violation> {
    let person = matches!(run.state.status, RunStatus::AwaitingApproval | RunStatus::Paused)
        || run.state.all().any(|(_, s)| s.status == StepStatus::AwaitingApproval)
        || run.state.all().any(|(no, s)| s.status == StepStatus::Waiting && waits_for_an_event(run, no));
    let limit = is_held && run.state.status == RunStatus::Pending;
    let known = timing.queue_key.is_some() || timing.wake_at_ms.is_some() || person || limit;
    check(8, run.state.status.is_terminal() || known, || {
        format!("the run is {} and waits for nothing", run.state.status)
    })
}

/// Invariant 8, for each step: where nothing holds the run as a whole, every step that has not ended says why.
pub fn every_step_names_its_reason(run: &Run, now_ms: i64) -> Result<(), Violation> {
    let reasons = run.why(now_ms);
    if run.state.status.is_terminal() || reasons.iter().any(|reason| reason.execution_id.is_none()) {
        return Ok(());
    }
    let named: BTreeSet<_> = reasons.iter().filter_map(|reason| reason.execution_id).collect();
    for (no, step) in run.state.all().filter(|(_, step)| !step.status.is_terminal()) {
        check(8, named.contains(&run.header.id.execution(no)), || {
            format!("step {no} is {:?} in a run that is {}, and nothing holds it", step.status, run.state.status)
        })?;
    }
    Ok(())
}
