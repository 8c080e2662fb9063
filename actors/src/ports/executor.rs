//! Executors: each performs one action type against the world.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::Json;
use core314_domain::ids::{ExecutionId, Owner, RunId, StepNo};
use core314_domain::log::HttpFigures;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use core314_domain::trace::TraceContext;
use serde_json::Value;

use super::BoxFuture;

/// Performs one action type. One file each; adding one touches that file and the list of executors.
pub trait Executor: Send + Sync + 'static {
    /// The word in documents and tables.
    fn action_type(&self) -> &'static str;

    /// What is wrong with a payload for this `action_target`, as far as it can be seen before its templates are rendered.
    /// Pointers are relative to the payload.
    fn check(&self, target: &str, payload: &Value) -> Vec<Problem>;

    /// Performs the action once. Always answers: a failure is an answer. Dropping the future cancels the action.
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed>;

    /// The payload as the log may keep it: with secrets redacted. Applied to whatever is logged, also where no attempt
    /// has come back.
    fn logged(&self, payload: &Json) -> Json {
        payload.clone()
    }

    /// An answer that needs no I/O, given on the spot; `None` when the action must be performed.
    fn immediate(&self, _payload: &Json) -> Option<Outcome> {
        None
    }
}

/// What an executor is asked to do.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Of the run.
    pub owner: Owner,
    pub run: RunId,
    pub step: StepNo,
    pub execution: ExecutionId,
    /// From 0.
    pub attempt: u32,
    pub action_target: Arc<str>,
    pub payload: Json,
    /// The attempt is given up after this long.
    pub timeout: Duration,
}

impl Attempt {
    /// The same in all attempts of an execution, so that a repetition does no double harm where the other side can tell.
    pub fn idempotency_key(&self) -> String {
        self.execution.to_string()
    }

    /// The attempt's place in the trace of its run, for the `traceparent` header of what it sends.
    pub fn trace(&self) -> TraceContext {
        TraceContext::of_attempt(self.run, self.step, self.attempt)
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Performed {
    pub outcome: Outcome,
    /// The payload as the log may keep it: with secrets redacted.
    pub logged_payload: Json,
    pub http: Option<HttpFigures>,
}
