//! What every store of inboxes must do: the conformance suite of [`Inbox`] and [`Notifications`].
//!
//! Each function is one promise of the ports and takes an empty store. It panics where the promise does not hold.

use core314_domain::ids::{NotificationId, Owner, RowId};
use core314_domain::words::{NotificationStatus, NotificationType, Severity};
use rand::Rng;
use serde_json::{Map, Value, json};

use super::store_suite::samples::{NOW_MS, Samples};
use crate::ports::notifications::{
    Addressee, Audience, Cause, Inbox, Mark, Notification, NotificationFilter, Notifications,
};
use crate::ports::views::Page;

/// Both sides of an inbox.
pub trait Inboxes: Inbox + Notifications {}
impl<T: Inbox + Notifications> Inboxes for T {}

/// A notification for this user; each a millisecond after the one before.
fn sample(samples: &mut Samples, owner: Owner, no: i64) -> Notification {
    let kind = NotificationType::ALL[no as usize % NotificationType::ALL.len()];
    Notification {
        id: NotificationId::new(NOW_MS + no, samples.rng.random()),
        owner,
        cause: Cause::Execution(samples.run_id().execution(0)),
        rule: (no % 2 == 0).then(|| RowId::new(NOW_MS, no as u128)),
        kind,
        severity: kind.default_severity(),
        title: format!("Title {no}"),
        message: "it's \"quoted\", 'ü' and\na line".to_owned(),
        action_url: (no % 2 == 0).then(|| format!("https://example.com/{no}")),
        metadata: Map::from_iter([("no".to_owned(), json!(no))]),
        is_onward: true,
        at_ms: NOW_MS + no,
    }
}

async fn fill(store: &dyn Inboxes, samples: &mut Samples, owner: Owner, count: i64) -> Vec<Notification> {
    let mut all = Vec::new();
    for no in 0..count {
        let notification = sample(samples, owner, no);
        assert_eq!(store.deliver(notification.clone()).await.expect("delivered"), notification.id);
        all.push(notification);
    }
    all
}

/// All pages of a list.
async fn pages(store: &dyn Inboxes, audience: Audience, filter: &NotificationFilter, limit: usize) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(audience, filter.clone(), Page { limit, after }).await.expect("a page");
        assert!(page.items.len() <= limit, "a page is bounded");
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            return items;
        }
    }
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
}

/// What has happened is told each user once, and is no execution.
pub async fn an_occurrence_is_told_each_user_once(store: &dyn Inboxes) {
    let mut samples = Samples::new(56);
    let (owner, cause) = (samples.owner(), Cause::Occurrence(samples.row_id()));
    let first = Notification { cause, ..sample(&mut samples, owner, 0) };
    let other = Owner { user: samples.owner().user, ..owner };
    let others = Notification { cause, ..sample(&mut samples, other, 1) };
    for notification in [&first, &others] {
        assert_eq!(store.deliver(notification.clone()).await.expect("delivered"), notification.id);
        let again = Notification { cause, ..sample(&mut samples, notification.owner, 7) };
        assert_eq!(store.deliver(again).await.expect("delivered"), notification.id);
        let audience = Audience::User(notification.owner.into());
        let found = pages(store, audience, &NotificationFilter::default(), 10).await;
        assert_eq!((found.len(), &found[0]["execution_queue_id"]), (1, &Value::Null));
    }
}

/// A row reads back with the contract's columns; an execution that is repeated brings no second one.
pub async fn an_execution_is_told_once(store: &dyn Inboxes) {
    let mut samples = Samples::new(50);
    let owner = samples.owner();
    let first = fill(store, &mut samples, owner, 1).await.remove(0);
    let again = Notification { cause: first.cause, title: "Another".to_owned(), ..sample(&mut samples, owner, 7) };
    assert_eq!(store.deliver(again).await.expect("delivered"), first.id);
    let found = pages(store, Audience::User(owner.into()), &NotificationFilter::default(), 10).await;
    let at = "2026-09-21T14:13:20.000Z";
    assert_eq!(
        found,
        [json!({
            "id": first.id, "tenant_id": owner.tenant, "user_id": owner.user, "organization_id": owner.organization,
            "rule_id": first.rule, "execution_queue_id": first.cause.execution(), "type": "alert", "title": "Title 0",
            "message": "it's \"quoted\", 'ü' and\na line", "severity": "high", "status": "unread",
            "action_url": "https://example.com/0", "metadata": {"no": 0}, "created_at": at, "updated_at": at,
            "read_at": null, "archived_at": null,
        })]
    );
}

/// Lists are newest first, and each filter is what its column says, in pages of any size.
pub async fn lists_filter_and_page(store: &dyn Inboxes) {
    let mut samples = Samples::new(51);
    let owner = samples.owner();
    let all = fill(store, &mut samples, owner, 12).await;
    let user = Addressee::from(owner);
    for (no, mark) in [(2, Mark::Read), (5, Mark::Archived), (6, Mark::Read)] {
        store.mark(user, all[no].id, mark, NOW_MS + 100).await.expect("marked").expect("it is there");
    }
    let status_of = |no: usize| match no {
        2 | 6 => NotificationStatus::Read,
        5 => NotificationStatus::Archived,
        _ => NotificationStatus::Unread,
    };
    let statuses =
        [None, Some(NotificationStatus::Unread), Some(NotificationStatus::Read), Some(NotificationStatus::Archived)];
    for status in statuses {
        for (kind, severity) in [(None, None), (Some(NotificationType::Alert), None), (None, Some(Severity::Low))] {
            let filter = NotificationFilter { status, kind, severity };
            let passes = |(no, it): &(usize, &Notification)| {
                status.is_none_or(|s| s == status_of(*no))
                    && kind.is_none_or(|k| k == it.kind)
                    && severity.is_none_or(|s| s == it.severity)
            };
            let expected: Vec<String> =
                all.iter().enumerate().filter(passes).map(|(_, it)| it.id.to_string()).rev().collect();
            for limit in [1, 5, 12, 50] {
                for audience in [Audience::User(user), Audience::Platform] {
                    assert_eq!(ids(&pages(store, audience, &filter, limit).await), expected, "{filter:?} by {limit}");
                }
            }
        }
    }
}

/// What goes on and was not read is told of a stretch of time, in portions.
pub async fn what_is_unread_is_read_in_portions(store: &dyn Inboxes) {
    let mut samples = Samples::new(55);
    let owner = samples.owner();
    let all = fill(store, &mut samples, owner, 10).await;
    let user = Addressee::from(owner);
    for (no, mark) in [(2, Mark::Read), (5, Mark::Archived)] {
        store.mark(user, all[no].id, mark, NOW_MS + 100).await.expect("marked").expect("it is there");
    }
    let kept = Notification { is_onward: false, ..sample(&mut samples, owner, 6) };
    store.deliver(kept).await.expect("delivered");
    let mut after = NotificationId::new(NOW_MS + 1, 0);
    for expected in [&["Title 1", "Title 3", "Title 4", "Title 6"][..], &["Title 7", "Title 8"], &[]] {
        let unread = store.unread_of(user, after, NOW_MS + 9, 4).await.expect("read");
        let titles: Vec<&str> = unread.iter().map(|it| it.title.as_str()).collect();
        assert_eq!(titles, expected, "neither before, nor read, nor archived, nor kept in, nor after, nor more");
        after = unread.last().map_or(after, |last| last.id);
    }
}

/// A mark is set once, keeps its time, and never goes back.
pub async fn marks_never_go_back(store: &dyn Inboxes) {
    let mut samples = Samples::new(52);
    let owner = samples.owner();
    let all = fill(store, &mut samples, owner, 3).await;
    let user = Addressee::from(owner);
    let mark = async |no: usize, mark, after_ms| {
        let row = store.mark(user, all[no].id, mark, NOW_MS + after_ms).await.expect("marked").expect("it is there");
        [row["status"].clone(), row["read_at"].clone(), row["archived_at"].clone(), row["updated_at"].clone()]
    };
    let at = |seconds: u8| json!(format!("2026-09-21T14:13:{:02}.000Z", 20 + seconds));
    let read = [json!("read"), at(1), json!(null), at(1)];
    assert_eq!(mark(0, Mark::Read, 1_000).await, read);
    assert_eq!(mark(0, Mark::Read, 2_000).await, read, "a repetition changes nothing");
    let archived = [json!("archived"), at(1), at(3), at(3)];
    assert_eq!(mark(0, Mark::Archived, 3_000).await, archived);
    assert_eq!(mark(0, Mark::Archived, 4_000).await, archived);
    assert_eq!(mark(0, Mark::Read, 5_000).await, archived, "what is archived stays so");
    assert_eq!(mark(1, Mark::Archived, 6_000).await, [json!("archived"), json!(null), at(6), at(6)]);
    assert_eq!(store.unread_count(Audience::User(user)).await.expect("counted"), 1);
}

/// What its user has removed is neither listed nor counted any more, and everything else is as it was.
pub async fn what_is_removed_is_gone(store: &dyn Inboxes) {
    let mut samples = Samples::new(56);
    let owner = samples.owner();
    let all = fill(store, &mut samples, owner, 3).await;
    let user = Addressee::from(owner);
    assert!(store.remove(user, all[1].id, NOW_MS + 9).await.expect("removed"));
    assert!(!store.remove(user, all[1].id, NOW_MS + 9).await.expect("answered"), "it is gone already");
    let left = pages(store, Audience::User(user), &NotificationFilter::default(), 10).await;
    assert_eq!(ids(&left), [all[2].id.to_string(), all[0].id.to_string()]);
    assert_eq!(store.unread_count(Audience::User(user)).await.expect("counted"), 2);
    assert_eq!(store.mark(user, all[1].id, Mark::Read, NOW_MS + 9).await.expect("answered"), None);
}

/// All that are unread are read together, but for those that came later.
pub async fn everything_is_read_at_once(store: &dyn Inboxes) {
    let mut samples = Samples::new(53);
    let owner = samples.owner();
    let all = fill(store, &mut samples, owner, 6).await;
    let user = Addressee::from(owner);
    store.mark(user, all[0].id, Mark::Archived, NOW_MS).await.expect("marked");
    assert_eq!(store.read_all(user, NOW_MS + 4).await.expect("read"), 4);
    assert_eq!(store.unread_count(Audience::User(user)).await.expect("counted"), 1);
    assert_eq!(store.read_all(user, NOW_MS + 5).await.expect("read"), 1);
    assert_eq!(store.read_all(user, NOW_MS + 6).await.expect("read"), 0);
    let archived = NotificationFilter { status: Some(NotificationStatus::Archived), ..NotificationFilter::default() };
    assert_eq!(ids(&pages(store, Audience::User(user), &archived, 10).await), [all[0].id.to_string()]);
}

/// Neither another tenant nor another user of the same tenant sees, counts or changes anything.
pub async fn an_inbox_is_its_users_own(store: &dyn Inboxes) {
    let mut samples = Samples::new(54);
    let mine = samples.owner();
    let colleague = Owner { user: samples.owner().user, ..mine };
    let elsewhere = Owner { user: mine.user, ..samples.owner() };
    let own = fill(store, &mut samples, mine, 2).await;
    for other in [colleague, elsewhere] {
        let user = Addressee::from(other);
        let audience = Audience::User(user);
        assert_eq!(pages(store, audience, &NotificationFilter::default(), 10).await, [] as [Value; 0]);
        assert_eq!(store.unread_count(audience).await.expect("counted"), 0);
        for mark in [Mark::Read, Mark::Archived] {
            assert_eq!(store.mark(user, own[0].id, mark, NOW_MS + 9).await.expect("answered"), None);
        }
        assert!(!store.remove(user, own[0].id, NOW_MS + 9).await.expect("answered"));
        assert_eq!(store.read_all(user, NOW_MS + 9).await.expect("answered"), 0);
    }
    assert_eq!(store.unread_count(Audience::User(mine.into())).await.expect("counted"), 2);
    fill(store, &mut samples, colleague, 1).await;
    assert_eq!(store.unread_count(Audience::Platform).await.expect("counted"), 3);
}

#[cfg(test)]
mod tests {
    use crate::testkit::memory_inbox::MemoryInbox;

    #[tokio::test]
    async fn the_fake_keeps_every_promise() {
        super::an_execution_is_told_once(&MemoryInbox::default()).await;
        super::an_occurrence_is_told_each_user_once(&MemoryInbox::default()).await;
        super::lists_filter_and_page(&MemoryInbox::default()).await;
        super::what_is_unread_is_read_in_portions(&MemoryInbox::default()).await;
        super::marks_never_go_back(&MemoryInbox::default()).await;
        super::what_is_removed_is_gone(&MemoryInbox::default()).await;
        super::everything_is_read_at_once(&MemoryInbox::default()).await;
        super::an_inbox_is_its_users_own(&MemoryInbox::default()).await;
    }
}
