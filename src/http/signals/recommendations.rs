//! `POST /api/v1/recommendations`: takes in an action that an engine outside recommends; `/{id}/accept|dismiss`: what a
//! person makes of it.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{RecommendationDraft, SignalError};
use core314_actors::ports::resource::Resource;
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MAX_TITLE_CHARS, refused, text, verdict};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::resources;

/// A recommendation to take in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RecommendationToTake")]
struct Input {
    /// The decision that it carries out.
    decision_event_id: Option<RowId>,
    /// 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    title: String,
    action_type: String,
    #[serde(default)]
    action_target: String,
    /// Texts in it may be templates over `trigger`, which is the recommendation.
    action_payload: Option<Map<String, Value>>,
    /// 1 (first) to 10; by default 5.
    #[schemars(range(min = 1, max = 10))]
    priority: Option<u8>,
}

pub fn create_doc() -> Doc {
    Doc::role("Takes in a recommended action, and starts the flows that wait for one.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .answer_as(StatusCode::CREATED, "The recommendation, new.", resources::row_schema(Resource::Recommendations))
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let input = asked.input;
    let draft = RecommendationDraft {
        owner: asked.owner,
        decision: input.decision_event_id,
        title: text("title", input.title, MAX_TITLE_CHARS)?,
        action_type: input.action_type,
        action_target: input.action_target,
        action_payload: Value::Object(input.action_payload.unwrap_or_default()),
        priority: input.priority.unwrap_or(5),
        idempotency: asked.idempotency,
        by: asked.caller.by,
    };
    let id = state.engine.take_recommendation(draft).await.map_err(|error| match error {
        SignalError::NotFound => Problem::field("decision_event_id", "there is no such decision"),
        error => refused(error, "recommendation"),
    })?;
    let row = verdict::row(&state, asked.caller.scope, Resource::Recommendations, id).await?;
    Ok(HttpResponse::Created().insert_header((LOCATION, format!("/api/v1/recommendations/{id}"))).json(row))
}

pub fn accept_doc() -> Doc {
    verdict::doc("Accepts a recommendation: its action is performed as a run of one step.", Resource::Recommendations)
}

pub async fn accept(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    judge(state, req, payload, (id.into_inner(), true)).await
}

pub fn dismiss_doc() -> Doc {
    verdict::doc("Dismisses a recommendation: its action is not performed.", Resource::Recommendations)
}

pub async fn dismiss(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    judge(state, req, payload, (id.into_inner(), false)).await
}

async fn judge(
    state: Shared,
    req: HttpRequest,
    payload: web::Payload,
    verdict: (String, bool),
) -> Result<HttpResponse, Problem> {
    let judge = async |state: Shared, draft| state.engine.judge_recommendation(draft).await;
    verdict::take(state, req, payload, verdict, Resource::Recommendations, judge).await
}
