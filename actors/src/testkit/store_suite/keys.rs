//! What every store must do with service keys.

use core314_domain::ids::Owner;
use core314_domain::words::{KeyScope, Role};

use super::samples::{NOW_MS, Samples};
use super::{commit, log_seq, take};
use crate::ports::Scope;
use crate::ports::catalog::{Catalog, ServiceKey};
use crate::ports::store::{KeyWrite, Outcome, RejectCode, Store, Write};

const HASH: [u8; 32] = [5; 32];

async fn apply(store: &dyn Store, samples: &mut Samples, owner: Owner, write: KeyWrite) -> Outcome {
    let audit = samples.audit(owner, 1);
    commit(store, vec![Write::ServiceKey(Box::new(write), audit)]).await.remove(0)
}

fn key(samples: &mut Samples, owner: Owner) -> ServiceKey {
    ServiceKey {
        id: samples.row_id(),
        owner,
        name: "ci".to_owned(),
        scope: KeyScope::Tenant,
        roles: vec![Role::Viewer, Role::Operator],
        created_at_ms: NOW_MS,
        expires_at_ms: Some(NOW_MS + 1),
        revoked_at_ms: None,
    }
}

/// A key reads back by its digest and by its id within the scope; only its own tenant changes it, and only while it
/// lives.
pub async fn service_keys_read_back(store: &(impl Store + Catalog)) {
    take(store).await;
    let samples = &mut Samples::new(30);
    let (owner, other) = (samples.owner(), samples.owner());
    let made = key(samples, owner);
    let create = KeyWrite::Create { key: made.clone(), key_hash: HASH, limit: 1 };
    assert_eq!(log_seq(&apply(store, samples, owner, create.clone()).await), None);
    assert_eq!(store.service_key(HASH).await.expect("reads"), Some(made.clone()));
    assert_eq!(store.service_key([6; 32]).await.expect("reads"), None);
    for (scope, expected) in [
        (Scope::Tenant(owner.tenant), Some(made.clone())),
        (Scope::Platform, Some(made.clone())),
        (Scope::Tenant(other.tenant), None),
    ] {
        assert_eq!(store.service_key_by_id(scope, made.id).await.expect("reads"), expected, "{scope:?}");
    }

    let (id, at_ms) = (made.id, NOW_MS + 5);
    let rename = |tenant| KeyWrite::Rename { tenant, id, name: "deploy".to_owned(), at_ms };
    let revoke = |tenant| KeyWrite::Revoke { tenant, id, at_ms };
    for write in [rename(other.tenant), revoke(other.tenant)] {
        assert_eq!(apply(store, samples, other, write).await, Outcome::Conflict, "it is somebody else's");
    }
    assert_eq!(store.service_key(HASH).await.expect("reads"), Some(made.clone()));
    log_seq(&apply(store, samples, owner, rename(owner.tenant)).await);
    log_seq(&apply(store, samples, owner, revoke(owner.tenant)).await);
    let ended = ServiceKey { name: "deploy".to_owned(), revoked_at_ms: Some(at_ms), ..made };
    assert_eq!(store.service_key(HASH).await.expect("reads"), Some(ended.clone()));
    for write in [rename(owner.tenant), revoke(owner.tenant)] {
        assert_eq!(apply(store, samples, owner, write).await, Outcome::Conflict, "it is revoked already");
    }
    assert_eq!(store.service_key(HASH).await.expect("reads"), Some(ended), "and stays as it was");
}

/// A tenant has so many live keys and no more; revoked ones do not count, nor do other tenants'.
pub async fn live_service_keys_are_limited(store: &(impl Store + Catalog)) {
    take(store).await;
    let samples = &mut Samples::new(31);
    let (owner, other) = (samples.owner(), samples.owner());
    let mut hash = 0;
    let mut create = async |samples: &mut Samples, owner: Owner| {
        hash += 1;
        let key = key(samples, owner);
        let id = key.id;
        (id, apply(store, samples, owner, KeyWrite::Create { key, key_hash: [hash; 32], limit: 2 }).await)
    };
    let (first, outcome) = create(samples, owner).await;
    log_seq(&outcome);
    log_seq(&create(samples, owner).await.1);
    let (_, third) = create(samples, owner).await;
    assert!(matches!(third, Outcome::Rejected { code: RejectCode::LimitReached, .. }), "{third:?}");
    log_seq(&create(samples, other).await.1);
    let revoke = KeyWrite::Revoke { tenant: owner.tenant, id: first, at_ms: NOW_MS };
    log_seq(&apply(store, samples, owner, revoke).await);
    log_seq(&create(samples, owner).await.1);
}
