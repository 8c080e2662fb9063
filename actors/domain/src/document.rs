//! The flow document: what a person writes, a file holds and `orchestration_flows` shows. Format 1.
//!
//! Unknown and duplicate keys are errors, but in documents of the platform that this system continues ([`platform`]).
//! Reading a document checks its shape; [`crate::plan`] checks its sense.

pub mod channels;
mod config;
pub mod diff;
mod keys;
mod limits;
mod lines;
pub mod parameters;
mod platform;
pub(crate) mod reserved;
mod settings;
pub mod short;
mod step;
mod undo;
pub mod warnings;
mod within;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::json::{self, ParseError};
use crate::retry::RetryPolicy;
use crate::words::{ExecutionMode, OnErrorAction, TriggerType};
use parameters::Parameter;
use short::{Expanded, Places};

pub use config::{
    ApprovalDocument, BranchDocument, CaseDocument, ComputedDocument, EventDocument, ForEachDocument, LaneDocument,
    ParallelDocument, RaiseDocument, StepConfig, StopDocument, SubFlowDocument, ValuesDocument, WaitDocument,
    WhileDocument,
};
pub use lines::{Lines, Place};
pub use settings::{CacheDocument, PhaseDocument, RollbackDocument};
pub use step::{ActionDocument, Connections, StepDocument};
pub use undo::UndoDocument;
pub use within::waited_events;

pub use limits::{
    BatchDocument, ConcurrencyDocument, DebounceDocument, FairnessDocument, LimitStrategy, LimitsDocument, RateDocument,
};

/// A flow as documents, files and the API hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlowDocument {
    /// The version of this format: 1.
    #[serde(default = "format_1")]
    pub format: u32,
    /// Unique among the tenant's flows.
    #[schemars(length(min = 1, max = 200))]
    pub flow_name: String,
    #[serde(default)]
    pub flow_description: String,
    #[serde(default)]
    pub flow_category: String,
    /// Counted by the server: what a document says here is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_version: Option<i64>,
    #[serde(default = "yes")]
    pub is_active: bool,
    #[serde(default)]
    pub is_template: bool,
    pub trigger_type: TriggerType,
    #[serde(default)]
    pub trigger_config: Map<String, Value>,
    /// A CEL expression or a matcher over the trigger; absent: always.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub conditions: Value,
    #[schemars(length(min = 1))]
    pub flow_steps: Vec<StepDocument>,
    #[serde(default = "sequential")]
    pub execution_mode: ExecutionMode,
    /// The run's deadline, from its start; absent: none.
    #[schemars(range(min = 1, max = 31_536_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_execution_time_seconds: Option<u64>,
    #[serde(default)]
    pub retry_policy: RetryPolicy,
    #[serde(default)]
    pub requires_approval: bool,
    /// A decision of less confidence (0 to 1) waits for a person.
    #[schemars(range(min = 0, max = 1))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_threshold: Option<f64>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input_schema: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output_schema: Value,
    #[serde(default = "stop")]
    pub on_error_action: OnErrorAction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_flow_id: Option<crate::ids::FlowId>,
    #[serde(default)]
    pub error_notification_channels: Vec<String>,
    /// How many of its runs go at once, and how fast they start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsDocument>,
    /// How far a failed phase rolls back, and what then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackDocument>,
    /// Names, thresholds and alerts of the phases that steps belong to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<PhaseDocument>,
    /// What a template asks of whoever makes a flow of it, by name ([`parameters`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Parameter>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// Where `metadata` says from which file a flow was applied: one whose file is gone may be pruned.
pub const APPLIED_FROM: &str = "applied_from";

impl FlowDocument {
    /// The document for another flow than the one that was applied from its file: no file stands for that one.
    #[must_use]
    pub fn apart_from_files(mut self) -> Self {
        self.metadata.remove(APPLIED_FROM);
        self
    }

    /// Reads a document from JSON or YAML text. An error names the line, and the place where that is known.
    pub fn from_text(text: &str) -> Result<Self, ShapeError> {
        Self::from_text_with_places(text).map(|(document, _)| document)
    }

    /// The same, and where the parts of the document stand in a text of the short form.
    pub fn from_text_with_places(text: &str) -> Result<(Self, Places), ShapeError> {
        let is_json = is_json(text);
        let parsed = if is_json { json::parse_json(text.as_bytes()) } else { json::parse_yaml(text) };
        let value = parsed.map_err(whole)?;
        if platform::wrote(&value) {
            let document = Self::from_value(value).map_err(|error| error.located(text))?;
            return Ok((document, Places::default()));
        }
        if short::is_short(&value) {
            return Self::from_short(value).map_err(|error| error.located(text));
        }
        check_objects(&value).map_err(|error| error.located(text))?;
        // The text, not the value: only the text still knows the lines that errors name.
        let mut document: Self = if is_json {
            read(&mut serde_json::Deserializer::from_str(text))?
        } else {
            read(serde_norway::Deserializer::from_str(text))?
        };
        step::settle("/flow_steps", &mut document.flow_steps).map_err(|error| error.located(text))?;
        Ok((document, Places::default()))
    }

    /// Reads a document from a value that was parsed strictly.
    pub fn from_value(value: Value) -> Result<Self, ShapeError> {
        let mut value = if platform::wrote(&value) {
            platform::adopted(value)
        } else if short::is_short(&value) {
            return Self::from_short(value).map(|(document, _)| document);
        } else {
            value
        };
        reserved::out_of_metadata(&mut value);
        check_objects(&value)?;
        let mut document: Self = read(value)?;
        step::settle("/flow_steps", &mut document.flow_steps)?;
        Ok(document)
    }

    /// Every action in it, wherever it stands, with the JSON pointer to it.
    pub fn actions(&self) -> Vec<(String, ActionDocument)> {
        let mut found = Vec::new();
        step::actions("/flow_steps", &self.flow_steps, &mut found);
        found
    }

    /// Reads a document in the short form. Errors name the place in it.
    fn from_short(value: Value) -> Result<(Self, Places), ShapeError> {
        let Expanded { document, places } = short::expand(value)?;
        let read = check_objects(&document).and_then(|()| read::<Self, _>(document)).and_then(|mut document| {
            step::settle("/flow_steps", &mut document.flow_steps)?;
            Ok(document)
        });
        match read {
            Ok(document) => Ok((document, places)),
            Err(error) => Err(ShapeError { pointer: places.in_text(&error.pointer), ..error }),
        }
    }

    /// The document as a value: what is compared and shown.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("a document has text keys and finite numbers")
    }

    /// The document as it is stored: what has no column of its own lies in the metadata.
    pub fn to_stored(&self) -> Value {
        let mut value = self.to_value();
        reserved::into_metadata(&mut value);
        value
    }
}

/// Why a text or value is no flow document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if pointer.is_empty() { String::new() } else { format!("{pointer}: ") })]
pub struct ShapeError {
    /// RFC 6901, into the document; empty where the place is not known.
    pub pointer: String,
    pub message: String,
}

impl ShapeError {
    /// Names the line, as the parsers do of what they find themselves.
    fn located(self, text: &str) -> Self {
        match Lines::of(text).and_then(|lines| lines.place(&self.pointer)) {
            Some(Place { line, column }) if !self.message.contains(" at line ") => {
                Self { message: format!("{} at line {line} column {column}", self.message), ..self }
            }
            _ => self,
        }
    }
}

/// JSON is part of YAML, but its own reader knows it better.
fn is_json(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn whole(error: ParseError) -> ShapeError {
    ShapeError { pointer: String::new(), message: error.0 }
}

/// Reads a value of any such type, and says where it went wrong. The caller refuses lists in the place of objects.
pub fn read<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<T, ShapeError> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let pointer = error.path().iter().map(segment).collect();
        ShapeError { pointer, message: keys::explained(&error.into_inner().to_string()) }
    })
}

fn segment(segment: &serde_path_to_error::Segment) -> String {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}

/// serde would take a list for an object, field by field in their order: a document without keys is refused.
fn check_objects(document: &Value) -> Result<(), ShapeError> {
    object(String::new(), Some(document))?;
    for key in ["retry_policy", "rollback"] {
        object(format!("/{key}"), document.get(key))?;
    }
    limits::objects(document).try_for_each(|(pointer, value)| object(pointer, value))?;
    step::check_objects("/flow_steps", document.get("flow_steps"), 0)
}

/// Refuses what is there and no object; null is nothing, but as the whole document.
fn object(pointer: String, value: Option<&Value>) -> Result<(), ShapeError> {
    match value {
        None | Some(Value::Object(_)) => Ok(()),
        Some(Value::Null) if !pointer.is_empty() => Ok(()),
        Some(_) => Err(ShapeError { pointer, message: "must be an object".to_owned() }),
    }
}

fn format_1() -> u32 {
    1
}
fn yes() -> bool {
    true
}
fn sequential() -> ExecutionMode {
    ExecutionMode::Sequential
}
fn stop() -> OnErrorAction {
    OnErrorAction::Stop
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "flow_name: a\ntrigger_type: manual\nflow_steps:\n  - id: x\n    config: {action_type: transform}\n";

    #[test]
    fn a_minimal_document_has_the_documented_defaults() {
        let flow = FlowDocument::from_text(MINIMAL).expect("valid");
        assert_eq!(flow.format, 1);
        assert!(flow.is_active);
        assert_eq!(flow.retry_policy.max_attempts, 3);
        assert_eq!(flow.flow_steps[0].config["priority"], 5);
        assert_eq!(FlowDocument::from_value(flow.to_value()).expect("round trip"), flow);
    }

    #[test]
    fn an_unknown_key_names_itself_and_its_line() {
        let error = FlowDocument::from_text(&MINIMAL.replace("trigger_type", "triger_type")).expect_err("unknown key");
        assert!(error.message.contains("triger_type") && error.message.contains("line 2"), "{error}");
        let json = "{\"flow_name\": \"a\",\n\"speed\": 1}";
        let error = FlowDocument::from_text(json).expect_err("unknown key");
        assert!(error.message.contains("speed") && error.message.contains("line 2"), "{error}");
    }

    #[test]
    fn a_mistyped_field_names_its_place_and_a_list_is_no_object() {
        let mut value = FlowDocument::from_text(MINIMAL).expect("valid").to_value();
        value["flow_steps"][0]["config"]["priority"] = "high".into();
        assert_eq!(FlowDocument::from_value(value).expect_err("mistyped").pointer, "/flow_steps/0/config/priority");
        let mut value = FlowDocument::from_text(MINIMAL).expect("valid").to_value();
        value["flow_steps"][0]["config"] = serde_json::json!(["transform"]);
        let error = FlowDocument::from_value(value).expect_err("a list");
        assert_eq!(error.to_string(), "/flow_steps/0/config: must be an object");
        assert!(FlowDocument::from_value(serde_json::json!([1, "a"])).is_err());
    }
}
