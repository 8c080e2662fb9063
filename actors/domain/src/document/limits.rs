//! The `limits` of a flow document: how many of its runs go at once, and how fast they start.

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
    let parts = ["concurrency", "rate"].into_iter();
    let parts = parts.map(move |part| (format!("/limits/{part}"), limits.and_then(|limits| limits.get(part))));
    std::iter::once(("/limits".to_owned(), limits)).chain(parts)
}
