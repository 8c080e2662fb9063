//! `POST /api/v1/decisions`: takes in a decision of an engine outside; `/{id}/approve|reject`: what a person makes of it.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::DecisionDraft;
use core314_actors::ports::resource::Resource;
use core314_domain::words::Severity;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MAX_TEXT_CHARS, MAX_TITLE_CHARS, refused, text, verdict};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::resources;

/// A decision to take in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DecisionToTake")]
struct Input {
    /// Which engine decided: 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    source: String,
    /// What is to be done: 1 to 200 characters.
    #[schemars(length(min = 1, max = 200))]
    title: String,
    /// Why: up to 2,000 characters.
    #[schemars(length(min = 1, max = 2_000))]
    summary: Option<String>,
    /// How certain the engine is, 0 to 1: a flow whose `approval_threshold` is more waits for a person.
    #[schemars(range(min = 0, max = 1))]
    confidence_score: Option<f64>,
    risk_level: Option<Severity>,
    /// Whatever flows need of it.
    payload: Option<Map<String, Value>>,
}

pub fn create_doc() -> Doc {
    Doc::role("Takes in a decision of an engine outside; it waits for a verdict.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .answer_as(StatusCode::CREATED, "The decision, pending.", resources::row_schema(Resource::Decisions))
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let input = asked.input;
    if input.confidence_score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
        return Err(Problem::field("confidence_score", "must be 0 to 1"));
    }
    let draft = DecisionDraft {
        owner: asked.owner,
        source: text("source", input.source, MAX_TITLE_CHARS)?,
        title: text("title", input.title, MAX_TITLE_CHARS)?,
        summary: input.summary.map(|summary| text("summary", summary, MAX_TEXT_CHARS)).transpose()?,
        confidence: input.confidence_score,
        risk: input.risk_level,
        payload: Value::Object(input.payload.unwrap_or_default()),
        idempotency: asked.idempotency,
        by: asked.caller.by,
    };
    let id = state.engine.take_decision(draft).await.map_err(|error| refused(error, "decision"))?;
    let row = verdict::row(&state, asked.caller.scope, Resource::Decisions, id).await?;
    Ok(HttpResponse::Created().insert_header((LOCATION, format!("/api/v1/decisions/{id}"))).json(row))
}

pub fn approve_doc() -> Doc {
    verdict::doc("Approves a decision, and starts the flows that wait for it.", Resource::Decisions)
}

pub async fn approve(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    judge(state, req, payload, (id.into_inner(), true)).await
}

pub fn reject_doc() -> Doc {
    verdict::doc("Rejects a decision: nothing of it happens.", Resource::Decisions)
}

pub async fn reject(
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
    let judge = async |state: Shared, draft| state.engine.judge_decision(draft).await;
    verdict::take(state, req, payload, verdict, Resource::Decisions, judge).await
}
