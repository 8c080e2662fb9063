//! Another key: everything is encrypted anew, batch by batch, and can be read all the while.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::echo::Echo;
use super::{done, refused, run, secret};
use crate::support::{Installation, SECRET_KEY, SERVICE_KEY, Server, StoreKind, USER};

const NEW_KEY: &str = "another-test-secret-key-0123456789-fedcba";

/// The small pages make several batches of few secrets.
fn environment(key: &str, previous: Option<&str>) -> Vec<(&'static str, String)> {
    let mut environment = vec![("CORE314_SECRET_KEY", key.to_owned()), ("CORE314__ENGINE__PAGE_SIZE", "3".to_owned())];
    environment.extend(previous.map(|previous| ("CORE314_SECRET_KEY_PREVIOUS", previous.to_owned())));
    environment
}

fn restart(installation: &Installation, mut server: Server, key: &str, previous: Option<&str>) -> Server {
    server.kill();
    Server::start_with(installation, &environment(key, previous)).expect("the server becomes ready")
}

async fn step(server: &Server, next: &Value) -> Value {
    let request = server.http.post(format!("{}/api/v1/secrets/rotate-key", server.url));
    let request = request.bearer_auth(SERVICE_KEY).json(&json!({"next": next}));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    response.json().await.expect("JSON")
}

async fn is_used(server: &Server, echo: &Echo, name: &str) {
    let log = run(server, name, vec![step_of("a", name)], json!({"url": echo.url})).await;
    assert_eq!(log[0]["execution_status"], "completed", "{log:?}");
    assert!(echo.received(&format!("/{name}")).contains("x-a: value-of-number-7"), "{name}");
}

fn step_of(id: &str, path: &str) -> Value {
    let url = format!("{{{{ trigger.url }}}}/{path}");
    super::step(id, "api_call", "", json!({"url": url, "headers": {"X-A": "{{ secrets.S7 }}"}}))
}

async fn a_key_is_changed(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start_with(&installation, &environment(SECRET_KEY, None)).expect("the server becomes ready");
    let echo = Echo::start();
    for number in 0..10 {
        secret(&server, &format!("S{number}"), &format!("value-of-number-{number}")).await;
    }
    let hook = json!({"name": "hub", "trigger_type": "webhook", "verification": "github"});
    done(&server, Method::POST, "/api/v1/webhooks", hook).await;
    is_used(&server, &echo, "before").await;

    // Without the old key nothing can be read, and it is said.
    let server = restart(&installation, server, NEW_KEY, None);
    let log = run(&server, "locked", vec![step_of("a", "locked")], json!({"url": echo.url})).await;
    assert_eq!(log[0]["execution_error_code"], "secret_unusable", "{log:?}");
    assert_eq!(step(&server, &Value::Null).await["unreadable"], 3);

    // With both it can, before, in the middle, and after.
    let server = restart(&installation, server, NEW_KEY, Some(SECRET_KEY));
    is_used(&server, &echo, "both").await;
    let first = step(&server, &Value::Null).await;
    assert_eq!(first["resealed"], 3, "{first}");
    step(&server, &first["next"]).await;
    let server = restart(&installation, server, NEW_KEY, Some(SECRET_KEY));
    is_used(&server, &echo, "half").await;
    let mut command = installation.command(&["secret", "rotate-key"]);
    let output = command.env("CORE314_SERVER", &server.url).output().expect("it runs");
    let says = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && says.starts_with("5 secrets encrypted anew"), "{output:?}");
    let again = step(&server, &Value::Null).await;
    assert_eq!((&again["resealed"], &again["unreadable"]), (&json!(0), &json!(0)));

    let server = restart(&installation, server, NEW_KEY, None);
    is_used(&server, &echo, "after").await;
    let mut next = Value::Null;
    loop {
        let answer = step(&server, &next).await;
        assert_eq!((&answer["resealed"], &answer["unreadable"]), (&json!(0), &json!(0)), "nothing is left behind");
        next = answer["next"].clone();
        if next.is_null() {
            break;
        }
    }
}

/// Killed right before and right after a batch is stored, whatever was sealed can be read, and the next rotation ends it.
async fn a_crash_loses_nothing(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start_with(&installation, &environment(SECRET_KEY, None)).expect("the server becomes ready");
    let echo = Echo::start();
    for number in 0..10 {
        secret(&server, &format!("S{number}"), &format!("value-of-number-{number}")).await;
    }
    let change = json!({"value": "value-of-number-7", "overlap_seconds": 3_600});
    done(&server, Method::PATCH, "/api/v1/secrets/S7", change).await;
    let mut server = server;
    let points = ["rotation.before=kill@1", "rotation.after=kill@1", "rotation.before=kill@2", "rotation.after=kill@1"];
    for (round, point) in points.into_iter().enumerate() {
        server.kill();
        let mut environment = environment(NEW_KEY, Some(SECRET_KEY));
        environment.push(("CORE314_FAILPOINTS", point.to_owned()));
        server = Server::start_with(&installation, &environment).expect("the server becomes ready");
        let mut command = installation.command(&["secret", "rotate-key"]);
        let output = command.env("CORE314_SERVER", &server.url).output().expect("it runs");
        assert!(!output.status.success(), "{point}: {output:?}");
        let started = std::time::Instant::now();
        while !server.has_died() {
            assert!(started.elapsed().as_secs() < 30, "{point} was not passed");
            tokio::task::yield_now().await;
        }
        server = restart(&installation, server, NEW_KEY, Some(SECRET_KEY));
        is_used(&server, &echo, &format!("round-{round}")).await;
    }
    let output = installation.command(&["secret", "rotate-key"]).env("CORE314_SERVER", &server.url).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let server = restart(&installation, server, NEW_KEY, None);
    is_used(&server, &echo, "at-last").await;
    assert_eq!(step(&server, &Value::Null).await["unreadable"], 0);
    let sealed = "SELECT sealed FROM sealed_secrets \
        UNION ALL SELECT previous FROM sealed_secrets WHERE previous IS NOT NULL";
    for row in installation.rows(sealed).await {
        assert_eq!(row.split('.').nth(1), Some(key_id(NEW_KEY).as_str()), "{row}");
    }
}

/// By which the vault knows a key.
fn key_id(key: &str) -> String {
    let sealed = core314::vault::Vault::new(Some(key)).seal(b"x", "x").expect("seals");
    sealed.split('.').nth(1).expect("an id").to_owned()
}

/// For as long as a receiver may know only the key before, messages are signed with both.
async fn two_values_are_good_at_once(kind: StoreKind) {
    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGA==";
    let installation = Installation::new(kind).await;
    let server = Server::start_with(&installation, &environment(SECRET_KEY, None)).expect("the server becomes ready");
    let echo = Echo::start();
    secret(&server, "HOOK_KEY", OLD).await;
    let hook = json!({"name": "hook", "kind": "webhook", "endpoint": format!("{}/hook", echo.url),
        "credentials": {"signing_secret": "secrets.HOOK_KEY"}});
    done(&server, Method::POST, "/api/v1/integrations", hook).await;
    let signatures = async |name: &str| {
        let log =
            run(&server, name, vec![super::step("a", "trigger_webhook", "hook", json!({"name": name}))], json!({}))
                .await;
        assert_eq!(log[0]["execution_status"], "completed", "{log:?}");
        let head = echo.received("/hook");
        let head = head.rsplit("POST ").next().expect("a request").to_owned();
        let value = |key: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
            line.unwrap_or_else(|| panic!("no {key}: {head}")).to_owned()
        };
        let sent =
            format!("{}.{}.{}", value("webhook-id"), value("webhook-timestamp"), head.lines().last().expect("a body"));
        let expected = |secret: &str| format!("v1,{}", hmac_sha256(secret, &sent));
        (value("webhook-signature"), expected(OLD), expected(NEW))
    };
    let (sent, old, _) = signatures("before").await;
    assert_eq!(sent, old);
    let command_line = |words: &[&str]| {
        let mut command = installation.command(words);
        command.env("CORE314_SERVER", &server.url).env("CORE314_USER", USER).env("HOOK_KEY", NEW);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
    };
    command_line(&["secret", "set", "HOOK_KEY", "--from-env", "HOOK_KEY", "--overlap", "3600"]);
    assert!(server.get("/api/v1/secrets/HOOK_KEY").await["previous_until"].is_string());
    let (sent, old, new) = signatures("both").await;
    assert_eq!(sent, format!("{new} {old}"));
    command_line(&["secret", "set", "HOOK_KEY", "--from-env", "HOOK_KEY"]);
    assert!(server.get("/api/v1/secrets/HOOK_KEY").await["previous_until"].is_null());
    let (sent, _, new) = signatures("after").await;
    assert_eq!(sent, new);
    let path = "/api/v1/secrets/HOOK_KEY";
    for (change, expected) in [
        (json!({"overlap_seconds": 5}), "needs a value"),
        (json!({"value": NEW, "overlap_seconds": 99_999_999}), "must be at most 2592000"),
    ] {
        let words = refused(&server, Method::PATCH, path, change, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(words.contains(expected), "{words}");
    }
}

fn hmac_sha256(secret: &str, text: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("a key");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn a_crash_in_a_rotation_loses_nothing_on_sqlite() {
    a_crash_loses_nothing(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_crash_in_a_rotation_loses_nothing_on_postgres() {
    a_crash_loses_nothing(StoreKind::Postgres).await;
}

#[tokio::test]
async fn two_values_of_a_secret_are_good_at_once_on_sqlite() {
    two_values_are_good_at_once(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn two_values_of_a_secret_are_good_at_once_on_postgres() {
    two_values_are_good_at_once(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_key_is_changed_without_a_gap_on_sqlite() {
    a_key_is_changed(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_key_is_changed_without_a_gap_on_postgres() {
    a_key_is_changed(StoreKind::Postgres).await;
}
