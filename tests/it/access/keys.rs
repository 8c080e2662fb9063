//! The life of a service key: made, shown once, used, listed, renamed, revoked, remembered.

use std::time::{Duration, Instant};

use chrono::SubsecRound;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::callers::{Caller, ORGANIZATION, OWNER, STRANGER};
use crate::support::{Installation, Server, StoreKind};

const TOKENS: &str = "/api/v1/tokens";

async fn make(maker: &Caller, server: &Server, body: Value) -> Value {
    let (status, made) = maker.send(server, Method::POST, TOKENS, Some(body)).await;
    assert_eq!(status, StatusCode::CREATED, "{}: {made}", maker.name);
    made
}

fn holder(made: &Value) -> Caller {
    Caller::new("a key", made["key"].as_str().expect("a key"))
}

async fn status(caller: &Caller, server: &Server, method: Method, path: &str) -> StatusCode {
    let body = (method != Method::GET && method != Method::DELETE).then(|| json!({}));
    caller.send(server, method, path, body).await.0
}

async fn a_key_lives(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let owner = Caller::owner();
    let made = make(&owner, &server, json!({"name": "ci", "roles": ["operator", "viewer", "operator"]})).await;
    assert_eq!((&made["scope"], &made["roles"]), (&json!("tenant"), &json!(["viewer", "operator"])), "{made}");
    let (id, text) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    assert!(text.starts_with("c314_") && text.len() == 48, "{made}");
    let own = format!("{TOKENS}/{id}");

    // It acts in its organization, as its owner or in a colleague's name, within its roles.
    let key = holder(&made);
    assert_eq!(status(&key, &server, Method::GET, "/api/v1/flows").await, StatusCode::OK);
    assert_eq!(status(&key, &server, Method::POST, TOKENS).await, StatusCode::FORBIDDEN);
    for (header, value, expected) in [
        ("X-User-Id", STRANGER, StatusCode::OK),
        ("X-Organization-Id", ORGANIZATION, StatusCode::OK),
        ("X-Organization-Id", STRANGER, StatusCode::FORBIDDEN),
    ] {
        let named = key.clone().with(header, value);
        assert_eq!(status(&named, &server, Method::GET, "/api/v1/flows").await, expected, "{header}: {value}");
    }
    assert_eq!(status(&key, &server, Method::GET, "/api/v1/actors").await, StatusCode::FORBIDDEN);

    // Nobody is ever shown the key or its digest again, and the store does not have it.
    let (_, row) = owner.send(&server, Method::GET, &own, None).await;
    assert_eq!(owner.list(&server, TOKENS).await, std::slice::from_ref(&row));
    assert_eq!(
        (&row["name"], &row["user_id"], &row["revoked_at"]),
        (&json!("ci"), &json!(OWNER), &Value::Null),
        "{row}"
    );
    assert!(row.get("key").is_none() && row.get("key_hash").is_none(), "{row}");
    let (_, renamed) =
        owner.send(&server, Method::PATCH, &own, Some(json!({"name": "deploy", "user_id": OWNER}))).await;
    assert_eq!((&renamed["name"], &renamed["created_at"]), (&json!("deploy"), &row["created_at"]), "{renamed}");
    drop_is_idempotent_and_at_once(&server, &own, &key).await;
    let (_, revoked) = owner.send(&server, Method::GET, &own, None).await;
    assert!(revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(owner.send(&server, Method::PATCH, &own, Some(json!({"name": "x"}))).await.0, StatusCode::NOT_FOUND);

    let remembered = owner.list(&server, "/api/v1/audit-log").await;
    let events: Vec<&str> = remembered.iter().rev().filter_map(|entry| entry["event_type"].as_str()).collect();
    assert_eq!(events, ["service_key_created", "service_key_renamed", "service_key_revoked"]);
    assert!(remembered.iter().all(|entry| entry["subject_id"] == id && entry["actor"] == format!("user:{OWNER}")));
    let log = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("a log");
    let told = [log, json!(remembered).to_string(), row.to_string()];
    assert!(told.iter().all(|text_of| !text_of.contains(text)), "the key stands in a log, a row or an answer");
    let stored = installation.rows("SELECT name FROM keys").await;
    assert_eq!(stored, ["deploy"]);
    drop(server);
    assert_eq!(installation.run(&["log", "verify"]).0, 0, "the audit log's chain holds");
}

/// Revoking twice is as good as once, and the key has stopped working by the time of the answer.
async fn drop_is_idempotent_and_at_once(server: &Server, own: &str, key: &Caller) {
    let owner = Caller::owner();
    assert_eq!(status(key, server, Method::GET, "/api/v1/flows").await, StatusCode::OK, "it is known to the cache");
    assert_eq!(status(&owner, server, Method::DELETE, own).await, StatusCode::NO_CONTENT);
    assert_eq!(status(key, server, Method::GET, "/api/v1/flows").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&owner, server, Method::DELETE, own).await, StatusCode::NO_CONTENT);
    let nobody = format!("{TOKENS}/0190a000-0000-7000-8000-00000000dead");
    assert_eq!(status(&owner, server, Method::DELETE, &nobody).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_key_lives_on_sqlite() {
    a_key_lives(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_key_lives_on_postgres() {
    a_key_lives(StoreKind::Postgres).await;
}

async fn keys_beget_no_greater_ones(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let (owner, platform) = (Caller::owner(), Caller::platform());
    let refused = async |maker: &Caller, body: Value| maker.send(&server, Method::POST, TOKENS, Some(body)).await;
    let of_platform = json!({"name": "all", "roles": ["admin"], "scope": "platform"});
    for maker in [&owner, &platform.clone().with("X-User-Id", OWNER)] {
        assert_eq!(refused(maker, of_platform.clone()).await.0, StatusCode::FORBIDDEN, "{}", maker.name);
    }
    let tenant_admin = holder(&make(&owner, &server, json!({"name": "a", "roles": ["admin"]})).await);
    assert_eq!(refused(&tenant_admin, of_platform.clone()).await.0, StatusCode::FORBIDDEN);
    let child = make(&tenant_admin, &server, json!({"name": "b", "roles": ["admin"]})).await;
    assert_eq!(child["scope"], "tenant", "a tenant's key makes keys of its tenant");
    let operator = holder(&make(&owner, &server, json!({"name": "c", "roles": ["operator"]})).await);
    assert_eq!(refused(&operator, json!({"name": "d", "roles": ["viewer"]})).await.0, StatusCode::FORBIDDEN);

    let (status_of, answer) = refused(&platform, json!({"name": "e", "roles": ["admin"]})).await;
    assert_eq!(status_of, StatusCode::UNPROCESSABLE_ENTITY, "a tenant's key needs a tenant: {answer}");
    let whole = make(&platform, &server, of_platform.clone()).await;
    let reader = make(&platform, &server, json!({"name": "r", "roles": ["viewer"], "scope": "platform"})).await;
    let (whole_key, reader_key) = (holder(&whole), holder(&reader));
    assert_eq!(status(&whole_key, &server, Method::GET, "/api/v1/actors").await, StatusCode::OK);
    assert_eq!(whole_key.list(&server, TOKENS).await.len(), 5, "it sees every tenant's and the platform's");
    let restart = "/api/v1/actors/core314/nobody/restart";
    assert_eq!(status(&whole_key, &server, Method::POST, restart).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&reader_key, &server, Method::POST, restart).await, StatusCode::FORBIDDEN);
    assert_eq!(refused(&reader_key, of_platform).await.0, StatusCode::FORBIDDEN);
    let of_reader = format!("{TOKENS}/{}", reader["id"].as_str().expect("an id"));
    assert_eq!(status(&owner, &server, Method::DELETE, &of_reader).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&whole_key, &server, Method::DELETE, &of_reader).await, StatusCode::NO_CONTENT);
    assert_eq!(status(&reader_key, &server, Method::GET, TOKENS).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn keys_beget_no_greater_ones_on_sqlite() {
    keys_beget_no_greater_ones(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn keys_beget_no_greater_ones_on_postgres() {
    keys_beget_no_greater_ones(StoreKind::Postgres).await;
}

/// As another node would revoke it: past this one's cache.
async fn a_key_revoked_elsewhere_stops_here(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let key = holder(&make(&Caller::owner(), &server, json!({"name": "k", "roles": ["viewer"]})).await);
    assert_eq!(status(&key, &server, Method::GET, TOKENS).await, StatusCode::OK);
    let role = if kind == StoreKind::Postgres { "SET ROLE core314_service; " } else { "" };
    installation.meddle(&format!("{role}UPDATE keys SET revoked_at_ms = 1")).await;
    let started = Instant::now();
    while status(&key, &server, Method::GET, TOKENS).await == StatusCode::OK {
        assert!(started.elapsed() < Duration::from_secs(20), "it goes on working");
    }
    assert_eq!(status(&Caller::owner(), &server, Method::GET, TOKENS).await, StatusCode::OK);
}

#[tokio::test]
async fn a_key_revoked_elsewhere_stops_here_on_sqlite() {
    a_key_revoked_elsewhere_stops_here(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_key_revoked_elsewhere_stops_here_on_postgres() {
    a_key_revoked_elsewhere_stops_here(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_key_expires_by_itself() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = Server::start(&installation);
    // Times are kept to the millisecond.
    let expires_at = chrono::Utc::now().trunc_subsecs(3) + chrono::TimeDelta::seconds(5);
    let body = json!({"name": "short", "roles": ["viewer"], "expires_at": expires_at.to_rfc3339()});
    let key = holder(&make(&Caller::owner(), &server, body).await);
    let started = Instant::now();
    assert_eq!(status(&key, &server, Method::GET, TOKENS).await, StatusCode::OK);
    while status(&key, &server, Method::GET, TOKENS).await == StatusCode::OK {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not expire");
    }
    assert!(chrono::Utc::now() >= expires_at, "it has expired too early");
}

#[tokio::test]
async fn what_a_key_must_be_is_said() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let server = Server::start(&installation);
    let valid = json!({"name": "k", "roles": ["viewer"]});
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(201))),
        ("name", json!(7)),
        ("roles", json!([])),
        ("roles", json!(["owner"])),
        ("roles", json!("viewer")),
        ("expires_at", json!("2001-01-01T00:00:00Z")),
        ("expires_at", json!("soon")),
        ("scope", json!("galaxy")),
        ("user_id", json!("00000000-0000-0000-0000-000000000000")),
        ("key", json!("c314_of_my_own")),
    ] {
        let mut body = valid.clone();
        body[field] = value.clone();
        let (status, answer) = Caller::owner().send(&server, Method::POST, TOKENS, Some(body)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {value}: {answer}");
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains(field)), "{field}: {answer}");
    }
    let (status, answer) = Caller::owner()
        .send(&server, Method::POST, TOKENS, Some(json!({"name": "a\u{0}b", "roles": ["viewer"]})))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(Caller::owner().list(&server, TOKENS).await.len(), 0);
}
