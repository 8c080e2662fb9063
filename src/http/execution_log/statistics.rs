//! `GET /api/v1/execution-log/statistics?hours=`: what the log says in figures, from counters that are kept as it grows.
//!
//! Executions that ended are counted once, by their final attempt; durations are those of attempts. Percentiles are
//! within 1 %.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::views::StatisticsView;
use core314_domain::stats::Stat;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

const DEFAULT_HOURS: usize = 24;
/// A year: what the log is kept for.
pub(in crate::http) const MAX_HOURS: usize = 8_784;
pub(in crate::http) const HOUR_MS: i64 = 3_600_000;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Statistics")]
struct View {
    /// The start of the counted time: the hours back, rounded down to a counter's start.
    since: Option<String>,
    total_executions: i64,
    successful_executions: i64,
    failed_executions: i64,
    /// 0 to 1; null where nothing ended.
    success_rate: Option<f64>,
    avg_duration_ms: Option<f64>,
    p50_duration_ms: Option<f64>,
    p95_duration_ms: Option<f64>,
    p99_duration_ms: Option<f64>,
    total_actions_by_type: BTreeMap<String, i64>,
}

pub fn doc() -> Doc {
    Doc::role("Figures of the last hours, from counters that are kept as the log grows.", Role::Viewer)
        .number("hours", "How many hours back, by default 24.", 1, MAX_HOURS)
        .ok::<View>("The figures.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let hours = hours_of(&mut query);
    query.finish()?;
    let now_ms = state.engine.now_ms();
    let found = state.views.statistics(scope, now_ms - hours * HOUR_MS, now_ms).await?;
    Ok(HttpResponse::Ok().json(view(found)))
}

/// The hours back that a query asks for.
pub(in crate::http) fn hours_of(query: &mut Query) -> i64 {
    query.number("hours", 1, MAX_HOURS).unwrap_or(DEFAULT_HOURS) as i64
}

/// A part of a whole; absent where there is no whole.
pub(super) fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn view(found: StatisticsView) -> View {
    let mut all = Stat::default();
    let mut total_actions_by_type = BTreeMap::new();
    for (action_type, stat) in found.by_action_type {
        all.merge(&stat);
        *total_actions_by_type.entry(action_type).or_default() += stat.executions;
    }
    View {
        since: rfc3339(found.since_ms),
        total_executions: all.executions,
        successful_executions: all.successful,
        failed_executions: all.failed,
        success_rate: ratio(all.successful, all.executions),
        avg_duration_ms: ratio(all.duration_sum_ms, all.attempts),
        p50_duration_ms: all.sketch.quantile(0.5),
        p95_duration_ms: all.sketch.quantile(0.95),
        p99_duration_ms: all.sketch.quantile(0.99),
        total_actions_by_type,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;

    #[test]
    fn nothing_has_no_rate_and_something_adds_up() {
        let nothing = to_value(view(StatisticsView { since_ms: 0, by_action_type: Vec::new() })).unwrap();
        assert_eq!(nothing["success_rate"], json!(null));
        assert_eq!(nothing["since"], "1970-01-01T00:00:00.000Z");
        let (mut calls, mut waits) = (Stat::default(), Stat::default());
        calls.record_attempt(false, false, Some(10));
        calls.record_attempt(true, true, Some(30));
        waits.record_attempt(true, false, Some(20));
        let by_action_type = vec![("api_call".to_owned(), calls), ("wait".to_owned(), waits)];
        let view = to_value(view(StatisticsView { since_ms: 0, by_action_type })).unwrap();
        assert_eq!(view["total_executions"], 2);
        assert_eq!(view["success_rate"], 0.5);
        assert_eq!(view["avg_duration_ms"], 20.0);
        assert_eq!(view["total_actions_by_type"], json!({"api_call": 1, "wait": 1}));
    }
}
