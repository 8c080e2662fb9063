//! `GET /api/v1/schemas/flow.json`: the JSON Schema of flow documents, for editors.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use core314_domain::document::{
    ActionDocument, ApprovalDocument, BranchDocument, FlowDocument, ForEachDocument, ParallelDocument, RaiseDocument,
    StopDocument, SubFlowDocument, ValuesDocument, WaitDocument, WhileDocument,
};
use core314_domain::trigger::config_schema;
use core314_domain::words::{StepType, TriggerType};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::http::openapi::{Access, Doc};

/// The schema as it is served and committed (`docs/flow.schema.json`), made from the type that reads documents.
pub static FLOW_SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let mut generator = SchemaGenerator::default();
    let steps: Vec<Value> = StepType::ALL
        .iter()
        .map(|kind| {
            let config = step_config(*kind, &mut generator);
            rule("type", kind.as_str(), *kind == StepType::Action, "config", &config)
        })
        .collect();
    let triggers: Vec<Value> = TriggerType::ALL
        .iter()
        .map(|kind| {
            let config = config_schema(*kind, &mut generator);
            rule("trigger_type", kind.as_str(), false, "trigger_config", &config)
        })
        .collect();
    let schema = generator.into_root_schema_for::<FlowDocument>();
    let mut schema = serde_json::to_value(schema).expect("a schema has text keys");
    schema["title"] = "A flow of Core314".into();
    schema["allOf"] = triggers.into();
    schema["$defs"]["StepDocument"]["properties"]["config"] =
        json!({"description": "What the step does: the fields depend on its type.", "type": "object"});
    schema["$defs"]["StepDocument"]["allOf"] = steps.into();
    other_name(&mut schema["$defs"]["FlowFinishedTrigger"], "flow", "flow_name");
    serde_json::to_string_pretty(&schema).expect("a schema has text keys") + "\n"
});

/// What a step's config holds, by its type.
fn step_config(kind: StepType, generator: &mut SchemaGenerator) -> Schema {
    match kind {
        StepType::Action => generator.subschema_for::<ActionDocument>(),
        StepType::Approval => generator.subschema_for::<ApprovalDocument>(),
        StepType::Branch => generator.subschema_for::<BranchDocument>(),
        StepType::ForEach => generator.subschema_for::<ForEachDocument>(),
        StepType::While => generator.subschema_for::<WhileDocument>(),
        StepType::Parallel => generator.subschema_for::<ParallelDocument>(),
        StepType::SubFlow => generator.subschema_for::<SubFlowDocument>(),
        StepType::Wait => generator.subschema_for::<WaitDocument>(),
        StepType::Transform | StepType::Set => generator.subschema_for::<ValuesDocument>(),
        StepType::Raise => generator.subschema_for::<RaiseDocument>(),
        StepType::Stop => generator.subschema_for::<StopDocument>(),
    }
}

/// Where `key` has this word, and where it is absent if that means the same, `part` is of this schema.
fn rule(key: &str, word: &str, is_default: bool, part: &str, schema: &Schema) -> Value {
    let mut condition = json!({"properties": {(key): {"const": word}}});
    if !is_default {
        condition["required"] = json!([key]);
    }
    json!({"if": condition, "then": {"properties": {(part): schema}}})
}

/// One of two names of a required field is given: the type that reads it takes either, and its schema knows the first alone.
fn other_name(schema: &mut Value, name: &str, other: &str) {
    schema["properties"][other] = schema["properties"][name].clone();
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|field| field != name);
    }
    schema["oneOf"] = json!([{"required": [name]}, {"required": [other]}]);
}

pub fn doc() -> Doc {
    Doc::new("The JSON Schema (2020-12) of flow documents.", Access::Open).ok::<Map<String, Value>>("The schema.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(FLOW_SCHEMA.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_has_is_said_of_that_type_alone() {
        let schema: Value = serde_json::from_str(&FLOW_SCHEMA).expect("it is JSON");
        let then = |rules: &Value, key: &str, word: &str, part: &str| {
            let of_word = |rule: &&Value| rule["if"]["properties"][key]["const"] == word;
            let rule = rules.as_array().expect("rules").iter().find(of_word).expect("a rule of the type");
            rule["then"]["properties"][part]["$ref"].clone()
        };
        let steps = &schema["$defs"]["StepDocument"]["allOf"];
        assert_eq!(then(steps, "type", "wait", "config"), "#/$defs/WaitDocument");
        assert_eq!(then(steps, "type", "for_each", "config"), "#/$defs/ForEachDocument");
        let is_for_absent = |rule: &Value| rule["if"].get("required").is_none();
        let absent: Vec<&Value> = steps.as_array().expect("rules").iter().filter(|rule| is_for_absent(rule)).collect();
        assert_eq!((absent.len(), &absent[0]["if"]["properties"]["type"]["const"]), (1, &json!("action")));
        let schedule = then(&schema["allOf"], "trigger_type", "schedule", "trigger_config");
        assert_eq!(schedule, "#/$defs/ScheduleConfig");
        let finished = &schema["$defs"]["FlowFinishedTrigger"];
        assert!(finished["properties"].get("flow_name").is_some() && finished["oneOf"].as_array().is_some());
    }

    /// `CORE314_UPDATE=1 cargo test -p core314 --lib the_committed_schema` writes it anew.
    #[test]
    fn the_committed_schema_is_the_present_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flow.schema.json");
        if std::env::var_os("CORE314_UPDATE").is_some() {
            std::fs::write(&path, FLOW_SCHEMA.as_str()).expect("docs/flow.schema.json can be written");
        }
        let committed = std::fs::read_to_string(&path).expect("docs/flow.schema.json is there");
        assert!(committed == *FLOW_SCHEMA, "docs/flow.schema.json is stale: run this test with CORE314_UPDATE=1");
    }
}
