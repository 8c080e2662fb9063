//! `POST /api/v1/runs/{id}/replay` and `/runs/bulk/replay`: where old runs would go otherwise with another version of their
//! flow, or with a document that nobody has saved. Nothing is executed, and nothing is written.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{Against, ManyReplays, Replay, ReplayError};
use core314_domain::document::FlowDocument;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bulk::{filter, find};
use super::id_of;
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::{FieldError, Problem};

/// Runs that one request plays.
const MOST_RUNS: usize = 1_000;

/// What to play it against: one of the two.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayAgainst")]
struct Input {
    /// A version of the run's flow.
    version: Option<i64>,
    /// A flow document, as it would be saved; its short form is read too.
    document: Option<Value>,
}

/// Which runs, and what to play them against.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplayMany")]
struct Many {
    /// Columns of runs and what they must equal, such as `{"flow_name": "restock"}`. At least one.
    filter: BTreeMap<String, Value>,
    /// At most so many runs, the newest first: 1 to 1,000, by default 100.
    limit: Option<usize>,
    /// At most so long, in milliseconds: by default and at most `http.max_replay_ms`.
    within_ms: Option<u64>,
    /// A version of each run's flow.
    version: Option<i64>,
    /// A flow document; runs of flows with other names are passed over.
    document: Option<Value>,
}

/// What the replays came to.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ManyReplaysAnswer")]
struct View {
    #[serde(flatten)]
    sum: ManyReplays,
    /// Whether the filter finds more runs than the limit let in.
    more: bool,
}

pub fn doc() -> Doc {
    Doc::role(
        "Says where a run that has ended would go otherwise with another version; nothing is executed.",
        Role::Viewer,
    )
    .body::<Input>()
    .problem(StatusCode::CONFLICT)
    .ok::<Replay>("How it would end, and the steps that would go otherwise.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Viewer).await?;
    let run = id_of(&id)?;
    let against = against(asked.input.version, asked.input.document)?;
    Ok(HttpResponse::Ok().json(state.engine.replay(asked.caller.scope, run, &against).await?))
}

pub fn many_doc() -> Doc {
    Doc::role(
        "Says how many of the runs that a filter finds would go otherwise with another version, and where.",
        Role::Viewer,
    )
    .body::<Many>()
    .problem(StatusCode::CONFLICT)
    .ok::<View>("Counts, by the steps and the ends that would differ.")
}

pub async fn many(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Many> = ask::read(&req, payload, &state, Role::Viewer).await?;
    let (scope, input) = (asked.caller.scope, asked.input);
    let limit = input.limit.unwrap_or(100);
    if !(1..=MOST_RUNS).contains(&limit) {
        return Err(Problem::field("limit", format!("must be 1 to {MOST_RUNS}")));
    }
    let most_ms = state.settings.max_replay_ms;
    let within_ms = input.within_ms.unwrap_or(most_ms);
    if !(1..=most_ms).contains(&within_ms) {
        return Err(Problem::field("within_ms", format!("must be 1 to {most_ms}")));
    }
    let against = against(input.version, input.document)?;
    let pages = MOST_RUNS / state.settings.max_page_items.max(1) + 1;
    let (runs, more) = find(&state, scope, filter(&input.filter)?, limit, pages).await?;
    let sum = state.engine.replay_all(scope, &runs, &against, Duration::from_millis(within_ms)).await?;
    Ok(HttpResponse::Ok().json(View { sum, more }))
}

fn against(version: Option<i64>, document: Option<Value>) -> Result<Against, Problem> {
    match (version, document) {
        (Some(version), None) => Ok(Against::Version(version)),
        (None, Some(document)) => {
            let document = FlowDocument::from_value(document).map_err(|e| {
                Problem::InvalidRequest(vec![FieldError::at(&format!("/document{}", e.pointer), e.message)])
            })?;
            Ok(Against::Document(Box::new(document)))
        }
        (Some(_), Some(_)) => Err(Problem::field("document", "goes without a version")),
        (None, None) => Err(Problem::field("version", "is required, or a document")),
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NotFound => Self::no_row("run"),
            ReplayError::NotEnded(_)
            | ReplayError::NoSuchFlow
            | ReplayError::Failed(_)
            | ReplayError::TooLarge { .. } => Self::Conflict(error.to_string()),
            ReplayError::NoSuchVersion { .. } => Self::field("version", error.to_string()),
            ReplayError::Invalid(problems) => Self::InvalidFlow(problems),
            ReplayError::Store(error) => error.into(),
        }
    }
}
