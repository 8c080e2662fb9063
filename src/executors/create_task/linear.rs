//! Linear issues, by its GraphQL API, which has no version (<https://linear.app/developers/graphql>).
//!
//! A task takes an id from whoever makes it, so an execution's task has an id of the execution: Linear itself keeps a
//! second one out. A refusal is an answer with `errors`, whose `extensions.code` says what it means.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Mark, Operation, PROJECT, Performing, Task, Tracker, body, output, unexpected, user};
use crate::executors::client::Statuses;
use crate::executors::connect::http::endpoint_problem;
use crate::executors::failure::Code;
use crate::executors::service::{Ask, Service};

const ISSUE: &str = "id identifier url state { name type }";

pub const KIND: Kind = Kind {
    word: "linear",
    about: "Linear, by its GraphQL API.",
    endpoint: Some(Endpoint::at("https://api.linear.app/graphql")),
    credentials: &[Field::required("api_key", "a personal API key, or `Bearer ` and an OAuth token")],
    settings: &[Field::optional(PROJECT, "the id of the team, where the payload names none")],
    check: |definition: &Definition| -> Vec<Problem> { endpoint_problem(definition).into_iter().collect() },
};

pub const TRACKER: Tracker = Tracker { kind: &KIND, refused: &["issue_type"], perform, probe };

fn perform<'a>(service: &'a mut Service<'_>, connection: &'a Connection, task: &'a Task, mark: Mark) -> Performing<'a> {
    Box::pin(async move {
        service.header(AUTHORIZATION, connection.credential("api_key").unwrap_or_default())?;
        match task.operation {
            Operation::Create => create(service, task, &mark).await,
            Operation::Update => change(service, &task.id, members(task)).await,
            Operation::Close => {
                let mut members = members(task);
                members.insert("stateId".to_owned(), done_state(service, &task.id).await?);
                change(service, &task.id, members).await
            }
        }
    })
}

fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        service.header(AUTHORIZATION, connection.credential("api_key").unwrap_or_default())?;
        let answer = ask(service, "query { viewer { id } }", json!({})).await?;
        user(&answer["body"]["data"]["viewer"]["id"], &answer)
    })
}

async fn create(service: &mut Service<'_>, task: &Task, mark: &Mark) -> Result<Value, Failure> {
    let id = id_of(mark.execution);
    if mark.is_repeated
        && let Some(found) = find(service, &id).await?
    {
        return shown(&found, true).ok_or_else(|| Code::UnexpectedAnswer.failure("an issue without an identifier"));
    }
    let mut input = members(task);
    input.entry("teamId").or_insert_with(|| task.project.clone().unwrap_or_default().into());
    input.insert("id".to_owned(), id.into());
    let query = format!(
        "mutation($input: IssueCreateInput!) {{ issueCreate(input: $input) {{ success issue {{ {ISSUE} }} }} }}"
    );
    let answer = ask(service, &query, json!({"input": input})).await?;
    made(&answer, "issueCreate")
}

async fn change(service: &mut Service<'_>, id: &str, input: Map<String, Value>) -> Result<Value, Failure> {
    let query = format!(
        "mutation($id: String!, $input: IssueUpdateInput!) {{ issueUpdate(id: $id, input: $input) {{ success issue {{ {ISSUE} }} }} }}"
    );
    let answer = ask(service, &query, json!({"id": id, "input": input})).await?;
    made(&answer, "issueUpdate")
}

/// The issue of this id; `None` where there is none.
async fn find(service: &mut Service<'_>, id: &str) -> Result<Option<Value>, Failure> {
    let query = format!(
        "query($id: ID!) {{ issues(filter: {{ id: {{ eq: $id }} }}, includeArchived: true) {{ nodes {{ {ISSUE} }} }} }}"
    );
    let answer = ask(service, &query, json!({"id": id})).await?;
    let nodes = answer["body"]["data"]["issues"]["nodes"].as_array();
    Ok(nodes.ok_or_else(|| unexpected("no list of issues", &answer))?.first().cloned())
}

/// The first state of the issue's team that means done.
async fn done_state(service: &mut Service<'_>, id: &str) -> Result<Value, Failure> {
    let query = "query($id: String!) { issue(id: $id) { team { states { nodes { id type position } } } } }";
    let answer = ask(service, query, json!({"id": id})).await?;
    let states = answer["body"]["data"]["issue"]["team"]["states"]["nodes"].as_array();
    let states = states.ok_or_else(|| unexpected("no list of states", &answer))?;
    let done = states.iter().filter(|state| state["type"] == "completed");
    let position = |state: &&Value| state["position"].as_f64().unwrap_or_default();
    let first = done.min_by(|a, b| position(a).total_cmp(&position(b)));
    first.map(|state| state["id"].clone()).ok_or_else(|| unexpected("the team has no state that means done", &answer))
}

/// One question. An answer with `errors` is a failure, in Linear's words.
async fn ask(service: &mut Service<'_>, query: &str, variables: Value) -> Result<Value, Failure> {
    let question = json!({"query": query, "variables": variables});
    // A refusal comes as 400 as well, rate limits among them.
    let expected = [Statuses::SUCCESS, Statuses::One(400)];
    let is_deed = query.starts_with("mutation");
    let asked = if is_deed { Ask::send(Method::POST, &[], &question) } else { Ask::question(&[], &question) };
    let answer = service.ask_expecting(asked, &expected).await?;
    match answer["body"]["errors"].as_array().filter(|errors| !errors.is_empty()) {
        Some(errors) => Err(refusal(&answer, errors)),
        None if answer["status"] == 400 => Err(unexpected("a refusal without errors", &answer)),
        None => Ok(answer),
    }
}

fn refusal(answer: &Value, errors: &[Value]) -> Failure {
    let words = |error: &Value| {
        let said = error["extensions"]["userPresentableMessage"].as_str().or(error["message"].as_str());
        said.unwrap_or("an error without a message").to_owned()
    };
    let message = errors.iter().map(words).collect::<Vec<_>>().join("; ");
    let code = errors[0]["extensions"]["code"].as_str().unwrap_or_default();
    if code == "RATELIMITED" {
        return Code::RateLimited.failure(message);
    }
    let status = answer["status"].as_u64().unwrap_or_default();
    let message = if code.is_empty() { message } else { format!("{code}: {message}") };
    let failure = match code {
        "INTERNAL_SERVER_ERROR" | "INTERNAL_ERROR" => Failure::retryable(Code::HttpStatus.word(), message),
        _ => Failure::fatal(Code::HttpStatus.word(), message),
    };
    Failure { details: Some(json!({"status": status})), ..failure }
}

fn members(task: &Task) -> Map<String, Value> {
    body(
        task,
        [
            ("title", task.title.clone().map(Value::String)),
            ("description", task.description.clone().map(Value::String)),
            ("labelIds", task.labels.as_ref().map(|ids| json!(ids))),
            ("assigneeId", task.assignees.as_ref().and_then(|ids| ids.first()).map(|id| json!(id))),
            ("dueDate", task.due_date.clone().map(Value::String)),
        ],
    )
}

fn made(answer: &Value, mutation: &str) -> Result<Value, Failure> {
    let done = &answer["body"]["data"][mutation];
    let shown = if done["success"] == true { shown(&done["issue"], false) } else { None };
    shown.ok_or_else(|| unexpected("it was not done", answer))
}

fn shown(issue: &Value, was_there: bool) -> Option<Value> {
    let identifier = issue["identifier"].as_str()?;
    Some(output(&identifier.into(), &issue["url"], &issue["state"]["name"], was_there))
}

/// An id in the form of version 4, which Linear asks for, made of an execution's own.
fn id_of(execution: Uuid) -> String {
    let digest = Sha256::digest(format!("core314 task {execution}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_execution_has_one_id_of_the_form_that_linear_takes() {
        let id = id_of(Uuid::from_u128(7));
        assert_eq!(id, id_of(Uuid::from_u128(7)));
        assert_ne!(id, id_of(Uuid::from_u128(8)));
        assert_eq!(id.parse::<Uuid>().expect("an id").get_version_num(), 4);
    }

    #[test]
    fn refusals_are_told_apart() {
        for (code, word, retryable) in [
            ("RATELIMITED", "rate_limited", true),
            ("AUTHENTICATION_ERROR", "http_status", false),
            ("INVALID_INPUT", "http_status", false),
            ("INTERNAL_SERVER_ERROR", "http_status", true),
        ] {
            let errors =
                [json!({"message": "no", "extensions": {"code": code, "userPresentableMessage": "It is so."}})];
            let failure = refusal(&json!({"status": 400, "body": {}}), &errors);
            assert_eq!((failure.code.as_str(), failure.retryable), (word, retryable), "{code}");
            assert!(failure.message.contains("It is so."), "{}", failure.message);
        }
    }
}
