//! `POST /api/v1/notifications/read-all`: marks all of the user's unread notifications as read.

use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::addressee;
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReadCount")]
struct View {
    /// How many were unread.
    read_count: i64,
}

pub fn doc() -> Doc {
    Doc::role("Marks all of the user's notifications as read.", Role::Viewer).ok::<View>("How many.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let user = addressee(&state, &req).await?;
    let read_count = state.notifications.read_all(user, state.engine.now_ms()).await?;
    Ok(HttpResponse::Ok().json(View { read_count }))
}
