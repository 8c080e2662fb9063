//! Running again from a step, and replays: what was done is not done again, and what is played is not done at all.

use reqwest::Method;
use serde_json::{Value, json};

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::StoreKind;

/// Two calls, and one that a person must agree to, which so can meet a receiver that answers otherwise.
fn flow(bed: &Bed, name: &str) -> Value {
    let mut flow = bed.flow(name, &["first", "second"]);
    let mut third = bed.call("third");
    third["requires_approval"] = json!(true);
    third["config"]["action_payload"]["json"]["was"] = json!("{{ steps.second.output.status }}");
    flow["flow_steps"].as_array_mut().expect("a list").push(third);
    flow
}

/// A run whose third call has failed.
async fn failed(bed: &Bed, client: &Client<'_>, flow: &str) -> Started {
    bed.sink.answer(200);
    let run = client.start(flow).await;
    client.execution(run.execution(2), "awaiting_approval").await;
    bed.sink.answer(404);
    client.post(&format!("/api/v1/executions/{}/approve", run.execution(2)), json!({}), 200).await;
    client.run(run.id(), "failed").await;
    bed.sink.answer(200);
    run
}

fn calls(bed: &Bed, path: &str) -> usize {
    bed.sink.received().iter().filter(|request| request.path == path).count()
}

async fn a_run_is_run_again_from_its_failed_step(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&flow(&bed, "again")).await;
        let old = failed(&bed, &client, &flow).await;
        let before = (calls(&bed, "/first"), calls(&bed, "/second"), calls(&bed, "/third"));
        let rerun = format!("/api/v1/runs/{}/rerun", old.id());
        let new = Started(client.post(&rerun, json!({"from_step": "third", "run_key": "again"}), 202).await);
        assert_ne!(new.id(), old.id());
        client.execution(new.execution(2), "awaiting_approval").await;
        let taken = client.get(&format!("/api/v1/executions/{}", new.execution(1))).await;
        let stands = "execution_status reused_from started_at completed_at execution_duration_ms";
        assert_eq!(pick(&taken, stands), json!(["completed", old.execution(1), null, null, null]));
        assert_eq!(taken["execution_result"]["status"], 200);
        client.post(&format!("/api/v1/executions/{}/approve", new.execution(2)), json!({}), 200).await;
        let ended = client.run(new.id(), "completed").await;
        assert_eq!(
            pick(&ended, "parent_run_id flow_version run_key trigger_type"),
            json!([old.id(), 1, "again", "manual"])
        );
        assert_eq!(ended["output"]["status"], 200, "the last step's, as ever: {ended:#}");
        let after = (calls(&bed, "/first"), calls(&bed, "/second"), calls(&bed, "/third"));
        assert_eq!(after, (before.0, before.1, before.2 + 1), "what had been done is not done again");
        let received = bed.sink.received();
        assert_eq!(received.last().expect("a call").body, json!({"host": "web-1", "was": 200}));
        let log = client.items(&format!("/api/v1/execution-log?flow_run_id={}", new.id())).await;
        assert_eq!(log.len(), 1, "no row says that it did what it did not");
        let own = client.get(&format!("/api/v1/executions/{}", new.execution(2))).await;
        assert_eq!(own["reused_from"], Value::Null);

        // From a run that had itself taken outcomes over, and again by the log of nobody else's.
        let third = client.post(&format!("/api/v1/runs/{}/rerun", new.id()), json!({"from_step": "second"}), 202).await;
        let third = Started(third);
        client.execution(third.execution(2), "awaiting_approval").await;
        let first = client.get(&format!("/api/v1/executions/{}", third.execution(0))).await;
        assert_eq!(first["reused_from"], old.execution(0), "it names who did it");
        client.post(&format!("/api/v1/runs/{}/cancel", third.id()), json!({}), 200).await;
    }
}

async fn what_cannot_be_run_again_says_why(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&flow(&bed, "why-not")).await;
        let run = client.start(&flow).await;
        let rerun = format!("/api/v1/runs/{}/rerun", run.id());
        client.execution(run.execution(2), "awaiting_approval").await;
        let refused = async |body: Value, status: u16| client.post(&rerun, body, status).await.to_string();
        assert!(refused(json!({"from_step": "third"}), 409).await.contains("only a run that has ended"));
        client.post(&format!("/api/v1/executions/{}/reject", run.execution(2)), json!({}), 200).await;
        client.run(run.id(), "failed").await;
        assert!(refused(json!({}), 422).await.contains("from_step"));
        assert!(refused(json!({"from_step": "thirt"}), 422).await.contains("did you mean `third`?"));
        assert!(
            refused(json!({"from_step": "third", "version": 2}), 422).await.contains("no version 2; its newest is 1")
        );
        client.post(&rerun, json!({"from_step": "third", "more": 1}), 422).await;
        client.post(&format!("/api/v1/runs/{}/rerun", bed_id()), json!({"from_step": "third"}), 404).await;
        let action = json!({"action_type": "transform", "action_payload": {"values": {"n": 1}}, "wait_seconds": 60});
        let single = client.post("/api/v1/executions", action, 200).await;
        let path = format!("/api/v1/runs/{}/rerun", single["id"].as_str().expect("a run"));
        assert!(client.post(&path, json!({"from_step": "a"}), 409).await.to_string().contains("restart"));
    }
}

fn bed_id() -> &'static str {
    "0190a000-0000-7000-8000-00000000dead"
}

async fn a_run_that_took_outcomes_over_survives_a_crash(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let new = {
        let [client, _] = bed.clients();
        let flow = client.save(&flow(&bed, "crash")).await;
        let old = failed(&bed, &client, &flow).await;
        let body = json!({"from_step": "third"});
        let new = Started(client.post(&format!("/api/v1/runs/{}/rerun", old.id()), body, 202).await);
        client.execution(new.execution(2), "awaiting_approval").await;
        new
    };
    let before = calls(&bed, "/second");
    bed.restart();
    let [client, _] = bed.clients();
    client.post(&format!("/api/v1/executions/{}/approve", new.execution(2)), json!({}), 200).await;
    client.run(new.id(), "completed").await;
    let last = bed.sink.received().pop().expect("a call");
    assert_eq!((last.path.as_str(), last.body), ("/third", json!({"host": "web-1", "was": 200})));
    assert_eq!(calls(&bed, "/second"), before);
}

async fn many_are_run_again_by_a_filter(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let flow = client.save(&flow(&bed, "many")).await;
    let old = [failed(&bed, &client, &flow).await, failed(&bed, &client, &flow).await];
    let before = calls(&bed, "/first");
    let filter = json!({"orchestration_flow_id": flow, "run_status": "failed"});
    client.post("/api/v1/bulk", json!({"verb": "rerun", "filter": filter}), 422).await;
    client.post("/api/v1/bulk", json!({"verb": "retry", "from_step": "third", "filter": filter}), 422).await;
    let job = client.post("/api/v1/bulk", json!({"verb": "rerun", "from_step": "third", "filter": filter}), 202).await;
    let path = format!("/api/v1/bulk/{}", job["id"].as_str().expect("an id"));
    client.until(&path, |job| job["done"] == 2).await;
    let new = client.items("/api/v1/runs?run_status=running").await;
    let parents: Vec<&Value> = new.iter().map(|run| &run["parent_run_id"]).collect();
    assert_eq!(parents.len(), 2);
    assert!(old.iter().all(|run| parents.contains(&&json!(run.id()))), "{parents:?}");
    assert_eq!(calls(&bed, "/first"), before);
    let at_once = client.post("/api/v1/runs/bulk/rerun", json!({"from_step": "third", "filter": filter}), 200).await;
    assert_eq!((&at_once["done"], &at_once["refused"]), (&json!(2), &json!([])));
}

async fn a_replay_says_what_would_be_otherwise_and_does_nothing(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut document = bed.flow("replayed", &["first", "second"]);
        document["flow_steps"][0]["config"]["action_payload"]["headers"] = json!({"Authorization": "Bearer planted"});
        let flow = client.save(&document).await;
        let run = client.start(&flow).await;
        client.run(run.id(), "completed").await;
        document["flow_steps"][1]["config"]["action_payload"]["json"]["host"] = json!("{{ trigger.host }}.example.com");
        document["flow_steps"][0]["config"]["action_payload"]["headers"] = json!({"Authorization": "Bearer other"});
        let replay = format!("/api/v1/runs/{}/replay", run.id());
        let (calls, runs) = (bed.sink.received().len(), client.items("/api/v1/runs").await.len());
        let unsaved = client.post(&replay, json!({"document": document}), 200).await;
        let told = pick(&unsaved, "from_version to_version same faithful refused run_status");
        assert_eq!(told, json!([1, null, false, true, null, {"before": "completed", "after": "completed"}]));
        let steps = unsaved["steps"].as_array().expect("steps");
        let changes: Vec<Value> = steps.iter().map(|step| pick(step, "step change before after")).collect();
        let payload = |id: &str| json!([id, "payload", "completed", "completed"]);
        assert_eq!(changes, [payload("first"), payload("second")]);
        let place = |value: &str| json!({"place": "/payload/json/host", "before": "web-1", "after": value});
        assert_eq!(steps[1]["differences"], json!([place("web-1.example.com")]));
        let text = unsaved.to_string();
        assert!(!text.contains("planted") && !text.contains("Bearer other"), "secrets stay where they are: {text}");

        document["flow_steps"].as_array_mut().expect("a list").insert(1, bed.call("between"));
        let patch = json!({"flow_steps": document["flow_steps"]});
        let saved = client.ask(Method::PATCH, &format!("/api/v1/flows/{flow}"), Some(&patch), &[]).await;
        assert!(saved.status.is_success(), "{}", saved.body);
        let next = client.post(&replay, json!({"version": 2}), 200).await;
        assert_eq!(next["run_status"], json!({"before": "completed", "after": null}));
        let changes: Vec<Value> =
            next["steps"].as_array().expect("steps").iter().map(|s| pick(s, "step change")).collect();
        assert_eq!(changes, [json!(["first", "payload"]), json!(["between", "added"]), json!(["second", "unknown"])]);
        assert_eq!(client.post(&replay, json!({"version": 1}), 200).await["same"], true);

        let many = json!({"filter": {"orchestration_flow_id": flow}, "version": 2});
        let sum = client.post("/api/v1/runs/bulk/replay", many, 200).await;
        let told = pick(&sum, "replayed same different unknown refused more out_of_time");
        assert_eq!(told, json!([1, 0, 1, 1, 0, false, false]));
        assert_eq!(sum["run_ids"], json!([run.id()]));
        for (wrong, status) in [
            (json!({"version": 9}), 422),
            (json!({}), 422),
            (json!({"version": 1, "document": document}), 422),
            (json!({"document": {"flow_name": "x"}}), 422),
            (json!({"document": 3}), 422),
        ] {
            client.post(&replay, wrong, status).await;
        }
        let after = (bed.sink.received().len(), client.items("/api/v1/runs").await.len());
        assert_eq!(after, (calls, runs), "nothing was done, and nothing written");
    }
}

async fn an_execution_of_a_round_that_is_over_is_found_in_the_log(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let mut flow = bed.flow("rounds", &[]);
    flow["flow_steps"] =
        json!([{"id": "each", "type": "for_each", "config": {"collection": "[1, 2]", "steps": [bed.call("call")]}}]);
    for client in bed.clients() {
        let flow = client.save(&flow).await;
        let run = client.start(&flow).await;
        client.run(run.id(), "completed").await;
        let log = client.items(&format!("/api/v1/execution-log?flow_run_id={}&action_type=api_call", run.id())).await;
        assert_eq!(log.len(), 2);
        for attempt in log {
            let id = attempt["execution_queue_id"].as_str().expect("an id");
            let told = client.ask(Method::GET, &format!("/api/v1/executions/{id}"), None, &[]).await;
            let why = told.body["detail"].as_str().unwrap_or_default();
            assert_eq!(told.status.as_u16(), 404);
            assert!(why.contains("a round of a loop that is over"), "{why}");
            let path = why.split("GET ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a path");
            assert_eq!(client.items(path).await, std::slice::from_ref(&attempt), "where it says");
            let told = client.post(&format!("/api/v1/executions/{id}/retry"), json!({}), 409).await;
            assert!(told["detail"].is_string());
        }
        for stranger in bed.strangers() {
            let log = client.items(&format!("/api/v1/execution-log?flow_run_id={}", run.id())).await;
            let id = log[0]["execution_queue_id"].as_str().expect("an id").to_owned();
            let told = stranger.ask(Method::GET, &format!("/api/v1/executions/{id}"), None, &[]).await;
            assert_eq!(told.body["detail"], "there is no such execution");
        }
    }
}

on_both_stores!(
    an_execution_of_a_round_that_is_over_is_found_in_the_log,
    a_run_is_run_again_from_its_failed_step,
    what_cannot_be_run_again_says_why,
    a_run_that_took_outcomes_over_survives_a_crash,
    many_are_run_again_by_a_filter,
    a_replay_says_what_would_be_otherwise_and_does_nothing,
);
