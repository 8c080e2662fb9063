//! `GET /api/v1/executions/pending-approvals`: what waits for a person, executions and runs that have yet to begin.
//!
//! Both are lists by id, and an execution's id begins with its run's: one cursor leads through both.

use std::cmp::Reverse;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Paged};
use core314_domain::words::{ExecutionStatus, RunStatus};
use schemars::json_schema;
use serde_json::{Value, json};
use uuid::Uuid;

use super::waiting_schema;
use crate::http::auth::Role;
use crate::http::openapi::{Doc, SchemaOf};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, page};

const ITEMS: &str = "A page, newest first. An item with `execution_status` is an execution, one with `run_status` is a run \
                     that waits before it begins. `/api/v1/executions/{id}/approve` and `/reject` decide on both.";

pub fn doc() -> Doc {
    Doc::role("Lists executions, and runs that have yet to begin, that wait for a person.", Role::Viewer)
        .page()
        .ok_as(ITEMS, schema())
}

fn schema() -> SchemaOf {
    Arc::new(|generator| {
        json_schema!({
            "type": "object",
            "required": ["items", "next_cursor"],
            "properties": {
                "items": {"type": "array", "items": waiting_schema()(generator)},
                "next_cursor": {"type": ["string", "null"]},
            },
        })
    })
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let page = page::wanted(&mut query, &state.settings);
    query.finish()?;
    let executions = Filter::of([("execution_status", json!(ExecutionStatus::AwaitingApproval))]);
    let executions = state.views.list(scope, Resource::Executions, executions, page).await?;
    let runs = Filter::of([("run_status", json!(RunStatus::AwaitingApproval))]);
    let runs = state.views.list(scope, Resource::Runs, runs, page).await?;
    Ok(page::answer(merged([executions, runs], page.limit)))
}

/// One page of two lists, in the order of both.
fn merged(lists: [Paged; 2], limit: usize) -> Paged {
    // What a list has behind the place where it stopped is not known yet: nothing of the other is shown from there on.
    let known = lists.iter().filter_map(|list| list.next).max();
    let is_known = |row: &Value| known.is_none_or(|known| id_of(row) >= Some(known));
    let mut items: Vec<Value> = lists.into_iter().flat_map(|list| list.items).filter(is_known).collect();
    items.sort_by_cached_key(|row| Reverse(id_of(row)));
    let is_more = items.len() > limit;
    items.truncate(limit);
    let next = if is_more { items.last().and_then(id_of) } else { known };
    Paged { items, next }
}

fn id_of(row: &Value) -> Option<Uuid> {
    row["id"].as_str().and_then(|id| id.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[u128], next: Option<u128>) -> Paged {
        let items = ids.iter().map(|id| json!({"id": Uuid::from_u128(*id)})).collect();
        Paged { items, next: next.map(Uuid::from_u128) }
    }

    #[test]
    fn two_lists_are_one_in_their_common_order() {
        let both = merged([list(&[9, 5], None), list(&[7, 6], None)], 4);
        assert_eq!(both, list(&[9, 7, 6, 5], None));
        let cut = merged([list(&[9, 5], None), list(&[7, 6], None)], 3);
        assert_eq!(cut, list(&[9, 7, 6], Some(6)));
    }

    #[test]
    fn nothing_is_shown_from_where_one_of_them_has_stopped() {
        let page = merged([list(&[9], Some(8)), list(&[8, 7, 3], Some(3))], 3);
        assert_eq!(page, list(&[9, 8], Some(8)), "there may be another between 8 and 7");
        let empty = merged([list(&[], Some(8)), list(&[7], None)], 3);
        assert_eq!(empty, list(&[], Some(8)));
        let full = merged([list(&[9, 6], Some(6)), list(&[8, 7], Some(7))], 2);
        assert_eq!(full, list(&[9, 8], Some(8)));
    }
}
