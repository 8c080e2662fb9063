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
