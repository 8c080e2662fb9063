//! What the `config` of a step holds, by the step's type.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ActionDocument, ShapeError, StepDocument, read};
use crate::words::{OnApprovalTimeout, OnLoopError, OnWaitTimeout, StepType, StopStatus};

macro_rules! configs {
    ($($variant:ident($document:ty)),* $(,)?) => {
        /// A config, read by its step's type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum StepConfig { $($variant($document)),* }

        impl StepConfig {
            /// Reads a config. An error's pointer begins with `/config`.
            pub fn read(kind: StepType, config: &Map<String, Value>) -> Result<Self, ShapeError> {
                let value = Value::Object(config.clone());
                let found = match kind { $(StepType::$variant => read::<$document, _>(value).map(Self::$variant)),* };
                found.map_err(|e| ShapeError { pointer: format!("/config{}", e.pointer), message: e.message })
            }

            /// The config as the document holds it, defaults and all.
            pub fn to_map(&self) -> Map<String, Value> {
                let value = match self { $(Self::$variant(config) => serde_json::to_value(config)),* };
                match value.expect("a config has text keys and finite numbers") {
                    Value::Object(map) => map,
                    other => unreachable!("a config is an object, not {other}"),
                }
            }
        }
    };
}

configs! {
    Action(ActionDocument), Approval(ApprovalDocument), Branch(BranchDocument), ForEach(ForEachDocument),
    While(WhileDocument), Parallel(ParallelDocument), SubFlow(SubFlowDocument), Wait(WaitDocument),
    Transform(ValuesDocument), Set(ValuesDocument), Raise(RaiseDocument), Stop(StopDocument),
}

impl StepConfig {
    /// The steps that stand in it: where, from the config on, and which.
    pub fn bodies_mut(&mut self) -> Vec<(String, &mut Vec<StepDocument>)> {
        match self {
            Self::Branch(branch) => {
                let cases = branch.cases.iter_mut().enumerate();
                let mut found: Vec<_> = cases.map(|(no, c)| (format!("/cases/{no}/steps"), &mut c.steps)).collect();
                found.push(("/default".to_owned(), &mut branch.default));
                found
            }
            Self::Parallel(parallel) => {
                let lanes = parallel.branches.iter_mut().enumerate();
                lanes.map(|(no, lane)| (format!("/branches/{no}/steps"), &mut lane.steps)).collect()
            }
            Self::ForEach(each) => vec![("/steps".to_owned(), &mut each.steps)],
            Self::While(each) => vec![("/steps".to_owned(), &mut each.steps)],
            _ => Vec::new(),
        }
    }
}

/// A step at which people decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalDocument {
    /// Who may decide: `user:ID`, `role:NAME` or `on_call:NAME`. Nobody named: operators and admins.
    #[serde(default)]
    pub approvers: Vec<String>,
    /// How many must agree. One refusal refuses.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "one")]
    pub required: u32,
    /// Whether whoever started the run may decide.
    #[serde(default)]
    pub allow_self: bool,
    /// A JSON Schema of what approvers fill in.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub form: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    #[serde(default = "reject")]
    pub on_timeout: OnApprovalTimeout,
}

/// A step that takes the first case whose condition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchDocument {
    #[schemars(length(min = 1))]
    pub cases: Vec<CaseDocument>,
    /// Where no case holds.
    #[serde(default)]
    pub default: Vec<StepDocument>,
}

/// A case of a branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseDocument {
    /// CEL or a matcher.
    pub when: Value,
    pub steps: Vec<StepDocument>,
}

/// A step that does its steps for every item of a collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEachDocument {
    /// CEL that gives a list.
    pub collection: String,
    /// How many items are worked on at once.
    #[schemars(range(min = 1, max = 1_000))]
    #[serde(default = "one")]
    pub concurrency: u32,
    /// How many items are one `loop.item`, then a list. Absent: each item by itself.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    #[serde(default = "stop_loop")]
    pub on_error: OnLoopError,
    #[schemars(length(min = 1))]
    pub steps: Vec<StepDocument>,
}

/// A step that does its steps again and again while a condition holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhileDocument {
    /// CEL or a matcher, looked at before each round.
    pub condition: Value,
    /// More rounds than these fail the step.
    #[schemars(range(min = 1, max = 100_000))]
    #[serde(default = "hundred")]
    pub max_iterations: u32,
    #[schemars(length(min = 1))]
    pub steps: Vec<StepDocument>,
}

/// A step that does several lists of steps at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParallelDocument {
    #[schemars(length(min = 1))]
    pub branches: Vec<LaneDocument>,
    /// `all` (default), `any`, or how many of the branches must complete. The others are then cancelled.
    #[serde(default = "all")]
    pub join: Value,
}

/// A branch of a parallel step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LaneDocument {
    /// Its name in the step's output.
    pub id: String,
    #[schemars(length(min = 1))]
    pub steps: Vec<StepDocument>,
}

/// A step that runs another flow, or steps that are known only then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubFlowDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_id: Option<crate::ids::FlowId>,
    /// Absent: the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// In place of a flow: steps that are computed, by a template that gives a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<ComputedDocument>,
    /// The new run's input; texts in it may be templates.
    #[serde(default)]
    pub input: Value,
    /// Whether the step ends with the run that it starts, or as soon as that has been accepted.
    #[serde(default = "yes")]
    pub wait: bool,
}

/// Steps that are computed when the run comes to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComputedDocument {
    /// A template that gives a list of steps, each as a document has it. Usually the result of an action before.
    pub from: Value,
    /// The types of action that they may have.
    #[schemars(length(min = 1))]
    pub action_types: Vec<String>,
    /// More of them, those that stand in others included, fail the step.
    #[schemars(range(min = 1, max = 1_000))]
    #[serde(default = "hundred")]
    pub max: u32,
}

/// A step that waits: exactly one of `seconds`, `until`, `signal` and `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitDocument {
    /// A number, or a template that gives one.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub seconds: Value,
    /// RFC 3339, or a template that gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The name of a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    #[serde(default = "fail_wait")]
    pub on_timeout: OnWaitTimeout,
}

/// The event that a step waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventDocument {
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// CEL: what the event's `subject` must be.
    pub key: String,
    /// CEL over `event`, beside all that a step may name.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
}

/// Named values, each by CEL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValuesDocument {
    pub values: Map<String, Value>,
}

/// A step that fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RaiseDocument {
    /// The error's code.
    #[serde(default = "raised")]
    pub error: String,
    /// A template.
    pub message: String,
}

/// A step that ends the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopDocument {
    #[serde(default = "completed")]
    pub status: StopStatus,
    /// The run's output; texts in it may be templates.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
}

fn one() -> u32 {
    1
}
fn hundred() -> u32 {
    100
}
fn yes() -> bool {
    true
}
fn all() -> Value {
    "all".into()
}
fn raised() -> String {
    "raised".to_owned()
}
fn reject() -> OnApprovalTimeout {
    OnApprovalTimeout::Reject
}
fn stop_loop() -> OnLoopError {
    OnLoopError::Stop
}
fn fail_wait() -> OnWaitTimeout {
    OnWaitTimeout::Fail
}
fn completed() -> StopStatus {
    StopStatus::Completed
}
