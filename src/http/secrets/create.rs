//! `POST /api/v1/secrets`: keeps a value, encrypted. It can be used and replaced from then on, and never read.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::SecretDraft;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::UserId;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{missing, value};
use crate::http::auth::Role;
use crate::http::flows::etag;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, body, input, resources};

/// The secret to keep.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SecretToKeep")]
struct Input {
    /// For whom a service key acts, where no header says so.
    user_id: Option<UserId>,
    /// A letter or underscore, then letters, digits and underscores; at most 64. Unique in the tenant: `secrets.NAME` names it.
    name: String,
    /// A text of at least 6 characters.
    #[schemars(with = "String")]
    value: Value,
    /// What people say about it; shown. At most 500 characters.
    description: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Keeps a secret. Its value is never shown again.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer_as(StatusCode::CREATED, "The secret, without its value.", resources::row_schema(Resource::Secrets))
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let (_, sent) = body::read_json(&req, payload, &state.settings).await?;
    let input: Input = input::read(sent)?;
    let caller = credential.act(req.headers(), input.user_id)?;
    let owner = caller.owner()?;
    let draft = SecretDraft {
        name: input.name,
        value: value(input.value)?,
        description: input.description.unwrap_or_default(),
    };
    let made = state.engine.create_secret(owner, draft, caller.by).await?;
    let row = state.views.one(caller.scope, Resource::Secrets, made.id.0).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/secrets/{}", made.name)))
        .insert_header(etag(made.version))
        .json(row))
}
