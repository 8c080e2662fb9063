//! `GET /api/v1`: the endpoints, read from the table that the server is built from.

use actix_web::HttpResponse;
use serde_json::json;

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().json(json!({"endpoints": crate::http::routes().endpoints()}))
}
