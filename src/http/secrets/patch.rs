//! `PATCH /api/v1/secrets/{name}`: another value, or another description. The next attempt that needs it gets the new one.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{ConnectError, SecretChange};
use core314_actors::ports::resource::Resource;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{find, missing, value};
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input, resources};

/// What is to change.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SecretChange")]
struct Input {
    /// A text of at least 6 characters.
    #[schemars(with = "Option<String>")]
    value: Option<Value>,
    /// With a value: for how long the one before stays good beside it, in seconds. Absent: not at all.
    overlap_seconds: Option<u64>,
    /// At most 500 characters.
    description: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Replaces a secret's value or description.", Role::Admin)
        .body::<Input>()
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The secret as it is now, without its value.", resources::row_schema(Resource::Secrets))
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    named: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    caller.owner()?;
    let (_, sent) = body::read_json(&req, payload, &state.settings).await?;
    let input: Input = input::read(sent)?;
    let stored = find(&state, caller.scope, &named).await?;
    check_version(req.headers(), stored.version)?;
    let id = stored.id;
    let text = input.value.map(value).transpose()?;
    let change =
        SecretChange { value: text.as_deref(), overlap_seconds: input.overlap_seconds, description: input.description };
    let saved = state.engine.update_secret(stored, change, caller.by).await;
    let saved = saved.map_err(|error| match error {
        ConnectError::Conflict => Problem::PreconditionFailed,
        error => error.into(),
    })?;
    let row = state.views.one(caller.scope, Resource::Secrets, id.0).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().insert_header(etag(saved.version)).json(row))
}
