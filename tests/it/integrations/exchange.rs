//! Ways of authentication beyond a header, answers in pages, and bodies of parts, by the real binary against a service that
//! holds to the protocols.

use std::sync::atomic::Ordering;

use reqwest::Method;
use serde_json::{Value, json};

use super::provider::{CLIENT_SECRET, Provider, REFRESH_TOKEN};
use super::{done, run, secret, start, start_with, step};
use crate::support::StoreKind;

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn oauth(provider: &Provider, name: &str, more: Value, credentials: Value) -> Value {
    let mut settings = json!({"auth": "oauth2", "token_url": format!("{}/token", provider.url), "client_id": "robot"});
    settings.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({"name": name, "kind": "http", "endpoint": provider.url, "settings": settings, "credentials": credentials})
}

async fn add(server: &crate::support::Server, body: Value) {
    done(server, Method::POST, "/api/v1/integrations", body).await;
}

async fn tokens_are_shared_and_renewed(kind: StoreKind) {
    let more = [("CORE314_LOG", "debug,core314=trace,core314_actors=trace".to_owned())];
    let (installation, server) = start_with(kind, &more).await;
    let provider = Provider::start();
    secret(&server, "CLIENT", CLIENT_SECRET).await;
    let client = || json!({"client_secret": "secrets.CLIENT"});
    add(&server, oauth(&provider, "crm", json!({"scope": "read write"}), client())).await;

    // Ten calls at once, one token.
    let steps = |from: usize| {
        (from..from + 10).map(|n| step(&format!("s{n}"), "api_call", "crm", json!({"path": "private"}))).collect()
    };
    let together = |name: &str, from: usize| {
        let steps: Vec<Value> = steps(from);
        json!({"flow_name": name, "trigger_type": "manual", "execution_mode": "parallel", "flow_steps": steps})
    };
    let log = super::run_flow(&server, together("together", 0), json!({})).await;
    assert!(log.iter().all(|row| row["execution_status"] == "completed"), "{log:?}");
    assert_eq!((log.len(), provider.given.load(Ordering::SeqCst)), (10, 1));

    // A token that is refused is got anew, once for all of them.
    provider.is_strict.store(2, Ordering::SeqCst);
    let log = super::run_flow(&server, together("revoked", 10), json!({})).await;
    assert!(log.iter().all(|row| row["execution_status"] == "completed"), "{log:?}");
    assert_eq!(provider.given.load(Ordering::SeqCst), 2);

    // One that is about to end is not used: so none of these is used twice.
    provider.expires_in.store(1, Ordering::SeqCst);
    add(&server, oauth(&provider, "short", json!({"scope": "read write", "client_auth": "body"}), client())).await;
    let twice = |name: &str| {
        vec![
            step("a", "api_call", name, json!({"path": "private"})),
            step("b", "api_call", name, json!({"path": "private"})),
        ]
    };
    let log = run(&server, "short", twice("short"), json!({})).await;
    assert!(log.iter().all(|row| row["execution_status"] == "completed"), "{log:?}");
    assert_eq!(provider.given.load(Ordering::SeqCst), 4);

    // With a refresh token, of a client without a secret.
    provider.expires_in.store(3_600, Ordering::SeqCst);
    secret(&server, "REFRESH", REFRESH_TOKEN).await;
    add(&server, oauth(&provider, "mine", json!({}), json!({"refresh_token": "secrets.REFRESH"}))).await;
    let log = run(&server, "mine", twice("mine"), json!({})).await;
    assert!(log.iter().all(|row| row["execution_status"] == "completed"), "{log:?}");
    assert_eq!(provider.given.load(Ordering::SeqCst), 5);

    // What opens nothing is said in the service's words, and final.
    secret(&server, "WRONG", "another-client-secret").await;
    add(&server, oauth(&provider, "wrong", json!({"scope": "read write"}), json!({"client_secret": "secrets.WRONG"})))
        .await;
    let log = run(&server, "wrong", twice("wrong"), json!({})).await;
    assert_eq!(log[0]["execution_error_code"], "token_refused", "{log:?}");
    let words = log[0]["execution_error"].as_str().expect("words");
    assert!(words.contains("invalid_client") && words.contains("so says the provider"), "{words}");

    // The service repeats the token, and it is nowhere to be seen.
    let all = server.all("/api/v1/execution-log").await;
    let shown: String = all.iter().map(Value::to_string).collect();
    let lines = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("a log file");
    assert!(shown.contains("[redacted]"), "{shown}");
    for text in [&shown, &lines] {
        for trace in
            ["access-token-number", CLIENT_SECRET, REFRESH_TOKEN, "another-client-secret", "client-secret%2F0001"]
        {
            assert!(!text.contains(trace), "{trace} is to be seen");
        }
    }
}

async fn pages_parts_and_signatures(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let provider = Provider::start();
    add(&server, json!({"name": "api", "kind": "http", "endpoint": provider.url})).await;
    secret(&server, "ID", "AKIDEXAMPLE0001").await;
    secret(&server, "KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").await;
    add(
        &server,
        json!({"name": "aws", "kind": "http", "endpoint": provider.url,
        "settings": {"auth": "aws_sigv4", "region": "eu-west-1", "service": "execute-api"},
        "credentials": {"access_key_id": "secrets.ID", "secret_access_key": "secrets.KEY"}}),
    )
    .await;
    let pages = |paging: Value| json!({"path": "pages", "paging": paging});
    let steps = vec![
        step("link", "api_call", "api", pages(json!({"by": "link_header", "items": "/data"}))),
        step(
            "cursor",
            "api_call",
            "api",
            pages(
                json!({"by": "cursor", "items": "/data", "next": "/meta/cursor", "parameter": "page", "max_pages": 2}),
            ),
        ),
        step("count", "api_call", "api", pages(json!({"by": "page", "items": "/data"}))),
        step(
            "value",
            "api_call",
            "api",
            json!({"path": "pages", "extract": {"first": "/data/0/n", "next": "/meta/cursor"}}),
        ),
        step("nothing", "api_call", "api", json!({"path": "pages", "extract": {"first": "/data/9/n"}})),
        step(
            "parts",
            "api_call",
            "api",
            json!({"path": "upload", "method": "POST",
            "multipart": {"note": "from {{ trigger.who }}", "file": {"filename": "a.txt", "content_type": "text/plain", "text": "hello"}}}),
        ),
        step("signed", "api_call", "aws", json!({"path": "signed", "query": {"q": "a b"}})),
    ];
    let log = run(&server, "exchange", steps, json!({"who": "here"})).await;
    let result = |step: usize| &log[step]["execution_result"];
    let numbers = |step: usize| {
        let items = result(step)["body"].as_array().unwrap_or_else(|| panic!("{}", log[step]));
        items.iter().map(|item| item["n"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!((numbers(0), &result(0)["pages"], &result(0)["next"]), ((0..7).collect(), &json!(4), &Value::Null));
    assert_eq!((numbers(1), &result(1)["pages"]), ((0..4).collect(), &json!(2)));
    assert!(result(1)["next"].as_str().expect("where it stopped").ends_with("/pages?page=3"), "{}", log[1]);
    assert_eq!((numbers(2), &result(2)["pages"]), ((0..7).collect(), &json!(5)), "the fifth page is empty");
    assert_eq!((&result(3)["values"], &result(3)["body"]), (&json!({"first": 0, "next": 2}), &Value::Null));
    assert_eq!(log[4]["execution_error_code"], "unexpected_answer", "{}", log[4]);

    let (_, headers, body) = provider.received("/upload").remove(0);
    let boundary = headers["content-type"].strip_prefix("multipart/form-data; boundary=").expect("parts").to_owned();
    let body = String::from_utf8(body).expect("text");
    assert!(body.starts_with(&format!("--{boundary}\r\n")) && body.ends_with(&format!("--{boundary}--\r\n")), "{body}");
    assert!(body.contains("name=\"note\"\r\n\r\nfrom here\r\n"), "{body}");
    assert!(body.contains("name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nhello\r\n"), "{body}");

    let (line, headers, _) = provider.received("/signed").remove(0);
    assert_eq!(line, "GET /signed?q=a%20b");
    let day = &headers["x-amz-date"][..8];
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE0001/{day}/eu-west-1/execute-api/aws4_request, SignedHeaders=host;idempotency-key;traceparent;x-amz-date, Signature="
    );
    let authorization = &headers["authorization"];
    assert!(authorization.starts_with(&scope) && authorization.len() == scope.len() + 64, "{authorization}");
}

#[tokio::test]
async fn tokens_are_shared_and_renewed_on_sqlite() {
    tokens_are_shared_and_renewed(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn tokens_are_shared_and_renewed_on_postgres() {
    tokens_are_shared_and_renewed(StoreKind::Postgres).await;
}

#[tokio::test]
async fn pages_parts_and_signatures_arrive() {
    pages_parts_and_signatures(StoreKind::Sqlite).await;
}
