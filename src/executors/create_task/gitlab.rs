//! GitLab issues, by the REST API of version 4 (<https://docs.gitlab.com/api/issues/>).
//!
//! A task of an execution is known by a comment in its description, for which the list of issues can be searched.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Endpoint, Field, Kind};
use core314_domain::log::Failure;
use reqwest::Method;
use reqwest::header::HeaderName;
use serde_json::{Map, Value, json};

use super::{Mark, Operation, PROJECT, Performing, Task, Tracker, body, output, unexpected, user};
use crate::executors::connect::http::endpoint_problem;
use crate::executors::service::{Ask, Service};

pub const KIND: Kind = Kind {
    word: "gitlab",
    about: "GitLab, by its REST API.",
    endpoint: Some(Endpoint::at("https://gitlab.com/api/v4")),
    credentials: &[Field::required("token", "an access token with the scope api")],
    settings: &[Field::optional(PROJECT, "the project's id or its path, where the payload names none")],
    check: |definition| endpoint_problem(definition).into_iter().collect(),
};

pub const TRACKER: Tracker = Tracker { kind: &KIND, refused: &[], perform, probe };

fn perform<'a>(service: &'a mut Service<'_>, connection: &'a Connection, task: &'a Task, mark: Mark) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let issues = ["projects", task.project.as_deref().unwrap_or_default(), "issues"];
        match task.operation {
            Operation::Create => create(service, &issues, task, &mark).await,
            Operation::Update | Operation::Close => change(service, &issues, task).await,
        }
    })
}

fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let answer = service.ask(Ask::get(&["user"], &[])).await?;
        user(&answer["body"]["username"], &answer)
    })
}

fn sign_in(service: &mut Service<'_>, connection: &Connection) -> Result<(), Failure> {
    service.header(HeaderName::from_static("private-token"), connection.credential("token").unwrap_or_default())
}

async fn create(service: &mut Service<'_>, issues: &[&str], task: &Task, mark: &Mark) -> Result<Value, Failure> {
    let hidden = format!("<!-- {} -->", mark.text);
    if mark.is_repeated {
        let query = [("search", mark.text.as_str()), ("in", "description"), ("scope", "all"), ("state", "all")];
        let answer = service.ask(Ask::get(issues, &query)).await?;
        let items = answer["body"].as_array().ok_or_else(|| unexpected("no list of issues", &answer))?;
        let is_ours = |issue: &&Value| issue["description"].as_str().is_some_and(|text| text.contains(&hidden));
        if let Some(found) = items.iter().find(is_ours) {
            return Ok(shown(found, true));
        }
    }
    let text = task.description.as_deref().unwrap_or_default();
    let mut issue = members(task);
    issue.insert("description".to_owned(), format!("{text}\n\n{hidden}").trim_start().into());
    let answer = service.ask(Ask::send(Method::POST, issues, &Value::Object(issue))).await?;
    made(&answer)
}

async fn change(service: &mut Service<'_>, issues: &[&str], task: &Task) -> Result<Value, Failure> {
    let mut path = issues.to_vec();
    path.push(&task.id);
    let mut issue = members(task);
    if let Some(description) = &task.description {
        issue.entry("description").or_insert(description.as_str().into());
    }
    if task.operation == Operation::Close {
        issue.insert("state_event".to_owned(), "close".into());
    }
    let answer = service.ask(Ask::send(Method::PUT, &path, &Value::Object(issue))).await?;
    made(&answer)
}

/// Labels are one text; people are named by their numbers.
fn members(task: &Task) -> Map<String, Value> {
    let numbers = |ids: &Vec<String>| -> Value {
        ids.iter().map(|id| id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number))).collect()
    };
    body(
        task,
        [
            ("title", task.title.clone().map(Value::String)),
            ("labels", task.labels.as_ref().map(|labels| labels.join(",").into())),
            ("assignee_ids", task.assignees.as_ref().map(numbers)),
            ("due_date", task.due_date.clone().map(Value::String)),
            ("issue_type", task.issue_type.clone().map(Value::String)),
        ],
    )
}

fn made(answer: &Value) -> Result<Value, Failure> {
    let issue = &answer["body"];
    if issue["iid"].is_u64() { Ok(shown(issue, false)) } else { Err(unexpected("an issue without an iid", answer)) }
}

fn shown(issue: &Value, was_there: bool) -> Value {
    output(&issue["iid"], &issue["web_url"], &issue["state"], was_there)
}
