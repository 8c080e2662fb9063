//! A tenant's rows as lines of JSON: what its people see through the API, all that it lists.
//!
//! The store is read without a server or beside one, a page at a time, so that what changes meanwhile is read as it is then.
//! Values that lists only refer to, because they are large, are read one by one.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Views};
use core314_actors::shown_views::ShownViews;
use core314_domain::ids::TenantId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{installation, prepare};
use crate::config::Config;
use crate::store::SqlStore;

/// Rows that are read at once.
const PAGE: usize = 200;

/// Tables, each with how many of its rows were written.
pub type Exported = Vec<(&'static str, u64)>;

/// Writes everything that the API lists of a tenant, a line each: `{"table", "row"}`.
pub fn export_tenant(
    config: &Config,
    tenant: Uuid,
    out: &mut dyn Write,
    say: &dyn Fn(&str),
) -> anyhow::Result<Exported> {
    let mut options = installation::patient(config)?;
    options.read_only = true;
    prepare()?.block_on(async {
        let store = SqlStore::open(&config.database_url(), options).await.context("the store cannot be opened")?;
        let store = Arc::new(store);
        let executors = installation::executors(config, &store)?;
        let executors = executors.into_iter().map(|executor| (executor.action_type(), executor)).collect();
        write_all(&ShownViews::new(store, executors), TenantId(tenant), out, say).await
    })
}

async fn write_all(
    views: &dyn Views,
    tenant: TenantId,
    out: &mut dyn Write,
    say: &dyn Fn(&str),
) -> anyhow::Result<Exported> {
    let scope = Scope::Tenant(tenant);
    let mut exported = Exported::new();
    let mut webhooks: Vec<Value> = Vec::new();
    for resource in Resource::ALL.iter().copied() {
        let mut count = 0;
        for filter in filters(resource, &webhooks) {
            let mut after = None;
            loop {
                let paged = views.list(scope, resource, filter.clone(), Page { limit: PAGE, after }).await?;
                for row in paged.items {
                    if resource == Resource::Webhooks {
                        webhooks.push(row["id"].clone());
                    }
                    let row = whole(views, scope, resource, row).await?;
                    serde_json::to_writer(&mut *out, &json!({"table": resource.view(), "row": row}))?;
                    out.write_all(b"\n")?;
                    count += 1;
                }
                say(&format!("{}: {count} rows", resource.view()));
                after = paged.next;
                if after.is_none() {
                    break;
                }
            }
        }
        exported.push((resource.view(), count));
    }
    out.flush()?;
    Ok(exported)
}

/// What is asked for to list all rows. Deliveries are listed by their webhook alone, and webhooks come before them.
fn filters(resource: Resource, webhooks: &[Value]) -> Vec<Filter> {
    if resource == Resource::Deliveries {
        return webhooks.iter().map(|id| Filter::of([("webhook_id", id.clone())])).collect();
    }
    vec![Filter::default()]
}

/// The row with the values to which its list only refers.
async fn whole(views: &dyn Views, scope: Scope, resource: Resource, row: Value) -> anyhow::Result<Value> {
    if !refers(&row) {
        return Ok(row);
    }
    let id: Option<Uuid> = row["id"].as_str().and_then(|id| id.parse().ok());
    let Some(id) = id else { return Ok(row) };
    Ok(views.one(scope, resource, id).await?.unwrap_or(row))
}

/// Whether a value of the row is a reference to a large one.
fn refers(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.contains_key("$blob") || members.values().any(refers),
        Value::Array(items) => items.iter().any(refers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_asked_for_by_each_webhook_and_webhooks_come_first() {
        let place = |resource: Resource| Resource::ALL.iter().position(|one| *one == resource);
        assert!(place(Resource::Webhooks) < place(Resource::Deliveries));
        let asked = filters(Resource::Deliveries, &[json!("a"), json!("b")]);
        assert_eq!(asked, ["a", "b"].map(|id| Filter::of([("webhook_id", json!(id))])));
        assert_eq!(filters(Resource::Flows, &[json!("a")]), [Filter::default()]);
    }

    #[test]
    fn references_are_found_wherever_they_stand() {
        assert!(refers(&json!({"id": "x", "execution_result": {"$blob": "y", "bytes": 70_000}})));
        assert!(refers(&json!({"a": [{"b": {"$blob": "y"}}]})));
        assert!(!refers(&json!({"a": "$blob", "b": [1, null, true]})));
    }
}
