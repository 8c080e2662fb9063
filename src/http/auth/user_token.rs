//! User tokens: JWT with HS256 and the configured secret, or with the key of an issuer's set.
//!
//! Every key verifies one algorithm, which the configuration pins (`key_set`). What a token says of its own algorithm
//! chooses among the keys, and can otherwise only make it be refused.

use core314_domain::ids::{OrganizationId, UserId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header};
use serde::Deserialize;
use uuid::Uuid;

use super::key_source::{KeySource, KeySourceError};
use super::{Identity, Role, invalid};
use crate::http::problem::Problem;
use crate::http::settings::AuthSettings;

/// When to come back for keys that cannot be had.
const KEYS_RETRY_SECONDS: u64 = 5;
const OTHER_ALGORITHM: &str = "the token's algorithm is not accepted here";
const NOBODY: &str = "the bearer token is neither a known service key nor a valid user token";

/// Verifies user tokens.
pub struct UserTokens {
    secret: Option<DecodingKey>,
    source: Option<KeySource>,
    leeway_seconds: u64,
    /// Empty: any.
    issuer: String,
    audience: String,
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
    pub fn new(settings: &AuthSettings) -> Result<Self, KeySourceError> {
        let secret = settings.jwt_secret.as_bytes();
        Ok(Self {
            secret: (!secret.is_empty()).then(|| DecodingKey::from_secret(secret)),
            source: KeySource::new(settings)?,
            leeway_seconds: settings.jwt_leeway_seconds,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
        })
    }

    /// Whose token it is.
    pub async fn verify(&self, token: &str) -> Result<Identity, Problem> {
        if self.secret.is_none() && self.source.is_none() {
            return Err(invalid("the bearer token is not a known service key, and user tokens are not set up here"));
        }
        let header = decode_header(token).map_err(|_| invalid(NOBODY))?;
        if header.crit.is_some() {
            return Err(invalid("the token has critical extensions (crit), and none is known here"));
        }
        let claims = match (header.alg, &self.secret) {
            (Algorithm::HS256, Some(secret)) => {
                self.check(token, secret, Algorithm::HS256).map_err(|kind| invalid(reason(&kind)))?
            }
            _ => self.check_issued(token, &header).await?,
        };
        credential(&claims)
    }

    /// Verifies with the keys of the issuer.
    async fn check_issued(&self, token: &str, header: &Header) -> Result<Claims, Problem> {
        let is_issuers = matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA);
        let Some(source) = self.source.as_ref().filter(|_| is_issuers) else { return Err(invalid(OTHER_ALGORITHM)) };
        let id = header.kid.as_deref();
        let Some(keys) = source.keys(id).await else {
            return Err(Problem::KeysUnavailable { retry_after_seconds: KEYS_RETRY_SECONDS });
        };
        if id.is_some_and(|id| !keys.has(id)) {
            return Err(invalid("the key that the token names (kid) is not one of the issuer's"));
        }
        let mut why = OTHER_ALGORITHM;
        for key in keys.candidates(id, header.alg) {
            match self.check(token, &key.key, key.algorithm) {
                Ok(claims) => return Ok(claims),
                Err(kind) => why = reason(&kind),
            }
        }
        Err(invalid(why))
    }

    fn check(&self, token: &str, key: &DecodingKey, pinned: Algorithm) -> Result<Claims, ErrorKind> {
        decode::<Claims>(token, key, &self.validation(pinned))
            .map(|token| token.claims)
            .map_err(jsonwebtoken::errors::Error::into_kind)
    }

    fn validation(&self, pinned: Algorithm) -> Validation {
        let mut validation = Validation::new(pinned);
        let mut required = vec!["exp", "sub"];
        validation.leeway = self.leeway_seconds;
        validation.validate_nbf = true;
        // Where no audience is configured, a token may have been made for any.
        validation.validate_aud = !self.audience.is_empty();
        if !self.audience.is_empty() {
            validation.set_audience(&[&self.audience]);
            required.push("aud");
        }
        if !self.issuer.is_empty() {
            validation.set_issuer(&[&self.issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn credential(claims: &Claims) -> Result<Identity, Problem> {
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

/// What to tell the bearer: what they can mend, and nothing that helps a forger.
fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => "the token has no claim exp",
            "iss" => "the token has no claim iss",
            "aud" => "the token has no claim aud",
            _ => "the token has no claim sub",
        },
        ErrorKind::InvalidIssuer => "the token was issued by somebody else (iss)",
        ErrorKind::InvalidAudience => "the token was made for somebody else (aud)",
        ErrorKind::InvalidAlgorithm => OTHER_ALGORITHM,
        ErrorKind::Json(_) => {
            "the token's claims are not readable: sub and org are UUIDs, role is viewer, operator or admin"
        }
        _ => NOBODY,
    }
}
