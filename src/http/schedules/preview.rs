//! `POST /api/v1/schedules/preview`: when a schedule would fire, without a flow.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::schedule::{Schedule, ScheduleConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InstantView, misread, time};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input};

const DEFAULT_COUNT: usize = 10;
const MOST: usize = 1_000;

/// A schedule to try.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SchedulePreview")]
struct Input {
    /// As a flow's document holds it.
    #[schemars(with = "ScheduleConfig")]
    trigger_config: Map<String, Value>,
    /// How many instants: 1 to 1,000, by default 10.
    #[schemars(range(min = 1, max = 1_000))]
    count: Option<usize>,
    /// RFC 3339: the instants from this time on; by default from now.
    from: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SchedulePreviewAnswer")]
struct Answer {
    /// The cron expression, or `every` and the interval.
    schedule: String,
    timezone: String,
    /// Fewer than were asked for where the schedule ends.
    instants: Vec<InstantView>,
}

pub fn doc() -> Doc {
    Doc::role("Says when a schedule would fire, without saving anything.", Role::Viewer)
        .body_in::<Input>(&["application/json"])
        .ok::<Answer>("The instants.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    let (_, body) = body::read_json(&req, payload, &state.settings).await?;
    let asked: Input = input::read(body)?;
    let count = asked.count.unwrap_or(DEFAULT_COUNT);
    if !(1..=MOST).contains(&count) {
        return Err(Problem::field("count", format!("must be 1 to {MOST}")));
    }
    let from_ms = asked.from.map_or(Ok(state.engine.now_ms()), |from| time("from", &from))?;
    let schedule = Schedule::read(&asked.trigger_config).map_err(misread)?;
    let found = schedule.instants(from_ms.saturating_sub(1), count);
    let instants = found.into_iter().map(|at_ms| InstantView::of(&schedule, at_ms)).collect();
    let timezone = schedule.timezone().to_owned();
    Ok(HttpResponse::Ok().json(Answer { schedule: schedule.text, timezone, instants }))
}
