//! `GET /healthz`: the process lives and answers. It asks nobody, so a slow store never gets a live process killed.

use actix_web::HttpResponse;
use serde_json::json;

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}
