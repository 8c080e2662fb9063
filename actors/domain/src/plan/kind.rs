//! What a checked step does, by its type.

use std::ops::Range;
use std::sync::Arc;

use crate::chain::Hash;
use crate::expr::{Condition, Expression, Template};
use crate::form::Form;
use crate::ids::{FlowId, StepNo, UserId};
use crate::words::{OnApprovalTimeout, OnWaitTimeout, Role, StepType, StopStatus};

/// What a step does.
#[derive(Debug)]
pub enum StepKind {
    /// An executor's work.
    Action,
    Approval(ApprovalPlan),
    /// One condition a lane; the lane after the last is the default.
    Branch(Vec<Condition>),
    ForEach(ForEachPlan),
    While(WhilePlan),
    Parallel(ParallelPlan),
    SubFlow(SubFlowPlan),
    Wait(WaitPlan),
    Transform(Vec<(String, Expression)>),
    Set(Vec<(String, Expression)>),
    /// The same of the action `set_variable`, whose values are templates.
    Assign(Vec<(String, Template)>),
    Raise {
        error: String,
        message: Template,
    },
    Stop {
        status: StopStatus,
        output: Template,
    },
}

/// Who may decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approver {
    User(UserId),
    Role(Role),
    /// Whoever is on call on the schedule of this name.
    OnCall(String),
}

impl Approver {
    /// The on-call schedule, where it is one.
    pub fn schedule(&self) -> Option<&str> {
        match self {
            Self::OnCall(name) => Some(name),
            Self::User(_) | Self::Role(_) => None,
        }
    }
}

/// People decide.
#[derive(Debug)]
pub struct ApprovalPlan {
    /// Empty: operators and admins.
    pub approvers: Vec<Approver>,
    pub required: usize,
    pub allow_self: bool,
    /// What whoever agrees fills in.
    pub form: Option<Box<Form>>,
    pub timeout_ms: Option<i64>,
    pub on_timeout: OnApprovalTimeout,
}

/// The body's steps for each item.
#[derive(Debug)]
pub struct ForEachPlan {
    pub collection: Expression,
    pub concurrency: u32,
    pub batch_size: Option<u32>,
    pub stops_on_error: bool,
    /// Plan numbers of the steps that an item runs.
    pub body: Range<StepNo>,
}

/// The body's steps while the condition holds.
#[derive(Debug)]
pub struct WhilePlan {
    pub condition: Condition,
    pub max_iterations: u32,
    pub body: Range<StepNo>,
}

/// Several lanes at once.
#[derive(Debug)]
pub struct ParallelPlan {
    /// Their names in the output.
    pub lanes: Vec<Arc<str>>,
    /// How many must complete.
    pub needed: usize,
}

/// Another flow.
#[derive(Debug)]
pub struct SubFlowPlan {
    pub flow: SubFlowRef,
    pub version: Option<i64>,
    pub waits: bool,
}

/// How a sub-flow is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubFlowRef {
    Id(FlowId),
    Name(String),
    /// Steps that are computed then: they are in the step's payload, under `steps`, beside the `input` of their run.
    Computed(Arc<ComputedPlan>),
}

/// What computed steps may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputedPlan {
    pub action_types: Vec<String>,
    pub max: usize,
}

/// How long a result is used again, and by which key.
#[derive(Debug)]
pub struct CachePlan {
    pub key: Expression,
    pub ttl_ms: i64,
    /// Of all that the step does: a step that is changed finds nothing.
    pub digest: Hash,
}

/// A wait.
#[derive(Debug)]
pub struct WaitPlan {
    pub what: WaitFor,
    pub timeout_ms: Option<i64>,
    pub on_timeout: OnWaitTimeout,
}

impl WaitPlan {
    /// Whether what it waits for comes by itself.
    pub const fn is_for_a_time(&self) -> bool {
        matches!(self.what, WaitFor::Seconds(_) | WaitFor::Until(_))
    }
}

/// What a wait waits for.
#[derive(Debug)]
pub enum WaitFor {
    /// Seconds, as a number or a text that is one.
    Seconds(Template),
    /// An RFC 3339 time.
    Until(Template),
    Signal(Arc<str>),
    Event {
        kind: Arc<str>,
        key: Expression,
        matches: Option<Condition>,
    },
}

impl StepKind {
    /// The word of the step's type.
    pub const fn word(&self) -> StepType {
        match self {
            Self::Action => StepType::Action,
            Self::Approval(_) => StepType::Approval,
            Self::Branch(_) => StepType::Branch,
            Self::ForEach(_) => StepType::ForEach,
            Self::While(_) => StepType::While,
            Self::Parallel(_) => StepType::Parallel,
            Self::SubFlow(_) => StepType::SubFlow,
            Self::Wait(_) => StepType::Wait,
            Self::Transform(_) => StepType::Transform,
            Self::Set(_) | Self::Assign(_) => StepType::Set,
            Self::Raise { .. } => StepType::Raise,
            Self::Stop { .. } => StepType::Stop,
        }
    }

    /// The steps that each of its rounds runs, where it is a loop.
    pub fn body(&self) -> Option<Range<StepNo>> {
        match self {
            Self::ForEach(each) => Some(each.body.clone()),
            Self::While(each) => Some(each.body.clone()),
            _ => None,
        }
    }
}
