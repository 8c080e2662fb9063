//! What requests were answered with, by their names.

use core314_domain::ids::TenantId;
use serde_json::Value;

use super::{BoxFuture, StoreError};

/// A store that remembers answers by idempotency keys.
pub trait Answers: Send + Sync + 'static {
    /// What a tenant's request under this key was answered with; `None` where no commit has it, or has it any more.
    fn answer_of(&self, tenant: TenantId, key: String) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;
}
