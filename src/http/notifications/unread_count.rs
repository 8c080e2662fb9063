//! `GET /api/v1/notifications/unread-count`: how many of the user's notifications are unread.

use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::audience;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UnreadCount")]
struct View {
    unread_count: i64,
}

pub fn doc() -> Doc {
    Doc::role("Counts the user's unread notifications.", Role::Viewer).ok::<View>("How many.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let audience = audience(&state, &req).await?;
    Query::of(&req)?.finish()?;
    Ok(HttpResponse::Ok().json(View { unread_count: state.notifications.unread_count(audience).await? }))
}
