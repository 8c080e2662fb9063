//! Each template becomes an integration of a kind that an action takes: by the command line, with what it says is to be given.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, refused, secret, start, step};
use crate::support::{StoreKind, USER};

/// What everybody has their own of.
fn own(setting: &str) -> &'static str {
    match setting {
        "from" => "Ops <ops@example.com>",
        "email" | "username" => "robot@example.com",
        "tables" => "{\"public.customers\": [\"id\", \"name\"]}",
        "account_sid" => "AC0123456789abcdef0123456789abcdef",
        "client_id" => "core314",
        "scope" => "read",
        other => panic!("a template asks for {other}, which this test does not know"),
    }
}

fn endpoint(kind: &str) -> &'static str {
    match kind {
        "smtp" => "smtps://mail.example.com",
        "postgres" => "postgres://db.example.com/crm",
        _ => "https://service.example.com",
    }
}

/// An action that the template is for.
fn action(template: &str, kind: &str) -> Value {
    let (action, payload) = match kind {
        "http" => ("api_call", json!({"path": "x"})),
        "webhook" => ("trigger_webhook", json!({"type": "x"})),
        "github" | "gitlab" | "jira" | "linear" => ("create_task", json!({"title": "x", "project": "octo/hello"})),
        "openai" => ("ask_ai", json!({"prompt": "x", "model": "small"})),
        "postgres" => {
            ("update_record", json!({"table": "public.customers", "where": {"id": 1}, "values": {"name": "x"}}))
        }
        "pagerduty" => ("send_notification", json!({"summary": "x"})),
        "twilio" => ("send_notification", json!({"to": "+15558675310", "text": "x", "from": "+15005550006"})),
        "smtp" | "sendgrid" => {
            ("send_notification", json!({"to": "ann@example.com", "text": "x", "from": "ops@example.com"}))
        }
        "slack" if template == "slack-bot" => ("send_notification", json!({"channel": "#ops", "text": "x"})),
        _ => ("send_notification", json!({"text": "x"})),
    };
    step("a", action, template, payload)
}

async fn each_becomes_an_integration(kind: StoreKind) {
    let (installation, server) = start(kind).await;
    let kinds = server.get("/api/v1/integrations/kinds").await;
    let mut made = BTreeSet::new();
    let templates = server.get("/api/v1/integrations/templates").await;
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/actions.md")).expect("the manual");
    for template in templates["items"].as_array().expect("they are a list") {
        let (name, word) = (template["template"].as_str().expect("a name"), template["kind"].as_str().expect("a kind"));
        assert!(manual.contains(&format!("| `{name}` | `{word}` |")), "docs/actions.md lacks {name}");
        let known = kinds["items"].as_array().expect("they are a list").iter().find(|known| known["kind"] == word);
        let known = known.unwrap_or_else(|| panic!("{name}: there is no kind {word}"));
        for secret_name in template["credentials"].as_object().expect("an object").values() {
            let secret_name = secret_name.as_str().and_then(|text| text.strip_prefix("secrets.")).expect("a secret");
            if made.insert(secret_name.to_owned()) {
                secret(&server, secret_name, "https://hooks.example.com/planted").await;
            }
        }
        let mut words = vec!["integration".to_owned(), "add".to_owned(), "--template".to_owned(), name.to_owned()];
        if template["endpoint"].is_null() && known["endpoint"] == "required" {
            words.extend(["--endpoint".to_owned(), endpoint(word).to_owned()]);
        }
        for setting in template["own_settings"].as_array().expect("a list").iter().filter_map(Value::as_str) {
            words.extend(["--setting".to_owned(), format!("{setting}={}", own(setting))]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = installation.command(&words);
        let added = command.env("CORE314_SERVER", &server.url).env("CORE314_USER", USER).output().expect("it runs");
        assert!(added.status.success(), "{name}: {}", String::from_utf8_lossy(&added.stderr));
        let flow =
            json!({"flow_name": format!("by-{name}"), "trigger_type": "manual", "flow_steps": [action(name, word)]});
        done(&server, Method::POST, "/api/v1/flows", flow).await;
    }
    // What the command line needs beside a template, it says.
    let body = json!({"name": "half", "kind": "twilio", "credentials": {"auth_token": "secrets.TWILIO_AUTH_TOKEN"}});
    let says = refused(&server, Method::POST, "/api/v1/integrations", body, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(says.contains("/settings/account_sid"), "{says}");
}

#[tokio::test]
async fn each_template_fits_an_action_on_sqlite() {
    each_becomes_an_integration(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn each_template_fits_an_action_on_postgres() {
    each_becomes_an_integration(StoreKind::Postgres).await;
}
