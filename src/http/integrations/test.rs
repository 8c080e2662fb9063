//! `POST /api/v1/integrations/{name}/test`: a real call to the service, and what came of it. A service that refuses is no
//! failed request.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::Tested;
use schemars::JsonSchema;
use serde::Serialize;

use super::find;
use crate::http::Shared;
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// What came of it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationTest")]
struct View {
    ok: bool,
    took_ms: u64,
    /// The status of the answer, where there was one.
    status_code: Option<u16>,
    /// Where the call went: without credentials and query.
    endpoint: Option<String>,
    /// As in the execution log; null where it went well.
    error_code: Option<String>,
    /// The service's own words, without secrets.
    error: Option<String>,
}

impl From<Tested> for View {
    fn from(tested: Tested) -> Self {
        let (error_code, error) = tested.failure.map(|failure| (failure.code, failure.message)).unzip();
        Self {
            ok: error_code.is_none(),
            took_ms: tested.took_ms,
            status_code: tested.http.as_ref().and_then(|http| http.status_code),
            endpoint: tested.http.map(|http| http.endpoint),
            error_code,
            error,
        }
    }
}

pub fn doc() -> Doc {
    Doc::role("Makes a real call to the service behind an integration.", Role::Operator)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .ok::<View>("What came of it.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    named: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let found = find(&state, asked.caller.scope, &named).await?;
    let tested = state.engine.test_integration(&found).await;
    let tested = tested.map_err(|untested| Problem::Conflict(untested.to_string()))?;
    Ok(HttpResponse::Ok().json(View::from(tested)))
}
