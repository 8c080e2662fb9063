//! People as they are kept: the directory of a tenant, how each person is reached, and how they want to be told.
//!
//! What is written goes through the one verb of the store. In every row the owner's user is the person whom it is about.

use core314_domain::audit::AuditEntry;
use core314_domain::ids::{Owner, RowId, TenantId, UserId};
use core314_domain::people::{CodeState, ContactKind, PreferencesDocument};
use core314_domain::words::Role;
use uuid::Uuid;

use super::{BoxFuture, Scope, StoreError};

/// An organization, as people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: RowId,
    pub owner: Owner,
    pub name: String,
    /// Of the row that was read; 0 for a new one.
    pub version: i64,
}

/// A person in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: RowId,
    pub owner: Owner,
    /// In lower case.
    pub email: String,
    pub name: String,
    pub role: Role,
    /// Of the row that was read; 0 for a new one.
    pub version: i64,
}

/// How a person is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactMethod {
    pub id: RowId,
    pub owner: Owner,
    pub kind: ContactKind,
    pub address: String,
    /// The integration that messages go through; absent: the one that is called as the kind.
    pub integration: Option<String>,
    /// Since when it is proven to be the person's; absent: it is not.
    pub verified_ms: Option<i64>,
    pub code: CodeState,
    /// Of the row that was read; 0 for a new one.
    pub version: i64,
}

impl ContactMethod {
    /// What a message to it goes through: an integration, or the channel itself.
    pub fn channel(&self) -> &str {
        self.integration.as_deref().unwrap_or(core314_domain::people::channel(self.kind))
    }
}

/// How a person wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPreferences {
    pub id: RowId,
    pub owner: Owner,
    pub document: PreferencesDocument,
    /// Of the row that was read; 0 for a new one.
    pub version: i64,
}

/// What is read of people.
pub trait PeopleBook: Send + Sync + 'static {
    /// The organization of a tenant.
    fn organization(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Organization>, StoreError>>;

    /// A member that the scope may see, by the row's id; of one tenant also by the person's, which goes before.
    fn member(&self, scope: Scope, id: Uuid) -> BoxFuture<'_, Result<Option<Member>, StoreError>>;

    /// Who has this role in a tenant, in the order of their ids: at most `limit`.
    fn with_role(&self, tenant: TenantId, role: Role, limit: usize) -> BoxFuture<'_, Result<Vec<UserId>, StoreError>>;

    /// A contact method of a tenant.
    fn contact(&self, tenant: TenantId, id: RowId) -> BoxFuture<'_, Result<Option<ContactMethod>, StoreError>>;

    /// The contact methods of a person, in the order in which they were added.
    fn contacts(&self, tenant: TenantId, user: UserId) -> BoxFuture<'_, Result<Vec<ContactMethod>, StoreError>>;

    /// The people who have proven an address to be theirs: more than one where they share it, at most three.
    fn by_address(
        &self,
        tenant: TenantId,
        kind: ContactKind,
        address: String,
    ) -> BoxFuture<'_, Result<Vec<UserId>, StoreError>>;

    /// How a person wants to be told, where they have said so.
    fn preferences(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> BoxFuture<'_, Result<Option<StoredPreferences>, StoreError>>;
}

/// Makes the codes and links that prove an address. None is ever kept: each is made again from what it is for.
pub trait Codes: Send + Sync + 'static {
    /// The code, as it is sent.
    fn code(&self, of: Proof) -> String;

    /// Whether this is the code; takes as long whatever was given.
    fn is_code(&self, of: Proof, given: &str) -> bool;

    /// A link that does the same as the code.
    fn link(&self, of: Proof) -> String;

    /// What a link's token is for; `None` where it is none of ours.
    fn open(&self, token: &str) -> Option<Proof>;
}

/// What a code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    pub tenant: TenantId,
    pub contact: RowId,
    /// Which of the codes of the contact method.
    pub no: i64,
}

impl ContactMethod {
    /// What the code that was sent last is for.
    pub const fn proof(&self) -> Proof {
        Proof { tenant: self.owner.tenant, contact: self.id, no: self.code.no }
    }
}

/// A change, what it adds to the audit log, and when.
#[derive(Debug, Clone)]
pub struct PeopleWrite {
    pub change: PeopleChange,
    pub audit: Option<AuditEntry>,
    pub at_ms: i64,
}

/// What changes. A row that was changed since it was read is a conflict.
#[derive(Debug, Clone)]
pub enum PeopleChange {
    Organization(Organization),
    /// A member, new or changed; a tenant has at most `most`. The person, or the address, may be known already.
    Member {
        member: Member,
        most: usize,
    },
    /// A person leaves, and all that the tenant knows of them goes with them.
    RemoveMember {
        tenant: TenantId,
        user: UserId,
    },
    /// A contact method, new or changed; a person has at most `most_each`, a tenant at most `most`.
    Contact {
        contact: ContactMethod,
        most_each: usize,
        most: usize,
    },
    RemoveContact {
        tenant: TenantId,
        user: UserId,
        id: RowId,
    },
    /// Preferences, new or changed; a tenant has at most `most`.
    Preferences {
        preferences: StoredPreferences,
        most: usize,
    },
}
