//! What somebody makes of a decision or a recommendation, and what that started.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{SignalError, VerdictDraft};
use core314_actors::ingress::WhyNot;
use core314_actors::ports::resource::Resource;
use core314_actors::relay::Started;
use core314_domain::ids::{RowId, RunId};
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

use super::refused;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::resources;
use crate::http::runs::control::bounded;
use crate::http::{Shared, State};

/// What is said with a verdict.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Verdict")]
struct Input {
    /// Kept with it: up to 2,000 characters.
    notes: Option<String>,
}

/// How an endpoint that takes verdicts describes itself.
pub fn doc(summary: &'static str, resource: Resource) -> Doc {
    let schema = Arc::new(move |generator: &mut schemars::SchemaGenerator| {
        let row = resources::row_schema(resource)(generator);
        let why_not = generator.subschema_for::<Vec<WhyNot>>();
        json_schema!({
            "type": "object", "required": ["row", "run_ids", "why_not", "is_pending"],
            "properties": {
                "row": row,
                "run_ids": {"type": "array", "items": {"type": "string", "format": "uuid"}},
                "why_not": why_not,
                "is_pending": {"type": "boolean"},
            },
        })
    });
    Doc::role(summary, Role::Operator)
        .optional_body::<Input>()
        .problem(StatusCode::CONFLICT)
        .ok_as("The row as it is now, and the runs that the verdict started.", schema)
}

/// Takes a verdict. `judge` hands it to the engine.
pub async fn take<J>(
    state: Shared,
    req: HttpRequest,
    payload: web::Payload,
    (id, is_yes): (String, bool),
    resource: Resource,
    judge: impl FnOnce(Shared, VerdictDraft) -> J,
) -> Result<HttpResponse, Problem>
where
    J: Future<Output = Result<Option<Started>, SignalError>>,
{
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let missing = || Problem::no_row(resource.noun());
    let id: RowId = id.parse().map_err(|_| missing())?;
    let notes = asked.input.notes.as_deref().map(|notes| bounded("notes", notes).map(str::to_owned)).transpose()?;
    let draft = VerdictDraft { owner: asked.owner, id, is_yes, notes, by: asked.caller.by };
    let started = judge(state.clone(), draft).await.map_err(|error| refused(error, resource.noun()))?;
    let row = row(&state, asked.caller.scope, resource, id).await?;
    Ok(HttpResponse::Ok().json(view(&row, started)))
}

/// A row that was just written.
pub async fn row(
    state: &State,
    scope: core314_actors::ports::Scope,
    resource: Resource,
    id: RowId,
) -> Result<Value, Problem> {
    state.views.one(scope, resource, id.0).await?.ok_or_else(|| Problem::no_row(resource.noun()))
}

fn view(row: &Value, started: Option<Started>) -> Value {
    // The verdict is durable, and so is what it starts: a moment later where the runtime is busy.
    let is_pending = started.is_none();
    let Started { runs, why_not } = started.unwrap_or_default();
    let run_ids: Vec<RunId> = runs.iter().map(|run| run.run).collect();
    json!({"row": row, "run_ids": run_ids, "why_not": why_not, "is_pending": is_pending})
}
