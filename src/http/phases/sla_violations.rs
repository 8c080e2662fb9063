//! `GET /api/v1/phases/sla-violations`: transitions that took longer than their phase's threshold, newest first.
//!
//! A page looks at so many transitions as its limit says: it may be short, even empty, and go on.

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Paged};
use serde_json::Value;

use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page, resources};

pub fn doc() -> Doc {
    Doc::role(
        "Lists transitions that took longer than their phase's threshold. A page may be short, even empty, and go on.",
        Role::Viewer,
    )
    .page()
    .ok_as("A page.", resources::page_schema(Resource::Phases))
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let wanted = page::wanted(&mut query, &state.settings);
    query.finish()?;
    let Paged { mut items, next } = state.views.list(scope, Resource::Phases, Filter::default(), wanted).await?;
    items.retain(is_late);
    Ok(page::answer(Paged { items, next }))
}

fn is_late(row: &Value) -> bool {
    let took = row["duration_ms"].as_i64().zip(row["metadata"]["sla_ms"].as_i64());
    took.is_some_and(|(took, most)| took > most)
}
