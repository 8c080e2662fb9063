//! The receiver, by the executors that it exists for.

use core314::receiver;
use serde_json::json;

use super::{AMPLE, assert_failed, attempt, call, executor, failure, output};

#[tokio::test]
async fn it_records_the_last_requests_newest_first() {
    let receiver = receiver::start(0, 2).expect("a free port");
    for n in 0..3 {
        let payload = json!({"url": format!("{}/hook?n={n}", receiver.url()), "n": n});
        let performed = executor("trigger_webhook").execute(attempt(payload, AMPLE)).await;
        assert_eq!(output(&performed)["body"], json!({"received": true}));
    }
    assert_eq!(receiver.total(), 3);
    let last = receiver.received(10);
    let seen: Vec<_> = last.iter().map(|r| (r.method.as_str(), r.path.as_str(), r.body.clone())).collect();
    assert_eq!(seen, [("POST", "/hook?n=2", json!({"n": 2})), ("POST", "/hook?n=1", json!({"n": 1}))]);
    assert_eq!(last[0].same_idempotency_key, Some(2));
    assert_eq!(last[0].headers["content-type"], json!("application/json"));

    let listed = call(json!({"url": format!("{}/received", receiver.url()), "query": {"limit": 1}})).await;
    let body = &output(&listed)["body"];
    assert_eq!((&body["total"], body["items"].as_array().map(Vec::len)), (&json!(3), Some(1)));
    assert_eq!(body["items"][0]["path"], json!("/hook?n=2"));
    let at = body["items"][0]["received_at"].as_str().expect("a text");
    assert!(chrono::DateTime::parse_from_rfc3339(at).is_ok(), "{at}");
    assert_eq!(receiver.total(), 3, "a look is not recorded");
}

#[tokio::test]
async fn it_answers_with_the_status_that_is_asked_for() {
    let receiver = receiver::start(0, 10).expect("a free port");
    let status = |path: &str| {
        call(json!({"method": "PUT", "url": format!("{}/status/{path}", receiver.url()), "body": "no json"}))
    };
    let performed = status("429?retry_after=3").await;
    assert_failed(&performed, "rate_limited", true);
    assert_eq!(failure(&performed).retry_after_ms, Some(3_000));
    assert_failed(&status("500").await, "http_status", true);
    output(&status("204").await);
    for wrong in ["99", "101"] {
        assert_eq!(failure(&status(wrong).await).details, Some(json!({"status": 400})), "{wrong}");
    }
    assert_eq!(receiver.total(), 5);
    assert_eq!((&receiver.received(1)[0].body, receiver.received(0).len()), (&json!("no json"), 0));
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    let error = receiver::start(port, 1).expect_err("the port is taken");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}
