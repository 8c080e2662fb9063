//! Reading for people: lists and single rows as the API shows them, within a scope.
//!
//! Views are the contract's columns; times are RFC 3339 with milliseconds. A page is bounded and continues by a cursor
//! over the key of its order (newest first), never by an offset.

use std::collections::BTreeMap;

use core314_domain::ids::{RunId, TenantId};
use core314_domain::stats::Stat;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::resource::Resource;
use super::{BoxFuture, Scope, StoreError};

/// Lists and single rows. `None` also where the row belongs to somebody else.
pub trait Views: Send + Sync + 'static {
    /// A page of rows that agree with the filter. A filter that no index answers looks at a bounded number of rows a
    /// page: a page may be short, even empty, and go on.
    fn list(
        &self,
        scope: Scope,
        resource: Resource,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>>;
    fn one(&self, scope: Scope, resource: Resource, id: Uuid) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;
    /// What the stored statistics say since a time, by action type, summed over partitions and time buckets. The time
    /// is rounded down to a bucket's start, which is returned.
    fn statistics(&self, scope: Scope, since_ms: i64, now_ms: i64)
    -> BoxFuture<'_, Result<StatisticsView, StoreError>>;
    /// The same, cut into intervals: each one's start and figures, those without any left out. The interval is a multiple
    /// of the shortest bucket.
    fn timeline(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
        interval_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, Stat)>, StoreError>>;
    /// What the audit log says that was done to a run and its executions, the newest first; that it was started is left out.
    fn deeds(&self, tenant: TenantId, run: RunId, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>>;
    /// The slowest attempts since a time, the slowest first. Of attempts under a tenth of a second, or under a second over
    /// all tenants, only the newest are looked at.
    fn slowest(&self, scope: Scope, since_ms: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>>;
}

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// 1 to 500.
    pub limit: usize,
    /// The id behind which the page starts, from the cursor of the page before.
    pub after: Option<Uuid>,
}

/// Items and where the next page starts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Paged {
    pub items: Vec<Value>,
    /// Absent on the last page.
    pub next: Option<Uuid>,
}

/// What columns must equal: text, numbers and truth as answers show them. Names are those of the resource.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(BTreeMap<&'static str, Value>);

impl Filter {
    /// Nothing but these.
    pub fn of<const N: usize>(columns: [(&'static str, Value); N]) -> Self {
        Self(columns.into())
    }

    /// Adds one more column.
    pub fn and(&mut self, column: &'static str, value: Value) {
        self.0.insert(column, value);
    }

    /// What the column must equal, if it is asked for.
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.get(column)
    }

    /// Takes a column out: whoever does so sees to it.
    pub fn take(&mut self, column: &str) -> Option<Value> {
        self.0.remove(column)
    }

    /// The columns and what they must equal.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(column, value)| (*column, value))
    }

    /// Whether everything was seen to.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row agrees.
    pub fn holds(&self, row: &Value) -> bool {
        self.0.iter().all(|(column, wanted)| row.get(column) == Some(wanted))
    }
}

/// Statistics of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct StatisticsView {
    pub since_ms: i64,
    pub by_action_type: Vec<(String, Stat)>,
}
