//! `GET /api/v1/execution-log/timeline?hours=&interval_minutes=`: the log's figures, interval by interval.

use actix_web::{HttpRequest, HttpResponse};
use core314_domain::stats::{BUCKET_WIDTHS_MS, Stat};
use schemars::JsonSchema;
use serde::Serialize;

use super::statistics::{HOUR_MS, MAX_HOURS, hours_of, ratio};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

const MINUTE_MS: i64 = 60_000;
/// Figures are kept by so many minutes: the shortest interval, and what all are multiples of.
const STEP_MINUTES: i64 = BUCKET_WIDTHS_MS[0] / MINUTE_MS;
const DEFAULT_MINUTES: i64 = 60;
const MOST_MINUTES: usize = 7 * 24 * 60;
/// An answer has no more intervals than this.
const MOST_INTERVALS: i64 = 1_000;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogTimeline")]
struct View {
    interval_minutes: i64,
    /// In the order of time; intervals in which nothing ended are left out.
    items: Vec<Interval>,
}

/// The figures of an interval.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LogInterval")]
struct Interval {
    start: Option<String>,
    total_executions: i64,
    successful_executions: i64,
    failed_executions: i64,
    avg_duration_ms: Option<f64>,
    p95_duration_ms: Option<f64>,
}

pub fn doc() -> Doc {
    Doc::role("Figures of the last hours, interval by interval.", Role::Viewer)
        .number("hours", "How many hours back, by default 24.", 1, MAX_HOURS)
        .number("interval_minutes", "The length of an interval: a multiple of 5, by default 60.", 5, MOST_MINUTES)
        .ok::<View>("The intervals.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let hours = hours_of(&mut query);
    let minutes = query.number("interval_minutes", 1, MOST_MINUTES).map_or(DEFAULT_MINUTES, |m| m as i64);
    if minutes % STEP_MINUTES != 0 {
        query.wrong("interval_minutes", format!("must be a multiple of {STEP_MINUTES}"));
    } else if hours * 60 / minutes > MOST_INTERVALS {
        query.wrong("interval_minutes", format!("would give more than {MOST_INTERVALS} intervals"));
    }
    query.finish()?;
    let now_ms = state.engine.now_ms();
    let found = state.views.timeline(scope, now_ms - hours * HOUR_MS, now_ms, minutes * MINUTE_MS).await?;
    let items = found.into_iter().map(|(start_ms, stat)| interval(start_ms, &stat)).collect();
    Ok(HttpResponse::Ok().json(View { interval_minutes: minutes, items }))
}

fn interval(start_ms: i64, stat: &Stat) -> Interval {
    Interval {
        start: rfc3339(start_ms),
        total_executions: stat.executions,
        successful_executions: stat.successful,
        failed_executions: stat.failed,
        avg_duration_ms: ratio(stat.duration_sum_ms, stat.attempts),
        p95_duration_ms: stat.sketch.quantile(0.95),
    }
}
