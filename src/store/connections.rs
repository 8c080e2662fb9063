//! Integrations and secrets of a tenant, read for those who connect.

use core314_actors::ports::Scope;
use core314_actors::ports::integration::{Integration, KeptBreakers, PreviousValue, Secret, TenantConnections};
use core314_domain::ids::{RowId, TenantId};

use super::SqlStore;
use super::cell::Fields;
use super::engine::owner;
use super::failure::Failure;

const INTEGRATIONS: &str = "SELECT id, tenant_id, user_id, organization_id, name, kind, definition, is_active, version, \
    created_at_ms, updated_at_ms FROM connections WHERE tenant_id = $1 ORDER BY name";
const SECRETS: &str = "SELECT id, tenant_id, user_id, organization_id, name, description, sealed, version, \
    created_at_ms, updated_at_ms, previous, previous_until_ms FROM sealed_secrets WHERE tenant_id = $1 ORDER BY name";

/// Of all tenants, a page by their ids.
const ALL: &str = "SELECT id, tenant_id, user_id, organization_id, name, kind, definition, is_active, version, \
    created_at_ms, updated_at_ms, breakers FROM connections WHERE ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2";

/// The integrations of all tenants with their breakers, after the given one.
pub(super) async fn page(
    store: &SqlStore,
    after: Option<RowId>,
    limit: usize,
) -> Result<Vec<(Integration, KeptBreakers)>, Failure> {
    let mut reading = store.read(Scope::Platform).await?;
    let rows = reading.fetch(ALL, &[after.map(|id| id.0).into(), (limit as i64).into()]).await?;
    rows.iter().map(|row| with_breakers(row.fields())).collect()
}

fn with_breakers(mut fields: Fields<'_>) -> Result<(Integration, KeptBreakers), Failure> {
    let found = integration(&mut fields)?;
    let kept = fields.maybe_json()?.map(serde_json::from_value).transpose();
    let unreadable = |e| Failure::Corrupt(format!("the breakers of integration {} cannot be read: {e}", found.id));
    let kept = kept.map_err(unreadable)?.unwrap_or_default();
    Ok((found, kept))
}

/// Of all tenants, a page by their ids.
const ALL_SECRETS: &str = "SELECT id, tenant_id, user_id, organization_id, name, description, sealed, version, \
    created_at_ms, updated_at_ms, previous, previous_until_ms FROM sealed_secrets WHERE ($1 IS NULL OR id > $1) ORDER BY id LIMIT $2";

/// The secrets of all tenants, after the given one.
pub(super) async fn secrets_page(store: &SqlStore, after: Option<RowId>, limit: usize) -> Result<Vec<Secret>, Failure> {
    let mut reading = store.read(Scope::Platform).await?;
    let rows = reading.fetch(ALL_SECRETS, &[after.map(|id| id.0).into(), (limit as i64).into()]).await?;
    rows.iter().map(|row| secret(row.fields())).collect()
}

/// All that a tenant has, in one state of the database. No tenant's role may read what is sealed, so that the service
/// reads, with the tenant in its statements.
pub(super) async fn of_tenant(store: &SqlStore, tenant: TenantId) -> Result<TenantConnections, Failure> {
    let mut reading = store.read(Scope::Platform).await?;
    let integrations = reading.fetch(INTEGRATIONS, &[tenant.0.into()]).await?;
    let secrets = reading.fetch(SECRETS, &[tenant.0.into()]).await?;
    Ok(TenantConnections {
        integrations: integrations.iter().map(|row| integration(&mut row.fields())).collect::<Result<_, _>>()?,
        secrets: secrets.iter().map(|row| secret(row.fields())).collect::<Result<_, _>>()?,
    })
}

fn integration(f: &mut Fields<'_>) -> Result<Integration, Failure> {
    let id = RowId(f.uuid()?);
    let owner = owner(f)?;
    let (name, kind) = (f.text()?, f.text()?);
    let definition = serde_json::from_value(f.json()?)
        .map_err(|e| Failure::Corrupt(format!("the definition of integration {id} cannot be read: {e}")))?;
    Ok(Integration {
        id,
        owner,
        name,
        kind,
        definition,
        is_active: f.bool()?,
        version: f.int()?,
        created_at_ms: f.int()?,
        updated_at_ms: f.int()?,
    })
}

fn secret(mut fields: Fields<'_>) -> Result<Secret, Failure> {
    let f = &mut fields;
    let secret = Secret {
        id: RowId(f.uuid()?),
        owner: owner(f)?,
        name: f.text()?,
        description: f.text()?,
        sealed: f.text()?,
        previous: None,
        version: f.int()?,
        created_at_ms: f.int()?,
        updated_at_ms: f.int()?,
    };
    let previous = f.maybe_text()?.zip(f.maybe_int()?);
    Ok(Secret { previous: previous.map(|(sealed, until_ms)| PreviousValue { sealed, until_ms }), ..secret })
}
