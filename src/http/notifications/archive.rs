//! `POST /api/v1/notifications/{id}/archive`: puts a notification away. One that is archived stays as it is.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::notifications::Mark;

use super::mark;
use crate::http::Shared;
use crate::http::problem::Problem;

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    mark(&req, &id, &state, Mark::Archived).await
}
