//! `GET /problems/{slug}`: the page that a problem's `type` leads to, in Markdown.

use actix_web::{HttpResponse, web};

use crate::http::openapi::{Access, Doc};
use crate::http::problem::{Kind, Problem};

pub fn doc() -> Doc {
    Doc::new("What a problem's type means, and what to do.", Access::Open).text("text/markdown", "The page.")
}

pub async fn handle(slug: web::Path<String>) -> Result<HttpResponse, Problem> {
    let kind = Kind::of_slug(&slug).ok_or_else(|| Problem::no_row("problem type"))?;
    Ok(HttpResponse::Ok().content_type("text/markdown; charset=utf-8").body(kind.page()))
}
