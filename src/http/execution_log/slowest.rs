//! `GET /api/v1/execution-log/slowest?hours=&limit=`: the attempts that took longest.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Paged;

use super::statistics::{HOUR_MS, MAX_HOURS, hours_of};
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

const DEFAULT_ITEMS: usize = 10;
const MOST_ITEMS: usize = 100;
const BOUNDS: &str = "The attempts, in one page: of a tenant among its 5,000 slowest of all time and the newest 600 of these \
                      hours, over all tenants among those 600 alone.";

pub fn doc() -> Doc {
    Doc::role("Lists the attempts of the last hours that took longest, the slowest first.", Role::Viewer)
        .number("hours", "How many hours back, by default 24.", 1, MAX_HOURS)
        .number("limit", "How many items, by default 10.", 1, MOST_ITEMS)
        .ok_as(BOUNDS, resources::page_schema(Resource::Log))
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let hours = hours_of(&mut query);
    let limit = query.number("limit", 1, MOST_ITEMS).unwrap_or(DEFAULT_ITEMS);
    query.finish()?;
    let since_ms = state.engine.now_ms() - hours * HOUR_MS;
    let items = state.views.slowest(scope, since_ms, limit).await?;
    Ok(page::answer(Paged { items, next: None }))
}
