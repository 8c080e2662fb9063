//! Triggers: by flow, and by what happened.

use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use core314_actors::flow_run::Remark;
use core314_actors::ports::Scope;
use core314_domain::ids::{RunId, TenantId};
use core314_domain::run::Command;
use serde_json::{Value, json};

use super::support::{Server, USER, admin, flow_document};

#[actix_web::test]
async fn a_flow_is_triggered_by_its_id_or_its_name() {
    let server = Server::start().await;
    let id = server.flow(&flow_document("night shift")).await;
    for uri in [format!("/api/v1/flows/{id}/trigger"), "/api/v1/flows/night%20shift/trigger".to_owned()] {
        let answer = server.post(&uri, &json!({"trigger_context": {"n": 1}})).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
        let run = answer.json();
        assert_eq!(answer.header("location"), format!("/api/v1/runs/{}", run["id"].as_str().unwrap()));
        assert_eq!((&run["run_status"], &run["orchestration_flow_id"]), (&json!("running"), &json!(id)));
        assert_eq!(run["execution_queue_ids"].as_array().unwrap().len(), 2);
    }
    let bare = server.send(admin(Method::POST, &format!("/api/v1/flows/{id}/trigger"))).await;
    assert_eq!(bare.status, StatusCode::ACCEPTED, "{}", bare.text);
    assert_eq!(server.post("/api/v1/flows/none/trigger", &json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(server.post("/api/v1/flows/%00/trigger", &json!({})).await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn a_name_is_bounded_and_what_becomes_of_a_conflict_needs_one() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    for (body, field) in [
        (json!({"run_key": ""}), "run_key"),
        (json!({"run_key": "x".repeat(256)}), "run_key"),
        (json!({"on_conflict": "reject"}), "on_conflict"),
        (json!({"run_key": "a", "on_conflict": "shrug"}), "on_conflict"),
        (json!({"wait_seconds": 301}), "wait_seconds"),
        (json!({"wait_seconds": -1}), "wait_seconds"),
    ] {
        let answer = server.post("/api/v1/flows/orders/trigger", &body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", answer.text);
        assert_eq!(answer.json()["errors"][0]["pointer"], format!("/{field}"), "{body}");
    }
}

#[actix_web::test]
async fn a_live_run_keeps_its_name() {
    let server = Server::start().await;
    let mut document = flow_document("orders");
    document["requires_approval"] = json!(true);
    server.flow(&document).await;
    let trigger = async |body: Value| server.post("/api/v1/flows/orders/trigger", &body).await;
    let first = trigger(json!({"run_key": "a"})).await.json();
    let same = trigger(json!({"run_key": "a"})).await;
    assert_eq!((same.status, &same.json()["id"]), (StatusCode::ACCEPTED, &first["id"]));
    let other = trigger(json!({"run_key": "b"})).await.json();
    assert_ne!(other["id"], first["id"]);
    let refused = trigger(json!({"run_key": "a", "on_conflict": "reject"})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "{}", refused.text);
    let next = trigger(json!({"run_key": "a", "on_conflict": "cancel_running"})).await;
    assert_eq!(next.status, StatusCode::ACCEPTED, "{}", next.text);
    assert_ne!(next.json()["id"], first["id"]);
}

#[actix_web::test]
async fn many_triggers_are_answered_one_by_one() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    let mut triggers: Vec<Value> =
        (0..40).map(|n| json!({"trigger_context": {"n": n}, "run_key": format!("k{}", n % 38)})).collect();
    triggers[39]["on_conflict"] = json!("reject");
    let answer = server.post("/api/v1/flows/orders/trigger/bulk", &json!({"triggers": triggers})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(answer.json()["accepted"], 39);
    let results = answer.json()["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), 40);
    assert_eq!(results[38]["run"]["id"], results[0]["run"]["id"], "the live run of the name");
    assert!(results[39]["error"].as_str().unwrap().contains("run_key"), "{}", results[39]);
    for bad in [json!({"triggers": []}), json!({"triggers": vec![json!({}); 1_001]}), json!({})] {
        let answer = server.post("/api/v1/flows/orders/trigger/bulk", &bad).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

#[actix_web::test]
async fn who_waits_while_the_server_stops_is_answered_with_the_run() {
    let server = Server::start().await;
    let mut document = flow_document("orders");
    document["requires_approval"] = json!(true);
    server.flow(&document).await;
    // The wait has begun once it has looked whether the run has ended.
    server.views.show([json!({"run_status": "awaiting_approval"})]);
    let engine = server.engine.clone();
    let stops = async {
        while server.views.unshown() > 0 {
            tokio::task::yield_now().await;
        }
        drop(actix_web::rt::spawn(async move { engine.stop().await }));
    };
    let body = json!({"wait_seconds": 300});
    let both = async { tokio::join!(server.post("/api/v1/flows/orders/trigger", &body), stops).0 };
    let answer = tokio::time::timeout(Duration::from_mins(1), both).await.expect("it is not held up");
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text);
    assert_eq!(answer.header("location"), format!("/api/v1/runs/{}", answer.json()["id"].as_str().unwrap()));
}

#[actix_web::test]
async fn an_inactive_flow_takes_no_triggers() {
    let server = Server::start().await;
    let mut document = flow_document("orders");
    document["is_active"] = json!(false);
    server.flow(&document).await;
    let answer = server.post("/api/v1/flows/orders/trigger", &json!({})).await;
    assert_eq!((answer.status, &answer.json()["code"]), (StatusCode::CONFLICT, &json!("flow_inactive")));
}

#[actix_web::test]
async fn the_same_key_and_body_start_one_run() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    let send = async |key: &str, body: Value| {
        let request = admin(Method::POST, "/api/v1/flows/orders/trigger").insert_header(("Idempotency-Key", key));
        server.send(request.set_payload(body.to_string())).await
    };
    let first = send("k1", json!({"trigger_context": {"n": 1}})).await;
    let again = send("k1", json!({"trigger_context": {"n": 1}})).await;
    assert_eq!((again.status, again.text), (StatusCode::ACCEPTED, first.text.clone()));
    let other = send("k1", json!({"trigger_context": {"n": 2}})).await;
    assert_eq!((other.status, &other.json()["code"]), (StatusCode::CONFLICT, &json!("idempotency_key_reused")));
    assert_ne!(send("k2", json!({"trigger_context": {"n": 1}})).await.text, first.text);
    assert_eq!(send("a b", json!({})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[actix_web::test]
async fn a_key_of_many_triggers_stands_for_all_of_them() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    let send = async |uri: &str, key: &str, body: &Value| {
        let request = admin(Method::POST, uri).insert_header(("Idempotency-Key", key));
        server.send(request.set_payload(body.to_string())).await
    };
    let bulk = "/api/v1/flows/orders/trigger/bulk";
    let body = |numbers: std::ops::Range<u8>| {
        let triggers: Vec<Value> = numbers.map(|n| json!({"trigger_context": {"n": n}})).collect();
        json!({"triggers": triggers})
    };
    let first = send(bulk, "k1", &body(0..3)).await;
    assert_eq!((first.status, &first.json()["accepted"]), (StatusCode::ACCEPTED, &json!(3)), "{}", first.text);
    let again = send(bulk, "k1", &body(0..3)).await;
    assert_eq!((again.status, again.text), (StatusCode::ACCEPTED, first.text));
    for (uri, other) in
        [(bulk, body(0..4)), (bulk, body(3..6)), ("/api/v1/flows/orders/trigger", json!({"trigger_context": {"n": 9}}))]
    {
        let refused = send(uri, "k1", &other).await;
        let code = refused.json()["code"].clone();
        assert_eq!((refused.status, code), (StatusCode::CONFLICT, json!("idempotency_key_reused")), "{}", refused.text);
    }
    assert_eq!(send(bulk, "k2", &body(3..6)).await.status, StatusCode::ACCEPTED);
}

#[actix_web::test]
async fn many_triggers_are_answered_the_same_again_when_what_refused_one_is_gone() {
    let server = Server::start().await;
    let mut document = flow_document("orders");
    document["requires_approval"] = json!(true);
    server.flow(&document).await;
    let body = json!({"triggers": [{"run_key": "a"}, {"run_key": "a", "on_conflict": "reject"}, {"run_key": "b"}]});
    let send = async || {
        let request = admin(Method::POST, "/api/v1/flows/orders/trigger/bulk").insert_header(("Idempotency-Key", "k"));
        server.send(request.set_payload(body.to_string())).await
    };
    let first = send().await;
    assert_eq!(first.json()["accepted"], 2, "{}", first.text);
    let run: RunId = first.json()["results"][0]["run"]["id"].as_str().unwrap().parse().unwrap();
    let scope = Scope::Tenant(TenantId(USER.0));
    let cancel = Command::Cancel { reason: "to free its name".to_owned() };
    server.engine.tell(scope, run, cancel, Remark::default()).await.unwrap();
    assert_eq!(send().await.text, first.text, "the name is free again");
}

#[actix_web::test]
async fn the_function_endpoint_answers_in_the_platforms_shape() {
    let server = Server::start().await;
    let mut document = flow_document("approved");
    document["trigger_type"] = json!("decision_approved");
    document["conditions"] = json!({"severity": "high"});
    let id = server.flow(&document).await;
    let ask = async |context: Value| {
        let body = json!({"trigger_source": "decision_approved", "trigger_context": context, "client_version": "9"});
        server.post("/functions/v1/orchestrator-engine", &body).await
    };
    let started = ask(json!({"severity": "high"})).await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.text);
    let mut answer = started.json();
    let ids: Vec<Value> = std::mem::take(answer["execution_queue_ids"].as_array_mut().unwrap());
    assert!(answer["orchestration_id"].is_string() && ids.len() == 2);
    answer["orchestration_id"].take();
    assert_eq!(
        answer,
        json!({
            "success": true, "orchestration_id": null, "flow_id": id, "flow_name": "approved", "error": null,
            "execution_mode": "sequential", "steps_created": 2, "execution_queue_ids": [], "estimated_duration_ms": 13,
        })
    );
    let refused = ask(json!({"severity": "low"})).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    let answer = refused.json();
    assert_eq!((&answer["success"], &answer["code"]), (&json!(false), &json!("no_matching_flow")));
    assert!(answer["error"].as_str().unwrap().contains("approved"), "{answer}");
    assert_eq!(answer["why_not"][0]["flow_id"], json!(id));
    let stranger = server.send(actix_web::test::TestRequest::post().uri("/functions/v1/orchestrator-engine")).await;
    assert_eq!((stranger.status, &stranger.json()["success"]), (StatusCode::UNAUTHORIZED, &json!(false)));
}
