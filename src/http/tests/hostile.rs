//! Whatever is sent, no answer is 5xx, and the server goes on.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::support::{MAX_BODY_BYTES, Server, admin, flow_document};

const WRITES: [(&str, Method); 5] = [
    ("/api/v1/flows", Method::POST),
    ("/api/v1/flows/orders/trigger", Method::POST),
    ("/api/v1/webhooks", Method::POST),
    ("/functions/v1/orchestrator-engine", Method::POST),
    ("{flow}", Method::PATCH),
];

fn bodies() -> Vec<Vec<u8>> {
    let nested = |open: &str, close: &str, n: usize| format!("{}{}", open.repeat(n), close.repeat(n)).into_bytes();
    vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"x\"".to_vec(),
        b"{".to_vec(),
        b"{}".to_vec(),
        b"{\"a\":1,\"a\":2}".to_vec(),
        b"\xff\xfe\x00".to_vec(),
        b"{\"trigger_context\":\"\xff\"}".to_vec(),
        br#"{"trigger_context":{"a":"\u0000"}}"#.to_vec(),
        br#"{"trigger_context":{"a":"\ud800"}}"#.to_vec(),
        br#"{"trigger_context":1e999}"#.to_vec(),
        br#"{"user_id":12345678901234567890123456789012345678901234567890}"#.to_vec(),
        br#"{"user_id":"00000000-0000-0000-0000-000000000000"}"#.to_vec(),
        br#"{"name":{},"trigger_type":[]}"#.to_vec(),
        nested("[", "]", 1_000),
        nested("{\"a\":", "}", 65),
        nested("[", "]", 65),
        format!("\"{}\"", "x".repeat(MAX_BODY_BYTES)).into_bytes(),
    ]
}

#[actix_web::test]
async fn no_hostile_body_is_answered_with_5xx_or_taken() {
    let server = Server::start().await;
    let flow = format!("/api/v1/flows/{}", server.flow(&flow_document("orders")).await);
    for (path, method) in WRITES {
        for body in bodies() {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let answer = server.send(admin(method.clone(), &path.replace("{flow}", &flow)).set_payload(body)).await;
            let empty = matches!(shown.as_str(), "" | "{}");
            assert!(
                answer.status.is_client_error() || (empty && answer.status.is_success()),
                "{path} {shown}: {}",
                answer.text
            );
            if answer.status.is_client_error() {
                assert!(answer.json()["code"].is_string(), "{path} {shown}: {}", answer.text);
            }
        }
    }
    assert_eq!(server.post("/api/v1/flows/orders/trigger", &json!({})).await.status, StatusCode::ACCEPTED);
}

/// A value like those that clients send, with anything in the place of anything.
fn arbitrary(rng: &mut StdRng, depth: u32) -> Value {
    let words = ["trigger_context", "user_id", "flow_steps", "config", "name", "id", "conditions", "\u{1f980}", "a"];
    match rng.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(rng.random::<i64>()),
        3 => json!(rng.random::<f64>() * 1e300),
        4 => json!(words[rng.random_range(0..words.len())]),
        5 => json!(uuid::Uuid::from_u128(rng.random())),
        6 => (0..rng.random_range(0..4)).map(|_| arbitrary(rng, depth - 1)).collect(),
        _ => {
            let members = (0..rng.random_range(0..5)).map(|_| {
                let name = words[rng.random_range(0..words.len())].to_owned();
                (name, arbitrary(rng, depth - 1))
            });
            Value::Object(members.collect())
        }
    }
}

#[actix_web::test]
async fn arbitrary_fields_never_make_the_server_fail() {
    let server = Server::start().await;
    let flow = format!("/api/v1/flows/{}", server.flow(&flow_document("orders")).await);
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    for round in 0..40 {
        for (path, method) in WRITES {
            let mut body = if path == "{flow}" { json!({}) } else { flow_document("x") };
            for name in
                ["trigger_context", "trigger_type", "name", "flow_steps", "retry_policy", "user_id", "conditions"]
            {
                if rng.random_bool(0.4) {
                    body[name] = arbitrary(&mut rng, 3);
                }
            }
            let request = admin(method, &path.replace("{flow}", &flow)).set_payload(body.to_string());
            let answer = server.send(request).await;
            assert!(!answer.status.is_server_error(), "seed {seed}, round {round}, {path}: {body}\n{}", answer.text);
        }
    }
}

#[actix_web::test]
async fn odd_paths_queries_and_headers_are_refused_or_ignored() {
    let server = Server::start().await;
    for uri in [
        "/api/v1/flows?limit=%ff&limit=%00",
        "/api/v1/flows?%00=1",
        "/api/v1/runs?run_status=%f0%9f%a6%80",
        "/api/v1/flows/%ff%fe",
        "/api/v1/flows/..%2f..%2fetc",
        "/api/v1/execution-log/statistics?hours=-1",
        "/api/v1/execution-log/statistics?hours=99999999999999999999",
        "/problems/..%2f..%2fapi.md",
        "//api/v1/flows",
    ] {
        let answer = server.get(uri).await;
        assert!(answer.status.is_client_error(), "{uri}: {} {}", answer.status, answer.text);
    }
    for (name, value) in [
        ("X-User-Id", "\u{e9}"),
        ("X-Organization-Id", "x"),
        ("If-Match", "\u{e9}"),
        ("Content-Type", "\u{e9}"),
        ("Content-Encoding", "\u{e9}"),
        ("Idempotency-Key", "\u{e9}"),
        ("Content-Length", "999999999999999999999999"),
    ] {
        let answer = server.send(admin(Method::POST, "/api/v1/flows/x/trigger").insert_header((name, value))).await;
        assert!(answer.status.is_client_error(), "{name}: {}", answer.status);
    }
    let long = format!("/{}", "a".repeat(60_000));
    assert_eq!(server.send(TestRequest::with_uri(&long)).await.status, StatusCode::NOT_FOUND);
}
