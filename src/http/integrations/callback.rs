//! `GET /api/v1/oauth/callback`: where a service sends a person after consent. What came with them proves itself: the state was
//! sealed by this server, and the code is redeemed with the text in it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use core314_actors::engine::ConsentError;

use crate::http::Shared;
use crate::http::escalations::ack::page;
use crate::http::openapi::{Access, Doc};
use crate::http::problem::Problem;
use crate::http::query::Query;

pub fn doc() -> Doc {
    Doc::new("Takes a person back from a service that they consented to.", Access::Open)
        .query::<String>("state", "As this server gave it to the service.")
        .query::<String>("code", "What the service gives for tokens.")
        .query::<String>("error", "Why there is no code (RFC 6749, 4.1.2.1).")
        .query::<String>("error_description", "The same in words.")
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::UNPROCESSABLE_ENTITY)
        .text("text/html", "A page that says so.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&req)?;
    let mut text = |name| query.optional::<String>(name).unwrap_or_default();
    let (sealed, code, error, words) = (text("state"), text("code"), text("error"), text("error_description"));
    // Services send more than the standard asks for, which nobody here reads.
    if !error.is_empty() {
        let shown: String = format!("the service says {error}: {words}").chars().take(500).collect();
        return Err(Problem::field("error", shown));
    }
    let finished = state.engine.finish_consent(&sealed, code).await.map_err(not_finished)?;
    tracing::info!(integration = finished, "a person has consented");
    Ok(page("Connected", "The service gives tokens to this server from now on. This window can be closed.", ""))
}

fn not_finished(error: ConsentError) -> Problem {
    match error {
        ConsentError::NotValid => Problem::field("state", error.to_string()),
        ConsentError::Refused(_) => Problem::field("code", error.to_string()),
        ConsentError::NotPossible(message) => Problem::Conflict(message),
        ConsentError::Connect(error) => error.into(),
    }
}
