//! `GET /api/v1/runs/{id}/why`: what a run that has not ended waits for.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::ids::RunId;
use core314_domain::run::Reason;
use core314_domain::words::RunStatus;
use schemars::JsonSchema;
use serde::Serialize;

use super::id_of;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// Why a run does not go on.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Why")]
struct View {
    run_id: RunId,
    run_status: RunStatus,
    /// Empty for a run that has ended.
    reasons: Vec<ReasonView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Reason")]
struct ReasonView {
    #[serde(flatten)]
    reason: Reason,
    /// When it goes on by itself; null: somebody or something else must act first.
    wakes_at: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Says what a run waits for, and what holds it.", Role::Viewer).ok::<View>("The reasons.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let run_id = id_of(&id)?;
    let (run_status, reasons) = state.engine.why(scope, run_id).await?;
    let reasons =
        reasons.into_iter().map(|reason| ReasonView { wakes_at: reason.wakes_at_ms.and_then(rfc3339), reason });
    Ok(HttpResponse::Ok().json(View { run_id, run_status, reasons: reasons.collect() }))
}
