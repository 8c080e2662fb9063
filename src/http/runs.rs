//! Runs of flows.

pub mod bulk;
pub mod control;
pub mod phases;
pub mod replay;
pub mod rerun;
pub mod restart;
pub mod rollback;
pub mod signal;
pub mod timeline;
pub mod why;

use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ingress::Accepted;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{ExecutionId, FlowId, RunId};
use core314_domain::words::{ExecutionMode, RunStatus};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::problem::Problem;
use super::{State, prefer};

/// A run as it was accepted. `GET /runs/{id}` shows how it goes on.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AcceptedRun")]
pub struct AcceptedView {
    id: RunId,
    run_status: RunStatus,
    orchestration_flow_id: FlowId,
    flow_name: String,
    flow_version: i64,
    execution_mode: ExecutionMode,
    execution_queue_ids: Vec<ExecutionId>,
}

impl AcceptedView {
    pub fn of(run: Accepted) -> Self {
        Self {
            id: run.run,
            run_status: run.status,
            orchestration_flow_id: run.flow_id,
            flow_name: run.flow_name,
            flow_version: run.flow_version,
            execution_mode: run.mode,
            execution_queue_ids: run.executions,
        }
    }
}

/// How long a request may wait for the end of what it starts.
const MOST_SECONDS: u64 = 300;

/// How long the caller wants to wait: the body says so, or `Prefer`.
pub fn wait_of(req: &HttpRequest, in_body: Option<u64>) -> Result<Option<Duration>, Problem> {
    if in_body.is_some_and(|seconds| seconds > MOST_SECONDS) {
        return Err(Problem::field("wait_seconds", format!("must be at most {MOST_SECONDS}")));
    }
    // A preference may be followed as far as it goes.
    let preferred = prefer::wait_seconds(req.headers())?.map(|seconds| seconds.min(MOST_SECONDS));
    Ok(in_body.or(preferred).filter(|seconds| *seconds > 0).map(Duration::from_secs))
}

/// The answer with a run that was accepted: 202 at once, or 200 with its row when it ends in time.
pub async fn answer(
    state: &State,
    scope: Scope,
    run: Accepted,
    wait: Option<Duration>,
) -> Result<HttpResponse, Problem> {
    if let Some(wait) = wait
        && let Some(row) = ended(state, scope, run.run, wait).await?
    {
        return Ok(HttpResponse::Ok().json(row));
    }
    Ok(HttpResponse::Accepted()
        .insert_header((LOCATION, format!("/api/v1/runs/{}", run.run)))
        .json(AcceptedView::of(run)))
}

/// The run's row once it has ended; `None` when it has not in time.
pub async fn ended(state: &State, scope: Scope, run: RunId, wait: Duration) -> Result<Option<Value>, Problem> {
    let look = async || state.views.one(scope, Resource::Runs, run.0).await;
    let has_ended = async { Ok::<_, Problem>(look().await?.is_some_and(|row| is_terminal(&row))) };
    if !state.engine.wait_for_end(run.0, wait, has_ended).await? {
        return Ok(None);
    }
    Ok(look().await?.filter(is_terminal))
}

fn is_terminal(row: &Value) -> bool {
    row["run_status"].as_str().and_then(|word| word.parse().ok()).is_some_and(RunStatus::is_terminal)
}

/// A run's id in a path.
pub fn id_of(path: &str) -> Result<RunId, Problem> {
    path.parse().map_err(|_| Problem::no_row("run"))
}
