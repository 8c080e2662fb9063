//! How far syncs have come: what a `data_sync` needs to go on behind its last durable batch.

use core314_domain::ids::{ExecutionId, TenantId};
use serde_json::Value;

use super::{BoxFuture, StoreError};

/// Keeps how far each sync of a tenant has come. No run's commit depends on it.
pub trait SyncPositions: Send + Sync + 'static {
    /// Where a sync is; `None` where there has been none of this name.
    fn load<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<Option<SyncPosition>, StoreError>>;

    /// Keeps a position, durably. A new one has version 1, any other the version after the one that stands; a tenant has no
    /// more than `most` of them.
    fn save<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
        position: &'a SyncPosition,
        most: usize,
    ) -> BoxFuture<'a, Result<Saved, StoreError>>;

    /// A tenant's syncs by their names, after the given one.
    fn list<'a>(
        &'a self,
        tenant: TenantId,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, SyncPosition)>, StoreError>>;

    /// Forgets a sync, so that it begins from the start; whether there was one.
    fn forget<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>>;
}

/// How far a sync has come.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncPosition {
    pub version: i64,
    /// Whose state it is.
    pub execution: ExecutionId,
    /// Where the last whole sync ended.
    pub cursor: Option<Value>,
    /// How far this execution has come; what it looks like is the executor's own.
    pub state: Value,
    pub at_ms: i64,
}

/// What came of keeping a position. The variants say what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// Go on.
    Kept,
    /// Stop: another execution has moved it, or it was forgotten.
    Moved,
    /// Stop: the tenant has as many syncs as it may.
    LimitReached,
}
