//! Definitions: flows and webhooks, as the ingress needs them.

use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, TenantId, WebhookId};
use core314_domain::words::TriggerType;

use super::store::Webhook;
use super::{BoxFuture, Scope, StoreError};

/// Reads definitions. Nothing here is cached: the caller does that.
pub trait Catalog: Send + Sync + 'static {
    /// The active flows of a tenant for a trigger type, newest first.
    fn active_flows(
        &self,
        tenant: TenantId,
        trigger: TriggerType,
    ) -> BoxFuture<'_, Result<Vec<StoredFlow>, StoreError>>;

    /// A flow in its present version.
    fn flow(&self, scope: Scope, id: FlowId) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>>;

    /// A flow by its name.
    fn flow_by_name(&self, tenant: TenantId, name: String) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>>;

    /// A flow in one version, for the runs that started with it.
    fn flow_version(&self, id: FlowId, version: i64) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>>;

    /// A webhook, of any tenant: whoever calls it proves who they are by its verification.
    fn webhook(&self, id: WebhookId) -> BoxFuture<'_, Result<Option<Webhook>, StoreError>>;
}

/// A flow as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFlow {
    pub id: FlowId,
    pub owner: Owner,
    pub version: i64,
    pub document: FlowDocument,
    pub created_at_ms: i64,
}
