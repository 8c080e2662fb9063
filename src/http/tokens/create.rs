//! `POST /api/v1/tokens`: makes a service key and shows it, this once.

use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::DateTime;
use core314_actors::engine::KeyDraft;
use core314_actors::ports::Scope;
use core314_actors::ports::catalog::ServiceKey;
use core314_domain::ids::{Owner, RowId, UserId};
use core314_domain::words::KeyScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_name;
use crate::http::auth::{Role, fresh_key};
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::settings::KeyDigest;
use crate::http::{Shared, body, input};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenRequest")]
struct Input {
    /// Whom a tenant's key acts for; for a platform key that makes it, where no header says so.
    user_id: Option<UserId>,
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// At least one, and none above the maker's own.
    #[schemars(length(min = 1))]
    roles: Vec<Role>,
    /// RFC 3339. Absent: the key does not expire.
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// `tenant`, unless a platform key that names no user makes one for the platform.
    scope: Option<KeyScope>,
}

/// The key as its maker sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewToken")]
struct View {
    id: RowId,
    name: String,
    scope: KeyScope,
    #[schemars(length(min = 1))]
    roles: Vec<Role>,
    expires_at: Option<String>,
    created_at: Option<String>,
    /// Shown this once; only its digest is kept.
    key: String,
}

impl View {
    fn of(stored: ServiceKey, key: String) -> Self {
        Self {
            id: stored.id,
            name: stored.name,
            scope: stored.scope,
            roles: stored.roles,
            expires_at: stored.expires_at_ms.and_then(rfc3339),
            created_at: rfc3339(stored.created_at_ms),
            key,
        }
    }
}

pub fn doc() -> Doc {
    Doc::role("Makes a service key, and shows it this once.", Role::Admin)
        .body::<Input>()
        .problem(StatusCode::CONFLICT)
        .answer::<View>(StatusCode::CREATED, "The key.")
}

pub async fn handle(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let (_, value) = body::read_json(&req, payload, &state.settings).await?;
    let input: Input = input::read(value)?;
    check_name(&input.name)?;
    let expires_at_ms = input.expires_at.as_deref().map(|text| expiry(text, state.engine.now_ms())).transpose()?;
    let roles = roles(input.roles, credential.role())?;
    let scope = input.scope.unwrap_or(KeyScope::Tenant);
    let caller = credential.act(req.headers(), input.user_id)?;
    let owner = match (scope, caller.scope) {
        (KeyScope::Tenant, _) => caller.owner()?,
        (KeyScope::Platform, Scope::Platform) => Owner::platform(),
        (KeyScope::Platform, Scope::Tenant(_)) => {
            let why = "only a platform key that names no user makes keys of the platform";
            return Err(Problem::Forbidden(why.to_owned()));
        }
    };
    let key = fresh_key();
    let key_hash = KeyDigest::of(&key).0;
    let draft = KeyDraft { owner, name: input.name, scope, roles, expires_at_ms, key_hash, by: caller.by };
    let stored = state.engine.create_service_key(draft).await?;
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("/api/v1/tokens/{}", stored.id)))
        .json(View::of(stored, key)))
}

/// Each role once, in their order.
fn roles(mut roles: Vec<Role>, own: Role) -> Result<Vec<Role>, Problem> {
    roles.sort_unstable();
    roles.dedup();
    match roles.last() {
        None => Err(Problem::field("roles", "must have at least one of: viewer, operator, admin")),
        Some(highest) if *highest > own => {
            Err(Problem::Forbidden(format!("a key has no more than its maker's role, which is {own}")))
        }
        Some(_) => Ok(roles),
    }
}

fn expiry(text: &str, now_ms: i64) -> Result<i64, Problem> {
    let wrong = |message: &str| Problem::field("expires_at", message);
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| wrong("must be a time as RFC 3339 writes it"))?;
    let expires_at_ms = time.timestamp_millis();
    if expires_at_ms <= now_ms { Err(wrong("must lie in the future")) } else { Ok(expires_at_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_bounded_by_the_makers_own() {
        use Role::{Admin, Operator, Viewer};
        assert_eq!(roles(vec![Operator, Viewer, Operator], Admin), Ok(vec![Viewer, Operator]));
        assert!(matches!(roles(vec![Admin], Operator), Err(Problem::Forbidden(_))));
        assert!(matches!(roles(Vec::new(), Admin), Err(Problem::InvalidRequest(_))));
    }

    #[test]
    fn an_expiry_lies_in_the_future() {
        assert_eq!(expiry("1970-01-01T00:00:02+00:00", 1_000), Ok(2_000));
        for text in ["1970-01-01T00:00:01Z", "tomorrow", "", "2030-01-01"] {
            assert!(expiry(text, 1_000).is_err(), "{text}");
        }
    }
}
