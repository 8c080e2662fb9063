//! People in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use core314_domain::ids::{RowId, TenantId, UserId};
use core314_domain::people::ContactKind;
use core314_domain::words::Role;
use uuid::Uuid;

use crate::ports::people::{ContactMethod, Member, Organization, PeopleBook, StoredPreferences};
use crate::ports::{BoxFuture, Scope, StoreError};

/// Keeps what it is given.
#[derive(Default)]
pub struct MemoryPeople {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    organizations: Vec<Organization>,
    members: Vec<Member>,
    contacts: Vec<ContactMethod>,
    preferences: Vec<StoredPreferences>,
}

impl MemoryPeople {
    /// Somebody is known.
    pub fn know(&self, member: Member) {
        self.kept().members.push(member);
    }

    /// Somebody is reached so.
    pub fn reach(&self, contact: ContactMethod) {
        self.kept().contacts.push(contact);
    }

    /// Somebody wants to be told so.
    pub fn prefer(&self, preferences: StoredPreferences) {
        self.kept().preferences.push(preferences);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeopleBook for MemoryPeople {
    fn organization(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Organization>, StoreError>> {
        let found = self.kept().organizations.iter().find(|kept| kept.owner.tenant == tenant).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn member(&self, scope: Scope, id: Uuid) -> BoxFuture<'_, Result<Option<Member>, StoreError>> {
        let is_seen = |member: &&Member| match scope {
            Scope::Tenant(tenant) => member.owner.tenant == tenant,
            Scope::Platform => true,
        };
        let is_person = |member: &&Member| matches!(scope, Scope::Tenant(_)) && member.owner.user.0 == id;
        let kept = self.kept();
        let mut seen = kept.members.iter().filter(is_seen);
        let found = seen.clone().find(is_person).or_else(|| seen.find(|member| member.id.0 == id)).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn with_role(&self, tenant: TenantId, role: Role, limit: usize) -> BoxFuture<'_, Result<Vec<UserId>, StoreError>> {
        let kept = self.kept();
        let has = kept.members.iter().filter(|member| member.owner.tenant == tenant && member.role == role);
        let mut found: Vec<UserId> = has.map(|member| member.owner.user).collect();
        found.sort_unstable();
        found.truncate(limit);
        Box::pin(async move { Ok(found) })
    }

    fn contact(&self, tenant: TenantId, id: RowId) -> BoxFuture<'_, Result<Option<ContactMethod>, StoreError>> {
        let is_it = |kept: &&ContactMethod| kept.owner.tenant == tenant && kept.id == id;
        let found = self.kept().contacts.iter().find(is_it).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn contacts(&self, tenant: TenantId, user: UserId) -> BoxFuture<'_, Result<Vec<ContactMethod>, StoreError>> {
        let is_theirs = |kept: &&ContactMethod| kept.owner.tenant == tenant && kept.owner.user == user;
        let found = self.kept().contacts.iter().filter(is_theirs).cloned().collect();
        Box::pin(async move { Ok(found) })
    }

    fn by_address(
        &self,
        tenant: TenantId,
        kind: ContactKind,
        address: String,
    ) -> BoxFuture<'_, Result<Vec<UserId>, StoreError>> {
        let is_it = |kept: &&ContactMethod| {
            kept.owner.tenant == tenant && kept.kind == kind && kept.address == address && kept.verified_ms.is_some()
        };
        let found = self.kept().contacts.iter().filter(is_it).map(|kept| kept.owner.user).collect();
        Box::pin(async move { Ok(found) })
    }

    fn preferences(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<StoredPreferences>, StoreError>> {
        let is_theirs = |kept: &&StoredPreferences| kept.owner.tenant == tenant && kept.owner.user == user;
        let found = self.kept().preferences.iter().find(is_theirs).cloned();
        Box::pin(async move { Ok(found) })
    }
}
