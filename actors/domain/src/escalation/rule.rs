//! A rule, checked and compiled, and what it is asked about.

use serde_json::{Value, json};
use uuid::Uuid;

use super::EscalationReason;
use super::calendar::WorkingCalendar;
use super::check;
use super::context;
use super::document::RuleDocument;
use super::matching::scope;
use crate::Json;
use crate::expr::{Condition, ExprError, Expression};
use crate::ids::{ExecutionId, FlowId, LogId, Owner, RowId, RunId, UserId};
use crate::plan::Problem;
use crate::words::{Role, Urgency};

/// A rule's id.
pub type RuleId = RowId;

/// A rule, ready to be asked.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: RuleId,
    pub document: RuleDocument,
    pub(super) condition: Condition,
    pub(super) dedup_key: Option<Expression>,
    pub(super) calendar: WorkingCalendar,
}

/// What has failed: what the rules are asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub reason: EscalationReason,
    /// Of the attempt that failed; absent where a whole run did.
    pub action_type: Option<String>,
    pub integration: Option<String>,
    pub flow_id: Option<FlowId>,
    pub flow_name: Option<String>,
    pub run: Option<RunId>,
    pub execution: Option<ExecutionId>,
    pub log: Option<LogId>,
    /// What conditions see as `trigger`.
    pub context: Json,
    pub at_ms: i64,
}

/// Who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recipient {
    User(UserId),
    Role(Role),
    OnCall(String),
}

impl std::str::FromStr for Recipient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "user" => name.parse().map(Self::User).map_err(|_| format!("'{name}' is no user's id, which is a UUID")),
            "role" => name.parse().map(Self::Role).map_err(|error: crate::words::UnknownWord| error.to_string()),
            "on_call" if !name.is_empty() => Ok(Self::OnCall(name.to_owned())),
            _ => Err(format!("'{text}' is not user:ID, role:ROLE or on_call:NAME")),
        }
    }
}

impl std::fmt::Display for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::OnCall(name) => write!(f, "on_call:{name}"),
        }
    }
}

impl Rule {
    /// Checks a document and compiles it. All that is wrong with it is told at once.
    pub fn compile(id: RuleId, document: RuleDocument) -> Result<Self, Vec<Problem>> {
        let parts = check::check(&document)?;
        Ok(Self::of(id, document, parts))
    }

    /// Compiles a document that is stored. An earlier release has checked it: what is refused only since then does not keep a
    /// rule that people rely on from being asked.
    pub fn stored(id: RuleId, document: RuleDocument) -> Result<Self, Vec<Problem>> {
        let parts = check::parts(&document)?;
        Ok(Self::of(id, document, parts))
    }

    fn of(id: RuleId, document: RuleDocument, parts: check::Parts) -> Self {
        let check::Parts { condition, dedup_key, calendar } = parts;
        Self { id, document, condition, dedup_key, calendar }
    }

    /// What a failure is about, for this rule: failures of one subject join one event.
    pub fn subject(&self, failure: &Failure, owner: &Owner) -> Result<String, ExprError> {
        let Some(key) = &self.dedup_key else { return Ok(failure.subject()) };
        let value = key.evaluate(&scope(failure, owner))?;
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(text.chars().take(MOST_SUBJECT_CHARS).collect())
    }
}

/// A subject is a name, not a document.
const MOST_SUBJECT_CHARS: usize = 300;

impl Failure {
    /// What it is about where the rule does not say: the flow, or the action and its target. A step that fails and the end of
    /// its run that follows are about the same.
    pub fn subject(&self) -> String {
        let said = |name: &str| self.context.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(subject) = said("subject") {
            return subject.chars().take(MOST_SUBJECT_CHARS).collect();
        }
        match (&self.flow_id, &self.action_type) {
            (Some(flow), _) => format!("flow:{flow}"),
            (None, Some(action)) => format!("action:{action}/{}", said("action_target").unwrap_or_default()),
            (None, None) => self.reason.as_str().to_owned(),
        }
    }

    /// How urgent what failed was.
    pub fn urgency(&self) -> Option<Urgency> {
        self.context.get("urgency").and_then(Value::as_str).and_then(|word| word.parse().ok())
    }

    /// The id of the event that it makes under a rule: asked again after a crash, it is the same.
    pub fn event_id(cause: RowId, rule: RuleId) -> RowId {
        use sha2::{Digest, Sha256};
        let digest: [u8; 32] =
            Sha256::new().chain_update(cause.0.as_bytes()).chain_update(rule.0.as_bytes()).finalize().into();
        let random = digest[..16].iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
        RowId::new(crate::ids::uuid_ms(cause.0), random)
    }

    /// The name of the nth failure that one occurrence tells of.
    pub fn nth_cause(occurrence: RowId, no: usize) -> RowId {
        Self::event_id(occurrence, RowId(Uuid::from_u128(no as u128)))
    }

    /// Reads what an answer of `escalation-handler`, a test case or a stored event says.
    /// One that is too large is [cut](super::context).
    pub fn described(reason: EscalationReason, context: Json, at_ms: i64) -> Self {
        let context = context::bounded(context);
        let said = |name: &str| context.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = |name: &str| said(name).and_then(|text| text.parse::<Uuid>().ok());
        let named = |one: &str, other: &str| said(one).or_else(|| said(other));
        Self {
            reason,
            action_type: said("action_type"),
            integration: named("integration", "integration_name"),
            flow_id: id("flow_id").map(FlowId),
            flow_name: named("flow_name", "flow"),
            run: id("run_id").map(RunId),
            execution: id("execution_id").map(ExecutionId),
            log: id("execution_log_id").map(LogId),
            context,
            at_ms,
        }
    }

    /// The title of messages about it.
    pub fn title(&self) -> String {
        let what = self.reason.as_str().replace('_', " ");
        let about = self.flow_name.as_deref().or(self.action_type.as_deref());
        about.map_or_else(|| what.clone(), |about| format!("{what}: {about}"))
    }

    /// What conditions see.
    pub fn trigger(&self) -> Json {
        let mut trigger = match &*self.context {
            Value::Object(map) => Value::Object(map.clone()),
            Value::Null => json!({}),
            other => json!({"value": other}),
        };
        let texts = [
            ("reason", Some(self.reason.as_str().to_owned())),
            ("action_type", self.action_type.clone()),
            ("integration", self.integration.clone()),
            ("flow_id", self.flow_id.map(|id| id.to_string())),
            ("flow_name", self.flow_name.clone()),
            ("run_id", self.run.map(|id| id.to_string())),
            ("execution_id", self.execution.map(|id| id.to_string())),
        ];
        for (name, text) in texts {
            trigger[name] = text.map_or(Value::Null, Value::String);
        }
        Json::new(trigger)
    }
}
