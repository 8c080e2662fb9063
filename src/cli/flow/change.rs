//! What must change on the server for its flows to be what the files say: computed once, shown by `plan`, done by `apply`.
//!
//! A flow is found by its name; what is sent is the difference, against the version it was computed from, so that a change
//! that somebody else makes meanwhile is not lost. A flow that came from a file says so in its metadata: pruning removes
//! those alone.

use std::collections::BTreeSet;
use std::path::Path;

use core314_domain::document::diff::{self, Difference, comparable};
use core314_domain::document::{APPLIED_FROM, FlowDocument};
use serde_json::{Map, Value, json};

use crate::cli::client::Client;
use crate::cli::outcome::{Exit, Failure};

/// More flows than a tenant has.
const MOST_FLOWS: usize = 100_000;

/// What is to be done with one flow.
#[derive(Debug)]
pub enum Change {
    Create,
    /// The flow as it is stored, where it differs, and the merge patch (RFC 7396) that makes it what the file says.
    Update {
        stored: Value,
        differences: Vec<Difference>,
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
        let Some(mut stored) = found.into_iter().next() else {
            return Ok(Self::Create);
        };
        let document = &as_saved(client, &mut stored, document).await?;
        let id = stored["id"].as_str().unwrap_or_default();
        let shown = client.get(&["flows", id, "export"], &[("format", "json".to_owned())]).await?;
        // What cannot be read as a document differs from every document, and so is replaced.
        let shown = comparable(FlowDocument::from_value(shown.clone()).map_or(shown, |read| read.to_value()));
        let wanted = comparable(document.to_value());
        Ok(match difference(&shown, &wanted) {
            Some(patch) => Self::Update { stored, differences: diff::differing_values(&shown, &wanted), patch },
            None => Self::Leave { stored },
        })
    }

    /// Does it, and says what was done.
    pub async fn make(self, client: &Client, document: &FlowDocument) -> Result<Value, Failure> {
        match self {
            Self::Create => Ok(row("created", &client.post(&["flows"], &document.to_value()).await?)),
            Self::Update { stored, patch, .. } => {
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

/// The document as the server would save it: one that names what does not exist yet stays inactive, and to ask for
/// another thing each time that the files are applied would be refused. The row is given the reasons.
async fn as_saved(client: &Client, stored: &mut Value, document: &FlowDocument) -> Result<FlowDocument, Failure> {
    let mut document = document.clone();
    if document.is_active && stored["is_active"] == false {
        let verdict = client.post(&["flows", "validate"], &document.to_value()).await?;
        if verdict["saved_inactive"] == true {
            document.is_active = false;
            stored["warnings"] = verdict["warnings"].clone();
        }
    }
    Ok(document)
}

/// The document as it is applied from this file.
pub fn marked(mut document: FlowDocument, path: &Path) -> FlowDocument {
    let name = path.file_name().map_or_else(|| "-".to_owned(), |name| name.to_string_lossy().into_owned());
    document.metadata.insert(APPLIED_FROM.to_owned(), name.into());
    document
}

/// Flows of the server that came from files and that no document names.
pub async fn without_document<'a>(
    client: &Client,
    documents: impl Iterator<Item = &'a FlowDocument>,
) -> Result<Vec<Value>, Failure> {
    let named: BTreeSet<&str> = documents.map(|document| document.flow_name.as_str()).collect();
    let mut flows = client.list(&["flows"], &[], MOST_FLOWS).await?;
    flows.retain(|flow| {
        flow["metadata"][APPLIED_FROM].is_string()
            && flow["flow_name"].as_str().is_some_and(|name| !named.contains(name))
    });
    Ok(flows)
}

/// What was done with a flow.
pub fn row(result: &str, flow: &Value) -> Value {
    let warnings = flow["warnings"].as_array().cloned().unwrap_or_default();
    json!({"result": result, "flow_name": flow["flow_name"], "id": flow["id"], "flow_version": flow["flow_version"],
        "warnings": warnings})
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
    fn a_flow_says_from_which_file_it_came_and_not_from_which_folder() {
        let applied = marked(flow(FLOW), Path::new("/home/me/flows/a.yaml"));
        assert_eq!(applied.metadata[APPLIED_FROM], "a.yaml");
    }
}
