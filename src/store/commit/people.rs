//! People: the directory, contact methods and preferences. Written by people, so one at a time.
//!
//! Invariants:
//! - A row is changed from the version that the change was decided on, or not at all: a code cannot be guessed twice at once.
//! - Every statement names the tenant, and those about all of a person's rows the person.

use core314_actors::ports::people::{
    ContactMethod, Member, Organization, PeopleChange, PeopleWrite, StoredPreferences,
};
use core314_actors::ports::store::{Outcome, RejectCode, Write};
use core314_domain::ids::{RowId, TenantId, UserId};

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

const ORGANIZATION: &str = "INSERT INTO firms (id, tenant_id, user_id, organization_id, name, version, created_at_ms, \
    updated_at_ms) VALUES ($1, $2, $3, $4, $5, 1, $6, $6) ON CONFLICT (tenant_id) DO NOTHING RETURNING id";
const ORGANIZATION_NEXT: &str = "UPDATE firms SET name = $4, version = version + 1, updated_at_ms = $5 \
    WHERE id = $1 AND tenant_id = $2 AND version = $3 RETURNING id";
const MEMBER_KNOWN: &str =
    "SELECT id FROM members WHERE tenant_id = $1 AND (user_id = $2 OR email = $3) AND id <> $4 LIMIT 1";
const MEMBERS: &str = "SELECT count(*) FROM members WHERE tenant_id = $1";
const MEMBER: &str = "INSERT INTO members (id, tenant_id, user_id, organization_id, email, name, role, version, \
    created_at_ms, updated_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8) RETURNING id";
const MEMBER_NEXT: &str = "UPDATE members SET email = $4, name = $5, role = $6, version = version + 1, \
    updated_at_ms = $7 WHERE id = $1 AND tenant_id = $2 AND version = $3 RETURNING id";
const MEMBER_GONE: &str = "DELETE FROM members WHERE tenant_id = $1 AND user_id = $2 RETURNING id";
const ITS_CONTACTS_GONE: &str = "DELETE FROM contacts WHERE tenant_id = $1 AND user_id = $2";
const ITS_HABITS_GONE: &str = "DELETE FROM habits WHERE tenant_id = $1 AND user_id = $2";
const CONTACT_KNOWN: &str =
    "SELECT id FROM contacts WHERE tenant_id = $1 AND user_id = $2 AND kind = $3 AND address = $4 AND id <> $5";
const CONTACTS_OF: &str = "SELECT count(*) FROM contacts WHERE tenant_id = $1 AND user_id = $2";
const CONTACTS: &str = "SELECT count(*) FROM contacts WHERE tenant_id = $1";
const CONTACT: &str = "INSERT INTO contacts (id, tenant_id, user_id, organization_id, kind, address, integration, \
    verified_at_ms, code_no, code_sent_at_ms, code_tries, version, created_at_ms, updated_at_ms) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1, $12, $12) RETURNING id";
const CONTACT_NEXT: &str = "UPDATE contacts SET verified_at_ms = $4, code_no = $5, code_sent_at_ms = $6, \
    code_tries = $7, version = version + 1, updated_at_ms = $8 \
    WHERE id = $1 AND tenant_id = $2 AND version = $3 RETURNING id";
const CONTACT_GONE: &str = "DELETE FROM contacts WHERE id = $1 AND tenant_id = $2 AND user_id = $3 RETURNING id";
const HABITS: &str = "SELECT count(*) FROM habits WHERE tenant_id = $1";
const HABIT: Bulk = Bulk {
    before: "INSERT INTO habits (id, tenant_id, user_id, organization_id, document, version, created_at_ms, updated_at_ms) ",
    after: " ON CONFLICT (tenant_id, user_id) DO NOTHING RETURNING id",
};
pub(in crate::store) const HABIT_NEXT: Bulk = Bulk {
    before: "WITH u (id, tenant_id, version, document, at_ms) AS (",
    after: ") UPDATE habits SET document = u.document, version = u.version + 1, updated_at_ms = u.at_ms FROM u \
            WHERE habits.id = u.id AND habits.tenant_id = u.tenant_id AND habits.version = u.version \
            RETURNING habits.id",
};

/// Writes changes of people, one after the other.
pub(super) async fn people(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    for (i, write) in batch.survivors().collect::<Vec<_>>() {
        if let Write::People(write) = write {
            batch.outcomes[i] = take(batch.connection, write).await?;
        }
    }
    Ok(())
}

async fn take(connection: &mut Connection, write: &PeopleWrite) -> Result<Option<Outcome>, Failure> {
    let at_ms = write.at_ms;
    match &write.change {
        PeopleChange::Organization(of) => organization(connection, of, at_ms).await,
        PeopleChange::Member { member: of, most } => member(connection, of, *most, at_ms).await,
        PeopleChange::RemoveMember { tenant, user } => remove_member(connection, *tenant, *user).await,
        PeopleChange::Contact { contact: of, most_each, most } => {
            contact(connection, of, (*most_each, *most), at_ms).await
        }
        PeopleChange::RemoveContact { tenant, user, id } => {
            one(connection, CONTACT_GONE, &[id.0.into(), tenant.0.into(), user.0.into()], Outcome::NotFound).await
        }
        PeopleChange::Preferences { preferences: of, most } => preferences(connection, of, *most, at_ms).await,
    }
}

/// What a statement that concerns one row gives: `otherwise` where there was none.
async fn one(
    connection: &mut Connection,
    statement: &'static str,
    cells: &[Cell<'_>],
    otherwise: Outcome,
) -> Result<Option<Outcome>, Failure> {
    Ok(connection.fetch(statement, cells).await?.is_empty().then_some(otherwise))
}

/// Why there is room for no further row, if there is not.
async fn full(
    connection: &mut Connection,
    count: &'static str,
    cells: &[Cell<'_>],
    (most, what): (usize, &str),
) -> Result<Option<Outcome>, Failure> {
    let rows = connection.fetch(count, cells).await?;
    let count = rows.first().map_or(Ok(0), |row| row.fields().int())?;
    let rejected =
        || Outcome::Rejected { code: RejectCode::LimitReached, message: format!("there are {count} {what}") };
    Ok((count >= most as i64).then(rejected))
}

fn taken(what: &str) -> Outcome {
    Outcome::Rejected { code: RejectCode::NameTaken, message: format!("there is {what} already") }
}

async fn organization(connection: &mut Connection, of: &Organization, at_ms: i64) -> Result<Option<Outcome>, Failure> {
    let (id, tenant, name) = (of.id.0, of.owner.tenant.0, of.name.as_str());
    if of.version == 0 {
        let (user, organization) = (of.owner.user.0, of.owner.organization.map(|o| o.0));
        let cells = [id.into(), tenant.into(), user.into(), organization.into(), name.into(), at_ms.into()];
        return one(connection, ORGANIZATION, &cells, Outcome::Conflict).await;
    }
    let cells = [id.into(), tenant.into(), of.version.into(), name.into(), at_ms.into()];
    one(connection, ORGANIZATION_NEXT, &cells, Outcome::Conflict).await
}

async fn member(connection: &mut Connection, of: &Member, most: usize, at_ms: i64) -> Result<Option<Outcome>, Failure> {
    let (id, tenant, user) = (of.id.0, of.owner.tenant.0, of.owner.user.0);
    let (email, name, role) = (of.email.as_str(), of.name.as_str(), of.role.as_str());
    let known = [tenant.into(), user.into(), email.into(), id.into()];
    if !connection.fetch(MEMBER_KNOWN, &known).await?.is_empty() {
        return Ok(Some(taken("such a user")));
    }
    if of.version > 0 {
        let (version, times) = (of.version.into(), at_ms.into());
        let cells = [id.into(), tenant.into(), version, email.into(), name.into(), role.into(), times];
        return one(connection, MEMBER_NEXT, &cells, Outcome::Conflict).await;
    }
    if let Some(outcome) = full(connection, MEMBERS, &[tenant.into()], (most, "users in the tenant")).await? {
        return Ok(Some(outcome));
    }
    let organization = of.owner.organization.map(|o| o.0).into();
    let cells =
        [id.into(), tenant.into(), user.into(), organization, email.into(), name.into(), role.into(), at_ms.into()];
    one(connection, MEMBER, &cells, Outcome::Conflict).await
}

async fn remove_member(
    connection: &mut Connection,
    tenant: TenantId,
    user: UserId,
) -> Result<Option<Outcome>, Failure> {
    let cells = [tenant.0.into(), user.0.into()];
    if connection.fetch(MEMBER_GONE, &cells).await?.is_empty() {
        return Ok(Some(Outcome::NotFound));
    }
    connection.fetch(ITS_CONTACTS_GONE, &cells).await?;
    connection.fetch(ITS_HABITS_GONE, &cells).await?;
    Ok(None)
}

async fn contact(
    connection: &mut Connection,
    of: &ContactMethod,
    (most_each, most): (usize, usize),
    at_ms: i64,
) -> Result<Option<Outcome>, Failure> {
    let RowId(id) = of.id;
    let (tenant, user, code) = (of.owner.tenant.0, of.owner.user.0, of.code);
    let [verified, no, sent, tries] =
        [of.verified_ms.into(), code.no.into(), code.sent_ms.into(), code.tries.into()] as [Cell<'_>; 4];
    if of.version > 0 {
        let cells = [id.into(), tenant.into(), of.version.into(), verified, no, sent, tries, at_ms.into()];
        return one(connection, CONTACT_NEXT, &cells, Outcome::Conflict).await;
    }
    let (kind, address) = (of.kind.as_str(), of.address.as_str());
    let known = [tenant.into(), user.into(), kind.into(), address.into(), id.into()];
    if !connection.fetch(CONTACT_KNOWN, &known).await?.is_empty() {
        return Ok(Some(taken("this contact method")));
    }
    let whose = [tenant.into(), user.into()];
    let own = full(connection, CONTACTS_OF, &whose, (most_each, "contact methods of this user")).await?;
    if own.is_some() {
        return Ok(own);
    }
    let all = full(connection, CONTACTS, &[tenant.into()], (most, "contact methods in the tenant")).await?;
    if all.is_some() {
        return Ok(all);
    }
    let organization = of.owner.organization.map(|o| o.0).into();
    let integration = of.integration.as_deref().into();
    let cells = [
        id.into(),
        tenant.into(),
        user.into(),
        organization,
        kind.into(),
        address.into(),
        integration,
        verified,
        no,
        sent,
        tries,
        at_ms.into(),
    ];
    one(connection, CONTACT, &cells, Outcome::Conflict).await
}

async fn preferences(
    connection: &mut Connection,
    of: &StoredPreferences,
    most: usize,
    at_ms: i64,
) -> Result<Option<Outcome>, Failure> {
    let (id, tenant) = (of.id.0, of.owner.tenant.0);
    let document = serde_json::to_value(&of.document)
        .map_err(|error| Failure::Corrupt(format!("preferences cannot be written: {error}")))?;
    let document = Cell::Json(Some(json::text_of(&document).into()));
    if of.version > 0 {
        let mut rows = Rows::new(5);
        rows.push([id.into(), tenant.into(), of.version.into(), document, at_ms.into()]);
        return Ok(connection.bulk(HABIT_NEXT, &rows).await?.is_empty().then_some(Outcome::Conflict));
    }
    let all = full(connection, HABITS, &[tenant.into()], (most, "preferences in the tenant")).await?;
    if all.is_some() {
        return Ok(all);
    }
    let (user, organization) = (of.owner.user.0.into(), of.owner.organization.map(|o| o.0).into());
    let mut rows = Rows::new(8);
    rows.push([id.into(), tenant.into(), user, organization, document, 1_i64.into(), at_ms.into(), at_ms.into()]);
    Ok(connection.bulk(HABIT, &rows).await?.is_empty().then_some(Outcome::Conflict))
}
