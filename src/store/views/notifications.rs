//! Notifications as `notifications` shows them.

use core314_actors::ports::StoreError;
use core314_actors::ports::notifications::{Addressee, Audience, NotificationFilter};
use core314_actors::ports::views::{Page, Paged};
use core314_domain::ids::NotificationId;
use core314_domain::words::{NotificationStatus, NotificationType, Severity};
use serde_json::Value;

use super::reader::{Filter, Reader};
use super::statement::Arg;
use crate::store::SqlStore;

/// A page of an inbox, newest first.
pub(in crate::store) async fn page(
    store: &SqlStore,
    audience: Audience,
    filter: NotificationFilter,
    page: Page,
) -> Result<Paged, StoreError> {
    list(&mut Reader::begin(store, audience.scope()).await?, audience, filter, page).await
}

/// How many are unread.
pub(in crate::store) async fn unread(store: &SqlStore, audience: Audience) -> Result<i64, StoreError> {
    unread_count(&mut Reader::begin(store, audience.scope()).await?, audience).await
}

/// One notification of a user.
pub(in crate::store) async fn one(
    store: &SqlStore,
    user: Addressee,
    id: NotificationId,
) -> Result<Option<Value>, StoreError> {
    let mut reader = Reader::begin(store, Audience::User(user).scope()).await?;
    let row = reader.by_key("notifications", id.0).await?;
    Ok(row.filter(|row| row["user_id"] == user.user.to_string()))
}

/// The unread have their own index; the other filters are looked at row by row.
pub(super) async fn list(
    reader: &mut Reader,
    audience: Audience,
    filter: NotificationFilter,
    page: Page,
) -> Result<Paged, StoreError> {
    let mut rest = Filter::default();
    let mut hit = |column, word: Option<&'static str>| {
        rest.hits.extend(word.map(|word| (column, Arg::Text(word.to_owned()))));
    };
    hit("type", filter.kind.map(NotificationType::as_str));
    hit("severity", filter.severity.map(Severity::as_str));
    let user = match audience {
        Audience::User(user) => vec![("user_id", Arg::Id(user.user.0))],
        Audience::Platform => Vec::new(),
    };
    match filter.status {
        Some(NotificationStatus::Unread) if !user.is_empty() => rest.indexed = Some("status = 'unread'"),
        status => hit("status", status.map(NotificationStatus::as_str)),
    }
    let keyset = reader.keyset("tenant_id", user, "id", page.after);
    let keys = reader.keys("notices", &keyset, &rest, page.limit).await?;
    Ok(Paged { items: reader.by_keys("notifications", &keys.ids).await?, next: keys.next })
}

/// Counts by the index of the unread.
pub(super) async fn unread_count(reader: &mut Reader, audience: Audience) -> Result<i64, StoreError> {
    let mut statement = reader.statement("SELECT count(*) FROM notices WHERE status = 'unread'");
    if let Audience::User(user) = audience {
        reader.push_tenant(&mut statement, "tenant_id");
        statement.push(" AND user_id = ").bind(Arg::Id(user.user.0));
    }
    Ok(reader.rows::<(i64,)>(statement).await?.first().map_or(0, |(count,)| *count))
}
