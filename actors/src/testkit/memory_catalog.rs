//! The store in memory as it knows definitions.

use std::collections::BTreeSet;

use core314_domain::ids::{FlowId, RowId, TenantId, WebhookId};
use core314_domain::words::TriggerType;

use super::memory_store::{MemoryStore, ready};
use crate::ports::catalog::{Catalog, RolloutState, ServiceKey, StoredFlow};
use crate::ports::integration::{Integration, KeptBreakers, Secret, TenantConnections};
use crate::ports::store::Webhook;
use crate::ports::{BoxFuture, Scope, StoreError};

impl Catalog for MemoryStore {
    fn active_flows(
        &self,
        tenant: TenantId,
        trigger: TriggerType,
    ) -> BoxFuture<'_, Result<Vec<StoredFlow>, StoreError>> {
        let rows = self.rows();
        let current = rows.flows.values().rev().filter_map(|versions| versions.last());
        let wanted =
            |f: &&StoredFlow| f.owner.tenant == tenant && f.document.trigger_type == trigger && f.document.is_active;
        ready(Ok(current.filter(wanted).cloned().collect()))
    }

    fn waited_events(&self, tenant: TenantId) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        ready(Ok(self.rows().waited_events(tenant)))
    }

    fn flow(&self, scope: Scope, id: FlowId) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>> {
        let found = self.rows().flows.get(&id).and_then(|v| v.last()).cloned();
        ready(Ok(found.filter(|f| scope == Scope::Platform || scope == Scope::Tenant(f.owner.tenant))))
    }

    fn flow_by_name(&self, tenant: TenantId, name: String) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>> {
        let rows = self.rows();
        let mut current = rows.flows.values().filter_map(|versions| versions.last());
        ready(Ok(current.find(|f| f.owner.tenant == tenant && f.document.flow_name == name).cloned()))
    }

    fn flow_version(&self, id: FlowId, version: i64) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>> {
        ready(Ok(self.rows().flows.get(&id).and_then(|v| v.iter().find(|f| f.version == version)).cloned()))
    }

    fn rollout(&self, scope: Scope, flow: FlowId) -> BoxFuture<'_, Result<Option<RolloutState>, StoreError>> {
        let rows = self.rows();
        let own = |state: &&RolloutState| {
            state.rollout.flow == flow
                && (scope == Scope::Platform || scope == Scope::Tenant(state.rollout.owner.tenant))
        };
        ready(Ok(rows.rollouts.values().rfind(own).cloned()))
    }

    fn running_rollouts(&self, scope: Scope) -> BoxFuture<'_, Result<Vec<RolloutState>, StoreError>> {
        let rows = self.rows();
        let own = |state: &&RolloutState| {
            state.rollout.ended_at_ms.is_none()
                && (scope == Scope::Platform || scope == Scope::Tenant(state.rollout.owner.tenant))
        };
        ready(Ok(rows.rollouts.values().filter(own).cloned().collect()))
    }

    fn webhook(&self, id: WebhookId) -> BoxFuture<'_, Result<Option<Webhook>, StoreError>> {
        ready(Ok(self.rows().webhooks.get(&id).cloned()))
    }

    fn integrations(
        &self,
        after: Option<RowId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Integration, KeptBreakers)>, StoreError>> {
        ready(Ok(self.rows().integrations_after(after, limit)))
    }

    fn secrets_page(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Vec<Secret>, StoreError>> {
        let rows = self.rows();
        let behind = rows.secrets.values().filter(|found| after.is_none_or(|after| found.id > after));
        ready(Ok(behind.take(limit).cloned().collect()))
    }

    fn webhooks_page(&self, after: Option<WebhookId>, limit: usize) -> BoxFuture<'_, Result<Vec<Webhook>, StoreError>> {
        let rows = self.rows();
        let behind = rows.webhooks.values().filter(|found| after.is_none_or(|after| found.id > after));
        ready(Ok(behind.take(limit).cloned().collect()))
    }

    fn connections(&self, tenant: TenantId) -> BoxFuture<'_, Result<TenantConnections, StoreError>> {
        ready(Ok(self.rows().connections_of(tenant)))
    }

    fn service_key(&self, key_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<ServiceKey>, StoreError>> {
        let rows = self.rows();
        ready(Ok(rows.service_keys.values().find(|(_, hash)| *hash == key_hash).map(|(key, _)| key.clone())))
    }

    fn service_key_by_id(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<ServiceKey>, StoreError>> {
        let found = self.rows().service_keys.get(&id).map(|(key, _)| key.clone());
        ready(Ok(found.filter(|key| scope == Scope::Platform || scope == Scope::Tenant(key.owner.tenant))))
    }
}
