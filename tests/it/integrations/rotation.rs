//! Another key: everything is encrypted anew, batch by batch, and can be read all the while.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::echo::Echo;
use super::{done, run, secret};
use crate::support::{Installation, SECRET_KEY, SERVICE_KEY, Server, StoreKind};

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

#[tokio::test]
async fn a_key_is_changed_without_a_gap_on_sqlite() {
    a_key_is_changed(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_key_is_changed_without_a_gap_on_postgres() {
    a_key_is_changed(StoreKind::Postgres).await;
}
