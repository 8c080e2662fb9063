//! The `limits` of a flow document: how many of its runs go at once, and how fast they start.
//!
//! In tables the field lies in the flow's metadata under the reserved name `limits`, so that the view of flows shows it;
//! reading a document puts it back in its place.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::words;

/// Where the field lies in the stored document's metadata.
const RESERVED: &str = "limits";

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

/// Takes the field out of the metadata that it is stored in. One that stands in its own place wins.
pub(super) fn out_of_metadata(document: &mut Value) {
    let stored = document.get_mut("metadata").and_then(Value::as_object_mut).and_then(|kept| kept.remove(RESERVED));
    if let (Some(stored), Some(document)) = (stored, document.as_object_mut()) {
        document.entry("limits").or_insert(stored);
    }
}

/// Puts the field into the metadata that it is stored in.
pub(super) fn into_metadata(document: &mut Value) {
    let Some(document) = document.as_object_mut() else { return };
    let Some(limits) = document.remove("limits") else { return };
    let metadata = document.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert(RESERVED.to_owned(), limits);
    }
}
