//! Service keys: made, renamed, revoked and found.
//!
//! A key is a random text that its holder alone knows; the store has its digest. Every change is in the audit log.

use std::sync::Arc;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{Owner, RowId};
use core314_domain::words::{KeyScope, Role};
use serde_json::json;

use super::{Engine, unexpected};
use crate::ports::catalog::ServiceKey;
use crate::ports::store::{KeyWrite, Outcome, RejectCode, Write};
use crate::ports::{Scope, StoreError};

/// Live keys that one tenant may have; the platform counts as one.
const MOST_LIVE_KEYS: usize = 1_000;

/// A key to make.
#[derive(Debug, Clone)]
pub struct KeyDraft {
    pub owner: Owner,
    pub name: String,
    pub scope: KeyScope,
    pub roles: Vec<Role>,
    pub expires_at_ms: Option<i64>,
    /// SHA-256 of the key.
    pub key_hash: [u8; 32],
    /// Who makes it, for the audit log.
    pub by: String,
}

/// Why a key was not made or changed. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    #[error("there is no such key")]
    NotFound,
    /// Revoke some first.
    #[error("there are {limit} live keys already")]
    TooMany { limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Makes a key.
    pub async fn create_service_key(&self, draft: KeyDraft) -> Result<ServiceKey, KeyError> {
        let runtime = self.runtime();
        let key = ServiceKey {
            id: runtime.row_id(),
            owner: draft.owner,
            name: draft.name,
            scope: draft.scope,
            roles: draft.roles,
            created_at_ms: runtime.now_ms(),
            expires_at_ms: draft.expires_at_ms,
            revoked_at_ms: None,
        };
        let audit = self.key_audit(AuditEvent::ServiceKeyCreated, &key, key.owner, draft.by);
        let write = KeyWrite::Create { key: key.clone(), key_hash: draft.key_hash, limit: MOST_LIVE_KEYS };
        match self.commit(Write::ServiceKey(Box::new(write), audit)).await? {
            Outcome::Committed { .. } => Ok(key),
            Outcome::Rejected { code: RejectCode::LimitReached, .. } => {
                Err(KeyError::TooMany { limit: MOST_LIVE_KEYS })
            }
            other => Err(unexpected(other).into()),
        }
    }

    /// Gives a live key of the owner's tenant another name.
    pub async fn rename_service_key(
        &self,
        owner: Owner,
        id: RowId,
        name: String,
        by: String,
    ) -> Result<ServiceKey, KeyError> {
        let key = self.service_key_of(owner, id).await?;
        let key = ServiceKey { name, ..key };
        let audit = self.key_audit(AuditEvent::ServiceKeyRenamed, &key, owner, by);
        let at_ms = audit.at_ms;
        let write = KeyWrite::Rename { tenant: owner.tenant, id, name: key.name.clone(), at_ms };
        match self.commit_key(write, audit, id).await? {
            Outcome::Committed { .. } => Ok(key),
            Outcome::Conflict => Err(KeyError::NotFound),
            other => Err(unexpected(other).into()),
        }
    }

    /// Revokes a key of the owner's tenant; one that is revoked already stays so.
    pub async fn revoke_service_key(&self, owner: Owner, id: RowId, by: String) -> Result<(), KeyError> {
        let key = self.service_key_of(owner, id).await?;
        if key.revoked_at_ms.is_some() {
            return Ok(());
        }
        let audit = self.key_audit(AuditEvent::ServiceKeyRevoked, &key, owner, by);
        let write = KeyWrite::Revoke { tenant: owner.tenant, id, at_ms: audit.at_ms };
        match self.commit_key(write, audit, id).await? {
            // Somebody else was faster.
            Outcome::Committed { .. } | Outcome::Conflict => Ok(()),
            other => Err(unexpected(other).into()),
        }
    }

    /// The key with this digest, if it opens anything now. What was read is believed for half a second.
    pub async fn live_service_key(&self, key_hash: [u8; 32]) -> Result<Option<Arc<ServiceKey>>, StoreError> {
        let runtime = self.runtime();
        let found = runtime.known_keys.find(runtime.catalog.as_ref(), key_hash).await?;
        Ok(found.filter(|key| key.is_live(runtime.now_ms())))
    }

    /// A key by its id.
    pub async fn service_key(&self, scope: Scope, id: RowId) -> Result<Option<ServiceKey>, StoreError> {
        self.runtime().catalog.service_key_by_id(scope, id).await
    }

    async fn service_key_of(&self, owner: Owner, id: RowId) -> Result<ServiceKey, KeyError> {
        self.service_key(Scope::Tenant(owner.tenant), id).await?.ok_or(KeyError::NotFound)
    }

    /// Commits a change of a key, and forgets what is known of it, whether the caller still waits or not.
    async fn commit_key(&self, write: KeyWrite, audit: AuditEntry, id: RowId) -> Result<Outcome, StoreError> {
        let runtime = self.runtime().clone();
        let write = Write::ServiceKey(Box::new(write), audit);
        self.commit_then(write, move || runtime.known_keys.forget(id)).await
    }

    fn key_audit(&self, event: AuditEvent, key: &ServiceKey, owner: Owner, by: String) -> AuditEntry {
        AuditEntry {
            owner,
            partition: 0,
            event,
            actor: by,
            subject_type: "service_key",
            subject_id: Some(key.id.0),
            decision_event_id: None,
            summary: format!("{} '{}'", event.as_str().replace('_', " "), key.name),
            details: json!({"scope": key.scope, "roles": key.roles, "expires_at_ms": key.expires_at_ms}),
            at_ms: self.now_ms(),
        }
    }
}
