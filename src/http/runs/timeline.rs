//! `GET /api/v1/runs/{id}/timeline`: what happened in a run, in the order of time.
//!
//! Made of the run's row and its attempts in the log. A run of very many attempts shows its last 500.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::id_of;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

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
    /// `accepted`, `started`, `attempt_started`, `attempt_ended` or `ended`.
    event: &'static str,
    execution_id: Option<String>,
    step_id: Option<String>,
    /// A status, or the words of an error.
    detail: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("What happened in a run, in the order of time.", Role::Viewer).ok::<View>("The events.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let id = id_of(&id)?;
    let run = state.views.one(scope, Resource::Runs, id.0).await?.ok_or_else(|| Problem::no_row("run"))?;
    let of_run = Filter::of([("flow_run_id", json!(id))]);
    let page = Page { limit: state.settings.max_page_items, after: None };
    let attempts = state.views.list(scope, Resource::Log, of_run, page).await?.items;
    Ok(HttpResponse::Ok().json(View { items: items(&run, &attempts) }))
}

fn items(run: &Value, attempts: &[Value]) -> Vec<Item> {
    let text = |row: &Value, key: &str| row[key].as_str().map(str::to_owned);
    let of_run = |key: &str, event, detail| {
        text(run, key).map(|at| Item { at, event, execution_id: None, step_id: None, detail })
    };
    let mut items: Vec<Item> = Vec::new();
    items.extend(of_run("created_at", "accepted", text(run, "triggered_by")));
    items.extend(of_run("started_at", "started", None));
    // The log gives the newest first.
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
        let items = items(&run, &[attempt("b", 5, 9), attempt("a", 2, 5)]);
        let events: Vec<_> = items.iter().map(|i| (i.event, i.step_id.as_deref().unwrap_or("-"))).collect();
        assert_eq!(
            events,
            [
                ("accepted", "-"),
                ("started", "-"),
                ("attempt_started", "a"),
                ("attempt_ended", "a"),
                ("attempt_started", "b"),
                ("attempt_ended", "b"),
                ("ended", "-"),
            ]
        );
    }
}
