//! Definitions as the ingress needs them: flows, webhooks and service keys.

use std::collections::BTreeSet;

use core314_actors::ports::catalog::{Catalog, RolloutState, ServiceKey, StoredFlow};
use core314_actors::ports::integration::{Integration, KeptBreakers, Secret, TenantConnections};
use core314_actors::ports::store::{Webhook, WebhookTarget};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, RowId, TenantId, WebhookId};
use core314_domain::words::TriggerType;
use uuid::Uuid;

use super::cell::{Cell, Fields};
use super::commit::webhooks::read_secret;
use super::engine::owner;
use super::failure::Failure;
use super::{Pools, SqlStore, connections, events, rollouts};

/// The columns of a flow as [`flow`] reads them.
macro_rules! flow_columns {
    () => {
        "SELECT f.id, f.tenant_id, f.user_id, f.organization_id, f.flow_version, f.document, f.created_at_ms FROM flows f "
    };
}
pub(super) use flow_columns;

const ACTIVE_FLOWS: &str =
    concat!(flow_columns!(), "WHERE f.tenant_id = $1 AND f.trigger_type = $2 AND f.is_active ORDER BY f.id DESC");
/// SQLite uses a partial index for its own words alone.
const ACTIVE_FLOWS_SQLITE: &str =
    concat!(flow_columns!(), "WHERE f.tenant_id = $1 AND f.trigger_type = $2 AND f.is_active = 1 ORDER BY f.id DESC");
/// Without a tenant: any.
const FLOW: &str = concat!(flow_columns!(), "WHERE f.id = $1 AND ($2 IS NULL OR f.tenant_id = $2)");
const FLOW_BY_NAME: &str = concat!(flow_columns!(), "WHERE f.tenant_id = $1 AND f.flow_name = $2");
/// Also of a flow that was deleted, and of a single action, which is no flow.
const FLOW_VERSION: &str = "SELECT v.flow_id, v.tenant_id, coalesce(f.user_id, v.created_by), f.organization_id, v.flow_version, \
    v.document, v.created_at_ms FROM flow_versions v LEFT JOIN flows f ON f.id = v.flow_id \
    WHERE v.flow_id = $1 AND v.flow_version = $2";
/// The columns of a webhook as [`webhook`] reads them.
macro_rules! webhook_columns {
    () => {
        "SELECT id, tenant_id, user_id, organization_id, name, verification, options, secrets, trigger_type, flow_id, \
         dedup_key, respond, is_active, version, created_at_ms, updated_at_ms FROM webhooks "
    };
}

const WEBHOOK: &str = concat!(webhook_columns!(), "WHERE id = $1");
const WEBHOOKS_PAGE: &str = concat!(webhook_columns!(), "WHERE ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2");
/// The columns of a service key as [`service_key`] reads them.
macro_rules! key_columns {
    () => {
        "SELECT id, tenant_id, user_id, organization_id, name, scope, roles, created_at_ms, expires_at_ms, \
         revoked_at_ms FROM keys "
    };
}

const KEY_BY_HASH: &str = concat!(key_columns!(), "WHERE key_hash = $1");
/// Without a tenant: any.
const KEY_BY_ID: &str = concat!(key_columns!(), "WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");

impl Catalog for SqlStore {
    fn active_flows(
        &self,
        tenant: TenantId,
        trigger: TriggerType,
    ) -> BoxFuture<'_, Result<Vec<StoredFlow>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), trigger.as_str().into()];
            let sql = if matches!(self.readers(), Pools::Sqlite(_)) { ACTIVE_FLOWS_SQLITE } else { ACTIVE_FLOWS };
            Ok(flows(self, Scope::Tenant(tenant), sql, &cells).await?)
        })
    }

    fn waited_events(&self, tenant: TenantId) -> BoxFuture<'_, Result<BTreeSet<String>, StoreError>> {
        Box::pin(async move { Ok(events::kinds(self, tenant).await?) })
    }

    fn flow(&self, scope: Scope, id: FlowId) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>> {
        Box::pin(async move { Ok(flows(self, scope, FLOW, &[id.0.into(), tenant_of(scope).into()]).await?.pop()) })
    }

    fn flow_by_name(&self, tenant: TenantId, name: String) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), name.as_str().into()];
            Ok(flows(self, Scope::Tenant(tenant), FLOW_BY_NAME, &cells).await?.pop())
        })
    }

    fn flow_version(&self, id: FlowId, version: i64) -> BoxFuture<'_, Result<Option<StoredFlow>, StoreError>> {
        Box::pin(
            async move { Ok(flows(self, Scope::Platform, FLOW_VERSION, &[id.0.into(), version.into()]).await?.pop()) },
        )
    }

    fn rollout(&self, scope: Scope, flow: FlowId) -> BoxFuture<'_, Result<Option<RolloutState>, StoreError>> {
        Box::pin(async move { Ok(rollouts::newest(self, scope, flow).await?) })
    }

    fn running_rollouts(&self, scope: Scope) -> BoxFuture<'_, Result<Vec<RolloutState>, StoreError>> {
        Box::pin(async move { Ok(rollouts::running(self, scope).await?) })
    }

    fn webhook(&self, id: WebhookId) -> BoxFuture<'_, Result<Option<Webhook>, StoreError>> {
        Box::pin(async move {
            let rows = self.read(Scope::Platform).await?.fetch(WEBHOOK, &[id.0.into()]).await?;
            Ok(rows.first().map(|row| webhook(row.fields())).transpose()?)
        })
    }

    fn integrations(
        &self,
        after: Option<RowId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Integration, KeptBreakers)>, StoreError>> {
        Box::pin(async move { Ok(connections::page(self, after, limit).await?) })
    }

    fn secrets_page(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Vec<Secret>, StoreError>> {
        Box::pin(async move { Ok(connections::secrets_page(self, after, limit).await?) })
    }

    fn webhooks_page(&self, after: Option<WebhookId>, limit: usize) -> BoxFuture<'_, Result<Vec<Webhook>, StoreError>> {
        Box::pin(async move {
            let cells = [after.map(|id| id.0).into(), (limit as i64).into()];
            let rows = self.read(Scope::Platform).await?.fetch(WEBHOOKS_PAGE, &cells).await?;
            Ok(rows.iter().map(|row| webhook(row.fields())).collect::<Result<_, _>>()?)
        })
    }

    fn connections(&self, tenant: TenantId) -> BoxFuture<'_, Result<TenantConnections, StoreError>> {
        Box::pin(async move { Ok(connections::of_tenant(self, tenant).await?) })
    }

    fn service_key(&self, key_hash: [u8; 32]) -> BoxFuture<'_, Result<Option<ServiceKey>, StoreError>> {
        Box::pin(async move {
            let rows = self.read(Scope::Platform).await?.fetch(KEY_BY_HASH, &[key_hash.into()]).await?;
            Ok(rows.first().map(|row| service_key(row.fields())).transpose()?)
        })
    }

    fn service_key_by_id(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<ServiceKey>, StoreError>> {
        Box::pin(async move {
            let cells = [id.0.into(), tenant_of(scope).into()];
            let rows = self.read(scope).await?.fetch(KEY_BY_ID, &cells).await?;
            Ok(rows.first().map(|row| service_key(row.fields())).transpose()?)
        })
    }
}

/// The scope's tenant; none for the platform.
pub(super) fn tenant_of(scope: Scope) -> Option<Uuid> {
    match scope {
        Scope::Tenant(tenant) => Some(tenant.0),
        Scope::Platform => None,
    }
}

async fn flows(
    store: &SqlStore,
    scope: Scope,
    sql: &'static str,
    cells: &[Cell<'_>],
) -> Result<Vec<StoredFlow>, Failure> {
    let rows = store.read(scope).await?.fetch(sql, cells).await?;
    rows.iter().map(|row| flow(row.fields())).collect()
}

pub(super) fn flow(mut fields: Fields<'_>) -> Result<StoredFlow, Failure> {
    let id = FlowId(fields.uuid()?);
    let owner = owner(&mut fields)?;
    let version = fields.int()?;
    let document = FlowDocument::from_value(fields.json()?)
        .map_err(|e| Failure::Corrupt(format!("version {version} of flow {id} cannot be read: {e}")))?;
    Ok(StoredFlow { id, owner, version, document, created_at_ms: fields.int()? })
}

fn webhook(mut fields: Fields<'_>) -> Result<Webhook, Failure> {
    let f = &mut fields;
    let id = WebhookId(f.uuid()?);
    let owner = owner(f)?;
    let (name, verification, options) = (f.text()?, f.text()?, f.json()?);
    let corrupt = |what: &str| Failure::Corrupt(format!("webhook {id} {what}"));
    let secrets = f.json()?;
    let secrets = secrets.as_array().and_then(|stored| stored.iter().map(read_secret).collect());
    let secrets = secrets.ok_or_else(|| corrupt("has secrets that cannot be read"))?;
    let target = match (f.maybe_text()?, f.maybe_uuid()?) {
        (_, Some(flow)) => WebhookTarget::Flow(FlowId(flow)),
        (Some(word), None) => {
            WebhookTarget::Trigger(word.parse().map_err(|e| corrupt(&format!("starts something unknown: {e}")))?)
        }
        (None, None) => return Err(corrupt("starts nothing")),
    };
    let dedup_key = f.maybe_text()?;
    let respond = f.maybe_json()?.map(serde_json::from_value).transpose();
    let respond = respond.map_err(|e| corrupt(&format!("answers in an unknown way: {e}")))?;
    let (is_active, version, created_at_ms, updated_at_ms) = (f.bool()?, f.int()?, f.int()?, f.int()?);
    Ok(Webhook {
        id,
        owner,
        name,
        verification,
        options,
        secrets,
        target,
        dedup_key,
        respond,
        is_active,
        version,
        created_at_ms,
        updated_at_ms,
    })
}

fn service_key(mut fields: Fields<'_>) -> Result<ServiceKey, Failure> {
    let f = &mut fields;
    let id = RowId(f.uuid()?);
    let owner = owner(f)?;
    let (name, scope) = (f.text()?, f.word()?);
    let roles = serde_json::from_str(&f.text()?)
        .map_err(|e| Failure::Corrupt(format!("the roles of service key {id} cannot be read: {e}")))?;
    Ok(ServiceKey {
        id,
        owner,
        name,
        scope,
        roles,
        created_at_ms: f.int()?,
        expires_at_ms: f.maybe_int()?,
        revoked_at_ms: f.maybe_int()?,
    })
}
