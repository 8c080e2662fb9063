//! `GET /api/v1/schemas/flow.json`: the JSON Schema of flow documents, for editors.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use core314_domain::document::{
    ActionDocument, ApprovalDocument, BranchDocument, FlowDocument, ForEachDocument, ParallelDocument, RaiseDocument,
    StopDocument, SubFlowDocument, ValuesDocument, WaitDocument, WhileDocument,
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::http::openapi::{Access, Doc};

/// The schema as it is served and committed (`docs/flow.schema.json`), made from the type that reads documents.
pub static FLOW_SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let mut generator = SchemaGenerator::default();
    // What a step's config holds depends on its type: one of these.
    let configs = [
        generator.subschema_for::<ActionDocument>(),
        generator.subschema_for::<ApprovalDocument>(),
        generator.subschema_for::<BranchDocument>(),
        generator.subschema_for::<ForEachDocument>(),
        generator.subschema_for::<WhileDocument>(),
        generator.subschema_for::<ParallelDocument>(),
        generator.subschema_for::<SubFlowDocument>(),
        generator.subschema_for::<WaitDocument>(),
        generator.subschema_for::<ValuesDocument>(),
        generator.subschema_for::<RaiseDocument>(),
        generator.subschema_for::<StopDocument>(),
    ];
    let schema = generator.into_root_schema_for::<FlowDocument>();
    let mut schema = serde_json::to_value(schema).expect("a schema has text keys");
    schema["title"] = "A flow of Core314".into();
    schema["$defs"]["StepDocument"]["properties"]["config"] =
        json!({"description": "What the step does: the fields depend on its type.", "anyOf": configs});
    serde_json::to_string_pretty(&schema).expect("a schema has text keys") + "\n"
});

pub fn doc() -> Doc {
    Doc::new("The JSON Schema (2020-12) of flow documents.", Access::Open).ok::<Map<String, Value>>("The schema.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(FLOW_SCHEMA.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

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
