//! Running again from a step: what a new run takes over from one that has ended.
//!
//! The new run begins with the outcomes of the steps before, as if they had just ended, and does the rest. What it took
//! over it did not do: no row of its log says so, and it takes none of it back. Which steps those are is decided here,
//! upon the plan of the new run, whose version may be another one: steps are known by their ids.
//!
//! Done again are the step itself and all that follows it, in the graph or in later phases; the steps in which it stands,
//! and what follows those; and whatever did not do what it should, with what follows that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::step::{Step, StepStatus};
use super::{Kept, LastAttempt, Place, Run, RunHeader, RunState};
use crate::Json;
use crate::ids::{ExecutionId, StepNo};
use crate::plan::{FlowPlan, StepKind, StepPlan};
use crate::suggest::meant_or_known;
use crate::words::{OnError, RunStatus};

/// What a new run takes over.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reuse {
    /// By the numbers of the new run's plan.
    pub steps: BTreeMap<StepNo, Reused>,
    /// What the `set` steps among them had set; null: nothing.
    pub vars: Json,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Reused {
    pub status: StepStatus,
    /// Present where the step ended with a result or an error.
    pub outcome: Option<ReusedOutcome>,
}

/// A result or an error that another run's execution left.
#[derive(Debug, Clone, PartialEq)]
pub struct ReusedOutcome {
    /// The execution that did it: of the run that is repeated, or of the one from which that had taken it over.
    pub from: ExecutionId,
    pub result: Option<Json>,
    pub error: Option<String>,
}

/// Why a run cannot be run again from a step. Each says what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReuse {
    #[error("the run is {0}: only a run that has ended is run again; wait for its end, or cancel it")]
    NotEnded(RunStatus),
    #[error("the flow has no step '{step}'{hint}")]
    NoSuchStep { step: String, hint: String },
    #[error("step '{step}' stands in the rounds of '{owner}', which begin together: run it again from '{owner}'")]
    InLoop { step: String, owner: String },
    #[error("step '{step}' was never reached: {why}")]
    NeverReached { step: String, why: String },
    #[error("what step '{before}' did was taken back: run it again from '{before}', or restart the run")]
    TakenBack { before: String },
    #[error("the version does not fit: step '{before}' comes before '{step}', and {why}; run it again from '{before}'")]
    DoesNotFit { step: String, before: String, why: &'static str },
    #[error("the log does not have the result of step '{before}' any more: restart the run")]
    Gone { before: String },
    #[error("loop '{before}' set values in its rounds, and the run itself took it over: run the earlier run again")]
    ValuesUnknown { before: String },
}

/// Why one step's outcome is not taken over.
enum Unkept {
    Unknown(&'static str),
    NotDone,
    TakenBack,
    Gone,
}

impl Reuse {
    /// The outcomes, as whoever loads the run finds them.
    pub fn outcomes(&self) -> impl Iterator<Item = LastAttempt> {
        self.steps.iter().filter_map(|(no, reused)| {
            let ReusedOutcome { from, result, error } = reused.outcome.clone()?;
            let result = result.map(Kept::Here);
            Some(LastAttempt { step: *no, attempt: 0, is_final: true, result, error, reused_from: Some(from) })
        })
    }
}

impl Run {
    /// A run that was accepted and has not begun, with what it takes over.
    pub fn taking_over(header: Arc<RunHeader>, plan: Arc<FlowPlan>, reuse: &Reuse) -> Self {
        let mut state = RunState { vars: reuse.vars.clone(), ..RunState::default() };
        state.steps = vec![Step::BLOCKED; plan.fixed];
        for (no, reused) in &reuse.steps {
            state.steps[*no as usize] = Step { status: reused.status, live: None };
            state.reused.insert(*no);
        }
        let mut run = Self::of_state(header, plan, state);
        for (no, reused) in &reuse.steps {
            let outcome = reused.outcome.as_ref();
            let error = outcome.and_then(|outcome| outcome.error.as_deref());
            let result = outcome.and_then(|outcome| outcome.result.clone());
            run.remember(*no, result.map(Into::into), error);
        }
        run
    }

    /// What a new run of this plan takes over from this one when it begins at a step. `log` is what the store holds of
    /// this run, with large results brought.
    pub fn reuse(&self, log: &[LastAttempt], plan: &FlowPlan, from: &str) -> Result<Reuse, NoReuse> {
        if !self.state.status.is_terminal() {
            return Err(NoReuse::NotEnded(self.state.status));
        }
        let ids: Vec<&str> = plan.steps.iter().map(|step| &*step.id).collect();
        let Some(first) = ids.iter().position(|id| *id == from) else {
            let hint = meant_or_known(from, &ids[..ids.len().min(20)], "its steps are");
            return Err(NoReuse::NoSuchStep { step: from.to_owned(), hint });
        };
        Rerun::new(self, log, plan, first as StepNo)?.taken_over()
    }
}

/// The decision in the making. Numbers are those of the new plan, but where a name says otherwise.
struct Rerun<'a> {
    old: &'a Run,
    plan: &'a FlowPlan,
    /// The old numbers of steps, by id.
    numbers: BTreeMap<&'a str, StepNo>,
    /// By old numbers: what the log has, and what the old run itself had taken over.
    outcomes: BTreeMap<StepNo, &'a LastAttempt>,
    /// Old numbers of what was taken back, and of what that stands in.
    taken_back: BTreeSet<StepNo>,
    /// The step, and those in which it stands, outermost last.
    path: Vec<StepNo>,
    /// What the members of the path wait for, directly or not.
    before: BTreeSet<StepNo>,
    again: BTreeSet<StepNo>,
    reuse: Reuse,
}

impl<'a> Rerun<'a> {
    fn new(old: &'a Run, log: &'a [LastAttempt], plan: &'a FlowPlan, first: StepNo) -> Result<Self, NoReuse> {
        let mut path = vec![first];
        while let Some(parent) = plan.steps[path[path.len() - 1] as usize].parent {
            path.push(parent);
        }
        if let Some(owner) = path.iter().rev().find(|no| **no != first && is_loop(&plan.steps[**no as usize])) {
            let [step, owner] = [first, *owner].map(|no| plan.steps[no as usize].id.to_string());
            return Err(NoReuse::InLoop { step, owner });
        }
        let fixed = old.plan.steps[..old.plan.fixed].iter();
        let is_own = |attempt: &&LastAttempt| attempt.reused_from.is_some() == old.state.reused.contains(attempt.step);
        let mut before = BTreeSet::new();
        let mut open: Vec<StepNo> = path.iter().flat_map(|no| plan.steps[*no as usize].inputs.clone()).collect();
        while let Some(no) = open.pop() {
            if before.insert(no) {
                open.extend(&plan.steps[no as usize].inputs);
            }
        }
        Ok(Self {
            old,
            plan,
            numbers: (0..).zip(fixed).map(|(no, step)| (&*step.id, no)).collect(),
            outcomes: log.iter().filter(is_own).map(|attempt| (attempt.step, attempt)).collect(),
            taken_back: taken_back(old),
            path,
            before,
            again: BTreeSet::new(),
            reuse: Reuse::default(),
        })
    }

    fn taken_over(mut self) -> Result<Reuse, NoReuse> {
        self.was_reached()?;
        for no in self.path.clone() {
            self.do_again(no);
        }
        let mut inside = None;
        for member in self.path.clone().into_iter().rev() {
            let siblings = self.siblings(inside);
            self.look_at(&siblings)?;
            self.is_ready(member)?;
            let kept: Vec<StepNo> = siblings.into_iter().filter(|no| !self.again.contains(no)).collect();
            kept.into_iter().for_each(|no| self.keep(no));
            inside = Some(member);
        }
        self.reuse.vars = self.vars()?;
        Ok(self.reuse)
    }

    fn step(&self, no: StepNo) -> &'a StepPlan {
        &self.plan.steps[no as usize]
    }

    fn name(&self, no: StepNo) -> String {
        self.step(no).id.to_string()
    }

    fn old_status(&self, old_no: StepNo) -> StepStatus {
        self.old.state.steps[old_no as usize].status
    }

    /// The steps that stand directly in a step, or in none.
    fn siblings(&self, inside: Option<StepNo>) -> Vec<StepNo> {
        match inside {
            Some(no) => self.step(no).children.clone(),
            None => (0..self.plan.fixed as StepNo).filter(|no| self.step(*no).parent.is_none()).collect(),
        }
    }

    /// Where a branch took another way, or what comes before ended the run, there is nothing to begin with.
    fn was_reached(&self) -> Result<(), NoReuse> {
        let first = self.path[0];
        let never = |why: String| Err(NoReuse::NeverReached { step: self.name(first), why });
        for no in self.path.iter().rev() {
            let Some(old_no) = self.numbers.get(&*self.step(*no).id) else { continue };
            let phase = self.old.plan.steps[*old_no as usize].phase;
            if let Some(phase) = phase.filter(|phase| *phase > self.old.state.phase.current) {
                return never(format!(
                    "the run ended before phase {phase}; retry it, or run it again from an earlier step"
                ));
            }
            if self.old_status(*old_no) == StepStatus::SkippedUpstream && self.step(*no).inputs.is_empty() {
                return never("a branch took another way".to_owned());
            }
        }
        Ok(())
    }

    /// A step is done again, and what follows it; but not what the first comes after.
    fn do_again(&mut self, no: StepNo) {
        let mut open = vec![no];
        while let Some(no) = open.pop() {
            if self.before.contains(&no) || !self.again.insert(no) {
                continue;
            }
            open.extend(&self.step(no).dependents);
            if let Some(phase) = self.step(no).phase {
                let later = |other: &StepNo| self.step(*other).phase.is_some_and(|other| other > phase);
                open.extend(self.siblings(None).into_iter().filter(later));
            }
        }
    }

    /// What did not do what it should is done again; but what comes before the first must be there.
    fn look_at(&mut self, siblings: &[StepNo]) -> Result<(), NoReuse> {
        for no in siblings {
            if self.again.contains(no) {
                continue;
            }
            let is_before = self.before.contains(no);
            match self.kept(*no) {
                Ok(_) => {}
                Err(Unkept::Gone) => return Err(NoReuse::Gone { before: self.name(*no) }),
                Err(Unkept::TakenBack) if is_before => return Err(NoReuse::TakenBack { before: self.name(*no) }),
                Err(Unkept::Unknown(why)) if is_before => {
                    let [step, before] = [self.path[0], *no].map(|no| self.name(no));
                    return Err(NoReuse::DoesNotFit { step, before, why });
                }
                Err(Unkept::NotDone) if is_before => {
                    self.again.insert(*no);
                }
                Err(Unkept::NotDone | Unkept::TakenBack | Unkept::Unknown(_)) => self.do_again(*no),
            }
        }
        Ok(())
    }

    /// Whether a step would begin at once.
    fn is_ready(&self, member: StepNo) -> Result<(), NoReuse> {
        let inputs = &self.step(member).inputs;
        let missing = |no: &&StepNo| self.again.contains(no) || !self.satisfied(**no);
        let Some(first) = inputs.iter().find(missing) else { return Ok(()) };
        if inputs.iter().filter(|no| !missing(no)).count() >= self.step(member).needed {
            return Ok(());
        }
        let status = self.numbers.get(&*self.step(*first).id).map(|old_no| self.old_status(*old_no).execution_status());
        let (before, status) = (self.name(*first), status.map_or("new", |status| status.as_str()));
        let why = format!("step '{before}' before it is {status}; retry the run, or run it again from '{before}'");
        Err(NoReuse::NeverReached { step: self.name(self.path[0]), why })
    }

    fn satisfied(&self, no: StepNo) -> bool {
        let status = self.numbers.get(&*self.step(no).id).map(|old_no| self.old_status(*old_no));
        status.is_some_and(|status| status.satisfies() || (status.fails_the_run() && self.tolerates(no)))
    }

    fn tolerates(&self, no: StepNo) -> bool {
        self.step(no).on_error == OnError::Continue
    }

    /// The old number of a step whose outcome can be taken over.
    fn kept(&self, no: StepNo) -> Result<StepNo, Unkept> {
        let own = self.step(no);
        let old_no = *self.numbers.get(&*own.id).ok_or(Unkept::Unknown("the run did not have it"))?;
        let old = &self.old.plan.steps[old_no as usize];
        let place = |plan: &FlowPlan, step: &StepPlan| step.parent.map(|parent| plan.steps[parent as usize].id.clone());
        if old.action_type != own.action_type || place(&self.old.plan, old) != place(self.plan, own) {
            return Err(Unkept::Unknown("in the run it was another kind of step"));
        }
        let status = self.old_status(old_no);
        let is_done = matches!(status, StepStatus::Completed | StepStatus::SkippedByWhen);
        let is_tolerated = status.fails_the_run() && self.tolerates(no);
        if !is_done && !is_tolerated {
            return Err(Unkept::NotDone);
        }
        self.has_all(no, old_no)?;
        Ok(old_no)
    }

    /// Whether all that is visible of a step is there: of what stands in it, too.
    fn has_all(&self, no: StepNo, old_no: StepNo) -> Result<(), Unkept> {
        if self.taken_back.contains(&old_no) {
            return Err(Unkept::TakenBack);
        }
        if self.old_status(old_no).has_outcome() && !self.outcomes.get(&old_no).is_some_and(|last| last.is_final) {
            return Err(Unkept::Gone);
        }
        if is_loop(self.step(no)) {
            return Ok(());
        }
        for child in &self.step(no).children {
            let unknown = Unkept::Unknown("the run did not have all that stands in it");
            let old_child = *self.numbers.get(&*self.step(*child).id).ok_or(unknown)?;
            self.has_all(*child, old_child)?;
        }
        Ok(())
    }

    /// Takes a step over, with what stands in it.
    fn keep(&mut self, no: StepNo) {
        let Some(old_no) = self.numbers.get(&*self.step(no).id).copied() else { return };
        let status = self.old_status(old_no);
        let outcome = self.outcomes.get(&old_no).filter(|_| status.has_outcome()).map(|last| ReusedOutcome {
            from: last.reused_from.unwrap_or_else(|| self.old.header.id.execution(old_no)),
            result: last.result.as_ref().and_then(Kept::here).cloned(),
            error: last.error.clone(),
        });
        self.reuse.steps.insert(no, Reused { status, outcome });
        if !is_loop(self.step(no)) {
            self.step(no).children.iter().for_each(|child| self.keep(*child));
        }
    }

    /// What the `set` steps that are taken over had set, in the order of the graph.
    fn vars(&self) -> Result<Json, NoReuse> {
        let old_plan = &self.old.plan;
        let is_set = |step: &StepPlan| matches!(step.kind, StepKind::Set(_) | StepKind::Assign(_));
        if !old_plan.steps.iter().any(is_set) {
            return Ok(Json::default());
        }
        for (no, reused) in &self.reuse.steps {
            let Some(old_no) = self.numbers.get(&*self.step(*no).id) else { continue };
            let body = old_plan.steps[*old_no as usize].kind.body();
            let sets =
                body.is_some_and(|body| old_plan.steps[body.start as usize..body.end as usize].iter().any(is_set));
            if sets && reused.outcome.is_some() && self.old.state.reused.contains(*old_no) {
                return Err(NoReuse::ValuesUnknown { before: self.name(*no) });
            }
        }
        let kept: BTreeSet<&str> = self.reuse.steps.keys().map(|no| &*self.step(*no).id).collect();
        let is_kept_set = |(no, last): &(&StepNo, &&LastAttempt)| {
            let completed = last.is_final && last.error.is_none();
            completed && self.stands_in(**no).is_some_and(|(step, outer)| is_set(step) && kept.contains(outer))
        };
        let mut sets: Vec<StepNo> = self.outcomes.iter().filter(is_kept_set).map(|(no, _)| *no).collect();
        sets.sort_by_key(|no| self.old.depth_key(*no));
        let mut vars = Map::new();
        for last in sets.iter().filter_map(|no| self.outcomes.get(no)) {
            if let Some(Value::Object(values)) = last.result.as_ref().and_then(Kept::here).map(|values| &**values) {
                vars.extend(values.clone());
            }
        }
        Ok(if vars.is_empty() { Json::default() } else { Arc::new(Value::Object(vars)) })
    }

    /// The step of an old execution, and the id of the one that has a number in every run and is it, or has it in its
    /// rounds.
    fn stands_in(&self, old_no: StepNo) -> Option<(&'a StepPlan, &'a str)> {
        let (old, mut outer) = (self.old, old_no);
        let plan_no = match old.state.place(&old.plan, old_no)? {
            Place::Fixed(no) => no,
            Place::Round { base, plan, .. } if !old.state.frames[&base].is_dropped => plan,
            Place::Round { .. } | Place::Undo { .. } => return None,
        };
        while outer as usize >= old.plan.fixed {
            outer = old.container(outer)?;
        }
        Some((&old.plan.steps[plan_no as usize], &*old.plan.steps[outer as usize].id))
    }
}

fn is_loop(step: &StepPlan) -> bool {
    step.kind.body().is_some()
}

/// What the last rollback of a run took back, or was to take back, and what that stands in.
fn taken_back(old: &Run) -> BTreeSet<StepNo> {
    let rollback = old.state.rollback.as_ref();
    let stands = rollback.filter(|rollback| !rollback.is_over || old.state.status == RunStatus::RolledBack);
    let targets =
        stands.and_then(|rollback| old.state.frames.get(&rollback.base)).map(|frame| frame.targets.as_slice());
    let mut found = BTreeSet::new();
    for target in targets.unwrap_or_default() {
        let mut at = Some(*target);
        while let Some(no) = at.filter(|no| found.insert(*no)) {
            at = old.container(no);
        }
    }
    found
}
