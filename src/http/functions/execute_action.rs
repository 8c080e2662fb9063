//! `POST /functions/v1/execute-action`: performs an entry of the queue and waits for its result.
//!
//! Entries perform themselves as soon as they may, so what this adds is not to wait for an entry's time, and to hear how it
//! ended. `auto_execute` takes the user's next due entry.

use std::collections::HashSet;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::TellError;
use core314_actors::flow_run::Remark;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_domain::ids::{ExecutionId, RunId, UserId};
use core314_domain::run::{Command, Refusal, Waiting};
use core314_domain::words::{ExecutionStatus, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::auth::Role;
use crate::http::executions::{absent, parts_of};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, ask, body, input};

/// Longer than an attempt may take by default; what takes longer goes on, and the answer says so.
const PATIENCE: Duration = Duration::from_mins(2);
/// How many pages of the queue are looked through for an entry that is due: each looks at 200 entries at least.
const MOST_PAGES: usize = 50;

/// What is to be performed. Other fields are ignored.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ExecuteActionRequest")]
struct Input {
    execution_queue_id: Option<ExecutionId>,
    /// Take the user's next due entry.
    auto_execute: Option<bool>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExecuteActionAnswer")]
struct View {
    success: bool,
    /// The last attempt's row; null where none has ended yet.
    execution_log_id: Option<Value>,
    execution_queue_id: Value,
    action_type: Value,
    action_target: Value,
    execution_duration_ms: Value,
    execution_result: Value,
    error: Option<Value>,
}

pub fn doc() -> Doc {
    Doc::role("Performs an entry of the queue, and waits for its result.", Role::Operator)
        .body::<Input>()
        .problem(StatusCode::NOT_FOUND)
        .problem(StatusCode::CONFLICT)
        .ok::<View>("How it ended.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let (_, mut value) = body::read_json(&req, payload, &state.settings).await?;
    let user: Option<UserId> = ask::take_user(&mut value)?;
    let input: Input = input::read(value)?;
    let caller = credential.act(req.headers(), user)?;
    let owner = caller.owner()?;
    let id = match (input.execution_queue_id, input.auto_execute) {
        (Some(id), _) => id,
        (None, Some(true)) => next_due(&state, caller.scope, owner.user).await?,
        (None, _) => return Err(Problem::field("execution_queue_id", "is required, or auto_execute: true")),
    };
    let remark = Remark { by: Some(caller.by.as_str().into()), ..Remark::default() };
    let row = perform(&state, caller.scope, id, remark).await?;
    Ok(HttpResponse::Ok().json(view(&state, caller.scope, row).await?))
}

/// Which entry is dispatched first: by urgency, then priority, then due time; the older one of two alike.
type Rank = (bool, Option<usize>, Option<i64>, Option<String>, ExecutionId);

/// The entry of the user that is dispatched first. Entries of paused runs stand back; where nothing else is due the first of
/// them is taken, so that the answer names the pause.
async fn next_due(state: &State, scope: Scope, user: UserId) -> Result<ExecutionId, Problem> {
    let mut held: HashSet<String> = HashSet::new();
    let paused = Filter::of([("run_status", json!(RunStatus::Paused))]);
    each(state, scope, Resource::Runs, &paused, |run| held.extend(run["id"].as_str().map(str::to_owned))).await?;
    let pending = Filter::of([("execution_status", json!(ExecutionStatus::Pending)), ("user_id", json!(user))]);
    let now = crate::http::flows::rfc3339(state.engine.now_ms());
    let mut first: Option<Rank> = None;
    each(state, scope, Resource::Executions, &pending, |row| {
        let is_due = row["execute_after"].as_str() <= now.as_deref();
        let found = is_due.then(|| rank(row, &held)).flatten();
        first = first.take().into_iter().chain(found).min();
    })
    .await?;
    first.map(|(.., id)| id).ok_or_else(|| Problem::NotFound("nothing is due".to_owned()))
}

fn rank(row: &Value, held: &HashSet<String>) -> Option<Rank> {
    let id: ExecutionId = row["id"].as_str()?.parse().ok()?;
    let is_held = row["flow_run_id"].as_str().is_some_and(|run| held.contains(run));
    let urgency = ["critical", "high", "medium", "low"].iter().position(|word| row["urgency"] == *word);
    Some((is_held, urgency, row["priority"].as_i64(), row["execute_after"].as_str().map(str::to_owned), id))
}

/// Goes through a list, newest first, as far as [`MOST_PAGES`] reach.
async fn each(
    state: &State,
    scope: Scope,
    resource: Resource,
    filter: &Filter,
    mut see: impl FnMut(&Value),
) -> Result<(), Problem> {
    let mut page = Page { limit: state.settings.max_page_items, after: None };
    for _ in 0..MOST_PAGES {
        let found = state.views.list(scope, resource, filter.clone(), page).await?;
        found.items.iter().for_each(&mut see);
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    Ok(())
}

/// Lets the entry run now, and waits for its end. The row as it is then.
async fn perform(state: &State, scope: Scope, id: ExecutionId, remark: Remark) -> Result<Value, Problem> {
    let (id, run, step) = parts_of(&id.to_string())?;
    let look = async || state.views.one(scope, Resource::Executions, id.0).await;
    let row = look().await?.ok_or_else(|| Problem::no_row("execution"))?;
    if has_ended(&row) {
        return Ok(row);
    }
    match state.engine.tell(scope, run, Command::RunNow { step }, remark).await {
        Ok(()) => {}
        Err(TellError::NotFound) => return Err(Problem::no_row("execution")),
        // It has ended in between, and its run knows that before the row shows it.
        Err(TellError::Refused(refusal)) if is_over(&refusal) => {}
        Err(TellError::Refused(Refusal::RunNotNow(RunStatus::Paused, _))) => {
            return Err(paused(state, scope, run).await?);
        }
        Err(error) => return Err(error.into()),
    }
    // One without a row has ended too: a loop drops the rounds that are over.
    let ended = async { Ok::<_, Problem>(look().await?.is_none_or(|row| has_ended(&row))) };
    state.engine.wait_for_end(id.0, PATIENCE, ended).await?;
    match look().await? {
        Some(row) => Ok(row),
        None => Err(absent(state, scope, id).await?),
    }
}

/// Whether the run says that the entry has ended. What it says may not be stored yet.
fn is_over(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Ended(_) | Refusal::NoSuchStep(_))
        || matches!(refusal, Refusal::StepNotNow(_, status, _) if status.is_terminal())
}

/// Why an entry of this run does not start.
async fn paused(state: &State, scope: Scope, run: RunId) -> Result<Problem, Problem> {
    let (_, reasons) = state.engine.why(scope, run).await?;
    let pause = reasons.into_iter().find(|reason| reason.code == Waiting::Paused);
    let said = pause.map_or_else(|| "the run was paused".to_owned(), |reason| reason.message);
    Ok(Problem::Conflict(format!("{said}: POST /api/v1/runs/{run}/resume lets it go on")))
}

fn has_ended(row: &Value) -> bool {
    let status: Option<ExecutionStatus> = row["execution_status"].as_str().and_then(|word| word.parse().ok());
    status.is_some_and(ExecutionStatus::is_terminal)
}

async fn view(state: &State, scope: Scope, row: Value) -> Result<View, Problem> {
    let attempts = Filter::of([("execution_queue_id", row["id"].clone())]);
    let page = Page { limit: 1, after: None };
    let log = state.views.list(scope, Resource::Log, attempts, page).await?.items;
    let status = row["execution_status"].as_str().unwrap_or_default();
    let success = status == ExecutionStatus::Completed.as_str();
    let error = match &row["execution_error"] {
        _ if success => None,
        Value::Null => Some(json!(format!("the execution is {status}"))),
        error => Some(error.clone()),
    };
    Ok(View {
        success,
        execution_log_id: log.first().map(|attempt| attempt["id"].clone()),
        execution_queue_id: row["id"].clone(),
        action_type: row["action_type"].clone(),
        action_target: row["action_target"].clone(),
        execution_duration_ms: row["execution_duration_ms"].clone(),
        execution_result: row["execution_result"].clone(),
        error,
    })
}
