//! The shapes of `trigger_config`, one for each type of trigger that has keys of its own.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Matching;
use crate::webhook::{Fault, HmacForm, Respond, Verification, check_proof, delivery_key};
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
    /// How that webhook verifies its callers; `url_secret` where nothing is said.
    pub verification: Option<Verification>,
    /// The form of its signatures, for the verification `hmac`.
    pub hmac: Option<HmacForm>,
    /// CEL over `trigger` and `webhook`: deliveries for which it gives the same value are one.
    pub dedup_key: Option<String>,
    /// Makes its callers wait for the flow's own answer.
    pub respond: Option<Respond>,
    #[serde(rename = "match")]
    pub matching: Option<Matching>,
}

impl Hook {
    /// What is wrong with what it says of its webhook, as it would be when that is made.
    pub fn check(&self) -> Result<(), Fault> {
        let given = [
            ("verification", self.verification.is_some()),
            ("hmac", self.hmac.is_some()),
            ("dedup_key", self.dedup_key.is_some()),
            ("respond", self.respond.is_some()),
        ];
        if self.webhook.is_none()
            && let Some((key, _)) = given.iter().find(|(_, is_given)| *is_given)
        {
            let message = "is for the webhook that goes with the flow: name it by `webhook`, too";
            return Err((format!("/{key}"), message.to_owned()));
        }
        check_proof(self.verification.unwrap_or(Verification::UrlSecret), self.hmac.as_ref())?;
        if let Some(source) = &self.dedup_key {
            delivery_key(source, true).map_err(|error| ("/dedup_key".to_owned(), error.to_string()))?;
        }
        if let Some(respond) = &self.respond {
            respond.template(true).map_err(|(pointer, message)| (format!("/respond{pointer}"), message))?;
        }
        Ok(())
    }
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
