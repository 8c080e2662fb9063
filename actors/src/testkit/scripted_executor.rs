//! An executor that does what its payload says, and remembers what it was asked.

use std::sync::{Arc, Mutex, PoisonError};

use core314_domain::ids::ExecutionId;
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::ports::BoxFuture;
use crate::ports::executor::{Attempt, Executor, Performed, Target};

/// Performs `scripted`: `{"fail_first": n}` fails retryably that often, `{"fail": true}` fails for good,
/// `{"panic": true}` panics, `{"hold": true}` waits until it is let go; otherwise it answers `{"done": <payload>}`.
#[derive(Clone)]
pub struct ScriptedExecutor {
    asked: Arc<Mutex<Vec<(ExecutionId, u32)>>>,
    gate: Arc<Semaphore>,
}

impl Default for ScriptedExecutor {
    fn default() -> Self {
        Self { asked: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }
}

impl ScriptedExecutor {
    /// What it was asked so far: execution and attempt.
    pub fn asked(&self) -> Vec<(ExecutionId, u32)> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets that many held attempts go.
    pub fn let_go(&self, attempts: usize) {
        self.gate.add_permits(attempts);
    }
}

impl Executor for ScriptedExecutor {
    fn action_type(&self) -> &'static str {
        "scripted"
    }

    fn check(&self, _: &Target<'_>, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((attempt.execution, attempt.attempt));
        let gate = self.gate.clone();
        Box::pin(async move {
            let payload = attempt.payload.clone();
            let says = |key: &str| payload.get(key).cloned().unwrap_or(Value::Null);
            assert!(says("panic") != json!(true), "scripted panic");
            if says("hold") == json!(true) {
                gate.acquire().await.expect("the gate is never closed").forget();
            }
            let fail_first = says("fail_first").as_u64().unwrap_or(0);
            let outcome = if says("fail") == json!(true) {
                Outcome::Failed(Failure::fatal("scripted", "told to fail"))
            } else if u64::from(attempt.attempt) < fail_first {
                Outcome::Failed(Failure::retryable("scripted", "told to fail first"))
            } else {
                Outcome::Completed(Arc::new(json!({"done": *payload})))
            };
            Performed { outcome, logged_payload: payload, http: None }
        })
    }
}
