//! `GET /api/v1/syncs`: how far each sync has come, by their names.

use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::ports::sync::SyncPosition;
use core314_domain::ids::{ExecutionId, TenantId};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::flows::rfc3339;
use crate::http::openapi::Doc;
use crate::http::page::ListView;
use crate::http::problem::Problem;
use crate::http::query::Query;

/// A sync.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Sync")]
struct View {
    tenant_id: TenantId,
    /// The payload's `name`.
    name: String,
    /// The execution that moved it last.
    execution_id: ExecutionId,
    /// Whether that execution has moved all rows.
    is_done: bool,
    read: u64,
    written: u64,
    skipped: u64,
    failed: u64,
    /// The first rows that failed: `row` from 1, and `reason`.
    failures: Value,
    /// Where the next incremental sync begins; null before the first has ended.
    cursor: Option<Value>,
    /// One more with each portion that is durable.
    version: i64,
    updated_at: Option<String>,
}

pub fn doc() -> Doc {
    Doc::role("Lists syncs: how far each `data_sync` has come.", Role::Viewer)
        .query::<usize>("limit", "How many at most.")
        .query::<String>("cursor", "The `next_cursor` of the page before.")
        .ok::<ListView<View>>("The syncs, by their names.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    let tenant = credential.act(req.headers(), None)?.owner()?.tenant;
    let mut query = Query::of(&req)?;
    let most = state.settings.max_page_items;
    let limit = query.number("limit", 1, most).unwrap_or(state.settings.default_page_items);
    let after = query.optional::<String>("cursor").and_then(|text| {
        let name = named_by(&text);
        if name.is_none() {
            query.wrong("cursor", "is not a next_cursor of this server");
        }
        name
    });
    query.finish()?;
    let mut found = state.syncs.list(tenant, after.as_deref(), limit + 1).await?;
    let goes_on = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| goes_on).map(|(name, _)| BASE64.encode(name));
    let items = found.into_iter().map(|(name, position)| view(tenant, name, position)).collect();
    Ok(HttpResponse::Ok().json(ListView { items, next_cursor }))
}

fn view(tenant_id: TenantId, name: String, position: SyncPosition) -> View {
    let state = &position.state;
    let count = |name: &str| state["counts"][name].as_u64().unwrap_or_default();
    View {
        tenant_id,
        name,
        execution_id: position.execution,
        is_done: state["is_done"] == true,
        read: count("read"),
        written: count("written"),
        skipped: count("skipped"),
        failed: count("failed"),
        failures: state["failures"].clone(),
        cursor: position.cursor,
        version: position.version,
        updated_at: rfc3339(position.at_ms),
    }
}

/// The name in a cursor; PostgreSQL has no text with a NUL.
fn named_by(cursor: &str) -> Option<String> {
    let name = String::from_utf8(BASE64.decode(cursor).ok()?).ok()?;
    (!name.contains('\0')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_a_sync_that_can_be() {
        assert_eq!(named_by(&BASE64.encode("orders")).as_deref(), Some("orders"));
        for none in [BASE64.encode("a\0b"), BASE64.encode([0xff]), "AAAAAAAAAAAAAAAAAAAAAA".to_owned(), "%".to_owned()]
        {
            assert_eq!(named_by(&none), None, "{none}");
        }
    }
}
