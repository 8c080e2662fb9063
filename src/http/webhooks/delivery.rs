//! `GET /api/v1/webhooks/{id}/deliveries/{delivery}`: one delivery.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;

use super::{deliveries, find};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, resources};

pub fn doc() -> Doc {
    resources::show_doc(Resource::Deliveries, "Shows a delivery.")
}

pub async fn handle(
    req: HttpRequest,
    path: web::Path<(String, String)>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let (webhook, delivery) = path.into_inner();
    let webhook = find(&state, scope, &webhook).await?;
    Ok(HttpResponse::Ok().json(deliveries::one(&state, &webhook, &delivery).await?))
}
