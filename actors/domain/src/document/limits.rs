//! The `limits` of a flow document: how many of its runs go at once, how fast they start, which triggers become one run,
//! and whose turn it is when slots are scarce.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::words;

/// What a flow lets its runs do at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub struct LimitsDocument {
    /// How many runs of one key go at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyDocument>,
    /// How fast runs of one key start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateDocument>,
    /// Triggers of one key that follow each other closely become one run, with what the last of them brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debounce: Option<DebounceDocument>,
    /// Triggers of one key are gathered, and one run gets them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchDocument>,
    /// Executions of runs of different keys take turns in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fairness: Option<FairnessDocument>,
}

/// How many runs of one key go at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConcurrencyLimit")]
pub struct ConcurrencyDocument {
    /// CEL over trigger, webhook and tenant: runs that give the same value share the limit. Absent: all runs of the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[schemars(range(min = 1, max = 10_000))]
    pub max: u32,
    /// What becomes of a run that finds the limit full.
    #[serde(default = "queue")]
    pub strategy: LimitStrategy,
}

/// How fast runs of one key start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RateLimit")]
pub struct RateDocument {
    /// CEL over trigger, webhook and tenant: runs that give the same value share the limit. Absent: all runs of the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How many runs may start in `per_seconds`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max: u32,
    #[schemars(range(min = 1, max = 86_400))]
    #[serde(default = "one")]
    pub per_seconds: u32,
    /// How many may start at once after a pause; absent: 1, so that starts are evenly spread.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default = "one")]
    pub burst: u32,
}

/// Triggers of one key that follow each other closely become one run, with what the last of them brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Debounce")]
pub struct DebounceDocument {
    /// CEL over trigger, webhook and tenant: triggers that give the same value become one run. Absent: all triggers of the
    /// flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long it must be quiet before the run begins.
    #[schemars(range(min = 1, max = 604_800))]
    pub period_seconds: u32,
    /// The run begins at the latest so long after the first trigger. Absent: it waits until it is quiet.
    #[schemars(range(min = 1, max = 604_800))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u32>,
}

/// Triggers of one key are gathered, and one run gets them all, as `trigger.events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Batch")]
pub struct BatchDocument {
    /// CEL over trigger, webhook and tenant: triggers that give the same value are gathered together. Absent: all triggers
    /// of the flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The run begins as soon as there are so many.
    #[schemars(range(min = 2, max = 10_000))]
    pub max: u32,
    /// The run begins at the latest so long after the first of them.
    #[schemars(range(min = 1, max = 604_800))]
    pub timeout_seconds: u32,
}

/// Executions of runs of different keys take turns in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Fairness")]
pub struct FairnessDocument {
    /// CEL over trigger, webhook and tenant that gives a text or a whole number.
    pub key: String,
}

words! {
    /// What becomes of a run that finds its limit full: it waits, is not started, or takes the place of the oldest.
    LimitStrategy { Queue = "queue", Skip = "skip", CancelRunning = "cancel_running" }
}

fn queue() -> LimitStrategy {
    LimitStrategy::Queue
}
fn one() -> u32 {
    1
}

/// The objects of the field, with where they stand: serde would take lists in their place.
pub(super) fn objects(document: &Value) -> impl Iterator<Item = (String, Option<&Value>)> {
    let limits = document.get("limits");
    let parts = ["concurrency", "rate", "debounce", "batch", "fairness"].into_iter();
    let parts = parts.map(move |part| (format!("/limits/{part}"), limits.and_then(|limits| limits.get(part))));
    std::iter::once(("/limits".to_owned(), limits)).chain(parts)
}
