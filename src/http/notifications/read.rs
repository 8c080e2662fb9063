//! `POST /api/v1/notifications/{id}/read`: marks a notification as read. One that is read or archived stays as it is.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::notifications::Mark;

use core314_actors::ports::resource::Resource;

use super::mark;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

pub fn doc() -> Doc {
    Doc::role("Marks a notification as read.", Role::Viewer)
        .ok_as("The notification as it is now.", resources::row_schema(Resource::Notifications))
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    mark(&req, &id, &state, Mark::Read).await
}
