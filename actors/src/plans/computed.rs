//! Steps that a run computes: checked like those of a document that is saved, and more narrowly.
//!
//! Whoever computes them, often a system outside, may not do with them what the flow does not let it: they have only the types
//! of action that the flow names, start no other flow, and name no secret.

use core314_domain::document::FlowDocument;
use core314_domain::plan::{ComputedPlan, FlowPlan, PlanLimits, Problem, StepKind};
use core314_domain::words::ExecutionMode;
use serde_json::{Value, json};

use super::Plans;

/// Problems that are named; of more their number is said.
const MOST_NAMED: usize = 5;

impl Plans {
    /// The document of computed steps, or in one sentence what is wrong with them.
    pub fn computed(&self, steps: &Value, computed: &ComputedPlan) -> Result<FlowDocument, String> {
        let Value::Array(list) = steps else {
            return Err(format!("the computed steps must be a list, and are {}", kind_of(steps)));
        };
        if list.len() > computed.max {
            return Err(format!("there are {} computed steps, at most {} are taken", list.len(), computed.max));
        }
        let has_edges = list.iter().any(|step| step.get("connections").is_some_and(|edges| !edges.is_null()));
        let mode = if has_edges { ExecutionMode::Mixed } else { ExecutionMode::Sequential };
        let document = FlowDocument::from_value(json!({
            "flow_name": "computed steps", "trigger_type": "manual", "execution_mode": mode, "flow_steps": list,
        }))
        .map_err(|error| format!("the computed steps cannot be read: {}: {}", error.pointer, error.message))?;
        let is_allowed = |word: &&str| computed.action_types.iter().any(|allowed| allowed == word);
        let known: Vec<&str> = self.action_types.iter().copied().filter(is_allowed).collect();
        let limits = PlanLimits { max_steps: computed.max, ..self.limits.clone() };
        let plan = FlowPlan::compile(&document, &known, &limits).map_err(|problems| told(&problems))?;
        let parts = plan.steps.iter().flat_map(|step| [Some(step), step.undo.as_deref(), step.verify.as_deref()]);
        let mut problems = Vec::new();
        for step in parts.flatten() {
            if !step.payload.secrets().is_empty() {
                problems.push(Problem::new("", format!("step '{}': computed steps name no secrets", step.id)));
            }
            if matches!(step.kind, StepKind::SubFlow(_)) {
                problems.push(Problem::new("", format!("step '{}': computed steps start no other flow", step.id)));
            }
        }
        if problems.is_empty() { Ok(document) } else { Err(told(&problems)) }
    }
}

/// Problems as one sentence.
pub fn told(problems: &[Problem]) -> String {
    let words = problems.iter().take(MOST_NAMED).map(|problem| match &*problem.pointer {
        "" => problem.message.clone(),
        pointer => format!("{pointer}: {}", problem.message),
    });
    let words = words.collect::<Vec<_>>().join("; ");
    let more = problems.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("the computed steps have {} problem(s): {words}{more}", problems.len())
}

const fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
