//! What happens after a commit: attempts take effect, end, and are told to.

use std::sync::Arc;

use core314_domain::ids::StepNo;
use core314_domain::log::Failure;
use core314_domain::run::{AttemptReport, Effect, Outcome};
use serde_json::{Value, json};

use super::checks::{self, Check, ensure};
use super::script::{Fate, Mistake};
use super::world::{Attempt, World};

impl World<'_> {
    pub fn act(&mut self, effects: Vec<Effect>) -> Check {
        for effect in effects {
            match effect {
                Effect::StartAttempt { step, attempt, payload, .. } => self.start(step, attempt, &payload)?,
                Effect::CancelAttempt { step, attempt } => {
                    if let Some(found) = self.attempts.get_mut(&step).filter(|a| a.number == attempt) {
                        found.told_to_end = true;
                    }
                }
                Effect::StartRun { .. } => return Err("no shape starts other runs".to_owned()),
                Effect::Enqueue { .. } if self.script.mistake == Some(Mistake::LoseEntry) && self.rng.chance(200) => {}
                Effect::Enqueue { step, order, .. } => {
                    self.ready.insert((order, step));
                }
            }
        }
        Ok(())
    }

    /// The effect takes place, once and for all.
    fn start(&mut self, no: StepNo, number: u32, payload: &Value) -> Check {
        ensure(self.started.insert((no, number)), || format!("attempt {number} of step {no} takes place twice"))?;
        checks::start(&self.store, self.shape, no, number)?;
        if let Some(from) = payload.get("from") {
            ensure(*from == json!(no - 1), || format!("step {no} was given {from} of the step before"))?;
        }
        let attempt =
            Attempt { number, started_at_ms: self.now_ms, told_to_end: false, report: None, delivered: false };
        self.attempts.insert(no, attempt);
        let running = self.attempts.values().filter(|a| a.report.is_none()).count();
        ensure(running <= self.script.slots, || format!("{running} attempts run in {} slots", self.script.slots))
    }

    fn outcome(&mut self, no: StepNo, number: u32) -> Outcome {
        let failed = |retryable, retry_after_ms| {
            let failure =
                if retryable { Failure::retryable("http_status", "busy") } else { Failure::fatal("http_status", "no") };
            Outcome::Failed(Failure { retry_after_ms, ..failure })
        };
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
