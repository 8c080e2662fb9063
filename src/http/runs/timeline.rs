//! `GET /api/v1/runs/{id}/timeline`: what happened in a run, in the order of time.
//!
//! Made of the run's row, its attempts in the log, and what the audit log says that was done to it. A run of very many
//! attempts shows its last 500. The audit log has no index by what an entry is about: it is walked from the run's end, or from
//! now, back to its beginning, and no further than [`AUDIT_PAGES`] reach.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_domain::audit::AuditEvent;
use core314_domain::ids::{ExecutionId, RowId, RunId, TenantId, uuid_ms};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::id_of;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State};

/// How many pages of the audit log are looked through: each looks at 600 entries of the tenant at most.
const AUDIT_PAGES: usize = 5;
/// An entry's id may be made a little later than what the entry tells of.
const AUDIT_DELAY_MS: i64 = 60_000;
const BOUNDS: &str = "The events: of the run's last 500 attempts, and of what the tenant's last 3,000 entries of the audit log \
                      before the run's end, or before now, say of it.";

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
    let deeds = deeds(&state, id, &run).await?;
    Ok(HttpResponse::Ok().json(View { items: items(&run, &attempts, &deeds) }))
}

/// The entries of the audit log on the run and on its executions.
async fn deeds(state: &State, id: RunId, run: &Value) -> Result<Vec<Value>, Problem> {
    // In its own tenant, whoever asks: the walk is shorter there.
    let Some(tenant) = run["tenant_id"].as_str().and_then(|tenant| tenant.parse::<TenantId>().ok()) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let of_run = Filter::between("subject_id", id.0, id.last_id());
    let mut page = Page { limit: state.settings.max_page_items, after: behind_the_end(run) };
    for _ in 0..AUDIT_PAGES {
        let entries = state.views.list(Scope::Tenant(tenant), Resource::Audit, of_run.clone(), page).await?;
        found.extend(entries.items.into_iter().filter(|entry| is_about(entry, id)));
        page.after = entries.next;
        // What was written before the run was accepted is not about it.
        if page.after.is_none_or(|after| uuid_ms(after) < uuid_ms(id.0)) {
            break;
        }
    }
    Ok(found)
}

/// Where entries of a run that has ended begin.
fn behind_the_end(run: &Value) -> Option<Uuid> {
    let ended_at = run["completed_at"].as_str()?;
    let ended_at = chrono::DateTime::parse_from_rfc3339(ended_at).ok()?;
    Some(RowId::new(ended_at.timestamp_millis() + AUDIT_DELAY_MS, u128::MAX).0)
}

/// Whether an entry is about the run, or one of its executions.
fn is_about(entry: &Value, id: RunId) -> bool {
    let subject: Option<Uuid> = entry["subject_id"].as_str().and_then(|subject| subject.parse().ok());
    subject.is_some_and(|subject| subject == id.0 || ExecutionId(subject).parts().is_some_and(|(run, _)| run == id))
}

fn text(row: &Value, key: &str) -> Option<String> {
    row[key].as_str().map(str::to_owned)
}

/// What was done to the run; that it was accepted, its own row says.
fn deed(entry: &Value) -> Option<Item> {
    let event: AuditEvent = entry["event_type"].as_str()?.parse().ok()?;
    let of_execution = if entry["subject_type"] == "execution" { text(entry, "subject_id") } else { None };
    (event != AuditEvent::OrchestrationStarted).then_some(Item {
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
        let deeds = [deed("run_resumed", 5), deed("run_paused", 4), deed("orchestration_started", 0)];
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
