//! Notifications as `notifications` shows them.

use core314_actors::ports::StoreError;
use core314_actors::ports::notifications::{Addressee, Audience, NotificationFilter};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Paged};
use core314_domain::ids::NotificationId;
use core314_domain::words::{NotificationStatus, NotificationType, Severity};
use serde_json::Value;

use super::list;
use super::reader::{Index, Reader, id_of};
use super::statement::Arg;
use crate::store::SqlStore;

/// A page of an inbox, newest first.
pub(in crate::store) async fn page(
    store: &SqlStore,
    audience: Audience,
    filter: NotificationFilter,
    page: Page,
) -> Result<Paged, StoreError> {
    of_audience(&mut Reader::begin(store, audience.scope()).await?, audience, filter, page).await
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
    let row = reader.by_key(Resource::Notifications, id.0).await?;
    Ok(row.filter(|row| row["user_id"] == user.user.to_string()))
}

/// The index for a filter: the unread of a user have their own.
pub(super) fn index(reader: &Reader, filter: &mut Filter) -> Index {
    let Some(user) = id_of(filter.get("user_id")).filter(|_| reader.is_tenant()) else {
        return Index::newest("notices");
    };
    filter.take("user_id");
    let unread = filter.get("status") == Some(&Value::from(NotificationStatus::Unread.as_str()));
    if unread {
        filter.take("status");
    }
    let condition = unread.then_some("status = 'unread'");
    Index { equal: vec![("user_id", user)], condition, ..Index::newest("notices") }
}

async fn of_audience(
    reader: &mut Reader,
    audience: Audience,
    asked: NotificationFilter,
    page: Page,
) -> Result<Paged, StoreError> {
    let mut filter = Filter::default();
    let mut and = |column, word: Option<&str>| word.into_iter().for_each(|word| filter.and(column, word.into()));
    and("type", asked.kind.map(NotificationType::as_str));
    and("severity", asked.severity.map(Severity::as_str));
    and("status", asked.status.map(NotificationStatus::as_str));
    if let Audience::User(user) = audience {
        filter.and("user_id", user.user.to_string().into());
    }
    list::page(reader, Resource::Notifications, filter, page).await
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
