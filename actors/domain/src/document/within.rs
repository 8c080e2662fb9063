//! The steps of a document wherever they stand, as they are written.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::FlowDocument;

/// Shows every step, and the branches of parallel steps, with their places.
pub(super) fn each_step(document: &FlowDocument, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    walk(&document.to_value()["flow_steps"], "/flow_steps", visit);
}

fn walk(value: &Value, at: &str, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(no, item)| walk(item, &format!("{at}/{no}"), visit));
        }
        Value::Object(step) => {
            visit(at, step);
            let inner = step.get("config").and_then(Value::as_object).into_iter().flatten();
            inner.for_each(|(key, value)| walk(value, &format!("{at}/config/{key}"), visit));
            if let Some(steps) = step.get("steps") {
                walk(steps, &format!("{at}/steps"), visit);
            }
        }
        _ => {}
    }
}

/// The types of the events that its steps wait for.
pub fn waited_events(document: &FlowDocument) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    each_step(document, &mut |_, step| {
        let kind = step.get("config").and_then(|config| config.pointer("/event/type")).and_then(Value::as_str);
        if let (Some("wait"), Some(kind)) = (step.get("type").and_then(Value::as_str), kind) {
            found.insert(kind.to_owned());
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_wherever_their_steps_stand() {
        let text = "flow_name: a\ntrigger_type: manual\nflow_steps:\n\
            - {id: x, type: wait, config: {event: {type: paid, key: \"'1'\"}}}\n\
            - {id: y, type: while, config: {condition: \"true\", steps: [{id: z, type: wait, config: {event: {type: sent, key: \"'1'\"}}}]}}\n\
            - {id: w, type: wait, config: {signal: go}}";
        let found = waited_events(&FlowDocument::from_text(text).expect("a document"));
        assert_eq!(found, BTreeSet::from(["paid".to_owned(), "sent".to_owned()]));
    }
}
