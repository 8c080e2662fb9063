//! `/api/v1/flows/{id}/rollout`: a version for a share of the new runs, watched, promoted or returned.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{Candidate, RolloutError};
use core314_actors::ports::catalog::RolloutState;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, RowId};
use core314_domain::rollout::{Ended, RolloutStatus, RolloutTerms};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::create::misshapen;
use super::rfc3339;
use crate::http::Shared;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};

/// What is rolled out, and on which terms: give `version` or `document`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RolloutToBegin")]
struct Input {
    /// A version that is stored.
    #[schemars(range(min = 1))]
    version: Option<i64>,
    /// A document, in either form: it is saved as the next version in the commit that begins its roll-out.
    document: Option<Map<String, Value>>,
    /// The version of the other runs: by default the present one, or the one before where the present one is rolled out.
    #[schemars(range(min = 1))]
    base_version: Option<i64>,
    /// The share of new runs that get the version, more than 0 and at most 100.
    #[schemars(range(min = 0, max = 100))]
    percent: f64,
    /// So many runs of the version must have ended before it is judged; 20 where nothing is said.
    #[schemars(range(min = 1, max = 1_000_000))]
    min_runs: Option<i64>,
    /// The version is returned when its error rate exceeds the old one's by more than this; 0.05 where nothing is said.
    #[schemars(range(min = 0, max = 1))]
    max_error_rate_increase: Option<f64>,
    /// The version is promoted by itself when so many of its runs have ended and its error rate is no worse.
    #[schemars(range(min = 1, max = 1_000_000))]
    promote_after_runs: Option<i64>,
    /// CEL over the trigger: runs for which it gives the same value get the same version.
    #[schemars(length(max = 1_000))]
    key: Option<String>,
}

/// A roll-out and its figures.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Rollout")]
struct View {
    id: RowId,
    flow_id: FlowId,
    version: i64,
    base_version: i64,
    #[serde(flatten)]
    terms: RolloutTerms,
    rollout_status: RolloutStatus,
    /// Why it ended.
    reason: Option<String>,
    /// Runs of the version that have ended since the roll-out began.
    ended: EndedView,
    /// Runs of the base version.
    base_ended: EndedView,
    started_at: Option<String>,
    ended_at: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RolloutFigures")]
struct EndedView {
    #[serde(flatten)]
    ended: Ended,
    /// 0 to 1.
    error_rate: f64,
}

impl View {
    fn of(state: RolloutState) -> Self {
        let ended = |ended: Ended| EndedView { ended, error_rate: ended.error_rate() };
        let rollout = state.rollout;
        Self {
            id: rollout.id,
            flow_id: rollout.flow,
            version: rollout.candidate,
            base_version: rollout.base,
            terms: rollout.terms,
            rollout_status: rollout.status,
            reason: rollout.reason,
            ended: ended(state.candidate),
            base_ended: ended(state.base),
            started_at: rfc3339(rollout.started_at_ms),
            ended_at: rollout.ended_at_ms.and_then(rfc3339),
        }
    }
}

fn flow_id(id: &str) -> Result<FlowId, Problem> {
    id.parse().map_err(|_| Problem::no_row("flow"))
}

pub fn show_doc() -> Doc {
    Doc::role("Shows a flow's newest roll-out, running or ended.", Role::Viewer).ok::<View>("The roll-out.")
}

pub async fn show(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let found = state.engine.rollout(scope, flow_id(&id)?).await?.ok_or_else(|| Problem::no_row("roll-out"))?;
    Ok(HttpResponse::Ok().json(View::of(found)))
}

pub fn begin_doc() -> Doc {
    Doc::role("Gives a version of a flow to a share of its new runs.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::PRECONDITION_FAILED)
        .answer::<View>(StatusCode::CREATED, "The roll-out, running.")
}

pub async fn begin(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Admin).await?;
    let id = flow_id(&id)?;
    let input = asked.input;
    let candidate = match (input.version, input.document) {
        (Some(version), None) => Candidate::Version(version),
        (None, Some(document)) => {
            let document = FlowDocument::from_value(Value::Object(document));
            let inside = |error: core314_domain::document::ShapeError| {
                misshapen(core314_domain::document::ShapeError {
                    pointer: format!("/document{}", error.pointer),
                    ..error
                })
            };
            Candidate::Document(Box::new(document.map_err(inside)?))
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Problem::field("version", "give either a version that is stored, or a document"));
        }
    };
    let terms = RolloutTerms {
        percent: input.percent,
        min_runs: input.min_runs.unwrap_or(20),
        max_error_rate_increase: input.max_error_rate_increase.unwrap_or(0.05),
        promote_after_runs: input.promote_after_runs,
        key: input.key,
    };
    let begun = state.engine.begin_rollout(asked.owner, id, candidate, input.base_version, terms, asked.caller.by);
    Ok(HttpResponse::Created().json(View::of(begun.await?)))
}

fn end_doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Admin)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::PRECONDITION_FAILED)
        .ok::<View>("The roll-out, ended.")
}

pub fn promote_doc() -> Doc {
    end_doc("Gives the version that is rolled out to all new runs.")
}

pub async fn promote(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    end(req, payload, id, state, RolloutStatus::Promoted).await
}

pub fn return_doc() -> Doc {
    end_doc("Gives the old version to all new runs again.")
}

pub async fn return_to_base(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    end(req, payload, id, state, RolloutStatus::Returned).await
}

async fn end(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
    status: RolloutStatus,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Admin).await?;
    let id = flow_id(&id)?;
    state.engine.flow(asked.caller.scope, id).await?.ok_or_else(|| Problem::no_row("flow"))?;
    let ended = state.engine.end_rollout(asked.owner, id, status, asked.caller.by).await?;
    Ok(HttpResponse::Ok().json(View::of(ended)))
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        match error {
            RolloutError::NoFlow => Self::no_row("flow"),
            RolloutError::NoVersion(version) => Self::NotFound(format!("the flow has no version {version}")),
            RolloutError::NotRunning | RolloutError::Running(_) => Self::Conflict(error.to_string()),
            RolloutError::Terms(problems) => {
                Self::InvalidRequest(problems.into_iter().map(|(name, why)| FieldError::body(&name, why)).collect())
            }
            RolloutError::Save(error) => error.into(),
            RolloutError::Store(error) => error.into(),
        }
    }
}
