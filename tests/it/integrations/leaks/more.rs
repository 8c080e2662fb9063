//! Secrets of what is not called by one request: mail, a database, webhooks of chats, tokens that are got first, signatures,
//! syncs, programs, declared services, codes that prove an address; and what is said of them to people when they fail.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::super::echo::{Echo, ISSUED};
use super::super::{done, secret, step};
use crate::support::{Server, USER};

/// Each secret by its name.
pub const PLANTED: [(&str, &str); 11] = [
    ("MAIL", "pLaNtEd-mail-password-0012"),
    ("DATABASE", "pLaNtEd-database-password-0013"),
    ("CLIENT", "pLaNtEd-client-secret-0014"),
    ("REFRESH", "pLaNtEd-refresh-token-0015"),
    ("AWS_ID", "pLaNtEdACCESSKEYID0016"),
    ("AWS_KEY", "pLaNtEd/access+key/0017"),
    ("SLACK_SIGNING", "pLaNtEd-slack-signing-0018"),
    ("CUSTOM", "pLaNtEd-custom-token-0023"),
    ("GRANT", "pLaNtEd-refresh-token-0024"),
    ("STDIN", "pLaNtEd-standard-input-0025"),
    ("VARIABLE", "pLaNtEd-variable-0026"),
];

pub async fn plant(server: &Server, echo: &Echo) {
    for (name, value) in PLANTED {
        secret(server, name, value).await;
    }
    secret(server, "DISCORD", &format!("{}/ok/pLaNtEd-discord-000000000019", echo.url)).await;
    secret(server, "TEAMS", &format!("{}/refuse/pLaNtEd-teams-000000000020", echo.url)).await;
    let token =
        |path: &str| json!({"auth": "oauth2", "token_url": format!("{}/{path}", echo.url), "client_id": "robot"});
    let aws = json!({"auth": "aws_sigv4", "region": "eu-west-1", "service": "execute-api"});
    for body in [
        json!({"name": "mail", "kind": "smtp", "endpoint": "smtp://127.0.0.1:1", "credentials": {"password": "secrets.MAIL"},
            "settings": {"from": "ops@example.com", "username": "robot"}}),
        json!({"name": "base", "kind": "postgres", "endpoint": "postgres://127.0.0.1:1/x",
            "credentials": {"password": "secrets.DATABASE"},
            "settings": {"username": "robot", "tls": "none", "tables": {"orders": ["id", "name"]}}}),
        json!({"name": "client", "kind": "http", "endpoint": echo.url, "settings": token("ok/token"),
            "credentials": {"client_secret": "secrets.CLIENT"}}),
        json!({"name": "refresh", "kind": "http", "endpoint": echo.url, "settings": token("refuse/token"),
            "credentials": {"refresh_token": "secrets.REFRESH"}}),
        json!({"name": "granted", "kind": "http", "endpoint": echo.url, "settings": token("issue/token"),
            "credentials": {"refresh_token": "secrets.GRANT"}}),
        json!({"name": "declared", "kind": "custom", "endpoint": echo.url, "credentials": {"token": "secrets.CUSTOM"},
            "settings": {"auth": "bearer", "operations": {"look": {"path": "/ok/custom"}, "fail": {"path": "/refuse/custom"}}}}),
        json!({"name": "aws", "kind": "http", "endpoint": echo.url, "settings": aws,
            "credentials": {"access_key_id": "secrets.AWS_ID", "secret_access_key": "secrets.AWS_KEY"}}),
        json!({"name": "bot", "kind": "slack", "endpoint": format!("{}/ok/bot", echo.url), "settings": {"channel": "c"},
            "credentials": {"bot_token": "secrets.PASSWORD", "signing_secret": "secrets.SLACK_SIGNING"}}),
        json!({"name": "discord", "kind": "discord", "credentials": {"webhook_url": "secrets.DISCORD"}}),
        json!({"name": "teams", "kind": "teams", "credentials": {"webhook_url": "secrets.TEAMS"}}),
    ] {
        done(server, Method::POST, "/api/v1/integrations", body).await;
    }
    let rule = json!({"rule_name": "planted", "trigger_conditions": "trigger.reason == 'execution_failed'",
        "escalation_levels": [{"level": 1, "notify_channels": ["in_app", "chat", "bad-chat", "discord", "teams"]}]});
    done(server, Method::POST, "/api/v1/escalation-rules", rule).await;
    let schedule =
        json!({"name": "primary", "time_zone": "UTC", "layers": [{"users": [USER], "starts_at": "2026-01-05T09:00"}]});
    done(server, Method::POST, "/api/v1/on-call", schedule).await;
}

pub fn steps() -> Vec<Value> {
    let text = json!({"text": "hi"});
    let mail = json!({"to": "a@b.example", "text": "hi", "subject": "{{ 'x' }}"});
    let change = json!({"table": "orders", "where": {"id": 1}, "values": {"name": "x"}});
    // What the echo has said goes on, with the secret of its source in it.
    let sync = |name: &str, source: Value, destination: Value| json!({"name": name, "source": source, "destination": destination});
    let lines = json!({"from": "key", "http": {"path": "ok/rows.jsonl"}, "format": "jsonl"});
    let list = |path: &str| json!({"http": {"path": path}, "wrap": "items"});
    let table = json!({"from": "base", "table": "orders", "order": ["id"]});
    vec![
        step("mail", "send_notification", "mail", mail),
        step("base", "update_record", "base", change),
        step("client", "api_call", "client", json!({"path": "ok/client"})),
        step("refresh", "api_call", "refresh", json!({"path": "ok/refresh"})),
        step("aws-ok", "api_call", "aws", json!({"path": "ok/aws"})),
        step("aws-no", "api_call", "aws", json!({"path": "refuse/aws"})),
        step("bot", "send_notification", "bot", text.clone()),
        step("discord", "send_notification", "discord", text.clone()),
        step("teams", "send_notification", "teams", text),
        step("granted", "api_call", "granted", json!({"path": "ok/by-token"})),
        step("declared-ok", "api_call", "declared", json!({"operation": "look"})),
        step("declared-no", "api_call", "declared", json!({"operation": "fail"})),
        step("read", "run_command", "ops", json!({"program": "cat", "stdin": "it is {{ secrets.STDIN }}"})),
        step("given", "run_command", "ops", json!({"program": "env", "env": {"TOKEN": "{{ secrets.VARIABLE }}"}})),
        step("sync-ok", "data_sync", "bearer", sync("ok", lines.clone(), list("ok/sink"))),
        step("sync-no", "data_sync", "bearer", sync("no", lines, list("refuse/sink"))),
        step("sync-base", "data_sync", "base", sync("base", table, json!({"table": "orders", "key": ["id"]}))),
    ]
}

/// They were used, as far as somebody was there to take them.
pub fn were_used(echo: &Echo) {
    for (path, sent) in [
        ("/ok/token", format!("Basic {}", STANDARD.encode("robot:pLaNtEd-client-secret-0014"))),
        ("/refuse/token", "refresh_token=pLaNtEd-refresh-token-0015".to_owned()),
        ("/issue/token", "refresh_token=pLaNtEd-refresh-token-0024".to_owned()),
        ("/ok/by-token", format!("authorization: Bearer {ISSUED}")),
        ("/ok/custom", "authorization: Bearer pLaNtEd-custom-token-0023".to_owned()),
        ("/ok/aws", "Credential=pLaNtEdACCESSKEYID0016/".to_owned()),
        ("/ok/bot/chat.postMessage", "authorization: Bearer pLaNtEd pass/word+0002".to_owned()),
        ("/ok/pLaNtEd-discord-000000000019", "hi".to_owned()),
        ("/refuse/pLaNtEd-teams-000000000020", "hi".to_owned()),
        ("/ok/rows.jsonl", "x-odd-name: pLaNtEd-api-key-0003".to_owned()),
    ] {
        let received = echo.received(path);
        assert!(received.contains(&sent), "{path} got no '{sent}': {received}");
    }
}

/// Codes that prove addresses, as the texts by which they would be known: sent to one who takes them and to one who gives
/// them back with an error. They are no secrets that somebody has set, and act in a person's name all the same.
pub async fn proofs(server: &Server, echo: &Echo) -> Vec<String> {
    let mut proofs = Vec::new();
    for path in ["/ok/person", "/refuse/person"] {
        let contact = json!({"kind": "webhook", "address": format!("{}{path}", echo.url)});
        done(server, Method::POST, "/api/v1/contact-methods", contact).await;
        let started = Instant::now();
        let sent: Value = loop {
            let received = echo.received(path);
            if let Some(body) = received.lines().find(|line| line.starts_with('{')) {
                break serde_json::from_str(body).expect("JSON");
            }
            assert!(started.elapsed() < Duration::from_mins(1), "no code comes to {path}");
            tokio::task::yield_now().await;
        };
        // Eight digits alone may stand in any time: what stands around them is looked for, too.
        let (title, text) = (sent["title"].as_str().expect("a title"), sent["message"].as_str().expect("a text"));
        let (code, _) = text.split_once(' ').expect("the code comes first");
        assert!(title.ends_with(code) && code.len() == 8, "{sent}");
        let link = sent["action_url"].as_str().expect("a link");
        let (_, token) = link.rsplit_once("/verify/").expect("of this server");
        proofs.extend([title.to_owned(), format!("{code} proves"), token.to_owned()]);
    }
    // They have ended, so that whatever is kept of them is there.
    let started = Instant::now();
    let is_open = |row: &Value| row["completed_at"].is_null();
    while server.all("/api/v1/runs").await.iter().any(is_open) {
        assert!(started.elapsed() < Duration::from_mins(1), "a code is under way for ever");
    }
    proofs
}

/// The channels whose service refuses the message: what is kept of that could hold the address, which is a secret.
const REFUSED: [&str; 2] = ["bad-chat", "teams"];

/// What the API says of failures, of people and of syncs, once it is kept why nobody was reached by some channels.
pub async fn answers(server: &Server) -> String {
    let started = Instant::now();
    loop {
        let rows = server.all("/api/v1/escalation-outbox").await;
        let is_kept = |channel: &str| rows.iter().any(|row| row["channel"] == channel && row["status"] == "failed");
        if REFUSED.into_iter().all(is_kept) {
            break;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "not all has failed that must: {rows:?}");
    }
    let mut all = String::new();
    for event in server.all("/api/v1/escalation-events").await {
        let path = format!("/api/v1/escalation-events/{}", event["id"].as_str().expect("an id"));
        for part in ["", "/why"] {
            all.push_str(&server.get(&format!("{path}{part}")).await.to_string());
        }
    }
    for list in [
        "escalation-rules",
        "escalation-events",
        "escalation-outbox",
        "on-call",
        "silences",
        "users",
        "contact-methods",
        "preferences",
        "syncs",
    ] {
        all.push_str(&server.get(&format!("/api/v1/{list}")).await.to_string());
    }
    for path in ["escalation-events/active", "escalation-events/analytics"] {
        all.push_str(&server.get(&format!("/api/v1/{path}")).await.to_string());
    }
    // What a test of a connection says, whatever it is.
    for name in
        ["bearer", "query", "chat", "bad-chat", "granted", "declared", "aws", "bot", "discord", "teams", "mail", "base"]
    {
        let path = format!("/api/v1/integrations/{name}/test");
        let (_, said) = server.request(Method::POST, &path, Some(json!({}))).await.expect("an answer");
        all.push_str(&said.to_string());
        all.push_str(&server.get(&format!("/api/v1/integrations/{name}/breaker")).await.to_string());
    }
    all
}
