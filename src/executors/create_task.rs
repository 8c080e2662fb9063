//! `create_task`: makes a task with a tracker, changes it, or closes it. The integration that `action_target` names says
//! which tracker: one file for each, one line in [`TRACKERS`].
//!
//! A repeated attempt must make no second task, and of the trackers only Linear takes a key. So every task carries a mark
//! of its execution ([`mark`]), and an attempt that is not the first looks for it before it makes anything.

mod github;
mod gitlab;
mod jira;
mod linear;

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Connection, Executor, Performed, Target, Trial};
use core314_actors::ports::integration::Integration;
use core314_domain::Json;
use core314_domain::integration::Kind;
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use serde_json::{Map, Value, json};

use super::client::{self, HttpClient, invalid};
use super::failure::Code;
use super::payload::{Reader, Reading, kind, scalar};
use super::redact::Redactor;
use super::service::{self, Inquiry, Performing, Service};

const KEYS: [&str; 10] =
    ["operation", "id", "title", "description", "project", "labels", "assignees", "issue_type", "due_date", "fields"];
const MAX_TITLE_CHARS: usize = 255;
/// GitHub's is the smallest: 65,536.
const MAX_DESCRIPTION_CHARS: usize = 60_000;
const MAX_ITEMS: usize = 50;
/// The setting of an integration that says where tasks go unless the payload does.
const PROJECT: &str = "project";

/// The trackers, by the kinds of their integrations.
const TRACKERS: [&Tracker; 4] = [&github::TRACKER, &gitlab::TRACKER, &jira::TRACKER, &linear::TRACKER];
const KINDS: [&Kind; 4] = [&github::KIND, &gitlab::KIND, &jira::KIND, &linear::KIND];

/// What is to be done with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Update,
    Close,
}

/// What a payload says.
#[derive(Debug)]
struct Task {
    operation: Operation,
    /// Of the task that is changed or closed.
    id: String,
    title: Option<String>,
    description: Option<String>,
    project: Option<String>,
    labels: Option<Vec<String>>,
    assignees: Option<Vec<String>>,
    issue_type: Option<String>,
    due_date: Option<String>,
    /// What else the tracker knows, as it calls it: goes before all of the above.
    fields: Map<String, Value>,
}

/// A tracker: what it needs to know, and how it is spoken with.
struct Tracker {
    kind: &'static Kind,
    /// Keys of a payload that it has no use for.
    refused: &'static [&'static str],
    perform: for<'a> fn(&'a mut Service<'_>, &'a Connection, &'a Task, Mark) -> Performing<'a>,
    /// Asks whose credentials they are.
    probe: Inquiry,
}

/// How an execution's task is known again.
#[derive(Debug, Clone)]
struct Mark {
    /// `core314-` and the execution's id.
    text: String,
    execution: uuid::Uuid,
    /// When the run began, in ms since 1970: its task is not older.
    since_ms: i64,
    /// Whether an attempt before this one may have made the task.
    is_repeated: bool,
}

fn mark(attempt: &Attempt) -> Mark {
    Mark {
        text: format!("core314-{}", attempt.execution),
        execution: attempt.execution.0,
        since_ms: core314_domain::ids::uuid_ms(attempt.run.0),
        is_repeated: attempt.attempt > 0,
    }
}

/// Makes tasks.
#[derive(Debug)]
pub struct CreateTask {
    http: Arc<HttpClient>,
}

impl CreateTask {
    /// An executor that shares a client.
    pub fn new(http: Arc<HttpClient>) -> Self {
        Self { http }
    }
}

impl Executor for CreateTask {
    fn action_type(&self) -> &'static str {
        "create_task"
    }

    fn kinds(&self) -> &'static [&'static Kind] {
        &KINDS
    }

    fn check(&self, to: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let Some(integration) = to.integration else { return vec![no_integration(to.word)] };
        let Some(tracker) = TRACKERS.iter().find(|tracker| tracker.kind.word == integration.kind) else {
            return vec![no_integration(to.word)];
        };
        let has_project = integration.definition.text(PROJECT).is_some();
        read(payload, Reading::Document, tracker, has_project).err().unwrap_or_default()
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn trial(&self, integration: &Integration) -> Option<Trial> {
        KINDS.iter().any(|kind| kind.word == integration.kind).then_some(Trial::Probe)
    }

    fn probe(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let http = self.http.clone();
        Box::pin(async move {
            let found = tracker(&attempt).map(|(connection, tracker)| (connection, tracker.probe));
            service::probe(&http, &attempt, found).await
        })
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let http = self.http.clone();
        Box::pin(async move {
            let mut figures = None;
            let mut redactor = Redactor::of(&attempt);
            let outcome = perform(&http, &attempt, &mut redactor, &mut figures).await;
            client::performed(outcome, &redactor, figures)
        })
    }
}

fn no_integration(word: &str) -> Problem {
    let kinds: Vec<&str> = KINDS.iter().map(|kind| kind.word).collect();
    let message =
        format!("action_target '{word}' names no integration: it needs one of the kinds {}", kinds.join(", "));
    Problem::new("", message).of_absence()
}

async fn perform(
    http: &HttpClient,
    attempt: &Attempt,
    redactor: &mut Redactor,
    figures: &mut Option<HttpFigures>,
) -> Result<Value, Failure> {
    let (connection, tracker) = tracker(attempt)?;
    let task = read(&attempt.payload, Reading::Rendered, tracker, connection.text(PROJECT).is_some());
    let mut task = task.map_err(|problems| invalid(&problems))?.expect("a rendered payload without problems is a task");
    task.project = task.project.or_else(|| connection.text(PROJECT).map(str::to_owned));
    let mut service = Service::new(http, attempt, connection)?;
    let outcome = (tracker.perform)(&mut service, connection, &task, mark(attempt)).await;
    (*redactor, *figures) = (service.redactor, service.figures);
    outcome
}

/// The integration of an attempt, and its tracker.
fn tracker(attempt: &Attempt) -> Result<(&Connection, &'static Tracker), Failure> {
    let none = || invalid(&[no_integration(&attempt.action_target)]);
    let connection = attempt.connection.as_deref().ok_or_else(none)?;
    let tracker = TRACKERS.into_iter().find(|tracker| tracker.kind.word == connection.kind.word);
    Ok((connection, tracker.ok_or_else(none)?))
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
fn read(payload: &Value, reading: Reading, tracker: &Tracker, has_project: bool) -> Result<Option<Task>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    let known: Vec<&str> = KEYS.into_iter().filter(|key| !tracker.refused.contains(key)).collect();
    reader.only(&known);
    let operation = read_operation(&mut reader);
    if operation == Some(Operation::Create) {
        if !reader.has("title") {
            reader.problem(&["title"], "is required");
        }
        if !has_project && !reader.has("project") {
            let message = "is required, unless the integration has a setting 'project'";
            reader.problem(&["project"], message);
        }
        if reader.has("id") {
            reader.problem(&["id"], "is given by the tracker when a task is made: leave it out");
        }
    } else if operation.is_some() && !reader.has("id") {
        reader.problem(&["id"], "is required: which task it is");
    }
    let text = |reader: &mut Reader<'_>, key: &str, most: usize| reader.said(key, most).map(str::to_owned);
    let title = text(&mut reader, "title", MAX_TITLE_CHARS);
    let description = text(&mut reader, "description", MAX_DESCRIPTION_CHARS);
    let project = text(&mut reader, "project", MAX_TITLE_CHARS);
    let issue_type = text(&mut reader, "issue_type", MAX_TITLE_CHARS);
    let due_date = read_date(&mut reader);
    let id = read_id(&mut reader);
    let labels = read_texts(&mut reader, "labels");
    let assignees = read_texts(&mut reader, "assignees");
    let fields = reader.object("fields").cloned().unwrap_or_default();
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let Some(operation) = operation else { return Ok(None) };
    Ok(Some(Task { operation, id, title, description, project, labels, assignees, issue_type, due_date, fields }))
}

/// `None` where it is not known yet, or none that there is.
fn read_operation(reader: &mut Reader<'_>) -> Option<Operation> {
    if !reader.has("operation") {
        return Some(Operation::Create);
    }
    match reader.text("operation")? {
        "create" => Some(Operation::Create),
        "update" => Some(Operation::Update),
        "close" => Some(Operation::Close),
        other => {
            reader.problem(&["operation"], format!("'{other}' is not one of: create, update, close"));
            None
        }
    }
}

/// A text or a number.
fn read_id(reader: &mut Reader<'_>) -> String {
    let Some(value) = reader.get("id") else { return String::new() };
    let id = scalar(value).filter(|id| !id.trim().is_empty() && id.len() <= MAX_TITLE_CHARS);
    id.unwrap_or_else(|| {
        reader.problem(&["id"], format!("must be what the tracker calls the task, is {}", kind(value)));
        String::new()
    })
}

fn read_date(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text("due_date")?;
    if chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_err() {
        reader.problem(&["due_date"], "must be a day such as 2030-12-31");
    }
    Some(text.to_owned())
}

/// Texts or numbers; `None` where nothing is said.
fn read_texts(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    reader.get(key)?;
    let mut texts = Vec::new();
    for (place, item) in reader.list(key, MAX_ITEMS) {
        match scalar(item).filter(|text| !text.trim().is_empty()) {
            Some(text) => texts.push(text),
            None => reader.problem(&[key, &place], format!("must be a text, is {}", kind(item))),
        }
    }
    Some(texts)
}

/// What a step gets of a task: what the tracker calls it, where people see it, and whether this execution had made it
/// before.
fn output(id: &Value, url: &Value, state: &Value, was_there: bool) -> Value {
    json!({"id": id, "url": url, "state": state, "was_there": was_there})
}

/// Members that are given, by the tracker's names, with those of `fields` before them.
fn body(task: &Task, members: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Map<String, Value> {
    let members = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let mut body: Map<String, Value> = members.collect();
    body.extend(task.fields.clone());
    body
}

/// What a test of an integration gives: the user whom the tracker knows by these credentials.
fn user(name: &Value, answer: &Value) -> Result<Value, Failure> {
    if name.is_string() { Ok(json!({"user": name})) } else { Err(unexpected("no user", answer)) }
}

/// A success that lacks what the tracker documents.
fn unexpected(what: &str, answer: &Value) -> Failure {
    Code::UnexpectedAnswer.failure(format!("{what}: {}: {}", answer["status"], answer["body"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(tracker: &Tracker, has_project: bool, payload: &Value) -> Vec<String> {
        let problems = read(payload, Reading::Document, tracker, has_project).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        for (payload, expected) in [
            (json!({"project": "a/b"}), "/title: is required"),
            (json!({"title": "x"}), "/project: is required, unless the integration has a setting 'project'"),
            (
                json!({"title": "x", "project": "a/b", "id": 7}),
                "/id: is given by the tracker when a task is made: leave it out",
            ),
            (json!({"operation": "close"}), "/id: is required: which task it is"),
            (json!({"operation": "drop", "id": 1}), "/operation: 'drop' is not one of: create, update, close"),
            (json!({"operation": "update", "id": {}}), "/id: must be what the tracker calls the task, is an object"),
            (json!({"title": " ", "project": "a/b"}), "/title: must not be empty"),
            (json!({"title": "x", "project": "a/b", "labels": [{}]}), "/labels/0: must be a text, is an object"),
            (json!({"title": "x", "project": "a/b", "labels": "bug"}), "/labels: must be a list, is a text"),
            (json!({"title": "x", "project": "a/b", "fields": []}), "/fields: must be an object, is a list"),
        ] {
            assert_eq!(problems(&github::TRACKER, false, &payload), [expected], "{payload}");
        }
        assert_eq!(
            problems(&jira::TRACKER, true, &json!({"title": "x", "due_date": "soon"})),
            ["/due_date: must be a day such as 2030-12-31"]
        );
        let unknown = problems(&github::TRACKER, true, &json!({"title": "x", "issue_type": "Bug"}));
        assert!(unknown[0].starts_with("/issue_type: unknown key 'issue_type'; known: operation, id"), "{unknown:?}");
    }

    #[test]
    fn templates_can_become_anything() {
        for tracker in TRACKERS {
            assert_eq!(problems(tracker, false, &json!("{{ trigger.task }}")), [] as [String; 0]);
            let open = json!({"operation": "{{ trigger.what }}", "title": "{{ trigger.title }}", "labels": ["{{ trigger.l }}"]});
            assert_eq!(problems(tracker, false, &open), [] as [String; 0]);
        }
    }

    #[test]
    fn fields_go_before_what_is_said_in_common_words() {
        let payload = json!({"title": "x", "project": "a/b", "fields": {"milestone": 3, "title": "y"}});
        let task = read(&payload, Reading::Rendered, &github::TRACKER, false).expect("good").expect("a task");
        let body = body(&task, [("title", task.title.clone().map(Value::String)), ("body", None)]);
        assert_eq!(Value::Object(body), json!({"title": "y", "milestone": 3}));
    }
}
