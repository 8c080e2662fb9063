//! The shapes of `trigger_config`, one for each type of trigger that has keys of its own.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Matching;
use crate::words::RunStatus;

/// Of a trigger that has nothing of its own to say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PlainTrigger")]
pub(super) struct Any {
    #[serde(rename = "match")]
    pub matching: Option<Matching>,
}

/// Of a webhook.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookTrigger")]
pub(super) struct Hook {
    /// The name of the webhook that goes with the flow, for whoever makes both at once: no other starts it.
    pub webhook: Option<String>,
    /// How that webhook verifies its callers.
    #[serde(rename = "verification")]
    _verification: Option<String>,
    #[serde(rename = "match")]
    pub matching: Option<Matching>,
}

/// Of an event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EventTrigger")]
pub(super) struct Event {
    /// The event's type; with a `*` at its end, how it begins.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's source, in the same way.
    pub source: Option<String>,
    /// CEL or a matcher over `trigger` (the event), `tenant` and `now`.
    #[serde(default)]
    pub filter: Value,
    #[serde(rename = "match")]
    pub matching: Option<Matching>,
}

/// Of the end of another flow's run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FlowFinishedTrigger")]
pub(super) struct Finished {
    /// The flow's id or name.
    #[serde(alias = "flow_name")]
    pub flow: String,
    /// The ends that count.
    #[serde(default = "completed")]
    pub statuses: Vec<RunStatus>,
    #[serde(rename = "match")]
    pub matching: Option<Matching>,
}

fn completed() -> Vec<RunStatus> {
    vec![RunStatus::Completed]
}

impl Finished {
    /// What does not hold for a run that has ended.
    pub fn failing(&self, end: &Value) -> Option<String> {
        let text = |name: &str| end.get(name).and_then(Value::as_str);
        if ![text("flow_name"), text("flow_id")].contains(&Some(&*self.flow)) {
            return Some(format!("trigger_config.flow: {}", self.flow));
        }
        let ended = text("run_status");
        if self.statuses.iter().any(|status| Some(status.as_str()) == ended) {
            return None;
        }
        let wanted: Vec<&str> = self.statuses.iter().map(|status| status.as_str()).collect();
        Some(format!("trigger_config.statuses: {}", wanted.join(", ")))
    }
}
