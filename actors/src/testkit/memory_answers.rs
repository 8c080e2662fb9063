//! What requests were answered with, in memory.

use std::future::ready;

use core314_domain::ids::TenantId;
use serde_json::Value;

use super::memory_store::MemoryStore;
use crate::ports::answers::Answers;
use crate::ports::{BoxFuture, StoreError};

impl Answers for MemoryStore {
    fn answer_of(&self, tenant: TenantId, key: String) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        let answer = self.rows().keys.get(&(tenant, key)).map(|(_, answer)| answer.clone());
        Box::pin(ready(Ok(answer)))
    }
}
