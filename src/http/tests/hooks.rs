//! Webhooks: made by an admin, called from outside.

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use serde_json::{Value, json};

use super::support::{MAX_BODY_BYTES, Server, flow_document};

/// A flow that is asked for each delivery of high severity, and the path of its webhook.
async fn webhook(server: &Server) -> String {
    let mut document = flow_document("orders");
    document["trigger_type"] = json!("webhook");
    document["conditions"] = json!({"severity": "high"});
    server.flow(&document).await;
    let made = server.post("/api/v1/webhooks", &json!({"name": "shop", "trigger_type": "webhook"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
    let made = made.json();
    let (url, secret) = (made["url"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert_eq!(secret.len(), 43, "32 bytes in base64url");
    let path = format!("/hooks/{}/{secret}", made["id"].as_str().unwrap());
    assert_eq!(url, format!("http://localhost:8080{path}"));
    path
}

fn delivery(path: &str, body: &Value) -> TestRequest {
    TestRequest::post().uri(path).insert_header(("Content-Type", "application/json")).set_payload(body.to_string())
}

#[actix_web::test]
async fn a_delivery_starts_the_flow_whose_conditions_hold() {
    let server = Server::start().await;
    let path = webhook(&server).await;
    let taken = server.send(delivery(&path, &json!({"severity": "high"}))).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text);
    assert_eq!(taken.json()["run_ids"].as_array().unwrap().len(), 1);
    let left = server.send(delivery(&path, &json!({"severity": "low"}))).await;
    assert_eq!((left.status, &left.json()["run_ids"]), (StatusCode::OK, &json!([])));
    assert_eq!(left.json()["why_not"][0]["flow_name"], "orders");
}

#[actix_web::test]
async fn a_delivery_that_is_repeated_starts_nothing_twice() {
    let server = Server::start().await;
    let path = webhook(&server).await;
    for header in ["webhook-id", "Idempotency-Key"] {
        let send = async |n: u32| {
            let body = json!({"severity": "high", "n": n});
            server.send(delivery(&path, &body).insert_header((header, format!("{header}-1")))).await
        };
        let (first, again) = (send(1).await, send(1).await);
        assert_eq!(first.status, StatusCode::ACCEPTED);
        assert_eq!((again.status, again.text), (StatusCode::ACCEPTED, first.text));
        assert_eq!(send(2).await.status, StatusCode::CONFLICT, "{header}");
    }
}

#[actix_web::test]
async fn a_stranger_learns_nothing() {
    let server = Server::start().await;
    let path = webhook(&server).await;
    let (webhook, _) = path.rsplit_once('/').unwrap();
    let mut answers = Vec::new();
    for path in [
        format!("{webhook}/wrong"),
        format!("{webhook}/{}", "A".repeat(43)),
        "/hooks/00000000-0000-0000-0000-000000000001/wrong".to_owned(),
        "/hooks/none/wrong".to_owned(),
    ] {
        let mut oversized = delivery(&path, &json!("x".repeat(2 * MAX_BODY_BYTES)));
        oversized = oversized.insert_header(("X-Request-Id", "r"));
        let answer = server.send(oversized).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.json()["instance"].as_str().unwrap().ends_with("/***"), "{}", answer.text);
        let mut body = answer.json();
        body["instance"].take();
        answers.push(body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[actix_web::test]
async fn what_a_proven_sender_gets_wrong_is_said() {
    let server = Server::start().await;
    let path = webhook(&server).await;
    let status = async |request: TestRequest| server.send(request).await.status;
    let xml = TestRequest::post().uri(&path).insert_header(("Content-Type", "application/xml"));
    assert_eq!(status(xml.set_payload("<a/>")).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(status(TestRequest::post().uri(&path).set_payload("{")).await, StatusCode::BAD_REQUEST);
    let large = delivery(&path, &json!("x".repeat(MAX_BODY_BYTES)));
    assert_eq!(status(large).await, StatusCode::PAYLOAD_TOO_LARGE);
    let odd = delivery(&path, &json!({"severity": "high"})).insert_header(("webhook-id", "a b"));
    assert_eq!(status(odd).await, StatusCode::UNPROCESSABLE_ENTITY);
}

#[actix_web::test]
async fn a_webhook_may_name_a_flow_of_its_tenant_alone() {
    let server = Server::start().await;
    let id = server.flow(&flow_document("orders")).await;
    let made = server.post("/api/v1/webhooks", &json!({"name": "direct", "flow_id": id})).await;
    assert_eq!((made.status, &made.json()["flow_id"]), (StatusCode::CREATED, &json!(id)));
    let path = made.json()["url"].as_str().unwrap().split_once("8080").unwrap().1.to_owned();
    assert_eq!(server.send(delivery(&path, &json!([1]))).await.status, StatusCode::ACCEPTED);
    let other = json!({"name": "x", "flow_id": "00000000-0000-0000-0000-000000000003"});
    let refused = server.post("/api/v1/webhooks", &other).await;
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("/flow_id"))
    );
}
