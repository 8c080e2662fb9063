//! Inboxes over HTTP: whose they are, and what may be asked.

use actix_web::http::{Method, StatusCode};
use core314_actors::ports::notifications::{Cause, Inbox, Notification};
use core314_domain::ids::{NotificationId, OrganizationId, Owner, RunId, UserId};
use core314_domain::words::{NotificationType, Severity};
use serde_json::{Map, Value, json};

use super::support::{ORGANIZATION, STRANGER, Server, USER, admin, bearing, platform, token};

const NOTIFICATIONS: &str = "/api/v1/notifications";

/// Puts a notification into an inbox and gives its id.
async fn deliver(server: &Server, no: i64, user: UserId, organization: Option<OrganizationId>) -> NotificationId {
    let at_ms = 1_700_000_000_000 + no;
    let notification = Notification {
        id: NotificationId::new(at_ms, 1),
        owner: Owner::new(user, organization),
        cause: Cause::Execution(RunId::new(at_ms, 1 << 30).execution(0)),
        rule: None,
        kind: NotificationType::Alert,
        severity: Severity::High,
        title: format!("Title {no}"),
        message: "Look.".to_owned(),
        action_url: None,
        metadata: Map::new(),
        is_onward: true,
        at_ms,
    };
    server.inbox.deliver(notification).await.expect("delivered")
}

fn titles(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("items").iter().map(|item| item["title"].as_str().expect("a title")).collect()
}

#[actix_web::test]
async fn an_inbox_is_listed_counted_and_marked_by_its_user() {
    let server = Server::start().await;
    let first = deliver(&server, 1, USER, None).await;
    deliver(&server, 2, USER, None).await;
    deliver(&server, 3, STRANGER, None).await;
    assert_eq!(titles(&server.get(NOTIFICATIONS).await.json()), ["Title 2", "Title 1"]);
    let page = server.get(&format!("{NOTIFICATIONS}?limit=1&status=unread&type=alert&severity=high")).await.json();
    let cursor = page["next_cursor"].as_str().expect("a second page").to_owned();
    assert_eq!(titles(&page), ["Title 2"]);
    assert_eq!(titles(&server.get(&format!("{NOTIFICATIONS}?cursor={cursor}")).await.json()), ["Title 1"]);

    let read = server.post(&format!("{NOTIFICATIONS}/{first}/read"), &json!({})).await;
    assert_eq!((read.status, &read.json()["status"]), (StatusCode::OK, &json!("read")));
    let count = format!("{NOTIFICATIONS}/unread-count");
    assert_eq!(server.get(&count).await.json(), json!({"unread_count": 1}));
    let all = server.send(admin(Method::POST, &format!("{NOTIFICATIONS}/read-all"))).await;
    assert_eq!(all.json(), json!({"read_count": 1}));
    let archived = server.send(admin(Method::POST, &format!("{NOTIFICATIONS}/{first}/archive"))).await;
    assert_eq!(archived.json()["status"], "archived");
    assert_eq!(server.get(&count).await.json(), json!({"unread_count": 0}));
    assert_eq!(server.send(platform(Method::GET, &count)).await.json(), json!({"unread_count": 1}));
}

#[actix_web::test]
async fn somebody_elses_notification_and_an_id_that_is_none_are_alike() {
    let server = Server::start().await;
    let theirs = deliver(&server, 1, STRANGER, None).await.to_string();
    for id in [theirs.as_str(), "00000000-0000-0000-0000-000000000003", "x", "%00"] {
        for verb in ["read", "archive"] {
            let answer = server.post(&format!("{NOTIFICATIONS}/{id}/{verb}"), &json!({})).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}/{verb}");
            assert_eq!(answer.json()["detail"], "there is no such notification");
        }
    }
    assert_eq!(server.send(platform(Method::GET, NOTIFICATIONS)).await.json()["items"][0]["status"], "unread");
}

#[actix_web::test]
async fn a_viewer_keeps_an_inbox_of_their_own_in_the_organization() {
    let server = Server::start().await;
    let mine = deliver(&server, 1, USER, Some(ORGANIZATION)).await;
    deliver(&server, 2, STRANGER, Some(ORGANIZATION)).await;
    deliver(&server, 3, USER, None).await;
    let viewer = |method, uri: &str| bearing(&token(USER, Some("viewer")), method, uri);
    assert_eq!(titles(&server.send(viewer(Method::GET, NOTIFICATIONS)).await.json()), ["Title 1"]);
    let read = server.send(viewer(Method::POST, &format!("{NOTIFICATIONS}/{mine}/read"))).await;
    assert_eq!(read.status, StatusCode::OK, "{}", read.text);
}

#[actix_web::test]
async fn a_platform_key_that_names_no_user_marks_nothing() {
    let server = Server::start().await;
    let id = deliver(&server, 1, USER, None).await;
    for path in ["read-all".to_owned(), format!("{id}/read"), format!("{id}/archive")] {
        let answer = server.send(platform(Method::POST, &format!("{NOTIFICATIONS}/{path}"))).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["header"], "X-User-Id");
    }
}

#[actix_web::test]
async fn what_is_asked_wrongly_is_named() {
    let server = Server::start().await;
    for (query, words) in [
        ("status=new", "parameter status: 'new' is not one of: unread, read, archived"),
        ("type=fyi", "parameter type: 'fyi' is not one of: alert, notify, info, warning, error"),
        ("severity=5", "parameter severity: '5' is not one of: low, medium, high, critical"),
        ("user_id=x", "parameter user_id: is not known here; known are: status, type, severity, limit, cursor, sort"),
    ] {
        let answer = server.get(&format!("{NOTIFICATIONS}?{query}")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        assert_eq!(answer.json()["detail"], words);
    }
    let answer = server.get(&format!("{NOTIFICATIONS}/unread-count?status=read")).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
}
