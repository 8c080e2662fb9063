//! `POST /api/v1/runs/{id}/signal/{name}`: a signal for whatever step of the run waits for it, now or later.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::hex::hex;
use core314_domain::run::{Command, RequestName};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::control::{shows_the_run, tell};
use crate::http::Shared;
use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// A signal's name has so many characters at most.
const MAX_NAME_CHARS: usize = 100;
/// A signal that nothing waits for yet is kept in the run's row.
const MAX_PAYLOAD_BYTES: usize = 16 * 1024;
/// So many bytes of a digest tell the names of one run's signals apart.
const NAME_BYTES: usize = 16;

pub fn doc() -> Doc {
    let doc = Doc::role("Sends a run a signal; the body is its payload.", Role::Operator);
    shows_the_run(doc.optional_body::<Value>().idempotent())
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    path: web::Path<(String, String)>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let (id, name) = path.into_inner();
    let asked: Asked<Value> = ask::read(&req, payload, &state, Role::Operator).await?;
    if name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS {
        return Err(Problem::field("name", format!("must have 1 to {MAX_NAME_CHARS} characters")));
    }
    let bytes = asked.input.to_string().len();
    if bytes > MAX_PAYLOAD_BYTES {
        let message =
            format!("has {bytes} bytes; a signal carries at most {MAX_PAYLOAD_BYTES}: send a link to the rest");
        return Err(Problem::field("", message));
    }
    // Digests: a run keeps many, and none need be read again.
    let short = |digest: [u8; 32]| -> Arc<str> { hex(&digest[..NAME_BYTES]).into() };
    let request = asked.idempotency.as_ref().map(|request| RequestName {
        key: short(Sha256::digest(request.key.as_bytes()).into()),
        body: short(request.body_hash),
    });
    let command = Command::Signal { name: name.as_str().into(), payload: Arc::new(asked.input.clone()), request };
    tell(&state, &id, &asked, command, asked.remark()).await
}
