//! `GET /api/v1/phases/analytics?hours=&flow_id=`: how phases go, and where the slow ones lose their time.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::phase_analytics::{self, Analytics, Costliest};
use core314_domain::phase_analytics::PhaseAnalysis;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::execution_log::statistics::{HOUR_MS, MAX_HOURS, hours_of};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PhaseAnalytics")]
struct View {
    items: Vec<Phase>,
    /// Whether there were more transitions than are looked at (20,000): the oldest are left out.
    is_cut: bool,
}

/// A phase of a flow.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PhaseAnalysis")]
#[expect(clippy::struct_field_names, reason = "the contract names them so")]
struct Phase {
    orchestration_flow_id: Uuid,
    phase_number: i64,
    phase_name: String,
    started: u64,
    completed: u64,
    failed: u64,
    rolled_back: u64,
    /// 0 to 1; null where none began.
    completion_rate: Option<f64>,
    avg_duration_ms: Option<f64>,
    p95_duration_ms: Option<i64>,
    /// The threshold; null where there is none.
    sla_ms: Option<i64>,
    sla_violations: u64,
    /// Whether the 95th percentile is above the threshold.
    is_slow: bool,
    /// The run that took longest.
    longest_run_id: Option<Uuid>,
    /// Of a slow phase: the step of that run that took longest in it, and how long all its executions there took.
    costliest_step: Option<String>,
    costliest_step_ms: Option<i64>,
}

impl Phase {
    fn of(phase: PhaseAnalysis, costliest: Option<Costliest>) -> Self {
        let completion_rate = phase.completion_rate();
        let (costliest_step, costliest_step_ms) = costliest.map(|c| (c.step_id, c.duration_ms)).unzip();
        Self {
            orchestration_flow_id: phase.flow,
            phase_number: phase.phase,
            phase_name: phase.name,
            started: phase.started,
            completed: phase.completed,
            failed: phase.failed,
            rolled_back: phase.rolled_back,
            completion_rate,
            avg_duration_ms: phase.avg_duration_ms,
            p95_duration_ms: phase.p95_duration_ms,
            sla_ms: phase.sla_ms,
            sla_violations: phase.violations,
            is_slow: phase.is_slow,
            longest_run_id: phase.longest.map(|longest| longest.run),
            costliest_step,
            costliest_step_ms,
        }
    }
}

pub fn doc() -> Doc {
    Doc::role("Says how phases went in the last hours, and where the slow ones lose their time.", Role::Viewer)
        .number("hours", "How many hours back, by default 24.", 1, MAX_HOURS)
        .query::<Uuid>("flow_id", "The phases of this flow alone.")
        .ok::<View>("The phases, by flow and number.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let hours = hours_of(&mut query);
    let flow = query.optional::<Uuid>("flow_id");
    query.finish()?;
    let since_ms = state.engine.now_ms() - hours * HOUR_MS;
    let Analytics { phases, is_cut } = phase_analytics::analytics(state.views.as_ref(), scope, since_ms, flow).await?;
    let items = phases.into_iter().map(|(phase, costliest)| Phase::of(phase, costliest)).collect();
    Ok(HttpResponse::Ok().json(View { items, is_cut }))
}
