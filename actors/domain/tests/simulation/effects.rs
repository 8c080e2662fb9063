//! What happens after a commit: attempts take effect, end, and are told to.

use std::sync::Arc;

use core314_domain::ids::StepNo;
use core314_domain::log::Failure;
use core314_domain::run::{AttemptReport, Effect, Outcome, Place, PlanRef};
use serde_json::{Value, json};

use super::checks::{self, Check, ensure};
use super::script::{Fate, Mistake};
use super::world::{Attempt, World};

/// The word of a probe that found that the attempt before had no effect.
pub const NO_EFFECT: &str = "no_effect";

impl World<'_> {
    pub fn act(&mut self, effects: Vec<Effect>) -> Check {
        for effect in effects {
            match effect {
                Effect::StartAttempt { step, attempt, payload, part, .. } => {
                    self.start(step, attempt, &payload, part)?;
                }
                Effect::CancelAttempt { step, attempt } => {
                    if let Some(found) = self.attempts.get_mut(&step).filter(|a| a.number == attempt) {
                        found.told_to_end = true;
                    }
                }
                Effect::StartRun { step, attempt, known, .. } => self.start_child(step, attempt, known)?,
                Effect::StopRun { step, attempt, known } => self.stop_child(step, attempt, known)?,
                Effect::Enqueue { .. } if self.script.mistake == Some(Mistake::LoseEntry) && self.rng.chance(200) => {}
                Effect::Enqueue { step, order, .. } => {
                    self.ready.insert((order, step));
                }
            }
        }
        Ok(())
    }

    /// The effect takes place, once and for all.
    fn start(&mut self, no: StepNo, number: u32, payload: &Value, part: PlanRef) -> Check {
        ensure(self.started.insert((no, number)), || format!("attempt {number} of step {no} takes place twice"))?;
        checks::start(&self.store, self.shape, no, number)?;
        self.given(no, payload, part)?;
        let is_probe = matches!(part, PlanRef::Verify(_));
        let attempt = Attempt {
            number,
            is_probe,
            started_at_ms: self.now_ms,
            told_to_end: false,
            report: None,
            delivered: false,
        };
        self.attempts.insert(no, attempt);
        let running = self.attempts.values().filter(|a| a.report.is_none()).count();
        ensure(running <= self.script.slots, || format!("{running} attempts run in {} slots", self.script.slots))
    }

    /// An attempt is given what belongs to it: the round's own item, what came before, and the same as the attempt before.
    fn given(&mut self, no: StepNo, payload: &Value, part: PlanRef) -> Check {
        if let Some(from) = payload.get("from") {
            ensure(*from == json!(no - 1), || format!("step {no} was given {from} of the step before"))?;
        }
        let run = self.store.load(self.shape)?;
        if let (Some(index), Some(Place::Round { round, .. })) = (payload.get("index"), run.state.place(&run.plan, no))
        {
            ensure(*index == json!(round), || format!("step {no} of round {round} was given that of {index}"))?;
            let item = payload.get("item").and_then(Value::as_i64);
            ensure(item.is_none_or(|item| item == 10 * (i64::from(round) + 1)), || {
                format!("step {no} of round {round} was given item {item:?}")
            })?;
        }
        let live = run.state.get(no).and_then(|step| step.live.as_deref());
        let (Some(live), PlanRef::Step(_) | PlanRef::Undo(_)) = (live, part) else { return Ok(()) };
        let first = self.payloads.entry((no, live.base, live.released_at_ms)).or_insert_with(|| payload.clone());
        ensure(first == payload, || format!("step {no} was given {payload}, and {first} before"))
    }

    fn outcome(&mut self, no: StepNo, number: u32) -> Outcome {
        let failed = |retryable, retry_after_ms| {
            let failure =
                if retryable { Failure::retryable("http_status", "busy") } else { Failure::fatal("http_status", "no") };
            Outcome::Failed(Failure { retry_after_ms, ..failure })
        };
        if self.attempts.get(&no).is_some_and(|attempt| attempt.is_probe) {
            return match self.rng.below(3) {
                0 => Outcome::Failed(Failure::retryable("timeout", "cannot tell")),
                1 => Outcome::Failed(Failure::fatal(NO_EFFECT, "it did nothing")),
                _ => Outcome::Completed(Arc::new(json!({"step": no, "found": true}))),
            };
        }
        match self.script.fate(no) {
            Fate::LoseResponse if number == 0 => Outcome::Failed(Failure::retryable("timeout", "no answer")),
            Fate::FailFirst { attempts, retryable, retry_after_ms } if number < attempts => {
                failed(retryable, retry_after_ms)
            }
            Fate::Random if self.rng.chance(100) => failed(false, None),
            Fate::Random if self.rng.chance(250) => {
                let after = self.rng.pick(&[None, None, Some(0), Some(15_000)]);
                failed(true, after)
            }
            _ => Outcome::Completed(Arc::new(json!({"step": no}))),
        }
    }

    pub fn end_attempt(&mut self, no: StepNo) {
        let (number, told) = self.attempts.get(&no).map(|a| (a.number, a.told_to_end)).expect("it is under way");
        // It may have been too late to cut it off.
        let cut = told && (self.script.fate(no) == Fate::Hang || self.rng.chance(700));
        let outcome = if cut { Outcome::Cancelled } else { self.outcome(no, number) };
        let now_ms = self.now_ms;
        let attempt = self.attempts.get_mut(&no).expect("it is under way");
        attempt.report = Some(AttemptReport {
            outcome,
            payload: Arc::new(Value::Null),
            started_at_ms: attempt.started_at_ms,
            completed_at_ms: now_ms,
            duration_ms: now_ms - attempt.started_at_ms,
            http: None,
        });
    }
}
