//! `GET /api/v1/runs/{id}/phases`: the transitions of a run's phases, newest first.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;
use serde_json::json;

use super::id_of;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

pub fn doc() -> Doc {
    Doc::role("Lists the transitions of a run's phases.", Role::Viewer)
        .page()
        .ok_as("A page.", resources::page_schema(Resource::Phases))
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let id = id_of(&id)?;
    let mut query = Query::of(&req)?;
    let wanted = page::wanted(&mut query, &state.settings);
    query.finish()?;
    state.views.one(scope, Resource::Runs, id.0).await?.ok_or_else(|| Problem::no_row("run"))?;
    let of_run = Filter::of([("workflow_id", json!(id))]);
    Ok(page::answer(state.views.list(scope, Resource::Phases, of_run, wanted).await?))
}
