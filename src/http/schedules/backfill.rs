//! `POST /api/v1/flows/{id}/schedule/backfill`: the runs of instants that have passed, or how many they would be.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{Backfill, Backfilled};
use core314_actors::ports::Scope;
use core314_domain::ids::{FlowId, RunId};
use core314_domain::schedule::Schedule;
use core314_domain::words::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InstantView, missing, time};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

const DEFAULT_MAX: usize = 100;
const MOST: usize = 1_000;

words! {
    /// What became of an instant: it has its run now, had it already, the flow's conditions do not hold, or it was refused.
    InstantResult { Started = "started", Repeated = "repeated", Conditions = "conditions", Refused = "refused" }
}

/// A range of time, both ends included.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScheduleBackfill")]
struct Input {
    /// RFC 3339.
    from: String,
    /// RFC 3339, not in the future; by default now.
    to: Option<String>,
    /// Only say which instants would have runs.
    #[serde(default)]
    preview: bool,
    /// A range that holds more instants is refused: 1 to 1,000, by default 100.
    #[schemars(range(min = 1, max = 1_000))]
    max: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleBackfillAnswer")]
struct Answer {
    /// How many instants the range holds.
    count: usize,
    /// How many runs were started: none in a preview.
    started: usize,
    results: Vec<ResultView>,
}

/// One instant of the range.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BackfilledInstant")]
struct ResultView {
    #[serde(flatten)]
    instant: InstantView,
    /// Absent in a preview.
    result: Option<InstantResult>,
    run_id: Option<RunId>,
    /// The clause that does not hold, or why the run was refused.
    detail: Option<String>,
}

pub fn doc() -> Doc {
    let summary = "Starts the runs of a schedule's instants that have passed, or says which they would be.";
    Doc::role(summary, Role::Operator)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .ok::<Answer>("What became of each instant, or would.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let id: FlowId = id.parse().map_err(|_| missing())?;
    let row = state.engine.schedule(Scope::Tenant(asked.owner.tenant), id).await?.ok_or_else(missing)?;
    let range = range(&asked.input, state.engine.now_ms())?;
    let schedule = Schedule::read(&row.config).map_err(Problem::InvalidFlow)?;
    let instants = state.engine.instants(&schedule, range)?;
    let view = |instant_ms: i64| ResultView {
        instant: InstantView::of(&schedule, instant_ms),
        result: None,
        run_id: None,
        detail: None,
    };
    let count = instants.len();
    if asked.input.preview || instants.is_empty() {
        let results = instants.into_iter().map(view).collect();
        return Ok(HttpResponse::Ok().json(Answer { count, started: 0, results }));
    }
    let done = state.engine.backfill(row.owner, id, &schedule, instants, asked.caller.by).await?;
    let started = done.iter().filter(|(_, done)| matches!(done, Backfilled::Started(_))).count();
    let results = done.into_iter().map(|(instant_ms, done)| outcome(view(instant_ms), done)).collect();
    Ok(HttpResponse::Ok().json(Answer { count, started, results }))
}

fn outcome(view: ResultView, done: Backfilled) -> ResultView {
    let (result, run_id, detail) = match done {
        Backfilled::Started(run) => (InstantResult::Started, Some(run.run), None),
        Backfilled::Repeated(run) => (InstantResult::Repeated, Some(run.run), None),
        Backfilled::Unmet(clause) => (InstantResult::Conditions, None, Some(clause)),
        Backfilled::Failed(error) => (InstantResult::Refused, None, Some(Problem::from(error).to_string())),
    };
    ResultView { result: Some(result), run_id, detail, ..view }
}

fn range(input: &Input, now_ms: i64) -> Result<Backfill, Problem> {
    let from_ms = time("from", &input.from)?;
    let to_ms = input.to.as_deref().map_or(Ok(now_ms), |to| time("to", to))?;
    if to_ms > now_ms {
        return Err(Problem::field("to", "must not lie in the future: what is to come fires by itself"));
    }
    if from_ms > to_ms {
        return Err(Problem::field("from", "must not lie behind the end of the range"));
    }
    let max = input.max.unwrap_or(DEFAULT_MAX);
    if (1..=MOST).contains(&max) {
        Ok(Backfill { from_ms, to_ms, max })
    } else {
        Err(Problem::field("max", format!("must be 1 to {MOST}")))
    }
}
