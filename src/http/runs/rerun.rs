//! `POST /api/v1/runs/{id}/rerun`: a new run from a step of this one, with the results of what came before.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{Rerun, RerunError};
use core314_actors::ingress::{OnConflict, Triggered};
use core314_domain::run::NoReuse;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{AcceptedView, answer, id_of, wait_of};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::flows::trigger::run_key;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// From where, and how.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RerunFrom")]
struct Input {
    /// The id of the step with which the new run begins. What comes before it is taken over, and not done again.
    from_step: String,
    /// The version of the flow; by default that of the run. It must have all that is taken over.
    version: Option<i64>,
    /// The caller's own name for the new run, unique among the flow's live runs: 1 to 255 characters.
    run_key: Option<String>,
    /// What becomes of it when a live run has this `run_key`; by default `return`.
    on_conflict: Option<OnConflict>,
    /// Wait so long for the end of the new run: at most 300.
    wait_seconds: Option<u64>,
}

pub fn doc() -> Doc {
    Doc::role(
        "Starts a new run from a step of one that has ended, with the results of what came before.",
        Role::Operator,
    )
    .body::<Input>()
    .idempotent()
    .waits()
    .answer::<AcceptedView>(StatusCode::ACCEPTED, "The new run is durable, and goes on.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let (run, input) = (id_of(&id)?, asked.input);
    let wait = wait_of(&req, input.wait_seconds)?;
    let again = Rerun {
        from_step: input.from_step,
        version: input.version,
        run_key: run_key(input.run_key, input.on_conflict)?,
        by: asked.caller.by,
        idempotency: asked.idempotency,
    };
    match state.engine.rerun(asked.caller.scope, run, again).await? {
        Triggered::Accepted(new) | Triggered::Repeated(new) => answer(&state, asked.caller.scope, new, wait).await,
        Triggered::NoMatch(why_not) => Err(Problem::NoMatchingFlow(why_not)),
    }
}

impl From<RerunError> for Problem {
    fn from(error: RerunError) -> Self {
        match error {
            RerunError::NotFound => Self::no_row("run"),
            RerunError::Refused(NoReuse::NoSuchStep { .. }) => Self::field("from_step", error.to_string()),
            RerunError::NoSuchVersion { .. } => Self::field("version", error.to_string()),
            RerunError::Refused(_) | RerunError::SingleAction | RerunError::TooLarge { .. } => {
                Self::Conflict(error.to_string())
            }
            RerunError::Trigger(core314_actors::ingress::TriggerError::NoSuchFlow) => {
                Self::no_row("run, or its flow is gone")
            }
            RerunError::Trigger(error) => error.into(),
            RerunError::Store(error) => error.into(),
        }
    }
}
