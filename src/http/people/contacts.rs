//! `/api/v1/contact-methods`: how the caller is reached. Only what was proven to be theirs is ever written to.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::ContactDraft;
use core314_actors::ports::people::ContactMethod;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{Owner, RowId};
use core314_domain::people::ContactKind;
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use super::{ANYBODY, anybody, own_list_doc, own_row, own_rows, refused};
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::{Caller, Role};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, resources};

const NOUN: &str = "contact method";

pub fn list_doc() -> Doc {
    own_list_doc(Resource::ContactMethods, "Lists how the caller is reached.")
}

pub async fn list(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    own_rows(req, &state, Resource::ContactMethods).await
}

/// A way to reach the caller.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ContactMethodToAdd")]
struct Input {
    kind: ContactKind,
    /// An e-mail address, a number in E.164, the id of a Slack member, or a URL.
    address: String,
    /// The integration that messages go through. Absent: the one that is called `email`, `sms` or `slack`.
    integration: Option<String>,
}

pub fn create_doc() -> Doc {
    Doc::role("Adds a way to reach the caller, and sends a code there.", ANYBODY)
        .condition(BY_KEY)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer_as(StatusCode::CREATED, "The contact method, not verified yet.", schema())
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, .. } = ask::read::<Input>(&req, payload, &state, ANYBODY).await?;
    allowed(&caller)?;
    let Input { kind, address, integration } = input;
    let draft = ContactDraft { owner, kind, address, integration, by: caller.by.clone() };
    let added = state.engine.add_contact(draft).await.map_err(|error| refused(error, NOUN))?;
    let row = own_row(&state, &caller, Resource::ContactMethods, added.id.0).await?;
    let location = format!("/api/v1/contact-methods/{}", added.id);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).json(row))
}

pub fn show_doc() -> Doc {
    Doc::role("Shows one of the caller's contact methods.", ANYBODY).ok_as("The contact method.", schema())
}

pub async fn show(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let caller = anybody(&state, &req).await?;
    let id: Uuid = id.parse().map_err(|_| Problem::no_row(NOUN))?;
    Ok(HttpResponse::Ok().json(own_row(&state, &caller, Resource::ContactMethods, id).await?))
}

pub fn delete_doc() -> Doc {
    Doc::role("Removes a contact method: nobody is reached by it any more.", ANYBODY)
        .condition(BY_KEY)
        .problem(StatusCode::CONFLICT)
        .empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn delete(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let caller = anybody(&state, &req).await?;
    allowed(&caller)?;
    let known = find(&state, caller.owner()?, &id).await?;
    state.engine.remove_contact(&known, caller.by).await.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::NoContent().finish())
}

/// The code that was sent.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CodeToVerify")]
struct Given {
    /// Eight digits.
    code: String,
}

pub fn verify_doc() -> Doc {
    Doc::role("Takes the code that was sent, which proves the address.", ANYBODY)
        .condition(BY_KEY)
        .body::<Given>()
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::PRECONDITION_FAILED)
        .ok_as("The contact method, verified.", schema())
}

pub async fn verify(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, input, .. } = ask::read::<Given>(&req, payload, &state, ANYBODY).await?;
    allowed(&caller)?;
    let known = find(&state, owner, &id).await?;
    let verified = state.engine.verify_contact(&known, &input.code, caller.by.clone()).await;
    verified.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::Ok().json(own_row(&state, &caller, Resource::ContactMethods, known.id.0).await?))
}

pub fn send_code_doc() -> Doc {
    Doc::role("Sends another code; the one before counts no more.", ANYBODY)
        .condition(BY_KEY)
        .body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::PRECONDITION_FAILED)
        .ok_as("The contact method.", schema())
}

pub async fn send_code(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let Asked { caller, owner, .. } = ask::read::<Nothing>(&req, payload, &state, ANYBODY).await?;
    allowed(&caller)?;
    let known = find(&state, owner, &id).await?;
    let sent = state.engine.send_another_code(&known, &caller.by).await;
    sent.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::Ok().json(own_row(&state, &caller, Resource::ContactMethods, known.id.0).await?))
}

/// What [`allowed`] asks, as the description says it.
pub(super) const BY_KEY: &str = "A service key, which acts for somebody, needs the role `admin`.";

/// A key that acts for somebody could have another's address verified as theirs, or silence them: that is for an admin's keys.
pub(super) fn allowed(caller: &Caller) -> Result<(), Problem> {
    let acts_for_another = caller.by.starts_with("service:");
    if acts_for_another && caller.role < Role::Admin {
        return Err(Problem::Forbidden("a service key changes how somebody is reached with the role admin".to_owned()));
    }
    Ok(())
}

async fn find(state: &State, owner: Owner, id: &str) -> Result<ContactMethod, Problem> {
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    let found = state.engine.people()?.contact(owner.tenant, id).await?;
    found.filter(|found| found.owner.user == owner.user).ok_or_else(missing)
}

fn schema() -> crate::http::openapi::SchemaOf {
    resources::row_schema(Resource::ContactMethods)
}
