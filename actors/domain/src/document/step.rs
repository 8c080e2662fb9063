//! A step as a document holds it. What its `config` may hold depends on its `type`: see [`super::StepConfig`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{CacheDocument, ShapeError, StepConfig, UndoDocument, object};
use crate::retry::RetryPolicy;
use crate::words::{OnError, OnUnknownOutcome, StepType, Urgency};

/// How deep steps may stand in steps.
pub const MAX_NESTING: usize = 8;

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepDocument {
    /// A letter or underscore, then letters, digits, `_` and `-`; at most 64. Unique in the document.
    pub id: String,
    #[serde(rename = "type", default = "action")]
    pub kind: StepType,
    /// What the step does: the fields depend on its type.
    pub config: Map<String, Value>,
    /// CEL or a matcher; where it does not hold the step is skipped and its dependents go on.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub when: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// One attempt's deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    #[serde(default = "fail")]
    pub on_error: OnError,
    /// What takes back what the step did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoDocument>,
    /// The phase it belongs to, from 1. Phases run one after the other.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheDocument>,
    /// CEL that gives a text or a whole number: by it a receiver knows a repetition, also one by another run of the flow.
    /// Absent: the execution's id is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    #[serde(default)]
    pub requires_approval: bool,
    #[serde(default = "retry")]
    pub on_unknown_outcome: OnUnknownOutcome,
    /// With `on_unknown_outcome: verify`: the action that finds out whether the attempt took effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<ActionDocument>,
    #[serde(default)]
    pub connections: Connections,
    /// `all` (default), `any`, or how many of the inputs must have completed.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub dependency_mode: Value,
    /// Where the builder draws it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub position: Value,
}

/// What an action step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionDocument {
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
    /// From its release on: an execution that has not started by then never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// The edges of a `mixed` flow. Inputs make the graph; outputs must agree with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Connections {
    pub inputs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
}

impl StepDocument {
    /// Its config by its type. An error's pointer begins at the step.
    pub fn config(&self) -> Result<StepConfig, ShapeError> {
        StepConfig::read(self.kind, &self.config)
    }
}

/// Reads the configs of steps, and of the steps in them, and writes them back with their defaults: a document says what
/// it does, whatever later releases take for a default.
pub(super) fn settle(at: &str, steps: &mut [StepDocument]) -> Result<(), ShapeError> {
    for (no, step) in steps.iter_mut().enumerate() {
        let here = format!("{at}/{no}");
        let mut config =
            step.config().map_err(|e| ShapeError { pointer: format!("{here}{}", e.pointer), message: e.message })?;
        for (place, inner) in config.bodies_mut() {
            settle(&format!("{here}/config{place}"), inner)?;
        }
        step.config = config.to_map();
    }
    Ok(())
}

/// The actions of steps, of those in them, and those that take them back or look after them.
pub(super) fn actions(at: &str, steps: &[StepDocument], found: &mut Vec<(String, ActionDocument)>) {
    for (no, step) in steps.iter().enumerate() {
        let here = format!("{at}/{no}");
        let undo = step.undo.as_ref().map(UndoDocument::action);
        for (key, action) in [("undo", undo), ("verify", step.verify.clone())] {
            found.extend(action.map(|action| (format!("{here}/{key}"), action)));
        }
        match step.config() {
            Ok(StepConfig::Action(action)) => found.push((format!("{here}/config"), action)),
            Ok(mut other) => {
                for (place, inner) in other.bodies_mut() {
                    actions(&format!("{here}/config{place}"), inner, found);
                }
            }
            // What cannot be read is told when the document is compiled.
            Err(_) => {}
        }
    }
}

/// Refuses lists in the place of objects, and steps that stand too deep in steps.
pub(super) fn check_objects(at: &str, steps: Option<&Value>, depth: usize) -> Result<(), ShapeError> {
    if depth > MAX_NESTING {
        let message = format!("steps stand in steps more than {MAX_NESTING} deep");
        return Err(ShapeError { pointer: at.to_owned(), message });
    }
    let steps = steps.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (no, step) in steps.iter().enumerate() {
        let here = format!("{at}/{no}");
        object(here.clone(), Some(step))?;
        for key in ["config", "retry", "connections", "undo", "verify", "cache"] {
            object(format!("{here}/{key}"), step.get(key))?;
        }
        object(format!("{here}/undo/retry"), step.get("undo").and_then(|undo| undo.get("retry")))?;
        for (place, inner) in bodies(step.get("config")) {
            check_objects(&format!("{here}/config{place}"), Some(inner), depth + 1)?;
        }
    }
    Ok(())
}

/// The lists of steps in a config, whatever its type.
fn bodies(config: Option<&Value>) -> Vec<(String, &Value)> {
    let Some(config) = config else { return Vec::new() };
    let mut found = Vec::new();
    for key in ["steps", "default"] {
        found.extend(config.get(key).map(|steps| (format!("/{key}"), steps)));
    }
    for key in ["cases", "branches"] {
        let lanes = config.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let steps = lanes.iter().enumerate().filter_map(|(no, lane)| Some((no, lane.get("steps")?)));
        found.extend(steps.map(|(no, steps)| (format!("/{key}/{no}/steps"), steps)));
    }
    found
}

fn action() -> StepType {
    StepType::Action
}
fn five() -> u8 {
    5
}
fn medium() -> Urgency {
    Urgency::Medium
}
fn fail() -> OnError {
    OnError::Fail
}
fn retry() -> OnUnknownOutcome {
    OnUnknownOutcome::Retry
}
