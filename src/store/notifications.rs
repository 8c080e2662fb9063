//! Inboxes: what is put into them, and what their users do with it.
//!
//! Notifications belong to no run's commit: each is a transaction of its own, and a repetition is told by its execution.
//!
//! Invariant: every change names the tenant and the user, because the role that writes sees all rows.

use core314_actors::ports::notifications::{
    Addressee, Audience, Cause, Inbox, Mark, Notification, NotificationFilter, Notifications, Unread,
};
use core314_actors::ports::views::{Page, Paged};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::ids::NotificationId;
use core314_domain::words::NotificationStatus;
use serde_json::Value;
use uuid::Uuid;

use super::SqlStore;
use super::cell::{Cell, Fields, Rows};
use super::connection::Bulk;
use super::escalations::{many, rows};
use super::failure::Failure;
use super::views::notifications as views;

const DELIVER: Bulk = Bulk {
    before: "INSERT INTO notices (id, tenant_id, user_id, organization_id, execution_queue_id, rule_id, type, title, \
             message, severity, status, action_url, metadata, is_onward, created_at_ms, updated_at_ms, occurrence_id) ",
    // Whichever of its two causes it has: each has an index of its own.
    after: " ON CONFLICT DO NOTHING",
};
const OF_EXECUTION: &str = "SELECT id FROM notices WHERE execution_queue_id = $1 AND tenant_id = $2 AND user_id = $3";
const OF_OCCURRENCE: &str = "SELECT id FROM notices WHERE occurrence_id = $1 AND tenant_id = $2 AND user_id = $3";
pub(super) const READ: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, at_ms) AS (",
    after: ") UPDATE notices SET status = 'read', read_at_ms = u.at_ms, updated_at_ms = u.at_ms FROM u \
            WHERE notices.id = u.id AND notices.tenant_id = u.tenant_id AND notices.user_id = u.user_id \
            AND (notices.status = 'unread') IS TRUE RETURNING notices.id",
};
pub(super) const ARCHIVED: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, at_ms) AS (",
    after: ") UPDATE notices SET status = 'archived', archived_at_ms = u.at_ms, updated_at_ms = u.at_ms FROM u \
            WHERE notices.id = u.id AND notices.tenant_id = u.tenant_id AND notices.user_id = u.user_id \
            AND notices.status <> 'archived' RETURNING notices.id",
};
const REMOVED: &str = "DELETE FROM notices WHERE id = $1 AND tenant_id = $2 AND user_id = $3 RETURNING id";
/// By ids, which carry their time and are in the index.
const UNREAD_OF: &str = "SELECT id, type, severity, title, created_at_ms FROM notices WHERE tenant_id = $1 AND user_id = $2 \
    AND status = 'unread' AND is_onward AND id > $3 AND id < $4 ORDER BY id LIMIT $5";
/// In pieces, so that a full inbox does not hold up who else writes.
const SOME_UNREAD: &str = "SELECT id FROM notices WHERE tenant_id = $1 AND user_id = $2 AND status = 'unread' \
    AND created_at_ms <= $3 ORDER BY id DESC LIMIT 1000";

impl Inbox for SqlStore {
    fn deliver(&self, notification: Notification) -> BoxFuture<'_, Result<NotificationId, StoreError>> {
        Box::pin(async move { Ok(deliver(self, &notification).await?) })
    }

    fn unread_of(
        &self,
        user: Addressee,
        after: NotificationId,
        until_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Unread>, StoreError>> {
        Box::pin(async move {
            let until = NotificationId::new(until_ms, 0);
            let cells =
                [user.tenant.0.into(), user.user.0.into(), after.0.into(), until.0.into(), (limit as i64).into()];
            let found = rows(self, Scope::Tenant(user.tenant), UNREAD_OF, &cells).await?;
            many(&found, unread)
        })
    }
}

impl Notifications for SqlStore {
    fn list(
        &self,
        audience: Audience,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        Box::pin(views::page(self, audience, filter, page))
    }

    fn unread_count(&self, audience: Audience) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(views::unread(self, audience))
    }

    fn mark(
        &self,
        user: Addressee,
        id: NotificationId,
        mark: Mark,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move {
            let bulk = match mark {
                Mark::Read => READ,
                Mark::Archived => ARCHIVED,
            };
            let mut connection = self.begin().await?;
            connection.bulk(bulk, &marked(user, [id.0], now_ms)).await?;
            connection.commit().await?;
            connection.give_back();
            views::one(self, user, id).await
        })
    }

    fn remove(&self, user: Addressee, id: NotificationId, _now_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(remove(self, user, id).await?) })
    }

    fn read_all(&self, user: Addressee, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let mut read = 0;
            while let Some(some) = read_some(self, user, now_ms).await? {
                read += some as i64;
            }
            Ok(read)
        })
    }
}

async fn remove(store: &SqlStore, user: Addressee, id: NotificationId) -> Result<bool, Failure> {
    let mut connection = store.begin().await?;
    let gone = connection.fetch(REMOVED, &[id.0.into(), user.tenant.0.into(), user.user.0.into()]).await?;
    connection.commit().await?;
    connection.give_back();
    Ok(!gone.is_empty())
}

/// Marks the next piece of what is unread, and says how many those were; `None` when nothing is left.
async fn read_some(store: &SqlStore, user: Addressee, now_ms: i64) -> Result<Option<usize>, Failure> {
    let mut connection = store.begin().await?;
    let cells = [user.tenant.0.into(), user.user.0.into(), now_ms.into()];
    let unread = connection.fetch(SOME_UNREAD, &cells).await?;
    let ids = unread.iter().map(|row| row.fields().uuid()).collect::<Result<Vec<_>, _>>()?;
    let read = connection.bulk(READ, &marked(user, ids, now_ms)).await?;
    connection.commit().await?;
    connection.give_back();
    Ok((!unread.is_empty()).then_some(read.len()))
}

/// The rows of [`READ`] and [`ARCHIVED`].
fn marked(user: Addressee, ids: impl IntoIterator<Item = Uuid>, at_ms: i64) -> Rows<'static> {
    let mut rows = Rows::new(4);
    for id in ids {
        rows.push([id.into(), user.tenant.0.into(), user.user.0.into(), at_ms.into()]);
    }
    rows
}

fn unread(mut f: Fields<'_>) -> Result<Unread, Failure> {
    let (id, kind, severity) = (NotificationId(f.uuid()?), f.word()?, f.word()?);
    Ok(Unread { id, kind, severity, title: f.text()?, at_ms: f.int()? })
}

async fn deliver(store: &SqlStore, notification: &Notification) -> Result<NotificationId, Failure> {
    let metadata = super::json::text_of(&Value::Object(notification.metadata.clone()));
    let owner = notification.owner;
    let mut rows = Rows::new(17);
    rows.push([
        notification.id.0.into(),
        owner.tenant.0.into(),
        owner.user.0.into(),
        owner.organization.map(|o| o.0).into(),
        notification.cause.execution().map(|execution| execution.0).into(),
        notification.rule.map(|rule| rule.0).into(),
        notification.kind.as_str().into(),
        notification.title.as_str().into(),
        notification.message.as_str().into(),
        notification.severity.as_str().into(),
        NotificationStatus::Unread.as_str().into(),
        notification.action_url.as_deref().into(),
        Cell::Json(Some(metadata.as_str().into())),
        notification.is_onward.into(),
        notification.at_ms.into(),
        notification.at_ms.into(),
        notification.cause.occurrence().map(|occurrence| occurrence.0).into(),
    ]);
    let (delivered, cause) = match notification.cause {
        Cause::Execution(execution) => (OF_EXECUTION, execution.0),
        Cause::Occurrence(occurrence) => (OF_OCCURRENCE, occurrence.0),
    };
    // A connection that saw an error is not given back: its transaction ends with it.
    let mut connection = store.begin().await?;
    connection.bulk(DELIVER, &rows).await?;
    let found = connection.fetch(delivered, &[cause.into(), owner.tenant.0.into(), owner.user.0.into()]).await?;
    connection.commit().await?;
    connection.give_back();
    let row = found.first().ok_or_else(|| Failure::Corrupt("the notification was not delivered".to_owned()))?;
    Ok(NotificationId(row.fields().uuid()?))
}
