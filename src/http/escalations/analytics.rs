//! `GET /api/v1/escalation-events/analytics`: figures of escalations over time.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::escalation::Figures;
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

const HOUR_MS: i64 = 3_600_000;

/// Figures over time.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EscalationAnalytics")]
struct View {
    since: Option<String>,
    interval_minutes: usize,
    items: Vec<Interval>,
}

/// Figures of the escalations that were triggered in one interval.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EscalationInterval")]
struct Interval {
    start: Option<String>,
    total: i64,
    resolved: i64,
    failed: i64,
    /// Failures that were held back.
    suppressed: i64,
    /// Escalations whose service times were exceeded.
    breached: i64,
    mean_acknowledge_minutes: Option<f64>,
    mean_resolve_minutes: Option<f64>,
}

pub fn doc() -> Doc {
    Doc::role("Figures of escalations over time.", Role::Viewer)
        .number("hours", "How far back; by default 24.", 1, 8_760)
        .number("interval_minutes", "Length of an interval; by default 60.", 5, 44_640)
        .query::<RowId>("escalation_rule_id", "Of one rule.")
        .ok::<View>("The intervals in which there was anything, oldest first.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let hours = query.number("hours", 1, 8_760).unwrap_or(24);
    let interval_minutes = query.number("interval_minutes", 5, 44_640).unwrap_or(60);
    let rule: Option<RowId> = query.optional("escalation_rule_id");
    query.finish()?;
    let interval_ms = interval_minutes as i64 * 60_000;
    // Whole intervals: the first is not cut.
    let since_ms = (state.engine.now_ms() - hours as i64 * HOUR_MS).div_euclid(interval_ms) * interval_ms;
    let figures = state.engine.escalations()?.book().figures(scope, rule, since_ms, interval_ms).await?;
    let items = figures.iter().map(interval).collect();
    Ok(HttpResponse::Ok().json(View { since: rfc3339(since_ms), interval_minutes, items }))
}

fn interval(figures: &Figures) -> Interval {
    let minutes = |ms: Option<f64>| ms.map(|ms| ms / 60_000.0);
    Interval {
        start: rfc3339(figures.start_ms),
        total: figures.total,
        resolved: figures.resolved,
        failed: figures.failed,
        suppressed: figures.suppressed,
        breached: figures.breached,
        mean_acknowledge_minutes: minutes(figures.acknowledge_ms),
        mean_resolve_minutes: minutes(figures.resolve_ms),
    }
}
