//! `PATCH /api/v1/tokens/{id}`: gives a key another name. Nothing else of a key changes: make a new one.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{check_name, owner_for};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::resources::row_schema;
use crate::http::{Shared, ask, body, input};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenChange")]
struct Input {
    #[schemars(length(min = 1, max = 200))]
    name: String,
}

pub fn doc() -> Doc {
    Doc::role("Gives a service key another name.", Role::Admin)
        .body::<Input>()
        .ok_as("The key.", row_schema(Resource::Tokens))
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let (_, mut value) = body::read_json(&req, payload, &state.settings).await?;
    let caller = credential.act(req.headers(), ask::take_user(&mut value)?)?;
    let input: Input = input::read(value)?;
    check_name(&input.name)?;
    let missing = || Problem::no_row(Resource::Tokens.noun());
    let id: RowId = id.parse().map_err(|_| missing())?;
    let owner = owner_for(&state, &caller, id).await?;
    state.engine.rename_service_key(owner, id, input.name, caller.by.clone()).await?;
    let row = state.views.one(caller.scope, Resource::Tokens, id.0).await?.ok_or_else(missing)?;
    Ok(HttpResponse::Ok().json(row))
}
