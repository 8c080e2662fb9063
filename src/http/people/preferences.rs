//! `/api/v1/preferences`: how the caller wants to be told.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;
use core314_domain::people::PreferencesDocument;

use super::contacts::{BY_KEY, allowed};
use super::{ANYBODY, own_list_doc, own_row, own_rows, refused};
use crate::http::ask::{self, Asked};
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

const NOUN: &str = "preferences";

pub fn list_doc() -> Doc {
    own_list_doc(
        Resource::Preferences,
        "Lists how the caller wants to be told: one row, or none, which is the defaults.",
    )
}

pub async fn list(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    own_rows(req, &state, Resource::Preferences).await
}

pub fn patch_doc() -> Doc {
    Doc::role("Replaces how the caller wants to be told.", ANYBODY)
        .body::<PreferencesDocument>()
        .condition(BY_KEY)
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The preferences as they are now.", resources::row_schema(Resource::Preferences))
}

pub async fn patch(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, .. } = ask::read::<PreferencesDocument>(&req, payload, &state, ANYBODY).await?;
    allowed(&caller)?;
    let known = state.engine.people()?.preferences(owner.tenant, owner.user).await?;
    check_version(req.headers(), known.as_ref().map_or(0, |known| known.version))?;
    let saved = state.engine.save_preferences(owner, known, input, caller.by.clone()).await;
    let id = saved.map_err(|error| refused(error, NOUN))?;
    let row = own_row(&state, &caller, Resource::Preferences, id.0).await?;
    Ok(resources::versioned(HttpResponse::Ok(), Resource::Preferences, &row))
}
