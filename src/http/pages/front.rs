//! `GET /`: what answers here, while no console is built in.

use actix_web::HttpResponse;

const PAGE: &str = include_str!("front.html");

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(PAGE)
}
