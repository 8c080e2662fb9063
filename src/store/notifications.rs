//! Inboxes: what is put into them, and what their users do with it.
//!
//! Notifications belong to no run's commit: each is a transaction of its own, and a repetition is told by its execution.
//!
//! Invariant: every change names the tenant and the user, because the role that writes sees all rows.

use core314_actors::ports::notifications::{
    Addressee, Audience, Inbox, Mark, Notification, NotificationFilter, Notifications,
};
use core314_actors::ports::views::{Page, Paged};
use core314_actors::ports::{BoxFuture, StoreError};
use core314_domain::ids::NotificationId;
use core314_domain::words::NotificationStatus;
use serde_json::Value;

use super::SqlStore;
use super::cell::{Cell, Row, Rows};
use super::connection::Bulk;
use super::failure::Failure;
use super::views::notifications as views;

const DELIVER: Bulk = Bulk {
    before: "INSERT INTO notices (id, tenant_id, user_id, organization_id, execution_queue_id, type, title, message, \
             severity, status, action_url, metadata, created_at_ms, updated_at_ms) ",
    after: " ON CONFLICT (execution_queue_id) WHERE execution_queue_id IS NOT NULL DO NOTHING",
};
const DELIVERED: &str = "SELECT id FROM notices WHERE execution_queue_id = $1 AND tenant_id = $2";
const READ: &str = "UPDATE notices SET status = 'read', read_at_ms = $4, updated_at_ms = $4 \
    WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND status = 'unread'";
const ARCHIVE: &str = "UPDATE notices SET status = 'archived', archived_at_ms = $4, updated_at_ms = $4 \
    WHERE id = $1 AND tenant_id = $2 AND user_id = $3 AND status <> 'archived'";
/// In pieces, so that a full inbox does not hold up who else writes.
const READ_SOME: &str = "UPDATE notices SET status = 'read', read_at_ms = $3, updated_at_ms = $3 WHERE id IN \
    (SELECT id FROM notices WHERE tenant_id = $1 AND user_id = $2 AND status = 'unread' AND created_at_ms <= $3 \
     ORDER BY id DESC LIMIT 1000) AND status = 'unread' RETURNING id";

impl Inbox for SqlStore {
    fn deliver(&self, notification: Notification) -> BoxFuture<'_, Result<NotificationId, StoreError>> {
        Box::pin(async move { Ok(deliver(self, &notification).await?) })
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
            let sql = match mark {
                Mark::Read => READ,
                Mark::Archived => ARCHIVE,
            };
            write(self, sql, &[id.0.into(), user.tenant.0.into(), user.user.0.into(), now_ms.into()]).await?;
            views::one(self, user, id).await
        })
    }

    fn read_all(&self, user: Addressee, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let cells = [user.tenant.0.into(), user.user.0.into(), now_ms.into()];
            let mut read = 0;
            loop {
                let some = write(self, READ_SOME, &cells).await?.len();
                read += some as i64;
                if some == 0 {
                    return Ok(read);
                }
            }
        })
    }
}

async fn deliver(store: &SqlStore, notification: &Notification) -> Result<NotificationId, Failure> {
    let metadata = super::json::text_of(&Value::Object(notification.metadata.clone()));
    let owner = notification.owner;
    let mut rows = Rows::new(14);
    rows.push([
        notification.id.0.into(),
        owner.tenant.0.into(),
        owner.user.0.into(),
        owner.organization.map(|o| o.0).into(),
        notification.execution.0.into(),
        notification.kind.as_str().into(),
        notification.title.as_str().into(),
        notification.message.as_str().into(),
        notification.severity.as_str().into(),
        NotificationStatus::Unread.as_str().into(),
        notification.action_url.as_deref().into(),
        Cell::Json(Some(metadata.as_str().into())),
        notification.at_ms.into(),
        notification.at_ms.into(),
    ]);
    // A connection that saw an error is not given back: its transaction ends with it.
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write().await?;
    connection.bulk(DELIVER, &rows).await?;
    let found = connection.fetch(DELIVERED, &[notification.execution.0.into(), owner.tenant.0.into()]).await?;
    connection.commit().await?;
    connection.give_back();
    let row = found.first().ok_or_else(|| Failure::Corrupt("the notification was not delivered".to_owned()))?;
    Ok(NotificationId(row.fields().uuid()?))
}

/// One statement in a transaction of its own.
async fn write(store: &SqlStore, sql: &'static str, cells: &[Cell<'_>]) -> Result<Vec<Row>, Failure> {
    let mut connection = store.writers()?.lend().await?;
    connection.begin_write().await?;
    let rows = connection.fetch(sql, cells).await?;
    connection.commit().await?;
    connection.give_back();
    Ok(rows)
}
