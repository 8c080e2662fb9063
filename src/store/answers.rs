//! What requests were answered with, by their idempotency keys.

use core314_actors::ports::answers::Answers;
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::TenantId;
use serde_json::Value;

use super::SqlStore;

const ANSWER: &str = "SELECT answer FROM idempotency_keys WHERE tenant_id = $1 AND key = $2";

impl Answers for SqlStore {
    fn answer_of(&self, tenant: TenantId, key: String) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(Scope::Platform).await?;
            let found = connection.fetch(ANSWER, &[tenant.0.into(), key.as_str().into()]).await?;
            Ok(found.first().map(|row| row.fields().json()).transpose()?)
        })
    }
}
