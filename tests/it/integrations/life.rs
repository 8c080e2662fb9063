//! The life of an integration and its secrets through the API: made, changed, used, refused, removed.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::echo::Echo;
use super::{done, may_come, refused, run, secret, start, step};
use crate::support::{SERVICE_KEY, StoreKind, USER};

async fn used_at_the_last_moment(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let echo = Echo::start();
    secret(&server, "CRM_TOKEN", "first-token-0001").await;
    let crm = json!({"name": "crm", "kind": "http", "endpoint": format!("{}/v1", echo.url),
        "credentials": {"token": "secrets.CRM_TOKEN"}, "settings": {"auth": "bearer"}});
    let made = done(&server, Method::POST, "/api/v1/integrations", crm.clone()).await;
    assert_eq!((&made["name"], &made["credentials"]["token"]), (&json!("crm"), &json!("secrets.CRM_TOKEN")));
    let steps = || vec![step("ask", "api_call", "crm", json!({"path": "/{{ trigger.what }}", "query": {"a": 1}}))];
    let log = run(&server, "ask", steps(), json!({"what": "users"})).await;
    assert_eq!(log[0]["execution_status"], "completed", "{log:?}");
    assert_eq!(log[0]["integration_name"], "crm");
    assert!(echo.received("/v1/users?a=1").contains("authorization: Bearer first-token-0001"));

    // A new value counts for the next attempt.
    done(&server, Method::PATCH, "/api/v1/secrets/CRM_TOKEN", json!({"value": "second-token-0002"})).await;
    run(&server, "again", steps(), json!({"what": "second"})).await;
    assert!(echo.received("/v1/second").contains("authorization: Bearer second-token-0002"));

    // What comes from outside leads nowhere else.
    let log = run(&server, "astray", steps(), json!({"what": "../admin"})).await;
    assert_eq!(log[0]["execution_error_code"], "invalid_payload", "{log:?}");
    assert_eq!(echo.received("/admin"), "");

    // An integration that is switched off, or gone, fails the attempt in words.
    done(&server, Method::PATCH, "/api/v1/integrations/crm", json!({"is_active": false})).await;
    let log = run(&server, "off", steps(), json!({"what": "off"})).await;
    assert_eq!(log[0]["execution_error_code"], "integration_unusable", "{log:?}");
    let (status, _) = server.request(Method::DELETE, "/api/v1/secrets/CRM_TOKEN", None).await.expect("an answer");
    assert_eq!(status, StatusCode::CONFLICT, "it is used");
    let (status, _) = server.request(Method::DELETE, "/api/v1/integrations/crm", None).await.expect("an answer");
    assert_eq!(status, StatusCode::NO_CONTENT);
    let flow = json!({"flow_name": "late", "trigger_type": "manual", "flow_steps": steps()});
    may_come(&server, flow, "there is no integration 'crm' yet").await;
    let (status, _) = server.request(Method::DELETE, "/api/v1/secrets/CRM_TOKEN", None).await.expect("an answer");
    assert_eq!(status, StatusCode::NO_CONTENT);
    let events: Vec<Value> =
        server.all("/api/v1/audit-log").await.into_iter().map(|row| row["event_type"].clone()).collect();
    for event in [
        "secret_created",
        "integration_created",
        "secret_updated",
        "integration_updated",
        "integration_deleted",
        "secret_deleted",
    ] {
        assert!(events.contains(&json!(event)), "{event}: {events:?}");
    }
}

async fn refusals_say_what_to_do(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    secret(&server, "KNOWN", "known-value").await;
    let integration = |change: Value| {
        let mut body = json!({"name": "x", "kind": "http", "endpoint": "https://example.com"});
        body.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        body
    };
    for (path, body, status, words) in [
        ("secrets", json!({"name": "a-b", "value": "long enough"}), 422, "/name"),
        ("secrets", json!({"name": "A", "value": "short"}), 422, "6 characters"),
        ("secrets", json!({"name": "A", "value": 123_456}), 422, "must be a text"),
        ("secrets", json!({"name": "A", "value": "x".repeat(20_000)}), 422, "16384"),
        ("secrets", json!({"name": "KNOWN", "value": "long enough"}), 409, "name"),
        ("integrations", integration(json!({"kind": "fax"})), 422, "http, jira, linear"),
        ("integrations", integration(json!({"name": "a/b"})), 422, "/name"),
        ("integrations", integration(json!({"endpoint": "file:///etc/passwd"})), 422, "https://, http://"),
        ("integrations", integration(json!({"endpoint": null})), 422, "/endpoint"),
        (
            "integrations",
            integration(json!({"credentials": {"token": "planted-token"}, "settings": {"auth": "bearer"}})),
            422,
            "secrets.NAME",
        ),
        (
            "integrations",
            integration(json!({"credentials": {"token": "secrets.NOPE"}, "settings": {"auth": "bearer"}})),
            422,
            "core314 secret set NOPE",
        ),
        ("integrations", integration(json!({"settings": {"auth": "bearer"}})), 422, "/credentials/token"),
    ] {
        let expected = StatusCode::from_u16(status).expect("a status");
        let says = refused(&server, Method::POST, &format!("/api/v1/{path}"), body.clone(), expected).await;
        assert!(says.contains(words), "{body}: {says}");
        assert!(!says.contains("planted"), "{says}");
    }
    for (action, target, payload, words) in [
        ("api_call", "", json!({"url": "{{ secrets.KNOWN|upper }}"}), "stands alone"),
        ("api_call", "", json!({"url": "https://h", "headers": {"a": "{{ secrets['x-y'] }}"}}), "stands alone"),
        ("transform", "", json!({"values": {"a": "{{ secrets.KNOWN }}"}}), "must name no secret"),
        ("send_notification", "in_app", json!({"title": "t", "message": "{{ secrets.KNOWN }}"}), "must name no secret"),
    ] {
        let flow =
            json!({"flow_name": "f", "trigger_type": "manual", "flow_steps": [step("a", action, target, payload)]});
        let says = refused(&server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{says}");
    }
    let when = json!({"flow_name": "f", "trigger_type": "manual", "flow_steps": [
        {"id": "a", "when": "secrets.KNOWN == ''", "config": {"action_type": "transform", "action_payload": {}}}]});
    let says = refused(&server, Method::POST, "/api/v1/flows", when, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(says.contains("payload of an action alone"), "{says}");
    let missing = step("a", "api_call", "", json!({"url": "http://127.0.0.1:9/", "body": "{{ secrets.NOT_YET }}"}));
    let log = run(&server, "missing", vec![missing], json!({})).await;
    assert_eq!(log[0]["execution_error_code"], "secret_unusable", "{log:?}");
    assert!(log[0]["execution_error"].as_str().expect("words").contains("core314 secret set NOT_YET"), "{log:?}");
}

async fn a_test_is_a_real_call(kind: StoreKind) {
    let (installation, server) = start(kind).await;
    let echo = Echo::start();
    secret(&server, "T", "a-token-0000001").await;
    secret(&server, "SLACK_WEBHOOK_URL", &format!("{}/services/hook-00000000001", echo.url)).await;
    let http = json!({"name": "api", "kind": "http", "endpoint": echo.url, "credentials": {"token": "secrets.T"},
        "settings": {"auth": "bearer", "test_path": "me"}});
    done(&server, Method::POST, "/api/v1/integrations", http).await;
    let test =
        async |name: &str| done(&server, Method::POST, &format!("/api/v1/integrations/{name}/test"), json!({})).await;
    let tested = test("api").await;
    assert_eq!((&tested["ok"], &tested["status_code"]), (&json!(true), &json!(200)), "{tested}");
    assert!(echo.received("/me").contains("authorization: Bearer a-token-0000001"));
    done(&server, Method::PATCH, "/api/v1/integrations/api", json!({"settings": {"test_path": "refuse"}})).await;
    let tested = test("api").await;
    assert_eq!((&tested["ok"], &tested["error_code"]), (&json!(false), &json!("http_status")), "{tested}");
    assert!(!tested.to_string().contains("a-token-0000001"), "{tested}");

    let cli = |words: &[&str]| {
        let mut command = installation.command(words);
        let output = command.env("CORE314_SERVER", &server.url).env("CORE314_USER", USER).output();
        let output = output.expect("it runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let added = cli(&["integration", "add", "--template", "slack"]);
    assert_eq!(added.0, Some(0), "{added:?}");
    let tested = cli(&["integration", "test", "slack"]);
    assert!(tested.0 == Some(0) && tested.1.contains("ok: true"), "{tested:?}");
    assert!(echo.received("/services/").contains("a test of the integration slack"));
    assert_eq!(cli(&["integration", "test", "api"]).0, Some(1));
    assert_eq!(cli(&["integration", "add", "--template", "fax"]).0, Some(3));
}

async fn changes_are_not_lost(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let body = json!({"name": "x", "kind": "http", "endpoint": "https://example.com"});
    done(&server, Method::POST, "/api/v1/integrations", body).await;
    let patch = |endpoint: &str, tag: &str| {
        let request = server.http.patch(format!("{}/api/v1/integrations/x", server.url));
        let request = request.bearer_auth(SERVICE_KEY).header("X-User-Id", USER);
        request.header("If-Match", tag.to_owned()).json(&json!({"endpoint": endpoint})).send()
    };
    assert_eq!(patch("https://a.example", "\"v1\"").await.expect("an answer").status(), StatusCode::OK);
    let late = patch("https://b.example", "\"v1\"").await.expect("an answer");
    assert_eq!(late.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(server.get("/api/v1/integrations/x").await["endpoint"], "https://a.example");
}

#[tokio::test]
async fn a_secret_is_used_at_the_last_moment_on_sqlite() {
    used_at_the_last_moment(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_secret_is_used_at_the_last_moment_on_postgres() {
    used_at_the_last_moment(StoreKind::Postgres).await;
}

#[tokio::test]
async fn what_cannot_be_saved_is_refused_in_words_on_sqlite() {
    refusals_say_what_to_do(StoreKind::Sqlite).await;
    a_test_is_a_real_call(StoreKind::Sqlite).await;
    changes_are_not_lost(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn what_cannot_be_saved_is_refused_in_words_on_postgres() {
    refusals_say_what_to_do(StoreKind::Postgres).await;
    changes_are_not_lost(StoreKind::Postgres).await;
}
