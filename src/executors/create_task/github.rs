//! GitHub issues, by the REST API of version 2022-11-28 (<https://docs.github.com/rest/issues/issues>).
//!
//! A task of an execution is known by a comment in its text, which people do not see. The issues that are newer than the
//! run are looked through for it: that list is up to date at once, which GitHub's search is not.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Endpoint, Field, Kind};
use core314_domain::log::Failure;
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName};
use serde_json::{Value, json};

use super::{Mark, Operation, PROJECT, Performing, Task, Tracker, body, output, unexpected, user};
use crate::executors::connect::http::endpoint_problem;
use crate::executors::failure::Code;
use crate::executors::service::{Ask, Service};

/// The version that is spoken.
const VERSION: &str = "2022-11-28";
const PAGE_ITEMS: usize = 100;
/// Pages of newer issues that are looked through.
const MAX_PAGES: usize = 10;
/// How far the clocks may be apart.
const CLOCKS_MS: i64 = 300_000;

pub const KIND: Kind = Kind {
    word: "github",
    about: "GitHub, or a GitHub Enterprise Server, by its REST API.",
    endpoint: Some(Endpoint::at("https://api.github.com")),
    credentials: &[Field::required("token", "a token that may read and write issues")],
    settings: &[Field::optional(PROJECT, "the repository, as owner/name, where the payload names none")],
    check: |definition| endpoint_problem(definition).into_iter().collect(),
};

pub const TRACKER: Tracker = Tracker { kind: &KIND, refused: &["issue_type", "due_date"], perform, probe };

fn perform<'a>(service: &'a mut Service<'_>, connection: &'a Connection, task: &'a Task, mark: Mark) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let project = task.project.as_deref().unwrap_or_default();
        let repository = project.split_once('/').filter(|(owner, name)| !owner.is_empty() && !name.contains('/'));
        let (owner, name) = repository.filter(|(_, name)| !name.is_empty()).ok_or_else(|| {
            Code::InvalidPayload.failure(format!("/project: '{project}' is no repository, as owner/name"))
        })?;
        let issues = ["repos", owner, name, "issues"];
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
        user(&answer["body"]["login"], &answer)
    })
}

fn sign_in(service: &mut Service<'_>, connection: &Connection) -> Result<(), Failure> {
    service.header(ACCEPT, "application/vnd.github+json")?;
    service.header(HeaderName::from_static("x-github-api-version"), VERSION)?;
    let token = connection.credential("token").unwrap_or_default().trim();
    service.header(AUTHORIZATION, &format!("Bearer {token}"))
}

async fn create(service: &mut Service<'_>, issues: &[&str], task: &Task, mark: &Mark) -> Result<Value, Failure> {
    let hidden = format!("<!-- {} -->", mark.text);
    if mark.is_repeated
        && let Some(found) = find(service, issues, mark, &hidden).await?
    {
        return Ok(shown(&found, true));
    }
    let text = task.description.as_deref().unwrap_or_default();
    let mut issue = members(task);
    issue.insert("body".to_owned(), format!("{text}\n\n{hidden}").trim_start().into());
    let answer = service.ask(Ask::send(Method::POST, issues, &Value::Object(issue))).await?;
    made(&answer)
}

async fn change(service: &mut Service<'_>, issues: &[&str], task: &Task) -> Result<Value, Failure> {
    let mut path = issues.to_vec();
    path.push(&task.id);
    let mut issue = members(task);
    if let Some(description) = &task.description {
        issue.entry("body").or_insert(description.as_str().into());
    }
    if task.operation == Operation::Close {
        issue.insert("state".to_owned(), "closed".into());
        issue.entry("state_reason").or_insert("completed".into());
    }
    let answer = service.ask(Ask::send(Method::PATCH, &path, &Value::Object(issue))).await?;
    made(&answer)
}

fn members(task: &Task) -> serde_json::Map<String, Value> {
    body(
        task,
        [
            ("title", task.title.clone().map(Value::String)),
            ("labels", task.labels.as_ref().map(|labels| json!(labels))),
            ("assignees", task.assignees.as_ref().map(|logins| json!(logins))),
        ],
    )
}

/// The issue that an earlier attempt has made.
async fn find(service: &mut Service<'_>, issues: &[&str], mark: &Mark, hidden: &str) -> Result<Option<Value>, Failure> {
    let since = chrono::DateTime::from_timestamp_millis(mark.since_ms - CLOCKS_MS).unwrap_or_default();
    let since = since.format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let per_page = PAGE_ITEMS.to_string();
    for page in 1..=MAX_PAGES {
        let page = page.to_string();
        let query = [
            ("state", "all"),
            ("sort", "created"),
            ("direction", "desc"),
            ("since", since.as_str()),
            ("per_page", per_page.as_str()),
            ("page", page.as_str()),
        ];
        let answer = service.ask(Ask::get(issues, &query)).await?;
        let items = answer["body"].as_array().ok_or_else(|| unexpected("no list of issues", &answer))?;
        let is_ours = |issue: &&Value| issue["body"].as_str().is_some_and(|text| text.contains(hidden));
        if let Some(found) = items.iter().find(is_ours) {
            return Ok(Some(found.clone()));
        }
        // Both are written in one form, so that their order is that of the texts.
        let is_old = |issue: &Value| issue["created_at"].as_str().is_some_and(|at| at < since.as_str());
        if items.len() < PAGE_ITEMS || items.last().is_some_and(is_old) {
            return Ok(None);
        }
    }
    let message =
        "more issues are newer than the run than are looked through, so it cannot be told whether the task is there";
    Err(Code::UnexpectedAnswer.failure(message))
}

fn made(answer: &Value) -> Result<Value, Failure> {
    let issue = &answer["body"];
    if issue["number"].is_u64() {
        Ok(shown(issue, false))
    } else {
        Err(unexpected("an issue without a number", answer))
    }
}

fn shown(issue: &Value, was_there: bool) -> Value {
    output(&issue["number"], &issue["html_url"], &issue["state"], was_there)
}
