//! What takes a step back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ActionDocument;
use crate::retry::RetryPolicy;
use crate::words::Urgency;

/// The action that takes a step back. It is an execution of its own, so it may have a policy, a deadline and an approval of
/// its own, whatever the step's are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoDocument {
    pub action_type: String,
    #[serde(default)]
    pub action_target: String,
    /// Texts in it may be templates.
    #[serde(default)]
    pub action_payload: Value,
    /// 1 (first) to 10.
    #[schemars(range(min = 1, max = 10))]
    #[serde(default = "five")]
    pub priority: u8,
    #[serde(default = "medium")]
    pub urgency: Urgency,
    /// RFC 3339, or a template that gives one: not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<String>,
    /// From its release on: one that has not started by then, or was not approved, never does, and waits for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
    /// Absent: the step's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// One attempt's deadline; absent: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Whether a person must agree before it is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
}

impl UndoDocument {
    /// What it does, without how.
    pub fn action(&self) -> ActionDocument {
        ActionDocument {
            action_type: self.action_type.clone(),
            action_target: self.action_target.clone(),
            action_payload: self.action_payload.clone(),
            priority: self.priority,
            urgency: self.urgency,
            scheduled_for: self.scheduled_for.clone(),
            expires_in_seconds: self.expires_in_seconds,
        }
    }
}

fn five() -> u8 {
    5
}
fn medium() -> Urgency {
    Urgency::Medium
}
