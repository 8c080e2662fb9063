//! Triggers that become one run, in the real binary: by every way in, and over crashes.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::on_both_stores;
use crate::support::{Installation, Server, StoreKind, seed};

/// A flow that keeps what its trigger is.
fn flow(name: &str, trigger_type: &str, limits: &Value) -> Value {
    json!({"flow_name": name, "trigger_type": trigger_type, "limits": limits, "flow_steps": [
        {"id": "keep", "config": {"action_type": "transform", "action_payload": {"trigger": "{{ trigger }}"}}}]})
}

async fn triggered(client: &Client<'_>, flow: &str, context: Value) -> Value {
    client.post(&format!("/api/v1/flows/{flow}/trigger"), json!({"trigger_context": context}), 202).await
}

async fn the_last_of_many_triggers_counts(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let limits = json!({"debounce": {"key": "trigger.host", "period_seconds": 2, "max_seconds": 60}});
    let (first, other) = {
        let [client, stranger] = bed.clients();
        client.save(&flow("settle", "manual", &limits)).await;
        stranger.save(&flow("settle", "manual", &limits)).await;
        let first = triggered(&client, "settle", json!({"host": "a", "n": 1})).await;
        assert_eq!(first["run_status"], json!("pending"), "{first}");
        let joined = triggered(&client, "settle", json!({"host": "a", "n": 2})).await;
        assert_eq!((&joined["id"], &joined["execution_queue_ids"]), (&first["id"], &first["execution_queue_ids"]));
        let other = triggered(&stranger, "settle", json!({"host": "a", "n": 3})).await;
        assert_ne!(other["id"], first["id"], "another tenant's triggers are another run's");
        let why = client.get(&format!("/api/v1/runs/{}/why", first["id"].as_str().expect("an id"))).await;
        let reason = &why["reasons"][0];
        assert_eq!((&reason["code"], &reason["held_by"]), (&json!("limit"), &json!(["debounce:a"])), "{why}");
        assert!(reason["wakes_at"].is_string() && reason["message"].as_str().is_some_and(|m| m.contains("2 so far")));
        (first["id"].as_str().expect("an id").to_owned(), other["id"].as_str().expect("an id").to_owned())
    };
    bed.restart();
    let [client, stranger] = bed.clients();
    // Whoever waits for an answer waits for the end of the run.
    let body = json!({"trigger_context": {"host": "b", "n": 4}, "wait_seconds": 30});
    let waited = client.post("/api/v1/flows/settle/trigger", body, 200).await;
    assert_eq!(
        (&waited["run_status"], &waited["trigger_context"]["n"]),
        (&json!("completed"), &json!(4)),
        "{waited:#}"
    );
    let run = client.run(&first, "completed").await;
    assert_eq!((&run["trigger_context"]["n"], &run["input"]["n"]), (&json!(2), &json!(2)), "{run:#}");
    assert_eq!(stranger.run(&other, "completed").await["trigger_context"]["n"], json!(3));
    assert_eq!(bed.installation.rows("SELECT CAST(count(*) AS text) FROM gathered_triggers").await, ["0"]);
    assert_eq!(bed.installation.rows("SELECT CAST(count(*) AS text) FROM run_limits").await, ["0"]);
}

async fn every_way_in_gathers(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let batch = json!({"batch": {"max": 2, "timeout_seconds": 600}});
    client.save(&flow("hooked", "webhook", &batch)).await;
    let mut on_event = flow("on-event", "event", &batch);
    on_event["trigger_config"] = json!({"type": "reading"});
    client.save(&on_event).await;
    let mut ticking = flow("ticking", "schedule", &batch);
    ticking["trigger_config"] = json!({"cron": "* * * * * *", "overlap": "skip"});
    client.save(&ticking).await;
    let hook = client.post("/api/v1/webhooks", json!({"name": "in", "trigger_type": "webhook"}), 201).await;
    let mut hooked = Vec::new();
    for n in 0..2 {
        let request = bed.server.http.post(hook["url"].as_str().expect("a URL")).json(&json!({"n": n}));
        let answer: Value = request.send().await.expect("answers").json().await.expect("JSON");
        hooked.push(answer["run_ids"][0].as_str().expect("a run").to_owned());
    }
    assert_eq!(hooked[0], hooked[1]);
    let run = client.run(&hooked[0], "completed").await;
    assert_eq!(run["trigger_context"], json!({"count": 2, "events": [{"n": 0}, {"n": 1}]}));
    assert_eq!(run["output"]["trigger"]["count"], json!(2), "{run:#}");

    let event =
        |id: &str| json!({"specversion": "1.0", "id": id, "source": "/s", "type": "reading", "data": {"v": id}});
    let first = client.post("/api/v1/events", event("1"), 202).await;
    let again = client.post("/api/v1/events", event("1"), 202).await;
    assert_eq!(first["run_ids"], again["run_ids"], "the same event is counted once");
    client.post("/api/v1/events", event("2"), 202).await;
    let run = client.run(first["run_ids"][0].as_str().expect("a run"), "completed").await;
    let ids: Vec<&Value> =
        run["trigger_context"]["events"].as_array().expect("events").iter().map(|e| &e["id"]).collect();
    assert_eq!(ids, [&json!("1"), &json!("2")]);

    let of_schedule = |runs: &Value| runs["items"].as_array().is_some_and(|all| !all.is_empty());
    let runs = client.until("/api/v1/runs?trigger_type=schedule&run_status=completed&limit=1", of_schedule).await;
    let run = client.get(&format!("/api/v1/runs/{}", runs["items"][0]["id"].as_str().expect("an id"))).await;
    let events = run["trigger_context"]["events"].as_array().expect("events");
    assert_eq!(events.len(), 2, "{run:#}");
    assert_ne!(events[0]["scheduled_for"], events[1]["scheduled_for"]);

    // A step's run is its own; a run that gathers can be cancelled; what cannot be is refused by its place.
    client.save(&flow("by-hand", "manual", &batch)).await;
    let parent = json!({"flow_name": "parent", "trigger_type": "manual", "flow_steps": [
        {"id": "sub", "type": "sub_flow", "config": {"flow_name": "by-hand", "input": {"n": 7}}}]});
    client.save(&parent).await;
    let run = client.start("parent").await;
    let run = client.run(run.id(), "completed").await;
    assert_eq!(run["output"]["output"]["trigger"], json!({"count": 1, "events": [{"n": 7}]}), "{run:#}");
    let gathering = triggered(&client, "by-hand", json!({})).await;
    let id = gathering["id"].as_str().expect("an id");
    client.post(&format!("/api/v1/runs/{id}/cancel"), json!({}), 200).await;
    client.run(id, "cancelled").await;
    let named = client.ask(Method::POST, "/api/v1/flows/by-hand/trigger", Some(&json!({"run_key": "k"})), &[]).await;
    assert_eq!(named.status.as_u16(), 422, "{}", named.body);
    assert!(named.body["detail"].as_str().is_some_and(|detail| detail.contains("run_key")), "{}", named.body);
    let wrong =
        flow("wrong", "manual", &json!({"batch": {"max": 1, "timeout_seconds": 1}, "debounce": {"period_seconds": 1}}));
    let refused = client.ask(Method::POST, "/api/v1/flows", Some(&wrong), &[]).await;
    let pointers: Vec<&Value> =
        refused.body["errors"].as_array().expect("problems").iter().map(|e| &e["pointer"]).collect();
    assert_eq!(pointers, [&json!("/limits/batch/max"), &json!("/limits/batch")], "{}", refused.body);
}

/// Sends until it is answered with success; `false` where the server is gone first.
async fn send(server: &Server, n: u64) -> bool {
    for _ in 0..100 {
        let request = server
            .http
            .post(format!("{}/api/v1/flows/count/trigger", server.url))
            .bearer_auth(crate::support::SERVICE_KEY)
            .header("X-User-Id", crate::support::USER)
            .header("Idempotency-Key", format!("n-{n}"))
            .json(&json!({"trigger_context": {"n": n, "key": n % 3}}));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    panic!("trigger {n} is not taken");
}

async fn killed_while_it_gathers_every_trigger_is_in_one_run(kind: StoreKind) {
    const POINTS: [&str; 4] = ["accept.after", "commit.before", "commit.after", "attempt.before"];
    let mut random = StdRng::seed_from_u64(seed());
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let limits = json!({"batch": {"key": "trigger.key", "max": 5, "timeout_seconds": 1}});
    let mut document = flow("count", "manual", &limits);
    document["retry_policy"] = json!({"max_attempts": 100, "backoff_seconds": 0.01});
    server.create("/api/v1/flows", document).await;
    drop(server);
    let (mut next, mut kills) = (0_u64, 0);
    for round in 0..8 {
        let point = format!("{}=kill@{}", POINTS[round % POINTS.len()], random.random_range(1..25));
        let Some(server) = Server::start_with(&installation, &[("CORE314_FAILPOINTS", point)]) else {
            kills += 1;
            continue;
        };
        for _ in 0..20 {
            if !send(&server, next).await {
                kills += 1;
                break;
            }
            next += 1;
        }
        drop(server);
    }
    let server = Server::start(&installation);
    for n in 0..next {
        assert!(send(&server, n).await, "the last server lives");
    }
    let started = std::time::Instant::now();
    while installation.rows("SELECT CAST(count(*) AS text) FROM run_limits").await != ["0"] {
        assert!(started.elapsed().as_secs() < 60, "something gathers for ever");
    }
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    let runs = server.all("/api/v1/runs").await;
    for run in &runs {
        let run = server.get(&format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"))).await;
        let events = run["trigger_context"]["events"].as_array().expect("a batch");
        assert!(events.len() <= 5 && run["trigger_context"]["count"] == events.len(), "{run:#}");
        assert!(events.iter().all(|event| event["key"] == events[0]["key"]), "{run:#}");
        events.iter().for_each(|event| *seen.entry(event["n"].as_u64().expect("a number")).or_default() += 1);
    }
    // The one that was under way at a kill may have been taken, and was sent again by the next round.
    assert!(seen.keys().copied().eq(0..next), "each is there: {seen:?}");
    assert!(seen.values().all(|count| *count == 1), "and once: {seen:?}");
    assert_eq!(installation.rows("SELECT CAST(count(*) AS text) FROM gathered_triggers").await, ["0"]);
    println!("{kind:?}: {kills} kills, {next} triggers in {} runs", runs.len());
}

on_both_stores!(
    the_last_of_many_triggers_counts,
    every_way_in_gathers,
    killed_while_it_gathers_every_trigger_is_in_one_run,
);
