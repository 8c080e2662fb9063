//! Runs of flows.

use core314_actors::ingress::Accepted;
use core314_domain::ids::{ExecutionId, FlowId, RunId};
use core314_domain::words::{ExecutionMode, RunStatus};
use schemars::JsonSchema;
use serde::Serialize;

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
