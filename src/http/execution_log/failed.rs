//! `GET /api/v1/execution-log/failed`: attempts that failed, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::resource::Resource;

use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

pub fn doc() -> Doc {
    Doc::role("Lists attempts that failed, newest first.", Role::Viewer)
        .page()
        .ok_as("A page.", resources::page_schema(Resource::Log))
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    let mut filter = core314_actors::ports::views::Filter::default();
    filter.and("success", false.into());
    Ok(page::answer(state.views.list(scope, Resource::Log, filter, page).await?))
}
