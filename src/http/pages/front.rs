//! `GET /`: what answers here, while no console is built in.

use actix_web::HttpResponse;

use crate::http::openapi::{Access, Doc};

const PAGE: &str = include_str!("front.html");

pub fn doc() -> Doc {
    Doc::new("A page for people.", Access::Open).text("text/html", "The page.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(PAGE)
}
