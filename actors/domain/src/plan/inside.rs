//! Actions that the runtime performs by itself: `delay` and `set_variable`.
//!
//! They are written as actions are, with templates in their payload, and do what the steps `wait` and `set` do: no
//! executor is asked, no slot is taken, and there is no attempt that could fail for now or be cut off.

use serde_json::Value;

use super::check::Checker;
use super::kinds::MAX_VALUES;
use super::{StepKind, typing};
use crate::document::{ActionDocument, WaitDocument};
use crate::expr::{Names, Template, Type};
use crate::words::OnWaitTimeout;

const DELAY: &str = "delay";
const SET_VARIABLE: &str = "set_variable";
/// Their words in documents and tables.
pub(super) const ACTION_TYPES: [&str; 2] = [DELAY, SET_VARIABLE];

/// Whether the runtime performs actions of this type by itself.
pub(super) fn performs(action_type: &str) -> bool {
    ACTION_TYPES.contains(&action_type)
}

/// What one gives, as far as its payload says it.
pub(super) fn output(action: &ActionDocument) -> Option<Type> {
    let payload = &action.action_payload;
    match (action.action_type.as_str(), payload.get("name"), payload.get("values")) {
        (DELAY, ..) => Some(typing::waited()),
        (SET_VARIABLE, Some(Value::String(name)), None) => Some(typing::named([name.as_str()])),
        (SET_VARIABLE, None, Some(Value::Object(values))) => Some(typing::named(values.keys().map(String::as_str))),
        _ => None,
    }
}

impl Checker<'_> {
    /// What such an action does, and its payload as the log shows it: as it was written.
    pub(super) fn inside(
        &mut self,
        at: &str,
        action: &ActionDocument,
        names: &Names<'_>,
    ) -> Option<(StepKind, Template)> {
        let (at, payload) = (format!("{at}/action_payload"), &action.action_payload);
        let kind = if action.action_type == DELAY {
            self.delay(&at, payload, names)
        } else {
            self.set_variable(&at, payload, names)
        };
        Some((kind?, Template::constant(payload.clone())))
    }

    fn delay(&mut self, at: &str, payload: &Value, names: &Names<'_>) -> Option<StepKind> {
        if !self.has_only(at, payload, &["seconds", "until"]) {
            return None;
        }
        let (seconds, until) = (&payload["seconds"], &payload["until"]);
        if seconds.is_null() == until.is_null() {
            self.problem(at, "must have exactly one of seconds and until");
            return None;
        }
        if !until.is_null() && !until.is_string() {
            self.problem(format!("{at}/until"), "must be an RFC 3339 time, or a template that gives one");
            return None;
        }
        let wait = WaitDocument {
            seconds: seconds.clone(),
            until: until.as_str().map(str::to_owned),
            signal: None,
            event: None,
            timeout_seconds: None,
            on_timeout: OnWaitTimeout::Fail,
        };
        self.wait(at, &wait, names)
    }

    fn set_variable(&mut self, at: &str, payload: &Value, names: &Names<'_>) -> Option<StepKind> {
        if !self.has_only(at, payload, &["name", "value", "values"]) {
            return None;
        }
        let given: Vec<(String, String, &Value)> =
            match (payload.get("name"), payload.get("value"), payload.get("values")) {
                (Some(Value::String(name)), Some(value), None) => {
                    self.length(&format!("{at}/name"), name, 100);
                    vec![(name.clone(), format!("{at}/value"), value)]
                }
                (None, None, Some(Value::Object(values))) => {
                    let place = |name: &str| format!("{at}/values/{}", name.replace('~', "~0").replace('/', "~1"));
                    values.iter().map(|(name, value)| (name.clone(), place(name), value)).collect()
                }
                _ => {
                    self.problem(at, "must have a name, which is a text, and a value; or values, each under its name");
                    return None;
                }
            };
        if given.is_empty() || given.len() > MAX_VALUES {
            self.problem(format!("{at}/values"), format!("must name 1 to {MAX_VALUES} values"));
        }
        let before = self.problems.len();
        let mut values = Vec::with_capacity(given.len());
        for (name, pointer, value) in given {
            let value = self.expression(&pointer, || Template::parse(value, names));
            values.extend(value.map(|value| (name, value)));
        }
        (self.problems.len() == before).then_some(StepKind::Assign(values))
    }

    /// Whether a payload is an object of these keys. What is not known would be lost.
    fn has_only(&mut self, at: &str, payload: &Value, known: &[&str]) -> bool {
        let Some(fields) = payload.as_object() else {
            self.problem(at, format!("must be an object, of: {}", known.join(", ")));
            return false;
        };
        let before = self.problems.len();
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            self.problem(pointer, format!("unknown key '{key}'; known: {}", known.join(", ")));
        }
        self.problems.len() == before
    }
}
