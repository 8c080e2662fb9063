//! Executions: the steps of runs, and single actions without a flow.

pub mod control;
pub mod create;
pub mod pending_approvals;

use core314_domain::ids::{ExecutionId, RunId, StepNo};

use super::problem::Problem;

/// The run and the step that an execution's id in a path stands for.
pub fn parts_of(path: &str) -> Result<(ExecutionId, RunId, StepNo), Problem> {
    let id: Option<ExecutionId> = path.parse().ok();
    let parts = id.and_then(|id| id.parts().map(|(run, step)| (id, run, step)));
    parts.ok_or_else(|| Problem::no_row("execution"))
}
