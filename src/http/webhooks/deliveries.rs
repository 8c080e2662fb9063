//! `GET /api/v1/webhooks/{id}/deliveries`: what has come in, newest first.

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::webhook::Webhook;
use serde_json::{Value, json};
use uuid::Uuid;

use super::find;
use crate::http::hooks::redact;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, State, page, resources};

pub fn doc() -> Doc {
    resources::list_doc(Resource::Deliveries, "Lists the verified deliveries of a webhook.")
}

pub async fn handle(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let webhook = find(&state, scope, &id).await?;
    let mut query = Query::of(&req)?;
    let mut filter = resources::filter(&mut query, Resource::Deliveries);
    let wanted = page::wanted(&mut query, &state.settings);
    query.finish()?;
    filter.and("webhook_id", json!(webhook.id));
    let scope = Scope::Tenant(webhook.owner.tenant);
    let mut found = state.views.list(scope, Resource::Deliveries, filter, wanted).await?;
    found.items = found.items.into_iter().map(redacted).collect();
    Ok(page::answer(found))
}

/// One delivery of the webhook.
pub(super) async fn one(state: &State, webhook: &Webhook, id: &str) -> Result<Value, Problem> {
    let missing = || Problem::no_row("delivery");
    let id: Uuid = id.parse().map_err(|_| missing())?;
    let scope = Scope::Tenant(webhook.owner.tenant);
    let found = state.views.one(scope, Resource::Deliveries, id).await?;
    let found = found.filter(|row| row["webhook_id"] == json!(webhook.id));
    found.map(redacted).ok_or_else(missing)
}

/// The row as it is shown: runs keep their trigger as it came.
fn redacted(mut row: Value) -> Value {
    row["body"] = redact::masked(row["body"].take());
    row
}
