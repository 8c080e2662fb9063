//! Linear's GraphQL API, as far as issues go.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Posted, Provider, Reply};

pub const KEY: &str = "lin_api_planted0001";
/// The one team.
pub const TEAM: &str = "9cfb482a-81e3-4154-b5b9-2c805e70a02d";
const DONE: &str = "1e6f3c1c-0f70-4d1c-8a5e-6a2f8d9b7c11";

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

/// As Linear refuses who asks too much.
pub fn rate_limited() -> Reply {
    refusal(400, "RATELIMITED", "Rate limit exceeded. Only 5000 requests are allowed per 1 hour.")
}

fn refusal(status: u16, code: &str, words: &str) -> Reply {
    let extensions = json!({"code": code, "type": "invalid input", "userError": true, "userPresentableMessage": words});
    Reply::json(status, &json!({"errors": [{"message": "It was refused", "extensions": extensions}]}))
}

fn keeper(posted: &Posted, issues: &mut Vec<Value>) -> Reply {
    if posted.header("authorization") != KEY {
        return refusal(400, "AUTHENTICATION_ERROR", "You need to authenticate to access this operation.");
    }
    if (posted.method.as_str(), posted.path.as_str()) != ("POST", "/graphql") {
        return Reply::text(404, "Not Found");
    }
    let Some(asked) = posted.json() else { return refusal(400, "BAD_REQUEST", "POST body is no JSON") };
    let (query, variables) = (asked["query"].as_str().unwrap_or_default(), &asked["variables"]);
    if query.matches('{').count() != query.matches('}').count() {
        return refusal(400, "GRAPHQL_PARSE_FAILED", "Syntax Error");
    }
    let input = &variables["input"];
    if query.contains("viewer { id }") {
        data(&json!({"viewer": {"id": "1b1e6a0c-4a6b-4d3a-9a53-0f9d2d7c1c55"}}))
    } else if query.contains("issueCreate(input: $input)") {
        create(input, issues)
    } else if query.contains("issueUpdate(id: $id, input: $input)") {
        change(variables["id"].as_str().unwrap_or_default(), input, issues)
    } else if query.contains("issues(filter: { id: { eq: $id } }") {
        let found: Vec<Value> = issues.iter().filter(|issue| issue["id"] == variables["id"]).map(shown).collect();
        data(&json!({"issues": {"nodes": found}}))
    } else if query.contains("states { nodes {") {
        let states = json!([
            {"id": "x", "type": "started", "position": 1.0},
            {"id": "later", "type": "completed", "position": 9.0},
            {"id": DONE, "type": "completed", "position": 3.0},
        ]);
        data(&json!({"issue": {"team": {"states": {"nodes": states}}}}))
    } else {
        refusal(400, "GRAPHQL_VALIDATION_FAILED", "Cannot query field")
    }
}

fn data(data: &Value) -> Reply {
    Reply::json(200, &json!({"data": data}))
}

fn shown(issue: &Value) -> Value {
    let state = if issue["stateId"] == DONE { "Done" } else { "Todo" };
    json!({"id": issue["id"], "identifier": issue["identifier"], "url": issue["url"], "state": {"name": state}})
}

fn create(input: &Value, issues: &mut Vec<Value>) -> Reply {
    if let Some(reply) = wrong(input) {
        return reply;
    }
    if input["teamId"] != TEAM {
        return refusal(200, "INPUT_ERROR", "Entity not found: Team");
    }
    if input["title"].as_str().is_none_or(str::is_empty) {
        return refusal(200, "INVALID_INPUT", "title should not be empty");
    }
    if issues.iter().any(|issue| issue["id"] == input["id"]) {
        return refusal(200, "INPUT_ERROR", "Entity with this id exists already");
    }
    let number = issues.len() + 1;
    let mut issue = input.clone();
    issue["identifier"] = format!("ENG-{number}").into();
    issue["url"] = format!("https://linear.app/octo/issue/ENG-{number}").into();
    issues.push(issue.clone());
    data(&json!({"issueCreate": {"success": true, "issue": shown(&issue)}}))
}

fn change(id: &str, input: &Value, issues: &mut [Value]) -> Reply {
    if let Some(reply) = wrong(input) {
        return reply;
    }
    let found = issues.iter_mut().find(|issue| issue["id"] == id || issue["identifier"] == id);
    let Some(issue) = found else { return refusal(200, "INPUT_ERROR", "Entity not found: Issue") };
    for (name, value) in input.as_object().expect("it was judged") {
        issue[name] = value.clone();
    }
    data(&json!({"issueUpdate": {"success": true, "issue": shown(issue)}}))
}

/// What the schema of the inputs does not have.
fn wrong(input: &Value) -> Option<Reply> {
    let is_id = |value: &Value| {
        value.as_str().is_some_and(|text| text.parse::<Uuid>().is_ok_and(|id| id.get_version_num() == 4))
    };
    let Some(members) = input.as_object() else { return Some(refusal(400, "GRAPHQL_VALIDATION_FAILED", "no input")) };
    for (name, value) in members {
        let is_good = match name.as_str() {
            "id" | "teamId" | "assigneeId" | "stateId" => is_id(value),
            "title" | "description" | "dueDate" => value.is_string(),
            "labelIds" => value.as_array().is_some_and(|ids| ids.iter().all(is_id)),
            "priority" => value.as_u64().is_some_and(|priority| priority <= 4),
            _ => false,
        };
        if !is_good {
            return Some(refusal(400, "INVALID_INPUT", &format!("Argument Validation Error: {name}")));
        }
    }
    None
}
