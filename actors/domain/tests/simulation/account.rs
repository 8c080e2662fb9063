//! What took effect outside, and was taken back: an account that is kept of the log alone, and knows nothing of how a
//! run keeps its own.

use std::collections::{BTreeMap, BTreeSet};

use core314_domain::ids::StepNo;
use core314_domain::log::{LogEntry, OUTCOME_UNKNOWN};
use core314_domain::plan::FlowPlan;
use core314_domain::run::step::StepStatus;
use core314_domain::run::{Change, Place, PlanRef, Run, UndoWay};
use core314_domain::words::{ExecutionStatus, OnError, PhaseStatus};

use super::checks::{Check, ensure};

/// The account of one run.
#[derive(Debug, Clone, Default)]
pub struct Account {
    /// Executions that took effect.
    done: BTreeSet<StepNo>,
    /// Executions of which nobody knows.
    unknown: BTreeSet<StepNo>,
    /// What the present rollback takes back, in its order, and how much of that is settled.
    targets: Vec<StepNo>,
    settled: usize,
    /// Rollbacks that were begun.
    pub rollbacks: usize,
    /// Undos that were made, or made by hand.
    pub undone: usize,
    /// The last transition of a phase.
    moved: Option<(u32, PhaseStatus)>,
    /// Steps of the flow that have ended, and how.
    ended: BTreeMap<StepNo, StepStatus>,
    /// Steps of the flow that belong to no phase, with the one that they came in: the next, where all of one had ended.
    came_in: BTreeMap<StepNo, u32>,
}

impl Account {
    /// A change is stored. `before` is the run as it was; what a change says of executions is read there, or in `after`.
    pub fn note(&mut self, change: &Change, before: &Run, after: &Run) -> Check {
        match change {
            Change::AttemptLogged(entry) => self.logged(entry, after),
            Change::RollbackBegan { base, targets, to_phase, .. } => self.began(*base, targets, *to_phase, after)?,
            Change::UndoOpened { step } => {
                let next = self.targets.get(self.settled).copied();
                let opened = target_of(after, *step);
                ensure(opened.is_some() && opened == next, || format!("{opened:?} is undone, and {next:?} is next"))?;
            }
            Change::UndoSettled { step, way } => self.undo_settled(*step, way, after)?,
            Change::RollbackEnded { .. } => {
                let open = self.targets.len() - self.settled;
                ensure(open == 0, || format!("a rollback is over and {open} of its undos are not"))?;
            }
            Change::PhaseMoved(moved) => {
                self.moved(moved.phase, moved.status, before, after)?;
                if moved.status == PhaseStatus::Started {
                    self.begins(moved.phase, &after.plan);
                }
            }
            Change::StepReleased { step, .. } => self.came(*step, &after.plan),
            Change::StepEnded { step, status } if (*step as usize) < after.plan.fixed => {
                self.ended.insert(*step, *status);
                self.came(*step, &after.plan);
            }
            Change::StepReset { step } => {
                self.ended.remove(step);
                self.came_in.remove(step);
            }
            _ => {}
        }
        Ok(())
    }

    fn logged(&mut self, entry: &LogEntry, after: &Run) {
        let no = entry.step;
        let Some(PlanRef::Step(plan)) = after.state.plan_ref(&after.plan, no) else { return };
        let plan = &after.plan.steps[plan as usize];
        if plan.undo.is_none() {
            return;
        }
        let code = entry.failure.as_ref().map(|failure| failure.code.as_str());
        // A probe says with this word that the attempt before had no effect.
        if entry.status == ExecutionStatus::Completed {
            self.unknown.remove(&no);
            self.done.insert(no);
        } else if code == Some(OUTCOME_UNKNOWN) {
            self.unknown.insert(no);
        } else if code == Some(super::effects::NO_EFFECT) {
            self.unknown.remove(&no);
        }
    }

    /// A step of the flow has begun, or has ended without that.
    fn came(&mut self, no: StepNo, plan: &FlowPlan) {
        let is_free =
            plan.steps[..plan.fixed].get(no as usize).is_some_and(|s| s.parent.is_none() && s.phase.is_none());
        let Some((phase, status)) = self.moved.filter(|_| is_free) else { return };
        let of_phase = |no: &StepNo| plan.steps[*no as usize].phase == Some(phase);
        let all_over = (0..plan.fixed as StepNo).filter(of_phase).all(|no| self.ended.contains_key(&no));
        let is_over = status != PhaseStatus::Started || all_over;
        if self.came_in.contains_key(&no) {
            return;
        }
        let phase = self.not_before(no, phase + u32::from(is_over), plan);
        self.came_in.insert(no, phase);
    }

    /// A phase begins, perhaps anew: whatever came in later ones was there before it, but for what came of those.
    fn begins(&mut self, phase: u32, plan: &FlowPlan) {
        let mut later: Vec<StepNo> = self.came_in.iter().filter(|(_, at)| **at > phase).map(|(no, _)| *no).collect();
        later.sort_by_key(|no| plan.rank(*no));
        for no in later {
            let phase = self.not_before(no, phase, plan).min(self.came_in[&no]);
            self.came_in.insert(no, phase);
        }
    }

    /// The phase, or that of a later one of which the step came.
    fn not_before(&self, no: StepNo, phase: u32, plan: &FlowPlan) -> u32 {
        let inputs = plan.steps[no as usize].inputs.iter();
        let done = inputs.filter(|input| self.ended.contains_key(*input));
        let of = |input: &StepNo| plan.steps[*input as usize].phase.or_else(|| self.came_in.get(input).copied());
        done.filter_map(of).fold(phase, u32::max)
    }

    /// Whether an execution stands in a step that came after the end of a phase, or, belonging to none, has yet to do what it
    /// should.
    fn is_after(&self, run: &Run, no: StepNo, to_phase: u32) -> bool {
        let outer = path(run, no)[0];
        let plan = &run.plan.steps[outer as usize];
        let came_in = || self.came_in.get(&outer).copied();
        let ended = self.ended.get(&outer).copied();
        let tolerated = |status: StepStatus| status.fails_the_run() && plan.on_error == OnError::Continue;
        let is_bad = |status: StepStatus| !status.satisfies() && !tolerated(status);
        let is_open = plan.phase.is_none() && ended.is_some_and(is_bad);
        to_phase == 0 || is_open || plan.phase.or_else(came_in).is_some_and(|phase| phase > to_phase)
    }

    /// Exactly what completed or may have, after the phase; and nothing before what came of it.
    fn began(&mut self, base: StepNo, targets: &[StepNo], to_phase: u32, after: &Run) -> Check {
        let belongs = |no: &StepNo| self.is_after(after, *no, to_phase);
        let expected: BTreeSet<StepNo> = self.done.union(&self.unknown).copied().filter(belongs).collect();
        let found: BTreeSet<StepNo> = targets.iter().copied().collect();
        ensure(found.len() == targets.len(), || format!("{targets:?} would be undone, one of them twice"))?;
        ensure(found == expected, || {
            format!("{found:?} would be undone to phase {to_phase}; {expected:?} took effect or may have")
        })?;
        for (at, later) in targets.iter().enumerate() {
            for earlier in &targets[at + 1..] {
                ensure(!comes_after(after, *earlier, *later), || {
                    format!("{later} would be undone before {earlier}, which came of it ({targets:?})")
                })?;
            }
        }
        let is_laid_out = after.state.frames.get(&base).is_some_and(|frame| frame.targets == targets);
        ensure(targets.is_empty() || is_laid_out, || "a rollback has other executions than targets".into())?;
        self.targets = targets.to_vec();
        self.settled = 0;
        self.rollbacks += 1;
        Ok(())
    }

    fn undo_settled(&mut self, step: StepNo, way: &UndoWay, after: &Run) -> Check {
        if *way == UndoWay::Retry {
            return Ok(());
        }
        let target = target_of(after, step);
        let next = self.targets.get(self.settled).copied();
        ensure(target.is_some() && target == next, || format!("{target:?} is settled, and {next:?} is next"))?;
        if let Some(target) = target {
            self.done.remove(&target);
            self.unknown.remove(&target);
        }
        self.settled += 1;
        self.undone += usize::from(*way == UndoWay::Done);
        Ok(())
    }

    /// Phases come one after the other, and end once.
    fn moved(&mut self, phase: u32, status: PhaseStatus, before: &Run, after: &Run) -> Check {
        use PhaseStatus::{Completed, Failed, RolledBack, Started};
        let last = self.moved.replace((phase, status));
        let taken_up = after.state.reopened > before.state.reopened || before.state.paused_by.is_some();
        let to = after.state.rollback.as_ref().map(|rollback| rollback.to_phase);
        let follows = match (status, last) {
            (Started, None) => phase == 1,
            // A retry may begin with a step of the phase that was over, or of one before it.
            (Started, Some((last, Completed))) => phase == last + 1 || (taken_up && phase <= last),
            (Started, Some((_, RolledBack))) => to.is_some_and(|to| phase == to + 1),
            // One that a `stop` ended as failed has nothing left to do: what follows it is taken up.
            (Started, Some((last, Failed))) => taken_up && phase <= last + 1,
            (Completed | Failed, Some((last, Started))) | (RolledBack, Some((last, Failed | Completed | Started))) => {
                phase == last
            }
            _ => false,
        };
        ensure(follows, || format!("phase {phase} is {status:?} after {last:?}"))
    }

    /// An undo takes place.
    pub fn may_undo(&self, target: StepNo) -> Check {
        let next = self.targets.get(self.settled).copied();
        ensure(next == Some(target), || format!("{target} is undone while the next to undo is {next:?}"))?;
        let is_there = self.done.contains(&target) || self.unknown.contains(&target);
        ensure(is_there, || format!("{target} is undone and took no effect"))
    }

    /// What is left of what took effect after a phase.
    pub fn left(&self, run: &Run, to_phase: u32) -> Vec<StepNo> {
        let belongs = |no: &StepNo| self.is_after(run, *no, to_phase);
        self.done.union(&self.unknown).copied().filter(belongs).collect()
    }
}

fn target_of(run: &Run, no: StepNo) -> Option<StepNo> {
    match run.state.place(&run.plan, no) {
        Some(Place::Undo { target, .. }) => Some(target),
        _ => None,
    }
}

/// The executions in which one stands, outermost first, itself last.
fn path(run: &Run, no: StepNo) -> Vec<StepNo> {
    let mut path = vec![no];
    while let Some(container) = run.container(path[path.len() - 1]) {
        path.push(container);
    }
    path.reverse();
    path
}

/// Whether one execution could only begin once the other was over.
fn comes_after(run: &Run, no: StepNo, other: StepNo) -> bool {
    let (own, others) = (path(run, no), path(run, other));
    let common = own.iter().zip(&others).take_while(|(a, b)| a == b).count();
    let (Some(a), Some(b)) = (own.get(common), others.get(common)) else {
        // What holds others is over when they are.
        return own.len() < others.len();
    };
    let place = |no| run.state.place(&run.plan, no);
    let (plan_a, plan_b, rounds) = match (place(*a), place(*b)) {
        (Some(Place::Fixed(a)), Some(Place::Fixed(b))) => (a, b, None),
        // A loop that began anew has other numbers than before.
        (Some(Place::Round { base: a, .. }), Some(Place::Round { base: b, .. })) if a != b => return a > b,
        (Some(Place::Round { plan: a, round: of_a, .. }), Some(Place::Round { plan: b, round: of_b, .. })) => {
            (a, b, Some((of_a, of_b)))
        }
        _ => return false,
    };
    if let Some((of_a, of_b)) = rounds.filter(|(of_a, of_b)| of_a != of_b) {
        let concurrency = match &run.plan.steps[run.plan.steps[plan_a as usize].parent.expect("a loop") as usize].kind {
            core314_domain::plan::StepKind::ForEach(each) => each.concurrency,
            _ => 1,
        };
        return concurrency == 1 && of_a > of_b;
    }
    waits_for(&run.plan, plan_a, plan_b)
}

/// Whether a step of the plan waits for another, by its inputs or by their phases.
fn waits_for(plan: &FlowPlan, step: StepNo, other: StepNo) -> bool {
    let mut open = vec![step];
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop() {
        let here = &plan.steps[at as usize];
        let before = |phase: u32| {
            let of_phase = move |no: &StepNo| plan.steps[*no as usize].phase.is_some_and(|p| p < phase);
            (0..plan.fixed as StepNo).filter(of_phase)
        };
        let by_phase = here.phase.filter(|_| here.parent.is_none()).into_iter().flat_map(before);
        for input in here.inputs.iter().copied().chain(by_phase) {
            if input == other {
                return true;
            }
            if seen.insert(input) {
                open.push(input);
            }
        }
    }
    false
}
