//! `POST /functions/v1/execute-action`: performs an entry of the queue and waits for its result.
//!
//! Entries perform themselves as soon as they may, so what this adds is not to wait for an entry's time, and to hear how it
//! ended. `auto_execute` takes the user's next due entry.

use std::collections::HashMap;
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
const MOST_PAGES: usize = 10;
/// Of how many of them, the first of a run each, is asked whether somebody has paused the run.
const MOST_CANDIDATES: usize = 20;

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
type Rank = (Option<usize>, Option<i64>, Option<String>, ExecutionId);

/// The entry of the user that is dispatched first. Entries of paused runs stand back; where nothing else is due the first of
/// them is taken, so that the answer names the pause.
async fn next_due(state: &State, scope: Scope, user: UserId) -> Result<ExecutionId, Problem> {
    let mut ranks: Vec<(Rank, RunId)> =
        first_of_runs(state, scope, user).await?.into_iter().map(|(run, rank)| (rank, run)).collect();
    ranks.sort_unstable();
    ranks.truncate(MOST_CANDIDATES);
    for ((.., id), run) in &ranks {
        let run = state.views.one(scope, Resource::Runs, run.0).await?;
        if run.is_some_and(|run| run["run_status"] != RunStatus::Paused.as_str()) {
            return Ok(*id);
        }
    }
    let first = ranks.first().map(|((.., id), _)| *id);
    first.ok_or_else(|| Problem::NotFound("nothing is due".to_owned()))
}

/// The first of the user's due entries in each run, so that many of one paused run hide none of another. The queue is walked
/// newest first, as far as [`MOST_PAGES`] reach.
async fn first_of_runs(state: &State, scope: Scope, user: UserId) -> Result<HashMap<RunId, Rank>, Problem> {
    let pending = Filter::of([("execution_status", json!(ExecutionStatus::Pending)), ("user_id", json!(user))]);
    let now = crate::http::flows::rfc3339(state.engine.now_ms());
    let mut first: HashMap<RunId, Rank> = HashMap::new();
    let mut page = Page { limit: state.settings.max_page_items, after: None };
    for _ in 0..MOST_PAGES {
        let found = state.views.list(scope, Resource::Executions, pending.clone(), page).await?;
        let due = found.items.iter().filter(|row| row["execute_after"].as_str() <= now.as_deref());
        for (run, rank) in due.filter_map(rank) {
            let known = first.entry(run).or_insert_with(|| rank.clone());
            if rank < *known {
                *known = rank;
            }
        }
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    Ok(first)
}

fn rank(row: &Value) -> Option<(RunId, Rank)> {
    let id: ExecutionId = row["id"].as_str()?.parse().ok()?;
    let (run, _) = id.parts()?;
    let urgency = ["critical", "high", "medium", "low"].iter().position(|word| row["urgency"] == *word);
    Some((run, (urgency, row["priority"].as_i64(), row["execute_after"].as_str().map(str::to_owned), id)))
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
