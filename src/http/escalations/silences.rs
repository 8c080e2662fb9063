//! `/api/v1/silences`: times in which failures that match are recorded and tell nobody.

use actix_web::http::StatusCode;
use actix_web::http::header::{IF_MATCH, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::SilenceDraft;
use core314_actors::ports::resource::Resource;
use core314_domain::escalation::SilenceDocument;
use core314_domain::ids::RowId;
use core314_domain::json::merge_patch;
use serde_json::{Map, Value, json};

use super::refused;
use super::written::{MEDIA_TYPES, Written};
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input, resources};

const NOUN: &str = "silence";
/// How often a patch is merged with what others have made of the silence meanwhile.
const TRIES: usize = 10;

pub fn create_doc() -> Doc {
    Doc::role("Keeps silent for a time, or again and again.", Role::Operator)
        .body_in::<SilenceDocument>(MEDIA_TYPES)
        .answer_as(StatusCode::CREATED, "The silence.", resources::row_schema(Resource::Silences))
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let written = Written::of(&req, payload, &state).await?;
    let draft = SilenceDraft { owner, document: written.read()?, by: caller.by };
    let silence = state.engine.save_silence(None, draft).await.map_err(|error| written.refused(error, NOUN))?;
    let row = state.views.one(caller.scope, Resource::Silences, silence.id.0).await?;
    let row = row.ok_or_else(|| Problem::no_row(NOUN))?;
    let location = format!("/api/v1/silences/{}", silence.id);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).insert_header(etag(silence.version)).json(row))
}

pub fn patch_doc() -> Doc {
    Doc::role("Changes a silence by a merge patch (RFC 7396) of its document.", Role::Operator)
        .body_in::<Map<String, Value>>(&["application/json", "application/merge-patch+json"])
        .header::<String>("If-Match", "The `ETag` of the version that was read.")
        .problem(StatusCode::PRECONDITION_FAILED)
        .ok_as("The silence as it is now.", resources::row_schema(Resource::Silences))
}

pub async fn patch(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let (_, patch) = body::read_json(&req, payload, &state.settings).await?;
    if !patch.is_object() {
        return Err(Problem::field("", "a patch must be an object"));
    }
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    let mut tried = 0;
    let silence = loop {
        let known = state.engine.escalations()?.book().silence(caller.scope, id).await?.ok_or_else(missing)?;
        check_version(req.headers(), known.version)?;
        let mut value = json!(known.document);
        merge_patch(&mut value, &patch);
        let draft = SilenceDraft { owner, document: input::read::<SilenceDocument>(value)?, by: caller.by.clone() };
        match state.engine.save_silence(Some(&known), draft).await.map_err(|error| refused(error, NOUN)) {
            // Without If-Match the patch is meant for whatever is there.
            Err(Problem::PreconditionFailed) if tried < TRIES && !req.headers().contains_key(IF_MATCH) => tried += 1,
            saved => break saved?,
        }
    };
    let row = state.views.one(caller.scope, Resource::Silences, id.0).await?;
    Ok(HttpResponse::Ok().insert_header(etag(silence.version)).json(row.ok_or_else(missing)?))
}

pub fn delete_doc() -> Doc {
    Doc::role("Ends a silence: what it held goes on.", Role::Operator).empty(StatusCode::NO_CONTENT, "It is over.")
}

pub async fn delete(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Operator)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let id: RowId = id.parse().map_err(|_| Problem::no_row(NOUN))?;
    state.engine.delete_silence(owner, id, caller.by).await.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::NoContent().finish())
}
