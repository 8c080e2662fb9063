//! `GET /api/v1/executions`: entries of the queue, which are steps of runs, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::views::ExecutionFilter;

use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page};

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let filter =
        ExecutionFilter { run: query.optional("flow_run_id"), execution_status: query.optional("execution_status") };
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    Ok(page::answer(state.views.executions(scope, filter, page).await?))
}
