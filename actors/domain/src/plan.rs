//! A flow document, checked and compiled: what runs are driven by.
//!
//! Whatever can be wrong with a document is found here, when it is saved, with a JSON pointer to the place: ids, edges,
//! cycles, expressions, templates, policies. A plan that exists can run.

mod graph;

use serde_json::Value;

use crate::document::{FlowDocument, StepDocument};
use crate::expr::{Condition, ExprError, Names, Template};
use crate::form::Form;
use crate::ids::{MAX_STEPS, StepNo};
use crate::json;
use crate::retry::RetryPolicy;
use crate::trigger::{self, TriggerPlan};
use crate::words::{OnError, OnErrorAction, OnUnknownOutcome, Urgency};

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// RFC 6901, into the document.
    pub pointer: String,
    pub message: String,
}

/// A checked flow.
#[derive(Debug)]
pub struct FlowPlan {
    pub name: String,
    pub steps: Vec<StepPlan>,
    /// What its `trigger_config` says.
    pub trigger: TriggerPlan,
    pub condition: Condition,
    /// What a person fills in who starts it by hand.
    pub form: Option<Form>,
    pub deadline_ms: Option<i64>,
    pub requires_approval: bool,
    /// A run of a decision with less confidence waits for a person.
    pub approval_threshold: Option<f64>,
    pub on_error_action: OnErrorAction,
    /// The most steps that one event can release: its roots, or the dependents of one step.
    pub width: usize,
}

/// A checked step.
#[derive(Debug)]
pub struct StepPlan {
    pub id: std::sync::Arc<str>,
    pub action_type: std::sync::Arc<str>,
    pub action_target: std::sync::Arc<str>,
    pub payload: Template,
    pub priority: u8,
    pub urgency: Urgency,
    pub scheduled_for: Option<Template>,
    pub expires_in_ms: Option<i64>,
    pub when: Option<Condition>,
    pub retry: RetryPolicy,
    /// One attempt's deadline; absent: the executor's own default.
    pub timeout_ms: Option<u64>,
    pub on_error: OnError,
    pub on_unknown_outcome: OnUnknownOutcome,
    pub requires_approval: bool,
    pub inputs: Vec<StepNo>,
    /// How many of the inputs must be satisfied.
    pub needed: usize,
    /// The steps that have this one among their inputs.
    pub dependents: Vec<StepNo>,
}

/// What a document may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLimits {
    pub max_steps: usize,
    pub max_document_bytes: usize,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self { max_steps: 1_000, max_document_bytes: 1 << 20 }
    }
}

/// The roots that a flow's conditions may name: there is no run yet.
const CONDITION_ROOTS: &[&str] = &["trigger", "webhook", "tenant", "now"];
/// The roots that a step's expressions may name.
const STEP_ROOTS: &[&str] = &["trigger", "webhook", "input", "steps", "flow", "run", "tenant", "now"];

/// What [`FlowPlan::compile`] passes over, because flows of earlier releases, which did not look at it, go on: the
/// `trigger_config` and the `input_schema`. For a flow that is saved.
pub fn problems_at_the_door(doc: &FlowDocument) -> Vec<Problem> {
    let mut problems = trigger::problems(doc);
    problems.extend(form(doc).err().into_iter().flatten());
    problems
}

fn form(doc: &FlowDocument) -> Result<Option<Form>, Vec<Problem>> {
    if doc.input_schema.is_null() {
        return Ok(None);
    }
    let placed = |problem: Problem| Problem { pointer: format!("/input_schema{}", problem.pointer), ..problem };
    Form::compile(&doc.input_schema).map(Some).map_err(|problems| problems.into_iter().map(placed).collect())
}

/// Collects problems under a growing pointer.
struct Checker<'a> {
    problems: Vec<Problem>,
    action_types: &'a [&'a str],
    /// The document is not looked at further: what follows is bounded by its limits.
    is_too_large: bool,
}

impl FlowPlan {
    /// Checks and compiles. `action_types` are those that have an executor here; an unknown one is refused by name.
    pub fn compile(doc: &FlowDocument, action_types: &[&str], limits: &PlanLimits) -> Result<Self, Vec<Problem>> {
        let mut check = Checker { problems: Vec::new(), action_types, is_too_large: false };
        check.head(doc, limits);
        if check.is_too_large {
            return Err(check.problems);
        }
        let edges = graph::edges(doc, &mut check.problems);
        let condition = check.expression("/conditions", || {
            Condition::parse(&doc.conditions, &Names { roots: CONDITION_ROOTS, steps: &[] })
        });
        let steps: Vec<Option<StepPlan>> =
            doc.flow_steps.iter().enumerate().map(|(no, step)| check.step(doc, no, step, &edges)).collect();
        if !check.problems.is_empty() {
            return Err(check.problems);
        }
        let steps: Vec<StepPlan> = steps.into_iter().flatten().collect();
        let roots = steps.iter().filter(|s| s.inputs.is_empty()).count();
        let width = steps.iter().map(|s| s.dependents.len()).max().unwrap_or(0).max(roots);
        Ok(Self {
            name: doc.flow_name.clone(),
            steps,
            width,
            trigger: TriggerPlan::compile(doc),
            condition: condition.expect("no problems were found"),
            form: form(doc).ok().flatten(),
            deadline_ms: doc.max_execution_time_seconds.map(seconds_to_ms),
            requires_approval: doc.requires_approval,
            approval_threshold: doc.approval_threshold,
            on_error_action: doc.on_error_action,
        })
    }
}

impl Checker<'_> {
    fn problem(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { pointer: pointer.into(), message: message.into() });
    }

    fn expression<T>(&mut self, pointer: &str, parse: impl FnOnce() -> Result<T, ExprError>) -> Option<T> {
        parse().map_err(|e| self.problem(format!("{pointer}{}", e.pointer), e.to_string())).ok()
    }

    fn head(&mut self, doc: &FlowDocument, limits: &PlanLimits) {
        if doc.format != 1 {
            self.problem("/format", format!("this version reads format 1, the document says {}", doc.format));
        }
        if doc.flow_name.trim().is_empty() || doc.flow_name.chars().count() > 200 {
            self.problem("/flow_name", "must have 1 to 200 characters");
        }
        if doc.flow_name.chars().any(char::is_control) {
            self.problem("/flow_name", "must not contain control characters");
        }
        if doc.flow_name.parse::<uuid::Uuid>().is_ok() {
            self.problem("/flow_name", "must not look like an id: flows are also named by theirs");
        }
        let most = limits.max_steps.min(MAX_STEPS as usize);
        if doc.flow_steps.is_empty() || doc.flow_steps.len() > most {
            self.problem("/flow_steps", format!("must have 1 to {most} steps, has {}", doc.flow_steps.len()));
            self.is_too_large = doc.flow_steps.len() > most;
        }
        if doc.max_execution_time_seconds.is_some_and(|s| s == 0 || s > 31_536_000) {
            self.problem("/max_execution_time_seconds", "must be 1 to 31536000 (a year)");
        }
        if doc.approval_threshold.is_some_and(|t| !(0.0..=1.0).contains(&t)) {
            self.problem("/approval_threshold", "must be 0 to 1");
        }
        if !matches!(doc.on_error_action, OnErrorAction::Stop | OnErrorAction::Continue) {
            let message = format!("'{}' is not available in this version; use stop or continue", doc.on_error_action);
            self.problem("/on_error_action", message);
        }
        self.retry("/retry_policy", &doc.retry_policy);
        let value = doc.to_value();
        if json::too_deep(&value) {
            self.problem("", format!("the document nests deeper than {} levels", json::MAX_DEPTH));
            self.is_too_large = true;
        }
        let bytes = value.to_string().len();
        if bytes > limits.max_document_bytes {
            self.problem(
                "",
                format!("the document has {bytes} bytes, at most {} are taken", limits.max_document_bytes),
            );
            self.is_too_large = true;
        }
    }

    fn retry(&mut self, pointer: &str, policy: &RetryPolicy) {
        for (field, message) in policy.problems() {
            self.problem(format!("{pointer}/{field}"), message);
        }
    }

    fn step(&mut self, doc: &FlowDocument, no: usize, step: &StepDocument, edges: &graph::Edges) -> Option<StepPlan> {
        let at = format!("/flow_steps/{no}");
        self.step_words(&at, step);
        let before: Vec<&str> = edges.before(no).map(|n| doc.flow_steps[n].id.as_str()).collect();
        let names = Names { roots: STEP_ROOTS, steps: &before };
        let payload = self.expression(&format!("{at}/config/action_payload"), || {
            Template::parse(&step.config.action_payload, &names)
        });
        let scheduled_for = step.config.scheduled_for.as_ref().map(|text| {
            self.expression(&format!("{at}/config/scheduled_for"), || {
                Template::parse(&Value::String(text.clone()), &names)
            })
        });
        self.schedule(&at, step);
        let when = (!step.when.is_null())
            .then(|| self.expression(&format!("{at}/when"), || Condition::parse(&step.when, &names)));
        let retry = step.retry.as_ref().unwrap_or(&doc.retry_policy).clone();
        if let Some(own) = &step.retry {
            self.retry(&format!("{at}/retry"), own);
        }
        let inputs = edges.inputs[no].clone();
        let needed = self.needed(&at, step, inputs.len());
        Some(StepPlan {
            id: step.id.as_str().into(),
            action_type: step.config.action_type.as_str().into(),
            action_target: step.config.action_target.as_str().into(),
            payload: payload?,
            priority: step.config.priority,
            urgency: step.config.urgency,
            scheduled_for: scheduled_for.map_or(Some(None), |found| found.map(Some))?,
            expires_in_ms: step.config.expires_in_seconds.map(seconds_to_ms),
            when: when.map_or(Some(None), |found| found.map(Some))?,
            retry,
            timeout_ms: step.timeout_seconds.map(|s| (s * 1_000.0) as u64),
            on_error: step.on_error,
            on_unknown_outcome: step.on_unknown_outcome,
            requires_approval: step.requires_approval,
            inputs,
            needed,
            dependents: edges.dependents[no].clone(),
        })
    }

    /// A time that is no template can be read now.
    fn schedule(&mut self, at: &str, step: &StepDocument) {
        let Some(text) = &step.config.scheduled_for else { return };
        let is_template = text.contains("{{");
        if !is_template && chrono::DateTime::parse_from_rfc3339(text).is_err() {
            let message = format!("'{text}' is not an RFC 3339 time, such as 2030-01-31T08:00:00Z, nor a template");
            self.problem(format!("{at}/config/scheduled_for"), message);
        }
    }

    /// The fields of a step that stand for themselves.
    fn step_words(&mut self, at: &str, step: &StepDocument) {
        if step.kind != "action" {
            self.problem(format!("{at}/type"), format!("'{}' is not one of: action", step.kind));
        }
        if !self.action_types.contains(&step.config.action_type.as_str()) {
            let known = self.action_types.join(", ");
            let message = format!("'{}' is not one of: {known}", step.config.action_type);
            self.problem(format!("{at}/config/action_type"), message);
        }
        if step.config.action_target.chars().count() > 200 {
            self.problem(format!("{at}/config/action_target"), "must have at most 200 characters");
        }
        if !(1..=10).contains(&step.config.priority) {
            self.problem(format!("{at}/config/priority"), "must be 1 (first) to 10");
        }
        if step.timeout_seconds.is_some_and(|s| !(s > 0.0 && s <= 86_400.0)) {
            self.problem(format!("{at}/timeout_seconds"), "must be more than 0 and at most 86400 (a day)");
        }
        if step.config.expires_in_seconds.is_some_and(|s| s == 0 || s > 31_536_000) {
            self.problem(format!("{at}/config/expires_in_seconds"), "must be 1 to 31536000 (a year)");
        }
        if !matches!(step.on_error, OnError::Fail | OnError::Continue) {
            let message = format!("'{}' is not available in this version; use fail or continue", step.on_error);
            self.problem(format!("{at}/on_error"), message);
        }
        if step.on_unknown_outcome == OnUnknownOutcome::Verify {
            let message = "'verify' is not available in this version; use retry or park";
            self.problem(format!("{at}/on_unknown_outcome"), message);
        }
    }

    fn needed(&mut self, at: &str, step: &StepDocument, inputs: usize) -> usize {
        let needed = match &step.dependency_mode {
            Value::Null => Some(inputs),
            Value::String(word) if word == "all" => Some(inputs),
            Value::String(word) if word == "any" => Some(inputs.min(1)),
            Value::Number(n) => n.as_u64().map(|n| n as usize).filter(|n| (1..=inputs).contains(n)),
            _ => None,
        };
        needed.unwrap_or_else(|| {
            self.problem(format!("{at}/dependency_mode"), format!("must be all, any or a number from 1 to {inputs}"));
            inputs
        })
    }
}

/// Total: a number that is too large is a problem that is noted elsewhere, not a panic.
fn seconds_to_ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
