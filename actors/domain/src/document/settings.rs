//! What a flow says of its phases, of rolling back, and of results that are used again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::words::RollbackThen;

/// What happens when a phase has failed for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackDocument {
    /// `previous` (to the end of the phase before), `start`, `off`, or the number of the phase to whose end it goes back.
    #[serde(default = "previous")]
    pub to: Value,
    /// What then: the run ends, or the phase is tried again.
    #[serde(default = "stop")]
    pub then: RollbackThen,
    /// How often, at most, with `then: retry`.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "one")]
    pub retries: u32,
}

/// One phase of a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PhaseDocument {
    /// From 1.
    #[schemars(range(min = 1, max = 100))]
    pub number: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A transition that took longer violates the phase's service level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla_seconds: Option<f64>,
    /// Channels that are told of each of its transitions, as in `error_notification_channels`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alert_channels: Vec<String>,
}

/// A step's result, used again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheDocument {
    /// CEL; the step's result is used again where it gives the same value.
    pub key: String,
    /// For how long after the step completed.
    #[schemars(range(min = 1, max = 2_592_000))]
    pub seconds: u64,
}

impl Default for RollbackDocument {
    fn default() -> Self {
        Self { to: previous(), then: stop(), retries: one() }
    }
}

fn previous() -> Value {
    "previous".into()
}
fn stop() -> RollbackThen {
    RollbackThen::Stop
}
fn one() -> u32 {
    1
}
