//! What stands between a client and the handlers: proxies, other origins, limits.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use serde_json::json;

use super::support::{STRANGER, Server, USER, admin, bearing, platform, token};
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

/// A server that lets pages of one origin in.
async fn open_to(origin: &str) -> Server {
    Server::start_with(HttpSettings { cors_origins: vec![origin.to_owned()], ..Server::settings() }).await
}

fn preflight(origin: &str, uri: &str) -> TestRequest {
    TestRequest::with_uri(uri)
        .method(Method::OPTIONS)
        .insert_header(("Origin", origin.to_owned()))
        .insert_header(("Access-Control-Request-Method", "POST"))
        .insert_header(("Access-Control-Request-Headers", "authorization,content-type"))
}

#[actix_web::test]
async fn a_page_of_an_allowed_origin_may_send_and_read_and_no_other_may() {
    let server = open_to("https://app.example").await;
    let asked = server.send(preflight("https://app.example", "/api/v1/flows/x/trigger")).await;
    assert_eq!((asked.status, asked.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(asked.header("access-control-allow-origin"), "https://app.example");
    assert!(asked.header("access-control-allow-methods").split(", ").any(|method| method == "POST"));
    let sent = asked.header("access-control-allow-headers").to_ascii_lowercase();
    for name in ["authorization", "content-type", "idempotency-key", "if-match", "prefer", "x-user-id", "traceparent"] {
        assert!(sent.split(", ").any(|known| known == name), "{name} is missing in {sent}");
    }
    assert_eq!((asked.header("vary"), asked.header("access-control-allow-credentials")), ("Origin", ""));

    for uri in ["/api/v1/flows", "/api/v1/none"] {
        let answer = server.send(admin(Method::GET, uri).insert_header(("Origin", "https://app.example"))).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://app.example",
            "{uri}: errors can be read too"
        );
        assert!(answer.header("access-control-expose-headers").contains("X-Request-Id"));
        let stranger = server.send(admin(Method::GET, uri).insert_header(("Origin", "https://evil.example"))).await;
        assert_eq!((stranger.header("access-control-allow-origin"), stranger.header("vary")), ("", "Origin"));
    }
    let stranger = server.send(preflight("https://evil.example", "/api/v1/flows")).await;
    assert_eq!(stranger.header("access-control-allow-origin"), "");
    assert_eq!(stranger.header("access-control-allow-headers"), "");
    let closed = Server::start().await.send(preflight("https://app.example", "/api/v1/flows")).await;
    assert_eq!((closed.header("access-control-allow-origin"), closed.header("vary")), ("", ""), "none by default");
}

#[actix_web::test]
async fn options_name_what_is_possible_and_head_is_get_without_a_body() {
    let server = Server::start().await;
    let at = |uri: &str| TestRequest::with_uri(uri).method(Method::OPTIONS);
    let flows = server.send(at("/api/v1/flows")).await;
    assert_eq!((flows.status, flows.header("allow")), (StatusCode::NO_CONTENT, "GET, HEAD, POST, OPTIONS"));
    assert!(!flows.header("x-request-id").is_empty());
    assert_eq!(server.send(at("/api/v1/none")).await.status, StatusCode::NOT_FOUND);
    let put = server.send(TestRequest::with_uri("/healthz").method(Method::PUT)).await;
    assert_eq!((put.status, put.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS"));
    let head = server.send(admin(Method::HEAD, "/api/v1/flows")).await;
    assert_eq!(head.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_tenant_that_asks_too_often_is_slowed_down_on_every_way_in_and_others_are_not() {
    let mut settings = Server::settings();
    settings.rate_limit = crate::http::RateLimitSettings { per_second: 1, burst: 3 };
    let server = Server::start_with(settings).await;
    let hook = json!({"name": "h", "trigger_type": "webhook"});
    let hook = server.post("/api/v1/webhooks", &hook).await.json()["url"].as_str().unwrap().to_owned();
    let hook = hook[hook.find("/hooks/").unwrap()..].to_owned();
    let for_user = json!({"user_id": USER, "trigger_source": "manual"});
    let function = platform(Method::POST, "/functions/v1/orchestrator-engine").set_payload(for_user.to_string());
    assert_eq!(server.send(function).await.status, StatusCode::NOT_FOUND, "no flow, but it counts");
    assert_eq!(server.get("/api/v1/runs").await.status, StatusCode::OK);

    let refused = server.get("/api/v1/runs").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(refused.json()["code"], "rate_limited");
    let delivery =
        TestRequest::with_uri(&hook).method(Method::POST).insert_header(("Content-Type", "application/json"));
    assert_eq!(server.send(delivery.set_payload("{}")).await.status, StatusCode::TOO_MANY_REQUESTS);
    let other = bearing(&token(STRANGER, None), Method::GET, "/api/v1/runs");
    assert_eq!(server.send(other).await.status, StatusCode::OK);
    assert_eq!(server.send(platform(Method::GET, "/api/v1/runs")).await.status, StatusCode::OK, "the platform itself");
    let here = from("127.0.0.1", TestRequest::with_uri("/metrics"));
    let text = server.send(here).await.text;
    assert!(text.contains("\ncore314_rate_limited_total 2\n"), "{text}");
}

#[actix_web::test]
async fn when_too_many_are_under_way_the_next_is_asked_to_come_back() {
    let server = Server::start_with(HttpSettings { max_in_flight: 1, ..Server::settings() }).await;
    let under_way = server.hold_a_permit();
    let refused = server.get("/api/v1/runs").await;
    assert_eq!((refused.status, refused.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(refused.json()["code"], "busy");
    assert_eq!(server.send(TestRequest::with_uri("/healthz")).await.status, StatusCode::OK, "always");
    drop(under_way);
    assert_eq!(server.get("/api/v1/runs").await.status, StatusCode::OK);
}
