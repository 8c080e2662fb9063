//! Flow documents of the platform that this system continues, taken as they are.
//!
//! They have our fields, beside them some that we do not know, and null for what is not set. What is not known is kept in
//! `metadata.unknown_keys`, each under the JSON pointer to where it stood, and has no effect.
//!
//! A document is one of theirs when it names no `format` and each of its steps has a `position` and `connections`, as
//! their builder writes them. Ours name their format whenever the server or the command line writes them, so that all
//! others stay as strict as ever: an unknown key in them is a mistake, not a memory.

use std::collections::BTreeSet;

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

use super::{ActionDocument, Connections, FlowDocument, StepDocument};
use crate::retry::RetryPolicy;
use crate::trigger;

/// Where unknown keys are kept, in `metadata`.
const KEPT: &str = "unknown_keys";

/// Whether this is a document of that platform.
pub(super) fn wrote(document: &Value) -> bool {
    let is_drawn =
        |step: &Value| ["position", "connections"].iter().all(|key| step.get(key).is_some_and(Value::is_object));
    let steps = document.get("flow_steps").and_then(Value::as_array);
    document.get("format").is_none() && steps.is_some_and(|steps| !steps.is_empty() && steps.iter().all(is_drawn))
}

/// The document with what we do not know in its metadata, and without nulls.
pub(super) fn adopted(mut document: Value) -> Value {
    let mut kept = Map::new();
    sift(Some(&mut document), "", &known::<FlowDocument>(), &mut kept);
    let trigger = document.get("trigger_type").and_then(|word| serde_json::from_value(word.clone()).ok());
    if let Some(known) = trigger.and_then(trigger::known_keys) {
        sift(document.get_mut("trigger_config"), "/trigger_config", &known, &mut kept);
    }
    let policy = known::<RetryPolicy>();
    sift(document.get_mut("retry_policy"), "/retry_policy", &policy, &mut kept);
    let (of_step, of_config, of_edges) = (known::<StepDocument>(), known::<ActionDocument>(), known::<Connections>());
    let steps = document.get_mut("flow_steps").and_then(Value::as_array_mut);
    for (no, step) in steps.into_iter().flatten().enumerate() {
        let at = format!("/flow_steps/{no}");
        for (key, known) in [("config", &of_config), ("retry", &policy), ("connections", &of_edges)] {
            sift(step.get_mut(key), &format!("{at}/{key}"), known, &mut kept);
        }
        sift(Some(step), &at, &of_step, &mut kept);
    }
    if !kept.is_empty()
        && let Some(document) = document.as_object_mut()
        && let Some(metadata) = document.entry("metadata").or_insert_with(|| Map::new().into()).as_object_mut()
    {
        metadata.insert(KEPT.to_owned(), kept.into());
    }
    document
}

/// The keys that a type has.
fn known<T: JsonSchema>() -> BTreeSet<String> {
    let schema = schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect()
}

/// Takes out of an object what is null, and moves what is not known.
fn sift(object: Option<&mut Value>, at: &str, known: &BTreeSet<String>, kept: &mut Map<String, Value>) {
    let Some(fields) = object.and_then(Value::as_object_mut) else { return };
    fields.retain(|key, value| {
        let is_known = known.contains(key);
        if !is_known {
            kept.insert(format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), value.take());
        }
        is_known && !value.is_null()
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn theirs() -> Value {
        let step = json!({
            "id": "one", "type": "action", "label": "One", "position": {"x": 1, "y": 2}, "connections": {"inputs": [], "outputs": []},
            "config": {"action_type": "transform", "icon/s": "bell", "urgency": null},
        });
        json!({"flow_name": "theirs", "trigger_type": "manual", "flow_steps": [step], "created_at": "2025-01-01", "tags": null,
            "fallback_flow_id": null, "retry_policy": {"max_attempts": 2, "strategy": "linear"}, "metadata": {"team": "ops"}})
    }

    #[test]
    fn what_is_not_known_is_kept_under_its_place_and_null_is_nothing() {
        let flow = FlowDocument::from_value(theirs()).expect("taken as it is");
        let kept = json!({"/created_at": "2025-01-01", "/retry_policy/strategy": "linear",
            "/flow_steps/0/label": "One", "/flow_steps/0/config/icon~1s": "bell"});
        assert_eq!(Value::Object(flow.metadata.clone()), json!({"team": "ops", "unknown_keys": kept}));
        assert_eq!((flow.retry_policy.max_attempts, flow.tags.len()), (2, 0));
        assert_eq!(FlowDocument::from_text(&theirs().to_string()).expect("as text too"), flow);
        assert_eq!(FlowDocument::from_value(flow.to_value()).expect("ours from now on"), flow);
    }

    #[test]
    fn a_document_that_is_not_theirs_stays_strict() {
        for (key, value) in
            [("format", json!(1)), ("flow_steps", json!([{"id": "a", "config": {"action_type": "transform"}}]))]
        {
            let mut ours = theirs();
            ours[key] = value;
            let error = FlowDocument::from_value(ours).expect_err(key);
            assert!(error.message.contains("unknown field"), "{error}");
        }
        let mut drawn_in_part = theirs();
        drawn_in_part["flow_steps"][0]["position"] = Value::Null;
        assert!(FlowDocument::from_value(drawn_in_part).is_err());
    }

    #[test]
    fn what_is_known_but_wrong_is_refused() {
        let mut wrong = theirs();
        wrong["flow_steps"][0]["config"]["priority"] = json!("high");
        assert_eq!(FlowDocument::from_value(wrong).expect_err("a word").pointer, "/flow_steps/0/config/priority");
    }
}
