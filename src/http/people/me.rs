//! `GET /api/v1/me`: who asks, and what the directory says of them.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_domain::ids::{OrganizationId, UserId};
use core314_domain::words::Role;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{ANYBODY, anybody};
use crate::http::Shared;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// Who asks.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Me")]
struct View {
    /// Null for a platform key that names no user.
    user_id: Option<UserId>,
    /// Null for a user without one, who is alone in their tenant.
    organization_id: Option<OrganizationId>,
    /// What the credential may do.
    role: Role,
    /// As logs and the audit name the caller: `user:ID`, `service:KEY/user:ID`, or `service:KEY` that acts for nobody.
    acts_as: String,
    /// The caller's row in the directory, as `/users` shows it; null where there is none.
    user: Option<Value>,
    /// The organization's row, as `/organizations` shows it; null where nobody has named it.
    organization: Option<Value>,
}

pub fn doc() -> Doc {
    Doc::role("Says who asks.", ANYBODY).ok::<View>("The caller.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let caller = anybody(&state, &req).await?;
    let owner = match caller.scope {
        Scope::Platform => None,
        Scope::Tenant(_) => Some(caller.owner()?),
    };
    let (mut user, mut organization) = (None, None);
    if let Some(owner) = owner {
        let people = state.engine.people()?;
        if let Some(member) = people.member(caller.scope, owner.user.0).await? {
            user = state.views.one(caller.scope, Resource::Users, member.id.0).await?;
        }
        if let Some(named) = people.organization(owner.tenant).await? {
            organization = state.views.one(caller.scope, Resource::Organizations, named.id.0).await?;
        }
    }
    Ok(HttpResponse::Ok().json(View {
        user_id: owner.map(|owner| owner.user),
        organization_id: owner.and_then(|owner| owner.organization),
        role: caller.role,
        acts_as: caller.by,
        user,
        organization,
    }))
}
