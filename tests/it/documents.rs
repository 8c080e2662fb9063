//! The committed JSON Schema of flow documents says yes to every document that the program and its pages show.

use core314::gallery::GALLERY;
use core314_domain::document::FlowDocument;
use serde_json::{Value, json};

use crate::fuzz::schema::misfit;

const SCHEMA: &str = include_str!("../../docs/flow.schema.json");

fn fits(document: &Value) -> Option<String> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    // Where the parts are kept, and which dialect it is: neither says what fits.
    let mut rules = schema.clone();
    for note in ["$defs", "$schema"] {
        rules.as_object_mut().expect("an object").remove(note);
    }
    misfit(&schema, &rules, document, "")
}

/// The flows in the pages of `docs/`, each with its page.
fn examples() -> Vec<(String, FlowDocument)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a page");
        let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        for block in blocks.filter(|block| block.contains("flow_name:") && block.contains("flow_steps:")) {
            let page = path.display().to_string();
            let document = FlowDocument::from_text(block).unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
            found.push((page, document));
        }
    }
    found
}

#[test]
fn every_document_that_is_shown_fits_the_schema() {
    let examples = examples();
    assert!(examples.len() > 15, "the pages have their examples");
    let gallery = GALLERY.iter().map(|(name, template)| (name.clone(), template.clone()));
    for (place, document) in examples.into_iter().chain(gallery) {
        assert_eq!(fits(&document.to_value()), None, "{place}: {}", document.flow_name);
    }
}

#[test]
fn what_is_misspelt_does_not_fit() {
    let (_, document) = examples().remove(0);
    for (pointer, value) in [
        ("/flow_nam", json!("x")),
        ("/trigger_type", json!("soon")),
        ("/flow_steps/0/config/action_typ", json!("x")),
        ("/flow_steps/0/on_error", json!("shrug")),
        ("/max_execution_time_seconds", json!(0)),
        // Each type of step and of trigger has fields of its own.
        ("/flow_steps/0/config", json!({"steps": [], "nobody": 1})),
        ("/trigger_config", json!({"crn": "* * * * *"})),
    ] {
        let mut wrong = document.to_value();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        wrong.pointer_mut(parent).expect("it is there")[key] = value;
        assert!(fits(&wrong).is_some(), "{pointer}");
    }
}

#[test]
fn a_type_has_its_own_fields_and_no_other_s() {
    let each = json!({"collection": "[1]", "steps": [{"id": "in", "config": {"action_type": "transform"}}]});
    let flow = |kind: &str, trigger: &str, config: Value| {
        json!({"flow_name": "x", "trigger_type": trigger, "trigger_config": config,
            "flow_steps": [{"id": "a", "type": kind, "config": each}]})
    };
    for (document, is_right) in [
        (flow("for_each", "manual", json!({})), true),
        (flow("wait", "manual", json!({})), false),
        (flow("for_each", "schedule", json!({"cron": "0 6 * * *"})), true),
        (flow("for_each", "schedule", json!({"crn": "0 6 * * *"})), false),
        (flow("for_each", "event", json!({"cron": "0 6 * * *"})), false),
        (flow("for_each", "flow_finished", json!({"flow": "b"})), true),
        (flow("for_each", "flow_finished", json!({"flow_name": "b"})), true),
        (flow("for_each", "flow_finished", json!({})), false),
        (flow("for_each", "threshold_exceeded", json!({})), true),
    ] {
        assert_eq!(fits(&document).is_none(), is_right, "{document}: {:?}", fits(&document));
    }
}
