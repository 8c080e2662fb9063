//! Jira Cloud's REST API for issues, version 3.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const EMAIL: &str = "robot@example.com";
pub const TOKEN: &str = "planted-jira-token-0001";
/// The one project, and the kinds of its issues.
pub const PROJECT: &str = "OPS";
const TYPES: [&str; 2] = ["Task", "Bug"];

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

fn error(status: u16, messages: &[&str], errors: &Value) -> Reply {
    Reply::json(status, &json!({"errorMessages": messages, "errors": errors}))
}

fn keeper(posted: &Posted, issues: &mut Vec<Value>) -> Reply {
    let pair = STANDARD.encode(format!("{EMAIL}:{TOKEN}"));
    if posted.header("authorization") != format!("Basic {pair}") {
        let words = "Client must be authenticated to access this resource.";
        return Reply::text(401, words);
    }
    let parts = posted.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let ["rest", "api", "3", rest @ ..] = parts.as_slice() else { return Reply::text(404, "<html>dead link</html>") };
    let missing = || error(404, &["Issue does not exist or you do not have permission to see it."], &json!({}));
    match (posted.method.as_str(), rest) {
        ("GET", ["myself"]) => {
            let me = json!({"accountId": "5b10a2844c20165700ede21g", "emailAddress": EMAIL, "active": true});
            Reply::json(200, &me)
        }
        ("POST", ["search", "jql"]) => search(posted, issues),
        ("POST", ["issue"]) => create(posted, issues),
        (method, ["issue", key, rest @ ..]) => {
            let Some(issue) = issues.iter_mut().find(|issue| issue["key"] == *key) else { return missing() };
            match (method, rest) {
                ("GET", []) => {
                    Reply::json(200, &json!({"id": issue["id"], "key": key, "fields": {"status": status(issue)}}))
                }
                ("PUT", []) => change(posted, issue),
                ("GET", ["transitions"]) => Reply::json(200, &json!({"transitions": ways(issue)})),
                ("POST", ["transitions"]) => go(posted, issue),
                _ => missing(),
            }
        }
        _ => missing(),
    }
}

/// An issue is open, in progress or done, and can be done at once only when it is open.
fn status(issue: &Value) -> Value {
    let is_done = issue["is_done"] == true;
    let (name, category) = if is_done { ("Done", "done") } else { ("To Do", "new") };
    json!({"name": name, "statusCategory": {"key": category}})
}

fn ways(issue: &Value) -> Value {
    if issue["is_done"] == true {
        return json!([{"id": "11", "name": "Reopen", "to": {"name": "To Do", "statusCategory": {"key": "new"}}}]);
    }
    json!([
        {"id": "21", "name": "Start", "to": {"name": "In Progress", "statusCategory": {"key": "indeterminate"}}},
        {"id": "31", "name": "Done", "to": {"name": "Done", "statusCategory": {"key": "done"}}},
    ])
}

fn go(posted: &Posted, issue: &mut Value) -> Reply {
    let wish = posted.json().unwrap_or_default();
    if wish["transition"]["id"] != "31" || issue["is_done"] == true {
        return error(400, &["It seems that you have tried to perform an illegal workflow operation."], &json!({}));
    }
    issue["is_done"] = true.into();
    Reply { body: String::new(), ..Reply::text(204, "") }
}

fn search(posted: &Posted, issues: &[Value]) -> Reply {
    let asked = posted.json().unwrap_or_default();
    let label =
        asked["jql"].as_str().and_then(|jql| jql.strip_prefix("labels = \"")?.strip_suffix('"').map(str::to_owned));
    let Some(label) = label else { return error(400, &["Error in the JQL Query"], &json!({})) };
    let has = |issue: &&Value| issue["fields"]["labels"].as_array().is_some_and(|list| list.contains(&json!(label)));
    let found: Vec<Value> =
        issues.iter().filter(has).map(|issue| json!({"id": issue["id"], "key": issue["key"]})).collect();
    Reply::json(200, &json!({"issues": found, "isLast": true}))
}

fn create(posted: &Posted, issues: &mut Vec<Value>) -> Reply {
    let asked = posted.json().unwrap_or_default();
    let fields = &asked["fields"];
    let mut errors = json!({});
    if fields["project"]["key"] != PROJECT {
        errors["project"] = "valid project is required".into();
    }
    if fields["summary"].as_str().is_none_or(str::is_empty) {
        errors["summary"] = "You must specify a summary of the issue.".into();
    }
    if !TYPES.map(Value::from).contains(&fields["issuetype"]["name"]) {
        errors["issuetype"] = "Specify a valid issue type".into();
    }
    judge(fields, &mut errors);
    if errors != json!({}) {
        return error(400, &[], &errors);
    }
    let number = issues.len() + 1;
    let (id, key) = ((10_000 + number).to_string(), format!("{PROJECT}-{number}"));
    issues.push(json!({"id": id, "key": key, "fields": fields}));
    let own = format!("https://example.atlassian.net/rest/api/3/issue/{id}");
    Reply::json(201, &json!({"id": id, "key": key, "self": own}))
}

fn change(posted: &Posted, issue: &mut Value) -> Reply {
    let asked = posted.json().unwrap_or_default();
    let mut errors = json!({});
    judge(&asked["fields"], &mut errors);
    if errors != json!({}) {
        return error(400, &[], &errors);
    }
    for (name, value) in asked["fields"].as_object().into_iter().flatten() {
        issue["fields"][name] = value.clone();
    }
    Reply::text(204, "")
}

fn judge(fields: &Value, errors: &mut Value) {
    for (name, value) in fields.as_object().into_iter().flatten() {
        let problem = match name.as_str() {
            "summary" if value.as_str().is_none_or(|text| text.contains('\n')) => "must not have line breaks",
            "description" if !is_document(value) => "Operation value must be an Atlassian Document",
            "labels" if !value.as_array().is_some_and(|list| list.iter().all(is_label)) => "The label contains spaces",
            "assignee" if !value["accountId"].is_string() => "expected an accountId",
            "duedate" if value.as_str().is_none_or(|day| day.len() != 10) => "Error parsing date string",
            "summary" | "description" | "labels" | "assignee" | "duedate" | "project" | "issuetype" | "priority" => {
                continue;
            }
            _ => "Field cannot be set. It is not on the appropriate screen, or unknown.",
        };
        errors[name] = problem.into();
    }
}

fn is_label(value: &Value) -> bool {
    value.as_str().is_some_and(|label| !label.contains(' '))
}

/// As the schema of the Atlassian Document Format has it, for paragraphs.
fn is_document(value: &Value) -> bool {
    let is_inline = |node: &Value| match node["type"].as_str() {
        Some("text") => node["text"].as_str().is_some_and(|text| !text.is_empty() && !text.contains('\n')),
        Some("hardBreak") => true,
        _ => false,
    };
    let is_block = |node: &Value| {
        node["type"] == "paragraph" && node["content"].as_array().is_some_and(|content| content.iter().all(is_inline))
    };
    value["type"] == "doc"
        && value["version"] == 1
        && value["content"].as_array().is_some_and(|list| list.iter().all(is_block))
}
