//! An action that does nothing but to note how long after it was sent it is begun.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use serde_json::Value;

/// The executor. `sent_us` of a payload is when it was sent, by [`Pager::now_us`]; without it nothing is noted.
pub struct Pager {
    action_type: &'static str,
    start: Instant,
    seen: Mutex<Vec<Duration>>,
}

impl Pager {
    /// Of an action type of its own.
    pub fn new(action_type: &'static str) -> Self {
        Self { action_type, start: Instant::now(), seen: Mutex::default() }
    }

    /// The time by which latencies are measured, in µs.
    pub fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// How many it has noted.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What it has noted, from then on anew.
    pub fn latencies(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Executor for Pager {
    fn action_type(&self) -> &'static str {
        self.action_type
    }

    fn check(&self, _: &Target<'_>, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        if let Some(sent_us) = attempt.payload["sent_us"].as_u64() {
            let took = Duration::from_micros(self.now_us().saturating_sub(sent_us));
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
        let performed =
            Performed { outcome: Outcome::Completed(Arc::default()), logged_payload: attempt.payload, http: None };
        Box::pin(std::future::ready(performed))
    }
}
