//! `POST /api/v1/notifications/{id}/read`: marks a notification as read. One that is read or archived stays as it is.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::notifications::Mark;

use super::mark;
use crate::http::Shared;
use crate::http::problem::Problem;

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    mark(&req, &id, &state, Mark::Read).await
}
