//! `GET /api/v1/executions/{id}`: one execution, as the queue shows it.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;

use super::{absent, parts_of};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

pub fn doc() -> Doc {
    Doc::role("Shows an execution. Those of a loop's rounds that are over are in the log alone.", Role::Viewer)
        .ok_as("The row.", resources::row_schema(Resource::Executions))
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let (id, ..) = parts_of(&id)?;
    match state.views.one(scope, Resource::Executions, id.0).await? {
        Some(row) => Ok(HttpResponse::Ok().json(row)),
        None => Err(absent(&state, scope, id).await?),
    }
}
