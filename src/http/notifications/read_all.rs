//! `POST /api/v1/notifications/read-all`: marks all of the user's unread notifications as read.

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::addressee;
use crate::http::Shared;
use crate::http::problem::Problem;

#[derive(Serialize)]
struct View {
    /// How many were unread.
    read_count: i64,
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let user = addressee(&state, req.headers())?;
    let read_count = state.notifications.read_all(user, state.engine.now_ms()).await?;
    Ok(HttpResponse::Ok().json(View { read_count }))
}
