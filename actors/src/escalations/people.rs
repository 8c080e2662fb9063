//! From tasks to rows: who is told, by their names and by schedules as they stand.

use core314_domain::escalation::{LevelAction, Recipient, Rule, Task, What};
use core314_domain::ids::{TenantId, UserId};
use core314_domain::run::OnDuty;
use core314_domain::words::Role;
use serde_json::{Map, Value, json};

use super::{ABOUT_ESCALATION, Desk, message};
use crate::ports::StoreError;
use crate::ports::escalation::{OutboxKind, OutboxRow, OutboxStatus, StoredEscalation};

/// The inbox of a user on this server.
const IN_APP: &str = "in_app";

/// Somebody who is told, or why nobody is.
enum Told {
    User { user: UserId, of: String },
    Nobody { of: String, why: String },
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
            match &task.what {
                What::Act { action } => {
                    let mut row = self.row(escalation, task, OutboxKind::Act, &action.action, task.key(escalation.id));
                    row.target = action.target.clone();
                    row.payload = Value::Object(action.payload.clone());
                    if action.action == LevelAction::CreateTicket.as_str() {
                        let (title, text) = message::words(rule, escalation, task.purpose, task.level);
                        row.payload = Value::Object(message::ticket(&action.payload, &title, &text));
                    }
                    rows.push(row);
                }
                What::Notify { channel, recipients, is_page } => {
                    let (title, text) = message::words(rule, escalation, task.purpose, task.level);
                    let payload = message::payload(&channel.channel, &channel.payload, &title, &text);
                    if channel.channel == IN_APP {
                        let people = self.people(rule, escalation, recipients).await?;
                        rows.extend(
                            people.into_iter().map(|told| self.told(escalation, task, told, &payload, *is_page)),
                        );
                    } else {
                        let key = task.key(escalation.id);
                        let mut row = self.row(escalation, task, OutboxKind::Notify, &channel.channel, key);
                        row.target = (!recipients.is_empty()).then(|| recipients.join(","));
                        row.payload = Value::Object(payload);
                        rows.push(row);
                    }
                }
            }
        }
        // Who is named twice is told once.
        let mut seen = std::collections::BTreeSet::new();
        rows.retain(|row| seen.insert(row.key.clone()));
        // The twelve bits after the time (RFC 9562, 6.2, method 1): rows of one decision stay in their order.
        let now_ms = self.now_ms();
        for (no, row) in rows.iter_mut().enumerate() {
            let random = (no as u128 & 0xfff) << 62 | u128::from(rand::random::<u64>() >> 2);
            row.id = core314_domain::ids::RowId::new(now_ms, random);
        }
        Ok(rows)
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
            key,
            status: OutboxStatus::Pending,
            is_unknown: false,
            is_stopped: false,
            run: None,
            error: None,
            tries: 0,
            sent_ms: None,
        }
    }

    /// The row of a message into somebody's inbox.
    fn told(
        &self,
        escalation: &StoredEscalation,
        task: &Task,
        told: Told,
        payload: &Map<String, Value>,
        is_page: bool,
    ) -> OutboxRow {
        let name = match &told {
            Told::User { user, .. } => user.to_string(),
            Told::Nobody { of, .. } => of.clone(),
        };
        let key = format!("{}/{}/{}/{}/{IN_APP}/{name}", escalation.id, task.purpose, task.level, task.round);
        let mut row = self.row(escalation, task, OutboxKind::Notify, IN_APP, key);
        match told {
            Told::Nobody { of, why } => {
                (row.target, row.status, row.error) = (Some(of), OutboxStatus::Failed, Some(why));
            }
            Told::User { user, of } => {
                let mut payload = payload.clone();
                payload.insert("user_id".to_owned(), json!(user));
                payload.entry("severity").or_insert_with(|| if is_page { "critical".into() } else { "high".into() });
                let about = json!({ABOUT_ESCALATION: escalation.id, "escalation_level": task.level, "recipient": of});
                payload.entry("metadata").or_insert(about);
                row.target = Some(format!("user:{user}"));
                row.payload = Value::Object(payload);
            }
        }
        row
    }

    /// Who these are now. Without any it is whoever owns what has failed.
    async fn people(
        &self,
        rule: &Rule,
        escalation: &StoredEscalation,
        recipients: &[String],
    ) -> Result<Vec<Told>, StoreError> {
        if recipients.is_empty() {
            let user = escalation.event.user;
            return Ok(vec![Told::User { user, of: format!("user:{user}") }]);
        }
        let mut found = Vec::new();
        for of in recipients {
            let of = of.clone();
            match of.parse::<Recipient>() {
                Ok(Recipient::User(user)) => found.push(Told::User { user, of }),
                Ok(Recipient::Role(Role::Admin)) => {
                    let admins = self.admins(rule, escalation).await?;
                    found.extend(admins.into_iter().map(|user| Told::User { user, of: of.clone() }));
                }
                Ok(Recipient::OnCall(name)) => {
                    let duty = self.on_duty(escalation.owner.tenant, &name).await?;
                    found.push(match duty.who {
                        Ok(user) => Told::User { user, of },
                        Err(why) => Told::Nobody { of, why },
                    });
                }
                Ok(Recipient::Role(_)) => {
                    found.push(Told::Nobody { of, why: "the role has no known members".to_owned() });
                }
                Err(why) => found.push(Told::Nobody { of, why }),
            }
        }
        Ok(found)
    }

    /// The admins that are known: whoever has made and changed the rule, which only admins may, or the tenant's own user.
    async fn admins(&self, rule: &Rule, escalation: &StoredEscalation) -> Result<Vec<UserId>, StoreError> {
        if escalation.owner.organization.is_none() {
            return Ok(vec![escalation.owner.user]);
        }
        let rules = self.rules(escalation.owner.tenant).await?;
        let mut admins: Vec<UserId> =
            rules.facts(rule.id).map(|facts| vec![facts.created_by, facts.updated_by]).unwrap_or_default();
        admins.dedup();
        if admins.is_empty() {
            admins.push(escalation.event.user);
        }
        Ok(admins)
    }

    /// Who is on call now on a schedule of a tenant, or why nobody is.
    pub(crate) async fn on_duty(&self, tenant: TenantId, schedule: &str) -> Result<OnDuty, StoreError> {
        let now_ms = self.now_ms();
        let who = match self.book.on_call(tenant, schedule.to_owned(), now_ms).await? {
            None => Err(format!("there is no on-call schedule '{schedule}'")),
            Some(stored) => stored
                .at(now_ms)
                .and_then(|shift| shift.user.ok_or_else(|| format!("nobody is on call in '{schedule}'"))),
        };
        Ok(OnDuty { schedule: schedule.to_owned(), who })
    }
}
