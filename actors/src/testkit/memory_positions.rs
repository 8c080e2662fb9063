//! Positions of syncs in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use core314_domain::ids::TenantId;

use crate::ports::sync::{Saved, SyncPosition, SyncPositions};
use crate::ports::{BoxFuture, StoreError};

type Kept = BTreeMap<(TenantId, String), SyncPosition>;

/// Keeps positions by tenant and name.
#[derive(Default)]
pub struct MemoryPositions {
    kept: Mutex<Kept>,
}

impl MemoryPositions {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SyncPositions for MemoryPositions {
    fn load<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<Option<SyncPosition>, StoreError>> {
        let found = self.kept().get(&(tenant, name.to_owned())).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn save<'a>(
        &'a self,
        tenant: TenantId,
        name: &'a str,
        position: &'a SyncPosition,
        most: usize,
    ) -> BoxFuture<'a, Result<Saved, StoreError>> {
        let mut kept = self.kept();
        let place = (tenant, name.to_owned());
        let version = kept.get(&place).map_or(0, |found| found.version);
        let count = kept.keys().filter(|(of, _)| *of == tenant).count();
        let saved = if version + 1 != position.version {
            Saved::Moved
        } else if version == 0 && count >= most {
            Saved::LimitReached
        } else {
            kept.insert(place, position.clone());
            Saved::Kept
        };
        Box::pin(std::future::ready(Ok(saved)))
    }

    fn list<'a>(
        &'a self,
        tenant: TenantId,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, SyncPosition)>, StoreError>> {
        let after = after.unwrap_or_default();
        let kept = self.kept();
        let own = kept.iter().filter(|((of, name), _)| *of == tenant && name.as_str() > after);
        let found = own.take(limit).map(|((_, name), position)| (name.clone(), position.clone())).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn forget<'a>(&'a self, tenant: TenantId, name: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        let gone = self.kept().remove(&(tenant, name.to_owned())).is_some();
        Box::pin(std::future::ready(Ok(gone)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sync_suite;
    use super::*;

    #[tokio::test]
    async fn keeps_what_the_suite_asks() {
        sync_suite::a_position_moves_by_its_version(&MemoryPositions::default()).await;
        sync_suite::a_tenant_has_its_own_and_not_too_many(&MemoryPositions::default()).await;
    }
}
