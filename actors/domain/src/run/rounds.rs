//! Loops: a body of steps, for every item of a list or while a condition holds.
//!
//! Only the rounds under way have executions in the run's state; of those that are over it keeps how many there were, and
//! which failed. That keeps a run of a hundred thousand rounds as small as one of fifty. What each round gave is in the
//! log; in memory it waits for the loop's own result, in chunks that copies of the run share.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::chunks::Chunks;
use super::decide::Decider;
use super::place::{Place, shown};
use super::release::too_large;
use super::step::{Live, StepStatus};
use super::{Change, Frame, LastAttempt, Run};
use crate::Json;
use crate::expr::{Output, StepView};
use crate::ids::{MAX_STEPS, StepNo};
use crate::log::Failure;
use crate::plan::{ForEachPlan, StepKind, WhilePlan};

/// The most rounds that one decision opens.
const ROUNDS_A_DECISION: u32 = 128;
/// The most executions of rounds that a run has at once.
const MAX_LOOSE: usize = 20_000;
/// The most items of a loop.
const MAX_ITEMS: usize = 100_000;

/// What rounds gave, by their number.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    outputs: Chunks<Output>,
    bytes: usize,
}

impl Given {
    pub fn put(&mut self, round: u32, output: Output) {
        let now = output.bytes();
        let before = self.outputs.put(round, output).bytes();
        self.bytes = (self.bytes + now).saturating_sub(before);
    }

    pub fn get(&self, round: u32) -> Output {
        self.outputs.get(round)
    }
}

impl Decider<'_> {
    pub(super) fn begin_for_each(&mut self, no: StepNo, each: &ForEachPlan) {
        if let Some(base) = self.draft.frame_of(no).filter(|base| self.draft.items.contains_key(base)) {
            // It failed before and is taken up again: only what has not been done is done.
            self.waits(no, self.live(no));
            self.emit(Change::LoopReopened { base });
            self.take_up_rounds(no);
            return self.open_rounds(no);
        }
        let items = match self.draft.items_of(no, each, self.live(no).released_at_ms, None) {
            Ok(items) => items,
            Err(failure) => return self.fails(no, failure),
        };
        if items.is_empty() {
            return self.completes(no, json!({"count": 0, "failed": 0, "results": []}));
        }
        let rounds = items.len() as u32;
        self.open_loop(no, each.body.len() as u32, rounds, Arc::new(items));
    }

    pub(super) fn begin_while(&mut self, no: StepNo, each: &WhilePlan) {
        self.open_loop(no, each.body.len() as u32, each.max_iterations, Arc::default());
    }

    fn open_loop(&mut self, no: StepNo, body: u32, rounds: u32, items: Arc<Vec<Json>>) {
        let base = self.state().next_number(&self.draft.plan);
        if u64::from(base) + u64::from(body) * u64::from(rounds) >= u64::from(MAX_STEPS) {
            let message = format!("{rounds} rounds of {body} steps are more than the {MAX_STEPS} that a run can have");
            return self.fails(no, Failure::fatal("too_many_executions", message));
        }
        let released_at_ms = self.live(no).released_at_ms;
        self.waits(no, self.live(no));
        let depends =
            matches!(&self.plan(no).kind, StepKind::ForEach(each) if each.collection.source().contains("vars"));
        let vars = depends.then(|| shown(&self.state().vars));
        self.emit(Change::LoopOpened { base, owner: no, rounds, released_at_ms, vars, items });
        self.open_rounds(no);
    }

    /// Opens as many rounds as may be under way, and ends the loop when none is left.
    pub(super) fn open_rounds(&mut self, no: StepNo) {
        let Some(base) = self.draft.frame_of(no) else { return };
        loop {
            if self.status(no) != StepStatus::Waiting {
                return;
            }
            let open = self.open_count(base);
            match self.next_round(no, base, open) {
                Next::Round(round) => self.open_round(base, round),
                Next::Later => return self.look_again(no),
                Next::Wait => return,
                Next::Failed(failure) => return self.fails(no, failure),
                Next::Over => return self.loop_over(no, base),
            }
        }
    }

    /// Rounds that never came to their end, because the run did first, go on from what they did not do.
    fn take_up_rounds(&mut self, no: StepNo) {
        let left = self.round_steps(no);
        let direct = |step: &StepNo| self.draft.container(*step) == Some(no);
        let again: Vec<StepNo> = left
            .iter()
            .copied()
            .filter(direct)
            .filter(|no| self.draft.did_not_do(*no) && !self.satisfied(*no))
            .collect();
        again.iter().for_each(|no| self.reset(*no, false));
        again.into_iter().for_each(|no| self.release_if_ready(no));
        // One of which nothing is left to do is over.
        for step in left {
            if self.state().get(step).is_some() {
                self.progress(no, step);
            }
        }
    }

    /// What a loop goes over is computed again when its run is loaded. Where that fails the loop does, in words: its rounds
    /// would have no items.
    pub(super) fn fail_lost_loops(&mut self) {
        let is_lost = |no: &StepNo| {
            self.status(*no) == StepStatus::Waiting
                && matches!(self.plan(*no).kind, StepKind::ForEach(_))
                && self.draft.frame_of(*no).is_some_and(|base| !self.draft.items.contains_key(&base))
        };
        let lost: Vec<StepNo> = self.state().numbers().into_iter().filter(is_lost).collect();
        for no in lost {
            self.cancel_inner(no);
            let message = "its collection can no longer be computed as it was when the loop began";
            self.fails(no, Failure::fatal("invalid_collection", message));
        }
    }

    fn next_round(&self, no: StepNo, base: StepNo, open: u32) -> Next {
        let frame = &self.state().frames[&base];
        let cancelled = self.live(no).cancelled || self.state().closing.is_some();
        let (concurrency, goes_on) = match &self.plan(no).kind {
            StepKind::ForEach(each) => (each.concurrency, frame.bad.is_empty() || !each.stops_on_error),
            _ => (1, frame.bad.is_empty()),
        };
        if open >= concurrency || self.state().loose.len() >= MAX_LOOSE {
            return Next::Wait;
        }
        let round = frame.again.iter().next().or_else(|| (frame.opened < frame.rounds).then_some(frame.opened));
        if cancelled || !goes_on {
            return if open > 0 { Next::Wait } else { Next::Over };
        }
        if let StepKind::While(each) = &self.plan(no).kind {
            let scope = self.while_scope(no, base);
            match each.condition.holds(&scope) {
                Ok(true) if round.is_some() => {}
                Ok(true) => {
                    let message = format!("its condition still holds after {} rounds", each.max_iterations);
                    return Next::Failed(Failure::fatal("max_iterations", message));
                }
                Ok(false) => return Next::Over,
                Err(error) => return Next::Failed(Failure::fatal("expression_error", error.to_string())),
            }
        }
        match round {
            Some(_) if self.rounds_opened >= ROUNDS_A_DECISION => Next::Later,
            Some(round) => Next::Round(round),
            None if open > 0 => Next::Wait,
            None => Next::Over,
        }
    }

    /// The condition of a loop also sees what the round before gave.
    fn while_scope(&self, no: StepNo, base: StepNo) -> crate::expr::Scope {
        let mut scope = self.draft.scope(no, self.now_ms);
        let round = self.state().frames[&base].opened;
        scope.round = Arc::new(json!({"item": null, "index": round}));
        if let Some(results) = round.checked_sub(1).and_then(|last| self.draft.rounds.get(&(base, last))) {
            scope.steps = scope.steps.with_round(results.clone());
        }
        scope
    }

    fn open_round(&mut self, base: StepNo, round: u32) {
        self.rounds_opened += 1;
        let body = self.draft.body(base);
        let first = base + round * body.len() as u32;
        if self.state().frames[&base].again.iter().next() == Some(round) {
            // It is made again as a whole: loops in it begin anew.
            let of_round =
                |frame: &Frame| frame.owner.is_some_and(|owner| (first..first + body.len() as u32).contains(&owner));
            let frames = self.state().frames.iter().filter(|(_, frame)| of_round(frame) && !frame.is_dropped);
            let inner: Vec<StepNo> = frames.map(|(base, _)| *base).collect();
            inner.into_iter().for_each(|base| self.emit(Change::LoopDropped { base }));
        }
        self.emit(Change::RoundOpened { base, round });
        for plan in body.clone() {
            let step = &self.draft.plan.steps[plan as usize];
            let is_outer = step.parent.is_none_or(|parent| !body.contains(&parent));
            if is_outer && step.inputs.is_empty() {
                self.release_if_ready(first + (plan - body.start));
            }
        }
    }

    /// More rounds could open than one decision may: the next one goes on.
    fn look_again(&mut self, no: StepNo) {
        let live = Live { due_at_ms: Some(self.now_ms), ..self.live(no) };
        self.emit(Change::StepAdjusted { step: no, live });
    }

    /// A step of a round has ended; perhaps the round has.
    pub(super) fn round_progress(&mut self, no: StepNo, inner: StepNo) {
        let Place::Round { base, round, .. } = self.draft.place(inner) else { return };
        let steps = self.steps_of_round(base, round);
        if steps.is_empty() || steps.iter().any(|step| !self.status(*step).is_terminal()) {
            return;
        }
        let body = self.draft.body(base);
        let is_outer = |step: &StepNo| {
            let plan = body.start + (step - base) % body.len() as u32;
            self.draft.plan.steps[plan as usize].parent.is_none_or(|parent| !body.contains(&parent))
        };
        let is_bad = steps.iter().filter(|step| is_outer(step)).any(|step| self.has_failed(*step));
        let last = self.plan(no).last.first().copied().flatten();
        let last = last.map(|last| base + round * body.len() as u32 + (last - body.start));
        let output = last.and_then(|last| {
            let scope = self.draft.scope(last, self.now_ms);
            scope.steps.get(&self.plan(last).id).map(|view| view.output.clone())
        });
        self.emit(Change::RoundClosed { base, round, is_bad, output: output.unwrap_or_default() });
        let (bytes, most) = (self.given_bytes(base), self.draft.bounds.result_bytes);
        if bytes > most {
            // All of it would be the loop's result: that it cannot have, and what it has is in the way.
            self.cancel_inner(no);
            return self.fails(no, too_large(bytes, most));
        }
        self.open_rounds(no);
    }

    fn given_bytes(&self, base: StepNo) -> usize {
        self.draft.given.get(&base).map_or(0, |given| given.bytes)
    }

    fn loop_over(&mut self, no: StepNo, base: StepNo) {
        let frame = &self.state().frames[&base];
        let (bad, rounds, opened) = (frame.bad.len(), frame.rounds, frame.opened);
        if self.live(no).cancelled {
            return self.end(no, StepStatus::Cancelled);
        }
        let given = self.draft.given.get(&base).cloned().unwrap_or_default();
        match &self.plan(no).kind {
            StepKind::ForEach(each) if bad > 0 && each.stops_on_error => {
                let failed = frame.bad.iter().next().unwrap_or_default();
                let message = format!("item {failed} failed; {opened} of {rounds} were begun");
                self.fails(no, Failure::fatal("item_failed", message));
            }
            StepKind::ForEach(_) => match (0..rounds).map(|round| at_hand(&given.get(round))).collect() {
                Ok(results) => {
                    let results = Value::Array(results);
                    self.completes(no, json!({"count": rounds, "failed": bad, "results": results}));
                }
                Err(failure) => self.fails(no, failure),
            },
            _ if bad > 0 => {
                self.fails(no, Failure::fatal("item_failed", format!("round {} failed", opened.saturating_sub(1))));
            }
            _ => match opened.checked_sub(1).map(|last| at_hand(&given.get(last))).transpose() {
                Ok(output) => self.completes(no, json!({"iterations": opened, "output": output})),
                Err(failure) => self.fails(no, failure),
            },
        }
    }

    fn open_count(&self, base: StepNo) -> u32 {
        let body = self.draft.body(base).len() as u32;
        let end = base + body * self.state().frames[&base].rounds;
        let mut rounds: Vec<u32> = self.state().loose.range(base..end).map(|(no, _)| (no - base) / body).collect();
        rounds.dedup();
        rounds.len() as u32
    }

    fn steps_of_round(&self, base: StepNo, round: u32) -> Vec<StepNo> {
        let body = self.draft.body(base).len() as u32;
        let first = base + round * body;
        self.state().loose.range(first..first + body).map(|(no, _)| *no).collect()
    }

    /// The executions of a loop's rounds under way; none of any other step.
    pub(super) fn round_steps(&self, no: StepNo) -> Vec<StepNo> {
        let Some(base) = self.plan(no).kind.body().and_then(|_| self.draft.frame_of(no)) else { return Vec::new() };
        let end = base + self.draft.body(base).len() as u32 * self.state().frames[&base].rounds;
        self.state().loose.range(base..end).map(|(no, _)| *no).collect()
    }
}

/// A copy of what a round gave.
fn at_hand(output: &Output) -> Result<Value, Failure> {
    output.get().map(|value| Value::clone(value)).map_err(|words| Failure::fatal("too_large", words))
}

/// What a loop does next.
enum Next {
    Round(u32),
    /// Another decision goes on.
    Later,
    /// A round must end first.
    Wait,
    Failed(Failure),
    Over,
}

impl Run {
    /// What a loop goes over: the same whenever it is asked. `vars`: what was set then, where it matters and is not now.
    pub(super) fn items_of(
        &self,
        no: StepNo,
        each: &ForEachPlan,
        released_at_ms: i64,
        vars: Option<&Json>,
    ) -> Result<Vec<Json>, Failure> {
        let wrong = |message: String| Failure::fatal("invalid_collection", message);
        let mut scope = self.scope(no, released_at_ms);
        if let Some(vars) = vars {
            scope.vars = shown(vars);
        }
        let value = each.collection.evaluate(&scope).map_err(|e| wrong(e.to_string()))?;
        let Value::Array(items) = value else {
            return Err(wrong(format!("`{}` gave no list", each.collection.source())));
        };
        let size = each.batch_size.unwrap_or(1) as usize;
        if items.len().div_ceil(size) > MAX_ITEMS {
            return Err(wrong(format!("it has {} items; a loop goes over at most {MAX_ITEMS}", items.len())));
        }
        Ok(match each.batch_size {
            None => items.into_iter().map(Arc::new).collect(),
            Some(_) => items.chunks(size).map(|batch| Arc::new(Value::Array(batch.to_vec()))).collect(),
        })
    }

    /// The loop of a frame, and its number in the plan, where what it went over and what its rounds gave may be looked at
    /// again: while it is under way, and for as long as its rounds may be taken back.
    pub(super) fn loop_in_use(&self, base: StepNo) -> Option<(StepNo, StepNo)> {
        let frame = &self.state.frames[&base];
        let owner = frame.owner?;
        let owner_plan = self.state.plan_no(&self.plan, owner)?;
        self.plan.steps[owner_plan as usize].kind.body()?;
        let status = self.state.get(owner).map(|step| step.status);
        let is_over = frame.is_dropped || status.is_none_or(|status| status == StepStatus::Completed);
        (!is_over || self.keeps_rounds(base)).then_some((owner, owner_plan))
    }

    /// After a load: what loops that are not over go over, what their rounds under way have come to, and what those that
    /// are over have given.
    pub(super) fn restore_rounds(&mut self, log: &BTreeMap<StepNo, &LastAttempt>) {
        let plan = self.plan.clone();
        // Outer loops have smaller numbers than the loops that stand in their rounds.
        let frames: Vec<StepNo> = self.state.frames.keys().copied().collect();
        for base in frames {
            let frame = self.state.frames[&base].clone();
            let Some((owner, owner_plan)) = self.loop_in_use(base) else { continue };
            let owner_plan = &plan.steps[owner_plan as usize];
            let (body, keeps_all) = (self.body(base), self.keeps_rounds(base));
            if let StepKind::ForEach(each) = &owner_plan.kind
                && let Ok(items) = self.items_of(owner, each, frame.released_at_ms, frame.vars.as_ref())
            {
                self.items.insert(base, Arc::new(items));
            }
            let length = body.len() as u32;
            let last = owner_plan.last.first().copied().flatten().map(|last| last - body.start);
            for (no, attempt) in log.range(base..base + length * frame.rounds) {
                let (round, within) = ((no - base) / length, (no - base) % length);
                let output = attempt.result.as_ref().map(|kept| self.output_of(*no, kept)).unwrap_or_default();
                let is_while = matches!(owner_plan.kind, StepKind::While(_));
                let is_last = is_while && round + 1 == frame.opened;
                if last == Some(within) && attempt.is_final && (is_last || !is_while) {
                    self.given.entry(base).or_default().put(round, output.clone());
                }
                let is_kept = keeps_all || is_last;
                let live = self.state.loose.get(no).map(|step| step.status);
                if attempt.is_final && (live.is_some_and(StepStatus::has_outcome) || (live.is_none() && is_kept)) {
                    let view = StepView {
                        status: if attempt.error.is_some() { "failed" } else { "completed" },
                        output: output.clone(),
                        error: attempt.error.as_deref().map(Into::into),
                    };
                    let id = plan.steps[(body.start + within) as usize].id.clone();
                    Arc::make_mut(self.rounds.entry((base, round)).or_default()).insert(id, view);
                }
            }
            for (no, step) in self.state.loose.range(base..base + length * frame.rounds) {
                if step.status.is_terminal() && !step.status.has_outcome() {
                    let view = StepView {
                        status: step.status.execution_status().as_str(),
                        output: Output::default(),
                        error: None,
                    };
                    let (round, within) = ((no - base) / length, (no - base) % length);
                    let id = plan.steps[(body.start + within) as usize].id.clone();
                    Arc::make_mut(self.rounds.entry((base, round)).or_default()).entry(id).or_insert(view);
                }
            }
        }
    }
}
