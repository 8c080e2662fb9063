//! `api_call` over the wire: what is sent, what comes back, and what goes wrong on the way.

use serde_json::json;

use super::server::{Answer, Server, response};
use super::{AMPLE, SHORT, assert_failed, attempt, call, executor, failure, output};

#[tokio::test]
async fn a_request_is_sent_as_described_and_its_answer_returned() {
    let mut server = Server::start().await;
    server.answer("201 Created", "Content-Type: application/json\r\nX-Id: 7\r\n", r#"{"id":7}"#);
    let performed = call(json!({
        "method": "post", "url": format!("{}/a?b=1", server.url), "query": {"c": "ä"},
        "headers": {"X-A": "1", "Authorization": "Bearer planted-token"}, "json": {"x": [1, null]},
    }))
    .await;
    let heard = server.next().await;
    assert_eq!(heard.line, "POST /a?b=1&c=%C3%A4 HTTP/1.1");
    assert_eq!(heard.body, br#"{"x":[1,null]}"#);
    for (name, value) in [("x-a", "1"), ("authorization", "Bearer planted-token"), ("content-type", "application/json")]
    {
        assert_eq!(heard.header(name), Some(value));
    }
    let output = output(&performed);
    assert_eq!(
        (&output["status"], &output["body"], &output["headers"]["x-id"]),
        (&json!(201), &json!({"id": 7}), &json!("7"))
    );
    let http = performed.http.expect("figures");
    assert_eq!((http.method.as_str(), http.endpoint), ("POST", format!("{}/a", server.url)));
    assert_eq!((http.status_code, http.request_bytes, http.response_bytes), (Some(201), Some(14), Some(8)));
    assert!(http.response_time_ms.is_some());
    assert_eq!(performed.logged_payload["headers"], json!({"X-A": "1", "Authorization": "[redacted]"}));
}

#[tokio::test]
async fn forms_and_texts_arrive() {
    let mut server = Server::start().await;
    server.answer("200 OK", "", "").answer("200 OK", "", "");
    call(json!({"method": "PUT", "url": server.url, "form": {"a": "1 2", "b": ["x", "y"]}})).await;
    let heard = server.next().await;
    assert_eq!((heard.line.as_str(), heard.body.as_slice()), ("PUT / HTTP/1.1", &b"a=1+2&b=x&b=y"[..]));
    assert_eq!(heard.header("content-type"), Some("application/x-www-form-urlencoded"));
    let performed = call(json!({"method": "PROPFIND", "url": server.url, "body": "hällo"})).await;
    let heard = server.next().await;
    assert_eq!((heard.line.as_str(), heard.body.as_slice()), ("PROPFIND / HTTP/1.1", "hällo".as_bytes()));
    assert_eq!(output(&performed)["body"], json!(null));
}

#[tokio::test]
async fn a_body_that_is_not_utf_8_comes_as_base64() {
    let server = Server::start().await;
    server.answer("200 OK", "Content-Type: application/json\r\n", b"\xff\x00");
    let performed = call(json!({"url": server.url})).await;
    assert_eq!((&output(&performed)["body"], &output(&performed)["encoding"]), (&json!("/wA="), &json!("base64")));
}

#[tokio::test]
async fn the_key_is_the_same_in_all_attempts_unless_the_payload_has_one() {
    let mut server = Server::start().await;
    server.answer("500 No", "", "").answer("200 OK", "", "").answer("200 OK", "", "");
    let mut first = attempt(json!({"url": server.url}), AMPLE);
    assert_failed(&executor("api_call").execute(first.clone()).await, "http_status", true);
    first.attempt = 1;
    output(&executor("api_call").execute(first.clone()).await);
    call(json!({"url": server.url, "headers": {"idempotency-KEY": "mine"}})).await;
    let mut key = async || server.next().await.header("idempotency-key").map(str::to_owned);
    let expected = Some(first.execution.to_string());
    assert_eq!((key().await, key().await, key().await), (expected.clone(), expected, Some("mine".to_owned())));
}

#[tokio::test]
async fn an_expected_status_is_a_success_and_no_other() {
    let server = Server::start().await;
    server.answer("404 Not Found", "", "gone").answer("200 OK", "", "");
    let performed = call(json!({"url": server.url, "expected_status": ["3xx", 404]})).await;
    assert_eq!((&output(&performed)["status"], &output(&performed)["body"]), (&json!(404), &json!("gone")));
    let performed = call(json!({"url": server.url, "expected_status": ["3xx", 404]})).await;
    assert_failed(&performed, "http_status", false);
}

#[tokio::test]
async fn a_wish_for_patience_is_heard_and_bounded() {
    let server = Server::start().await;
    server
        .answer("429 Slow Down", "Retry-After: 7\r\n", "later")
        .answer("503 Busy", "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:07 GMT\r\n", "")
        .answer("429 Slow Down", "Retry-After: 864000\r\n", "");
    for (code, retry_after_ms) in [("rate_limited", 7_000), ("http_status", 30_000), ("rate_limited", 3_600_000)] {
        let performed = call(json!({"url": server.url})).await;
        assert_failed(&performed, code, true);
        assert_eq!(failure(&performed).retry_after_ms, Some(retry_after_ms));
    }
}

#[tokio::test]
async fn the_other_sides_words_come_back_without_secrets() {
    let server = Server::start().await;
    server.then(Answer::Echo("400 Bad Request")).then(Answer::Echo("200 OK"));
    let payload = json!({
        "url": server.url, "query": {"access_token": "planted-query"},
        "headers": {"X-Api-Key": "planted-key", "Cookie": "planted-cookie=1"},
        "json": {"password": "planted password"},
    });
    for is_success in [false, true] {
        let performed = call(payload.clone()).await;
        let seen = format!("{performed:?}");
        assert!(!seen.contains("planted"), "{seen}");
        if is_success {
            assert!(output(&performed)["body"].as_str().expect("a text").contains("x-api-key: [redacted]"));
        } else {
            let message = &failure(&performed).message;
            assert!(message.starts_with("400 Bad Request: GET /?access_token=[redacted] HTTP/1.1"), "{message}");
            assert!(message.chars().count() <= 500 && !message.contains(char::is_control), "{message}");
        }
    }
}

#[tokio::test]
async fn no_answer_and_half_an_answer_end_with_the_attempts_time() {
    let mut server = Server::start().await;
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec();
    server.then(Answer::Silence(vec![])).then(Answer::Silence(half));
    for status in [None, Some(200)] {
        let performed = executor("api_call").execute(attempt(json!({"url": server.url}), SHORT)).await;
        assert_failed(&performed, "timeout", true);
        assert_eq!(failure(&performed).message, "no answer within 50 ms");
        // Where the machine is slow, the time may pass before the half answer is read.
        let seen = performed.http.expect("figures").status_code;
        assert!(seen == status || seen.is_none(), "{seen:?}");
        server.next().await;
        server.hung_up().await;
    }
}

#[tokio::test]
async fn dropping_the_attempt_hangs_up() {
    let mut server = Server::start().await;
    server.then(Answer::Silence(vec![]));
    let running = tokio::spawn(executor("api_call").execute(attempt(json!({"url": server.url}), AMPLE)));
    server.next().await;
    running.abort();
    server.hung_up().await;
}

#[tokio::test]
async fn a_response_over_the_limit_is_not_read() {
    let server = Server::start().await;
    let endless = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "1000\r\n".to_owned() + &"x".repeat(4_096) + "\r\n"
    );
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4_096));
    server
        .answer("200 OK", "", vec![b'x'; 10_000])
        .answer("200 OK", "", vec![b'x'; 10_001])
        .then(Answer::Silence((endless + &chunk + &chunk).into_bytes()));
    assert_eq!(output(&call(json!({"url": server.url})).await)["body"].as_str().map(str::len), Some(10_000));
    for _ in 0..2 {
        let performed = call(json!({"url": server.url})).await;
        assert_failed(&performed, "response_too_large", false);
        assert_eq!(failure(&performed).message, "the response has more than 10000 bytes");
    }
}

#[tokio::test]
async fn a_request_over_the_limits_is_not_sent() {
    let mut server = Server::start().await;
    let many: serde_json::Map<_, _> = (0..21).map(|n| (format!("X-{n}"), json!(n))).collect();
    for payload in [
        json!({"url": server.url, "body": "x".repeat(10_001)}),
        json!({"url": server.url, "headers": many}),
        json!({"url": server.url, "headers": {"X-A": "a\nb"}}),
        json!({"url": "not a url"}),
        json!({"url": server.url, "boddy": 1}),
    ] {
        let performed = call(payload).await;
        assert_failed(&performed, "invalid_payload", false);
    }
    assert!(server.is_quiet());
}

#[tokio::test]
async fn too_many_response_headers_are_refused() {
    let server = Server::start().await;
    server.answer("200 OK", &"x-a: 1\r\n".repeat(30), "");
    assert_failed(&call(json!({"url": server.url})).await, "protocol", true);
}

#[tokio::test]
async fn connections_that_fail_may_be_tried_again() {
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let performed = call(json!({"url": format!("http://{free}/")})).await;
    assert_failed(&performed, "connect", true);
    assert!(failure(&performed).message.contains("refused"), "{:?}", failure(&performed));
    assert_failed(&call(json!({"url": "http://name.invalid/"})).await, "connect", true);
    let server = Server::start().await;
    server
        .then(Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec()))
        .then(Answer::Bytes(b"SSH-2.0-OpenSSH\r\n".to_vec()))
        .then(Answer::Bytes(vec![]));
    for what in ["a body cut short", "another protocol", "nothing at all"] {
        let performed = call(json!({"url": server.url})).await;
        let failure = failure(&performed);
        assert!(failure.retryable && ["protocol", "connect"].contains(&failure.code.as_str()), "{what}: {failure:?}");
    }
}

#[tokio::test]
async fn a_redirect_within_an_origin_keeps_everything() {
    let mut server = Server::start().await;
    server.answer("307 Again", "Location: /b\r\n", "").answer("200 OK", "", "there");
    let performed = call(
        json!({"method": "POST", "url": format!("{}/a", server.url), "headers": {"Authorization": "x y"}, "json": 1}),
    )
    .await;
    assert_eq!(output(&performed)["body"], json!("there"));
    server.next().await;
    let heard = server.next().await;
    assert_eq!((heard.line.as_str(), heard.body.as_slice()), ("POST /b HTTP/1.1", &b"1"[..]));
    assert_eq!(heard.header("authorization"), Some("x y"));
    let http = performed.http.expect("figures");
    assert_eq!((http.endpoint, http.status_code), (format!("{}/a", server.url), Some(200)));
}

#[tokio::test]
async fn a_redirect_to_another_origin_loses_secrets() {
    let mut first = Server::start().await;
    let mut second = Server::start().await;
    let host = second.url.trim_start_matches("http://");
    first.answer("303 See Other", &format!("Location: http://joe:pw@{host}/b\r\n"), "");
    second.answer("200 OK", "", "");
    let url = first.url.replace("http://", "http://user:planted@") + "/a";
    let headers = json!({"Cookie": "a=1", "X-Api-Key": "k", "X-Plain": "p"});
    let performed = call(json!({"method": "POST", "url": url, "headers": headers, "json": 1})).await;
    output(&performed);
    let heard = first.next().await;
    assert_eq!(heard.header("authorization"), Some("Basic dXNlcjpwbGFudGVk"));
    let heard = second.next().await;
    assert_eq!((heard.line.as_str(), heard.body.len()), ("GET /b HTTP/1.1", 0));
    for name in ["authorization", "cookie", "x-api-key", "content-type", "content-length"] {
        assert_eq!(heard.header(name), None, "{name}");
    }
    assert_eq!(heard.header("x-plain"), Some("p"));
    assert!(heard.header("idempotency-key").is_some());
    assert!(!format!("{performed:?}").contains("planted"));
}

#[tokio::test]
async fn redirects_end() {
    let mut server = Server::start().await;
    for _ in 0..4 {
        server.answer("302 Found", "Location: /again\r\n", "");
    }
    let performed = call(json!({"url": server.url})).await;
    assert_failed(&performed, "redirect", false);
    assert_eq!(failure(&performed).message, "more than 3 redirects");
    for _ in 0..4 {
        server.next().await;
    }
    assert!(server.is_quiet());
    server.answer("302 Found", "", "").answer("302 Found", "Location: http://[\r\n", "");
    for _ in 0..2 {
        assert_failed(&call(json!({"url": server.url})).await, "redirect", false);
    }
    server.then(Answer::Bytes(response("302 Found", "Location: /x\r\n", b"here")));
    let performed = call(json!({"url": server.url, "expected_status": 302})).await;
    assert_eq!(output(&performed)["headers"]["location"], json!("/x"));
}
