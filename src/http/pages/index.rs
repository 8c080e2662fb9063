//! `GET /api/v1`: the endpoints, read from the table that the server is built from.

use actix_web::HttpResponse;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::openapi::{Access, Doc};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Endpoints")]
struct View {
    /// Methods and path, one line an endpoint.
    endpoints: Vec<String>,
}

pub fn doc() -> Doc {
    Doc::new("Lists the endpoints.", Access::Open).ok::<View>("The endpoints.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().json(View { endpoints: crate::http::routes().endpoints() })
}
