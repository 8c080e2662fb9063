//! What all endpoints have in common.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use core314_actors::ports::Scope;
use core314_domain::ids::TenantId;
use serde_json::json;

use super::support::{Server, USER, admin, bearing, platform, token};
use crate::http::routes;

#[actix_web::test]
async fn every_answer_carries_an_id_and_the_security_headers() {
    let server = Server::start().await;
    for uri in ["/", "/healthz", "/nowhere", "/api/v1/flows", "/problems/busy"] {
        let answer = server.send(TestRequest::with_uri(uri).insert_header(("X-Request-Id", "mine-1"))).await;
        assert_eq!(answer.header("x-request-id"), "mine-1", "{uri}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{uri}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{uri}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{uri}");
        assert_eq!(answer.header("cache-control"), "no-store", "{uri}");
    }
}

#[actix_web::test]
async fn a_problem_is_written_as_its_rfc_says_and_its_type_leads_to_a_page() {
    let server = Server::start().await;
    let answer = server.send(TestRequest::with_uri("/nowhere").insert_header(("X-Request-Id", "mine-2"))).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(
        answer.json(),
        json!({
            "type": "/problems/not-found", "title": "There is no such thing", "status": 404, "code": "not_found",
            "detail": "there is nothing at this path; GET /api/v1 lists what there is", "instance": "/nowhere",
            "request_id": "mine-2",
        })
    );
    let page = server.get(answer.json()["type"].as_str().unwrap()).await;
    assert_eq!(page.header("content-type"), "text/markdown; charset=utf-8");
    assert!(page.text.starts_with("# There is no such thing"));
    assert_eq!(server.get("/problems/none").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn another_method_is_answered_with_the_possible_ones_and_get_answers_head() {
    let server = Server::start().await;
    let answer = server.send(admin(Method::DELETE, "/api/v1/flows")).await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, POST, OPTIONS"));
    let head = server.send(admin(Method::HEAD, "/api/v1/flows")).await;
    assert_eq!(head.status, StatusCode::OK);
}

#[test]
fn every_endpoint_stands_on_the_page_of_the_api() {
    let page = include_str!("../../../docs/api.md");
    let names = |path: &str| path.replace(":.+}", "}");
    let missing: Vec<&str> =
        routes().paths().into_iter().filter(|path| !page.contains(&format!("{}`", names(path)))).collect();
    assert_eq!(missing, Vec::<&str>::new(), "docs/api.md names every endpoint");
}

/// The paths that need no credentials, or prove their callers otherwise.
const OPEN: [&str; 15] = [
    "/hooks/{webhook_id}/{secret}",
    "/hooks/{webhook_id}",
    "/hooks/slack/{tenant}/{integration}",
    "/api/v1/ack/{token}",
    "/api/v1/verify/{token}",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/oauth/callback",
    "/problems/{slug}",
    "/api/v1",
    "/api/openapi.json",
    "/api/v1/schemas/flow.json",
    "/api/docs",
    "/",
];

#[actix_web::test]
async fn no_endpoint_answers_a_stranger() {
    let server = Server::start().await;
    for path in routes().paths().into_iter().filter(|path| !OPEN.contains(path)) {
        for method in [Method::GET, Method::POST, Method::PATCH, Method::DELETE] {
            let answer =
                server.send(TestRequest::with_uri(&path.replace(['{', '}'], "x")).method(method.clone())).await;
            if answer.status == StatusCode::METHOD_NOT_ALLOWED {
                continue;
            }
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"core314\"", "{method} {path}");
        }
    }
}

const LISTS: [(&str, &str); 4] = [
    ("/api/v1/flows", "flow_name=a&trigger_type=manual&is_active=true"),
    ("/api/v1/runs", "run_status=failed&orchestration_flow_id=00000000-0000-0000-0000-000000000003"),
    ("/api/v1/executions", "execution_status=blocked&flow_run_id=00000000-0000-0000-0000-000000000003"),
    ("/api/v1/execution-log", "success=false&execution_queue_id=00000000-0000-0000-0000-000000000003"),
];

#[actix_web::test]
async fn lists_filter_page_and_stay_in_their_tenant() {
    let server = Server::start().await;
    for (uri, filters) in LISTS {
        let first = server.get(&format!("{uri}?{filters}&limit=7")).await;
        assert_eq!(first.status, StatusCode::OK, "{}", first.text);
        let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(first.json()["items"], json!([{"n": 1}]));
        server.get(&format!("{uri}?cursor={cursor}")).await;
        server.send(platform(Method::GET, uri)).await;
        let asked = server.views.asked();
        assert!(
            asked[0].1.contains("Filter({\"") && asked[0].1.contains("Page { limit: 7, after: None }"),
            "{asked:?}"
        );
        assert!(asked[1].1.ends_with("limit: 50, after: Some(00000000-0000-0000-0000-000000000005) }"), "{asked:?}");
        let own = Scope::Tenant(TenantId(USER.0));
        let scopes: Vec<Scope> = asked.into_iter().map(|(scope, _)| scope).collect();
        assert_eq!(scopes, [own, own, Scope::Platform]);
        for bad in ["speed=1", "limit=0", "limit=501", "cursor=x", "metadata=x", "created_at=now"] {
            let answer = server.get(&format!("{uri}?{bad}")).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{uri}?{bad}");
            assert!(answer.json()["errors"][0]["parameter"].is_string(), "{}", answer.text);
        }
    }
}

#[actix_web::test]
async fn a_row_that_is_not_there_and_an_id_that_is_none_are_alike() {
    let server = Server::start().await;
    for uri in ["/api/v1/flows", "/api/v1/runs", "/api/v1/executions", "/api/v1/execution-log"] {
        for id in ["00000000-0000-0000-0000-000000000003", "x", "%00", "..%2f"] {
            assert_eq!(server.get(&format!("{uri}/{id}")).await.status, StatusCode::NOT_FOUND, "{uri}/{id}");
        }
    }
}

#[actix_web::test]
async fn roles_bound_what_a_member_may_do() {
    let server = Server::start().await;
    let ask = async |role: &str, method: Method, uri: &str| {
        let request = bearing(&token(USER, Some(role)), method, uri).set_payload("{}");
        server.send(request).await.status
    };
    for (method, uri, least) in [
        (Method::GET, "/api/v1/flows", "viewer"),
        (Method::POST, "/api/v1/flows/x/trigger", "operator"),
        (Method::POST, "/functions/v1/orchestrator-engine", "operator"),
        (Method::POST, "/api/v1/flows", "admin"),
        (Method::PATCH, "/api/v1/flows/x", "admin"),
        (Method::POST, "/api/v1/webhooks", "admin"),
    ] {
        let roles = ["viewer", "operator", "admin"];
        let needed = roles.iter().position(|role| *role == least).unwrap();
        for (have, role) in roles.into_iter().enumerate() {
            let status = ask(role, method.clone(), uri).await;
            assert_eq!(status == StatusCode::FORBIDDEN, have < needed, "{role} {method} {uri}: {status}");
        }
    }
    assert_eq!(ask("admin", Method::GET, "/api/v1/actors").await, StatusCode::FORBIDDEN);
}

#[actix_web::test]
async fn a_platform_key_that_names_no_user_writes_nothing() {
    let server = Server::start().await;
    let valid = |uri: &str| match uri {
        "/api/v1/webhooks" => json!({"name": "a", "trigger_type": "webhook"}),
        "/functions/v1/orchestrator-engine" => json!({"trigger_type": "manual"}),
        "/api/v1/flows" => super::support::flow_document("a"),
        _ => json!({}),
    };
    for uri in ["/api/v1/flows", "/api/v1/webhooks", "/api/v1/flows/x/trigger", "/functions/v1/orchestrator-engine"] {
        let answer = server.send(platform(Method::POST, uri).set_payload(valid(uri).to_string())).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{uri}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["header"], "X-User-Id", "{}", answer.text);
    }
}
