//! `GET /api/v1/executions/pending-approvals`: what waits for a person.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::resource::Resource;
use core314_domain::words::ExecutionStatus;
use serde_json::json;

use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

pub fn doc() -> Doc {
    Doc::role("Lists executions that wait for a person.", Role::Viewer)
        .page()
        .ok_as("A page, newest first.", resources::page_schema(Resource::Executions))
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    let mut filter = core314_actors::ports::views::Filter::default();
    filter.and("execution_status", json!(ExecutionStatus::AwaitingApproval));
    Ok(page::answer(state.views.list(scope, Resource::Executions, filter, page).await?))
}
