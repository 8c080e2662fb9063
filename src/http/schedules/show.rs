//! `GET /api/v1/flows/{id}/schedule`: when a flow starts next, and why it did not start.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_actors::ports::schedule::StoredSchedule;
use core314_domain::ids::{FlowId, RunId};
use core314_domain::schedule::{NotFired, Schedule, ScheduleConfig};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{InstantView, missing};
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State};

/// How many instants are shown.
const NEXT: usize = 10;

core314_domain::words! {
    /// Whether a schedule fires: it does (`scheduled`); what is due waits for the run before it (`waiting`); a person or its
    /// document has paused it; its flow is not active; no instant is left; or this release cannot read it.
    ScheduleStatus {
        Scheduled = "scheduled", Waiting = "waiting", Paused = "paused", Inactive = "inactive", Ended = "ended",
        Invalid = "invalid",
    }
}

/// A schedule as it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Schedule")]
pub struct View {
    flow_id: FlowId,
    schedule_status: ScheduleStatus,
    /// The cron expression, or `every` and the interval.
    schedule: String,
    timezone: String,
    #[schemars(with = "ScheduleConfig")]
    trigger_config: Map<String, Value>,
    /// The next ten instants; none while it does not fire.
    next: Vec<InstantView>,
    paused_at: Option<String>,
    /// `user:ID`, `service:ID`, or `document` where `trigger_config.paused` says so.
    paused_by: Option<String>,
    /// The last instant that fired.
    last_scheduled_for: Option<String>,
    last_fired_at: Option<String>,
    last_run_id: Option<RunId>,
    /// How many instants have fired.
    fired_count: i64,
    /// How many were missed: nobody was there in time.
    missed_count: i64,
    /// How many have no run because an earlier one went on.
    overlap_count: i64,
    /// How many have no run because the flow's conditions did not hold.
    conditions_count: i64,
    /// How many passed while it was paused.
    paused_count: i64,
    /// How many runs were refused again and again.
    refused_count: i64,
    last_not_fired: Option<NotFiredView>,
}

/// The last instant that has no run, and why.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NotFiredInstant")]
struct NotFiredView {
    reason: NotFired,
    scheduled_for: Option<String>,
    /// When this was noted.
    noted_at: Option<String>,
    /// More about it, such as the clause that did not hold.
    detail: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Shows a flow's schedule: when it fires next, and why it did not.", Role::Viewer)
        .ok::<View>("The schedule as it stands.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let id: FlowId = id.parse().map_err(|_| missing())?;
    Ok(HttpResponse::Ok().json(view(&state, scope, id).await?))
}

/// The schedule of a flow, as it is shown.
pub async fn view(state: &State, scope: Scope, flow: FlowId) -> Result<View, Problem> {
    let row = state.engine.schedule(scope, flow).await?.ok_or_else(missing)?;
    let schedule = Schedule::read(&row.config).ok();
    let schedule_status = status(schedule.as_ref(), &row);
    let is_firing = matches!(schedule_status, ScheduleStatus::Scheduled | ScheduleStatus::Waiting);
    let next = schedule.as_ref().zip(row.standing.next_ms.filter(|_| is_firing));
    let next = next.map(|(schedule, next_ms)| {
        let after_ms = row.standing.last_ms.map_or(next_ms - 1, |last_ms| last_ms.max(next_ms - 1));
        schedule.instants(after_ms, NEXT).into_iter().map(|at_ms| InstantView::of(schedule, at_ms)).collect()
    });
    let by_document = schedule.as_ref().is_some_and(|schedule| schedule.is_paused).then(|| "document".to_owned());
    let count = |reason: NotFired| row.not_fired[reason as usize];
    let (paused_at_ms, paused_by) = row.paused.clone().unzip();
    Ok(View {
        flow_id: row.flow,
        schedule_status,
        schedule: schedule.as_ref().map(|schedule| schedule.text.clone()).unwrap_or_default(),
        timezone: schedule.as_ref().map(|schedule| schedule.timezone().to_owned()).unwrap_or_default(),
        next: next.unwrap_or_default(),
        paused_at: paused_at_ms.and_then(rfc3339),
        paused_by: paused_by.or(by_document),
        last_scheduled_for: row.standing.last_ms.and_then(rfc3339),
        last_fired_at: row.last_fired_ms.and_then(rfc3339),
        last_run_id: row.last_run,
        fired_count: row.fired,
        missed_count: count(NotFired::Missed),
        overlap_count: count(NotFired::Overlap),
        conditions_count: count(NotFired::Conditions),
        paused_count: count(NotFired::Paused),
        refused_count: count(NotFired::Refused),
        last_not_fired: row.last_not_fired.clone().map(|(note, noted_ms)| NotFiredView {
            reason: note.reason,
            scheduled_for: rfc3339(note.instant_ms),
            noted_at: rfc3339(noted_ms),
            detail: note.detail,
        }),
        trigger_config: row.config,
    })
}

fn status(schedule: Option<&Schedule>, row: &StoredSchedule) -> ScheduleStatus {
    match schedule {
        None => ScheduleStatus::Invalid,
        _ if !row.is_active => ScheduleStatus::Inactive,
        Some(schedule) if schedule.is_paused || row.paused.is_some() => ScheduleStatus::Paused,
        _ if row.standing.next_ms.is_none() => ScheduleStatus::Ended,
        _ if row.standing.is_waiting => ScheduleStatus::Waiting,
        _ => ScheduleStatus::Scheduled,
    }
}
