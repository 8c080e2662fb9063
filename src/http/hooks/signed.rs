//! `POST /hooks/{webhook_id}`: a delivery from outside; its signature, or a bearer token, proves its sender.
//!
//! A signature covers the body, so the body is read first, whether there is such a webhook or not: a stranger learns
//! nothing from a body that is too large.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::sender;
use super::taking::{self, Incoming, Origin};
use crate::http::openapi::{Access, Doc};
use crate::http::operations::HttpMetrics;
use crate::http::problem::Problem;
use crate::http::{Shared, body};

pub fn doc() -> Doc {
    super::described(Doc::new("Takes a delivery to a webhook that verifies a signature or a token.", Access::Open))
        .problem(StatusCode::UNAUTHORIZED)
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
    metrics: web::Data<HttpMetrics>,
) -> Result<HttpResponse, Problem> {
    let bytes = body::read(&req, payload, &state.settings).await?;
    let found = sender::find(&state, &id).await?;
    let proof = sender::by_request(&state, found.as_ref().map(|ready| &ready.webhook), req.headers(), &bytes)?;
    let (Some(ready), Some(proof)) = (found, proof) else {
        metrics.webhook_refused();
        return Err(sender::refusal());
    };
    let (headers, query) = (req.headers(), req.query_string());
    taking::take(&state, Incoming { ready: &ready, headers, query, body: &bytes, proof, origin: Origin::Outside }).await
}
