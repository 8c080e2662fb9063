//! Reading for people: lists and single rows of the contract's views, within a scope.
//!
//! A page is found in two steps, in one snapshot. The narrow tables give its keys by an index, in order, from a keyset
//! and never an offset; then the views of `0002_views.sql` give the contract's rows of these keys. A view alone would
//! let the planner choose, and its choice changes with the tenant's size (ADR 002).
//!
//! Types on SQLite: ids are lower-case hyphenated text, times `YYYY-MM-DDTHH:MM:SS.mmmZ`, JSON and arrays text, truth 0
//! or 1. Executions and attempts are read by the views beneath the contract's, `execution_rows` and `log_rows`, in which
//! ids and times are as they are stored. `views/shape.rs` makes all of them, and both stores' rows, the same JSON.
//!
//! Invariants:
//! - Every statement has the tenant of its scope; somebody else's row is one that does not exist.
//! - A page reads by index: no more than it shows, or at most 2,000 rows where a filter has no index.
//! - The same stored rows give the same JSON on both stores.

mod deeds;
mod deliveries;
mod escalations;
mod executions;
pub(super) mod failures;
mod flows;
mod list;
mod log;
pub(super) mod notifications;
mod people;
#[cfg(test)]
mod plans;
mod reader;
mod runs;
mod shape;
mod signals;
mod slowest;
mod statement;
mod statistics;
mod whole;

use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Paged, StatisticsView, Views};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::{RunId, TenantId};
use core314_domain::stats::Stat;
use serde_json::Value;
use uuid::Uuid;

use super::SqlStore;
use reader::Reader;

/// One row.
pub(super) async fn row(
    store: &SqlStore,
    scope: Scope,
    resource: Resource,
    id: Uuid,
) -> Result<Option<Value>, StoreError> {
    let mut reader = Reader::begin(store, scope).await?;
    let found = match resource {
        Resource::Executions => executions::rows(&mut reader, &[id], &Filter::default()).await?.pop(),
        _ => reader.by_key(resource, id).await?,
    };
    match found {
        Some(row) if matches!(resource, Resource::Executions | Resource::Log | Resource::Runs) => {
            whole::whole(&mut reader, row).await.map(Some)
        }
        found => Ok(found),
    }
}

impl Views for SqlStore {
    fn list(
        &self,
        scope: Scope,
        resource: Resource,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(async move { list::page(&mut Reader::begin(self, scope).await?, resource, filter, page).await })
    }

    fn one(&self, scope: Scope, resource: Resource, id: Uuid) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(row(self, scope, resource, id))
    }

    fn statistics(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<StatisticsView, StoreError>> {
        Box::pin(async move { statistics::since(&mut Reader::begin(self, scope).await?, since_ms, now_ms).await })
    }

    fn timeline(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
        interval_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, Stat)>, StoreError>> {
        Box::pin(async move {
            statistics::timeline(&mut Reader::begin(self, scope).await?, since_ms, now_ms, interval_ms).await
        })
    }

    fn deeds(&self, tenant: TenantId, run: RunId, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        Box::pin(async move { deeds::of_run(&mut Reader::begin(self, Scope::Tenant(tenant)).await?, run, limit).await })
    }

    fn slowest(&self, scope: Scope, since_ms: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        Box::pin(async move { slowest::since(&mut Reader::begin(self, scope).await?, since_ms, limit).await })
    }
}
