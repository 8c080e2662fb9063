//! User tokens: JWT with HS256 and the configured secret.
//!
//! The algorithm is pinned here. What a token says of its own algorithm can only make it be refused.

use core314_domain::ids::{OrganizationId, UserId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use uuid::Uuid;

use super::{Identity, Role, invalid};
use crate::http::problem::Problem;
use crate::http::settings::AuthSettings;

/// Verifies user tokens.
pub struct UserTokens {
    key: DecodingKey,
    validation: Validation,
}

/// The claims that matter here; a token may have others.
#[derive(Deserialize)]
struct Claims {
    sub: Uuid,
    #[serde(default)]
    org: Option<Uuid>,
    #[serde(default)]
    role: Option<Role>,
}

impl UserTokens {
    pub fn new(settings: &AuthSettings) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.leeway = settings.jwt_leeway_seconds;
        validation.validate_nbf = true;
        // No audience is configured, so a token may have been made for any.
        validation.validate_aud = false;
        Self { key: DecodingKey::from_secret(settings.jwt_secret.as_bytes()), validation }
    }

    /// Whose token it is.
    pub fn verify(&self, token: &str) -> Result<Identity, Problem> {
        let claims =
            decode::<Claims>(token, &self.key, &self.validation).map_err(|error| invalid(reason(error.kind())))?.claims;
        if claims.sub.is_nil() || claims.org.is_some_and(|org| org.is_nil()) {
            return Err(invalid("the token names the nil UUID"));
        }
        // A user without organization is admin of their own tenant; within one, silence is the least of the roles.
        let role = match claims.org {
            None => Role::Admin,
            Some(_) => claims.role.unwrap_or(Role::Viewer),
        };
        Ok(Identity::User { user: UserId(claims.sub), organization: claims.org.map(OrganizationId), role })
    }
}

/// What to tell the bearer: what they can mend, and nothing that helps a forger.
fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => "the token has no claim exp",
        ErrorKind::MissingRequiredClaim(_) => "the token has no claim sub",
        ErrorKind::InvalidAlgorithm => "the token's algorithm is not accepted here",
        ErrorKind::Json(_) => {
            "the token's claims are not readable: sub and org are UUIDs, role is viewer, operator or admin"
        }
        _ => "the bearer token is neither a known service key nor a valid user token",
    }
}
