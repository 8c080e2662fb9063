//! `GET /api/v1/flow-templates`: flows that are there to be cloned.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Filter;

use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

pub fn doc() -> Doc {
    Doc::role("Lists the flows that are templates.", Role::Viewer)
        .page()
        .ok_as("A page, newest first.", resources::page_schema(Resource::Flows))
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    let templates = Filter::of([("is_template", true.into())]);
    Ok(page::answer(state.views.list(scope, Resource::Flows, templates, page).await?))
}
