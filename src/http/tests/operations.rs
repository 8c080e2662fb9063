//! What those who run the process see, and the server on a real socket.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use core314_actors::testkit::memory_positions::MemoryPositions;
use serde_json::json;

use super::support::{KEY, Server, USER, flow_document, platform};
use crate::http::{Api, AuthSettings, HttpSettings, KeyDigest, serve};
use crate::vault::Vault;

#[actix_web::test]
async fn a_whole_process_is_alive_and_ready_and_an_ended_one_says_what_is_missing() {
    let server = Server::start().await;
    assert_eq!(server.send(TestRequest::with_uri("/healthz")).await.status, StatusCode::OK);
    // Actors begin on threads of their own; a run that was accepted went through all of them.
    server.flow(&flow_document("orders")).await;
    assert_eq!(server.post("/api/v1/flows/orders/trigger", &json!({})).await.status, StatusCode::ACCEPTED);
    let ready = server.send(TestRequest::with_uri("/readyz")).await;
    assert_eq!((ready.status, &ready.json()["ready"]), (StatusCode::OK, &json!(true)), "{}", ready.text);
    server.engine.stop().await;
    let ended = server.send(TestRequest::with_uri("/readyz")).await;
    assert_eq!(ended.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ended.json()["parts"][0]["ready"], true);
    assert_eq!(
        ended.json()["parts"][1],
        json!({"name": "actors", "ready": false, "detail": "the commit writer is down"})
    );
    assert_eq!(server.send(TestRequest::with_uri("/healthz")).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_runtime_that_is_stopping_asks_to_come_back() {
    let server = Server::start().await;
    let id = server.flow(&flow_document("orders")).await;
    server.engine.stop().await;
    let answer = server.post(&format!("/api/v1/flows/{id}/trigger"), &json!({})).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    let unsaved = server.post("/api/v1/flows", &flow_document("other")).await;
    assert_eq!(unsaved.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unsaved.text);
    assert!(!unsaved.header("retry-after").is_empty());
}

#[actix_web::test]
async fn metrics_count_and_have_no_label_that_a_client_can_make() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    server.post("/api/v1/flows/orders/trigger", &json!({})).await;
    server.send(TestRequest::with_uri("/made-up/by-client")).await;
    let beyond = TestRequest::with_uri("/metrics").peer_addr("192.0.2.1:9".parse().unwrap());
    assert_eq!(server.send(beyond).await.status, StatusCode::UNAUTHORIZED);
    let here = TestRequest::with_uri("/metrics").peer_addr("127.0.0.1:9".parse().unwrap());
    let text = server.send(here).await.text;
    for line in [
        "core314_runs_accepted_total 1",
        "core314_http_requests_total{route=\"/api/v1/flows/{flow}/trigger\",method=\"POST\",status=\"2xx\"} 1",
        "core314_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"4xx\"} 1",
        "core314_actors{kind=\"queue_partition\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
    }
    assert!(!text.contains("made-up"));
}

#[actix_web::test]
async fn the_tree_is_for_the_platform() {
    let server = Server::start().await;
    let page = server.send(platform(Method::GET, "/api/v1/actors?kind=queue_partition")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let path = page.json()["items"][0]["path"].as_str().unwrap().to_owned();
    let restart = server.send(platform(Method::POST, &format!("/api/v1/actors/{path}/restart"))).await;
    assert_eq!((restart.status, &restart.json()["path"]), (StatusCode::ACCEPTED, &json!(path)), "{}", restart.text);
    let none = server.send(platform(Method::POST, "/api/v1/actors/core314/none/restart")).await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
    let for_user = platform(Method::GET, "/api/v1/actors").insert_header(("X-User-Id", USER.to_string()));
    assert_eq!(server.send(for_user).await.status, StatusCode::FORBIDDEN);
    assert_eq!(server.get("/api/v1/actors").await.status, StatusCode::FORBIDDEN);
}

/// Sends raw bytes and reads until the server closes.
fn raw(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[actix_web::test]
async fn a_socket_is_served_bounded_and_let_go() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let running = serve(
        Api {
            certificate: None,
            dropped_spans: None,
            engine: server.engine.clone(),
            vault: Vault::new(None),
            views: server.views.clone(),
            notifications: server.inbox.clone(),
            syncs: Arc::new(MemoryPositions::default()),
            settings: HttpSettings {
                workers: 1,
                header_timeout_ms: 1_000,
                body_timeout_ms: 100,
                ..HttpSettings::default()
            },
            auth: AuthSettings { service_key_sha256: vec![KeyDigest::of(KEY)], ..AuthSettings::default() },
        },
        listener,
        None,
    )
    .unwrap();
    let handle = running.handle();
    let server_task = actix_web::rt::spawn(running);
    let answers = tokio::task::spawn_blocking(move || {
        let slow_body = format!(
            "POST /api/v1/flows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nX-User-Id: {USER}\r\nContent-Length: 9\r\n\r\n{{"
        );
        [
            raw(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            raw(address, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            raw(address, b"OPTIONS /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            raw(address, b"\x16\x03\x01 this is no HTTP\r\n\r\n"),
            raw(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n"),
            raw(address, slow_body.as_bytes()),
        ]
    });
    let [good, head, options, garbage, slow_head, slow_body] = answers.await.unwrap();
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with(r#"{"status":"alive"}"#), "{good}");
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "no body: {head}");
    assert!(head.contains("content-length: 18\r\n"), "the length that GET's would have: {head}");
    assert!(options.starts_with("HTTP/1.1 204") && options.contains("allow: GET, HEAD, OPTIONS\r\n"), "{options}");
    assert!(garbage.starts_with("HTTP/1.1 400"), "{garbage}");
    assert!(slow_head.starts_with("HTTP/1.1 408"), "{slow_head}");
    assert!(slow_body.starts_with("HTTP/1.1 408") && slow_body.contains("request_timeout"), "{slow_body}");
    handle.stop(true).await;
    server_task.await.unwrap().unwrap();
}
