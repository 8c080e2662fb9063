//! The directory, contact methods and preferences, as the shell sees them.
//!
//! ```text
//! added ── code sent, through a durable single execution ── code or link comes back ──> verified
//! ```
//! A code is made at the moment of sending from its number, and again when it comes back: no row holds it, and no log.

use std::sync::Arc;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::expr::literal;
use core314_domain::ids::{Owner, RowId, TenantId};
use core314_domain::people::{
    CodeError, CodeRules, CodeState, ContactKind, Preferences, PreferencesDocument, address_problem, name_problem,
};
use core314_domain::plan::Problem;
use core314_domain::words::{Role, Urgency};
use serde_json::{Value, json};

use super::{Engine, unexpected};
use crate::ingress::TriggerError;
use crate::ports::StoreError;
use crate::ports::people::{
    Codes, ContactMethod, Member, Organization, PeopleBook, PeopleChange, PeopleWrite, Proof, StoredPreferences,
};
use crate::ports::store::{Outcome, RejectCode, Write};
use crate::single::Single;

/// The member of a payload that names whom a message goes to: the address is looked up when it is sent.
pub const CONTACT: &str = "contact_method_id";
/// The member that says of which kind it is, so that what is saved can be checked.
pub const KIND: &str = "contact_kind";
/// The member that says which code is sent.
pub const CODE: &str = "code_no";
/// The members that say of which time a digest is, in milliseconds since the epoch.
pub const DIGEST_SINCE: &str = "digest_since_ms";
pub const DIGEST_UNTIL: &str = "digest_until_ms";
/// The only action that reaches people.
pub(crate) const SEND: &str = "send_notification";

/// Why something of a person was not done. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeopleError {
    /// Mend what was sent.
    #[error("{} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    /// It is there: change that.
    #[error("there is one already")]
    Known,
    /// Read it again: somebody else has changed it.
    #[error("it was changed by somebody else: read it again")]
    Conflict,
    #[error("there is no such row")]
    NotFound,
    /// Remove some.
    #[error("{0}, which is as many as there may be")]
    Full(String),
    /// Do what the message says.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Look again at what was sent.
    #[error("this is not the code that was sent")]
    WrongCode,
    /// Configure a secret.
    #[error("codes cannot be made: the server has neither secrets.key nor auth.jwt_secret")]
    NoCodes,
    #[error(transparent)]
    NotSent(TriggerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who keeps people.
pub(crate) struct People {
    pub book: Arc<dyn PeopleBook>,
    pub codes: Option<Arc<dyn Codes>>,
}

/// Somebody to put into the directory.
#[derive(Debug, Clone)]
pub struct MemberDraft {
    /// Whose tenant; its user is the person.
    pub owner: Owner,
    pub email: String,
    pub name: String,
    pub role: Role,
    /// Who does it, for the audit log: `user:ID` or `service:ID`.
    pub by: String,
}

/// A way to reach somebody.
#[derive(Debug, Clone)]
pub struct ContactDraft {
    pub owner: Owner,
    pub kind: ContactKind,
    pub address: String,
    pub integration: Option<String>,
    pub by: String,
}

impl Engine {
    /// Keeps people from now on.
    pub fn keep_people(&self, book: Arc<dyn PeopleBook>, codes: Option<Arc<dyn Codes>>) {
        assert!(self.inner.people.set(People { book, codes }).is_ok(), "an engine keeps people once");
    }

    /// What is kept of people.
    pub fn people(&self) -> Result<&Arc<dyn PeopleBook>, StoreError> {
        Ok(&self.kept_people()?.book)
    }

    fn kept_people(&self) -> Result<&People, StoreError> {
        let people = self.inner.people.get();
        people.ok_or_else(|| StoreError::Unavailable("this node keeps no people".to_owned()))
    }

    /// Names an organization, or gives it another name.
    pub async fn name_organization(
        &self,
        owner: Owner,
        known: Option<Organization>,
        name: &str,
        by: String,
    ) -> Result<RowId, PeopleError> {
        let problems: Vec<Problem> = name_problem(name).into_iter().collect();
        if owner.organization.is_none() {
            return Err(invalid("", "there is no organization: a user without one is alone in their tenant"));
        }
        if !problems.is_empty() {
            return Err(PeopleError::Invalid(problems));
        }
        let fresh = || Organization { id: self.inner.runtime.row_id(), owner, name: String::new(), version: 0 };
        let organization = Organization { name: name.trim().to_owned(), ..known.unwrap_or_else(fresh) };
        let (id, subject) = (organization.id, ("organization", organization.id.0));
        let audit = self.entry(AuditEvent::OrganizationChanged, owner, by, subject);
        self.change_people(PeopleChange::Organization(organization), Some(audit)).await?;
        Ok(id)
    }

    /// Puts somebody into the directory, or changes what it says of them.
    pub async fn save_member(&self, known: Option<Member>, draft: MemberDraft) -> Result<RowId, PeopleError> {
        let MemberDraft { owner, email, name, role, by } = draft;
        let email = email.trim().to_lowercase();
        let mut problems: Vec<Problem> = name_problem(&name).into_iter().collect();
        let address = address_problem(ContactKind::Email, &email).map(|message| Problem::new("/email", message));
        problems.extend(address);
        if owner.organization.is_none() && owner.user.0 != owner.tenant.0 {
            problems.push(Problem::new("/user_id", "must be yourself: without an organization you are alone here"));
        }
        if owner.organization.is_none() && role != Role::Admin {
            problems.push(Problem::new("/role", "must be admin: without an organization you are your own"));
        }
        if !problems.is_empty() {
            return Err(PeopleError::Invalid(problems));
        }
        let event = if known.is_none() { AuditEvent::UserAdded } else { AuditEvent::UserChanged };
        let (id, version) = known.map_or_else(|| (self.inner.runtime.row_id(), 0), |known| (known.id, known.version));
        let member = Member { id, owner, email, name: name.trim().to_owned(), role, version };
        let audit = self.entry(event, owner, by, ("user", owner.user.0));
        let audit = AuditEntry { details: json!({"role": role}), ..audit };
        let most = self.inner.runtime.settings.users_per_tenant;
        self.change_people(PeopleChange::Member { member, most }, Some(audit)).await?;
        Ok(id)
    }

    /// Takes somebody out of the directory, with their contact methods and preferences in this tenant.
    pub async fn remove_member(&self, found: &Member, by: String) -> Result<(), PeopleError> {
        let (tenant, user) = (found.owner.tenant, found.owner.user);
        let audit = self.entry(AuditEvent::UserRemoved, found.owner, by, ("user", user.0));
        self.change_people(PeopleChange::RemoveMember { tenant, user }, Some(audit)).await
    }

    /// Adds a way to reach somebody, and sends the code that proves it to be theirs.
    pub async fn add_contact(&self, draft: ContactDraft) -> Result<ContactMethod, PeopleError> {
        let ContactDraft { owner, kind, address, integration, by } = draft;
        let address = address.trim().to_owned();
        if let Some(message) = address_problem(kind, &address) {
            return Err(invalid("/address", message));
        }
        if kind == ContactKind::Webhook && integration.is_some() {
            return Err(invalid("/integration", "has no meaning for a webhook, which is an address itself"));
        }
        let id = self.inner.runtime.row_id();
        let code = CodeState::default().next(self.code_rules(), self.now_ms())?;
        let contact = ContactMethod { id, owner, kind, address, integration, verified_ms: None, code, version: 0 };
        // What nothing could be sent through is not kept.
        self.check_contact(owner.tenant, &contact).await?;
        let audit = self.entry(AuditEvent::ContactMethodAdded, owner, by.clone(), ("contact_method", id.0));
        let audit = AuditEntry { details: json!({"kind": kind, "user_id": owner.user}), ..audit };
        self.change_people(self.contact_change(contact.clone()), Some(audit)).await?;
        let kept = ContactMethod { version: 1, ..contact };
        match self.send_code(&kept, &by).await {
            Ok(()) => Ok(kept),
            Err(error) => {
                // Nobody was told of it: the request can be repeated as it is.
                self.drop_contact(&kept, by).await?;
                Err(error)
            }
        }
    }

    /// Sends a further code.
    pub async fn send_another_code(&self, found: &ContactMethod, by: &str) -> Result<ContactMethod, PeopleError> {
        if found.verified_ms.is_some() {
            return Err(invalid("", "the contact method is verified already"));
        }
        let code = found.code.next(self.code_rules(), self.now_ms())?;
        self.check_contact(found.owner.tenant, found).await?;
        let next = ContactMethod { code, ..found.clone() };
        self.change_people(self.contact_change(next.clone()), None).await?;
        self.send_code(&next, by).await?;
        Ok(next)
    }

    /// Takes the code that was sent. A wrong one counts, and a second one at the same time is refused.
    pub async fn verify_contact(&self, found: &ContactMethod, given: &str, by: String) -> Result<(), PeopleError> {
        if found.verified_ms.is_some() {
            return Ok(());
        }
        let codes = self.kept_people()?.codes.as_ref().ok_or(PeopleError::NoCodes)?;
        found.code.is_open(self.code_rules(), self.now_ms())?;
        if !codes.is_code(found.proof(), given.trim()) {
            let tried = ContactMethod { code: found.code.tried(), ..found.clone() };
            self.change_people(self.contact_change(tried), None).await?;
            return Err(PeopleError::WrongCode);
        }
        self.verified(found, by).await
    }

    /// What a link is for, as long as it counts.
    pub async fn opened_link(&self, token: &str) -> Result<Option<ContactMethod>, PeopleError> {
        let people = self.kept_people()?;
        let Some(proof) = people.codes.as_ref().and_then(|codes| codes.open(token)) else { return Ok(None) };
        let found = people.book.contact(proof.tenant, proof.contact).await?;
        let is_open = |found: &ContactMethod| {
            found.verified_ms.is_some() || found.code.is_open(self.code_rules(), self.now_ms()).is_ok()
        };
        Ok(found.filter(|found| found.proof() == proof && is_open(found)))
    }

    /// It is the person's: whoever gave the code, or followed the link, reads what is sent there.
    pub async fn verified(&self, found: &ContactMethod, by: String) -> Result<(), PeopleError> {
        if found.verified_ms.is_some() {
            return Ok(());
        }
        let subject = ("contact_method", found.id.0);
        let audit = self.entry(AuditEvent::ContactMethodVerified, found.owner, by, subject);
        let audit = AuditEntry { details: json!({"kind": found.kind, "user_id": found.owner.user}), ..audit };
        let verified = ContactMethod { verified_ms: Some(self.now_ms()), ..found.clone() };
        self.change_people(self.contact_change(verified), Some(audit)).await
    }

    /// Nobody is reached by it any more. One whose code still counts stays: who adds and removes the same address all the
    /// time would have it written to without end.
    pub async fn remove_contact(&self, found: &ContactMethod, by: String) -> Result<(), PeopleError> {
        let until_ms = found.code.sent_ms.unwrap_or_default() + self.inner.runtime.settings.contact_code_ms;
        let wait_ms = until_ms - self.now_ms();
        if found.verified_ms.is_none() && wait_ms > 0 {
            return Err(CodeError::StillCounts((wait_ms + 999) / 1_000).into());
        }
        self.drop_contact(found, by).await
    }

    async fn drop_contact(&self, found: &ContactMethod, by: String) -> Result<(), PeopleError> {
        let ContactMethod { id, owner, .. } = *found;
        let audit = self.entry(AuditEvent::ContactMethodRemoved, owner, by, ("contact_method", id.0));
        let change = PeopleChange::RemoveContact { tenant: owner.tenant, user: owner.user, id };
        self.change_people(change, Some(audit)).await
    }

    /// Keeps how somebody wants to be told.
    pub async fn save_preferences(
        &self,
        owner: Owner,
        known: Option<StoredPreferences>,
        document: PreferencesDocument,
        by: String,
    ) -> Result<RowId, PeopleError> {
        Preferences::compile(document.clone()).map_err(PeopleError::Invalid)?;
        let (id, version) = known.map_or_else(|| (self.inner.runtime.row_id(), 0), |known| (known.id, known.version));
        let preferences = StoredPreferences { id, owner, document, version };
        let audit = self.entry(AuditEvent::PreferencesChanged, owner, by, ("user", owner.user.0));
        let most = self.inner.runtime.settings.users_per_tenant;
        self.change_people(PeopleChange::Preferences { preferences, most }, Some(audit)).await?;
        Ok(id)
    }

    /// Answers whoever pressed a button, at the address that the chat gave for that: durably, and once.
    pub async fn answer_press(&self, owner: Owner, url: &str, key: &str, said: &str) -> Result<(), PeopleError> {
        let payload = json!({"url": literal(url), "response_type": "ephemeral", "replace_original": false,
            "text": literal(said)});
        let (name, target, urgency, insists) = ("button", "webhook", Urgency::High, false);
        let single = Single { name, action_type: SEND, target, payload: &payload, urgency, at_ms: None, insists };
        let trigger = single.trigger(owner, "slack", format!("button {key}"));
        let trigger = trigger.map_err(|error| invalid("", error.message))?;
        self.trigger(trigger).await.map(drop).map_err(PeopleError::NotSent)
    }

    fn code_rules(&self) -> CodeRules {
        let settings = &self.inner.runtime.settings;
        CodeRules {
            lifetime_ms: settings.contact_code_ms,
            most_tries: settings.contact_code_tries,
            least_pause_ms: settings.contact_code_pause_ms,
            most_codes: settings.contact_codes,
        }
    }

    fn contact_change(&self, contact: ContactMethod) -> PeopleChange {
        let settings = &self.inner.runtime.settings;
        let most_each = settings.contact_methods_per_user;
        PeopleChange::Contact { contact, most_each, most: most_each * settings.users_per_tenant }
    }

    /// What is wrong with the way to an address: no integration that takes it, for one.
    async fn check_contact(&self, tenant: TenantId, contact: &ContactMethod) -> Result<(), PeopleError> {
        if self.kept_people()?.codes.is_none() {
            return Err(PeopleError::NoCodes);
        }
        let (payload, known) = (code_payload(contact), self.connections(tenant).await?);
        let single = code_message(contact, &payload);
        let document = single.document().map_err(|error| invalid("/integration", error.message))?;
        let problems = self.inner.runtime.plans.compile(&document, &known).err().unwrap_or_default();
        let at = if contact.integration.is_some() { "/integration" } else { "/kind" };
        let problems: Vec<Problem> = problems.into_iter().map(|problem| Problem::new(at, problem.message)).collect();
        if problems.is_empty() { Ok(()) } else { Err(PeopleError::Invalid(problems)) }
    }

    async fn send_code(&self, contact: &ContactMethod, by: &str) -> Result<(), PeopleError> {
        let Proof { contact: id, no, .. } = contact.proof();
        let payload = code_payload(contact);
        let key = format!("contact code {id}/{no}");
        let trigger = code_message(contact, &payload).trigger(contact.owner, by, key);
        let trigger = trigger.map_err(|error| invalid("/integration", error.message))?;
        self.trigger(trigger).await.map(drop).map_err(PeopleError::NotSent)
    }

    async fn change_people(&self, change: PeopleChange, audit: Option<AuditEntry>) -> Result<(), PeopleError> {
        let write = PeopleWrite { change, audit, at_ms: self.now_ms() };
        match self.commit(Write::People(Box::new(write))).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Conflict => Err(PeopleError::Conflict),
            Outcome::NotFound => Err(PeopleError::NotFound),
            Outcome::Rejected { code: RejectCode::NameTaken, .. } => Err(PeopleError::Known),
            Outcome::Rejected { code: RejectCode::LimitReached, message } => Err(PeopleError::Full(message)),
            other => Err(unexpected(other).into()),
        }
    }
}

fn invalid(pointer: &str, message: impl Into<String>) -> PeopleError {
    PeopleError::Invalid(vec![Problem::new(pointer, message)])
}

/// What is sent to prove an address, without the address and without the code.
fn code_payload(contact: &ContactMethod) -> Value {
    json!({CONTACT: contact.id, KIND: contact.kind, CODE: contact.code.no})
}

fn code_message<'a>(contact: &'a ContactMethod, payload: &'a Value) -> Single<'a> {
    // Whoever waits for a code asks for another one.
    let (target, urgency, insists) = (contact.channel(), Urgency::High, false);
    Single { name: "contact code", action_type: SEND, target, payload, urgency, at_ms: None, insists }
}
