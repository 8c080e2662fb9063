//! What must change on the server for its flows to be what the files say: computed once, shown by `plan`, done by `apply`.
//!
//! A flow is found by its name; what is sent is the difference, against the version it was computed from, so that a change
//! that somebody else makes meanwhile is not lost.

use std::collections::BTreeSet;

use core314_domain::document::FlowDocument;
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::outcome::{Exit, Failure};

/// Members of a document that the server counts or that say how it is read.
const NOT_COMPARED: [&str; 2] = ["flow_version", "format"];
/// More flows than a tenant has.
const MOST_FLOWS: usize = 100_000;

/// What is to be done with one flow.
#[derive(Debug)]
pub enum Change {
    Create,
    /// The flow as it is stored, and the merge patch (RFC 7396) that makes it what the file says.
    Update {
        stored: Value,
        patch: Value,
    },
    Leave {
        stored: Value,
    },
}

impl Change {
    /// Compares a document with the flow of its name.
    pub async fn of(client: &Client, document: &FlowDocument) -> Result<Self, Failure> {
        let found = client.list(&["flows"], &[("flow_name", document.flow_name.clone())], 1).await?;
        let Some(stored) = found.into_iter().next() else {
            return Ok(Self::Create);
        };
        Ok(match difference(&shown_document(&stored), &comparable(document.to_value())) {
            Some(patch) => Self::Update { stored, patch },
            None => Self::Leave { stored },
        })
    }

    /// Does it, and says what was done.
    pub async fn make(self, client: &Client, document: &FlowDocument) -> Result<Value, Failure> {
        match self {
            Self::Create => Ok(row("created", &client.post(&["flows"], &document.to_value()).await?)),
            Self::Update { stored, patch } => {
                let (Some(id), Some(version)) = (stored["id"].as_str(), stored["flow_version"].as_i64()) else {
                    return Err(Failure::new(
                        Exit::Failed,
                        format!("the server shows flow '{}' without id and version", document.flow_name),
                    ));
                };
                let changed = client.patch(&["flows", id], version, &patch).await?;
                let is_same = changed["flow_version"].as_i64() == Some(version);
                Ok(row(if is_same { "unchanged" } else { "updated" }, &changed))
            }
            Self::Leave { stored } => Ok(row("unchanged", &stored)),
        }
    }
}

/// Flows of the server that no document names.
pub async fn without_document<'a>(
    client: &Client,
    documents: impl Iterator<Item = &'a FlowDocument>,
) -> Result<Vec<Value>, Failure> {
    let named: BTreeSet<&str> = documents.map(|document| document.flow_name.as_str()).collect();
    let mut flows = client.list(&["flows"], &[], MOST_FLOWS).await?;
    flows.retain(|flow| flow["flow_name"].as_str().is_some_and(|name| !named.contains(name)));
    Ok(flows)
}

/// What was done with a flow.
pub fn row(result: &str, flow: &Value) -> Value {
    json!({"result": result, "flow_name": flow["flow_name"], "id": flow["id"], "flow_version": flow["flow_version"]})
}

/// One place at which two documents differ.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// A JSON pointer (RFC 6901); members of a list that have ids are found by them, not by their number.
    pub place: String,
    pub before: Value,
    pub after: Value,
}

/// The places at which a document differs from the flow as it is stored.
pub fn differences(stored: &Value, document: &FlowDocument) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&shown_document(stored), &comparable(document.to_value()), "", &mut found);
    found
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

/// The document inside a flow as the API shows it, in the same form as one from a file.
fn shown_document(stored: &Value) -> Value {
    let members =
        FlowDocument::from_text("flow_name: x\ntrigger_type: manual\nflow_steps: []").map(|blank| blank.to_value());
    let known = members.expect("a blank document can be read");
    let optional = [
        "conditions",
        "max_execution_time_seconds",
        "approval_threshold",
        "input_schema",
        "output_schema",
        "fallback_flow_id",
    ];
    let is_member = |name: &str| known.get(name).is_some() || optional.contains(&name);
    let shown = stored.as_object().into_iter().flatten();
    let document: Map<String, Value> = shown
        .filter(|(name, value)| is_member(name) && !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let document = Value::Object(document);
    // What cannot be read as a document differs from every document, and so is replaced.
    comparable(FlowDocument::from_value(document.clone()).map_or(document, |read| read.to_value()))
}

fn comparable(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.retain(|name, _| !NOT_COMPARED.contains(&name.as_str()));
    }
    document
}

/// The merge patch (RFC 7396) from one value to another; `None` when they are equal.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        let change = match old.get(name) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        patch.extend(change.map(|change| (name.clone(), change)));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::json::merge_patch;

    const FLOW: &str =
        "flow_name: NAME\ntrigger_type: manual\nflow_steps:\n  - {id: x, config: {action_type: transform}}\n";

    fn flow(text: &str) -> FlowDocument {
        FlowDocument::from_text(text).unwrap()
    }

    #[test]
    fn applying_the_difference_gives_the_new_document() {
        let plain = flow(FLOW).to_value();
        let rich = flow(&format!(
            "{FLOW}conditions: trigger.n > 1\nmetadata: {{a: 1, b: {{c: 2}}}}\nmax_execution_time_seconds: 5\ntags: [x]\nretry_policy: {{deadline_seconds: 9}}"
        ))
        .to_value();
        for (from, to) in [(&plain, &rich), (&rich, &plain)] {
            let patch = difference(from, to).expect("they differ");
            let mut patched = from.clone();
            merge_patch(&mut patched, &patch);
            assert_eq!(&patched, to, "by {patch}");
        }
        assert_eq!(difference(&rich, &rich.clone()), None);
    }

    #[test]
    fn a_flow_as_the_api_shows_it_equals_its_file() {
        let document = flow(&format!("{FLOW}max_execution_time_seconds: 5\nmetadata: {{a: 1}}"));
        let mut shown = comparable(document.to_value());
        let more = json!({"id": "0", "flow_version": 7, "total_executions": 3, "conditions": null, "tenant_id": "t",
            "created_at": "2026-01-01T00:00:00.000Z", "avg_execution_time_ms": 1.5});
        shown.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(difference(&shown_document(&shown), &comparable(document.to_value())), None);
        assert_eq!(differences(&shown, &document), []);
        shown["metadata"] = json!({"a": 2});
        assert_eq!(
            difference(&shown_document(&shown), &comparable(document.to_value())),
            Some(json!({"metadata": {"a": 1}}))
        );
        let expected = Difference { place: "/metadata/a".to_owned(), before: json!(2), after: json!(1) };
        assert_eq!(differences(&shown, &document), [expected]);
    }

    #[test]
    fn steps_are_compared_by_their_ids() {
        let step = |id: &str, url: &str| json!({"id": id, "config": {"url": url}});
        let before = json!({"flow_steps": [step("a", "1"), step("b/c", "2"), step("d", "3")]});
        let after = json!({"flow_steps": [step("e", "9"), step("b/c", "8"), step("a", "1")]});
        let mut found = Vec::new();
        compare(&before, &after, "", &mut found);
        let places: Vec<&str> = found.iter().map(|difference| difference.place.as_str()).collect();
        assert_eq!(places, ["/flow_steps/b~1c/config/url", "/flow_steps/e", "/flow_steps/d"]);
        let turned = json!({"flow_steps": [step("d", "3"), step("a", "1"), step("b/c", "2")]});
        found.clear();
        compare(&before, &turned, "", &mut found);
        assert_eq!(found[0].place, "/flow_steps (order)");
        assert_eq!(found[0].after, json!(["d", "a", "b/c"]));
        found.clear();
        compare(&json!({"tags": ["x"]}), &json!({"tags": ["y"]}), "", &mut found);
        assert_eq!(found[0].place, "/tags");
    }
}
