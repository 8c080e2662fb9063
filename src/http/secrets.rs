//! Secrets: set, listed by name, and removed. No answer holds a value.

pub mod create;
pub mod delete;
pub mod patch;
pub mod rotate_key;
pub mod show;

use core314_actors::ports::Scope;
use core314_actors::ports::integration::Secret;
use serde_json::Value;

use super::State;
use super::problem::Problem;

/// The secret of this name or id, as it is stored.
async fn find(state: &State, scope: Scope, named: &str) -> Result<Secret, Problem> {
    let Scope::Tenant(tenant) = scope else { return Err(missing()) };
    let known = state.engine.connections(tenant).await?;
    known.secret_named(named).cloned().ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::no_row("secret")
}

/// A value as it was sent. What is wrong with it is said without it.
fn value(sent: Value) -> Result<String, Problem> {
    match sent {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(Problem::field("value", "must be a text"))
        }
    }
}
