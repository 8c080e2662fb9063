//! `/api/v1/on-call`: schedules, who is on call now or at a time, and who stands in.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{OnCallDraft, OverrideDraft};
use core314_actors::ports::Scope;
use core314_actors::ports::escalation::StoredOnCall;
use core314_actors::ports::resource::Resource;
use core314_domain::escalation::{OnCallDocument, Override};
use core314_domain::ids::{RowId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::refused;
use super::written::{MEDIA_TYPES, Written};
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::flows::patch::check_version;
use crate::http::flows::{etag, rfc3339};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, State, resources};

const NOUN: &str = "on-call schedule";

pub fn create_doc() -> Doc {
    Doc::role("Saves a new on-call schedule.", Role::Admin)
        .body_in::<OnCallDocument>(MEDIA_TYPES)
        .problem(StatusCode::CONFLICT)
        .answer_as(StatusCode::CREATED, "The schedule.", resources::row_schema(Resource::OnCall))
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let written = Written::of(&req, payload, &state).await?;
    let draft = OnCallDraft { owner, document: written.read()?, by: caller.by };
    let saved = state.engine.save_on_call(None, draft).await.map_err(|error| written.refused(error, NOUN))?;
    let row = row(&state, caller.scope, saved.id).await?;
    let location = format!("/api/v1/on-call/{}", saved.id);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).insert_header(etag(saved.version)).json(row))
}

pub fn patch_doc() -> Doc {
    Doc::role("Replaces an on-call schedule.", Role::Admin)
        .body_in::<OnCallDocument>(MEDIA_TYPES)
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The schedule as it is now.", resources::row_schema(Resource::OnCall))
}

pub async fn patch(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let written = Written::of(&req, payload, &state).await?;
    let document: OnCallDocument = written.read()?;
    let known = find(&state, caller.scope, &id, 0).await?;
    check_version(req.headers(), known.version)?;
    let draft = OnCallDraft { owner, document, by: caller.by };
    let saved = state.engine.save_on_call(Some(&known), draft).await.map_err(|error| written.refused(error, NOUN))?;
    let row = row(&state, caller.scope, saved.id).await?;
    Ok(HttpResponse::Ok().insert_header(etag(saved.version)).json(row))
}

pub fn delete_doc() -> Doc {
    Doc::role("Deletes an on-call schedule, and who stands in for it.", Role::Admin)
        .empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn delete(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let known = find(&state, caller.scope, &id, 0).await?;
    state.engine.delete_on_call(owner, known.id, caller.by).await.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::NoContent().finish())
}

/// Who is on call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OnCallNow")]
struct Now {
    /// RFC 3339: the time that was asked about.
    at: Option<String>,
    /// Null: nobody is.
    user_id: Option<UserId>,
    /// The layer, or `override`.
    by: Option<String>,
    /// Until when it stays so, as far as the schedule says.
    until: Option<String>,
}

pub fn now_doc() -> Doc {
    Doc::role("Says who is on call, now or at a time.", Role::Viewer)
        .query::<String>("at", "RFC 3339; by default now.")
        .problem(StatusCode::CONFLICT)
        .ok::<Now>("Who is on call.")
}

pub async fn now(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let at: Option<String> = query.optional("at");
    query.finish()?;
    let at_ms = match at.as_deref() {
        None => state.engine.now_ms(),
        Some(text) => time("at", text)?,
    };
    let stored = find(&state, scope, &id, at_ms).await?;
    let shift = stored.at(at_ms).map_err(Problem::Conflict)?;
    let until = shift.until_ms.and_then(rfc3339);
    Ok(HttpResponse::Ok().json(Now { at: rfc3339(at_ms), user_id: shift.user, by: shift.by, until }))
}

/// Somebody who stands in.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OverrideToMake")]
struct Input {
    on_call_user_id: UserId,
    /// RFC 3339.
    starts_at: String,
    ends_at: String,
    /// Up to 2,000 characters.
    reason: Option<String>,
}

pub fn override_doc() -> Doc {
    Doc::role("Lets somebody stand in for a while.", Role::Operator).body::<Input>().answer_as(
        StatusCode::CREATED,
        "Who stands in.",
        resources::row_schema(Resource::OnCallOverrides),
    )
}

pub async fn add_override(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let schedule = find(&state, asked.caller.scope, &id, 0).await?.id;
    let input = asked.input;
    let reason = input.reason.as_deref().map(|text| crate::http::runs::control::bounded("reason", text)).transpose()?;
    let (starts_ms, ends_ms) = (time("starts_at", &input.starts_at)?, time("ends_at", &input.ends_at)?);
    let over = Override { user: input.on_call_user_id, starts_ms, ends_ms };
    let draft =
        OverrideDraft { owner: asked.owner, schedule, over, reason: reason.map(str::to_owned), by: asked.caller.by };
    let id = state.engine.save_override(draft).await.map_err(|error| refused(error, NOUN))?;
    let row = state.views.one(asked.caller.scope, Resource::OnCallOverrides, id.0).await?;
    Ok(HttpResponse::Created().json(row.ok_or_else(|| Problem::no_row("override"))?))
}

pub fn remove_override_doc() -> Doc {
    Doc::role("Takes back that somebody stands in.", Role::Operator).empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn remove_override(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let id: RowId = id.parse().map_err(|_| Problem::no_row("override"))?;
    state.engine.delete_override(owner, id, caller.by).await.map_err(|error| refused(error, "override"))?;
    Ok(HttpResponse::NoContent().finish())
}

fn time(name: &'static str, text: &str) -> Result<i64, Problem> {
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map(|time| time.timestamp_millis()).map_err(|e| Problem::field(name, format!("is not an RFC 3339 time: {e}")))
}

/// A schedule that the caller may see, with those who stand in at or after a time.
async fn find(state: &State, scope: Scope, id: &str, since_ms: i64) -> Result<StoredOnCall, Problem> {
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    state.engine.escalations()?.book().on_call_by_id(scope, id, since_ms).await?.ok_or_else(missing)
}

async fn row(state: &State, scope: Scope, id: RowId) -> Result<Value, Problem> {
    state.views.one(scope, Resource::OnCall, id.0).await?.ok_or_else(|| Problem::no_row(NOUN))
}
