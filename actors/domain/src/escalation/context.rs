//! What rules see of a failure, and what is kept of it: one shape, and of bounded size, whoever tells it. A page must not fail
//! because what it is about is large.

use std::cmp::Reverse;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::Json;

/// Bytes of its text at most.
pub const MOST_CONTEXT_BYTES: usize = 16_384;
/// Texts in one that is too large are cut to this.
const TEXT_CHARS: usize = 2_000;
/// What is left out last: what rules are found by, and what people are told.
const KEPT: [&str; 16] = [
    "action_target",
    "action_type",
    "auto_remediate",
    "error",
    "error_code",
    "escalation_reason",
    "execution_id",
    "execution_log_id",
    "flow_id",
    "flow_name",
    "heartbeat_rule_id",
    "integration",
    "run_id",
    "step_id",
    "subject",
    "urgency",
];
/// Says that something was left out.
const IS_CUT: &str = "is_cut";

/// What was noted of a failure, with what the row of its run says of itself; of a run of no flow no flow is said.
pub fn about_run(mut noted: Value, run: &Value) -> Value {
    if run["flow_name"].as_str().is_some_and(|name| !name.is_empty()) {
        noted["flow_id"] = run["orchestration_flow_id"].clone();
        noted["flow_name"] = run["flow_name"].clone();
    }
    noted["run_id"] = run["id"].clone();
    noted["run_error"] = run["error"].clone();
    noted["trigger_type"] = run["trigger_type"].clone();
    noted["context"] = run["trigger_context"].clone();
    noted
}

/// The same, where it is too large: texts are cut and the largest members left out, with `is_cut`.
pub fn bounded(context: Json) -> Json {
    if text_bytes(&context) <= MOST_CONTEXT_BYTES {
        return context;
    }
    Arc::new(bounded_to(Value::clone(&context), MOST_CONTEXT_BYTES))
}

/// A context of at most so many bytes.
pub fn bounded_to(context: Value, most: usize) -> Value {
    if text_bytes(&context) <= most {
        return context;
    }
    let Value::Object(mut members) = context else { return json!({IS_CUT: true}) };
    for value in members.values_mut() {
        if let Value::String(text) = value
            && let Some((end, _)) = text.char_indices().nth(TEXT_CHARS)
        {
            text.truncate(end);
        }
    }
    // With its quotes, its colon and its comma.
    let size = |name: &str, value: &Value| text_bytes(&json!(name)) + text_bytes(value) + 2;
    let mut sizes: Vec<(bool, Reverse<usize>, String)> = members
        .iter()
        .map(|(name, value)| (KEPT.contains(&name.as_str()), Reverse(size(name, value)), name.clone()))
        .collect();
    sizes.sort();
    let mut total = 2 + size(IS_CUT, &Value::Bool(true)) + sizes.iter().map(|(_, size, _)| size.0).sum::<usize>();
    for (_, Reverse(size), name) in sizes {
        if total <= most {
            break;
        }
        members.remove(&name);
        total -= size;
    }
    members.insert(IS_CUT.to_owned(), Value::Bool(true));
    Value::Object(members)
}

fn text_bytes(value: &Value) -> usize {
    value.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_left_out_and_said_to_be() {
        let small = json!({"subject": "s", "n": 1});
        assert_eq!(*bounded(Arc::new(small.clone())), small);
        let large = json!({"subject": "s", "flow_name": "f", "trigger": {"rows": vec!["x".repeat(100); 1_000]},
            "note": "é".repeat(9_000), "n": 1});
        let cut = bounded(Arc::new(large));
        assert_eq!(cut["note"].as_str().map(|note| note.chars().count()), Some(2_000));
        let expected = json!({"subject": "s", "flow_name": "f", "note": cut["note"], "n": 1, "is_cut": true});
        assert_eq!(*cut, expected);
        assert_eq!(bounded_to(json!(["x".repeat(100)]), 50), json!({"is_cut": true}));
    }

    #[test]
    fn no_context_is_larger_than_it_may_be() {
        let names = KEPT.iter().map(|name| ((*name).to_owned(), json!("\u{1}".repeat(5_000))));
        let more = (0..300).map(|no| (format!("key-{no}"), json!({"value": "\"".repeat(300)})));
        let large = Value::Object(names.chain(more).collect());
        for most in [200, 1_000, MOST_CONTEXT_BYTES] {
            let cut = bounded_to(large.clone(), most);
            assert!(cut.to_string().len() <= most && cut["is_cut"] == true, "{} of {most}", cut.to_string().len());
        }
    }

    #[test]
    fn a_run_of_no_flow_names_none() {
        let run = json!({"id": "r", "flow_name": "", "orchestration_flow_id": "f", "error": "no", "trigger_type": "manual",
            "trigger_context": {"host": "a"}});
        let about = about_run(json!({"step_id": "s"}), &run);
        let expected = json!({"step_id": "s", "run_id": "r", "run_error": "no", "trigger_type": "manual", "context": {"host": "a"}});
        assert_eq!(about, expected);
        let named = about_run(json!({}), &json!({"id": "r", "flow_name": "n", "orchestration_flow_id": "f"}));
        assert_eq!((&named["flow_id"], &named["flow_name"]), (&json!("f"), &json!("n")));
    }
}
