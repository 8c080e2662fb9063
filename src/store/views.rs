//! Reading for people: lists and single rows of the contract's views, within a scope.
//!
//! A page is found in two steps, in one snapshot. The narrow tables give its keys by an index, in order, from a keyset
//! and never an offset; then the views of `0002_views.sql` give the contract's rows of these keys. A view alone would
//! let the planner choose, and its choice changes with the tenant's size (ADR 002).
//!
//! Types on SQLite: ids are lower-case hyphenated text, times `YYYY-MM-DDTHH:MM:SS.mmmZ`, JSON and arrays text, truth 0
//! or 1; `views/shape.rs` makes both stores' rows the same JSON.
//!
//! Invariants:
//! - Every statement has the tenant of its scope; somebody else's row is one that does not exist.
//! - A page reads by index: no more than it shows, or at most 5,000 rows where a filter has no index.
//! - The same stored rows give the same JSON on both stores.

mod executions;
mod flows;
mod log;
pub(super) mod notifications;
#[cfg(test)]
mod plans;
mod reader;
mod runs;
mod shape;
mod statement;
mod statistics;

use core314_actors::ports::views::{
    ExecutionFilter, FlowFilter, LogFilter, Page, Paged, RunFilter, StatisticsView, Views,
};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::{ExecutionId, FlowId, LogId, RunId};
use serde_json::Value;

use super::SqlStore;
use reader::Reader;

impl Views for SqlStore {
    fn flows(&self, scope: Scope, filter: FlowFilter, page: Page) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(async move { flows::list(&mut Reader::begin(self, scope).await?, filter, page).await })
    }

    fn flow(&self, scope: Scope, id: FlowId) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move { Reader::begin(self, scope).await?.by_key("orchestration_flows", id.0).await })
    }

    fn runs(&self, scope: Scope, filter: RunFilter, page: Page) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(async move { runs::list(&mut Reader::begin(self, scope).await?, filter, page).await })
    }

    fn run(&self, scope: Scope, id: RunId) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move { Reader::begin(self, scope).await?.by_key("flow_runs", id.0).await })
    }

    fn executions(
        &self,
        scope: Scope,
        filter: ExecutionFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(async move { executions::list(&mut Reader::begin(self, scope).await?, filter, page).await })
    }

    fn execution(&self, scope: Scope, id: ExecutionId) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move { executions::one(&mut Reader::begin(self, scope).await?, id).await })
    }

    fn log(&self, scope: Scope, filter: LogFilter, page: Page) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(async move { log::list(&mut Reader::begin(self, scope).await?, filter, page).await })
    }

    fn log_entry(&self, scope: Scope, id: LogId) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move { Reader::begin(self, scope).await?.by_key("execution_log", id.0).await })
    }

    fn statistics(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<StatisticsView, StoreError>> {
        Box::pin(async move { statistics::since(&mut Reader::begin(self, scope).await?, since_ms, now_ms).await })
    }
}
