//! GitLab's REST API for issues, version 4.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const TOKEN: &str = "planted-gitlab-token-0001";
/// The one project.
pub const PROJECT: &str = "group/app";

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

fn keeper(posted: &Posted, issues: &mut Vec<Value>) -> Reply {
    let message = |status: u16, message: &str| Reply::json(status, &json!({"message": message}));
    if posted.header("private-token") != TOKEN {
        return message(401, "401 Unauthorized");
    }
    let parts = posted.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if (posted.method.as_str(), parts.as_slice()) == ("GET", &["api", "v4", "user"][..]) {
        return Reply::json(200, &json!({"id": 7, "username": "robot", "state": "active"}));
    }
    let ["api", "v4", "projects", PROJECT, "issues", rest @ ..] = parts.as_slice() else {
        return message(404, "404 Project Not Found");
    };
    match (posted.method.as_str(), rest) {
        ("GET", []) => {
            let query = posted.query();
            let asked = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            let Some(text) = asked("search").filter(|_| asked("in") == Some("description")) else {
                return message(400, "this test expects a search in descriptions");
            };
            let found = issues.iter().filter(|issue| issue["description"].as_str().unwrap_or_default().contains(text));
            Reply::json(200, &json!(found.collect::<Vec<_>>()))
        }
        ("POST", []) => match valid(posted, true) {
            Ok(members) => {
                let iid = issues.len() as u64 + 1;
                let mut issue = json!({"id": 5_000 + iid, "iid": iid, "state": "opened",
                    "web_url": format!("https://gitlab.com/{PROJECT}/-/issues/{iid}")});
                merge(&mut issue, &members);
                issues.push(issue.clone());
                Reply::json(201, &issue)
            }
            Err(reply) => reply,
        },
        ("PUT", [iid]) => match valid(posted, false) {
            Ok(members) => match issues.iter_mut().find(|issue| issue["iid"].as_u64() == iid.parse().ok()) {
                Some(issue) => {
                    merge(issue, &members);
                    Reply::json(200, issue)
                }
                None => message(404, "404 Issue Not Found"),
            },
            Err(reply) => reply,
        },
        _ => Reply::json(404, &json!({"error": "404 Not Found"})),
    }
}

fn merge(issue: &mut Value, members: &Value) {
    for (name, value) in members.as_object().expect("it was judged") {
        match name.as_str() {
            "state_event" => issue["state"] = "closed".into(),
            "labels" => issue["labels"] = value.as_str().unwrap_or_default().split(',').collect(),
            _ => issue[name] = value.clone(),
        }
    }
}

fn valid(posted: &Posted, is_new: bool) -> Result<Value, Reply> {
    let bad = |error: &str| Reply::json(400, &json!({"error": error}));
    let members = posted.json().filter(Value::is_object).ok_or_else(|| bad("body is invalid"))?;
    if is_new && members["title"].as_str().is_none_or(str::is_empty) {
        return Err(bad("title is missing"));
    }
    for (name, value) in members.as_object().expect("it is one") {
        let is_good = match name.as_str() {
            "title" | "description" | "labels" => value.is_string(),
            "due_date" => value.as_str().is_some_and(|day| day.len() == 10),
            "assignee_ids" => value.as_array().is_some_and(|ids| ids.iter().all(Value::is_u64)),
            "issue_type" => ["issue", "incident", "test_case", "task"].map(Value::from).contains(value),
            "state_event" => !is_new && (value == "close" || value == "reopen"),
            "confidential" => value.is_boolean(),
            _ => false,
        };
        if !is_good {
            return Err(bad(&format!("{name} is invalid")));
        }
    }
    Ok(members)
}
