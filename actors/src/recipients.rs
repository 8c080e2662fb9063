//! From names to people, and from people to the ways in which they are reached now.
//!
//! ```text
//! user:ID · role:ROLE · on_call:NAME ── Directory::who ──> people ── ways ──> verified contact methods, now or later
//! ```
//! Both are looked up at the moment of sending: whoever is on call then, and has proven an address by then, is told. What
//! somebody may do by a link or a button is looked up when they use it: the message may be older than their role.

use std::collections::BTreeSet;
use std::sync::Arc;

use core314_domain::escalation::Recipient;
use core314_domain::expr::literal;
use core314_domain::ids::{Owner, RowId, TenantId, UserId};
use core314_domain::people::{ContactKind, Preferences, When};
use core314_domain::run::OnDuty;
use core314_domain::words::{NotificationType, Role, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::clock::rfc3339;
use crate::engine::people::{CONTACT, KIND};
use crate::ports::escalation::EscalationBook;
use crate::ports::people::{ContactMethod, PeopleBook};
use crate::ports::{Scope, StoreError};

/// Somebody who is told, or why nobody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    User {
        user: UserId,
        of: String,
        /// The schedule that named them, as it stood.
        duty: Option<Duty>,
    },
    Nobody {
        of: String,
        why: String,
    },
}

/// An on-call schedule as it stood when it named somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duty {
    pub schedule_id: RowId,
    pub schedule: String,
    pub version: i64,
    /// The layer's name or number, or `override`.
    pub layer: Option<String>,
    /// RFC 3339: how long it was to stay so.
    pub until: Option<String>,
}

/// Knows who is behind a name.
#[derive(Clone)]
pub struct Directory {
    people: Arc<dyn PeopleBook>,
    rota: Arc<dyn EscalationBook>,
    /// People whom one message is for; more are not told.
    most: usize,
}

impl Directory {
    /// A directory over these.
    pub fn new(people: Arc<dyn PeopleBook>, rota: Arc<dyn EscalationBook>, most: usize) -> Self {
        Self { people, rota, most }
    }

    /// Who these are now, each once, in the order of their names. A user without organization is alone in their tenant.
    pub async fn who(&self, owner: Owner, names: &[String], now_ms: i64) -> Result<Vec<Told>, StoreError> {
        let mut found = Vec::new();
        for of in names {
            let of = of.clone();
            match of.parse::<Recipient>() {
                Ok(Recipient::User(user)) => found.push(Told::User { user, of, duty: None }),
                Ok(Recipient::Role(role)) => found.extend(self.with_role(owner, role, of).await?),
                Ok(Recipient::OnCall(name)) => found.push(self.on_call(owner, &name, of, now_ms).await?),
                Err(why) => found.push(Told::Nobody { of, why }),
            }
        }
        let mut seen = BTreeSet::new();
        let mut told = Vec::new();
        for one in found {
            match one {
                Told::User { user, of, .. } if owner.organization.is_none() && user.0 != owner.tenant.0 => {
                    let why = "only within an organization can others be told".to_owned();
                    told.push(Told::Nobody { of, why });
                }
                Told::User { user, .. } if !seen.insert(user) => {}
                Told::User { of, .. } if seen.len() > self.most => {
                    let why = format!("the message is for more than {} people", self.most);
                    told.push(Told::Nobody { of, why });
                    break;
                }
                one => told.push(one),
            }
        }
        Ok(told)
    }

    async fn with_role(&self, owner: Owner, role: Role, of: String) -> Result<Vec<Told>, StoreError> {
        let users = self.people.with_role(owner.tenant, role, self.most + 1).await?;
        if !users.is_empty() {
            return Ok(users.into_iter().map(|user| Told::User { user, of: of.clone(), duty: None }).collect());
        }
        if owner.organization.is_none() && role == Role::Admin {
            return Ok(vec![Told::User { user: UserId(owner.tenant.0), of, duty: None }]);
        }
        Ok(vec![Told::Nobody { of, why: format!("nobody in the directory has the role {role}") }])
    }

    async fn on_call(&self, owner: Owner, name: &str, of: String, now_ms: i64) -> Result<Told, StoreError> {
        let (user, duty) = match on_shift(self.rota.as_ref(), owner.tenant, name, now_ms).await? {
            Ok(found) => found,
            Err(why) => return Ok(Told::Nobody { of, why }),
        };
        if has_left(self.people.as_ref(), owner, user).await? {
            // Nobody reads what goes there, and it must not look as if it was sent.
            let why = format!("{user}, who is on call in '{name}', is not in the directory any more");
            return Ok(Told::Nobody { of, why });
        }
        Ok(Told::User { user, of, duty: Some(duty) })
    }
}

/// What somebody may do in a tenant; `None`: they are nobody there. A user without organization is alone, and their own admin.
pub async fn role_of(people: &dyn PeopleBook, owner: Owner, user: UserId) -> Result<Option<Role>, StoreError> {
    if owner.organization.is_none() && user.0 == owner.tenant.0 {
        return Ok(Some(Role::Admin));
    }
    // A row may be found by its own id, too.
    let found = people.member(Scope::Tenant(owner.tenant), user.0).await?.filter(|found| found.owner.user == user);
    Ok(found.map(|found| found.role))
}

/// Whether the directory of an organization names others, and not them. One that names nobody is not kept, and says nothing.
pub async fn has_left(people: &dyn PeopleBook, owner: Owner, user: UserId) -> Result<bool, StoreError> {
    if owner.organization.is_none() || role_of(people, owner, user).await?.is_some() {
        return Ok(false);
    }
    for role in Role::ALL {
        if !people.with_role(owner.tenant, *role, 1).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Who is on call now on a schedule of a tenant, or why nobody is.
pub async fn on_duty(
    rota: &dyn EscalationBook,
    tenant: TenantId,
    schedule: &str,
    now_ms: i64,
) -> Result<OnDuty, StoreError> {
    let who = on_shift(rota, tenant, schedule, now_ms).await?.map(|(user, _)| user);
    Ok(OnDuty { schedule: schedule.to_owned(), who })
}

/// The same, with the schedule as it stands.
async fn on_shift(
    rota: &dyn EscalationBook,
    tenant: TenantId,
    schedule: &str,
    now_ms: i64,
) -> Result<Result<(UserId, Duty), String>, StoreError> {
    let Some(stored) = rota.on_call(tenant, schedule.to_owned(), now_ms).await? else {
        return Ok(Err(format!("there is no on-call schedule '{schedule}'")));
    };
    let (schedule_id, version) = (stored.id, stored.version);
    Ok(stored.at(now_ms).and_then(|shift| {
        let user = shift.user.ok_or_else(|| format!("nobody is on call in '{schedule}'"))?;
        let (schedule, until) = (schedule.to_owned(), shift.until_ms.map(rfc3339));
        Ok((user, Duty { schedule_id, schedule, version, layer: shift.by, until }))
    }))
}

/// A message, as far as its way depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub kind: NotificationType,
    pub severity: Severity,
}

/// A way to reach somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub contact: ContactMethod,
    pub when: When,
}

/// Their contact methods of a kind that have been proven to be theirs.
pub async fn verified(
    people: &dyn PeopleBook,
    (tenant, user): (TenantId, UserId),
    kind: ContactKind,
) -> Result<Vec<ContactMethod>, StoreError> {
    let mut contacts = people.contacts(tenant, user).await?;
    contacts.retain(|contact| contact.kind == kind && contact.verified_ms.is_some());
    Ok(contacts)
}

/// How somebody is reached beyond their inbox: by verified contact methods, as they prefer.
pub async fn ways(
    people: &dyn PeopleBook,
    (tenant, user): (TenantId, UserId),
    message: Kind,
    now_ms: i64,
) -> Result<Vec<Way>, StoreError> {
    let mut contacts = people.contacts(tenant, user).await?;
    contacts.retain(|contact| contact.verified_ms.is_some());
    if contacts.is_empty() {
        return Ok(Vec::new());
    }
    let preferences = preferences(people, tenant, user).await?;
    let Some(wish) = preferences.wish(message.kind, message.severity, now_ms) else { return Ok(Vec::new()) };
    // What is critical goes out: where nothing that is wanted is verified, by whatever is.
    let is_any = message.severity == Severity::Critical && !contacts.iter().any(|contact| wish.wants(contact.kind));
    contacts.retain(|contact| is_any || wish.wants(contact.kind));
    Ok(contacts.into_iter().map(|contact| Way { contact, when: wish.when }).collect())
}

/// How somebody wants to be told; the defaults where they have not said so.
pub async fn preferences(people: &dyn PeopleBook, tenant: TenantId, user: UserId) -> Result<Preferences, StoreError> {
    let document = people.preferences(tenant, user).await?.map(|stored| stored.document);
    let unreadable = |problems: Vec<core314_domain::plan::Problem>| {
        StoreError::Corrupt(format!("the preferences of {user} cannot be read: {}", problems[0].message))
    };
    Preferences::compile(document.unwrap_or_default()).map_err(unreadable)
}

/// What is sent to a person. Texts are no templates, whoever wrote them.
pub fn message(contact: &ContactMethod, title: &str, text: &str, severity: Severity) -> Value {
    json!({
        CONTACT: contact.id, KIND: contact.kind, "title": literal(title), "message": literal(text), "severity": severity,
    })
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::{OrganizationId, RowId};
    use core314_domain::people::CodeState;
    use uuid::Uuid;

    use super::*;
    use crate::ports::people::{Member, StoredPreferences};
    use crate::testkit::memory_people::MemoryPeople;

    fn contact(owner: Owner, no: u128, kind: ContactKind, verified_ms: Option<i64>) -> ContactMethod {
        let (id, code) = (RowId(Uuid::from_u128(no)), CodeState::default());
        ContactMethod { id, owner, kind, address: no.to_string(), integration: None, verified_ms, code, version: 1 }
    }

    #[tokio::test]
    async fn only_what_is_verified_is_a_way_and_only_as_its_person_wants_it() {
        let owner = Owner::new(UserId(Uuid::from_u128(1)), Some(OrganizationId(Uuid::from_u128(2))));
        let people = MemoryPeople::default();
        people.reach(contact(owner, 10, ContactKind::Email, Some(0)));
        people.reach(contact(owner, 11, ContactKind::Sms, Some(0)));
        people.reach(contact(owner, 12, ContactKind::Sms, None));
        let whom = (owner.tenant, owner.user);
        let of = |severity| Kind { kind: NotificationType::Alert, severity };
        let found = ways(&people, whom, of(Severity::High), 0).await.unwrap();
        assert_eq!(found.iter().map(|way| way.contact.id.0.as_u128()).collect::<Vec<_>>(), [10, 11]);
        assert!(ways(&people, whom, of(Severity::Low), 0).await.unwrap().is_empty());
        let elsewhere = (TenantId(Uuid::from_u128(3)), owner.user);
        assert!(ways(&people, elsewhere, of(Severity::High), 0).await.unwrap().is_empty());
        let document = serde_json::from_value(json!({"quiet_hours": [{"hours": "00:00-06:00"}],
            "rules": [{"by": ["sms"]}]}));
        people.prefer(StoredPreferences { id: RowId(Uuid::nil()), owner, document: document.unwrap(), version: 1 });
        let held = ways(&people, whom, of(Severity::High), 0).await.unwrap();
        assert_eq!((held.len(), held[0].when), (1, When::Held { until_ms: 6 * 3_600_000 }));
        let paged = ways(&people, whom, of(Severity::Critical), 0).await.unwrap();
        assert_eq!((paged.len(), paged[0].when), (1, When::Now));
    }

    #[tokio::test]
    async fn what_is_critical_goes_out_also_where_nothing_that_is_wanted_is_verified() {
        let owner = Owner::new(UserId(Uuid::from_u128(1)), Some(OrganizationId(Uuid::from_u128(2))));
        let people = MemoryPeople::default();
        people.reach(contact(owner, 10, ContactKind::Email, Some(0)));
        people.reach(contact(owner, 11, ContactKind::Sms, None));
        let document = serde_json::from_value(json!({"rules": [{"by": ["sms"]}]})).unwrap();
        people.prefer(StoredPreferences { id: RowId(Uuid::nil()), owner, document, version: 1 });
        for (severity, expected) in [(Severity::Critical, vec![10_u128]), (Severity::High, vec![])] {
            let message = Kind { kind: NotificationType::Alert, severity };
            let found = ways(&people, (owner.tenant, owner.user), message, 0).await.unwrap();
            let ids: Vec<u128> = found.iter().map(|way| way.contact.id.0.as_u128()).collect();
            assert_eq!(ids, expected, "{severity}");
        }
    }

    #[tokio::test]
    async fn what_somebody_may_do_is_what_the_directory_says_of_them_now() {
        let group = Some(OrganizationId(Uuid::from_u128(2)));
        let of = |no: u128| Owner::new(UserId(Uuid::from_u128(no)), group);
        let (people, ada, bob) = (MemoryPeople::default(), of(1), of(3));
        assert!(!has_left(&people, ada, bob.user).await.unwrap(), "no directory is kept");
        people.know(Member {
            id: RowId(Uuid::from_u128(7)),
            owner: ada,
            email: "ada@example.com".to_owned(),
            name: "Ada".to_owned(),
            role: Role::Viewer,
            version: 1,
        });
        assert_eq!(role_of(&people, bob, ada.user).await.unwrap(), Some(Role::Viewer));
        assert!(!has_left(&people, bob, ada.user).await.unwrap());
        // Bob is not there, and the id of a row is no person.
        for user in [bob.user, UserId(Uuid::from_u128(7))] {
            assert_eq!(role_of(&people, ada, user).await.unwrap(), None);
            assert!(has_left(&people, ada, user).await.unwrap());
        }
        let alone = Owner::new(bob.user, None);
        assert_eq!(role_of(&people, alone, bob.user).await.unwrap(), Some(Role::Admin));
        assert_eq!(
            role_of(&people, alone, ada.user).await.unwrap(),
            None,
            "another tenant's directory says nothing here"
        );
    }
}
