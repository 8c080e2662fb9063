//! Who is calling, and what they may see and do.
//!
//! ```text
//! request ── Keys::identify ──> Credential ── allows(role)? ── act(headers, body's user_id) ──> Caller
//! ```
//! The credential is known before the body is read, so that a stranger cannot make the server read one. Only then is it
//! known for whom a service key acts, because the body may name the user.
//!
//! - A caller's [`Scope`] is the wall between tenants: every read takes it, every write takes the caller's `Owner`.
//! - The nil id is the platform's own tenant; no header, body or token may name it.
//! - Failed attempts are slowed down by their client's address, and a good credential is never asked to wait for them.

mod failures;
mod key_set;
mod key_source;
mod local_socket;
mod service_key;
#[cfg(test)]
mod tests;
mod user_token;

use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use core314_actors::engine::Engine;
use core314_actors::ports::Scope;
use core314_domain::ids::{OrganizationId, Owner, UserId};
use core314_domain::run::on_behalf;
use core314_domain::words::KeyScope;
pub use core314_domain::words::Role;
use uuid::Uuid;

use super::problem::Problem;
use super::rate_limit::RateLimit;
use super::settings::{AuthSettings, KeyDigest};
use failures::Failures;
pub use key_source::{KeySource, KeySourceError};
pub use local_socket::{client_address, is_local_socket, note_local_socket};
pub use service_key::fresh_key;
use service_key::{ServiceKeys, is_issued};
use user_token::UserTokens;

const USER_HEADER: &str = "X-User-Id";
const ORGANIZATION_HEADER: &str = "X-Organization-Id";
/// A longer bearer token is refused unread.
const MAX_TOKEN_BYTES: usize = 8_192;
/// Who calls over the socket in the data directory, which its user alone can open.
const LOCAL: &str = "local";

/// Everything that opens a door.
pub struct Keys {
    engine: Engine,
    configured: ServiceKeys,
    users: UserTokens,
    failures: Failures,
    limit: Arc<RateLimit>,
}

/// Proven credentials, and how often their tenant may ask.
#[derive(Clone)]
pub struct Credential {
    identity: Identity,
    limit: Arc<RateLimit>,
}

/// A proven identity.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// A platform key, by the name that logs show.
    Service {
        key: String,
        role: Role,
    },
    /// A tenant's key, and whom it acts for unless it names somebody.
    TenantKey {
        key: String,
        owner: Owner,
        role: Role,
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
    /// For logs and the audit: `user:ID`, `service:KEY/user:ID`, or `service:KEY` where it acts for nobody.
    pub by: String,
    /// What the caller may do.
    pub role: Role,
}

impl Keys {
    /// An error says what is wrong with the file of keys.
    pub fn new(settings: &AuthSettings, engine: Engine, limit: Arc<RateLimit>) -> Result<Self, KeySourceError> {
        Ok(Self {
            engine,
            configured: ServiceKeys::new(settings.service_key_sha256.clone()),
            users: UserTokens::new(settings)?,
            failures: Failures::new(settings.failed_attempts_burst, settings.failed_attempts_per_minute),
            limit,
        })
    }

    /// Whose credentials the request carries.
    pub async fn identify(&self, req: &HttpRequest) -> Result<Credential, Problem> {
        let proven = self.prove(req).await;
        let identity = match proven {
            Err(Problem::Unauthenticated { invalid: true, .. }) => match client_address(req) {
                Some(address) => self.failures.count(address).and(proven),
                None => proven,
            },
            proven => proven,
        }?;
        Ok(Credential { identity, limit: self.limit.clone() })
    }

    async fn prove(&self, req: &HttpRequest) -> Result<Identity, Problem> {
        if is_local_socket(req) && !req.headers().contains_key(AUTHORIZATION) {
            return Ok(Identity::Service { key: LOCAL.to_owned(), role: Role::Admin });
        }
        let token = bearer(req.headers())?;
        if let Some(key) = self.configured.name_of(token) {
            return Ok(Identity::Service { key, role: Role::Admin });
        }
        if is_issued(token) { self.issued(token).await } else { self.users.verify(token).await }
    }

    /// A key of the store.
    async fn issued(&self, token: &str) -> Result<Identity, Problem> {
        let Some(found) = self.engine.live_service_key(KeyDigest::of(token).0).await? else {
            return Err(invalid("the service key is unknown, has expired, or was revoked"));
        };
        let (key, role) = (found.id.to_string(), found.role());
        Ok(match found.scope {
            KeyScope::Platform => Identity::Service { key, role },
            KeyScope::Tenant => Identity::TenantKey { key, owner: found.owner, role },
        })
    }
}

impl Credential {
    /// What it may do.
    pub fn role(&self) -> Role {
        self.identity.role()
    }

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

    /// The same of a request that was let in and is still being answered: it proves itself again, and counts no more.
    pub fn still_reads(self, headers: &HeaderMap) -> Result<Scope, Problem> {
        self.identity.act(headers, None).map(|caller| caller.scope)
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
    /// What it may do.
    pub fn role(&self) -> Role {
        match self {
            Self::Service { role, .. } | Self::TenantKey { role, .. } | Self::User { role, .. } => *role,
        }
    }

    /// Whether the credential suffices for what this role may do.
    pub fn allows(&self, needed: Role) -> Result<(), Problem> {
        let role = self.role();
        if role < needed {
            return Err(Problem::Forbidden(format!("this needs the role {needed}, yours is {role}")));
        }
        Ok(())
    }

    /// Only for a platform key that acts for nobody else.
    pub fn platform_only(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let caller = self.clone().act(headers, None)?;
        match caller.scope {
            Scope::Platform => Ok(()),
            Scope::Tenant(_) => {
                Err(Problem::Forbidden(format!("this is for a platform key that names no user in {USER_HEADER}")))
            }
        }
    }

    /// For whom it acts in this request.
    pub fn act(self, headers: &HeaderMap, body_user: Option<UserId>) -> Result<Caller, Problem> {
        let named = named_user(headers, body_user)?;
        let organization = id_header(headers, ORGANIZATION_HEADER)?.map(OrganizationId);
        let role = self.role();
        let caller = match self {
            Self::Service { key, .. } => as_service(&key, named, organization),
            Self::TenantKey { key, owner, .. } => as_tenant_key(&key, owner, named, organization),
            Self::User { user, organization: own, .. } => as_user(user, own, named, organization),
        };
        caller.map(|caller| Caller { role, ..caller })
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
    Ok(Caller { scope, owner, by: by_service(key, user), role: Role::Viewer })
}

/// A key by its name, and for whom it acts: what it does is theirs, such as to start a run that they may not approve then.
fn by_service(key: &str, user: Option<UserId>) -> String {
    let by = format!("service:{key}");
    user.map_or_else(|| by.clone(), |user| on_behalf(&by, user))
}

/// Within an organization a key may act for any of its users; a user without one is alone in their tenant.
fn as_tenant_key(
    key: &str,
    own: Owner,
    named: Option<UserId>,
    organization: Option<OrganizationId>,
) -> Result<Caller, Problem> {
    if organization.is_some() && organization != own.organization {
        return Err(Problem::Forbidden("a tenant's key acts in its own organization alone".to_owned()));
    }
    if own.organization.is_none() && named.is_some_and(|named| named != own.user) {
        return Err(Problem::Forbidden("the key of a user without organization acts for that user alone".to_owned()));
    }
    let owner = Owner { user: named.unwrap_or(own.user), ..own };
    Ok(Caller {
        scope: Scope::Tenant(owner.tenant),
        owner: Some(owner),
        by: by_service(key, Some(owner.user)),
        role: Role::Viewer,
    })
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
    Ok(Caller {
        scope: Scope::Tenant(owner.tenant),
        owner: Some(owner),
        by: format!("user:{user}"),
        role: Role::Viewer,
    })
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
        token if token.len() > MAX_TOKEN_BYTES => {
            Err(invalid("the bearer token is longer than any that is accepted here"))
        }
        token if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => Ok(token),
        _ => Err(invalid("the Authorization header is not of the form: Bearer TOKEN")),
    }
}

/// Credentials were given, and are no good.
fn invalid(detail: &str) -> Problem {
    Problem::Unauthenticated { detail: detail.to_owned(), invalid: true }
}
