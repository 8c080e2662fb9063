//! `GET /api/v1/secrets/{name}`: that there is one, by its name or id; never its value.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;
use uuid::Uuid;

use super::{find, missing};
use crate::http::flows::etag;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

pub fn doc() -> Doc {
    resources::show_doc(Resource::Secrets, "Shows a secret, by its name or id, without its value.")
}

pub async fn handle(req: HttpRequest, named: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let id = match named.parse::<Uuid>() {
        Ok(id) => id,
        Err(_) => find(&state, scope, &named).await?.id.0,
    };
    let row = state.views.one(scope, Resource::Secrets, id).await?.ok_or_else(missing)?;
    let version = row["version"].as_i64().unwrap_or_default();
    Ok(HttpResponse::Ok().insert_header(etag(version)).json(row))
}
