//! What every store must do with integrations and secrets.

use core314_domain::breaker::Kept;
use core314_domain::ids::Owner;
use core314_domain::integration::Definition;
use serde_json::json;

use super::samples::{NOW_MS, Samples};
use super::{commit, log_seq, take};
use crate::ports::catalog::Catalog;
use crate::ports::integration::{ConnectionWrite, Integration, KeptBreakers, PreviousValue, Secret, TenantConnections};
use crate::ports::store::{Outcome, RejectCode, Store, Write};

async fn apply(store: &dyn Store, write: ConnectionWrite) -> Outcome {
    commit(store, vec![Write::Connection(Box::new(write))]).await.remove(0)
}

fn integration(samples: &mut Samples, owner: Owner, name: &str) -> Integration {
    let definition =
        json!({"endpoint": "https://h/x", "credentials": {"token": "secrets.T"}, "settings": {"n": [1, null]}});
    Integration {
        id: samples.row_id(),
        owner,
        name: name.to_owned(),
        kind: "http".to_owned(),
        definition: serde_json::from_value::<Definition>(definition).expect("a definition"),
        is_active: true,
        version: 1,
        created_at_ms: NOW_MS,
        updated_at_ms: NOW_MS,
    }
}

fn secret(samples: &mut Samples, owner: Owner, name: &str) -> Secret {
    Secret {
        id: samples.row_id(),
        owner,
        name: name.to_owned(),
        description: "what it is for".to_owned(),
        sealed: "v1.k.x".to_owned(),
        previous: None,
        version: 1,
        created_at_ms: NOW_MS,
        updated_at_ms: NOW_MS,
    }
}

/// How breakers stand is kept beside the definition, and makes no version of it.
pub async fn breakers_are_kept(store: &(impl Store + Catalog)) {
    take(store).await;
    let samples = &mut Samples::new(34);
    let (owner, other) = (samples.owner(), samples.owner());
    let (made, theirs) = (integration(samples, owner, "crm"), integration(samples, other, "crm"));
    for integration in [&made, &theirs] {
        let audit = samples.audit(integration.owner, 1);
        let write = ConnectionWrite::Integration { integration: integration.clone(), limit: 2, audit };
        log_seq(&apply(store, write).await);
    }
    let kept_breakers = KeptBreakers {
        primary: Kept { since_ms: NOW_MS, reason: "3 of 4 calls failed".to_owned(), ..Kept::default() },
        backup: None,
    };
    let breakers = |tenant, samples: &mut Samples| ConnectionWrite::Breakers {
        tenant,
        id: made.id,
        kept: kept_breakers.clone(),
        audit: samples.audit(owner, 1),
    };
    assert_eq!(apply(store, breakers(other.tenant, samples)).await, Outcome::Conflict, "it is somebody else's");
    log_seq(&apply(store, breakers(owner.tenant, samples)).await);
    let all = store.integrations(None, 10).await.expect("reads");
    assert_eq!(all.len(), 2, "those of all tenants");
    assert!(all.iter().any(|(found, kept)| found.id == made.id && *kept == kept_breakers), "{all:?}");
    let (first, _) = &all[0];
    assert_eq!(store.integrations(Some(first.id), 1).await.expect("reads")[0].0.id, all[1].0.id);
}

/// Both read back as they were written, in their versions and within their tenant; names are unique, and there are only so
/// many.
pub async fn connections_read_back(store: &(impl Store + Catalog)) {
    take(store).await;
    let samples = &mut Samples::new(33);
    let (owner, other) = (samples.owner(), samples.owner());
    let save = |integration: &Integration, samples: &mut Samples| ConnectionWrite::Integration {
        integration: integration.clone(),
        limit: 2,
        audit: samples.audit(integration.owner, 1),
    };
    let keep = |secret: &Secret, samples: &mut Samples| ConnectionWrite::Secret {
        secret: secret.clone(),
        limit: 2,
        audit: samples.audit(secret.owner, 1),
    };
    let (made, kept) = (integration(samples, owner, "crm"), secret(samples, owner, "T"));
    log_seq(&apply(store, save(&made, samples)).await);
    log_seq(&apply(store, keep(&kept, samples)).await);
    let found = store.connections(owner.tenant).await.expect("reads");
    assert_eq!(found, TenantConnections { integrations: vec![made.clone()], secrets: vec![kept.clone()] });
    assert_eq!(store.connections(other.tenant).await.expect("reads"), TenantConnections::default());

    let next = Integration { is_active: false, version: 2, updated_at_ms: NOW_MS + 1, ..made.clone() };
    log_seq(&apply(store, save(&next, samples)).await);
    assert_eq!(apply(store, save(&next, samples)).await, Outcome::Conflict, "it has that version already");
    let previous = Some(PreviousValue { sealed: kept.sealed.clone(), until_ms: NOW_MS + 60_000 });
    let changed = Secret { sealed: "v1.k.y".to_owned(), previous, version: 2, ..kept.clone() };
    log_seq(&apply(store, keep(&changed, samples)).await);
    assert_eq!(apply(store, keep(&changed, samples)).await, Outcome::Conflict);
    let theirs = Secret { owner: other, version: 3, ..changed.clone() };
    assert_eq!(apply(store, keep(&theirs, samples)).await, Outcome::Conflict, "it is somebody else's");
    let found = store.connections(owner.tenant).await.expect("reads");
    assert_eq!(found, TenantConnections { integrations: vec![next], secrets: vec![changed] });

    for outcome in [
        apply(store, save(&integration(samples, owner, "crm"), samples)).await,
        apply(store, keep(&secret(samples, owner, "T"), samples)).await,
    ] {
        assert!(matches!(outcome, Outcome::Rejected { code: RejectCode::NameTaken, .. }), "{outcome:?}");
    }
    log_seq(&apply(store, save(&integration(samples, other, "crm"), samples)).await);
    log_seq(&apply(store, keep(&secret(samples, owner, "U"), samples)).await);
    let full = apply(store, keep(&secret(samples, owner, "V"), samples)).await;
    assert!(matches!(full, Outcome::Rejected { code: RejectCode::LimitReached, .. }), "{full:?}");

    let remove = |tenant, samples: &mut Samples| {
        let audit = samples.audit(owner, 1);
        ConnectionWrite::RemoveIntegration { tenant, id: made.id, audit }
    };
    assert_eq!(apply(store, remove(other.tenant, samples)).await, Outcome::Conflict, "it is somebody else's");
    log_seq(&apply(store, remove(owner.tenant, samples)).await);
    assert_eq!(apply(store, remove(owner.tenant, samples)).await, Outcome::Conflict, "it is gone");
    let audit = samples.audit(owner, 1);
    log_seq(&apply(store, ConnectionWrite::RemoveSecret { tenant: owner.tenant, id: kept.id, audit }).await);
    assert_eq!(store.connections(owner.tenant).await.expect("reads").secrets.len(), 1);
}
