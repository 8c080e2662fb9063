//! Integrations and secrets as they are stored, and the vault that opens what is sealed.
//!
//! An integration holds the names of secrets, never a secret; a secret is held sealed. A value is opened for one attempt
//! and forgotten with it.

use core314_domain::audit::AuditEntry;
use core314_domain::breaker::Kept;
use core314_domain::ids::{Owner, RowId, TenantId, WebhookId};
use core314_domain::integration::Definition;
use serde::{Deserialize, Serialize};

use super::webhook::WebhookSecret;

/// A named connection of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Integration {
    pub id: RowId,
    pub owner: Owner,
    /// Unique in the tenant; `action_target` names it.
    pub name: String,
    /// The word of its [`Kind`](core314_domain::integration::Kind).
    pub kind: String,
    pub definition: Definition,
    pub is_active: bool,
    /// 1 for a new one; each change makes it one more.
    pub version: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// A secret of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub id: RowId,
    pub owner: Owner,
    /// Unique in the tenant; `secrets.NAME` names it.
    pub name: String,
    /// What people say about it; nothing secret.
    pub description: String,
    /// What the vault made of its value.
    pub sealed: String,
    /// The value before, for as long as both are to be good.
    pub previous: Option<PreviousValue>,
    /// 1 for a new one; each change of the value or the description makes it one more.
    pub version: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// A value that was replaced, and is still good beside the one of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousValue {
    /// What the vault made of it.
    pub sealed: String,
    pub until_ms: i64,
}

impl Secret {
    /// For what a secret's value is sealed: copied into another row it does not open.
    pub fn purpose(id: RowId) -> String {
        format!("secret:{id}")
    }
}

/// All that a tenant has of both.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantConnections {
    pub integrations: Vec<Integration>,
    pub secrets: Vec<Secret>,
}

/// How the breakers of an integration stand, as it is kept through a restart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptBreakers {
    pub primary: Kept,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<Kept>,
}

/// A secret that was sealed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResealedSecret {
    pub id: RowId,
    /// As it was read.
    pub before: String,
    pub after: String,
    /// The value before, as it is to be.
    pub previous: Option<PreviousValue>,
}

/// A webhook whose secrets were sealed anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResealedWebhook {
    pub id: WebhookId,
    /// The version that was read; it stays.
    pub version: i64,
    pub secrets: Vec<WebhookSecret>,
}

/// A change of an integration or a secret. One that is new has version 1; one that is changed has the version after the
/// one that was read, else the change is a conflict. A taken name is refused with
/// [`NameTaken`](super::store::RejectCode::NameTaken), and more than `limit` with
/// [`LimitReached`](super::store::RejectCode::LimitReached).
#[derive(Debug, Clone)]
pub enum ConnectionWrite {
    Integration {
        integration: Integration,
        limit: usize,
        audit: AuditEntry,
    },
    /// One that is gone already is a conflict.
    RemoveIntegration {
        tenant: TenantId,
        id: RowId,
        audit: AuditEntry,
    },
    Secret {
        secret: Secret,
        limit: usize,
        audit: AuditEntry,
    },
    RemoveSecret {
        tenant: TenantId,
        id: RowId,
        audit: AuditEntry,
    },
    /// What was sealed with an earlier key, sealed anew. What has changed since it was read stays as it is.
    Reseal {
        secrets: Vec<ResealedSecret>,
        webhooks: Vec<ResealedWebhook>,
        audit: AuditEntry,
    },
    /// How its breakers stand. One that is gone is a conflict.
    Breakers {
        tenant: TenantId,
        id: RowId,
        kept: KeptBreakers,
        audit: AuditEntry,
    },
}

impl ConnectionWrite {
    /// What the audit log says of it.
    pub fn audit(&self) -> &AuditEntry {
        match self {
            Self::Integration { audit, .. }
            | Self::RemoveIntegration { audit, .. }
            | Self::Secret { audit, .. }
            | Self::RemoveSecret { audit, .. }
            | Self::Breakers { audit, .. }
            | Self::Reseal { audit, .. } => audit,
        }
    }
}

/// Why the vault did not seal or open. The text says what a person should do, and holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Locked(pub String);

/// Seals values for storage and opens them again, each for a purpose.
pub trait Vault: Send + Sync + 'static {
    fn seal(&self, value: &str, purpose: &str) -> Result<String, Locked>;
    fn open(&self, sealed: &str, purpose: &str) -> Result<String, Locked>;
    /// Whether it was sealed with the key that seals now.
    fn is_current(&self, sealed: &str) -> bool;
}
