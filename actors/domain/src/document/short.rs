//! The short form of a document: what people type. `docs/flow-files.md` explains it.
//!
//! It is another notation, not another format: [`expand`] writes it out before anything reads it, and [`shorten`] goes back.
//! A step in the short form is an object of one key, the step's id; steps in both forms may stand beside each other, so that
//! whatever has no short form is written long.
//!
//! Invariants: `expand(shorten(x)) == x` for every document (a property test holds it); what is stored is always long; a
//! document is short by its form alone ([`is_short`]), and no document can be read both ways.
//!
//! How someone could get this wrong: to give a word of the long form a second meaning here. A new key of a step goes into
//! [`STEP_KEYS`], one of an undo into [`UNDO_KEYS`] (a test compares the lists with the types), and from then on it is no key of
//! a payload any more.

mod expand;
mod shorten;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

pub use expand::{Expanded, expand};
pub use shorten::shorten;

use crate::words::TriggerType;

/// The keys that a step has in both forms, its id, type and config apart.
const STEP_KEYS: &[&str] = &[
    "when",
    "retry",
    "timeout_seconds",
    "on_error",
    "undo",
    "verify",
    "phase",
    "cache",
    "idempotency_key",
    "requires_approval",
    "on_unknown_outcome",
    "connections",
    "dependency_mode",
    "position",
];
/// The keys of a step that hold a further action.
const ACTIONS: &[&str] = &["undo", "verify"];
/// The keys of an undo beside those of its action.
const UNDO_KEYS: &[&str] = &["retry", "timeout_seconds", "requires_approval"];
/// The keys of an action's config that keep their places.
const ACTION_KEYS: &[&str] =
    &["action_type", "action_target", "action_payload", "priority", "urgency", "scheduled_for", "expires_in_seconds"];
/// Words that stand for an action, each with its type and, for a request, its method.
const VERBS: &[(&str, &str, Option<&str>)] = &[
    ("notify", "send_notification", None),
    ("get", "api_call", Some("GET")),
    ("post", "api_call", Some("POST")),
    ("put", "api_call", Some("PUT")),
    ("patch", "api_call", Some("PATCH")),
    ("delete", "api_call", Some("DELETE")),
    ("run", "run_command", None),
    ("task", "create_task", None),
    ("recover", "recover", None),
    ("ask", "ask_ai", None),
];
/// Where a step's config holds further steps: lists of steps, and lists of objects that each hold one.
const NESTED: &[(&str, Option<&str>)] =
    &[("steps", None), ("default", None), ("cases", Some("steps")), ("branches", Some("steps"))];

/// The key of `trigger_config` that the short form writes behind the trigger's name.
const fn main_key(trigger: TriggerType) -> Option<&'static str> {
    match trigger {
        TriggerType::Webhook => Some("webhook"),
        TriggerType::Schedule => Some("cron"),
        TriggerType::Event => Some("type"),
        TriggerType::FlowFinished => Some("flow_name"),
        TriggerType::Manual
        | TriggerType::DecisionApproved
        | TriggerType::RecommendationCreated
        | TriggerType::ThresholdExceeded
        | TriggerType::AnomalyDetected
        | TriggerType::Escalation => None,
    }
}

/// Whether a document is written in the short form: it has `trigger` or `when` at its top, which long ones lack, or a step
/// that is an object of one key: a long step has an id and a config at least.
pub fn is_short(document: &Value) -> bool {
    let has = |key: &str| document.get(key).is_some();
    has("trigger") || has("when") || document.get("flow_steps").and_then(Value::as_array).is_some_and(|s| any_short(s))
}

fn any_short(steps: &[Value]) -> bool {
    steps.iter().any(|step| {
        named(step).is_some()
            || nested(step.get("config")).into_iter().any(|(_, steps)| steps.as_array().is_some_and(|s| any_short(s)))
    })
}

/// The id and body of a step in the short form.
fn named(step: &Value) -> Option<(&String, &Value)> {
    let fields = step.as_object().filter(|fields| fields.len() == 1)?;
    let (id, body) = fields.iter().next()?;
    (!["id", "type", "config"].contains(&id.as_str())).then_some((id, body))
}

/// The lists of steps inside a config, each with its place in it.
fn nested(config: Option<&Value>) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    let Some(config) = config.and_then(Value::as_object) else { return found };
    for (key, inner) in NESTED {
        match (config.get(*key), inner) {
            (Some(steps), None) => found.push((format!("/{key}"), steps)),
            (Some(items), Some(inner)) => {
                let items = items.as_array().into_iter().flatten().enumerate();
                found.extend(items.filter_map(|(no, item)| Some((format!("/{key}/{no}/{inner}"), item.get(inner)?))));
            }
            (None, _) => {}
        }
    }
    found
}

/// Where the parts of a written-out document stand in the text that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Prefixes of pointers (RFC 6901) into the long document, with what stands for them in the short one.
    moved: Vec<(String, String)>,
}

impl Places {
    fn note(&mut self, long: impl Into<String>, short: impl Into<String>) {
        self.moved.push((long.into(), short.into()));
    }

    /// The place in the text for a place in the document. A document in the long form has each where it is.
    pub fn in_text(&self, pointer: &str) -> String {
        let behind = |prefix: &str| {
            pointer.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/')).map(str::len)
        };
        let best = self.moved.iter().filter_map(|(long, short)| Some((behind(long)?, short)));
        match best.min_by_key(|(rest, _)| *rest) {
            Some((rest, short)) => format!("{short}{}", &pointer[pointer.len() - rest..]),
            None => pointer.to_owned(),
        }
    }
}

/// A key as a pointer's segment (RFC 6901).
fn segment(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// An object of one member.
fn single(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}
