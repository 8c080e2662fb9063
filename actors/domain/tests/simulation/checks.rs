//! What must hold, whatever happens: the domain's invariants, and what can only be seen from outside a run.

use core314_domain::ids::StepNo;
use core314_domain::invariants;
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Decision, Effect, Run, RunState, Timing};
use core314_domain::words::{ExecutionStatus, OnError, RunStatus};

use super::shapes::Shape;
use super::store::Store;

/// What was found, in words.
pub type Check = Result<(), String>;

pub fn ensure(holds: bool, message: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(message()) }
}

/// A decision uses what it was granted, and says what it left.
pub fn decision(decision: &Decision, slots: usize) -> Check {
    let starts = decision.effects.iter().filter(|e| matches!(e, Effect::StartAttempt { .. })).count();
    ensure(starts + decision.unused_slots == slots, || {
        format!("{starts} starts and {} unused of {slots} slots", decision.unused_slots)
    })
}

/// What is stored, after every commit. `before` is what was stored before it.
pub fn stored(store: &Store, before: &Store, shape: &Shape, latest_ms: i64) -> Check {
    let run = store.load(shape)?;
    let violated = |v: invariants::Violation| v.to_string();
    invariants::attempts_are_logged_once(&run, &store.log).map_err(violated)?;
    invariants::steps_wait_for_their_inputs(&run, latest_ms).map_err(violated)?;
    invariants::ends_with_its_steps(&run).map_err(violated)?;
    invariants::nothing_waits_in_vain(&run, store.timing).map_err(violated)?;
    ensure(RunState::load(&run.save()).as_ref() == Ok(&run.state), || "a state does not survive its saving".into())?;
    let ended = run.state.status.is_terminal();
    ensure(!ended || store.timing == Timing::default(), || "an ended run is still in an index".into())?;
    ensure(run.state.started_at_ms.is_some() || !run.state.steps.iter().any(|s| s.live.is_some()), || {
        "a step was released before the run began".into()
    })?;
    for no in 0..run.state.steps.len() as StepNo {
        let asked = store.approvals.contains(&(Some(no), None));
        let waits = run.state.steps[no as usize].status == StepStatus::AwaitingApproval;
        ensure(!waits || asked, || format!("step {no} waits for an approval that nobody was asked for"))?;
        let inputs = || shape.plan.steps[no as usize].inputs.iter().copied();
        let open = |input: StepNo| !run.state.steps[input as usize].status.is_terminal();
        let possible = inputs().filter(|n| open(*n) || input_is_done(store, &run, *n, shape)).count();
        let skipped = run.state.steps[no as usize].status == StepStatus::SkippedUpstream;
        ensure(!skipped || possible < shape.plan.steps[no as usize].needed, || {
            format!("step {no} is skipped although its inputs could be satisfied")
        })?;
    }
    if before.version > 0 {
        no_way_back(&run.state, &before.load(shape)?.state)?;
        let (old, new) = (before.timing.queue_key, store.timing.queue_key);
        ensure(old.is_none() || new.is_none() || old == new, || format!("the queue key went from {old:?} to {new:?}"))?;
    }
    Ok(())
}

/// Whatever has ended stays as it ended.
fn no_way_back(now: &RunState, before: &RunState) -> Check {
    let reopened = now.reopened > before.reopened;
    ensure(!before.status.is_terminal() || reopened || now == before, || "an ended run has changed".into())?;
    for (no, (old, new)) in before.steps.iter().zip(&now.steps).enumerate() {
        // Whoever takes a run up again takes back what did not do what it should, and nothing else.
        let taken_back = reopened && !old.status.satisfies();
        ensure(!old.status.is_terminal() || taken_back || old == new, || {
            format!("step {no} went from {:?} to {:?}", old.status, new.status)
        })?;
    }
    Ok(())
}

/// Memory and store say the same, when nothing is on its way.
pub fn same(memory: &Run, stored: &Run, is_lean: bool) -> Check {
    let mut state = memory.state.clone();
    state.steps.iter_mut().filter_map(|s| s.live.as_deref_mut()).for_each(|live| live.queued = false);
    ensure(state == stored.state, || format!("in memory {state:?}, stored {:?}", stored.state))?;
    let views = |run: &Run| {
        let view = |(id, v): (&std::sync::Arc<str>, &core314_domain::expr::StepView)| {
            // A lean run has let it go, and to look at it would be noted as a wish.
            let output = (!is_lean).then(|| v.output.get().map(ToString::to_string));
            (id.to_string(), v.status, output, v.error.as_deref().map(str::to_owned))
        };
        run.results.iter().map(view).collect::<Vec<_>>()
    };
    let (a, b) = (views(memory), views(stored));
    ensure(a == b, || format!("results in memory {a:?}, stored {b:?}"))
}

/// An attempt may take effect: its start is stored, nothing ended it before, and its inputs are in the log.
pub fn start(store: &Store, shape: &Shape, no: StepNo, attempt: u32) -> Check {
    ensure(store.version > 0, || "an attempt starts before the run is stored".into())?;
    let run = store.load(shape)?;
    let step = &run.state.steps[no as usize];
    let at = step.live.as_deref().map(|l| l.attempt);
    ensure(step.status == StepStatus::InProgress && at == Some(attempt), || {
        format!("attempt {attempt} of step {no} starts, and stored is {:?} at {at:?}", step.status)
    })?;
    ensure(
        !store.log.iter().any(|e| e.step == no && (e.is_final && run.state.reopened == 0 || e.attempt >= attempt)),
        || format!("attempt {attempt} of step {no} starts after its row in the log"),
    )?;
    let started_at_ms = step.live.as_deref().and_then(|l| l.started_at_ms);
    let late = shape.header.deadline_at_ms.is_some_and(|deadline| started_at_ms.is_some_and(|at| at >= deadline));
    ensure(!late, || format!("step {no} starts past the run's deadline"))?;
    let plan = &shape.plan.steps[no as usize];
    let done = plan.inputs.iter().filter(|input| input_is_done(store, &run, **input, shape)).count();
    ensure(done >= plan.needed, || format!("step {no} starts with {done} of {} inputs", plan.needed))
}

/// By the log where the log must know.
fn input_is_done(store: &Store, run: &Run, no: StepNo, shape: &Shape) -> bool {
    let last = store.log.iter().rfind(|e| e.step == no && e.is_final).map(|e| e.status);
    let tolerated = shape.plan.steps[no as usize].on_error == OnError::Continue;
    match run.state.steps[no as usize].status {
        StepStatus::Completed => last == Some(ExecutionStatus::Completed),
        StepStatus::SkippedByWhen => last.is_none(),
        StepStatus::Failed => tolerated && last == Some(ExecutionStatus::Failed),
        StepStatus::Expired | StepStatus::Rejected => tolerated,
        _ => false,
    }
}

/// The end of a run follows from the ends of its steps.
pub fn end(run: &Run) -> Check {
    let status = run.state.status;
    let failed = run
        .state
        .steps
        .iter()
        .zip(&run.plan.steps)
        .filter(|(step, plan)| step.status.fails_the_run() && plan.on_error == OnError::Fail)
        .count();
    let cancelled = run.state.steps.iter().filter(|s| s.status == StepStatus::Cancelled).count();
    ensure(status != RunStatus::Completed || failed + cancelled == 0, || {
        format!("the run is completed with {failed} failed and {cancelled} cancelled steps")
    })?;
    ensure(status == RunStatus::Completed || run.state.error.is_some(), || {
        format!("the run is {status} and does not say why")
    })?;
    ensure(run.state.completed_at_ms.is_some(), || "the run ended at no time".into())
}
