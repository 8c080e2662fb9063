//! `DELETE /api/v1/notifications/{id}`: takes a notification out of its user's inbox for good.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::{addressee, id_of, missing};
use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

pub fn doc() -> Doc {
    Doc::role("Deletes a notification.", Role::Viewer).empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let user = addressee(&state, &req).await?;
    if !state.notifications.remove(user, id_of(&id)?, state.engine.now_ms()).await? {
        return Err(missing());
    }
    Ok(HttpResponse::NoContent().finish())
}
