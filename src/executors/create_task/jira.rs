//! Jira Cloud issues, by the REST API of version 3 (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/>).
//!
//! A task of an execution is known by a label, for which Jira's search is asked. That search may lag a few seconds behind.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::{Mark, Operation, PROJECT, Performing, Task, Tracker, body, output, unexpected, user};
use crate::executors::connect::auth;
use crate::executors::connect::http::endpoint_problem;
use crate::executors::failure::Code;
use crate::executors::service::{Ask, Service};

const ISSUE: [&str; 4] = ["rest", "api", "3", "issue"];
const MYSELF: [&str; 4] = ["rest", "api", "3", "myself"];
const SEARCH: [&str; 5] = ["rest", "api", "3", "search", "jql"];
/// The kind of an issue, where nothing is said.
const ISSUE_TYPE: &str = "Task";

pub const KIND: Kind = Kind {
    word: "jira",
    about: "Jira Cloud, by its REST API.",
    endpoint: Some(Endpoint::HTTP),
    credentials: &[Field::required("token", "an API token of the user")],
    settings: &[
        Field::required("email", "the user whose token it is"),
        Field::optional(PROJECT, "the project's key, where the payload names none"),
    ],
    check,
};

pub const TRACKER: Tracker = Tracker { kind: &KIND, refused: &[], perform, probe };

fn check(definition: &Definition) -> Vec<Problem> {
    let no_text = definition.settings.iter().filter(|(_, value)| !value.is_string());
    let no_text = no_text.map(|(name, _)| Problem::new(format!("/settings/{name}"), "must be a text"));
    no_text.chain(endpoint_problem(definition)).collect()
}

fn perform<'a>(service: &'a mut Service<'_>, connection: &'a Connection, task: &'a Task, mark: Mark) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        match task.operation {
            Operation::Create => create(service, connection, task, &mark).await,
            Operation::Update => {
                update(service, task).await?;
                state(service, connection, &task.id, false).await
            }
            Operation::Close => close(service, connection, task).await,
        }
    })
}

fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let answer = service.ask(Ask::get(&MYSELF, &[])).await?;
        user(&answer["body"]["accountId"], &answer)
    })
}

fn sign_in(service: &mut Service<'_>, connection: &Connection) -> Result<(), Failure> {
    let token = connection.credential("token").unwrap_or_default().trim();
    let value = auth::basic(connection.text("email").unwrap_or_default(), token, &mut service.redactor);
    service.header(AUTHORIZATION, &value)
}

async fn create(
    service: &mut Service<'_>,
    connection: &Connection,
    task: &Task,
    mark: &Mark,
) -> Result<Value, Failure> {
    if mark.is_repeated {
        let jql = format!("labels = \"{}\"", mark.text);
        let question = json!({"jql": jql, "fields": ["status"], "maxResults": 1});
        let answer = service.ask(Ask::question(&SEARCH, &question)).await?;
        let items = answer["body"]["issues"].as_array().ok_or_else(|| unexpected("no list of issues", &answer))?;
        if let Some(key) = items.first().and_then(|issue| issue["key"].as_str()) {
            return state(service, connection, key, true).await;
        }
    }
    let mut fields = members(task);
    fields.entry("project").or_insert_with(|| json!({"key": task.project.as_deref().unwrap_or_default()}));
    fields.entry("issuetype").or_insert_with(|| json!({"name": ISSUE_TYPE}));
    let labels = fields.entry("labels").or_insert_with(|| json!([]));
    let no_list = || Code::InvalidPayload.failure("/fields/labels: must be a list");
    labels.as_array_mut().ok_or_else(no_list)?.push(mark.text.as_str().into());
    let answer = service.ask(Ask::send(Method::POST, &ISSUE, &json!({"fields": fields}))).await?;
    let key = answer["body"]["key"].as_str().ok_or_else(|| unexpected("an issue without a key", &answer))?;
    Ok(output(&key.into(), &browse(connection, key), &Value::Null, false))
}

async fn update(service: &mut Service<'_>, task: &Task) -> Result<(), Failure> {
    let fields = members(task);
    if fields.is_empty() {
        return Ok(());
    }
    let path = [&ISSUE[..], &[task.id.as_str()]].concat();
    service.ask(Ask::send(Method::PUT, &path, &json!({"fields": fields}))).await.map(drop)
}

/// Moves an issue to a status of the category *done*, by the first transition that leads there.
async fn close(service: &mut Service<'_>, connection: &Connection, task: &Task) -> Result<Value, Failure> {
    update(service, task).await?;
    let path = [&ISSUE[..], &[task.id.as_str(), "transitions"]].concat();
    let answer = service.ask(Ask::get(&path, &[])).await?;
    let list = answer["body"]["transitions"].as_array().ok_or_else(|| unexpected("no list of transitions", &answer))?;
    let way = list.iter().find(|way| way["to"]["statusCategory"]["key"] == "done").map(|way| way["id"].clone());
    let before = state(service, connection, &task.id, false).await?;
    if before["state_category"] == "done" {
        return Ok(before);
    }
    let message = || format!("no transition leads from '{}' to a status that means done", before["state"]);
    let way = way.ok_or_else(|| Code::UnexpectedAnswer.failure(message()))?;
    service.ask(Ask::send(Method::POST, &path, &json!({"transition": {"id": way}}))).await?;
    state(service, connection, &task.id, false).await
}

/// An issue as it stands.
async fn state(
    service: &mut Service<'_>,
    connection: &Connection,
    id: &str,
    was_there: bool,
) -> Result<Value, Failure> {
    let path = [&ISSUE[..], &[id]].concat();
    let answer = service.ask(Ask::get(&path, &[("fields", "status")])).await?;
    let key = answer["body"]["key"].as_str().ok_or_else(|| unexpected("an issue without a key", &answer))?;
    let status = &answer["body"]["fields"]["status"];
    let mut shown = output(&key.into(), &browse(connection, key), &status["name"], was_there);
    shown["state_category"] = status["statusCategory"]["key"].clone();
    Ok(shown)
}

fn members(task: &Task) -> Map<String, Value> {
    let person = task.assignees.as_ref().and_then(|ids| ids.first()).map(|id| json!({"accountId": id}));
    body(
        task,
        [
            ("summary", task.title.clone().map(Value::String)),
            ("description", task.description.as_deref().map(document)),
            ("labels", task.labels.as_ref().map(|labels| json!(labels))),
            ("assignee", person),
            ("duedate", task.due_date.clone().map(Value::String)),
            ("issuetype", task.issue_type.as_ref().map(|name| json!({"name": name}))),
        ],
    )
}

/// A text in the Atlassian Document Format: paragraphs with line breaks.
fn document(text: &str) -> Value {
    let paragraph = |block: &str| {
        let mut content = Vec::new();
        for line in block.lines() {
            if !content.is_empty() {
                content.push(json!({"type": "hardBreak"}));
            }
            if !line.is_empty() {
                content.push(json!({"type": "text", "text": line}));
            }
        }
        json!({"type": "paragraph", "content": content})
    };
    let blocks = text.replace("\r\n", "\n");
    let blocks: Vec<Value> = blocks.split("\n\n").filter(|block| !block.trim().is_empty()).map(paragraph).collect();
    json!({"type": "doc", "version": 1, "content": blocks})
}

fn browse(connection: &Connection, key: &str) -> Value {
    let endpoint = connection.endpoint.as_deref().unwrap_or_default().trim_end_matches('/');
    format!("{endpoint}/browse/{key}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_paragraphs_with_line_breaks() {
        let text = |text: &str| json!({"type": "text", "text": text});
        let expected = json!({"type": "doc", "version": 1, "content": [
            {"type": "paragraph", "content": [text("a"), {"type": "hardBreak"}, text("b")]},
            {"type": "paragraph", "content": [text("c")]},
        ]});
        assert_eq!(document("a\r\nb\n\n\n\nc\n"), expected);
        assert_eq!(document("  "), json!({"type": "doc", "version": 1, "content": []}));
    }
}
