//! Integrations and secrets by the real binary: set, used at the last moment, and never to be seen again.

mod consents;
mod echo;
mod exchange;
mod foreign_mail;
mod leaks;
mod life;
mod messages;
mod models;
mod operations;
mod programs;
mod protection;
mod provider;
mod records;
mod rotation;
mod syncs;
mod syncs_killed;
mod templates;
mod tested;
mod trackers;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::providers::catalogue;
use super::support::{Installation, SECRET_KEY, Server, StoreKind};

/// A server that can seal secrets.
async fn start_with(kind: StoreKind, more: &[(&str, String)]) -> (Installation, Server) {
    let installation = Installation::new(kind).await;
    let mut environment = vec![("CORE314_SECRET_KEY", SECRET_KEY.to_owned())];
    environment.extend(more.iter().cloned());
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    (installation, server)
}

async fn start(kind: StoreKind) -> (Installation, Server) {
    start_with(kind, &[]).await
}

/// What the API says to this, which must be a success.
async fn done(server: &Server, method: Method, path: &str, body: Value) -> Value {
    let (status, answer) = server.request(method.clone(), path, Some(body)).await.expect("an answer");
    assert!(status.is_success(), "{method} {path}: {status} {answer}");
    answer
}

/// What the API says to this, which must be refused with this status.
async fn refused(server: &Server, method: Method, path: &str, body: Value, expected: StatusCode) -> String {
    let (status, answer) = server.request(method.clone(), path, Some(body)).await.expect("an answer");
    assert_eq!(status, expected, "{method} {path}: {answer}");
    answer.to_string()
}

/// A document that would be saved inactive, and why.
async fn may_come(server: &Server, flow: Value, words: &str) {
    let checked = done(server, Method::POST, "/api/v1/flows/validate", flow).await;
    let is_held = checked["valid"] == true && checked["saved_inactive"] == true;
    assert!(is_held && checked["warnings"].to_string().contains(words), "{words}: {checked}");
}

async fn secret(server: &Server, name: &str, value: &str) {
    done(server, Method::POST, "/api/v1/secrets", json!({"name": name, "value": value})).await;
}

/// Makes the integration by which the rows of a catalogue are had.
async fn catalogue_at(server: &Server, url: &str) {
    secret(server, "CATALOGUE", catalogue::TOKEN).await;
    let body = json!({"name": "catalogue", "kind": "http", "endpoint": format!("{url}/api"),
        "credentials": {"token": "secrets.CATALOGUE"}, "settings": {"auth": "bearer"}});
    done(server, Method::POST, "/api/v1/integrations", body).await;
}

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn step(id: &str, action: &str, target: &str, payload: Value) -> Value {
    json!({"id": id, "on_error": "continue", "retry": {"max_attempts": 1},
        "config": {"action_type": action, "action_target": target, "action_payload": payload}})
}

/// Saves a flow of these steps, runs it and gives its attempts by their steps, once it has ended.
async fn run(server: &Server, name: &str, steps: Vec<Value>, context: Value) -> Vec<Value> {
    run_flow(server, json!({"flow_name": name, "trigger_type": "manual", "flow_steps": steps}), context).await
}

/// The same with a flow as it is.
async fn run_flow(server: &Server, flow: Value, context: Value) -> Vec<Value> {
    let path = format!("/api/v1/flows/{}/trigger", flow["flow_name"].as_str().expect("a name"));
    done(server, Method::POST, "/api/v1/flows", flow).await;
    let accepted = done(server, Method::POST, &path, json!({"trigger_context": context})).await;
    let id = accepted["id"].as_str().unwrap_or_else(|| panic!("a run: {accepted}")).to_owned();
    let started = std::time::Instant::now();
    while server.get(&format!("/api/v1/runs/{id}")).await["completed_at"].is_null() {
        assert!(started.elapsed().as_secs() < 60, "the run does not end");
    }
    let mut log = server.all(&format!("/api/v1/execution-log?flow_run_id={id}")).await;
    log.sort_by_key(|row| row["step_no"].as_i64());
    log
}
