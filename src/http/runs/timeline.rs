//! `GET /api/v1/runs/{id}/timeline`: what happened in a run, in the order of time.
//!
//! Made of the run's row, its attempts in the log, and what the audit log says that was done to it: of attempts and of
//! deeds the last 500.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_domain::audit::AuditEvent;
use core314_domain::ids::TenantId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::id_of;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

const BOUNDS: &str =
    "The events: of the run's last 500 attempts, and of the last 500 entries of the audit log about it.";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Timeline")]
struct View {
    items: Vec<Item>,
}

/// Something that happened.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "TimelineItem")]
struct Item {
    at: String,
    /// `accepted`, `started`, `attempt_started`, `attempt_ended` or `ended`; or what was done to the run, as the audit log
    /// calls it, such as `run_paused` or `approval_given`.
    event: &'static str,
    execution_id: Option<String>,
    step_id: Option<String>,
    /// A status, or the words of an error; of what was done to the run, who did it.
    detail: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("What happened in a run, in the order of time.", Role::Viewer).ok::<View>(BOUNDS)
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let id = id_of(&id)?;
    let run = state.views.one(scope, Resource::Runs, id.0).await?.ok_or_else(|| Problem::no_row("run"))?;
    let of_run = Filter::of([("flow_run_id", json!(id))]);
    let page = Page { limit: state.settings.max_page_items, after: None };
    let attempts = state.views.list(scope, Resource::Log, of_run, page).await?.items;
    // In its own tenant, whoever asks: there is an index of a tenant's entries.
    let tenant = run["tenant_id"].as_str().and_then(|tenant| tenant.parse::<TenantId>().ok());
    let deeds = match tenant {
        Some(tenant) => state.views.deeds(tenant, id, state.settings.max_page_items).await?,
        None => Vec::new(),
    };
    Ok(HttpResponse::Ok().json(View { items: items(&run, &attempts, &deeds) }))
}

fn text(row: &Value, key: &str) -> Option<String> {
    row[key].as_str().map(str::to_owned)
}

/// What was done to the run.
fn deed(entry: &Value) -> Option<Item> {
    let event: AuditEvent = entry["event_type"].as_str()?.parse().ok()?;
    let of_execution = if entry["subject_type"] == "execution" { text(entry, "subject_id") } else { None };
    Some(Item {
        at: text(entry, "created_at")?,
        event: event.as_str(),
        execution_id: of_execution.or_else(|| text(&entry["details"], "execution_id")),
        step_id: None,
        detail: text(entry, "actor"),
    })
}

fn items(run: &Value, attempts: &[Value], deeds: &[Value]) -> Vec<Item> {
    let of_run = |key: &str, event, detail| {
        text(run, key).map(|at| Item { at, event, execution_id: None, step_id: None, detail })
    };
    let mut items: Vec<Item> = Vec::new();
    items.extend(of_run("created_at", "accepted", text(run, "triggered_by")));
    // What was done comes before what came of it in the same millisecond. All lists give the newest first.
    items.extend(deeds.iter().rev().filter_map(deed));
    items.extend(of_run("started_at", "started", None));
    for attempt in attempts.iter().rev() {
        let of_attempt = |key: &str, event, detail| {
            let step_id = text(&attempt["context_data"], "step_id");
            text(attempt, key).map(|at| Item {
                at,
                event,
                execution_id: text(attempt, "execution_queue_id"),
                step_id,
                detail,
            })
        };
        items.extend(of_attempt("started_at", "attempt_started", None));
        let outcome = text(attempt, "execution_error").or_else(|| text(attempt, "execution_status"));
        items.extend(of_attempt("completed_at", "attempt_ended", outcome));
    }
    items.extend(of_run("completed_at", "ended", text(run, "error").or_else(|| text(run, "run_status"))));
    // Stable: what happened in one millisecond stays in the order of cause and effect.
    items.sort_by(|a, b| (a.event == "ended").cmp(&(b.event == "ended")).then_with(|| a.at.cmp(&b.at)));
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_stand_in_the_order_of_time() {
        let run = json!({"created_at": "2026-01-01T00:00:00.000Z", "started_at": "2026-01-01T00:00:00.001Z",
            "completed_at": "2026-01-01T00:00:00.009Z", "run_status": "completed", "triggered_by": "user:1"});
        let attempt = |step: &str, from: u8, to: u8| {
            json!({"started_at": format!("2026-01-01T00:00:00.00{from}Z"), "execution_queue_id": step,
                "completed_at": format!("2026-01-01T00:00:00.00{to}Z"), "context_data": {"step_id": step},
                "execution_status": "completed"})
        };
        let deed = |event: &str, at: u8| {
            let at = format!("2026-01-01T00:00:00.00{at}Z");
            json!({"created_at": at, "event_type": event, "actor": "user:2"})
        };
        let deeds = [deed("run_resumed", 5), deed("run_paused", 4)];
        let items = items(&run, &[attempt("b", 5, 9), attempt("a", 2, 5)], &deeds);
        let events: Vec<_> = items.iter().map(|i| (i.event, i.step_id.as_deref().unwrap_or("-"))).collect();
        assert_eq!(
            events,
            [
                ("accepted", "-"),
                ("started", "-"),
                ("attempt_started", "a"),
                ("run_paused", "-"),
                ("run_resumed", "-"),
                ("attempt_ended", "a"),
                ("attempt_started", "b"),
                ("attempt_ended", "b"),
                ("ended", "-"),
            ]
        );
        assert_eq!(items[3].detail.as_deref(), Some("user:2"));
    }
}
