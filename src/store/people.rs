//! Reading people back: the directory, contact methods and preferences.

use core314_actors::ports::people::{ContactMethod, Member, Organization, PeopleBook, StoredPreferences};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::{RowId, TenantId, UserId};
use core314_domain::people::{CodeState, ContactKind};
use core314_domain::words::Role;
use uuid::Uuid;

use super::SqlStore;
use super::catalog::tenant_of;
use super::cell::Fields;
use super::engine::owner;
use super::escalations::{many, one, parsed, rows};
use super::failure::Failure;

const ORGANIZATION: &str =
    "SELECT id, tenant_id, user_id, organization_id, name, version FROM firms WHERE tenant_id = $1";
macro_rules! members {
    ($which:literal) => {
        concat!("SELECT id, tenant_id, user_id, organization_id, email, name, role, version FROM members ", $which)
    };
}
/// A person's id goes before the id of somebody else's row.
const MEMBER_OF: &str = members!(
    "WHERE tenant_id = $2 AND (user_id = $1 OR id = $1) ORDER BY CASE WHEN user_id = $1 THEN 0 ELSE 1 END LIMIT 1"
);
/// A person may be in several tenants: where all are seen, the row's id alone says which.
const MEMBER: &str = members!("WHERE id = $1");
const WITH_ROLE: &str = "SELECT user_id FROM members WHERE tenant_id = $1 AND role = $2 ORDER BY user_id LIMIT $3";
macro_rules! contacts {
    ($which:literal) => {
        concat!(
            "SELECT id, tenant_id, user_id, organization_id, kind, address, integration, verified_at_ms, code_no, \
             code_sent_at_ms, code_tries, version FROM contacts ",
            $which
        )
    };
}
const CONTACT: &str = contacts!("WHERE id = $1 AND tenant_id = $2");
const CONTACTS: &str = contacts!("WHERE tenant_id = $1 AND user_id = $2 ORDER BY id LIMIT 1000");
/// One, or that it is not one alone.
const BY_ADDRESS: &str = "SELECT user_id FROM contacts WHERE tenant_id = $1 AND kind = $2 AND address = $3 \
    AND verified_at_ms IS NOT NULL ORDER BY user_id LIMIT 2";
const PREFERENCES: &str = "SELECT id, tenant_id, user_id, organization_id, document, version FROM habits \
    WHERE tenant_id = $1 AND user_id = $2";

impl PeopleBook for SqlStore {
    fn organization(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Organization>, StoreError>> {
        Box::pin(async move {
            one(&rows(self, Scope::Tenant(tenant), ORGANIZATION, &[tenant.0.into()]).await?, organization)
        })
    }

    fn member(&self, scope: Scope, id: Uuid) -> BoxFuture<'_, Result<Option<Member>, StoreError>> {
        Box::pin(async move {
            let found = match tenant_of(scope) {
                Some(tenant) => rows(self, scope, MEMBER_OF, &[id.into(), tenant.into()]).await?,
                None => rows(self, scope, MEMBER, &[id.into()]).await?,
            };
            one(&found, member)
        })
    }

    fn with_role(&self, tenant: TenantId, role: Role, limit: usize) -> BoxFuture<'_, Result<Vec<UserId>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), role.as_str().into(), (limit as i64).into()];
            many(&rows(self, Scope::Tenant(tenant), WITH_ROLE, &cells).await?, |mut f| Ok(UserId(f.uuid()?)))
        })
    }

    fn contact(&self, tenant: TenantId, id: RowId) -> BoxFuture<'_, Result<Option<ContactMethod>, StoreError>> {
        Box::pin(async move {
            one(&rows(self, Scope::Tenant(tenant), CONTACT, &[id.0.into(), tenant.0.into()]).await?, contact)
        })
    }

    fn contacts(&self, tenant: TenantId, user: UserId) -> BoxFuture<'_, Result<Vec<ContactMethod>, StoreError>> {
        Box::pin(async move {
            many(&rows(self, Scope::Tenant(tenant), CONTACTS, &[tenant.0.into(), user.0.into()]).await?, contact)
        })
    }

    fn by_address(
        &self,
        tenant: TenantId,
        kind: ContactKind,
        address: String,
    ) -> BoxFuture<'_, Result<Vec<UserId>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), kind.as_str().into(), address.into()];
            many(&rows(self, Scope::Tenant(tenant), BY_ADDRESS, &cells).await?, |mut f| Ok(UserId(f.uuid()?)))
        })
    }

    fn preferences(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<StoredPreferences>, StoreError>> {
        Box::pin(async move {
            one(&rows(self, Scope::Tenant(tenant), PREFERENCES, &[tenant.0.into(), user.0.into()]).await?, preferences)
        })
    }
}

fn organization(mut f: Fields<'_>) -> Result<Organization, Failure> {
    Ok(Organization { id: RowId(f.uuid()?), owner: owner(&mut f)?, name: f.text()?, version: f.int()? })
}

fn member(mut f: Fields<'_>) -> Result<Member, Failure> {
    Ok(Member {
        id: RowId(f.uuid()?),
        owner: owner(&mut f)?,
        email: f.text()?,
        name: f.text()?,
        role: f.word()?,
        version: f.int()?,
    })
}

fn contact(mut f: Fields<'_>) -> Result<ContactMethod, Failure> {
    Ok(ContactMethod {
        id: RowId(f.uuid()?),
        owner: owner(&mut f)?,
        kind: f.word()?,
        address: f.text()?,
        integration: f.maybe_text()?,
        verified_ms: f.maybe_int()?,
        code: CodeState { no: f.int()?, sent_ms: f.maybe_int()?, tries: f.int()? },
        version: f.int()?,
    })
}

fn preferences(mut f: Fields<'_>) -> Result<StoredPreferences, Failure> {
    Ok(StoredPreferences {
        id: RowId(f.uuid()?),
        owner: owner(&mut f)?,
        document: parsed(f.json()?, "preferences")?,
        version: f.int()?,
    })
}
