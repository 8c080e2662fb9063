//! Who is calling, and what they may see and do.
//!
//! ```text
//! Authorization ── Keys::identify ──> Credential ── allows(role)? ── act(headers, body's user_id) ──> Caller
//! ```
//! The credential is known before the body is read, so that a stranger cannot make the server read one. Only then is it
//! known for whom a service key acts, because the body may name the user.
//!
//! - Whoever acts in a tenant counts against the tenant's rate, on whatever way in.
//! - A caller's [`Scope`] is the wall between tenants: every read takes it, every write takes the caller's `Owner`.
//! - The nil id is the platform's own tenant; no header, body or token may name it.

mod service_key;
#[cfg(test)]
mod tests;
mod user_token;

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use core314_actors::ports::Scope;
use core314_domain::ids::{OrganizationId, Owner, UserId};
use uuid::Uuid;

use super::problem::Problem;
use super::rate_limit::RateLimit;
use super::settings::AuthSettings;
use service_key::ServiceKeys;
use user_token::UserTokens;

const USER_HEADER: &str = "X-User-Id";
const ORGANIZATION_HEADER: &str = "X-Organization-Id";

/// What somebody may do in a tenant. Each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Triggers and decides.
    Operator,
    /// Writes definitions.
    Admin,
}

impl Role {
    /// The word in tokens and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Everything that opens a door.
pub struct Keys {
    service: ServiceKeys,
    users: Option<UserTokens>,
    limit: Arc<RateLimit>,
}

/// A proven identity, which may ask as often as its tenant may.
pub struct Credential {
    identity: Identity,
    limit: Arc<RateLimit>,
}

/// Who somebody has proven to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// A platform key, by the name that logs show.
    Service {
        key: String,
    },
    User {
        user: UserId,
        organization: Option<OrganizationId>,
        role: Role,
    },
}

/// Somebody who acts, for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The rows to be seen.
    pub scope: Scope,
    /// Who owns what is written; absent for a platform key that names no user.
    owner: Option<Owner>,
    /// For logs and the audit: `user:ID` or `service:KEY`.
    pub by: String,
}

impl Keys {
    pub fn new(settings: &AuthSettings, limit: Arc<RateLimit>) -> Self {
        let users = (!settings.jwt_secret.is_empty()).then(|| UserTokens::new(settings));
        Self { service: ServiceKeys::new(settings.service_key_sha256.clone()), users, limit }
    }

    /// Whose credentials the request carries.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Credential, Problem> {
        let token = bearer(headers)?;
        let identity = match (self.service.name_of(token), &self.users) {
            (Some(key), _) => Identity::Service { key },
            (None, Some(users)) => users.verify(token)?,
            (None, None) => return Err(invalid("the bearer token is not a known service key")),
        };
        Ok(Credential { identity, limit: self.limit.clone() })
    }
}

impl Credential {
    /// Whether the credential suffices for what this role may do.
    pub fn allows(&self, needed: Role) -> Result<(), Problem> {
        self.identity.allows(needed)
    }

    /// Only for a platform key that acts for nobody else.
    pub fn platform_only(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.identity.platform_only(headers)
    }

    /// Reads need no body.
    pub fn read(self, headers: &HeaderMap) -> Result<Scope, Problem> {
        self.act(headers, None).map(|caller| caller.scope)
    }

    /// For whom the credential acts in this request; `body_user` is the body's `user_id`. Counts against the rate of the
    /// tenant, so it is called once in a request.
    pub fn act(self, headers: &HeaderMap, body_user: Option<UserId>) -> Result<Caller, Problem> {
        let caller = self.identity.act(headers, body_user)?;
        if let Scope::Tenant(tenant) = caller.scope {
            self.limit.take(tenant)?;
        }
        Ok(caller)
    }
}

impl Identity {
    fn platform_only(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let caller = self.clone().act(headers, None)?;
        match caller.scope {
            Scope::Platform => Ok(()),
            Scope::Tenant(_) => {
                Err(Problem::Forbidden(format!("this is for a platform key that names no user in {USER_HEADER}")))
            }
        }
    }

    fn allows(&self, needed: Role) -> Result<(), Problem> {
        match self {
            Self::User { role, .. } if *role < needed => Err(Problem::Forbidden(format!(
                "this needs the role {}, the token has {}",
                needed.as_str(),
                role.as_str()
            ))),
            Self::User { .. } | Self::Service { .. } => Ok(()),
        }
    }

    fn act(self, headers: &HeaderMap, body_user: Option<UserId>) -> Result<Caller, Problem> {
        let named = named_user(headers, body_user)?;
        let organization = id_header(headers, ORGANIZATION_HEADER)?.map(OrganizationId);
        match self {
            Self::Service { key } => as_service(&key, named, organization),
            Self::User { user, organization: own, .. } => as_user(user, own, named, organization),
        }
    }
}

impl Caller {
    /// Who owns what this caller writes.
    pub fn owner(&self) -> Result<Owner, Problem> {
        let missing =
            "is required: a platform key writes only for a user (the body's user_id will do where it has one)";
        self.owner.ok_or_else(|| Problem::header(USER_HEADER, missing))
    }
}

fn as_service(key: &str, user: Option<UserId>, organization: Option<OrganizationId>) -> Result<Caller, Problem> {
    let owner = user.map(|user| Owner::new(user, organization));
    if owner.is_none() && organization.is_some() {
        return Err(Problem::header(USER_HEADER, format!("is required beside {ORGANIZATION_HEADER}")));
    }
    let scope = owner.map_or(Scope::Platform, |owner| Scope::Tenant(owner.tenant));
    Ok(Caller { scope, owner, by: format!("service:{key}") })
}

fn as_user(
    user: UserId,
    own: Option<OrganizationId>,
    named: Option<UserId>,
    organization: Option<OrganizationId>,
) -> Result<Caller, Problem> {
    if named.is_some_and(|named| named != user) {
        return Err(Problem::Forbidden("a user token acts for its own user alone".to_owned()));
    }
    if organization.is_some() && organization != own {
        return Err(Problem::Forbidden("a user token acts in its own organization alone".to_owned()));
    }
    let owner = Owner::new(user, own);
    Ok(Caller { scope: Scope::Tenant(owner.tenant), owner: Some(owner), by: format!("user:{user}") })
}

/// The user whom header or body name; both must say the same.
fn named_user(headers: &HeaderMap, body: Option<UserId>) -> Result<Option<UserId>, Problem> {
    let header = id_header(headers, USER_HEADER)?.map(UserId);
    if body.is_some_and(|user| user.0.is_nil()) {
        return Err(Problem::field("user_id", "must not be the nil UUID"));
    }
    match (header, body) {
        (Some(header), Some(body)) if header != body => {
            Err(Problem::field("user_id", format!("disagrees with the header {USER_HEADER}")))
        }
        (header, body) => Ok(header.or(body)),
    }
}

fn id_header(headers: &HeaderMap, name: &'static str) -> Result<Option<Uuid>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::header(name, "is given twice"));
    }
    let id = value.to_str().ok().and_then(|text| text.trim().parse::<Uuid>().ok());
    match id {
        Some(id) if !id.is_nil() => Ok(Some(id)),
        Some(_) | None => Err(Problem::header(name, "must be a UUID, and not the nil one")),
    }
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION);
    let missing = "this needs Authorization: Bearer, with a service key or a user token";
    let Some(value) = values.next() else {
        return Err(Problem::Unauthenticated { detail: missing.to_owned(), invalid: false });
    };
    if values.next().is_some() {
        return Err(invalid("there is more than one Authorization header"));
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    match token.trim() {
        token if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(token),
        _ => Err(invalid("the Authorization header is not of the form: Bearer TOKEN")),
    }
}

/// Credentials were given, and are no good.
fn invalid(detail: &str) -> Problem {
    Problem::Unauthenticated { detail: detail.to_owned(), invalid: true }
}
