//! `POST /hooks/{webhook_id}/{secret}`: a delivery from outside; the secret in the URL proves its sender, before the body
//! is read.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::sender;
use super::signature::Proof;
use super::taking::{self, Incoming, Origin};
use crate::http::openapi::{Access, Doc};
use crate::http::operations::HttpMetrics;
use crate::http::problem::Problem;
use crate::http::{Shared, body};

pub fn doc() -> Doc {
    super::described(Doc::new("Takes a delivery to a webhook that a secret in its URL opens.", Access::Open))
        .problem(StatusCode::UNAUTHORIZED)
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    path: web::Path<(String, String)>,
    state: Shared,
    metrics: web::Data<HttpMetrics>,
) -> Result<HttpResponse, Problem> {
    let (id, secret) = path.into_inner();
    let found = sender::find(&state, &id).await?;
    let is_proven = sender::by_url(found.as_ref().map(|ready| &ready.webhook), &secret, state.engine.now_ms());
    let Some(ready) = found.filter(|_| is_proven) else {
        metrics.webhook_refused();
        return Err(sender::refusal());
    };
    let bytes = body::read(&req, payload, &state.settings).await?;
    let proof = Proof { id: None, replay: None };
    let (headers, query) = (req.headers(), req.query_string());
    taking::take(&state, Incoming { ready: &ready, headers, query, body: &bytes, proof, origin: Origin::Outside }).await
}
