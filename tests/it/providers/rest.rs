//! A REST service of records, with ETags and conditional requests (RFC 9110, 13) and JSON Merge Patch (RFC 7396).

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const TOKEN: &str = "planted-rest-token-0001";

/// With one record, `/cases/7`.
pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

fn keeper(posted: &Posted, records: &mut Vec<Value>) -> Reply {
    if records.is_empty() {
        records.push(json!({"state": "open", "note": "x", "version": 1}));
    }
    let record = &mut records[0];
    if posted.header("authorization") != format!("Bearer {TOKEN}") {
        return Reply::json(401, &json!({"error": "who are you?"}));
    }
    if posted.path != "/api/cases/7" {
        return Reply::json(404, &json!({"error": "no such case"}));
    }
    if posted.method != "PATCH"
        || !["application/json", "application/merge-patch+json"].contains(&posted.content_type.as_str())
    {
        return Reply::json(415, &json!({"error": "PATCH with JSON"}));
    }
    let tag = format!("\"{}\"", record["version"]);
    let asked = posted.header("if-match");
    if !asked.is_empty() && asked != tag {
        return Reply::json(412, &json!({"error": "the case has changed"}));
    }
    let Ok(patch) = serde_json::from_slice::<Value>(&posted.body) else {
        return Reply::json(400, &json!({"error": "no JSON"}));
    };
    for (name, value) in patch.as_object().into_iter().flatten() {
        if value.is_null() && posted.content_type == "application/merge-patch+json" {
            record.as_object_mut().expect("it is one").remove(name);
        } else {
            record[name] = value.clone();
        }
    }
    record["version"] = (record["version"].as_u64().unwrap_or_default() + 1).into();
    Reply::json(200, record)
}
