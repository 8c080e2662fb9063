//! The socket in the data directory: the first platform key, made on the server's machine without one.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::callers::Caller;
use crate::support::{Installation, Server, StoreKind};

/// Runs the command line as somebody who has no key.
fn keyless(installation: &Installation, arguments: &[&str]) -> (i32, String, String) {
    let output = installation.command(arguments).env_remove("CORE314_KEY").output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn path(installation: &Installation) -> PathBuf {
    installation.data_dir().join("core314.sock")
}

async fn the_first_key_needs_no_key(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start_with(&installation, &[("CORE314_SERVICE_KEY", String::new())]).expect("ready");
    let mode = std::fs::metadata(path(&installation)).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is its user's alone");

    let (exit, answer, words) = keyless(&installation, &["token", "create", "first", "--platform", "--output", "json"]);
    assert_eq!(exit, 0, "{words}");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let first = Caller::new("first", answer["key"].as_str().expect("a key"));
    let (status, actors) = first.send(&server, Method::GET, "/api/v1/actors", None).await;
    assert_eq!(status, StatusCode::OK, "{actors}");
    let (exit, listed, _) = keyless(&installation, &["token", "list", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!((exit, &listed[0]["name"], &listed[0]["scope"]), (0, &"first".into(), &"platform".into()), "{listed}");
    assert_eq!(listed[0]["user_id"], "00000000-0000-0000-0000-000000000000", "it is the platform's");
    let remembered = installation.rows("SELECT actor FROM audit WHERE event_type = 'service_key_created'").await;
    assert_eq!(remembered, ["service:local"]);

    // Who comes by the socket is told of the address that others reach.
    let socket = Client::builder().unix_socket(path(&installation)).build().expect("a client");
    let request =
        socket.post("http://localhost/api/v1/webhooks").header("X-User-Id", uuid::Uuid::from_u128(7).to_string());
    let webhook =
        request.json(&serde_json::json!({"name": "shop", "trigger_type": "webhook"})).send().await.expect("answers");
    let webhook: Value = webhook.json().await.expect("JSON");
    let url = webhook["url"].as_str().unwrap_or_default();
    assert!(url.starts_with(&format!("{}/hooks/", server.url)), "{webhook}");

    // Over TCP nobody is the local user, and a token on the socket counts for what it is.
    let anybody = server.http.get(format!("{}/api/v1/actors", server.url)).send().await.expect("an answer");
    assert_eq!(anybody.status(), StatusCode::UNAUTHORIZED);
    let ask = |bearer: Option<&str>| {
        let request = socket.get("http://localhost/api/v1/actors");
        bearer.map_or(request.try_clone().expect("no body"), |bearer| request.bearer_auth(bearer)).send()
    };
    assert_eq!(ask(None).await.expect("an answer").status(), StatusCode::OK);
    assert_eq!(ask(Some("forged")).await.expect("an answer").status(), StatusCode::UNAUTHORIZED);

    let id = listed[0]["id"].as_str().expect("an id");
    let (exit, _, words) = keyless(&installation, &["token", "revoke", id, "--platform"]);
    assert_eq!(exit, 0, "{words}");
    assert_eq!(first.send(&server, Method::GET, "/api/v1/actors", None).await.0, StatusCode::UNAUTHORIZED);
    drop(socket);
    assert_eq!(server.terminate(), Some(0));
    assert!(!path(&installation).exists(), "it goes with the server");
    assert_eq!(
        std::fs::read_dir(installation.data_dir())
            .expect("it exists")
            .filter(|entry| {
                entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(".sock"))
            })
            .count(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn the_first_key_needs_no_key_on_sqlite() {
    the_first_key_needs_no_key(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn the_first_key_needs_no_key_on_postgres() {
    the_first_key_needs_no_key(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_killed_servers_socket_is_replaced_by_the_next() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let mut server = Server::start(&installation);
    server.kill();
    assert!(path(&installation).exists(), "a killed server cleans nothing up");
    let (exit, _, words) = keyless(&installation, &["token", "list"]);
    assert_eq!(exit, 5, "{words}");
    let _next = Server::start(&installation);
    let (exit, _, words) = keyless(&installation, &["token", "list"]);
    assert_eq!(exit, 0, "{words}");
}
