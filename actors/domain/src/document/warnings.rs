//! What is legal but surely not meant. A warning never keeps a document from being saved.
//!
//! There are two kinds: what the document alone shows ([`warnings`]), and what the tenant's other flows make of it
//! ([`shadows`]).

use serde_json::Value;

use super::within::each_step;
use super::{FlowDocument, channels, parameters};
use crate::ids::FlowId;
use crate::plan::Problem;
use crate::trigger;
use crate::words::{OnError, OnErrorAction, TriggerType};

/// What the document alone shows.
pub fn warnings(document: &FlowDocument) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut warn = |pointer: String, message: String| found.push(Problem::new(pointer, message));
    for name in parameters::unused(document) {
        warn(format!("/parameters/{name}"), "no text of the template uses it".to_owned());
    }
    found.extend(channels::warnings(document));
    let mut warn = |pointer: String, message: String| found.push(Problem::new(pointer, message));
    let undoes = ever_undoes(document);
    let deadline = document.max_execution_time_seconds;
    for (no, step) in document.flow_steps.iter().enumerate() {
        let at = format!("/flow_steps/{no}");
        if let (Some(step), Some(run)) = (step.timeout_seconds, deadline)
            && step > run as f64
        {
            let message = format!("the run ends after {run} s (max_execution_time_seconds), before this deadline");
            warn(format!("{at}/timeout_seconds"), message);
        }
        if step.undo.is_some() && !undoes {
            let message = "nothing ever undoes a step of this flow: say on_error_action: rollback, give its steps phases, \
                or a step on_error: compensate";
            warn(format!("{at}/undo"), message.to_owned());
        }
        if is_always(&step.when) && !step.when.is_null() {
            warn(format!("{at}/when"), "it always holds: leave it out".to_owned());
        }
    }
    found
}

/// A flow that a document names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFlow {
    /// The place that names it.
    pub pointer: String,
    /// Its name or its id.
    pub flow: String,
    /// The version that is wanted of it, where one is.
    pub version: Option<i64>,
}

/// The flows that its steps start, wherever they stand, and the one whose ends start it.
pub fn named_flows(document: &FlowDocument) -> Vec<NamedFlow> {
    let mut found = Vec::new();
    if let Some(flow) = trigger::followed(document) {
        let key = if document.trigger_config.contains_key("flow") { "flow" } else { "flow_name" };
        found.push(NamedFlow { pointer: format!("/trigger_config/{key}"), flow, version: None });
    }
    each_step(document, &mut |at, step| {
        let (Some("sub_flow"), Some(config)) = (step.get("type").and_then(Value::as_str), step.get("config")) else {
            return;
        };
        let named = |key: &'static str| Some((key, config.get(key)?.as_str()?));
        if let Some((key, flow)) = named("flow_name").or_else(|| named("flow_id")) {
            let version = config.get("version").and_then(Value::as_i64);
            found.push(NamedFlow { pointer: format!("{at}/config/{key}"), flow: flow.to_owned(), version });
        }
    });
    found
}

/// The on-call schedules whose people its approvals ask, each with the place that names it.
pub fn asked_schedules(document: &FlowDocument) -> Vec<(String, String)> {
    let mut found = Vec::new();
    each_step(document, &mut |at, step| {
        let approvers = step.get("config").and_then(|config| config.get("approvers")).and_then(Value::as_array);
        for (no, who) in approvers.into_iter().flatten().enumerate() {
            if let Some(name) = who.as_str().and_then(|who| who.strip_prefix("on_call:")) {
                found.push((format!("{at}/config/approvers/{no}"), name.to_owned()));
            }
        }
    });
    found
}

/// Whether anything makes the flow take back what its steps did.
fn ever_undoes(document: &FlowDocument) -> bool {
    let is_off = document.rollback.as_ref().is_some_and(|rollback| rollback.to == "off");
    let phased = document.flow_steps.iter().any(|step| step.phase.is_some_and(|phase| phase > 1));
    document.on_error_action == OnErrorAction::Rollback
        || (phased && !is_off)
        || document.flow_steps.iter().any(|step| step.on_error == OnError::Compensate)
}

/// An active flow of the same tenant.
#[derive(Debug, Clone, Copy)]
pub struct Neighbour<'a> {
    pub id: FlowId,
    pub document: &'a FlowDocument,
}

/// Which flows keep each other from being started: a trigger starts the newest active flow whose conditions hold, so that
/// one without conditions, or with the same ones, leaves nothing to those after it. `id` is absent for a flow that is new.
pub fn shadows(id: Option<FlowId>, document: &FlowDocument, neighbours: &[Neighbour<'_>]) -> Vec<Problem> {
    if !document.is_active || !is_matched(document) {
        return Vec::new();
    }
    let same = |other: &&Neighbour<'_>| {
        Some(other.id) != id
            && other.document.flow_name != document.flow_name
            && other.document.is_active
            && is_matched(other.document)
            && other.document.trigger_type == document.trigger_type
            && other.document.trigger_config == document.trigger_config
    };
    let mut found = Vec::new();
    for other in neighbours.iter().filter(same) {
        // Ids grow with time.
        let is_newer = id.is_none_or(|id| id > other.id);
        let (first, second) = if is_newer { (document, other.document) } else { (other.document, document) };
        if !is_always(&first.conditions) && first.conditions != second.conditions {
            continue;
        }
        let why = if is_always(&first.conditions) { "has no conditions" } else { "has the same conditions" };
        let name = &other.document.flow_name;
        let message = if is_newer {
            format!("this flow is newer and {why}: '{name}' is not started by a {} any more", document.trigger_type)
        } else {
            format!("'{name}' is newer and {why}: this flow is never started by a {}", document.trigger_type)
        };
        found.push(Problem::new("/conditions", message));
    }
    found
}

/// Whether triggers look for the flow among others: by its type, and not by its own name, time or endpoint.
fn is_matched(document: &FlowDocument) -> bool {
    let is_matched_type = match document.trigger_type {
        TriggerType::Manual | TriggerType::Schedule | TriggerType::FlowFinished => false,
        // One with an endpoint of its own is named by it.
        TriggerType::Webhook => !document.trigger_config.contains_key("webhook"),
        TriggerType::Event
        | TriggerType::DecisionApproved
        | TriggerType::RecommendationCreated
        | TriggerType::ThresholdExceeded
        | TriggerType::AnomalyDetected
        | TriggerType::Escalation => true,
    };
    is_matched_type && document.trigger_config.get("match").is_none_or(|found| found != "all") && !document.is_template
}

/// Whether a condition holds whatever happens.
fn is_always(condition: &Value) -> bool {
    match condition {
        Value::Null | Value::Bool(true) => true,
        Value::String(text) => text.trim() == "true",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn flow(name: &str, more: &str) -> FlowDocument {
        let text = format!(
            "flow_name: {name}\ntrigger_type: webhook\nflow_steps: [{{id: x, config: {{action_type: transform}}}}]\n{more}"
        );
        FlowDocument::from_text(&text).unwrap()
    }

    fn messages(found: &[Problem]) -> Vec<&str> {
        found.iter().map(|problem| problem.message.as_str()).collect()
    }

    #[test]
    fn a_flow_that_takes_everything_is_told_whom_it_starves() {
        let id = |n| FlowId(Uuid::from_u128(n));
        let (old, new) = (flow("old", "conditions: trigger.a == 1"), flow("new", ""));
        let of_old = [Neighbour { id: id(1), document: &old }];
        let found = shadows(None, &new, &of_old);
        assert_eq!(
            messages(&found),
            ["this flow is newer and has no conditions: 'old' is not started by a webhook any more"]
        );
        assert_eq!(shadows(Some(id(1)), &old, &of_old), [], "a flow does not shadow itself");
        let of_new = [Neighbour { id: id(2), document: &new }];
        let found = shadows(Some(id(1)), &old, &of_new);
        assert_eq!(messages(&found), ["'new' is newer and has no conditions: this flow is never started by a webhook"]);
        let twin = flow("twin", "conditions: trigger.a == 1");
        assert!(shadows(None, &twin, &of_old)[0].message.contains("has the same conditions"));
        let apart = flow("apart", "conditions: trigger.a == 2");
        assert_eq!(shadows(None, &apart, &of_old), []);
        for more in ["is_active: false", "trigger_config: {webhook: own}", "trigger_config: {match: all}"] {
            assert_eq!(shadows(None, &flow("other", more), &of_old), [], "{more}");
        }
    }

    #[test]
    fn flows_that_are_named_are_found_wherever_they_are() {
        let id = Uuid::from_u128(7).to_string();
        let text = format!(
            "flow_name: a\ntrigger: {{flow_finished: d}}\nflow_steps:\n  - one: {{type: sub_flow, flow_name: b, version: 99}}\n  \
            - two: {{type: branch, config: {{cases: [{{when: 'true', steps: [{{in: {{type: sub_flow, flow_id: {id}}}}}]}}]}}}}\n"
        );
        let found = named_flows(&FlowDocument::from_text(&text).unwrap());
        let named = |pointer: &str, flow: &str, version| NamedFlow {
            pointer: pointer.to_owned(),
            flow: flow.to_owned(),
            version,
        };
        assert_eq!(
            found,
            [
                named("/trigger_config/flow_name", "d", None),
                named("/flow_steps/0/config/flow_name", "b", Some(99)),
                named("/flow_steps/1/config/cases/0/steps/0/config/flow_id", &id, None)
            ]
        );
    }

    #[test]
    fn what_can_never_matter_is_said() {
        let text = "flow_name: a\ntrigger_type: manual\nmax_execution_time_seconds: 5\n\
            flow_steps: [{id: x, when: 'true', timeout_seconds: 9, config: {action_type: transform}}]";
        let found = warnings(&FlowDocument::from_text(text).unwrap());
        let places: Vec<&str> = found.iter().map(|problem| problem.pointer.as_str()).collect();
        assert_eq!(places, ["/flow_steps/0/timeout_seconds", "/flow_steps/0/when"]);
        assert_eq!(warnings(&flow("plain", "")), []);
        let undo = |more: &str| {
            let text = format!(
                "flow_name: a\ntrigger: manual\nflow_steps: [{{x: {{post: a/b, undo: {{post: a/c}}}}}}]\n{more}"
            );
            warnings(&FlowDocument::from_text(&text).unwrap()).len()
        };
        assert_eq!((undo(""), undo("on_error_action: rollback")), (1, 0));
    }
}
