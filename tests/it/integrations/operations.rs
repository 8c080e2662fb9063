//! Declared integrations by the real binary: refused where they are malformed, asked by an operation and its parameters alone.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, refused, run, secret, start, step};
use crate::providers::catalogue::{self, ITEMS};
use crate::support::{StoreKind, USER};

fn catalogue(url: &str) -> Value {
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["items"],
        "properties": {"items": {"type": "array", "maxItems": 3}}});
    json!({"name": "catalogue", "kind": "custom", "endpoint": format!("{url}/api"), "credentials": {"token": "secrets.CATALOGUE"},
        "settings": {"auth": "bearer", "operations": {
            "all": {"about": "Every item.", "path": "/items", "extract": {"ids": ""},
                "parameters": {"type": "object", "properties": {"since": {"type": "string", "default": ""}}},
                "query": {"since": "{{ input.since }}"},
                "paging": {"by": "cursor", "items": "/data", "next": "/meta/next", "parameter": "cursor", "max_pages": 50}},
            "add": {"method": "POST", "path": "/items", "parameters": schema, "json": {"items": "{{ input.items }}"},
                "extract": {"taken": "/taken"}},
            "look": {"path": "/{{ input.what }}", "parameters": {"type": "object", "required": ["what"]}}}}})
}

async fn operations_are_asked(kind: StoreKind) {
    let (installation, server) = start(kind).await;
    let service = catalogue::start();
    secret(&server, "CATALOGUE", catalogue::TOKEN).await;
    let body = catalogue(&service.url);
    what_is_refused(&server, &body).await;
    let file = installation.dir.path().join("catalogue.yaml");
    std::fs::write(&file, serde_norway::to_string(&body).expect("YAML")).expect("a file");
    let words = ["integration", "add", "--file", "catalogue.yaml", "--server", &server.url, "--user", USER];
    let (code, said) = installation.run(&words);
    assert_eq!(code, 0, "{said}");
    let ask = |id: &str, operation: &str, parameters: Value| {
        step(id, "api_call", "catalogue", json!({"operation": operation, "parameters": parameters}))
    };
    let steps = vec![
        ask("all", "all", json!({})),
        ask("since", "all", json!({"since": "{{ trigger.since }}"})),
        ask("add", "add", json!({"items": [{"id": 1}, {"id": 2}]})),
        ask("many", "add", json!({"items": "{{ trigger.many }}"})),
        ask("astray", "look", json!({"what": "{{ trigger.astray }}"})),
        ask("part", "look", json!({"what": "{{ trigger.part }}"})),
    ];
    let context =
        json!({"since": "2030-01-01T00:01:29Z", "many": [1, 2, 3, 4], "astray": "..", "part": "items?since=x/y"});
    let log = run(&server, "ask", steps, context).await;
    let ids = |row: &Value| row["execution_result"]["values"]["ids"].as_array().map(Vec::len);
    assert_eq!((ids(&log[0]), ids(&log[1])), (Some(ITEMS as usize), Some(5)), "{}", log[0]);
    assert_eq!(log[2]["execution_result"]["values"], json!({"taken": 2}), "{}", log[2]);
    for (row, code) in [(3, "invalid_payload"), (4, "invalid_payload"), (5, "http_status")] {
        assert_eq!(log[row]["execution_error_code"], code, "{}", log[row]);
    }
    assert!(
        log[5]["integration_endpoint"].as_str().is_some_and(|url| url.ends_with("/api/items%3Fsince=x%2Fy")),
        "{}",
        log[5]
    );
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
}

async fn what_is_refused(server: &crate::support::Server, sound: &Value) {
    for (operation, words) in [
        (json!({"path": "x", "method": "CONNECT"}), "/settings/operations/a/method"),
        (json!({"path": "/{{ trigger.id }}"}), "/settings/operations/a/path"),
        (json!({"path": "x", "parameters": {"type": "objekt"}}), "/settings/operations/a/parameters/type"),
        (json!({"path": "x", "paging": {"by": "cursor"}}), "/settings/operations/a/paging/next"),
        (json!("x"), "must be an object, is a text"),
    ] {
        let mut body = sound.clone();
        body["settings"]["operations"] = json!({"a": operation});
        let says = refused(server, Method::POST, "/api/v1/integrations", body, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
    let mut saved = sound.clone();
    saved["name"] = "saved".into();
    done(server, Method::POST, "/api/v1/integrations", saved).await;
    for (payload, words) in [
        (json!({"operation": "remove"}), "'remove' is no operation of this integration: add, all, look"),
        (json!({"operation": "add", "parameters": {}}), "/parameters"),
        (json!({"operation": "add", "parameters": {"items": []}, "path": "x"}), "unknown key 'path'"),
    ] {
        let steps = [step("a", "api_call", "saved", payload)];
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": steps});
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
}

#[tokio::test]
async fn declared_operations_are_asked_on_sqlite() {
    operations_are_asked(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn declared_operations_are_asked_on_postgres() {
    operations_are_asked(StoreKind::Postgres).await;
}
