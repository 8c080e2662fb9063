//! Notifications: in-app messages, each in the inbox of one user.
//!
//! Whoever sends one needs [`Inbox`] alone; whoever shows a user's inbox needs [`Notifications`]. Rows are the contract's
//! columns, as in [`super::views`].

use core314_domain::ids::{ExecutionId, NotificationId, Owner, RowId, RunId, TenantId, UserId};
use core314_domain::words::{NotificationStatus, NotificationType, Severity};
use serde::Serialize;
use serde_json::{Map, Value};

use super::views::{Page, Paged};
use super::{BoxFuture, Scope, StoreError};

/// Takes notifications in.
pub trait Inbox: Send + Sync + 'static {
    /// Puts a notification into its user's inbox, durably. A cause brings one, however often it is repeated: the
    /// answer is the id of the row that stands, and a repetition changes nothing in it.
    fn deliver(&self, notification: Notification) -> BoxFuture<'_, Result<NotificationId, StoreError>>;

    /// Sends a notification on that stands in an inbox under this id, as its user wants to be told. A repetition sends
    /// nothing twice.
    fn send_on(
        &self,
        notification: Notification,
        stands: NotificationId,
    ) -> BoxFuture<'_, Result<Vec<SentOn>, StoreError>> {
        let _ = (notification, stands);
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What a user has not read of what goes on to them, in the order in which it came: at most `limit`, behind this id and
    /// from before this instant.
    fn unread_of(
        &self,
        user: Addressee,
        after: NotificationId,
        until_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Unread>, StoreError>>;
}

/// A notification that its user has not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub id: NotificationId,
    pub kind: NotificationType,
    pub severity: Severity,
    pub title: String,
    pub at_ms: i64,
}

/// What became of a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SentOn {
    pub contact_method_id: String,
    pub kind: &'static str,
    /// What performs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow_run_id: Option<RunId>,
    /// RFC 3339: the end of quiet hours, or the time of a digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Why nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What brought a notification: a cause brings each user one, however often it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An execution that sends it.
    Execution(ExecutionId),
    /// What has happened, by the id of its occurrence.
    Occurrence(RowId),
}

impl Cause {
    /// The execution, where it is one.
    pub const fn execution(self) -> Option<ExecutionId> {
        match self {
            Self::Execution(execution) => Some(execution),
            Self::Occurrence(_) => None,
        }
    }

    /// What has happened, where it is that.
    pub const fn occurrence(self) -> Option<RowId> {
        match self {
            Self::Execution(_) => None,
            Self::Occurrence(occurrence) => Some(occurrence),
        }
    }
}

/// A notification to deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// Of the row, if it is the first of its cause.
    pub id: NotificationId,
    /// The tenant that it belongs to, and the user in whose inbox it goes.
    pub owner: Owner,
    pub cause: Cause,
    /// The rule in whose name it was sent.
    pub rule: Option<RowId>,
    pub kind: NotificationType,
    pub severity: Severity,
    pub title: String,
    pub message: String,
    pub action_url: Option<String>,
    pub metadata: Map<String, Value>,
    /// Whether it goes on by the ways in which its user wants to be told.
    pub is_onward: bool,
    pub at_ms: i64,
}

/// Shows inboxes and keeps their state. What is not the audience's own does not exist for it.
pub trait Notifications: Send + Sync + 'static {
    /// A page of notifications, newest first.
    fn list(
        &self,
        audience: Audience,
        filter: NotificationFilter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>>;

    /// How many are unread.
    fn unread_count(&self, audience: Audience) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// Marks one as read, or archives it, and gives its row. A mark never goes back: what is archived is not made read,
    /// and what bears the mark already keeps its time.
    fn mark(
        &self,
        user: Addressee,
        id: NotificationId,
        mark: Mark,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;

    /// Takes one out of its inbox for good; false where there is none. An attempt that is repeated afterwards, because a
    /// crash kept its end from being known, puts it there again.
    fn remove(&self, user: Addressee, id: NotificationId, now_ms: i64) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Marks all as read that are unread and not younger than `now_ms`, and says how many those were.
    fn read_all(&self, user: Addressee, now_ms: i64) -> BoxFuture<'_, Result<i64, StoreError>>;
}

/// Whose notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    User(Addressee),
    /// Those of all users of all tenants.
    Platform,
}

/// A user in a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressee {
    pub tenant: TenantId,
    pub user: UserId,
}

impl From<Owner> for Addressee {
    fn from(owner: Owner) -> Self {
        Self { tenant: owner.tenant, user: owner.user }
    }
}

impl Audience {
    /// The tenants whose rows may be looked at.
    pub const fn scope(self) -> Scope {
        match self {
            Self::User(user) => Scope::Tenant(user.tenant),
            Self::Platform => Scope::Platform,
        }
    }
}

/// Which notifications.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    pub status: Option<NotificationStatus>,
    pub kind: Option<NotificationType>,
    pub severity: Option<Severity>,
}

/// What a user does with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Read,
    Archived,
}
