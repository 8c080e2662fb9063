//! GitHub's REST API for issues, version 2022-11-28.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const TOKEN: &str = "planted-github-token-0001";
/// The one repository.
pub const REPOSITORY: &str = "octo/hello";
/// Members of an issue that can be written.
const WRITABLE: [&str; 8] = ["title", "body", "labels", "assignees", "milestone", "type", "state", "state_reason"];

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

/// As GitHub refuses who makes too much content (a secondary rate limit).
pub fn too_fast(seconds: &'static str) -> Reply {
    let words = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    error(403, words, &json!(null)).retry_after(seconds)
}

fn error(status: u16, message: &str, errors: &Value) -> Reply {
    let url = "https://docs.github.com/rest/issues/issues";
    let mut body = json!({"message": message, "documentation_url": url, "status": status.to_string()});
    if !errors.is_null() {
        body["errors"] = errors.clone();
    }
    Reply::json(status, &body)
}

fn keeper(posted: &Posted, issues: &mut Vec<Value>) -> Reply {
    if posted.header("user-agent").is_empty() {
        return error(403, "Request forbidden by administrative rules.", &json!(null));
    }
    if posted.header("authorization") != format!("Bearer {TOKEN}") {
        return error(401, "Bad credentials", &json!(null));
    }
    if posted.header("x-github-api-version") != "2022-11-28" || posted.header("accept") != "application/vnd.github+json"
    {
        return error(400, "The version is not supported", &json!(null));
    }
    let parts = posted.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if (posted.method.as_str(), parts.as_slice()) == ("GET", &["user"][..]) {
        return Reply::json(200, &json!({"login": "robot", "id": 7, "type": "User"}));
    }
    let [repos, owner, name, list, rest @ ..] = parts.as_slice() else { return error(404, "Not Found", &json!(null)) };
    if (*repos, *list) != ("repos", "issues") || format!("{owner}/{name}") != REPOSITORY {
        return error(404, "Not Found", &json!(null));
    }
    match (posted.method.as_str(), rest) {
        ("GET", []) => page(posted, issues),
        ("POST", []) => match valid(posted, true) {
            Ok(members) => {
                let number = issues.len() as u64 + 1;
                let mut issue = json!({"id": 1_000 + number, "number": number, "state": "open", "created_at": now(),
                    "html_url": format!("https://github.com/{REPOSITORY}/issues/{number}")});
                merge(&mut issue, &members);
                issues.push(issue.clone());
                Reply::json(201, &issue)
            }
            Err(reply) => reply,
        },
        ("PATCH", [number]) => match valid(posted, false) {
            Ok(members) => match issues.iter_mut().find(|issue| issue["number"].as_u64() == number.parse().ok()) {
                Some(issue) => {
                    merge(issue, &members);
                    Reply::json(200, issue)
                }
                None => error(404, "Not Found", &json!(null)),
            },
            Err(reply) => reply,
        },
        _ => error(404, "Not Found", &json!(null)),
    }
}

fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn merge(issue: &mut Value, members: &Value) {
    for (name, value) in members.as_object().expect("it was judged") {
        issue[name] = value.clone();
    }
}

/// The newest first, by pages.
fn page(posted: &Posted, issues: &[Value]) -> Reply {
    let query = posted.query();
    let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let number = |name: &str, default: usize| asked(name).map_or(Some(default), |text| text.parse().ok());
    let (Some(page), Some(items @ 1..=100)) = (number("page", 1), number("per_page", 30)) else {
        return error(422, "Validation Failed", &json!([{"resource": "Issue", "code": "invalid"}]));
    };
    if asked("state") != Some("all") || asked("sort") != Some("created") || asked("direction") != Some("desc") {
        return error(422, "this test expects all states, the newest first", &json!(null));
    }
    let since = asked("since").unwrap_or_default();
    if chrono::DateTime::parse_from_rfc3339(since).is_err() {
        return error(422, "since is no time", &json!(null));
    }
    let newest = issues.iter().rev().filter(|issue| issue["created_at"].as_str() >= Some(since));
    let shown: Vec<&Value> = newest.skip((page - 1) * items).take(items).collect();
    Reply::json(200, &json!(shown))
}

fn valid(posted: &Posted, is_new: bool) -> Result<Value, Reply> {
    let members =
        posted.json().filter(Value::is_object).ok_or_else(|| error(400, "Problems parsing JSON", &json!(null)))?;
    let wrong = |field: &str, code: &str| {
        Err(error(422, "Validation Failed", &json!([{"resource": "Issue", "field": field, "code": code}])))
    };
    if is_new && members["title"].as_str().is_none_or(str::is_empty) {
        return wrong("title", "missing_field");
    }
    for (name, value) in members.as_object().expect("it is one") {
        let is_good = match name.as_str() {
            "title" | "body" => value.is_string(),
            "labels" | "assignees" => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
            "milestone" => value.is_u64(),
            "state" => !is_new && (value == "open" || value == "closed"),
            "state_reason" => !is_new && (value == "completed" || value == "not_planned"),
            other => WRITABLE.contains(&other),
        };
        if !is_good {
            return wrong(name, "invalid");
        }
    }
    Ok(members)
}
