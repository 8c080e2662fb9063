//! `GET /api/v1/notifications/unread-count`: how many of the user's notifications are unread.

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::audience;
use crate::http::Shared;
use crate::http::problem::Problem;
use crate::http::query::Query;

#[derive(Serialize)]
struct View {
    unread_count: i64,
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let audience = audience(&state, req.headers())?;
    Query::of(&req)?.finish()?;
    Ok(HttpResponse::Ok().json(View { unread_count: state.notifications.unread_count(audience).await? }))
}
