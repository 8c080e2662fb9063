//! `/api/v1/templates`: the templates that come with the program.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_domain::document::FlowDocument;
use core314_domain::document::parameters::Parameter;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

use super::Shared;
use super::ask::{self, Asked};
use super::auth::Role;
use super::flows::instantiate;
use super::openapi::Doc;
use super::page::ListView;
use super::problem::Problem;
use crate::gallery::GALLERY;

/// A template of the gallery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Template")]
struct View {
    name: &'static str,
    description: String,
    category: String,
    parameters: BTreeMap<String, Parameter>,
}

pub fn list_doc() -> Doc {
    Doc::role("Lists the templates that come with the program.", Role::Viewer).ok::<ListView<View>>("All of them.")
}

pub async fn list(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    let view = |(name, template): (&'static String, &'static FlowDocument)| View {
        name,
        description: template.flow_description.clone(),
        category: template.flow_category.clone(),
        parameters: template.parameters.clone(),
    };
    let items = GALLERY.iter().map(view).collect();
    Ok(HttpResponse::Ok().json(ListView::<View> { items, next_cursor: None }))
}

pub fn show_doc() -> Doc {
    Doc::role("Shows the document of a template.", Role::Viewer).ok::<FlowDocument>("The document.")
}

pub async fn show(req: HttpRequest, name: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    Ok(HttpResponse::Ok().json(template(&name)?))
}

pub fn instantiate_doc() -> Doc {
    Doc { summary: "Makes a flow of a template that comes with the program.", ..instantiate::doc() }
        .problem(StatusCode::NOT_FOUND)
}

pub async fn make(
    req: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<instantiate::Input> = ask::read(&req, payload, &state, Role::Admin).await?;
    instantiate::make(&state, asked, template(&name)?).await
}

fn template(name: &str) -> Result<&'static FlowDocument, Problem> {
    GALLERY.get(name).ok_or_else(|| Problem::no_row("template; GET /api/v1/templates lists those there are"))
}
