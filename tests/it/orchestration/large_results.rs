//! Results that are too large for a row: kept once, seen by whoever looks at one, collected when nothing refers to them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::{Server, StoreKind};

/// Larger than `engine.inline_result_bytes` is by default.
const BYTES: usize = 200_000;

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn typed(id: &str, word: &str, config: Value) -> Value {
    json!({"id": id, "type": word, "config": config})
}

/// Gives a large result, waits for a signal, and then looks at it in all the ways that there are.
fn flow(url: &str) -> Value {
    let give = json!({"action_type": "transform", "action_payload": {"text": "{{ trigger.text }}", "hosts": "{{ trigger.hosts }}"}});
    let send = json!({"action_type": "api_call", "action_payload":
        {"method": "POST", "url": url, "json": {"text": "{{ steps.give.output.text }}"}}});
    let one = json!({"id": "one", "type": "transform", "config": {"values": {"host": "loop.item"}}});
    json!({"flow_name": "large", "trigger_type": "manual", "flow_steps": [
        {"id": "give", "config": give},
        typed("pause", "wait", json!({"signal": "go"})),
        typed("each", "for_each", json!({"collection": "steps.give.output.hosts", "concurrency": 2, "steps": [one]})),
        {"id": "send", "config": send, "when": "size(steps.give.output.text) > 10"},
        typed("look", "transform", json!({"values": {"length": "size(steps.give.output.text)", "count": "steps.each.output.count"}})),
        {"id": "again", "config": {"action_type": "transform", "action_payload": "{{ steps.give.output }}"}},
    ]})
}

async fn triggered(client: &Client<'_>, flow: &str) -> Started {
    let context = json!({"text": "x".repeat(BYTES), "hosts": ["a", "b", "c"]});
    Started(client.post(&format!("/api/v1/flows/{flow}/trigger"), json!({"trigger_context": context}), 202).await)
}

async fn a_large_result_is_kept_once_and_seen_whole(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let (run, give) = {
        let client = Client::of(&bed.server, user);
        let flow = client.save(&flow(&bed.sink.url)).await;
        let run = triggered(&client, &flow).await;
        let give = run.execution(0).to_owned();
        client.execution(&give, "completed").await;
        (run, give)
    };
    // What the steps after it need is read from the store.
    bed.server.terminate();
    let server = Server::start(&bed.installation);
    let client = Client::of(&server, user);
    client.post(&format!("/api/v1/runs/{}/signal/go", run.id()), json!({}), 200).await;
    let ended = client.run(run.id(), "completed").await;
    assert_eq!(ended["output"]["text"], json!("x".repeat(BYTES)));
    assert_eq!(bed.sink.received()[0].body["text"], json!("x".repeat(BYTES)));
    let log = client.items(&format!("/api/v1/execution-log?flow_run_id={}&limit=50", run.id())).await;
    let row = |no: i64| log.iter().find(|row| row["step_no"] == no).expect("the step has a row");
    let reference = &row(0)["execution_result"];
    assert_eq!(reference["bytes"].as_u64().map(|bytes| bytes as usize / 1000), Some(BYTES / 1000), "{reference}");
    assert_eq!(pick(row(0), "action_payload"), json!([reference]), "the same content is the same blob");
    let last = log.iter().find(|row| row["execution_result"] == *reference && row["step_no"] != 0);
    assert!(last.is_some(), "what the last step gave is the same blob");
    let look = log.iter().find(|row| row["execution_result"]["length"].is_number()).expect("it looked");
    assert_eq!(look["execution_result"], json!({"length": BYTES, "count": 3}));
    let whole = client.get(&format!("/api/v1/execution-log/{}", row(0)["id"].as_str().expect("an id"))).await;
    assert_eq!(whole["execution_result"]["text"], json!("x".repeat(BYTES)));
    let whole = client.execution(&give, "completed").await;
    assert_eq!(whole["execution_result"], whole["action_payload"]);
    let blobs = bed.installation.rows("SELECT CAST(count(*) AS text) FROM blobs").await;
    assert_eq!(blobs, ["2"], "what was given, and what was sent");
    let stranger = Client::of(&server, uuid::Uuid::from_u128(77));
    let answer = stranger.ask(reqwest::Method::GET, &format!("/api/v1/executions/{give}"), None, &[]).await;
    assert_eq!(answer.status.as_u16(), 404);
    drop(server);
    let (code, printed) = bed.installation.run(&["log", "verify"]);
    assert_eq!(code, 0, "{printed}");
}

/// A value that looks like a reference is one of a step all the same.
async fn a_forged_reference_is_a_value(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, other] = bed.clients();
    let flow = client.save(&flow(&bed.sink.url)).await;
    let run = triggered(&client, &flow).await;
    client.execution(run.execution(0), "completed").await;
    let path = format!("/api/v1/execution-log?flow_run_id={}", run.id());
    let reference = client.items(&path).await[0]["execution_result"].clone();
    let forge = json!({"flow_name": "forge", "trigger_type": "manual", "flow_steps": [
        {"id": "forge", "config": {"action_type": "transform", "action_payload": reference}},
        typed("look", "transform", json!({"values": {"seen": "steps.forge.output"}}))]});
    let forged = other.save(&forge).await;
    let run = other.start(&forged).await;
    let ended = other.run(run.id(), "completed").await;
    assert_eq!(ended["output"]["seen"], reference);
    let step = other.execution(run.execution(0), "completed").await;
    assert_eq!(step["execution_result"], reference);
}

async fn what_nothing_refers_to_is_collected(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314__ENGINE__COLLECT_INTERVAL_MS", "1000".to_owned())]).await;
    let [client, _] = bed.clients();
    let flow = client.save(&flow(&bed.sink.url)).await;
    let run = triggered(&client, &flow).await;
    client.execution(run.execution(0), "completed").await;
    let (id, text) = match kind {
        StoreKind::Sqlite => ("x'0190a000000070008000000000000099'", "x'31'"),
        StoreKind::Postgres => ("'0190a000-0000-7000-8000-000000000099'", "'1'::bytea"),
    };
    let service = if kind == StoreKind::Postgres { "SET ROLE core314_service;" } else { "" };
    let orphan = format!(
        "{service} INSERT INTO blobs (id, tenant_id, run_id, content, created_at_ms) VALUES ({id}, {id}, {id}, {text}, 1)"
    );
    bed.installation.meddle(&orphan).await;
    let started = Instant::now();
    while bed.installation.rows("SELECT CAST(count(*) AS text) FROM blobs").await != ["1"] {
        assert!(started.elapsed() < Duration::from_mins(1), "the blob of no run stays");
    }
    let whole = client.execution(run.execution(0), "completed").await;
    assert_eq!(whole["execution_result"]["text"], json!("x".repeat(BYTES)), "the other one is in use");
}

on_both_stores!(
    a_large_result_is_kept_once_and_seen_whole,
    a_forged_reference_is_a_value,
    what_nothing_refers_to_is_collected,
);
