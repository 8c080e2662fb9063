//! The outside world: an executor of each node, whose effects everybody sees.

use std::sync::Arc;
use std::time::Duration;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use serde_json::{Value, json};

use super::wire::Wire;

/// The one type of action.
pub const ACTION: &str = "work";

/// Performs [`ACTION`]: it takes `ms`, fails the first `fail_first` times in a way that another attempt mends, or for good
/// where it is `fatal`.
pub struct Workshop(pub Arc<Wire>);

impl Executor for Workshop {
    fn action_type(&self) -> &'static str {
        ACTION
    }

    fn check(&self, _: &Target<'_>, _: &Value) -> Vec<Problem> {
        Vec::new()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        self.0.begins(&attempt);
        let payload = attempt.payload.clone();
        let number = |key: &str| payload.get(key).and_then(Value::as_u64).unwrap_or(0);
        let takes = Duration::from_millis(number("ms"));
        let outcome = if payload.get("fatal") == Some(&json!(true)) {
            Outcome::Failed(Failure::fatal("worked", "it cannot be done"))
        } else if u64::from(attempt.attempt) < number("fail_first") {
            Outcome::Failed(Failure::retryable("worked", "not yet"))
        } else {
            Outcome::Completed(Arc::new(json!({"step": attempt.step})))
        };
        Box::pin(async move {
            if !takes.is_zero() {
                tokio::time::sleep(takes).await;
            }
            Performed { outcome, logged_payload: payload, http: None }
        })
    }
}
