//! `POST /api/v1/integrations/{name}/consent`: where a person is to consent, so that the service gives this server tokens.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::ConsentError;
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::http::Shared;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::webhooks::base_url;

/// Where services send people back to, below this server's address.
pub const CALLBACK: &str = "/api/v1/oauth/callback";

/// Where to consent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Consent")]
struct View {
    /// To be opened in a browser.
    url: String,
    /// The address that must be registered with the service.
    redirect_uri: String,
    expires_at: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Begins a person's consent with a service (OAuth 2.0, authorization code with PKCE).", Role::Admin)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .ok::<View>("Where to consent.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    named: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Admin).await?;
    let found = find(&state, asked.caller.scope, &named).await?;
    let redirect_uri = format!("{}{CALLBACK}", base_url(&req, &state));
    let begun = state.engine.begin_consent(&found, &redirect_uri, asked.caller.by).await.map_err(not_begun)?;
    Ok(HttpResponse::Ok().json(View { url: begun.url, redirect_uri, expires_at: rfc3339(begun.until_ms) }))
}

fn not_begun(error: ConsentError) -> Problem {
    match error {
        ConsentError::Connect(error) => error.into(),
        error @ (ConsentError::NotPossible(_) | ConsentError::NotValid | ConsentError::Refused(_)) => {
            Problem::Conflict(error.to_string())
        }
    }
}
