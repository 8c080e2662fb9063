//! Integrations and secrets of a tenant, read for those who connect.

use core314_actors::ports::Scope;
use core314_actors::ports::integration::{Integration, Secret, TenantConnections};
use core314_domain::ids::{RowId, TenantId};

use super::SqlStore;
use super::cell::Fields;
use super::engine::owner;
use super::failure::Failure;

const INTEGRATIONS: &str = "SELECT id, tenant_id, user_id, organization_id, name, kind, definition, is_active, version, \
    created_at_ms, updated_at_ms FROM connections WHERE tenant_id = $1 ORDER BY name";
const SECRETS: &str = "SELECT id, tenant_id, user_id, organization_id, name, description, sealed, version, \
    created_at_ms, updated_at_ms FROM sealed_secrets WHERE tenant_id = $1 ORDER BY name";

/// All that a tenant has, in one state of the database. No tenant's role may read what is sealed, so that the service
/// reads, with the tenant in its statements.
pub(super) async fn of_tenant(store: &SqlStore, tenant: TenantId) -> Result<TenantConnections, Failure> {
    let mut reading = store.read(Scope::Platform).await?;
    let integrations = reading.fetch(INTEGRATIONS, &[tenant.0.into()]).await?;
    let secrets = reading.fetch(SECRETS, &[tenant.0.into()]).await?;
    Ok(TenantConnections {
        integrations: integrations.iter().map(|row| integration(row.fields())).collect::<Result<_, _>>()?,
        secrets: secrets.iter().map(|row| secret(row.fields())).collect::<Result<_, _>>()?,
    })
}

fn integration(mut fields: Fields<'_>) -> Result<Integration, Failure> {
    let f = &mut fields;
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
    Ok(Secret {
        id: RowId(f.uuid()?),
        owner: owner(f)?,
        name: f.text()?,
        description: f.text()?,
        sealed: f.text()?,
        version: f.int()?,
        created_at_ms: f.int()?,
        updated_at_ms: f.int()?,
    })
}
