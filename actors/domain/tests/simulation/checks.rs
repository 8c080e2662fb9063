//! What must hold, whatever happens: the domain's invariants, and what can only be seen from outside a run.

use std::sync::Arc;

use core314_domain::ids::StepNo;
use core314_domain::invariants;
use core314_domain::log::LogEntry;
use core314_domain::plan::{StepKind, StepPlan, WaitFor};
use core314_domain::run::step::StepStatus;
use core314_domain::run::{
    AttemptReport, Command, Decision, Effect, Grant, Outcome, Place, PlanRef, Run, RunState, Timing,
};
use core314_domain::words::{ExecutionStatus, OnError, OnErrorAction, RunStatus};
use serde_json::{Value, json};

use super::shapes::Shape;
use super::store::{Store, results};

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
    invariants::steps_wait_for_their_place(&run).map_err(violated)?;
    invariants::ends_with_its_steps(&run).map_err(violated)?;
    invariants::nothing_waits_in_vain(&run, store.timing, store.is_held).map_err(violated)?;
    invariants::every_step_names_its_reason(&run, latest_ms).map_err(violated)?;
    ensure(RunState::load(&run.save()).as_ref() == Ok(&run.state), || "a state does not survive its saving".into())?;
    let ended = run.state.status.is_terminal();
    ensure(!ended || store.timing == Timing::default(), || "an ended run is still in an index".into())?;
    ensure(run.state.started_at_ms.is_some() || !run.state.all().any(|(_, s)| s.live.is_some()), || {
        "a step was released before the run began".into()
    })?;
    for (no, step) in run.state.all() {
        let asked = store.approvals.contains(&(Some(no), None));
        let waits = step.status == StepStatus::AwaitingApproval;
        ensure(!waits || asked, || format!("step {no} waits for an approval that nobody was asked for"))?;
        let of_event = matches!(&run.step_plan(no).kind, StepKind::Wait(w) if matches!(w.what, WaitFor::Event { .. }));
        let hears = step.status != StepStatus::Waiting || !of_event || store.waits.contains(&no);
        ensure(hears, || format!("step {no} waits for an event that nobody will bring it"))?;
        let inputs = run.all_beside(no, &run.step_plan(no).inputs);
        let open = |input: StepNo| run.state.get(input).is_some_and(|step| !step.status.is_terminal());
        let possible = inputs.into_iter().filter(|n| open(*n) || input_is_done(store, &run, *n)).count();
        // A phase that fails, and a list of steps that is not taken, have steps that could have run.
        let by_inputs = step.status == StepStatus::SkippedUpstream
            && run.step_plan(no).phase.is_none()
            && run.container(no).is_none();
        ensure(!by_inputs || possible < run.step_plan(no).needed, || {
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
    let times = |state: &RunState| state.rollback.as_ref().map_or(0, |rollback| rollback.before);
    let rolled_back = times(now) > times(before);
    let taken_up = reopened || before.status == RunStatus::Paused;
    for (no, old) in before.all() {
        // Whoever takes a run up again takes back what did not do what it should, and nothing else; a phase that was
        // taken back begins anew.
        let is_of_round = no as usize >= before.steps.len();
        // A loop takes up its rounds when it begins again: that may be later.
        let is_again = taken_up || (is_of_round && before.reopened > 0);
        let taken_back = rolled_back || (is_again && !old.status.satisfies());
        let new = now.get(no);
        let is_gone = new.is_none() && is_of_round;
        ensure(!old.status.is_terminal() || taken_back || is_gone || Some(old) == new, || {
            format!("step {no} went from {:?} to {:?}", old.status, new.map(|step| step.status))
        })?;
    }
    Ok(())
}

/// Memory and store say the same, when nothing is on its way.
pub fn same(memory: &Run, stored: &Run, store: &Store, is_lean: bool, grant: Grant<'_>, now_ms: i64) -> Check {
    let (mut memory, mut stored) = (memory.clone(), stored.clone());
    let state = &mut memory.state;
    let all = state.steps.iter_mut().chain(state.loose.values_mut());
    all.filter_map(|s| s.live.as_deref_mut()).for_each(|live| live.queued = false);
    ensure(*state == stored.state, || format!("in memory {state:?}, stored {:?}", stored.state))?;
    let views = |run: &Run| {
        let view = |(id, v): (&std::sync::Arc<str>, &core314_domain::expr::StepView)| {
            // A lean run has let it go, and to look at it would be noted as a wish.
            let output = (!is_lean).then(|| v.output.get().map(ToString::to_string));
            (id.to_string(), v.status, output, v.error.as_deref().map(str::to_owned))
        };
        run.results.iter().map(view).collect::<Vec<_>>()
    };
    let (a, b) = (views(&memory), views(&stored));
    ensure(a == b, || format!("results in memory {a:?}, stored {b:?}"))?;
    // What cannot be seen from outside (items, rounds, what they gave) shows in what either decides.
    for command in probes(&stored, now_ms).into_iter().take(4) {
        while let Ok(decision) = memory.decide(&command, grant, now_ms)
            && decision.wants_more()
        {
            ensure(is_lean || decision.wanted.is_empty(), || "a run looks for what it has".into())?;
            memory.bring(results(&[], store, &decision.wanted)?);
            let cached = store.cached(&decision.looks_up, now_ms);
            stored.bring_cached(cached.clone());
            memory.bring_cached(cached);
        }
        let (a, b) = (memory.decide(&command, grant, now_ms), stored.decide(&command, grant, now_ms));
        ensure(a == b, || format!("in memory {command:?} leads to {a:?}, stored to {b:?}"))?;
    }
    ensure(is_lean || memory.output() == stored.output(), || "memory and store give another output".into())
}

/// What might be told next, of each step under way.
fn probes(run: &Run, now_ms: i64) -> Vec<Command> {
    let mut probes = vec![Command::Wake];
    for (no, step) in run.state.all() {
        let Some(live) = step.live.as_deref() else { continue };
        let completed = Outcome::Completed(Arc::new(json!({"step": no, "probe": true})));
        let (started_at_ms, payload) = (live.started_at_ms.unwrap_or(now_ms), Arc::new(Value::Null));
        let report = |outcome| AttemptReport {
            outcome,
            payload: Arc::clone(&payload),
            started_at_ms,
            completed_at_ms: now_ms,
            duration_ms: 1,
            http: None,
        };
        if step.status == StepStatus::InProgress {
            probes.push(Command::AttemptEnded { step: no, attempt: live.attempt, report: report(completed) });
        } else if matches!(step.status, StepStatus::Pending | StepStatus::Retrying) {
            probes.push(Command::Start { steps: vec![no] });
        }
    }
    probes
}

/// An attempt may take effect: its start is stored, nothing ended it before, and its inputs are in the log.
pub fn start(store: &Store, shape: &Shape, no: StepNo, attempt: u32) -> Check {
    ensure(store.version > 0, || "an attempt starts before the run is stored".into())?;
    let run = store.load(shape)?;
    let step = run.state.get(no).ok_or_else(|| format!("step {no} starts and does not exist"))?;
    let at = step.live.as_deref().map(|l| l.attempt);
    ensure(step.status == StepStatus::InProgress && at == Some(attempt), || {
        format!("attempt {attempt} of step {no} starts, and stored is {:?} at {at:?}", step.status)
    })?;
    let base = step.live.as_deref().map_or(0, |live| live.base);
    let is_old = |e: &LogEntry| e.attempt >= attempt || (e.is_final && e.attempt >= base);
    ensure(!store.log.iter().any(|e| e.step == no && is_old(e)), || {
        format!("attempt {attempt} of step {no} starts after its row in the log")
    })?;
    if let Some(Place::Undo { target, .. }) = run.state.place(&run.plan, no) {
        return store.account.may_undo(target);
    }
    let started_at_ms = step.live.as_deref().and_then(|l| l.started_at_ms);
    let late = shape.header.deadline_at_ms.is_some_and(|deadline| started_at_ms.is_some_and(|at| at >= deadline));
    ensure(!late, || format!("step {no} starts past the run's deadline"))?;
    let plan = run.step_plan(no);
    let (needed, inputs) = match run.plan_ref(no) {
        // A probe has no inputs of its own.
        PlanRef::Verify(_) => return Ok(()),
        _ => (plan.needed, run.all_beside(no, &plan.inputs)),
    };
    let done = inputs.iter().filter(|input| input_is_done(store, &run, **input)).count();
    ensure(done >= needed, || format!("step {no} starts with {done} of {needed} inputs"))
}

/// By the log where the log must know.
fn input_is_done(store: &Store, run: &Run, no: StepNo) -> bool {
    let last = store.log.iter().rfind(|e| e.step == no && e.is_final).map(|e| e.status);
    let tolerated = run.step_plan(no).on_error == OnError::Continue;
    match run.state.get(no).map(|step| step.status) {
        Some(StepStatus::Completed) => last == Some(ExecutionStatus::Completed),
        // It may have ended otherwise before it was taken up again.
        Some(StepStatus::SkippedByWhen) => last.is_none() || run.state.reopened > 0 || run.state.rollback.is_some(),
        Some(StepStatus::Failed) => tolerated && last == Some(ExecutionStatus::Failed),
        Some(StepStatus::Expired | StepStatus::Rejected) => tolerated,
        _ => false,
    }
}

/// The end of a run follows from the ends of its steps.
pub fn end(run: &Run, store: &Store) -> Check {
    let status = run.state.status;
    let outer = || run.state.steps.iter().zip(&run.plan.steps).filter(|(_, plan)| plan.parent.is_none());
    let fails = |plan: &StepPlan| plan.on_error != OnError::Continue;
    let failed = outer().filter(|(step, plan)| step.status.fails_the_run() && fails(plan)).count();
    let cancelled = outer().filter(|(step, _)| step.status == StepStatus::Cancelled).count();
    let stopped = run.plan.steps.iter().any(|plan| matches!(plan.kind, StepKind::Stop { .. }));
    ensure(status != RunStatus::Completed || failed + cancelled == 0 || stopped, || {
        format!("the run is completed with {failed} failed and {cancelled} cancelled steps")
    })?;
    ensure(status == RunStatus::Completed || run.state.error.is_some(), || {
        format!("the run is {status} and does not say why")
    })?;
    ensure(run.state.completed_at_ms.is_some(), || "the run ended at no time".into())?;
    let phase = run.state.phase;
    ensure(phase.current == 0 || phase.is_over, || {
        format!("the run is {status} and phase {} is not over", phase.current)
    })?;
    let is_stuck = run.state.rollback.as_ref().is_some_and(|rollback| rollback.is_stuck);
    let is_bad = matches!(status, RunStatus::Failed | RunStatus::RolledBack) && !is_stuck;
    let asks = |plan: &StepPlan| match plan.on_error {
        OnError::Fail => run.plan.on_error_action == OnErrorAction::Fallback,
        own => own == OnError::Fallback,
    };
    let tolerates = |plan: &StepPlan| plan.on_error == OnError::Continue;
    let mut bad = outer().filter(|(step, plan)| step.status.fails_the_run() && !tolerates(plan)).peekable();
    // Where no step is to blame, the flow's own word counts.
    let nobody = bad.peek().is_none() && run.plan.on_error_action == OnErrorAction::Fallback;
    let hands_over = is_bad && run.plan.fallback.is_some() && (nobody || bad.any(|(_, plan)| asks(plan)));
    ensure(run.fallback().is_some() == hands_over, || {
        format!("the run is {status}, another flow should take over: {hands_over}, does: {:?}", run.fallback())
    })?;
    if let (RunStatus::RolledBack, Some(rollback)) = (status, &run.state.rollback) {
        let left = store.account.left(run, rollback.to_phase);
        ensure(left.is_empty(), || format!("the run is rolled back to {}; left is {left:?}", rollback.to_phase))?;
    }
    Ok(())
}
