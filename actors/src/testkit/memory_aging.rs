//! The store in memory has nothing that ages: metrics and notifications are kept elsewhere or nowhere, and idempotency keys
//! do not expire in it.

use std::future::ready;

use super::memory_store::MemoryStore;
use crate::ports::aging::{Aged, Aging};
use crate::ports::{BoxFuture, StoreError};

impl Aging for MemoryStore {
    fn drop_old(&self, _what: Aged, _before_ms: i64, _limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(ready(Ok(0)))
    }
}
