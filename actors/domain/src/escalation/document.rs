//! An escalation rule as people write it: the columns of `escalation_rules`, and what has no column of its own.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::calendar::CalendarDocument;
use crate::document::{ShapeError, read};
use crate::words::{Urgency, words};

words! {
    /// What keeps a level from being reached.
    Until { Acknowledged = "acknowledged", Resolved = "resolved" }
}

/// A rule. Times are in minutes and may be fractions.
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the contract, or a key that people write")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleDocument {
    /// Unique in its tenant.
    pub rule_name: String,
    #[serde(default)]
    pub rule_description: String,
    #[serde(default)]
    pub rule_category: String,
    #[serde(default = "yes")]
    pub is_active: bool,
    /// 1 is asked first.
    #[serde(default = "middle")]
    pub priority: u32,
    /// CEL or a matcher over `trigger`, `tenant` and `now`; null always holds.
    #[serde(default)]
    pub trigger_conditions: Value,
    /// Only these action types; empty: any.
    #[serde(default)]
    pub applies_to_action_types: Vec<String>,
    /// Only these integrations; empty: any.
    #[serde(default)]
    pub applies_to_integrations: Vec<String>,
    /// Only these flows, by name or id; empty: any.
    #[serde(default)]
    pub applies_to_flows: Vec<String>,
    /// In the order of their numbers.
    #[serde(default)]
    pub escalation_levels: Vec<LevelDocument>,
    /// Of levels that name none.
    #[serde(default)]
    pub notification_channels: Vec<ChannelDocument>,
    /// Whether `remediation_actions` are performed at once, before anybody is asked.
    #[serde(default)]
    pub auto_remediation_enabled: bool,
    #[serde(default)]
    pub remediation_actions: Vec<ActionDocument>,
    #[serde(default)]
    pub sla_enabled: bool,
    /// Until somebody acknowledges.
    #[serde(default)]
    pub sla_response_time_minutes: Option<f64>,
    /// Until it is resolved.
    #[serde(default)]
    pub sla_resolution_time_minutes: Option<f64>,
    #[serde(default)]
    pub sla_breach_actions: Vec<ActionDocument>,
    #[serde(default)]
    pub max_escalations_per_hour: Option<u32>,
    #[serde(default)]
    pub max_escalations_per_day: Option<u32>,
    /// For so long after an escalation another one on the same subject is held back.
    #[serde(default)]
    pub cooldown_period_minutes: Option<f64>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Whether the next rule that matches acts as well.
    #[serde(default, rename = "continue", skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
    /// CEL that names the subject; failures with the same name join one event. Absent: the flow, or
    /// the action and its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// `low` records and tells nobody.
    #[serde(default = "high")]
    pub urgency: Urgency,
    /// More windows beside those per hour and per day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttles: Vec<ThrottleDocument>,
    /// The hours that service times count; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla_calendar: Option<CalendarDocument>,
    /// Other times for events of an urgency.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sla_by_urgency: BTreeMap<Urgency, ServiceTimes>,
    /// So long before a deadline the breach is announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla_warning_minutes: Option<f64>,
    /// Names of rules whose open events hold this one's back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// A signal that must come again and again; the rule fires where it stays away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatDocument>,
    /// So long after its last level an event that nobody has ended counts as failed.
    #[serde(default = "a_week")]
    pub give_up_after_minutes: f64,
}

/// One level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelDocument {
    /// From 1, each one more than the one before.
    pub level: u32,
    /// Since the event was triggered.
    #[serde(default)]
    pub delay_minutes: f64,
    #[serde(default)]
    pub actions: Vec<ActionDocument>,
    #[serde(default)]
    pub notify_channels: Vec<ChannelDocument>,
    /// `user:ID`, `role:ROLE` or `on_call:NAME`.
    #[serde(default)]
    pub recipients: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatDocument>,
    /// What keeps this level from being reached.
    #[serde(default = "acknowledged")]
    pub until: Until,
    /// What is tried first: people are told only if it is still broken after the grace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<RemediationDocument>,
}

/// Telling again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatDocument {
    pub every_minutes: f64,
    /// How often, beside the first time.
    pub times: u32,
}

/// Fix first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemediationDocument {
    pub action: ActionDocument,
    pub grace_minutes: f64,
}

/// At most so many escalations of the rule in so many minutes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThrottleDocument {
    pub max: u32,
    pub minutes: f64,
}

/// A dead man's switch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatDocument {
    pub every_minutes: f64,
    #[serde(default)]
    pub grace_minutes: f64,
}

/// Service times of an urgency.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTimes {
    #[serde(default)]
    pub response_minutes: Option<f64>,
    #[serde(default)]
    pub resolution_minutes: Option<f64>,
}

/// An action: by its name alone, or with what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct ActionDocument {
    /// A short name of a level's action, or any action type.
    #[schemars(schema_with = "name_or_object")]
    pub action: String,
    /// The action's target; for `run_flow` and `halt_flow` the flow, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub target: Option<String>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(skip)]
    pub payload: Map<String, Value>,
}

/// A channel: by its name alone, or with what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(transparent)]
pub struct ChannelDocument {
    /// A target of `send_notification`.
    #[schemars(schema_with = "name_or_object")]
    pub channel: String,
    /// What the channel needs beside the message, such as a `url`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(skip)]
    pub payload: Map<String, Value>,
}

fn name_or_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["string", "object"]})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullAction {
    action: String,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    payload: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullChannel {
    channel: String,
    #[serde(default)]
    payload: Map<String, Value>,
}

/// Reads a text as `by_name`, an object as `F`: messages name the field that is wrong, which no untagged enum does.
struct NameOr<F, T> {
    expected: &'static str,
    by_name: fn(String) -> T,
    in_full: fn(F) -> T,
}

impl<'de, F: Deserialize<'de>, T> Visitor<'de> for NameOr<F, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<T, E> {
        Ok((self.by_name)(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        F::deserialize(MapAccessDeserializer::new(map)).map(self.in_full)
    }
}

impl<'de> Deserialize<'de> for ActionDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOr {
            expected: "an action's name, or an object with action, target and payload",
            by_name: |action| Self { action, target: None, payload: Map::new() },
            in_full: |FullAction { action, target, payload }| Self { action, target, payload },
        })
    }
}

impl<'de> Deserialize<'de> for ChannelDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOr {
            expected: "a channel's name, or an object with channel and payload",
            by_name: |channel| Self { channel, payload: Map::new() },
            in_full: |FullChannel { channel, payload }| Self { channel, payload },
        })
    }
}

impl RuleDocument {
    /// Reads a value that was parsed strictly.
    pub fn from_value(value: Value) -> Result<Self, ShapeError> {
        if !value.is_object() {
            return Err(ShapeError { pointer: String::new(), message: "must be an object".to_owned() });
        }
        read(value)
    }

    /// The document as a value: what is stored and shown.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a document has text keys and finite numbers")
    }

    /// Whether it tells nobody: it records, and may act.
    pub fn records_only(&self) -> bool {
        self.urgency == Urgency::Low
    }

    /// Service times of an event of this urgency, in minutes: until the response, and until the resolution.
    pub fn service_times(&self, urgency: Urgency) -> (Option<f64>, Option<f64>) {
        if !self.sla_enabled {
            return (None, None);
        }
        let own = self.sla_by_urgency.get(&urgency);
        let response = own.and_then(|times| times.response_minutes).or(self.sla_response_time_minutes);
        let resolution = own.and_then(|times| times.resolution_minutes).or(self.sla_resolution_time_minutes);
        (response, resolution)
    }
}

fn yes() -> bool {
    true
}
fn middle() -> u32 {
    5
}
fn high() -> Urgency {
    Urgency::High
}
fn acknowledged() -> Until {
    Until::Acknowledged
}
fn a_week() -> f64 {
    7.0 * 24.0 * 60.0
}
