//! `/api/v1/escalation-events`: reported, acknowledged, resolved, changed; and why somebody was, or was not, told.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_domain::escalation::{Admission, Command, EscalationReason, EscalationStatus, Failure, ServiceClock};
use core314_domain::ids::RowId;
use core314_domain::words::Urgency;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{cause_of, not_asked, not_told};
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::idempotency::{self, First};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::runs::control::bounded;
use crate::http::{Shared, State, page, resources};

const NOUN: &str = "escalation event";

/// Something that has failed, told by somebody outside.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "FailureToReport")]
struct Report {
    /// Why; absent: `reported`.
    escalation_reason: Option<EscalationReason>,
    /// What conditions of rules see as `trigger`: `flow_name`, `action_type`, `integration`, `urgency`, `subject` and others.
    #[serde(default)]
    context: Map<String, Value>,
}

/// What the rules made of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReportedFailure")]
struct Reported {
    /// One for each rule that acted.
    taken: Vec<TakenView>,
}

/// What one rule made of a failure.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TakenFailure")]
struct TakenView {
    escalation_rule_id: RowId,
    /// `opened`, `joined` or `held_back`.
    admission: &'static str,
    /// Of one that was held back, the `suppressed` row that counts it.
    escalation_event_id: Option<RowId>,
    /// Why it told nobody.
    held_back_by: Option<String>,
}

pub fn create_doc() -> Doc {
    Doc::role("Reports a failure to the escalation rules.", Role::Operator)
        .body::<Report>()
        .idempotent()
        .ok::<Reported>("What the rules made of it; empty where none acts.")
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Report> = ask::read(&req, payload, &state, Role::Operator).await?;
    let reason = asked.input.escalation_reason.unwrap_or(EscalationReason::Reported);
    let now_ms = state.engine.now_ms();
    let failure = Failure::described(reason, Arc::new(Value::Object(asked.input.context)), now_ms);
    let desk = state.engine.escalations()?;
    let (tenant, request) = (asked.owner.tenant, asked.idempotency.as_ref());
    let made = json!(RowId::new(now_ms, rand::random()));
    let First { made, answer } = idempotency::first(&state, tenant, request, made).await?;
    if let Some(answer) = answer {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let taken = desk.ask(asked.owner, failure, cause_of(&made)?, None).await.map_err(not_asked)?;
    let mut views = Vec::with_capacity(taken.len());
    for taken in taken {
        let (admission, held_back_by) = match &taken.admission {
            Admission::Open => ("opened", None),
            Admission::Join => ("joined", None),
            Admission::HeldBack(by) => ("held_back", Some(by.to_string())),
        };
        let escalation_event_id = desk.event_of(asked.owner, &taken).await?;
        views.push(TakenView { escalation_rule_id: taken.rule, admission, escalation_event_id, held_back_by });
    }
    let answer = json!(Reported { taken: views });
    idempotency::answered(&state, tenant, request, &made, &answer).await?;
    Ok(HttpResponse::Ok().json(answer))
}

pub fn active_doc() -> Doc {
    Doc::role("Lists the escalations that nobody has ended, newest first.", Role::Viewer)
        .number("limit", "At most so many of each status.", 1, 500)
        .ok_as("A page.", resources::page_schema(Resource::EscalationEvents))
}

pub async fn active(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = crate::http::query::Query::of(&req)?;
    let limit = page::wanted(&mut query, &state.settings).limit;
    query.finish()?;
    let mut items: Vec<Value> = Vec::new();
    for status in [EscalationStatus::Triggered, EscalationStatus::Escalated, EscalationStatus::Acknowledged] {
        let filter = Filter::of([("status", json!(status))]);
        let found = state.views.list(scope, Resource::EscalationEvents, filter, Page { limit, after: None }).await?;
        items.extend(found.items);
    }
    items.sort_by(|a, b| b["id"].as_str().cmp(&a["id"].as_str()));
    items.truncate(limit);
    Ok(HttpResponse::Ok().json(json!({"items": items, "next_cursor": null})))
}

pub fn acknowledge_doc() -> Doc {
    act_doc("Acknowledges an escalation: it climbs no further, and what is being sent is stopped.")
        .optional_body::<Nothing>()
}

fn act_doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Operator)
        .problem(StatusCode::CONFLICT)
        .ok_as("The event as it is now.", resources::row_schema(Resource::EscalationEvents))
}

pub async fn acknowledge(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let command = Command::Acknowledge { by: person(&asked) };
    tell(&state, asked.caller.scope, &id, command, asked.caller.by).await
}

/// How an event ended.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EscalationEnd")]
struct End {
    /// Up to 2,000 characters.
    notes: Option<String>,
    /// Whether it ends as failed: nothing could be done.
    failed: Option<bool>,
}

pub fn resolve_doc() -> Doc {
    act_doc("Ends an escalation.").optional_body::<End>()
}

pub async fn resolve(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<End> = ask::read(&req, payload, &state, Role::Operator).await?;
    let by = person(&asked);
    let notes = asked.input.notes.as_deref().map(|notes| bounded("notes", notes).map(str::to_owned)).transpose()?;
    let command = Command::Resolve { by, notes, failed: asked.input.failed.unwrap_or(false) };
    tell(&state, asked.caller.scope, &id, command, asked.caller.by).await
}

/// What is to change of an event: one of them.
#[expect(clippy::option_option, reason = "null and absence are different answers")]
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EscalationChange")]
struct Change {
    /// Service times are counted anew, from the trigger; time that stood still stays out.
    urgency: Option<Urgency>,
    /// The service clocks stand still, for this reason; null: they go on.
    #[serde(default, deserialize_with = "some")]
    #[schemars(with = "Option<String>")]
    pause_reason: Option<Option<String>>,
}

/// Tells null from absence.
#[expect(clippy::option_option, reason = "null and absence are different answers")]
fn some<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

pub fn patch_doc() -> Doc {
    act_doc("Changes the urgency of an escalation, or lets its service clocks stand still or go on.").body::<Change>()
}

pub async fn patch(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Change> = ask::read(&req, payload, &state, Role::Operator).await?;
    let by = person(&asked);
    let command = match (asked.input.urgency, asked.input.pause_reason) {
        (Some(urgency), None) => Command::SetUrgency { urgency },
        (None, Some(Some(reason))) => Command::PauseClocks { by, reason: bounded("pause_reason", &reason)?.to_owned() },
        (None, Some(None)) => Command::ResumeClocks,
        _ => return Err(Problem::field("urgency", "give urgency or pause_reason, one of them")),
    };
    tell(&state, asked.caller.scope, &id, command, asked.caller.by).await
}

/// The person in whose name something is done: the user for whom a service key acts, too.
fn person<T>(asked: &Asked<T>) -> String {
    format!("user:{}", asked.owner.user)
}

/// Tells an event something, and shows the row.
pub async fn tell(
    state: &State,
    scope: Scope,
    id: &str,
    command: Command,
    by: String,
) -> Result<HttpResponse, Problem> {
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    state.engine.escalations()?.tell(scope, id, command, by).await.map_err(not_told)?;
    let row = state.views.one(scope, Resource::EscalationEvents, id.0).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(row))
}

/// Why somebody was told, or was not.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EscalationWhy")]
struct Why {
    /// In one sentence.
    summary: String,
    /// What each rule said, as it stood then.
    asked: Value,
    trigger_conditions_met: Value,
    /// What held it back, where something did.
    held_back_by: Value,
    /// What holds it now.
    held: Value,
    /// Its service clocks; null: it has none.
    response_clock: Option<ClockView>,
    resolution_clock: Option<ClockView>,
    /// Who was told by what, and what became of it: on-call schedules as they stood.
    outbox: Value,
    next_wake_at: Value,
}

/// A service clock as it counts now.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ServiceClock")]
struct ClockView {
    /// While it stands still: if it went on now.
    deadline: Option<String>,
    /// When what it waited for came.
    met_at: Option<String>,
    breached_at: Option<String>,
    /// Since when it stands still, why, and by whom.
    paused_since: Option<String>,
    pause_reason: Option<String>,
    paused_by: Option<String>,
}

impl ClockView {
    fn of(clock: &ServiceClock, deadline_ms: Option<i64>) -> Self {
        Self {
            deadline: deadline_ms.and_then(rfc3339),
            met_at: clock.met_ms.and_then(rfc3339),
            breached_at: clock.breached_ms.and_then(rfc3339),
            paused_since: clock.paused.as_ref().and_then(|pause| rfc3339(pause.since_ms)),
            pause_reason: clock.paused.as_ref().map(|pause| pause.reason.clone()),
            paused_by: clock.paused.as_ref().map(|pause| pause.by.clone()),
        }
    }
}

pub fn why_doc() -> Doc {
    Doc::role("Says why somebody was, or was not, told of a failure.", Role::Viewer).ok::<Why>("The reasons.")
}

pub async fn why(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    let row = state.views.one(scope, Resource::EscalationEvents, id.0).await?.ok_or_else(missing)?;
    let stored = state.engine.escalations()?.book().escalation(scope, id).await?;
    let held = stored.as_ref().and_then(|stored| stored.event.held.as_ref());
    let clocks = stored.as_ref().map(|stored| (&stored.event, stored.deadlines));
    let response_clock =
        clocks.and_then(|(event, (at_ms, _))| event.response.as_ref().map(|clock| ClockView::of(clock, at_ms)));
    let resolution_clock =
        clocks.and_then(|(event, (_, at_ms))| event.resolution.as_ref().map(|clock| ClockView::of(clock, at_ms)));
    let sent = [&row["notifications_sent"], &row["actions_performed"]];
    let outbox: Vec<Value> = sent.into_iter().filter_map(Value::as_array).flatten().cloned().collect();
    Ok(HttpResponse::Ok().json(Why {
        summary: summary(&row, held.map(|held| held.reason.as_str())),
        asked: row["metadata"].clone(),
        trigger_conditions_met: row["trigger_conditions_met"].clone(),
        held_back_by: row["held_back_by"].clone(),
        held: json!(held),
        response_clock,
        resolution_clock,
        outbox: json!(outbox),
        next_wake_at: row["next_wake_at"].clone(),
    }))
}

fn summary(row: &Value, held: Option<&str>) -> String {
    if let Some(words) = row["held_back_by"]["words"].as_str() {
        return format!("nobody was told: {words}");
    }
    let sent =
        row["notifications_sent"].as_array().map_or(0, |all| all.iter().filter(|n| n["status"] == "sent").count());
    let status = row["status"].as_str().unwrap_or_default();
    let level = &row["escalation_level"];
    let held = held.map_or_else(String::new, |why| format!("; it is held: {why}"));
    format!("it is {status} at level {level}, and {sent} messages were sent{held}")
}
