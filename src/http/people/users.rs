//! `/api/v1/users`: the directory of the caller's tenant. A path takes the row's id, or the person's; a platform key that
//! names nobody sees all tenants, and there the row's alone says which.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::MemberDraft;
use core314_actors::ports::Scope;
use core314_actors::ports::people::Member;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{Owner, UserId};
use core314_domain::words::Role;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{anybody, refused};
use crate::http::ask::{self, Asked};
use crate::http::flows::etag;
use crate::http::flows::patch::check_version;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, resources};

const NOUN: &str = "user";

/// Somebody for the directory.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserToAdd")]
struct Input {
    /// The id that the person has elsewhere, such as `sub` in their tokens. Absent: a fresh one; for a user without
    /// organization their own.
    person_id: Option<UserId>,
    email: String,
    /// 1 to 200 characters on one line.
    name: String,
    /// Who is told where `role:admin`, `role:operator` or `role:viewer` are recipients.
    role: Role,
}

pub fn create_doc() -> Doc {
    Doc::role("Puts somebody into the directory.", Role::Admin).body::<Input>().problem(StatusCode::CONFLICT).answer_as(
        StatusCode::CREATED,
        "The user.",
        resources::row_schema(Resource::Users),
    )
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, .. } = ask::read::<Input>(&req, payload, &state, Role::Admin).await?;
    if input.person_id.is_some_and(|person| person.0.is_nil()) {
        return Err(Problem::field("person_id", "must not be the nil UUID"));
    }
    let fresh = || match owner.organization {
        None => owner.user,
        Some(_) => UserId(state.engine.row_id().0),
    };
    let owner = Owner { user: input.person_id.unwrap_or_else(fresh), ..owner };
    let draft = MemberDraft { owner, email: input.email, name: input.name, role: input.role, by: caller.by };
    let id = state.engine.save_member(None, draft).await.map_err(|error| refused(error, NOUN))?;
    let row = row(&state, caller.scope, id.0).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/users/{id}")))
        .insert_header(etag(1))
        .json(row))
}

pub fn show_doc() -> Doc {
    Doc::role("Shows a user, by the row's id or the person's.", Role::Viewer)
        .ok_as("The user.", resources::row_schema(Resource::Users))
}

pub async fn show(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let caller = anybody(&state, &req).await?;
    let known = find(&state, caller.scope, &id).await?;
    let row = row(&state, caller.scope, known.id.0).await?;
    Ok(HttpResponse::Ok().insert_header(etag(known.version)).json(row))
}

/// What changes; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserChange")]
struct Change {
    email: Option<String>,
    name: Option<String>,
    role: Option<Role>,
}

pub fn patch_doc() -> Doc {
    Doc::role("Changes what the directory says of somebody.", Role::Admin)
        .body::<Change>()
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The user as they are now.", resources::row_schema(Resource::Users))
}

pub async fn patch(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let Asked { caller, input, .. } = ask::read::<Change>(&req, payload, &state, Role::Admin).await?;
    let known = find(&state, caller.scope, &id).await?;
    check_version(req.headers(), known.version)?;
    let draft = MemberDraft {
        owner: known.owner,
        email: input.email.unwrap_or_else(|| known.email.clone()),
        name: input.name.unwrap_or_else(|| known.name.clone()),
        role: input.role.unwrap_or(known.role),
        by: caller.by,
    };
    let version = known.version + 1;
    let id = state.engine.save_member(Some(known), draft).await.map_err(|error| refused(error, NOUN))?;
    let row = row(&state, caller.scope, id.0).await?;
    Ok(HttpResponse::Ok().insert_header(etag(version)).json(row))
}

pub fn delete_doc() -> Doc {
    Doc::role("Takes somebody out of the directory, with their contact methods and preferences here.", Role::Admin)
        .empty(StatusCode::NO_CONTENT, "They are gone.")
}

pub async fn delete(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    caller.owner()?;
    let known = find(&state, caller.scope, &id).await?;
    state.engine.remove_member(&known, caller.by).await.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::NoContent().finish())
}

async fn find(state: &State, scope: Scope, id: &str) -> Result<Member, Problem> {
    let missing = || Problem::no_row(NOUN);
    let id: Uuid = id.parse().map_err(|_| missing())?;
    state.engine.people()?.member(scope, id).await?.ok_or_else(missing)
}

async fn row(state: &State, scope: Scope, id: Uuid) -> Result<Value, Problem> {
    state.views.one(scope, Resource::Users, id).await?.ok_or_else(|| Problem::no_row(NOUN))
}
