//! Steps whose results are used again: by whom, for how long, and until what.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::{Server, StoreKind};

/// Asks the receiver, unless it has been asked for the same host.
fn flow(bed: &Bed, name: &str) -> Value {
    let mut step = bed.call("ask");
    step["cache"] = json!({"key": "[trigger.host, tenant.id]", "seconds": 600});
    let look = json!({"id": "look", "type": "transform", "config": {"values": {"seen": "steps.ask.output.body"}}});
    json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [step, look]})
}

async fn ended(client: &Client<'_>, flow: &str, host: &str) -> Started {
    let body = json!({"trigger_context": {"host": host}});
    let run = Started(client.post(&format!("/api/v1/flows/{flow}/trigger"), body, 202).await);
    client.run(run.id(), "completed").await;
    run
}

async fn a_result_is_used_again_under_its_key(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let flow_id = {
        let [client, other] = bed.clients();
        let id = client.save(&flow(&bed, "ask")).await;
        let first = ended(&client, &id, "web-1").await;
        assert_eq!(bed.sink.received().len(), 1);
        let again = ended(&client, &id, "web-1").await;
        assert_eq!(bed.sink.received().len(), 1, "nobody was asked");
        let [one, two] = [
            client.get(&format!("/api/v1/runs/{}", first.id())).await,
            client.get(&format!("/api/v1/runs/{}", again.id())).await,
        ];
        assert_eq!(one["output"], two["output"]);
        let step = client.execution(again.execution(0), "completed").await;
        assert_eq!(step["action_payload"]["cached"]["execution_id"], json!(first.execution(0)));
        let log = client.items(&format!("/api/v1/execution-log?execution_queue_id={}", again.execution(0))).await;
        assert_eq!(log.len(), 1);
        assert_eq!(
            pick(&log[0], "execution_status success retry_attempt http_status_code"),
            json!(["completed", true, 0, null])
        );
        assert_eq!(log[0]["action_payload"], step["action_payload"]);
        ended(&client, &id, "web-2").await;
        assert_eq!(bed.sink.received().len(), 2, "another key");
        let theirs = other.save(&flow(&bed, "ask")).await;
        ended(&other, &theirs, "web-1").await;
        let copy = client.save(&flow(&bed, "ask too")).await;
        ended(&client, &copy, "web-1").await;
        assert_eq!(bed.sink.received().len(), 4, "neither another tenant's nor another flow's");
        id
    };
    bed.server.terminate();
    let server = Server::start(&bed.installation);
    let client = Client::of(&server, user);
    ended(&client, &flow_id, "web-1").await;
    assert_eq!(bed.sink.received().len(), 4, "it outlives the process");
    let mut changed = flow(&bed, "ask");
    changed["flow_steps"][0]["config"]["action_payload"]["json"]["more"] = json!(true);
    let patch = json!({"flow_steps": changed["flow_steps"]});
    let saved = client.ask(Method::PATCH, &format!("/api/v1/flows/{flow_id}"), Some(&patch), &[]).await;
    assert!(saved.status.is_success(), "{}", saved.body);
    ended(&client, &flow_id, "web-1").await;
    assert_eq!(bed.sink.received().len(), 5, "a changed step asks anew");
}

async fn an_expired_result_is_not_used_and_goes(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314__ENGINE__COLLECT_INTERVAL_MS", "1000".to_owned())]).await;
    let [client, _] = bed.clients();
    let id = client.save(&flow(&bed, "ask")).await;
    ended(&client, &id, "web-1").await;
    let service = if kind == StoreKind::Postgres { "SET ROLE core314_service;" } else { "" };
    bed.installation.meddle(&format!("{service} UPDATE step_cache SET expires_at_ms = 1")).await;
    ended(&client, &id, "web-1").await;
    assert_eq!(bed.sink.received().len(), 2);
    bed.installation.meddle(&format!("{service} UPDATE step_cache SET expires_at_ms = 1")).await;
    let started = Instant::now();
    while bed.installation.rows("SELECT CAST(count(*) AS text) FROM step_cache").await != ["0"] {
        assert!(started.elapsed() < Duration::from_mins(1), "what has expired stays");
    }
}

async fn a_flow_keeps_no_more_than_it_may(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314__ENGINE__CACHED_RESULTS_PER_FLOW", "2".to_owned())]).await;
    let [client, _] = bed.clients();
    let id = client.save(&flow(&bed, "ask")).await;
    for host in ["a", "b", "c", "c", "a"] {
        ended(&client, &id, host).await;
    }
    assert_eq!(bed.sink.received().len(), 4, "c was asked twice, a and b once");
}

on_both_stores!(
    a_result_is_used_again_under_its_key,
    an_expired_result_is_not_used_and_goes,
    a_flow_keeps_no_more_than_it_may,
);
