//! An inbox whose changes are told on the feed, topic `notifications`.
//!
//! A tenant's stream is heard by all its users, an inbox is its user's own: a change says whose notification stands how,
//! and nothing of what it says. A repeated delivery changes nothing and is not told.

use std::sync::Arc;

use core314_domain::ids::{NotificationId, TenantId, UserId};
use core314_domain::words::{NotificationStatus, NotificationType, Severity};
use serde::Serialize;
use serde_json::Value;

use crate::clock::rfc3339;
use crate::escalations::{ABOUT_ESCALATION, AckLinks};
use crate::feed::{Feed, Topic};
use crate::onward::Onward;
use crate::ports::notifications::{
    Addressee, Audience, Inbox, Mark, Notification, NotificationFilter, Notifications, SentOn, Unread,
};
use crate::ports::views::{Page, Paged};
use crate::ports::{BoxFuture, Scope, StoreError};

/// A notification, on the topic `notifications`.
#[derive(Debug, Serialize)]
struct NotificationChange {
    /// Null when all that were unread have been read at once.
    id: Option<NotificationId>,
    /// In whose inbox it is.
    user_id: UserId,
    /// A word of [`NotificationStatus`], or [`DELETED`].
    status: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<NotificationType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    /// RFC 3339.
    at: String,
}

/// The status of what is in no inbox any more.
const DELETED: &str = "deleted";

/// An inbox that tells.
pub struct ToldInbox<I> {
    inbox: Arc<I>,
    feed: Feed,
    links: Option<Arc<dyn AckLinks>>,
    onward: Option<Arc<Onward>>,
}

impl<I> ToldInbox<I> {
    /// This inbox, and where it tells of its changes.
    pub fn new(inbox: Arc<I>, feed: Feed) -> Self {
        Self { inbox, feed, links: None, onward: None }
    }

    /// With these, a message about an escalation gets a link that acknowledges it. It is made here, at the door of its
    /// reader's own inbox, so that no row that others may read holds it.
    #[must_use]
    pub fn linked(self, links: Option<Arc<dyn AckLinks>>) -> Self {
        Self { links, ..self }
    }

    /// With this, what is delivered also goes on to its user.
    #[must_use]
    pub fn sending_on(self, onward: Arc<Onward>) -> Self {
        Self { onward: Some(onward), ..self }
    }

    fn link(&self, notification: &Notification) -> Option<String> {
        let of = notification.metadata.get(ABOUT_ESCALATION)?.as_str()?.parse().ok()?;
        let owner = notification.owner;
        self.links.as_ref()?.link(owner.tenant, of, owner.user, notification.at_ms)
    }

    fn tell(&self, tenant: TenantId, change: NotificationChange) {
        // Of all at once each user has one change at a time: a later one says the same and more.
        let thing = change.id.map_or(change.user_id.0, |id| id.0);
        self.feed.publish(Scope::Tenant(tenant), Topic::Notifications, thing, || change);
    }
}

impl<I: Inbox> Inbox for ToldInbox<I> {
    fn deliver(&self, mut notification: Notification) -> BoxFuture<'_, Result<NotificationId, StoreError>> {
        notification.action_url = notification.action_url.take().or_else(|| self.link(&notification));
        let (own, owner) = (notification.id, notification.owner);
        let change = NotificationChange {
            id: Some(own),
            user_id: owner.user,
            status: NotificationStatus::Unread.as_str(),
            kind: Some(notification.kind),
            severity: Some(notification.severity),
            at: rfc3339(notification.at_ms),
        };
        Box::pin(async move {
            let stands = self.inbox.deliver(notification).await?;
            if stands == own {
                self.tell(owner.tenant, change);
            }
            Ok(stands)
        })
    }

    fn send_on(
        &self,
        notification: Notification,
        stands: NotificationId,
    ) -> BoxFuture<'_, Result<Vec<SentOn>, StoreError>> {
        Box::pin(async move {
            match &self.onward {
                Some(onward) => onward.send(&notification, stands).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn unread_of(
        &self,
        user: Addressee,
        after: NotificationId,
        until_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Unread>, StoreError>> {
        self.inbox.unread_of(user, after, until_ms, limit)
    }
}

impl<I: Notifications> Notifications for ToldInbox<I> {
    fn list(
        &self,
        audience: Audience,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        self.inbox.list(audience, filter, page)
    }

    fn unread_count(&self, audience: Audience) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.inbox.unread_count(audience)
    }

    fn mark(
        &self,
        user: Addressee,
        id: NotificationId,
        mark: Mark,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move {
            let row = self.inbox.mark(user, id, mark, now_ms).await?;
            let status = row.as_ref().and_then(|row| row["status"].as_str()).and_then(|word| word.parse().ok());
            if let Some(status) = status.map(NotificationStatus::as_str) {
                let at = rfc3339(now_ms);
                let change =
                    NotificationChange { id: Some(id), user_id: user.user, status, kind: None, severity: None, at };
                self.tell(user.tenant, change);
            }
            Ok(row)
        })
    }

    fn remove(&self, user: Addressee, id: NotificationId, now_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let is_gone = self.inbox.remove(user, id, now_ms).await?;
            if is_gone {
                let (status, at) = (DELETED, rfc3339(now_ms));
                let change =
                    NotificationChange { id: Some(id), user_id: user.user, status, kind: None, severity: None, at };
                self.tell(user.tenant, change);
            }
            Ok(is_gone)
        })
    }

    fn read_all(&self, user: Addressee, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let read = self.inbox.read_all(user, now_ms).await?;
            if read > 0 {
                let (status, at) = (NotificationStatus::Read.as_str(), rfc3339(now_ms));
                let change =
                    NotificationChange { id: None, user_id: user.user, status, kind: None, severity: None, at };
                self.tell(user.tenant, change);
            }
            Ok(read)
        })
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::{ExecutionId, Owner};
    use serde_json::{Map, json};
    use uuid::Uuid;

    use super::*;
    use crate::feed::{Limits, Subscription};
    use crate::ports::notifications::Cause;
    use crate::testkit::memory_inbox::MemoryInbox;

    fn notification(id: u128) -> Notification {
        Notification {
            id: NotificationId(Uuid::from_u128(id)),
            owner: Owner::new(UserId(Uuid::from_u128(7)), None),
            cause: Cause::Execution(ExecutionId(Uuid::from_u128(100))),
            rule: None,
            kind: NotificationType::Alert,
            severity: Severity::High,
            title: "the disk is full".to_owned(),
            message: "of web-1".to_owned(),
            action_url: None,
            metadata: Map::new(),
            is_onward: true,
            at_ms: 0,
        }
    }

    /// The changes of the next event.
    async fn heard(client: &mut Subscription) -> Value {
        let text = client.next().await.expect("the stream goes on");
        let text = std::str::from_utf8(&text).expect("text");
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or("{}");
        serde_json::from_str::<Value>(data).expect("JSON")["changes"].take()
    }

    #[tokio::test(start_paused = true)]
    async fn deliveries_and_marks_are_told_and_repetitions_and_contents_are_not() {
        let feed = Feed::new(tokio::runtime::Handle::current());
        let inbox = ToldInbox::new(Arc::new(MemoryInbox::default()), feed.clone());
        let user = Addressee::from(notification(1).owner);
        let limits = Limits { clients: 9, clients_per_tenant: 9 };
        let topics = "notifications".parse().expect("a topic");
        let mut client = feed.subscribe(Scope::Tenant(user.tenant), topics, None, limits).expect("let in");
        heard(&mut client).await;
        let (id, at) = (Uuid::from_u128(1), "1970-01-01T00:00:00.000Z");
        inbox.deliver(notification(1)).await.expect("delivered");
        let told = heard(&mut client).await;
        let expected = json!([{"id": id, "user_id": user.user, "status": "unread", "type": "alert", "severity": "high", "at": at}]);
        assert_eq!(told, expected);
        let stands = inbox.deliver(notification(2)).await.expect("delivered");
        assert_eq!(stands, NotificationId(id), "of the same execution");
        assert_eq!(inbox.read_all(user, 5_000).await.expect("read"), 1);
        let told = heard(&mut client).await;
        let at = "1970-01-01T00:00:05.000Z";
        assert_eq!(told, json!([{"id": null, "user_id": user.user, "status": "read", "at": at}]));
        assert_eq!(inbox.read_all(user, 6_000).await.expect("read"), 0);
        inbox.mark(user, NotificationId(id), Mark::Archived, 5_000).await.expect("there").expect("its row");
        let told = heard(&mut client).await;
        assert_eq!(told, json!([{"id": id, "user_id": user.user, "status": "archived", "at": at}]));
        let nobodys = inbox.mark(user, NotificationId(Uuid::nil()), Mark::Read, 7_000).await;
        assert_eq!(nobodys.expect("an answer"), None);
        assert!(inbox.remove(user, NotificationId(id), 5_000).await.expect("removed"));
        let told = heard(&mut client).await;
        assert_eq!(told, json!([{"id": id, "user_id": user.user, "status": "deleted", "at": at}]));
        assert!(!inbox.remove(user, NotificationId(id), 7_000).await.expect("an answer"));
        let nothing = tokio::time::timeout(std::time::Duration::from_secs(1), client.next()).await;
        assert!(nothing.is_err(), "what changes nothing is not told");
    }
}
