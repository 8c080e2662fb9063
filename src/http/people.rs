//! People: who they are in the caller's tenant, how they are reached, and how they want to be told.
//!
//! The directory is the tenant's, and its admins write it. Contact methods and preferences are each person's own, as their
//! inbox is: nobody else in the tenant sees or changes them. A service key acts for the user whom it names.

pub mod contacts;
pub mod me;
pub mod organizations;
pub mod preferences;
pub mod users;
pub mod verify;

use actix_web::HttpRequest;
use core314_actors::engine::PeopleError;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::recipients::role_of;
use core314_domain::ids::{Owner, UserId};
use serde_json::Value;
use uuid::Uuid;

use super::auth::{Caller, Role};
use super::openapi::Doc;
use super::page;
use super::problem::{FieldError, Problem};
use super::query::Query;
use super::{Shared, State, resources};

/// Why something was not done; `noun` is what the path names.
pub fn refused(error: PeopleError, noun: &str) -> Problem {
    match error {
        PeopleError::Invalid(problems) => {
            let placed = |problem: core314_domain::plan::Problem| FieldError::at(&problem.pointer, problem.message);
            Problem::InvalidRequest(problems.into_iter().map(placed).collect())
        }
        PeopleError::Known => Problem::NameTaken,
        PeopleError::Conflict => Problem::PreconditionFailed,
        PeopleError::NotFound => Problem::no_row(noun),
        PeopleError::WrongCode => Problem::field("code", error.to_string()),
        PeopleError::Full(_) | PeopleError::Code(_) | PeopleError::NoCodes => Problem::Conflict(error.to_string()),
        PeopleError::NotSent(error) => error.into(),
        PeopleError::Store(error) => error.into(),
    }
}

/// The role of somebody who is known by a link or a button, as the directory says now; or why they are nobody here.
pub async fn standing(state: &State, owner: Owner, user: UserId) -> Result<Result<Role, &'static str>, Problem> {
    let role = role_of(state.engine.people()?.as_ref(), owner, user).await?;
    Ok(role.ok_or("you are not in the directory of this organization: an admin can add you"))
}

/// Why this role does not suffice for what operators may do, where it does not.
pub fn below_operator(role: Role) -> Option<String> {
    (role < Role::Operator).then(|| format!("this needs the role operator, yours is {role}"))
}

/// The caller, whoever they are: all may look after themselves.
async fn anybody(state: &State, req: &HttpRequest) -> Result<Caller, Problem> {
    state.keys.identify(req).await?.act(req.headers(), None)
}

/// A page of rows that are each person's own.
async fn own_rows(req: HttpRequest, state: &Shared, resource: Resource) -> Result<actix_web::HttpResponse, Problem> {
    let caller = anybody(state, &req).await?;
    let mut query = Query::of(&req)?;
    let mut filter = resources::filter(&mut query, resource);
    let wanted = page::wanted(&mut query, &state.settings);
    query.finish()?;
    if let Scope::Tenant(_) = caller.scope {
        let own = Value::from(caller.owner()?.user.to_string());
        if filter.get("user_id").is_some_and(|user| *user != own) {
            return Err(Problem::Forbidden("these are each user's own: leave user_id out".to_owned()));
        }
        filter.take("user_id");
        filter.and("user_id", own);
    }
    Ok(page::answer(state.views.list(caller.scope, resource, filter, wanted).await?))
}

/// One row that is the caller's own.
async fn own_row(state: &State, caller: &Caller, resource: Resource, id: Uuid) -> Result<Value, Problem> {
    let missing = || Problem::no_row(resource.noun());
    let row = state.views.one(caller.scope, resource, id).await?.ok_or_else(missing)?;
    let is_own = match caller.scope {
        Scope::Platform => true,
        Scope::Tenant(_) => row["user_id"] == caller.owner()?.user.to_string(),
    };
    if is_own { Ok(row) } else { Err(missing()) }
}

/// What a list of own rows says of itself.
fn own_list_doc(resource: Resource, summary: &'static str) -> Doc {
    resources::list_doc(resource, summary)
}

/// The role that suffices for one's own matters.
const ANYBODY: Role = Role::Viewer;
