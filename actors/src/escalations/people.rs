//! From tasks to rows: who is told, by their names and by schedules as they stand, in their inboxes and by what else they
//! want to be told.

use std::collections::BTreeMap;

use core314_domain::escalation::{LevelAction, Rule, Task, What};
use core314_domain::expr::literal;
use core314_domain::ids::{TenantId, UserId};
use core314_domain::people::{ContactKind, When};
use core314_domain::words::{NotificationType, Severity};
use serde_json::{Map, Value, json};

use super::{ABOUT_ESCALATION, Desk, message};
use crate::ports::StoreError;
use crate::ports::escalation::{OutboxKind, OutboxRow, OutboxStatus, StoredEscalation};
use crate::ports::people::ContactMethod;
use crate::random::random;
use crate::recipients::{self, Duty, Kind, Told, Way};

/// The inbox of a user on this server.
const IN_APP: &str = "in_app";
/// Who is told where nobody says otherwise.
const ADMINS: &str = "role:admin";

/// What a notice says, and to whom.
struct Notice<'a> {
    rule: &'a Rule,
    escalation: &'a StoredEscalation,
    task: &'a Task,
    recipients: &'a [String],
    title: String,
    text: String,
    payload: Map<String, Value>,
    is_page: bool,
}

impl Desk {
    /// The rows of what an event wants done.
    pub(super) async fn rows(
        &self,
        rule: &Rule,
        escalation: &StoredEscalation,
        tasks: &[Task],
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let mut rows: Vec<OutboxRow> = Vec::new();
        for task in tasks {
            let (title, text) = message::words(rule, escalation, task, self.now_ms());
            match &task.what {
                What::Act { action } => {
                    let mut row = self.row(escalation, task, OutboxKind::Act, &action.action, task.key(escalation.id));
                    row.target = action.target.clone();
                    row.payload = Value::Object(action.payload.clone());
                    if action.action == LevelAction::CreateTicket.as_str() {
                        let ticket = message::ticket(&action.payload, &literal(&title), &literal(&text));
                        row.payload = Value::Object(ticket);
                    }
                    rows.push(row);
                }
                What::Notify { channel, recipients, is_page } => {
                    let (recipients, is_page) = (recipients.as_slice(), *is_page);
                    let (word, own) = (channel.channel.as_str(), &channel.payload);
                    let kind = self.kind_of(escalation.owner.tenant, word).await?;
                    let payload = message::payload(word, &kind, own, &title, &text);
                    let notice = Notice { rule, escalation, task, recipients, title, text, payload, is_page };
                    if is_inbox(&channel.channel) {
                        rows.extend(self.inboxes(&notice).await?);
                    } else if let Some(kind) = message::personal(&channel.channel, &channel.payload, recipients) {
                        rows.extend(self.by_kind(&notice, kind).await?);
                    } else {
                        let key = task.key(escalation.id);
                        let mut row = self.row(escalation, task, OutboxKind::Notify, &channel.channel, key);
                        row.target = (!recipients.is_empty()).then(|| recipients.join(","));
                        row.payload = Value::Object(notice.payload);
                        rows.push(row);
                    }
                }
            }
        }
        once(&mut rows);
        // The twelve bits after the time (RFC 9562, 6.2, method 1): rows of one decision stay in their order.
        let now_ms = self.now_ms();
        for (no, row) in rows.iter_mut().enumerate() {
            let random = (no as u128 & 0xfff) << 62 | u128::from(random::<u64>() >> 2);
            row.id = core314_domain::ids::RowId::new(now_ms, random);
        }
        Ok(rows)
    }

    /// What a channel is: the kind of the integration of this name, or the word itself.
    async fn kind_of(&self, tenant: TenantId, channel: &str) -> Result<String, StoreError> {
        if is_inbox(channel) {
            return Ok(channel.to_owned());
        }
        let known = self.engine()?.connections(tenant).await?;
        Ok(known.integration(channel).map_or_else(|| channel.to_owned(), |found| found.kind.clone()))
    }

    fn row(
        &self,
        escalation: &StoredEscalation,
        task: &Task,
        kind: OutboxKind,
        channel: &str,
        key: String,
    ) -> OutboxRow {
        OutboxRow {
            id: self.runtime().row_id(),
            escalation: escalation.id,
            level: task.level,
            round: task.round,
            purpose: task.purpose,
            kind,
            channel: channel.to_owned(),
            target: None,
            payload: Value::Null,
            found_by: None,
            key,
            status: OutboxStatus::Pending,
            is_unknown: false,
            is_stopped: false,
            run: None,
            error: None,
            tries: 0,
            not_before_ms: None,
            sent_ms: None,
        }
    }

    /// The row of a notice to somebody; the same notice reaches the same place once.
    fn to(&self, notice: &Notice<'_>, channel: &str, place: &str) -> OutboxRow {
        let (task, escalation) = (notice.task, notice.escalation);
        let key = format!("{}/{}/{}/{}/{place}", escalation.id, task.purpose, task.level, task.round);
        self.row(escalation, task, OutboxKind::Notify, channel, key)
    }

    /// That nobody is told, and why.
    fn to_nobody(&self, notice: &Notice<'_>, channel: &str, of: String, why: String) -> OutboxRow {
        let row = self.to(notice, channel, &format!("{channel}/{of}"));
        OutboxRow { target: Some(of), status: OutboxStatus::Failed, error: Some(why), ..row }
    }

    /// Messages into inboxes, and beside them those by which their people want to be told.
    async fn inboxes(&self, notice: &Notice<'_>) -> Result<Vec<OutboxRow>, StoreError> {
        let mut rows = Vec::new();
        for told in self.people(notice).await? {
            match told {
                Told::Nobody { of, why } => rows.push(self.to_nobody(notice, IN_APP, of, why)),
                Told::User { user, of, duty } => {
                    let mut theirs = vec![self.inbox(notice, user, &of)];
                    theirs.extend(self.ways(notice, user).await?.iter().map(|way| self.by_way(notice, way)));
                    rows.extend(found(theirs, &of, duty.as_ref()));
                }
            }
        }
        Ok(rows)
    }

    fn inbox(&self, notice: &Notice<'_>, user: UserId, of: &str) -> OutboxRow {
        let mut payload = notice.payload.clone();
        payload.insert("user_id".to_owned(), json!(user));
        payload.entry("severity").or_insert(json!(notice.severity()));
        let about = json!({ABOUT_ESCALATION: notice.escalation.id, "escalation_level": notice.task.level,
            "recipient": literal(of)});
        payload.entry("metadata").or_insert(about);
        // The rows beside this one do that.
        payload.insert("onward".to_owned(), json!(false));
        let mut row = self.to(notice, IN_APP, &format!("{IN_APP}/{user}"));
        row.target = Some(format!("user:{user}"));
        row.payload = Value::Object(payload);
        row
    }

    /// Messages by one kind of contact method, to whomever the level names.
    async fn by_kind(&self, notice: &Notice<'_>, kind: ContactKind) -> Result<Vec<OutboxRow>, StoreError> {
        let engine = self.engine()?;
        let (people, tenant) = (engine.people()?, notice.escalation.owner.tenant);
        let mut rows = Vec::new();
        for told in self.people(notice).await? {
            let (user, of, duty) = match told {
                Told::User { user, of, duty } => (user, of, duty),
                Told::Nobody { of, why } => {
                    rows.push(self.to_nobody(notice, kind.as_str(), of, why));
                    continue;
                }
            };
            let contacts = recipients::verified(people.as_ref(), (tenant, user), kind).await?;
            if contacts.is_empty() {
                let why = format!("they have no verified contact method of the kind {kind}");
                rows.push(self.to_nobody(notice, kind.as_str(), of, why));
                continue;
            }
            // The rule says by what; when it may wait is still theirs to say.
            let held = self.held(notice, user).await?;
            let way = |contact: ContactMethod| Way { contact, when: held };
            let theirs = contacts.into_iter().map(way).map(|way| self.by_way(notice, &way)).collect();
            rows.extend(found(theirs, &of, duty.as_ref()));
        }
        Ok(rows)
    }

    async fn held(&self, notice: &Notice<'_>, user: UserId) -> Result<When, StoreError> {
        let engine = self.engine()?;
        let tenant = notice.escalation.owner.tenant;
        let preferences = recipients::preferences(engine.people()?.as_ref(), tenant, user).await?;
        let is_through = notice.severity() >= preferences.document.goes_through;
        let until_ms = preferences.quiet_until(self.now_ms()).filter(|_| !is_through);
        Ok(until_ms.map_or(When::Now, |until_ms| When::Held { until_ms }))
    }

    fn by_way(&self, notice: &Notice<'_>, way: &Way) -> OutboxRow {
        let contact = &way.contact;
        let mut payload = recipients::message(contact, &notice.title, &notice.text, notice.severity());
        payload[ABOUT_ESCALATION] = json!(notice.escalation.id);
        let mut row = self.to(notice, contact.channel(), &format!("contact/{}", contact.id));
        row.target = Some(format!("user:{}", contact.owner.user));
        row.payload = payload;
        row.not_before_ms = match way.when {
            When::Now => None,
            When::Held { until_ms } => Some(until_ms),
            When::Digest { at_ms, .. } => Some(at_ms),
        };
        row
    }

    async fn ways(&self, notice: &Notice<'_>, user: UserId) -> Result<Vec<Way>, StoreError> {
        let engine = self.engine()?;
        let message = Kind { kind: notice.kind(), severity: notice.severity() };
        let whom = (notice.escalation.owner.tenant, user);
        recipients::ways(engine.people()?.as_ref(), whom, message, self.now_ms()).await
    }

    /// Who these are now. Without any it is whoever owns what has failed.
    async fn people(&self, notice: &Notice<'_>) -> Result<Vec<Told>, StoreError> {
        let escalation = notice.escalation;
        if notice.recipients.is_empty() {
            let user = escalation.event.user;
            return Ok(vec![Told::User { user, of: format!("user:{user}"), duty: None }]);
        }
        let directory = self.directory()?;
        let mut found = Vec::new();
        for told in directory.who(escalation.owner, notice.recipients, self.now_ms()).await? {
            match told {
                Told::Nobody { of, .. } if of == ADMINS => found.extend(self.makers(notice).await?),
                told => found.push(told),
            }
        }
        Ok(found)
    }

    /// The admins of a tenant whose directory names none: whoever has made and changed the rule, which only admins may.
    async fn makers(&self, notice: &Notice<'_>) -> Result<Vec<Told>, StoreError> {
        let rules = self.rules(notice.escalation.owner.tenant).await?;
        let facts = rules.facts(notice.rule.id);
        let mut users: Vec<UserId> = facts.map(|facts| vec![facts.created_by, facts.updated_by]).unwrap_or_default();
        users.dedup();
        if users.is_empty() {
            users.push(notice.escalation.event.user);
        }
        Ok(users.into_iter().map(|user| Told::User { user, of: ADMINS.to_owned(), duty: None }).collect())
    }
}

impl Notice<'_> {
    /// As the level says, or by what it is.
    fn severity(&self) -> Severity {
        let said = self.payload.get("severity").and_then(Value::as_str).and_then(|word| word.parse().ok());
        said.unwrap_or(if self.is_page { Severity::Critical } else { Severity::High })
    }

    fn kind(&self) -> NotificationType {
        let said = self.payload.get("type").and_then(Value::as_str).and_then(|word| word.parse().ok());
        said.unwrap_or(NotificationType::Alert)
    }
}

/// Somebody's rows, with how they were found: schedules change, and whoever asks why asks later.
fn found(mut theirs: Vec<OutboxRow>, of: &str, duty: Option<&Duty>) -> Vec<OutboxRow> {
    let mut by = json!({"recipient": of});
    if let Some(duty) = duty {
        by["on_call"] = json!(duty);
    }
    theirs.iter_mut().for_each(|row| row.found_by = Some(by.clone()));
    theirs
}

/// Who is named twice is told once, and as early as either says.
fn once(rows: &mut Vec<OutboxRow>) {
    let mut due: BTreeMap<String, Option<i64>> = BTreeMap::new();
    for row in &*rows {
        let at_ms = due.entry(row.key.clone()).or_insert(row.not_before_ms);
        *at_ms = at_ms.zip(row.not_before_ms).map(|(one, other)| one.min(other));
    }
    rows.retain_mut(|row| {
        let Some(at_ms) = due.remove(&row.key) else { return false };
        row.not_before_ms = at_ms;
        true
    });
}

/// Whether a channel is the inboxes of this server.
fn is_inbox(channel: &str) -> bool {
    [IN_APP, "system"].contains(&channel)
}
