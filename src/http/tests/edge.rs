//! What stands between a client and the handlers: proxies, other origins, limits.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use serde_json::json;

use super::support::{Server, admin};
use crate::http::HttpSettings;

fn from(peer: &str, request: TestRequest) -> TestRequest {
    request.peer_addr(format!("{peer}:4711").parse().unwrap())
}

#[actix_web::test]
async fn a_trusted_proxy_says_how_the_client_came_and_a_stranger_does_not() {
    let settings = HttpSettings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Server::settings() };
    let server = Server::start_with(settings).await;
    for (peer, url, is_secure) in
        [("10.0.0.1", "https://core.example/hooks/", true), ("192.0.2.1", "http://inner/hooks/", false)]
    {
        let request = admin(Method::POST, "/api/v1/webhooks")
            .insert_header(("Host", "inner"))
            .insert_header(("X-Forwarded-For", "203.0.113.9"))
            .insert_header(("X-Forwarded-Proto", "https"))
            .insert_header(("X-Forwarded-Host", "core.example"))
            .set_payload(json!({"name": peer, "trigger_type": "webhook"}).to_string());
        let answer = server.send(from(peer, request)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        assert!(answer.json()["url"].as_str().unwrap().starts_with(url), "{}", answer.text);
        let insists = answer.header("strict-transport-security") == "max-age=31536000";
        assert_eq!(insists, is_secure, "browsers are told where they speak TLS, be it with the proxy");
    }
}

#[actix_web::test]
async fn metrics_are_for_this_machine_unless_they_are_for_everybody() {
    let server = Server::start().await;
    let status = async |server: &Server, peer: &str, forwarded: bool| {
        let request = from(peer, TestRequest::with_uri("/metrics"));
        let request = if forwarded { request.insert_header(("X-Forwarded-For", "127.0.0.1")) } else { request };
        server.send(request).await.status
    };
    assert_eq!(status(&server, "127.0.0.1", false).await, StatusCode::OK);
    assert_eq!(status(&server, "127.0.0.1", true).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&server, "192.0.2.1", true).await, StatusCode::UNAUTHORIZED);
    let open = Server::start_with(HttpSettings { metrics_public: true, ..Server::settings() }).await;
    assert_eq!(status(&open, "192.0.2.1", false).await, StatusCode::OK);
}
