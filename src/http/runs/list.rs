//! `GET /api/v1/runs`: runs of flows, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::views::RunFilter;

use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page};

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let filter = RunFilter { run_status: query.optional("run_status"), flow: query.optional("orchestration_flow_id") };
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    Ok(page::answer(state.views.runs(scope, filter, page).await?))
}
