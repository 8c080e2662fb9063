//! Fields of a document that have no column: in tables they lie in the flow's metadata under their own names, so that the
//! view of flows shows them; reading a document puts them back in their places.
//!
//! Metadata is the tenant's own, and flows of earlier releases may have used such a name for something else: what cannot
//! be the field stays where it is.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{FlowDocument, LimitsDocument, PhaseDocument, RollbackDocument};
use crate::document::parameters::Parameter;
use crate::plan::Problem;

/// A name, and whether a value may lie under it.
type Reserved = (&'static str, fn(&Value) -> bool);

const RESERVED: [Reserved; 4] = [
    ("limits", is::<LimitsDocument>),
    ("rollback", is::<RollbackDocument>),
    ("phases", is::<Vec<PhaseDocument>>),
    ("parameters", is::<BTreeMap<String, Parameter>>),
];

fn is<T: DeserializeOwned>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

/// Takes the fields out of the metadata that they are stored in. One that stands in its own place wins.
pub(super) fn out_of_metadata(document: &mut Value) {
    for (name, fits) in RESERVED {
        let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        if !metadata.get(name).is_some_and(|kept| name == "limits" || fits(kept)) {
            continue;
        }
        let stored = metadata.remove(name);
        if let (Some(stored), Some(document)) = (stored, document.as_object_mut()) {
            document.entry(name).or_insert(stored);
        }
    }
}

/// Puts the fields into the metadata that they are stored in.
pub(super) fn into_metadata(document: &mut Value) {
    let Some(document) = document.as_object_mut() else { return };
    for (name, _) in RESERVED {
        let Some(field) = document.remove(name) else { continue };
        let metadata = document.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(name.to_owned(), field);
        }
    }
}

/// Metadata of a new flow under a name that is not its own to give.
pub(crate) fn problems(document: &FlowDocument) -> Vec<Problem> {
    let taken = RESERVED.iter().filter(|(name, _)| document.metadata.contains_key(*name));
    let problem = |(name, _): &Reserved| {
        let message = format!("is a reserved name: the document's field {name} is shown there");
        Problem::new(format!("/metadata/{name}"), message)
    };
    taken.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(more: &Value) -> FlowDocument {
        let step = json!({"id": "a", "phase": 1, "config": {"action_type": "noop"}});
        let mut value = json!({"flow_name": "f", "trigger_type": "manual", "flow_steps": [step]});
        crate::json::merge_patch(&mut value, more);
        FlowDocument::from_value(value).expect("a document")
    }

    #[test]
    fn what_has_no_column_lies_in_the_metadata_and_comes_back() {
        let fields = json!({"rollback": {"to": "start"}, "phases": [{"number": 1, "name": "build"}], "metadata": {"team": "ops"},
            "parameters": {"host": {"type": "string"}}, "limits": {"concurrency": {"max": 1}}});
        let whole = document(&fields);
        let stored = whole.to_stored();
        for (name, _) in RESERVED {
            assert!(stored.get(name).is_none(), "{name}");
            assert!(!stored["metadata"][name].is_null(), "{name}: {stored}");
        }
        assert_eq!(FlowDocument::from_value(stored).expect("it reads back"), whole);
    }

    #[test]
    fn metadata_of_the_tenants_own_stays() {
        let own = document(&json!({"metadata": {"phases": "blue and green", "rollback": 7}}));
        assert_eq!(own.metadata["phases"], "blue and green");
        let read = FlowDocument::from_value(own.to_stored()).expect("it reads back");
        assert_eq!(read, own);
        let pointers: Vec<String> = problems(&own).into_iter().map(|problem| problem.pointer).collect();
        assert_eq!(pointers, ["/metadata/rollback", "/metadata/phases"]);
        assert_eq!(problems(&document(&json!({"metadata": {"team": "ops"}}))), []);
    }
}
