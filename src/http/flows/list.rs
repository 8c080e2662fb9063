//! `GET /api/v1/flows`: the flows that the caller may see, newest first.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::views::FlowFilter;

use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page};

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(req.headers())?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let filter = FlowFilter {
        flow_name: query.optional("flow_name"),
        trigger_type: query.optional("trigger_type"),
        is_active: query.optional("is_active"),
    };
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    Ok(page::answer(state.views.flows(scope, filter, page).await?))
}
