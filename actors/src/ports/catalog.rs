//! Definitions: flows and webhooks as the ingress needs them, and the service keys that let callers in.

use std::collections::BTreeSet;

use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner, RowId, TenantId, WebhookId};
use core314_domain::rollout::{Ended, RolloutStatus, RolloutTerms};
use core314_domain::words::{KeyScope, Role, TriggerType};

use super::integration::{Integration, KeptBreakers, Secret, TenantConnections};
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

    /// The types of the events that flows of the tenant wait for, or did in an earlier version.
    fn waited_events(&self, tenant: TenantId) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>>;

    /// A flow in its present version.
    fn flow(&self, scope: Scope, id: FlowId) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>>;

    /// A flow by its name.
    fn flow_by_name(&self, tenant: TenantId, name: String) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>>;

    /// A flow in one version, for the runs that started with it.
    fn flow_version(&self, id: FlowId, version: i64) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>>;

    /// A flow's newest roll-out, running or ended, with what has ended since it began.
    fn rollout(&self, scope: Scope, flow: FlowId) -> BoxFuture<'_, Result<Option<RolloutState>, StoreError>>;

    /// The running roll-outs of a tenant, or of all.
    fn running_rollouts(&self, scope: Scope) -> BoxFuture<'_, Result<Vec<RolloutState>, StoreError>>;

    /// A webhook, of any tenant: whoever calls it proves who they are by its verification.
    fn webhook(&self, id: WebhookId) -> BoxFuture<'_, Result<Option<Webhook>, StoreError>>;

    /// The secrets of all tenants, in the order of their ids, after the given one.
    fn secrets_page(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Vec<Secret>, StoreError>>;

    /// The webhooks of all tenants, in the order of their ids, after the given one.
    fn webhooks_page(&self, after: Option<WebhookId>, limit: usize) -> BoxFuture<'_, Result<Vec<Webhook>, StoreError>>;

    /// The integrations and secrets of a tenant.
    fn connections(&self, tenant: TenantId) -> BoxFuture<'_, Result<TenantConnections, StoreError>>;

    /// The integrations of all tenants with their breakers, in the order of their ids, after the given one.
    fn integrations(
        &self,
        after: Option<RowId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Integration, KeptBreakers)>, StoreError>>;

    /// The service key with this digest, of any tenant, revoked and expired ones too: whoever holds it is its caller.
    fn service_key(&self, key_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<ServiceKey>, StoreError>>;

    /// A service key by its id.
    fn service_key_by_id(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<ServiceKey>, StoreError>>;
}

/// A version of a flow that is given to a share of its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    pub id: RowId,
    pub owner: Owner,
    pub flow: FlowId,
    /// The version that is rolled out.
    pub candidate: i64,
    /// The version of the other runs.
    pub base: i64,
    pub terms: RolloutTerms,
    pub status: RolloutStatus,
    /// Why it ended.
    pub reason: Option<String>,
    pub started_at_ms: i64,
    pub ended_at_ms: Option<i64>,
}

/// A roll-out and its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutState {
    pub rollout: Rollout,
    pub candidate: Ended,
    pub base: Ended,
}

/// A service key as stored, without its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceKey {
    pub id: RowId,
    /// Whom a tenant's key acts for unless it names somebody; the platform for a key of platform scope.
    pub owner: Owner,
    pub name: String,
    pub scope: KeyScope,
    /// At least one; the highest of them says what the key may do.
    pub roles: Vec<Role>,
    pub created_at_ms: i64,
    /// Absent: it does not expire.
    pub expires_at_ms: Option<i64>,
    pub revoked_at_ms: Option<i64>,
}

impl ServiceKey {
    /// The highest of its roles.
    pub fn role(&self) -> Role {
        self.roles.iter().copied().max().unwrap_or(Role::Viewer)
    }

    /// Whether it opens anything at this time.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|expires_at_ms| now_ms < expires_at_ms)
    }
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
