//! The semantic difference of two documents: step by step, found by their ids, and field by field.
//!
//! One implementation serves `GET /flows/{id}/diff`, `core314 flow diff` and `core314 flow plan`.

use serde_json::{Map, Value};

use super::FlowDocument;

/// Members of a document that the server counts or that say how it is read.
pub const NOT_COMPARED: [&str; 2] = ["flow_version", "format"];

/// One place at which two documents differ.
#[derive(Debug, Clone, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// A JSON pointer (RFC 6901); members of a list that have ids are found by them, not by their number. A list of the same
    /// members in another order has ` (order)` behind its pointer.
    pub place: String,
    /// Null where nothing was.
    pub before: Value,
    /// Null where nothing is.
    pub after: Value,
}

/// The places at which two documents differ, as they would be stored.
pub fn differences(before: &FlowDocument, after: &FlowDocument) -> Vec<Difference> {
    differing_values(&comparable(before.to_value()), &comparable(after.to_value()))
}

/// The places at which two values differ.
pub fn differing_values(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(before, after, "", &mut found);
    found
}

/// A document without what is not compared.
pub fn comparable(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
    }
    document
}

fn compare(before: &Value, after: &Value, place: &str, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (Some(old), Some(new)) = (members(before), members(after)) else {
        found.push(Difference { place: place.to_owned(), before: before.clone(), after: after.clone() });
        return;
    };
    let count = found.len();
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    for name in new.keys().chain(gone) {
        let (before, after) = (old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null));
        compare(before, after, &format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")), found);
    }
    if found.len() == count {
        // The same members in another order.
        found.push(Difference { place: format!("{place} (order)"), before: names(before), after: names(after) });
    }
}

/// What can be compared member by member: objects, and lists of what has ids.
fn members(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members.clone()),
        Value::Array(items) if !items.is_empty() => {
            let with_id = |item: &Value| Some((item["id"].as_str()?.to_owned(), item.clone()));
            let members: Map<String, Value> = items.iter().map(with_id).collect::<Option<_>>()?;
            (members.len() == items.len()).then_some(members)
        }
        _ => None,
    }
}

fn names(value: &Value) -> Value {
    value.as_array().into_iter().flatten().map(|item| item["id"].clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_compared_by_their_ids() {
        let step = |id: &str, url: &str| json!({"id": id, "config": {"url": url}});
        let before = json!({"flow_steps": [step("a", "1"), step("b/c", "2"), step("d", "3")]});
        let after = json!({"flow_steps": [step("e", "9"), step("b/c", "8"), step("a", "1")]});
        let found = differing_values(&before, &after);
        let places: Vec<&str> = found.iter().map(|difference| difference.place.as_str()).collect();
        assert_eq!(places, ["/flow_steps/b~1c/config/url", "/flow_steps/e", "/flow_steps/d"]);
        let turned = json!({"flow_steps": [step("d", "3"), step("a", "1"), step("b/c", "2")]});
        let found = differing_values(&before, &turned);
        assert_eq!(found[0].place, "/flow_steps (order)");
        assert_eq!(found[0].after, json!(["d", "a", "b/c"]));
        let found = differing_values(&json!({"tags": ["x"]}), &json!({"tags": ["y"]}));
        assert_eq!(found[0].place, "/tags");
    }

    #[test]
    fn what_the_server_counts_is_no_difference() {
        let text = "flow_name: a\ntrigger_type: manual\nflow_steps: [{id: x, config: {action_type: transform}}]";
        let one = FlowDocument::from_text(text).unwrap();
        let two = FlowDocument { flow_version: Some(7), ..one.clone() };
        assert_eq!(differences(&one, &two), []);
        let other = FlowDocument { flow_description: "b".to_owned(), ..one.clone() };
        assert_eq!(differences(&one, &other)[0].place, "/flow_description");
    }
}
