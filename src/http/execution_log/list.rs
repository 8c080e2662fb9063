//! `GET /api/v1/execution-log`: attempts, one row each, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::views::LogFilter;

use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page};

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let filter = LogFilter {
        run: query.optional("flow_run_id"),
        execution: query.optional("execution_queue_id"),
        success: query.optional("success"),
    };
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    Ok(page::answer(state.views.log(scope, filter, page).await?))
}
