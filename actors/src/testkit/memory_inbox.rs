//! Inboxes in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat};
use core314_domain::ids::NotificationId;
use core314_domain::words::NotificationStatus;
use serde_json::{Value, json};

use crate::ports::notifications::{
    Addressee, Audience, Inbox, Mark, Notification, NotificationFilter, Notifications, Unread,
};
use crate::ports::views::{Page, Paged};
use crate::ports::{BoxFuture, StoreError};

/// Keeps notifications in the order of their delivery.
#[derive(Default)]
pub struct MemoryInbox {
    rows: Mutex<Vec<Row>>,
}

#[derive(Clone)]
struct Row {
    notification: Notification,
    status: NotificationStatus,
    updated_at_ms: i64,
    read_at_ms: Option<i64>,
    archived_at_ms: Option<i64>,
}

impl MemoryInbox {
    /// What was delivered so far.
    pub fn delivered(&self) -> Vec<Notification> {
        self.rows().iter().map(|row| row.notification.clone()).collect()
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn is_for(&self, audience: Audience) -> bool {
        match audience {
            Audience::User(user) => Addressee::from(self.notification.owner) == user,
            Audience::Platform => true,
        }
    }

    fn passes(&self, filter: &NotificationFilter) -> bool {
        let it = &self.notification;
        filter.status.is_none_or(|status| status == self.status)
            && filter.kind.is_none_or(|kind| kind == it.kind)
            && filter.severity.is_none_or(|severity| severity == it.severity)
    }

    fn view(&self) -> Value {
        let it = &self.notification;
        json!({
            "id": it.id, "tenant_id": it.owner.tenant, "user_id": it.owner.user,
            "organization_id": it.owner.organization, "rule_id": it.rule, "execution_queue_id": it.cause.execution(),
            "type": it.kind, "title": it.title, "message": it.message, "severity": it.severity, "status": self.status,
            "action_url": it.action_url, "metadata": it.metadata, "created_at": rfc3339(Some(it.at_ms)),
            "updated_at": rfc3339(Some(self.updated_at_ms)), "read_at": rfc3339(self.read_at_ms),
            "archived_at": rfc3339(self.archived_at_ms),
        })
    }

    fn bear(&mut self, mark: Mark, now_ms: i64) -> bool {
        match (mark, self.status) {
            (Mark::Read, NotificationStatus::Unread) => {
                (self.status, self.read_at_ms) = (NotificationStatus::Read, Some(now_ms));
            }
            (Mark::Archived, NotificationStatus::Unread | NotificationStatus::Read) => {
                (self.status, self.archived_at_ms) = (NotificationStatus::Archived, Some(now_ms));
            }
            (Mark::Read, _) | (Mark::Archived, NotificationStatus::Archived) => return false,
        }
        self.updated_at_ms = now_ms;
        true
    }
}

fn rfc3339(ms: Option<i64>) -> Option<String> {
    DateTime::from_timestamp_millis(ms?).map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

impl Inbox for MemoryInbox {
    fn deliver(&self, notification: Notification) -> BoxFuture<'_, Result<NotificationId, StoreError>> {
        let mut rows = self.rows();
        let known = rows.iter().find(|row| {
            let it = &row.notification;
            it.cause == notification.cause && it.owner == notification.owner
        });
        let id = known.map_or(notification.id, |row| row.notification.id);
        if known.is_none() {
            let (status, updated_at_ms) = (NotificationStatus::Unread, notification.at_ms);
            rows.push(Row { notification, status, updated_at_ms, read_at_ms: None, archived_at_ms: None });
        }
        Box::pin(std::future::ready(Ok(id)))
    }

    fn unread_of(
        &self,
        user: Addressee,
        after: NotificationId,
        until_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Unread>, StoreError>> {
        let is_it = |row: &&Row| {
            row.is_for(Audience::User(user))
                && row.status == NotificationStatus::Unread
                && row.notification.is_onward
                && row.notification.id > after
                && row.notification.id < NotificationId::new(until_ms, 0)
        };
        let shown = |row: &Row| {
            let Notification { id, kind, severity, at_ms, title, .. } = &row.notification;
            Unread { id: *id, kind: *kind, severity: *severity, title: title.clone(), at_ms: *at_ms }
        };
        let mut found: Vec<Unread> = self.rows().iter().filter(is_it).map(shown).collect();
        found.sort_unstable_by_key(|it| it.id);
        found.truncate(limit);
        Box::pin(async move { Ok(found) })
    }
}

impl Notifications for MemoryInbox {
    fn list(
        &self,
        audience: Audience,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        let mut rows = self.rows().clone();
        rows.retain(|row| row.is_for(audience) && row.passes(&filter));
        rows.retain(|row| page.after.is_none_or(|after| row.notification.id.0 < after));
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.notification.id));
        let next = (rows.len() > page.limit).then(|| rows[page.limit - 1].notification.id.0);
        let items = rows.iter().take(page.limit).map(Row::view).collect();
        Box::pin(std::future::ready(Ok(Paged { items, next })))
    }

    fn unread_count(&self, audience: Audience) -> BoxFuture<'_, Result<i64, StoreError>> {
        let rows = self.rows();
        let unread = rows.iter().filter(|row| row.is_for(audience) && row.status == NotificationStatus::Unread);
        Box::pin(std::future::ready(Ok(unread.count() as i64)))
    }

    fn mark(
        &self,
        user: Addressee,
        id: NotificationId,
        mark: Mark,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        let mut rows = self.rows();
        let row = rows.iter_mut().find(|row| row.notification.id == id && row.is_for(Audience::User(user)));
        let view = row.map(|row| {
            row.bear(mark, now_ms);
            row.view()
        });
        Box::pin(std::future::ready(Ok(view)))
    }

    fn remove(&self, user: Addressee, id: NotificationId, _now_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut rows = self.rows();
        let before = rows.len();
        rows.retain(|row| row.notification.id != id || !row.is_for(Audience::User(user)));
        let is_gone = rows.len() < before;
        Box::pin(std::future::ready(Ok(is_gone)))
    }

    fn read_all(&self, user: Addressee, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        let mut rows = self.rows();
        let due = rows.iter_mut().filter(|row| row.is_for(Audience::User(user)) && row.notification.at_ms <= now_ms);
        let read = due.map(|row| row.bear(Mark::Read, now_ms)).filter(|changed| *changed).count();
        Box::pin(std::future::ready(Ok(read as i64)))
    }
}
