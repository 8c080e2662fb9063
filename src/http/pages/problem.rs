//! `GET /problems/{slug}`: the page that a problem's `type` leads to, in Markdown.

use actix_web::{HttpResponse, web};

use crate::http::problem::{Kind, Problem};

pub async fn handle(slug: web::Path<String>) -> Result<HttpResponse, Problem> {
    let kind = Kind::of_slug(&slug).ok_or_else(|| Problem::no_row("problem type"))?;
    Ok(HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(kind.page()))
}
