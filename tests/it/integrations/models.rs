//! `ask_ai` against a service of chat completions: within its budget, checked against its schema, and told no secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, may_come, refused, run, secret, start, start_with, step};
use crate::providers::{Provider, openai};
use crate::support::{Server, StoreKind};

fn ask(id: &str, target: &str, payload: Value) -> Value {
    let mut step = step(id, "ask_ai", target, payload);
    step["retry"] = json!({"max_attempts": 2, "backoff_seconds": 0.01});
    step
}

async fn a_model_is_asked(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let model = openai::start();
    secret(&server, "OPENAI", openai::KEY).await;
    secret(&server, "WRONG", "planted-wrong-key-0001").await;
    let endpoint = format!("{}/v1", model.url);
    for (name, key, settings) in [
        ("ai", "secrets.OPENAI", json!({"model": "small", "max_tokens": 300})),
        ("other", "secrets.OPENAI", json!({"model": "large"})),
        ("wrong", "secrets.WRONG", json!({"model": "small"})),
    ] {
        let body = json!({"name": name, "kind": "openai", "endpoint": endpoint, "credentials": {"api_key": key}, "settings": settings});
        done(&server, Method::POST, "/api/v1/integrations", body).await;
    }
    let schema = json!({"type": "object", "required": ["cause", "confidence"],
        "properties": {"cause": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 1}}});
    model.refuse(openai::says("It is the fan, I think.", "stop"));
    let steps = vec![ask(
        "triage",
        "ai",
        json!({"prompt": "Why? {{ trigger.error }}", "system": "Be short.", "schema": schema, "temperature": 0}),
    )];
    let error = "login failed with password=planted-hunter2 on web-1";
    let log = run(&server, "triage", steps, json!({"error": error})).await;
    assert_eq!(log.len(), 2, "an answer that does not hold is asked for again: {log:?}");
    let [first, second] = ["invalid_answer", ""].map(|code| {
        let is_so = |row: &&Value| row["execution_error_code"].as_str().unwrap_or_default() == code;
        log.iter().find(is_so).unwrap_or_else(|| panic!("{code}: {log:?}"))
    });
    assert!(
        first["execution_error"].as_str().is_some_and(|words| words.contains("not what the schema asks for")),
        "{first}"
    );
    let expected = json!({"answer": {"cause": "fan", "confidence": 0.8}, "model": "small-2025",
        "usage": {"input_tokens": 11, "output_tokens": 7}});
    assert_eq!(second["execution_result"], expected);
    let asked = model.shown()[0].clone();
    assert_eq!(asked["max_completion_tokens"], 300);
    assert_eq!(asked["messages"][1]["content"], "Why? login failed with password=[redacted] on web-1");
    what_fails(&server, &model).await;
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
}

async fn what_fails(server: &Server, model: &Provider) {
    for reply in
        [openai::error(429, "insufficient_quota", "You exceeded your current quota."), openai::says("{", "length")]
    {
        model.refuse(reply);
    }
    let steps = vec![
        ask("spent", "ai", json!({"prompt": "x", "max_tokens": 5})),
        ask("cut", "ai", json!({"prompt": "x"})),
        ask("model", "other", json!({"prompt": "x"})),
        ask("key", "wrong", json!({"prompt": "x"})),
        ask("text", "ai", json!({"prompt": "x"})),
    ];
    let log = run(server, "failing", steps, json!({})).await;
    assert_eq!(log.len(), 5, "none is tried again: {log:?}");
    for (step, code, words) in [
        (0, "rate_limited", "insufficient_quota"),
        (1, "invalid_answer", "longer than max_tokens"),
        (2, "http_status", "model_not_found"),
        (3, "http_status", "Incorrect API key"),
    ] {
        assert_eq!(log[step]["execution_error_code"], code, "{}", log[step]);
        assert!(
            log[step]["execution_error"].as_str().is_some_and(|said| said.contains(words)),
            "{words}: {}",
            log[step]
        );
    }
    assert_eq!(log[4]["execution_result"]["answer"], "It is the fan.");
    for (target, payload, words) in [
        ("ai", json!({"prompt": "x", "schema": {"$ref": "#"}}), "$ref"),
        ("ai", json!({"prompt": "the key is {{ secrets.OPENAI }}"}), "secret"),
        ("ai", json!({"prompt": "x", "max_tokens": 1_000_000}), "from 1 to 16384"),
    ] {
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [ask("a", target, payload)]});
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
    let flow =
        json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [ask("a", "gpt", json!({"prompt": "x"}))]});
    may_come(server, flow, "needs one of the kind openai").await;
}

/// The server's own models, as its environment names them, for who has no integration.
async fn the_servers_own_model_is_asked(kind: StoreKind) {
    let model = openai::start();
    let environment = [
        ("OPENAI_API_KEY", openai::KEY.to_owned()),
        ("OPENAI_BASE_URL", format!("{}/v1", model.url)),
        ("CORE314__EXECUTORS__AI__MODEL", "small".to_owned()),
    ];
    let (_installation, server) = start_with(kind, &environment).await;
    // Whatever repeats the key: nobody reads it.
    let encoded = STANDARD.encode(openai::KEY);
    model.refuse(openai::error(400, "invalid_request_error", &format!("{} and {encoded} are odd", openai::KEY)));
    let steps = vec![
        ask("odd", "openai", json!({"prompt": "x"})),
        ask("named", "openai", json!({"prompt": "x"})),
        ask("bare", "", json!({"prompt": "x"})),
        ask("model", "openai", json!({"prompt": "x", "model": "large"})),
    ];
    let log = run(&server, "own", steps, json!({})).await;
    assert_eq!(log.len(), 4, "{log:?}");
    assert_eq!(log[0]["execution_error_code"], "http_status", "{}", log[0]);
    for row in &log[1..3] {
        assert_eq!(row["execution_result"]["answer"], "It is the fan.", "{row}");
    }
    assert!(log[3]["execution_error"].as_str().is_some_and(|said| said.contains("leave it out")), "{}", log[3]);
    assert_eq!(model.shown().len(), 2);
    let flow =
        json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [ask("a", "gpt", json!({"prompt": "x"}))]});
    may_come(&server, flow, "needs one of the kind openai").await;
    // A tenant's own integration of that name goes before it.
    secret(&server, "WRONG", "planted-wrong-key-0001").await;
    let body = json!({"name": "openai", "kind": "openai", "endpoint": format!("{}/v1", model.url),
        "credentials": {"api_key": "secrets.WRONG"}, "settings": {"model": "small"}});
    done(&server, Method::POST, "/api/v1/integrations", body).await;
    let log = run(&server, "theirs", vec![ask("a", "openai", json!({"prompt": "x"}))], json!({})).await;
    assert!(log[0]["execution_error"].as_str().is_some_and(|said| said.contains("Incorrect API key")), "{log:?}");
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted") && !shown.contains(&encoded) && shown.contains("are odd"), "{shown}");
}

async fn without_a_model_of_the_server_an_integration_is_needed(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    for target in ["openai", ""] {
        let steps = [ask("a", target, json!({"prompt": "x", "model": "small"}))];
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": steps});
        let words = "or models that the server's configuration names";
        if target.is_empty() {
            let says = refused(&server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
            assert!(says.contains(words), "{says}");
        } else {
            may_come(&server, flow, words).await;
        }
    }
}

#[tokio::test]
async fn the_servers_own_model_is_asked_on_sqlite() {
    the_servers_own_model_is_asked(StoreKind::Sqlite).await;
    without_a_model_of_the_server_an_integration_is_needed(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn the_servers_own_model_is_asked_on_postgres() {
    the_servers_own_model_is_asked(StoreKind::Postgres).await;
    without_a_model_of_the_server_an_integration_is_needed(StoreKind::Postgres).await;
}

#[tokio::test]
async fn a_model_is_asked_within_bounds_on_sqlite() {
    a_model_is_asked(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_model_is_asked_within_bounds_on_postgres() {
    a_model_is_asked(StoreKind::Postgres).await;
}
