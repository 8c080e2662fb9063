//! Where an execution stands in its flow's plan.
//!
//! The steps of a flow have their plan's numbers in every run. Copies of a loop's body, one a round, and the executions
//! that take steps back have numbers past the end of the plan: a *frame* is a range of them, laid out when the loop or
//! the rollback begins. Frames stay for as long as the run does, so that a number always means the same.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Run, RunState};
use crate::Json;
use crate::expr::Scope;
use crate::ids::StepNo;
use crate::plan::{FlowPlan, StepPlan};

/// Where nothing is set there is an object without members: `has(vars.x)` is false, and no error.
static NO_VARS: LazyLock<Json> = LazyLock::new(|| Arc::new(json!({})));

/// What is set, as expressions name it.
pub(super) fn shown(vars: &Json) -> Json {
    if vars.is_null() { Arc::clone(&NO_VARS) } else { vars.clone() }
}

/// A range of numbers past the end of the plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The loop whose rounds these are; absent: executions that take steps back.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<StepNo>,
    /// How many rounds there are, or may be at most.
    #[serde(rename = "r", default, skip_serializing_if = "super::step::is_zero")]
    pub rounds: u32,
    /// When the loop was released: the `now` of its collection, whenever that is computed again.
    #[serde(rename = "at", default, skip_serializing_if = "is_zero_ms")]
    pub released_at_ms: i64,
    /// What was set when the loop was released, where its collection names `vars`: they change, and the collection is
    /// computed again.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub vars: Option<Json>,
    /// The loop begins anew, with other numbers. What it did before stays, until it is taken back.
    #[serde(rename = "z", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_dropped: bool,
    /// How many have been opened.
    #[serde(rename = "x", default, skip_serializing_if = "super::step::is_zero")]
    pub opened: u32,
    /// Rounds that failed, as ranges.
    #[serde(rename = "b", default, skip_serializing_if = "Ranges::is_empty")]
    pub bad: Ranges,
    /// Rounds that are to be made again.
    #[serde(rename = "a", default, skip_serializing_if = "Ranges::is_empty")]
    pub again: Ranges,
    /// Executions of rounds that are over, completed, and can be taken back.
    #[serde(rename = "d", default, skip_serializing_if = "Ranges::is_empty")]
    pub undoable: Ranges,
    /// The executions that are taken back, in the order in which that is done.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<StepNo>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero_ms(ms: &i64) -> bool {
    *ms == 0
}

/// A set of numbers, kept as ranges: what a loop leaves behind is mostly in a row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a number.
    pub fn insert(&mut self, number: u32) {
        let at = self.0.partition_point(|(_, last)| *last < number);
        if self.0.get(at).is_some_and(|(first, _)| *first <= number) {
            return;
        }
        let joins_before = at > 0 && self.0[at - 1].1 + 1 == number;
        let joins_after = self.0.get(at).is_some_and(|(first, _)| *first == number + 1);
        match (joins_before, joins_after) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
    }

    /// Takes a number out, where it is in.
    pub fn remove(&mut self, number: u32) {
        let at = self.0.partition_point(|(_, last)| *last < number);
        let Some((first, last)) = self.0.get(at).copied().filter(|(first, _)| *first <= number) else { return };
        let before = (first < number).then(|| (first, number - 1));
        let after = (number < last).then(|| (number + 1, last));
        self.0.splice(at..=at, before.into_iter().chain(after));
    }

    /// Takes the smallest number out.
    pub fn pop(&mut self) -> Option<u32> {
        let (first, last) = *self.0.first()?;
        if first == last {
            self.0.remove(0);
        } else {
            self.0[0].0 += 1;
        }
        Some(first)
    }

    /// Whether a number is among them.
    pub fn contains(&self, number: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// How many numbers there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The numbers, smallest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }
}

/// Where an execution stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A step of the flow.
    Fixed(StepNo),
    /// A step of a round: the frame's first number, the round, the step's number in the plan.
    Round { base: StepNo, round: u32, plan: StepNo },
    /// Takes an execution back: the frame's first number, and which.
    Undo { base: StepNo, target: StepNo },
}

/// Which part of a plan an execution follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanRef {
    Step(StepNo),
    Undo(StepNo),
    Verify(StepNo),
}

impl FlowPlan {
    /// The part of the plan; an execution only ever follows one that exists.
    pub fn part(&self, part: PlanRef) -> &StepPlan {
        let missing = "it was made for this plan";
        match part {
            PlanRef::Step(no) => &self.steps[no as usize],
            PlanRef::Undo(no) => self.steps[no as usize].undo.as_deref().expect(missing),
            PlanRef::Verify(no) => self.steps[no as usize].verify.as_deref().expect(missing),
        }
    }
}

impl RunState {
    /// The first number that no frame has.
    pub fn next_number(&self, plan: &FlowPlan) -> StepNo {
        let ends = self.frames.iter().map(|(base, frame)| base + frame.size(plan, self));
        ends.max().unwrap_or(plan.steps.len() as StepNo)
    }

    /// Where an execution stands; `None` for a number that the run has not given.
    pub fn place(&self, plan: &FlowPlan, no: StepNo) -> Option<Place> {
        if (no as usize) < plan.fixed {
            return Some(Place::Fixed(no));
        }
        let (base, frame) = self.frames.range(..=no).next_back()?;
        let within = no - base;
        let Some(owner) = frame.owner else {
            return frame.targets.get(within as usize).map(|target| Place::Undo { base: *base, target: *target });
        };
        let body = plan.steps[self.plan_no(plan, owner)? as usize].kind.body()?;
        let (round, step) = (within / body.len() as u32, within % body.len() as u32);
        (round < frame.rounds).then_some(Place::Round { base: *base, round, plan: body.start + step })
    }

    /// The number in the plan of the step that an execution is of, or takes back.
    pub fn plan_no(&self, plan: &FlowPlan, no: StepNo) -> Option<StepNo> {
        match self.place(plan, no)? {
            Place::Fixed(no) | Place::Round { plan: no, .. } => Some(no),
            Place::Undo { target, .. } => self.plan_no(plan, target),
        }
    }

    /// Which part of the plan an execution follows, but for a probe.
    pub fn plan_ref(&self, plan: &FlowPlan, no: StepNo) -> Option<PlanRef> {
        Some(match self.place(plan, no)? {
            Place::Fixed(no) | Place::Round { plan: no, .. } => PlanRef::Step(no),
            Place::Undo { target, .. } => PlanRef::Undo(self.plan_no(plan, target)?),
        })
    }
}

impl Frame {
    fn size(&self, plan: &FlowPlan, state: &RunState) -> u32 {
        let body = self.owner.and_then(|owner| plan.steps[state.plan_no(plan, owner)? as usize].kind.body());
        body.map_or(self.targets.len() as u32, |body| body.len() as u32 * self.rounds)
    }
}

impl Run {
    /// What an execution does.
    ///
    /// # Panics
    /// For a number that this run has not given: commands are checked before.
    pub fn step_plan(&self, no: StepNo) -> &StepPlan {
        self.plan.part(self.plan_ref(no))
    }

    /// Which part of the plan an execution follows now.
    pub fn plan_ref(&self, no: StepNo) -> PlanRef {
        let part = self.state.plan_ref(&self.plan, no).expect("the run has given this number");
        let verifies = self.state.get(no).and_then(|s| s.live.as_deref()).is_some_and(|live| live.verifying);
        match part {
            PlanRef::Step(no) if verifies => PlanRef::Verify(no),
            part => part,
        }
    }

    pub(super) fn place(&self, no: StepNo) -> Place {
        self.state.place(&self.plan, no).expect("the run has given this number")
    }

    /// The execution, beside this one, of another step of the plan: in the same round, or in none.
    pub(super) fn beside(&self, no: StepNo, plan: StepNo) -> StepNo {
        match self.place(no) {
            Place::Round { base, round, .. } => {
                let body = self.body(base);
                base + round * body.len() as u32 + (plan - body.start)
            }
            Place::Fixed(_) | Place::Undo { .. } => plan,
        }
    }

    /// The executions, beside this one, of other steps of the plan.
    pub fn all_beside(&self, no: StepNo, plans: &[StepNo]) -> Vec<StepNo> {
        plans.iter().map(|plan| self.beside(no, *plan)).collect()
    }

    /// The execution in which this one stands.
    pub fn container(&self, no: StepNo) -> Option<StepNo> {
        match self.place(no) {
            Place::Fixed(no) => self.plan.steps[no as usize].parent,
            Place::Undo { .. } => None,
            Place::Round { base, plan, .. } => {
                let (parent, owner) = (self.plan.steps[plan as usize].parent?, self.state.frames[&base].owner?);
                let is_loop = self.state.plan_no(&self.plan, owner) == Some(parent);
                Some(if is_loop { owner } else { self.beside(no, parent) })
            }
        }
    }

    /// The plan numbers of the steps of a frame's rounds.
    pub(super) fn body(&self, base: StepNo) -> std::ops::Range<StepNo> {
        let owner = self.state.frames[&base].owner.expect("only the frames of loops have bodies");
        let owner = self.state.plan_no(&self.plan, owner).expect("a frame's owner was given its number before");
        self.plan.steps[owner as usize].kind.body().expect("a frame's owner is a loop")
    }

    /// The frame of a loop.
    pub(super) fn frame_of(&self, owner: StepNo) -> Option<StepNo> {
        let of_owner = |frame: &Frame| frame.owner == Some(owner) && !frame.is_dropped;
        self.state.frames.iter().rev().find(|(_, frame)| of_owner(frame)).map(|(base, _)| *base)
    }

    /// What the expressions of an execution may name, as of `now_ms`.
    pub(super) fn scope(&self, no: StepNo, now_ms: i64) -> Scope {
        let mut scope = self.header.scope(self.results.clone(), now_ms);
        if let Some(executions) = &self.executions {
            scope.steps = std::mem::take(&mut scope.steps).with_executions(executions.clone());
        }
        scope.vars = shown(&self.state.vars);
        // Inner rounds hide nothing of the outer ones, as ids are unique; `loop` is the innermost.
        let mut rounds = Vec::new();
        let mut at = no;
        loop {
            match self.place(at) {
                Place::Fixed(_) => break,
                Place::Undo { target, .. } => at = target,
                Place::Round { base, round, .. } => {
                    rounds.push((base, round));
                    match self.state.frames[&base].owner {
                        Some(owner) => at = owner,
                        None => break,
                    }
                }
            }
        }
        if let Some((base, round)) = rounds.first() {
            let item = self.items.get(base).and_then(|items| items.get(*round as usize)).cloned().unwrap_or_default();
            scope.round = Arc::new(json!({"item": item, "index": round}));
        }
        for key in rounds.iter().rev() {
            if let Some(results) = self.rounds.get(key) {
                scope.steps = std::mem::take(&mut scope.steps).with_round(results.clone());
            }
        }
        scope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_give_back_what_they_were_given() {
        let mut ranges = Ranges::default();
        for number in [5, 3, 4, 9, 4, 1, 2, 8] {
            ranges.insert(number);
        }
        assert_eq!(ranges.0, [(1, 5), (8, 9)]);
        assert_eq!((ranges.len(), ranges.pop(), ranges.pop()), (7, Some(1), Some(2)));
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [3, 4, 5, 8, 9]);
        assert_eq!(serde_json::to_string(&ranges).unwrap(), "[[3,5],[8,9]]");
        assert_eq!([2, 3, 5, 6, 9, 10].map(|n| ranges.contains(n)), [false, true, true, false, true, false]);
        [4, 6, 9].into_iter().for_each(|number| ranges.remove(number));
        assert_eq!(ranges.0, [(3, 3), (5, 5), (8, 8)]);
        [3, 8, 5].into_iter().for_each(|number| ranges.remove(number));
        assert!(ranges.is_empty());
    }
}
