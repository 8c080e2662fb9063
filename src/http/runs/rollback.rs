//! What people do about the taking back of a run: `GET /api/v1/runs/{id}/undo-plan`, `POST /api/v1/runs/{id}/undo`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::ExecutionId;
use core314_domain::run::{Command, UndoWay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::control::{bounded, tell};
use super::id_of;
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// What would be taken back.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UndoPlan")]
struct View {
    /// The phase to whose end the run would go back; 0: the start.
    to_phase: u32,
    /// Executions whose undo would run, first to last.
    undo: Vec<Undo>,
}

#[derive(Serialize, JsonSchema)]
struct Undo {
    execution_id: ExecutionId,
    step_id: String,
    action_type: String,
    action_target: String,
    /// Whether it waits for a person before it is done.
    requires_approval: bool,
}

pub fn plan_doc() -> Doc {
    Doc::role("Says what would be taken back if the run rolled back now.", Role::Viewer)
        .ok::<View>("The undo, in order.")
}

pub async fn plan(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let run = state.engine.run_as_stored(scope, id_of(&id)?).await?;
    let to_phase = run.would_go_back_to();
    let undo = run.undo_plan(to_phase).into_iter().map(|no| {
        let undo = run.step_plan(no).undo.as_deref();
        Undo {
            execution_id: run.header.id.execution(no),
            step_id: run.step_plan(no).id.to_string(),
            action_type: undo.map(|undo| undo.action_type.to_string()).unwrap_or_default(),
            action_target: undo.map(|undo| undo.action_target.to_string()).unwrap_or_default(),
            requires_approval: undo.is_some_and(|undo| undo.requires_approval),
        }
    });
    Ok(HttpResponse::Ok().json(View { to_phase, undo: undo.collect() }))
}

/// What becomes of an undo that has failed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UndoSettlement")]
pub struct Settlement {
    way: Way,
    /// Why the step is left as it is; for `skip`, and required there.
    reason: Option<String>,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "UndoWay")]
enum Way {
    /// Try it again.
    Retry,
    /// Leave the step as it is, and go on.
    Skip,
    /// It was taken back by hand: go on.
    Done,
}

pub fn settle_doc() -> Doc {
    super::control::shows_the_run(
        Doc::role("Settles an undo that has failed, and goes on with the rollback.", Role::Operator)
            .problem(StatusCode::CONFLICT)
            .body::<Settlement>(),
    )
}

pub async fn settle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Settlement> = ask::read(&req, payload, &state, Role::Operator).await?;
    let reason = asked.input.reason.as_deref().map(|reason| bounded("reason", reason)).transpose()?;
    let way = match (asked.input.way, reason.map(str::trim).filter(|reason| !reason.is_empty())) {
        (Way::Retry, _) => UndoWay::Retry,
        (Way::Done, _) => UndoWay::Done,
        (Way::Skip, Some(reason)) => UndoWay::Skip { reason: reason.to_owned() },
        (Way::Skip, None) => return Err(Problem::field("reason", "says why the step is left as it is: it is missing")),
    };
    tell(&state, &id, &asked, Command::Undo { way }, asked.remark()).await
}
