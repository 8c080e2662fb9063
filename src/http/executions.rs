//! Executions: the steps of runs, and single actions without a flow.

pub mod control;
pub mod create;
pub mod pending_approvals;
pub mod show;

use std::sync::Arc;

use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_domain::ids::{ExecutionId, RunId, StepNo};
use schemars::json_schema;
use serde_json::json;

use super::openapi::SchemaOf;
use super::problem::Problem;
use super::{State, resources};

/// The run and the step that an execution's id in a path stands for.
pub fn parts_of(path: &str) -> Result<(ExecutionId, RunId, StepNo), Problem> {
    let id: Option<ExecutionId> = path.parse().ok();
    let parts = id.and_then(|id| id.parts().map(|(run, step)| (id, run, step)));
    parts.ok_or_else(|| Problem::no_row("execution"))
}

/// Whether an id in a path is a run's: no execution's is.
fn is_of_run(path: &str) -> bool {
    path.parse::<ExecutionId>().is_ok_and(|id| id.parts().is_none())
}

/// The schema of what waits for a person: an execution, or a run that has yet to begin.
fn waiting_schema() -> SchemaOf {
    Arc::new(|generator| {
        let execution = resources::row_schema(Resource::Executions)(generator);
        let run = resources::row_schema(Resource::Runs)(generator);
        json_schema!({"oneOf": [execution, run]})
    })
}

/// Why the queue does not have an execution: a loop keeps only the rounds that are under way (ADR 010), and what it has made
/// of the others is in the log. Whoever may not see that is told what everybody is told.
pub async fn absent(state: &State, scope: Scope, id: ExecutionId) -> Result<Problem, Problem> {
    let attempts = Filter::of([("execution_queue_id", json!(id))]);
    let logged = state.views.list(scope, Resource::Log, attempts, Page { limit: 1, after: None }).await?;
    Ok(match logged.items.first() {
        None => Problem::no_row("execution"),
        Some(attempt) => Problem::NotFound(format!(
            "the execution belongs to a round of a loop that is over, and only the log has it: \
             GET /api/v1/execution-log?execution_queue_id={id} shows its attempts, and GET /api/v1/runs/{} its run",
            attempt["flow_run_id"].as_str().unwrap_or_default()
        )),
    })
}
