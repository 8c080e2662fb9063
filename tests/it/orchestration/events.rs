//! Events, forms, and which of several flows start.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::on_both_stores;
use crate::support::StoreKind;

/// A flow that needs nobody.
#[expect(clippy::needless_pass_by_value, reason = "callers write the config where they call")]
pub fn quiet(name: &str, trigger: &str, config: Value) -> Value {
    let step =
        json!({"id": "note", "config": {"action_type": "transform", "action_payload": {"seen": "{{ trigger }}"}}});
    json!({"flow_name": name, "trigger_type": trigger, "trigger_config": config, "flow_steps": [step]})
}

/// The names of the flows whose runs an answer names.
async fn started(client: &Client<'_>, answer: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for run in answer["run_ids"].as_array().expect("run_ids") {
        let run = client.get(&format!("/api/v1/runs/{}", run.as_str().expect("an id"))).await;
        names.insert(run["flow_name"].as_str().expect("a name").to_owned());
    }
    names
}

fn event(id: &str, kind: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/shop", "type": kind, "data": data})
}

async fn events_start_the_flows_that_wait_for_them(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let config = json!({"type": "order.*", "filter": "trigger.data.total > 10"});
        client.save(&quiet("orders", "event", config)).await;
        let paid = event("1", "order.paid", &json!({"total": 11}));
        let first = client.post("/api/v1/events", paid.clone(), 202).await;
        let run = client.run(first["run_ids"][0].as_str().expect("a run"), "completed").await;
        assert_eq!(run["trigger_context"]["data"], json!({"total": 11}));
        assert_eq!((&run["trigger_type"], &run["trigger_source"]), (&json!("event"), &json!("event:/shop")));

        let again = client.post("/api/v1/events", paid, 202).await;
        assert_eq!(again["run_ids"], first["run_ids"], "the same event starts nothing twice");
        let other = client.post("/api/v1/events", event("1", "order.paid", &json!({"total": 99})), 202).await;
        assert_eq!(other["run_ids"], first["run_ids"], "source and id name it, whatever else it says");

        let cheap = client.post("/api/v1/events", event("2", "order.paid", &json!({"total": 10})), 200).await;
        assert_eq!(cheap["run_ids"], json!([]));
        assert_eq!(cheap["why_not"][0]["clause"], "trigger_config.filter: trigger.data.total > 10", "{cheap}");

        let headers = [("ce-specversion", "1.0"), ("ce-id", "3"), ("ce-source", "/shop"), ("ce-type", "order.sent")];
        let binary = client.ask(Method::POST, "/api/v1/events", Some(&json!({"total": 12})), &headers).await;
        assert_eq!(binary.status, StatusCode::ACCEPTED, "{}", binary.body);

        let batch = json!([event("4", "order.paid", &json!({"total": 20})), event("5", "mail.sent", &json!({}))]);
        let taken = client.post("/api/v1/events", batch, 200).await;
        let counts: Vec<usize> = taken["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|i| i["run_ids"].as_array().expect("a list").len())
            .collect();
        assert_eq!(counts, [1, 0], "{taken}");

        for (body, status) in
            [(json!({"a": 1}), 400), (json!([]), 400), (json!([{"specversion": "1.0"}]), 400), (json!(7), 400)]
        {
            client.post("/api/v1/events", body, status).await;
        }
    }
}

async fn every_flow_that_says_all_starts_and_of_the_others_the_newest(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        for (name, matching) in [("old-first", "first"), ("old-all", "all"), ("new-all", "all"), ("new-first", "first")]
        {
            client.save(&quiet(name, "event", json!({"type": "t", "match": matching}))).await;
        }
        client.save(&quiet("other", "event", json!({"type": "u", "match": "all"}))).await;
        let expected: BTreeSet<String> = ["old-all", "new-all", "new-first"].map(str::to_owned).into();
        let first = client.post("/api/v1/events", event("1", "t", &Value::Null), 202).await;
        assert_eq!(started(&client, &first).await, expected, "{first}");

        // A flow that comes later has no part in what was sent before.
        client.save(&quiet("late", "event", json!({"type": "t", "match": "all"}))).await;
        let again = client.post("/api/v1/events", event("1", "t", &Value::Null), 202).await;
        assert_eq!(again["run_ids"], first["run_ids"]);
        assert_eq!(client.items("/api/v1/runs").await.len(), 3);

        let webhook = client.post("/api/v1/webhooks", json!({"name": "in", "trigger_type": "event"}), 201).await;
        let (url, http) = (webhook["url"].as_str().expect("a URL"), &bed.server.http);
        let sent = http.post(url).header("content-type", "application/cloudevents+json");
        let answer = sent.body(event("9", "t", &json!({"by": "hook"})).to_string()).send().await.expect("answers");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(started(&client, &answer).await.len(), 4, "a webhook names every run that it started: {answer}");
    }
}

async fn what_a_person_fills_in_is_checked_and_completed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = quiet("restart", "manual", json!({}));
        flow["input_schema"] = json!({"type": "object", "required": ["host"], "properties": {
            "host": {"type": "string"}, "count": {"type": "integer", "default": 2, "maximum": 5}}});
        let id = client.save(&flow).await;
        let form = client.get(&format!("/api/v1/flows/{id}/form")).await;
        assert_eq!((&form["flow_name"], &form["input_schema"]), (&json!("restart"), &flow["input_schema"]));

        let path = format!("/api/v1/flows/{id}/trigger");
        let run = client.post(&path, json!({"trigger_context": {"host": "web-1"}}), 202).await;
        let run = client.run(run["id"].as_str().expect("an id"), "completed").await;
        assert_eq!(run["input"], json!({"host": "web-1", "count": 2}));
        assert_eq!(run["trigger_context"], json!({"host": "web-1"}), "what was said stays as it was");

        let refused = client.post(&path, json!({"trigger_context": {"count": 6}}), 422).await;
        let pointers: Vec<&Value> =
            refused["errors"].as_array().expect("errors").iter().map(|error| &error["pointer"]).collect();
        assert_eq!(pointers, ["/trigger_context/host", "/trigger_context/count"], "{refused}");
        let many = json!({"triggers": [{"trigger_context": {"host": "a"}}, {"trigger_context": {}}]});
        let many = client.post(&format!("{path}/bulk"), many, 202).await;
        assert_eq!(many["accepted"], 1, "{many}");

        flow["input_schema"]["properties"]["host"] = json!({"$ref": "https://example.com/host"});
        flow["flow_name"] = json!("other");
        let refused = client.post("/api/v1/flows", flow, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/input_schema/properties/host/$ref", "{refused}");
        let mistyped = quiet("mistyped", "event", json!({"typ": "a"}));
        let refused = client.post("/api/v1/flows", mistyped, 422).await;
        assert!(refused["errors"][0]["pointer"].as_str().expect("a text").starts_with("/trigger_config"), "{refused}");
    }
}

on_both_stores!(
    events_start_the_flows_that_wait_for_them,
    every_flow_that_says_all_starts_and_of_the_others_the_newest,
    what_a_person_fills_in_is_checked_and_completed,
);
