//! `/api/v1/organizations`: what the caller's organization is called.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::PeopleError;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::refused;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

const NOUN: &str = "organization";

/// An organization's name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OrganizationName")]
struct Input {
    /// 1 to 200 characters on one line.
    name: String,
}

pub fn create_doc() -> Doc {
    Doc::role("Gives the caller's organization a name.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer_as(StatusCode::CREATED, "The organization.", resources::row_schema(Resource::Organizations))
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, .. } = ask::read::<Input>(&req, payload, &state, Role::Admin).await?;
    if state.engine.people()?.organization(owner.tenant).await?.is_some() {
        return Err(has_a_name());
    }
    let id = state.engine.name_organization(owner, None, &input.name, caller.by).await;
    let id = id.map_err(|error| match error {
        // A colleague was faster.
        PeopleError::Conflict => has_a_name(),
        error => refused(error, NOUN),
    })?;
    let row = state.views.one(caller.scope, Resource::Organizations, id.0).await?;
    let row = row.ok_or_else(|| Problem::no_row(NOUN))?;
    let mut answer = HttpResponse::Created();
    answer.insert_header((LOCATION, format!("/api/v1/organizations/{id}")));
    Ok(resources::versioned(answer, Resource::Organizations, &row))
}

fn has_a_name() -> Problem {
    Problem::Conflict("the organization has a name: change it with PATCH".to_owned())
}

pub fn patch_doc() -> Doc {
    Doc::role("Gives the organization another name.", Role::Admin)
        .body::<Input>()
        .if_match()
        .ok_as("The organization as it is now.", resources::row_schema(Resource::Organizations))
}

pub async fn patch(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, .. } = ask::read::<Input>(&req, payload, &state, Role::Admin).await?;
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    let known = state.engine.people()?.organization(owner.tenant).await?.filter(|known| known.id == id);
    let known = known.ok_or_else(missing)?;
    check_version(req.headers(), known.version)?;
    let named = state.engine.name_organization(owner, Some(known), &input.name, caller.by).await;
    named.map_err(|error| refused(error, NOUN))?;
    let row = state.views.one(caller.scope, Resource::Organizations, id.0).await?;
    Ok(resources::versioned(HttpResponse::Ok(), Resource::Organizations, &row.ok_or_else(missing)?))
}
