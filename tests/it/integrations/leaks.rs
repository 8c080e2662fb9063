//! A secret of each kind is planted and used, against a service that gives everything back: it is then looked for in every
//! table, log line, stream, metric, error, trace and export.

mod more;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use reqwest::Method;
use serde_json::{Value, json};

use super::echo::Echo;
use super::{done, run, secret, start_with, step};
use crate::support::{Installation, SERVICE_KEY, Server, StoreKind, USER};

/// What stands in every planted value. It is found in whatever form the value has.
const SIGN: &str = "pLaNtEd";
/// Each secret by its name.
const PLANTED: [(&str, &str); 8] = [
    ("BEARER", "pLaNtEd-bearer-0001"),
    ("PASSWORD", "pLaNtEd pass/word+0002"),
    ("API_KEY", "pLaNtEd-api-key-0003"),
    ("QUERY_KEY", "pLaNtEd query&key=0004"),
    ("PAYLOAD", "pLaNtEd \"payload\" 0005"),
    ("PEM", "-----BEGIN KEY-----\npLaNtEdAAAABBBBCCCC0006\npLaNtEdDDDDEEEEFFFF0007\n-----END KEY-----"),
    ("SIGNING", "whsec_cExhTnRFZC1zaWduaW5nLXNlY3JldC0wMDA4LXg="),
    ("UNUSED", "pLaNtEd-unused-0009"),
];

/// An account of Twilio's.
const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";

/// What else is called, each with what it needs: kind, credential, settings, action, payload. None of them understands
/// what the echo says.
fn others() -> [(&'static str, &'static str, Value, &'static str, Value); 9] {
    let task = json!({"title": "x", "project": "a/b"});
    let text = json!({"text": "x"});
    let sms = json!({"to": "+15558675310", "text": "x"});
    let mail = json!({"to": "a@b.example", "text": "x", "subject": "x"});
    [
        ("github", "token", json!({}), "create_task", task.clone()),
        ("gitlab", "token", json!({}), "create_task", task.clone()),
        ("jira", "token", json!({"email": "robot"}), "create_task", task.clone()),
        ("linear", "api_key", json!({}), "create_task", task),
        ("slack", "bot_token", json!({"channel": "c"}), "send_notification", text.clone()),
        ("pagerduty", "routing_key", json!({}), "send_notification", text),
        ("twilio", "auth_token", json!({"account_sid": ACCOUNT, "from": "x"}), "send_notification", sms),
        ("sendgrid", "api_key", json!({"from": "a@b.example"}), "send_notification", mail),
        ("openai", "api_key", json!({"model": "m"}), "ask_ai", json!({"prompt": "x"})),
    ]
}

/// The texts by which a value is known, whatever became of it.
fn traces() -> Vec<String> {
    let mut traces = vec![SIGN.to_owned(), "cExhTnRFZC1zaWduaW5n".to_owned()];
    let got = [("ISSUED", super::echo::ISSUED), ("REPLACED", super::echo::REPLACED)];
    for (_, value) in PLANTED.into_iter().chain(more::PLANTED).chain(got) {
        for padded in [
            STANDARD.encode(value),
            STANDARD.encode(format!("Bearer {value}")),
            STANDARD.encode(format!("robot:{value}")),
            STANDARD.encode(format!("{ACCOUNT}:{value}")),
        ] {
            // The end depends on what follows.
            traces.push(padded[..padded.len() - 6].to_owned());
        }
        traces.push(URL_SAFE_NO_PAD.encode(value));
    }
    traces
}

#[track_caller]
fn assert_clean(hidden: &[String], what: &str, text: &str) {
    for trace in hidden {
        if let Some(at) = text.find(trace) {
            let from = text[..at].char_indices().rev().nth(80).map_or(0, |(from, _)| from);
            let shown: String = text[from..].chars().take(240).collect();
            panic!("{what} holds '{trace}': … {shown} …");
        }
    }
}

async fn plant(server: &Server, echo: &Echo) {
    for (name, value) in PLANTED {
        secret(server, name, value).await;
    }
    let hook = format!("{}/services/pLaNtEd-hook-000000000010", echo.url);
    secret(server, "HOOK", &hook).await;
    secret(server, "BAD_HOOK", &format!("{}/refuse/services/pLaNtEd-hook-000000000011", echo.url)).await;
    let http = |name: &str, settings: Value, credentials: Value| json!({"name": name, "kind": "http", "endpoint": echo.url, "settings": settings, "credentials": credentials});
    for body in [
        http("bearer", json!({"auth": "bearer"}), json!({"token": "secrets.BEARER"})),
        http("basic", json!({"auth": "basic", "username": "robot"}), json!({"password": "secrets.PASSWORD"})),
        http("key", json!({"auth": "api_key", "api_key_header": "X-Odd-Name"}), json!({"api_key": "secrets.API_KEY"})),
        http("query", json!({"auth": "api_key", "api_key_query": "k"}), json!({"api_key": "secrets.QUERY_KEY"})),
        json!({"name": "signed", "kind": "webhook", "endpoint": format!("{}/hook", echo.url),
            "credentials": {"signing_secret": "secrets.SIGNING"}}),
        json!({"name": "chat", "kind": "slack", "credentials": {"webhook_url": "secrets.HOOK"}}),
        json!({"name": "bad-chat", "kind": "slack", "credentials": {"webhook_url": "secrets.BAD_HOOK"}}),
        json!({"name": "closed", "kind": "http", "endpoint": "http://127.0.0.1:1", "settings": {"auth": "bearer"},
            "credentials": {"token": "secrets.BEARER"}}),
    ] {
        done(server, Method::POST, "/api/v1/integrations", body).await;
    }
    for (kind, credential, settings, ..) in others() {
        for (name, path) in [(format!("{kind}-ok"), "ok"), (format!("{kind}-no"), "refuse")] {
            let endpoint = format!("{}/{path}/{kind}", echo.url);
            let body = json!({"name": name, "kind": kind, "endpoint": endpoint, "settings": settings,
                "credentials": {credential: "secrets.PASSWORD"}});
            done(server, Method::POST, "/api/v1/integrations", body).await;
        }
    }
    more::plant(server, echo).await;
}

fn steps(echo: &Echo) -> Vec<Value> {
    let mut steps = Vec::new();
    for name in ["bearer", "basic", "key", "query"] {
        for path in ["ok", "refuse"] {
            steps.push(step(&format!("{name}-{path}"), "api_call", name, json!({"path": format!("{path}/{name}")})));
        }
    }
    for (kind, _, _, action, payload) in others() {
        for end in ["ok", "no"] {
            steps.push(step(&format!("{kind}-{end}"), action, &format!("{kind}-{end}"), payload.clone()));
        }
    }
    let payload = json!({
        "url": format!("{}/ok/payload", echo.url), "method": "POST",
        "headers": {"X-Plain": "{{ secrets.BEARER }}"},
        "json": {"note": "it is {{ secrets.PAYLOAD }}", "pem": "{{ secrets.PEM }}", "list": ["{{ secrets.API_KEY }}"]},
    });
    let refused = json!({
        "url": format!("{}/refuse/payload", echo.url), "method": "POST", "form": {"a": "{{ secrets.PAYLOAD }}", "b": "{{ secrets.PEM }}"},
    });
    steps.extend([
        step("payload", "api_call", "", payload),
        step("payload-refused", "api_call", "", refused),
        step("closed", "api_call", "closed", json!({"path": "x"})),
        step(
            "no-header",
            "api_call",
            "",
            json!({"url": format!("{}/ok", echo.url), "headers": {"X-A": "{{ secrets.PEM }}"}}),
        ),
        step("no-url", "api_call", "", json!({"url": "{{ secrets.PAYLOAD }}"})),
        step("hook", "trigger_webhook", "signed", json!({"text": "{{ secrets.PAYLOAD }}"})),
        step("chat", "send_notification", "chat", json!({"text": "hi {{ secrets.API_KEY }}"})),
        step("bad-chat", "send_notification", "bad-chat", json!({"text": "hi"})),
        step(
            "late",
            "api_call",
            "",
            json!({"url": format!("{}/ok", echo.url), "json": "{{ secrets.BEARER }} {{ trigger.missing }}"}),
        ),
    ]);
    steps
}

/// Everything that the tables hold, as text; on SQLite also the file with its log, as they are.
async fn tables(installation: &Installation) -> String {
    let list = match installation.database_url {
        Some(_) => {
            "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND has_table_privilege('core314_service', oid, 'SELECT')"
        }
        None => "SELECT name FROM sqlite_master WHERE type = 'table'",
    };
    let mut all = String::new();
    for table in installation.rows(list).await {
        let sql = match installation.database_url {
            Some(_) => format!("SELECT t::text FROM \"{table}\" t"),
            None => continue,
        };
        all.extend(installation.rows(&sql).await);
    }
    if installation.database_url.is_none() {
        for file in std::fs::read_dir(installation.data_dir()).expect("the data directory").flatten() {
            all.push_str(&String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()));
        }
    }
    assert!(all.len() > 10_000, "there is something to look through");
    all
}

/// Reads the live stream into a text for as long as the test lasts.
fn listen(server: &Server) -> Arc<Mutex<String>> {
    let heard = Arc::new(Mutex::new(String::new()));
    let (kept, http, url) = (heard.clone(), reqwest::Client::new(), server.url.clone());
    tokio::spawn(async move {
        let request = http.get(format!("{url}/api/v1/stream")).bearer_auth(SERVICE_KEY).header("X-User-Id", USER);
        let mut stream = request.send().await.expect("the stream opens");
        while let Ok(Some(chunk)) = stream.chunk().await {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&chunk));
        }
    });
    heard
}

/// Every list and row that the API has, and what the command line makes of them.
async fn answers(server: &Server, installation: &Installation) -> String {
    let mut all = String::new();
    for list in [
        "flows",
        "runs",
        "executions",
        "execution-log",
        "integrations",
        "secrets",
        "audit-log",
        "dead-letters",
        "notifications",
        "webhooks",
        "memory",
        "decisions",
        "recommendations",
        "metrics-data",
    ] {
        for row in server.all(&format!("/api/v1/{list}")).await {
            all.push_str(&row.to_string());
            let Some(id) = row["id"].as_str() else { continue };
            // Of a notification the list is all that is read.
            if list != "notifications" {
                all.push_str(&server.get(&format!("/api/v1/{list}/{id}")).await.to_string());
            }
            for part in if list == "runs" { &["why", "timeline", "undo-plan"][..] } else { &[] } {
                all.push_str(&server.get(&format!("/api/v1/{list}/{id}/{part}")).await.to_string());
            }
            for part in if list == "flows" { &["export", "versions"][..] } else { &[] } {
                let (_, text) =
                    server.request(Method::GET, &format!("/api/v1/flows/{id}/{part}"), None).await.expect("text");
                all.push_str(&text.to_string());
            }
        }
    }
    for words in [
        &["secret", "list", "-o", "json"][..],
        &["integration", "list", "-o", "json"],
        &["integration", "show", "bearer"],
    ] {
        let mut command = installation.command(words);
        let output = command.env("CORE314_SERVER", &server.url).env("CORE314_USER", USER).output().expect("it runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        all.push_str(&String::from_utf8_lossy(&output.stdout));
    }
    all
}

/// They were used: else there would be nothing to hide.
fn were_used(echo: &Echo) {
    for (path, sent) in [
        ("/ok/bearer", "authorization: Bearer pLaNtEd-bearer-0001"),
        ("/ok/basic", &format!("authorization: Basic {}", STANDARD.encode("robot:pLaNtEd pass/word+0002"))),
        ("/ok/key", "x-odd-name: pLaNtEd-api-key-0003"),
        ("/ok/query", "k=pLaNtEd+query%26key%3D0004"),
        ("/ok/payload", r#""note":"it is pLaNtEd \"payload\" 0005""#),
        ("/ok/payload", r"\npLaNtEdAAAABBBBCCCC0006\n"),
        ("/hook", "webhook-signature: v1,"),
        ("/services/pLaNtEd-hook-000000000010", "hi pLaNtEd-api-key-0003"),
        ("/ok/github/repos/a/b/issues", "authorization: Bearer pLaNtEd pass/word+0002"),
        ("/refuse/gitlab", "private-token: pLaNtEd pass/word+0002"),
        ("/ok/jira", &format!("authorization: Basic {}", STANDARD.encode("robot:pLaNtEd pass/word+0002"))),
        ("/refuse/linear", "authorization: pLaNtEd pass/word+0002"),
        ("/ok/slack/chat.postMessage", "authorization: Bearer pLaNtEd pass/word+0002"),
        ("/ok/pagerduty/v2/enqueue", r#""routing_key":"pLaNtEd pass/word+0002""#),
        (
            "/refuse/twilio",
            &format!("authorization: Basic {}", STANDARD.encode(format!("{ACCOUNT}:pLaNtEd pass/word+0002"))),
        ),
        ("/ok/sendgrid/v3/mail/send", "authorization: Bearer pLaNtEd pass/word+0002"),
        ("/refuse/openai/chat/completions", "authorization: Bearer pLaNtEd pass/word+0002"),
    ] {
        let received = echo.received(path);
        assert!(received.contains(sent), "{path} got no '{sent}': {received}");
    }
    more::were_used(echo);
}

async fn nothing_is_to_be_seen(kind: StoreKind) {
    let echo = Echo::start();
    let collector = Echo::start();
    let more = [
        ("CORE314_LOG", "debug,core314=trace,core314_actors=trace".to_owned()),
        ("CORE314__TELEMETRY__OTLP_ENDPOINT", collector.url.clone()),
        // Messages have links only then.
        ("CORE314__HTTP__PUBLIC_URL", "https://core.example".to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__PROGRAMS", "ops/cat=/bin/cat,ops/env=/usr/bin/env".to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__ALLOW_ALL_TENANTS", "true".to_owned()),
        ("CORE314__EXECUTORS__COMMANDS__ALLOWED_ENVIRONMENT", "TOKEN".to_owned()),
    ];
    let (installation, server) = start_with(kind, &more).await;
    plant(&server, &echo).await;
    let heard = listen(&server);
    let steps = [steps(&echo), more::steps()].concat();
    let count = steps.len();
    let log = run(&server, "planted", steps, json!({})).await;
    assert_eq!(log.len(), count, "each step has one attempt: {log:?}");

    were_used(&echo);
    let hidden = [traces(), more::proofs(&server, &echo).await].concat();
    let assert_clean = |what: &str, text: &str| assert_clean(&hidden, what, text);
    let of = |step: usize| &log[step];
    assert_eq!(of(0)["execution_status"], "completed", "{}", of(0));
    assert!(of(0)["execution_result"].to_string().contains("[redacted]"), "{}", of(0));
    assert!(of(1)["execution_error"].as_str().expect("words").starts_with("400"), "{}", of(1));

    for row in &log {
        // What a program has read and was given comes back in its output.
        let is_program = row["action_type"] == "run_command";
        assert!(!is_program || row["execution_result"].to_string().contains("[redacted]"), "{row}");
        assert_clean("the log", &row.to_string());
    }
    assert_clean("an answer", &answers(&server, &installation).await);
    assert_clean("what is said of failures", &more::answers(&server).await);
    assert_clean("the metrics", &server.get_text("/metrics").await);
    assert_clean("the tables", &tables(&installation).await);
    let started = Instant::now();
    while !heard.lock().unwrap_or_else(PoisonError::into_inner).contains("completed") {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing came by the stream");
        tokio::task::yield_now().await;
    }
    assert_clean("the stream", &heard.lock().unwrap_or_else(PoisonError::into_inner));
    while collector.received("/v1/traces").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(30), "no span came");
        tokio::task::yield_now().await;
    }
    assert_clean("the traces", &collector.received("/v1/traces"));
    let lines = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("a log file");
    assert!(lines.len() > 1_000, "the server says something");
    assert_clean("the server's own log", &lines);
}

#[tokio::test]
async fn a_planted_secret_is_nowhere_on_sqlite() {
    nothing_is_to_be_seen(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_planted_secret_is_nowhere_on_postgres() {
    nothing_is_to_be_seen(StoreKind::Postgres).await;
}
