//! Decisions and recommendations: from an engine outside over a person to a run, and back.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, Client, pick};
use super::events::quiet;
use super::on_both_stores;
use crate::support::{Server, StoreKind};

fn decision(confidence: f64) -> Value {
    json!({"source": "planner", "title": "Raise the limit", "summary": "It is busy.", "confidence_score": confidence,
        "risk_level": "low", "payload": {"limit": 40}})
}

/// The audit log's events about a subject, in their order.
async fn audited(client: &Client<'_>, subject: &str) -> Vec<String> {
    let mut rows = client.items(&format!("/api/v1/audit-log?subject_id={subject}&limit=500")).await;
    rows.reverse();
    rows.iter().map(|row| row["event_type"].as_str().expect("a word").to_owned()).collect()
}

async fn an_approved_decision_is_carried_out_and_remembered(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&quiet("carry-out", "decision_approved", json!({}))).await;
        let posted = client.post("/api/v1/decisions", decision(0.9), 201).await;
        assert_eq!(pick(&posted, "status source decided_by"), json!(["pending", "planner", null]));
        let id = posted["id"].as_str().expect("an id");
        for stranger in bed.strangers() {
            stranger.post(&format!("/api/v1/decisions/{id}/approve"), json!({}), 404).await;
        }
        assert_eq!(client.items("/api/v1/decisions?status=pending").await.len(), 1);

        let approved = client.post(&format!("/api/v1/decisions/{id}/approve"), json!({"notes": "yes"}), 200).await;
        assert_eq!((&approved["row"]["notes"], &approved["is_pending"]), (&json!("yes"), &json!(false)), "{approved}");
        // Its run may be over already.
        assert!(["approved", "executed"].contains(&approved["row"]["status"].as_str().expect("a word")), "{approved}");
        let run = client.run(approved["run_ids"][0].as_str().expect("a run"), "completed").await;
        assert_eq!(
            pick(&run, "orchestration_flow_id decision_event_id trigger_type"),
            json!([flow, id, "decision_approved"])
        );
        assert_eq!(run["trigger_context"]["payload"], json!({"limit": 40}));
        let run_id = run["id"].as_str().expect("an id");
        let executions = client.items(&format!("/api/v1/executions?flow_run_id={run_id}")).await;
        let log = client.items(&format!("/api/v1/execution-log?flow_run_id={run_id}")).await;
        assert_eq!((&executions[0]["decision_event_id"], &log[0]["decision_event_id"]), (&json!(id), &json!(id)));

        let executed = client.get(&format!("/api/v1/decisions/{id}")).await;
        assert_eq!(pick(&executed, "status outcome"), json!(["executed", "completed"]), "{executed}");
        assert_eq!(audited(&client, id).await, ["decision_created", "decision_approved", "decision_executed"]);
        let execution = executions[0]["id"].as_str().expect("an id");
        assert_eq!(audited(&client, execution).await, ["action_executed"]);
        let memory = client.items(&format!("/api/v1/memory?subject_id={id}")).await;
        assert_eq!(pick(&memory[0], "subject_type outcome success"), json!(["decision", "completed", true]));
        assert_eq!(memory[0]["features"]["confidence_score"], 0.9, "{}", memory[0]);

        client.post(&format!("/api/v1/decisions/{id}/reject"), json!({}), 409).await;
        let other = client.post("/api/v1/decisions", decision(0.1), 201).await;
        let rejected = format!("/api/v1/decisions/{}/reject", other["id"].as_str().expect("an id"));
        assert_eq!(client.post(&rejected, json!({}), 200).await["row"]["status"], "rejected");
        assert_eq!(client.items("/api/v1/runs").await.len(), 1, "nothing of a rejected decision happens");
    }
}

async fn an_uncertain_decision_waits_for_a_person(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = quiet("careful", "decision_approved", json!({}));
        flow["approval_threshold"] = json!(0.8);
        client.save(&flow).await;
        let mut unknown = decision(1.0);
        unknown.as_object_mut().expect("an object").remove("confidence_score");
        for (body, status) in
            [(decision(0.8), "completed"), (decision(0.79), "awaiting_approval"), (unknown, "awaiting_approval")]
        {
            let posted = client.post("/api/v1/decisions", body, 201).await;
            let id = posted["id"].as_str().expect("an id");
            let approved = client.post(&format!("/api/v1/decisions/{id}/approve"), json!({}), 200).await;
            let run = approved["run_ids"][0].as_str().expect("a run");
            client.run(run, status).await;
            if status == "awaiting_approval" {
                let pending = client.items("/api/v1/executions/pending-approvals").await;
                assert_eq!((pending.len(), pick(&pending[0], "id run_status")), (1, json!([run, status])));
                client.post(&format!("/api/v1/runs/{run}/approve"), json!({}), 200).await;
                client.run(run, "completed").await;
            }
        }
    }
}

async fn a_recommendation_is_accepted_or_dismissed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        client.save(&quiet("tell", "recommendation_created", json!({}))).await;
        let body = json!({"title": "Clear the cache", "action_type": "transform",
            "action_payload": {"cleared": "{{ trigger.title }}"}, "priority": 2});
        let key = [("Idempotency-Key", "rec-1")];
        let first = client.ask(Method::POST, "/api/v1/recommendations", Some(&body), &key).await;
        assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
        let again = client.ask(Method::POST, "/api/v1/recommendations", Some(&body), &key).await;
        assert_eq!(again.body["id"], first.body["id"], "the same request is the same recommendation");
        let other = json!({"title": "Other", "action_type": "transform"});
        let second = client.ask(Method::POST, "/api/v1/recommendations", Some(&other), &key).await;
        assert_eq!(second.status, StatusCode::CONFLICT);
        let id = first.body["id"].as_str().expect("an id");
        let runs =
            client.until("/api/v1/runs", |runs| runs["items"].as_array().is_some_and(|runs| runs.len() == 1)).await;
        assert_eq!(pick(&runs["items"][0], "flow_name recommendation_id"), json!(["tell", id]));

        let accepted = client.post(&format!("/api/v1/recommendations/{id}/accept"), json!({}), 200).await;
        let run = client.run(accepted["run_ids"][0].as_str().expect("a run"), "completed").await;
        assert_eq!(pick(&run, "recommendation_id output"), json!([id, {"cleared": "Clear the cache"}]));
        let log =
            client.items(&format!("/api/v1/execution-log?flow_run_id={}", run["id"].as_str().expect("a text"))).await;
        assert_eq!(log[0]["recommendation_id"], id);
        let row = client.get(&format!("/api/v1/recommendations/{id}")).await;
        assert_eq!(pick(&row, "status outcome"), json!(["executed", "completed"]), "{row}");
        client.post(&format!("/api/v1/recommendations/{id}/dismiss"), json!({}), 409).await;

        let wrong = json!({"title": "t", "action_type": "fly"});
        let refused = client.post("/api/v1/recommendations", wrong, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/action_type", "{refused}");
        let unknown =
            json!({"title": "t", "action_type": "transform", "action_payload": {"v": 1}, "decision_event_id": id});
        let refused = client.post("/api/v1/recommendations", unknown, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/decision_event_id", "{refused}");
    }
}

/// The process dies when the run is durable and the occurrence is not yet crossed out, and before it is begun.
async fn what_an_approval_starts_outlives_a_crash(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    client.save(&quiet("carry-out", "decision_approved", json!({"match": "all"}))).await;
    client.save(&quiet("and-more", "decision_approved", json!({"match": "all"}))).await;
    let (user, installation) = (client.user, bed.installation);
    let mut server = bed.server;
    server.terminate();
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        let mut server = Server::start_with(&installation, &environment).expect("there is nothing to start yet");
        let id = {
            let client = Client::of(&server, user);
            let posted = client.post("/api/v1/decisions", decision(0.9), 201).await;
            let id = posted["id"].as_str().expect("an id").to_owned();
            client.lost(&format!("/api/v1/decisions/{id}/approve")).await;
            id
        };
        server.wait();
        let mut server = Server::start(&installation);
        let client = Client::of(&server, user);
        let path = format!("/api/v1/runs?decision_event_id={id}");
        client.until(&path, |runs| runs["items"].as_array().is_some_and(|runs| runs.len() == 2)).await;
        client.until(&format!("/api/v1/decisions/{id}"), |row| row["status"] == "executed").await;
        let all = client.items("/api/v1/runs?limit=500").await;
        assert_eq!(all.len(), 2 * (no + 1), "{point}: each flow has one run of each decision");
        server.terminate();
    }
}

on_both_stores!(
    an_approved_decision_is_carried_out_and_remembered,
    an_uncertain_decision_waits_for_a_person,
    a_recommendation_is_accepted_or_dismissed,
    what_an_approval_starts_outlives_a_crash,
);
