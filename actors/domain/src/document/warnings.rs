//! What is legal but surely not meant. A warning never keeps a document from being saved.
//!
//! There are two kinds: what the document alone shows ([`warnings`]), and what the tenant's other flows make of it
//! ([`shadows`]).

use std::collections::BTreeSet;

use serde_json::Value;

use super::within::each_step;
use super::{FlowDocument, StepDocument, channels, parameters};
use crate::ids::FlowId;
use crate::plan::Problem;
use crate::trigger;
use crate::words::{OnError, OnErrorAction, TriggerType};

/// A flow has no more: of a document with others nothing is asked here.
const MOST_PHASES: u32 = 100;

/// What the document alone shows.
pub fn warnings(document: &FlowDocument) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut warn = |pointer: String, message: String| found.push(Problem::new(pointer, message));
    for name in parameters::unused(document) {
        warn(format!("/parameters/{name}"), "no text of the template uses it".to_owned());
    }
    found.extend(channels::warnings(document));
    let mut warn = |pointer: String, message: String| found.push(Problem::new(pointer, message));
    let failures = Failures::of(document);
    let deadline = document.max_execution_time_seconds;
    for (no, step) in document.flow_steps.iter().enumerate() {
        let at = format!("/flow_steps/{no}");
        if let (Some(step), Some(run)) = (step.timeout_seconds, deadline)
            && step > run as f64
        {
            let message = format!("the run ends after {run} s (max_execution_time_seconds), before this deadline");
            warn(format!("{at}/timeout_seconds"), message);
        }
        if let Some(why) = failures.never_undo(step.phase) {
            let mut undos = Vec::new();
            undos_of(step, &at, &mut undos);
            undos.into_iter().for_each(|place| warn(place, format!("nothing undoes this step by itself: {why}")));
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

/// The undos of a step and of those that stand in it: they are taken back with it.
fn undos_of(step: &StepDocument, at: &str, found: &mut Vec<String>) {
    if step.undo.is_some() {
        found.push(format!("{at}/undo"));
    }
    // What cannot be read is told when the document is compiled.
    let Ok(mut config) = step.config() else { return };
    for (place, inner) in config.bodies_mut() {
        for (no, step) in inner.iter().enumerate() {
            undos_of(step, &format!("{at}/config{place}/{no}"), found);
        }
    }
}

/// How far the failures of a flow's steps make it go back.
struct Failures {
    /// Its last phase; 0: it has none.
    phases: u32,
    is_off: bool,
    /// Each phase in which a step may fail so that the run goes back, and to the end of which it does; 0: the start.
    backs: BTreeSet<(u32, u32)>,
}

impl Failures {
    fn of(document: &FlowDocument) -> Self {
        let steps = &document.flow_steps;
        let phases = steps.iter().filter_map(|step| step.phase).max().unwrap_or(0).min(MOST_PHASES);
        let to = document.rollback.as_ref().map(|rollback| &rollback.to);
        // No further than this; by default to the phase before alone.
        let most = match to.map(|to| (to.as_str(), to.as_u64())) {
            Some((Some("start"), _)) => 0,
            Some((_, Some(phase))) => u32::try_from(phase).unwrap_or(u32::MAX),
            _ => u32::MAX,
        };
        let is_off = to.is_some_and(|to| to == "off");
        let mut backs = BTreeSet::new();
        for step in steps.iter().filter(|_| !is_off) {
            let asks = match step.on_error {
                OnError::Compensate => true,
                OnError::Fail => document.on_error_action == OnErrorAction::Rollback,
                OnError::Continue | OnError::Fallback | OnError::Pause => false,
            };
            let goes_on = step.on_error == OnError::Continue
                || (step.on_error == OnError::Fail && document.on_error_action == OnErrorAction::Continue);
            let failing = may_count_as_of(step.phase, phases).filter(|phase| asks || (!goes_on && *phase > 1));
            backs.extend(failing.map(|phase| (phase, most.min(phase.saturating_sub(1)))));
        }
        Self { phases, is_off, backs }
    }

    /// Why nothing takes a step of this phase back; `None` where something may.
    fn never_undo(&self, phase: Option<u32>) -> Option<&'static str> {
        let is_undone = |of: u32| self.backs.iter().any(|(failing, back)| *failing >= of && (*back < of || of == 0));
        if may_count_as_of(phase, self.phases).any(is_undone) {
            return None;
        }
        Some(if self.is_off {
            "rollback: {to: off} keeps what was done"
        } else if phase == Some(1) && !self.backs.is_empty() {
            "a failure goes back to the end of phase 1 at most: say rollback: {to: start}, or on_error_action: rollback"
        } else {
            "say on_error_action: rollback, give its steps phases, or a step on_error: compensate"
        })
    }
}

/// The phases that a step may turn out to be of. One of no phase counts as of that which is under way when it begins.
fn may_count_as_of(phase: Option<u32>, phases: u32) -> std::ops::RangeInclusive<u32> {
    let (first, last) = (phases.min(1), phases);
    phase.map_or(first..=last, |phase| phase..=phase)
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
    let others = |other: &&Neighbour<'_>| {
        Some(other.id) != id
            && other.document.flow_name != document.flow_name
            && other.document.is_active
            && is_matched(other.document)
    };
    let mut found = Vec::new();
    for other in neighbours.iter().filter(others) {
        // Ids grow with time.
        let is_newer = id.is_none_or(|id| id > other.id);
        let (first, second) = if is_newer { (document, other.document) } else { (other.document, document) };
        let has_less_to_say = is_always(&first.conditions) || first.conditions == second.conditions;
        if !has_less_to_say || !trigger::takes_all_of(first, second) {
            continue;
        }
        let why = if is_always(&first.conditions) { "has no conditions" } else { "has the same conditions" };
        let name = &other.document.flow_name;
        let trigger = document.trigger_type.as_str();
        let by = if trigger.starts_with(['a', 'e']) { format!("an {trigger}") } else { format!("a {trigger}") };
        let message = if is_newer {
            format!("this flow is newer and {why}: '{name}' is not started by {by} any more")
        } else {
            format!("'{name}' is newer and {why}: this flow is never started by {by}")
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
pub(crate) fn is_always(condition: &Value) -> bool {
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
    fn a_newer_flow_of_more_events_starves_one_of_fewer() {
        let event = |name: &str, config: &str| {
            let text = format!(
                "flow_name: {name}\ntrigger_type: event\ntrigger_config: {config}\n\
                flow_steps: [{{id: x, config: {{action_type: transform}}}}]\n"
            );
            FlowDocument::from_text(&text).unwrap()
        };
        let old = event("old", "{type: com.x.order, source: /shop}");
        let of_old = [Neighbour { id: FlowId(Uuid::from_u128(1)), document: &old }];
        for (config, count) in [
            ("{type: com.x.*}", 1),
            ("{type: com.x.order, match: first}", 1),
            ("{type: com.x.order, source: /sh*}", 1),
            ("{type: com.x.order, source: /shop}", 1),
            ("{type: com.x.orders}", 0),
            ("{type: com.y.*}", 0),
            ("{type: com.x.*, source: /other}", 0),
            ("{type: com.x.*, filter: trigger.data.total > 10}", 0),
            ("{type: com.x.*, match: all}", 0),
        ] {
            assert_eq!(shadows(None, &event("new", config), &of_old).len(), count, "{config}");
        }
        let all = event("all", "{type: com.x.*}");
        let of_all = [Neighbour { id: FlowId(Uuid::from_u128(1)), document: &all }];
        assert_eq!(shadows(None, &old, &of_all), [], "what it leaves starts the older one");
        let found = shadows(Some(FlowId(Uuid::from_u128(0))), &old, &of_all);
        assert_eq!(messages(&found), ["'all' is newer and has no conditions: this flow is never started by an event"]);
    }

    /// The steps whose undo nothing comes to, of steps `{ID: phase}` that all have one.
    fn never_undone(steps: &[(&str, Option<u32>)], more: &str) -> Vec<String> {
        let steps: Vec<Value> = steps
            .iter()
            .map(|(id, phase)| {
                let action = serde_json::json!({"action_type": "transform"});
                serde_json::json!({"id": id, "phase": phase, "config": action, "undo": action})
            })
            .collect();
        let steps = serde_json::to_string(&steps).unwrap();
        let text = format!("flow_name: a\ntrigger_type: manual\nflow_steps: {steps}\n{more}\n");
        let found = warnings(&FlowDocument::from_text(&text).unwrap());
        found.into_iter().map(|problem| problem.pointer).collect()
    }

    #[test]
    fn an_undo_that_can_never_run_is_told_by_phase_and_by_how_far_a_failure_goes_back() {
        let phased = [("a", Some(1)), ("b", Some(2)), ("c", Some(3))];
        let first = ["/flow_steps/0/undo"];
        let all = ["/flow_steps/0/undo", "/flow_steps/1/undo", "/flow_steps/2/undo"];
        for to in ["", "rollback: {to: previous}", "rollback: {to: 1}"] {
            assert_eq!(never_undone(&phased, to), first, "{to}");
        }
        for more in
            ["rollback: {to: start}", "on_error_action: rollback", "on_error_action: rollback\nrollback: {to: 2}"]
        {
            assert_eq!(never_undone(&phased, more), [""; 0], "{more}");
        }
        for more in ["rollback: {to: off}\non_error_action: rollback", "on_error_action: continue"] {
            assert_eq!(never_undone(&phased, more), all, "{more}");
        }
        // One of no phase counts as of that which is under way when it begins.
        assert_eq!(never_undone(&[("a", Some(1)), ("u", None), ("b", Some(2))], ""), first);
        assert_eq!(never_undone(&[("a", Some(1)), ("u", None)], "").len(), 2, "there is nothing to go back to");
        let alone = [("a", None)];
        assert_eq!(never_undone(&alone, "on_error_action: rollback\nrollback: {to: off}").len(), 1);
        assert_eq!((never_undone(&alone, "").len(), never_undone(&alone, "on_error_action: rollback").len()), (1, 0));
    }

    #[test]
    fn an_undo_in_a_step_is_looked_at_too() {
        let of = |more: &str| {
            let text = format!(
                "flow_name: a\ntrigger: manual\nflow_steps:\n  - way: {{type: branch, cases: [{{when: trigger.a, \
                 steps: [{{in: {{post: a/b, undo: {{post: a/c}}}}}}]}}]}}\n{more}\n"
            );
            warnings(&FlowDocument::from_text(&text).unwrap())
        };
        let found = of("");
        assert_eq!(found[0].pointer, "/flow_steps/0/config/cases/0/steps/0/undo");
        assert!(found[0].message.contains("on_error_action: rollback"), "{found:?}");
        assert_eq!(of("on_error_action: rollback"), []);
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
