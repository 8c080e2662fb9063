//! Reading for people: lists and single rows as the API shows them, within a scope.
//!
//! Views are the contract's columns; times are RFC 3339 with milliseconds. A page is bounded and continues by a cursor
//! over the key of its order (newest first), never by an offset.

use core314_domain::ids::{ExecutionId, FlowId, LogId, RunId};
use core314_domain::stats::Stat;
use core314_domain::words::{ExecutionStatus, RunStatus, TriggerType};
use serde::Serialize;
use serde_json::Value;

use super::{BoxFuture, Scope, StoreError};

/// Lists and single rows. `None` also where the row belongs to somebody else.
pub trait Views: Send + Sync + 'static {
    fn flows(&self, scope: Scope, filter: FlowFilter, page: Page) -> BoxFuture<'_, Result<Paged, StoreError>>;
    fn flow(&self, scope: Scope, id: FlowId) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;
    fn runs(&self, scope: Scope, filter: RunFilter, page: Page) -> BoxFuture<'_, Result<Paged, StoreError>>;
    fn run(&self, scope: Scope, id: RunId) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;
    fn executions(&self, scope: Scope, filter: ExecutionFilter, page: Page)
    -> BoxFuture<'_, Result<Paged, StoreError>>;
    fn execution(&self, scope: Scope, id: ExecutionId) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;
    fn log(&self, scope: Scope, filter: LogFilter, page: Page) -> BoxFuture<'_, Result<Paged, StoreError>>;
    fn log_entry(&self, scope: Scope, id: LogId) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;
    /// What the stored statistics say since a time, by action type, summed over partitions and time buckets. The time
    /// is rounded down to a bucket's start, which is returned.
    fn statistics(&self, scope: Scope, since_ms: i64, now_ms: i64)
    -> BoxFuture<'_, Result<StatisticsView, StoreError>>;
}

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// 1 to 500.
    pub limit: usize,
    /// The id behind which the page starts, from the cursor of the page before.
    pub after: Option<uuid::Uuid>,
}

/// Items and where the next page starts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paged {
    pub items: Vec<Value>,
    /// Absent on the last page.
    pub next: Option<uuid::Uuid>,
}

/// Which flows.
#[derive(Debug, Clone, Default)]
pub struct FlowFilter {
    pub flow_name: Option<String>,
    pub trigger_type: Option<TriggerType>,
    pub is_active: Option<bool>,
}

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub run_status: Option<RunStatus>,
    pub flow: Option<FlowId>,
}

/// Which executions.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    pub run: Option<RunId>,
    pub execution_status: Option<ExecutionStatus>,
}

/// Which attempts.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    pub run: Option<RunId>,
    pub execution: Option<ExecutionId>,
    pub success: Option<bool>,
}

/// Statistics of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct StatisticsView {
    pub since_ms: i64,
    pub by_action_type: Vec<(String, Stat)>,
}
