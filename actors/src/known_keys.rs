//! Service keys that were asked for a moment ago, so that a caller of many requests costs few reads.
//!
//! What is known is believed for [`TTL`] and no longer: a key that another node revokes stops working within that time
//! here too. On this node a revocation forgets the key at once. A digest that no key has is not remembered, because
//! anybody can think of endless ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use core314_domain::ids::RowId;
use dashmap::DashMap;

use crate::ports::StoreError;
use crate::ports::catalog::{Catalog, ServiceKey};

/// How long an answer of the store is believed.
const TTL: Duration = Duration::from_millis(500);
/// Keys that are remembered at once.
const CAPACITY: usize = 10_000;

/// The cache.
#[derive(Default)]
pub struct KnownKeys {
    by_hash: DashMap<[u8; 32], (Instant, Arc<ServiceKey>)>,
    /// How often something was forgotten: what was read before must not be kept after.
    forgotten: AtomicU64,
}

impl KnownKeys {
    /// The key with this digest, at most [`TTL`] old. Looking a digest up says nothing about keys near it.
    pub async fn find(&self, catalog: &dyn Catalog, key_hash: [u8; 32]) -> Result<Option<Arc<ServiceKey>>, StoreError> {
        if let Some(known) = self.by_hash.get(&key_hash)
            && known.0.elapsed() < TTL
        {
            return Ok(Some(known.1.clone()));
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let asked_at = Instant::now();
        let Some(key) = catalog.service_key(key_hash).await?.map(Arc::new) else {
            self.by_hash.remove(&key_hash);
            return Ok(None);
        };
        if self.by_hash.len() >= CAPACITY {
            self.by_hash.clear();
        }
        self.by_hash.insert(key_hash, (asked_at, key.clone()));
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.by_hash.remove(&key_hash);
        }
        Ok(Some(key))
    }

    /// A key was changed.
    pub fn forget(&self, id: RowId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.by_hash.retain(|_, (_, key)| key.id != id);
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::Owner;
    use core314_domain::words::{KeyScope, Role};

    use super::*;
    use crate::ports::store::{KeyWrite, Store, Write};
    use crate::testkit::memory_store::MemoryStore;
    use crate::testkit::store_suite::samples::{NOW_MS, Samples};

    const HASH: [u8; 32] = [3; 32];

    async fn apply(store: &MemoryStore, samples: &mut Samples, owner: Owner, write: KeyWrite) {
        let audit = samples.audit(owner, 0);
        store.commit(vec![Write::ServiceKey(Box::new(write), audit)]).await.expect("it commits");
    }

    #[tokio::test]
    async fn what_is_known_is_believed_until_it_is_forgotten() {
        let (store, samples, known) = (MemoryStore::default(), &mut Samples::new(1), KnownKeys::default());
        let owner = samples.owner();
        let key = ServiceKey {
            id: samples.row_id(),
            owner,
            name: "k".to_owned(),
            scope: KeyScope::Tenant,
            roles: vec![Role::Viewer],
            created_at_ms: NOW_MS,
            expires_at_ms: Some(NOW_MS + 10),
            revoked_at_ms: None,
        };
        let id = key.id;
        assert_eq!(known.find(&store, HASH).await.expect("reads"), None);
        let create = KeyWrite::Create { key: key.clone(), key_hash: HASH, limit: 1 };
        apply(&store, samples, owner, create).await;
        let found = known.find(&store, HASH).await.expect("reads").expect("a key that nobody had is looked for again");
        assert_eq!(*found, key);
        assert!(found.is_live(NOW_MS) && found.is_live(NOW_MS + 9) && !found.is_live(NOW_MS + 10));
        apply(&store, samples, owner, KeyWrite::Revoke { tenant: owner.tenant, id, at_ms: NOW_MS }).await;
        assert!(known.find(&store, HASH).await.expect("reads").expect("known").is_live(NOW_MS), "it is believed");
        known.forget(id);
        assert!(!known.find(&store, HASH).await.expect("reads").expect("known").is_live(NOW_MS));
    }
}
