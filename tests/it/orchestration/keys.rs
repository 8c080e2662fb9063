//! Names of runs and requests, many runs at once, callers that wait, and keys that steps compute.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::StoreKind;

/// A flow whose runs live until a person decides.
async fn lasting(bed: &Bed, client: &Client<'_>) -> String {
    let mut flow = bed.flow("lasting", &["ask"]);
    flow["flow_steps"][0]["requires_approval"] = json!(true);
    flow["flow_steps"][0]["config"]["action_payload"]["json"] = json!({});
    let id = client.save(&flow).await;
    format!("/api/v1/flows/{id}/trigger")
}

async fn a_run_key_is_unique_among_live_runs(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let path = lasting(&bed, &client).await;
        let first = Started(client.post(&path, json!({"run_key": "order-17"}), 202).await);
        let again = client.post(&path, json!({"run_key": "order-17", "on_conflict": "return"}), 202).await;
        assert_eq!(again["id"], first.id());
        let refused = client.post(&path, json!({"run_key": "order-17", "on_conflict": "reject"}), 409).await;
        assert!(refused["detail"].as_str().is_some_and(|why| why.contains(first.id())), "{refused}");
        let replaced = json!({"run_key": "order-17", "on_conflict": "cancel_running"});
        let second = Started(client.post(&path, replaced, 202).await);
        assert_ne!(second.id(), first.id());
        let cancelled = client.get(&format!("/api/v1/runs/{}", first.id())).await;
        let why = "a new run of the same name takes its place";
        assert_eq!(pick(&cancelled, "run_status run_key error"), json!(["cancelled", "order-17", why]));
        let named = client.items("/api/v1/runs?run_key=order-17").await;
        assert_eq!(named.iter().map(|run| &run["id"]).collect::<Vec<_>>(), [second.id(), first.id()]);

        let taken = client.post(&format!("/api/v1/runs/{}/retry", first.id()), json!({}), 409).await;
        assert!(taken["detail"].as_str().is_some_and(|why| why.contains(second.id())), "{taken}");
        client.run(first.id(), "cancelled").await;
        client.post(&format!("/api/v1/runs/{}/cancel", second.id()), json!({}), 200).await;
        client.post(&format!("/api/v1/runs/{}/retry", first.id()), json!({}), 200).await;
        client.run(first.id(), "running").await;
        let refused = client.post(&path, json!({"run_key": "order-17", "on_conflict": "reject"}), 409).await;
        assert!(refused["detail"].as_str().is_some_and(|why| why.contains(first.id())), "its name again: {refused}");
        client.post(&format!("/api/v1/executions/{}/approve", first.execution(0)), json!({}), 200).await;
        client.run(first.id(), "completed").await;
        let third = client.post(&path, json!({"run_key": "order-17", "on_conflict": "reject"}), 202).await;
        assert_ne!(third["id"], first.id(), "an ended run gives its name back");

        for wrong in [
            json!({"run_key": ""}),
            json!({"run_key": "x".repeat(256)}),
            json!({"on_conflict": "reject"}),
            json!({"run_key": "a", "on_conflict": "perhaps"}),
            json!({"run_key": 7}),
            json!({"wait_seconds": 301}),
            json!({"trigger_context": []}),
            json!({"speed": 1}),
        ] {
            client.post(&path, wrong, 422).await;
        }
    }
}

async fn a_thousand_runs_are_one_request(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let shape =
            json!({"id": "shape", "config": {"action_type": "transform", "action_payload": {"n": "{{ trigger.n }}"}}});
        let flow = client.save(&json!({"flow_name": "many", "trigger_type": "manual", "flow_steps": [shape]})).await;
        let path = format!("/api/v1/flows/{flow}/trigger/bulk");
        let triggers: Vec<Value> = (0..1_000).map(|n| json!({"trigger_context": {"n": n}})).collect();
        let body = json!({"triggers": triggers});
        let answer = client.ask(Method::POST, &path, Some(&body), &[("Idempotency-Key", "many-1")]).await;
        assert_eq!((answer.status, &answer.body["accepted"]), (StatusCode::ACCEPTED, &json!(1_000)));
        let ids = |answer: &Value| -> Vec<String> {
            let results = answer["results"].as_array().expect("a list").iter();
            results.map(|result| result["run"]["id"].as_str().expect("a run").to_owned()).collect()
        };
        let first = ids(&answer.body);
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 1_000);
        let again = client.ask(Method::POST, &path, Some(&body), &[("Idempotency-Key", "many-1")]).await;
        assert_eq!(ids(&again.body), first, "the same request starts nothing again");
        client.until(&format!("/api/v1/flows/{flow}"), |flow| flow["successful_executions"] == 1_000).await;
        for n in [0, 499, 999] {
            let run = client.get(&format!("/api/v1/runs/{}", first[n])).await;
            assert_eq!(pick(&run, "run_status output"), json!(["completed", {"n": n}]), "answers stand in their order");
        }
        let too_many = json!({"triggers": vec![json!({}); 1_001]});
        for wrong in [json!({"triggers": []}), too_many, json!({"triggers": [{"wait_seconds": 1}]}), json!({})] {
            client.post(&path, wrong, 422).await;
        }
        let path = format!("{}/bulk", lasting(&bed, &client).await);
        let named = json!({"triggers": [{"run_key": "a"}, {"run_key": "a"}, {"run_key": "a", "on_conflict": "reject"}, {"run_key": "b"}]});
        let answer = client.post(&path, named, 202).await;
        let results = answer["results"].as_array().expect("a list");
        assert_eq!(results[1]["run"]["id"], results[0]["run"]["id"], "the live run of the name: {answer}");
        assert!(results[2]["run"].is_null() && results[2]["error"].is_string(), "{answer}");
        assert_eq!(answer["accepted"], 3);
    }
    let counted = "SELECT CAST(count(*) AS TEXT) || ' ' || CAST(count(DISTINCT partition) AS TEXT) FROM runs WHERE flow_name = 'many'";
    assert_eq!(bed.installation.rows(counted).await, ["2000 2"], "each request is one partition's, in one commit");
    let gaps = "SELECT CAST(partition AS TEXT) FROM log GROUP BY partition HAVING max(seq) <> count(*)";
    assert_eq!(bed.installation.rows(gaps).await, Vec::<String>::new(), "the log has no gaps");
}

async fn a_caller_may_wait_for_the_end(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&bed.flow("awaited", &["call"])).await;
        let path = format!("/api/v1/flows/{flow}/trigger");
        let body = json!({"trigger_context": {"host": "h"}, "wait_seconds": 60});
        let ended = client.post(&path, body, 200).await;
        assert_eq!(pick(&ended, "run_status error"), json!(["completed", null]));
        assert_eq!(ended["output"]["body"], json!({"ok": true}));
        let body = json!({"trigger_context": {"host": "h"}});
        let preferred = client.ask(Method::POST, &path, Some(&body), &[("Prefer", "wait=60")]).await;
        assert_eq!((preferred.status, &preferred.body["run_status"]), (StatusCode::OK, &json!("completed")));
        let odd = client.ask(Method::POST, &path, Some(&body), &[("Prefer", "wait=soon")]).await;
        assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);
        bed.sink.hold(true);
        let slow = client.ask(Method::POST, &path, Some(&body), &[("Prefer", "wait=1")]).await;
        bed.sink.hold(false);
        assert_eq!((slow.status, &slow.body["run_status"]), (StatusCode::ACCEPTED, &json!("running")));
        client.run(slow.body["id"].as_str().expect("an id"), "completed").await;
        let named = |key| [("Idempotency-Key", key)];
        let first = client.ask(Method::POST, &path, Some(&body), &named("k-1")).await;
        let same = client.ask(Method::POST, &path, Some(&body), &named("k-1")).await;
        assert_eq!((same.status, &same.body), (StatusCode::ACCEPTED, &first.body));
        let other = client.ask(Method::POST, &path, Some(&json!({})), &named("k-1")).await;
        assert_eq!((other.status, &other.body["code"]), (StatusCode::CONFLICT, &json!("idempotency_key_reused")));
    }
}

/// A key that a step computes is the same in all its attempts and in every run that computes it, and of no other flow or tenant.
async fn a_step_computes_its_key(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    bed.sink.answer(503);
    bed.sink.answer_after(1, 200);
    for client in bed.clients() {
        for name in ["orders", "refunds"] {
            let mut flow = bed.flow(name, &["pay"]);
            flow["flow_steps"][0]["idempotency_key"] = json!("'order ' + trigger.host");
            let id = client.save(&flow).await;
            for _ in 0..2 {
                let run = client.start(&id).await;
                client.run(run.id(), "completed").await;
            }
        }
        let wrong = json!({"flow_name": "wrong", "trigger_type": "manual", "flow_steps": [
            {"id": "x", "idempotency_key": "now", "config": {"action_type": "transform"}}]});
        let refused = client.post("/api/v1/flows", wrong, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/flow_steps/0/idempotency_key", "{refused}");
    }
    let keys = bed.sink.keys();
    let mut counts: Vec<usize> = keys.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 2, 2, 3], "two runs of each flow of each tenant, and one repetition: {keys:?}");
    assert!(keys.keys().all(|key| key.len() == 36), "{keys:?}");
}

on_both_stores!(
    a_run_key_is_unique_among_live_runs,
    a_thousand_runs_are_one_request,
    a_caller_may_wait_for_the_end,
    a_step_computes_its_key
);
