//! Flows that take over from a run that has failed: once, however often the process dies, and not for ever.

use serde_json::{Value, json};

use super::bed::{Bed, Client, pick};
use super::events::quiet;
use super::on_both_stores;
use crate::support::{Server, StoreKind};

/// A flow that fails at once, and hands over.
fn failing(name: &str, fallback: &str) -> Value {
    json!({"flow_name": name, "trigger_type": "manual", "on_error_action": "fallback", "fallback_flow_id": fallback,
        "flow_steps": [{"id": "no", "type": "raise", "config": {"error": "no", "message": "no room for {{ trigger.host }}"}}]})
}

async fn children(client: &Client<'_>, run: &str) -> Vec<Value> {
    let path = format!("/api/v1/runs?parent_run_id={run}");
    let found = client.until(&path, |runs| runs["items"].as_array().is_some_and(|runs| !runs.is_empty())).await;
    found["items"].as_array().expect("items").clone()
}

async fn a_failed_run_hands_over(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let rescue = client.save(&quiet("rescue", "manual", json!({}))).await;
        let flow = client.save(&failing("work", &rescue)).await;
        let run = client.start(&flow).await;
        let ended = client.run(run.id(), "failed").await;
        let found = children(&client, run.id()).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            pick(&found[0], "flow_name trigger_source trigger_type"),
            json!(["rescue", "fallback", "flow_finished"])
        );
        let seen = &found[0]["trigger_context"];
        assert_eq!(
            pick(seen, "run_id run_status error trigger chain_depth"),
            json!([run.id(), "failed", ended["error"], {"host": "web-1"}, 1])
        );
        client.run(found[0]["id"].as_str().expect("an id"), "completed").await;
        let unnamed = json!({"flow_name": "unnamed", "trigger_type": "manual", "on_error_action": "fallback",
            "flow_steps": [{"id": "a", "type": "transform", "config": {"values": {"n": "1"}}}]});
        let refused = client.post("/api/v1/flows", unnamed, 422).await;
        assert!(refused.to_string().contains("fallback_flow_id"), "{refused}");
    }
}

/// A flow that takes over from itself: each of its runs fails too.
async fn a_circle_of_fallbacks_ends(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314__ENGINE__MAX_CHAIN_DEPTH", "3".to_owned())]).await;
    let [client, _] = bed.clients();
    let rescue = client.save(&quiet("rescue", "manual", json!({}))).await;
    let flow = client.save(&failing("again", &rescue)).await;
    let own = json!({"fallback_flow_id": flow});
    let saved = client.ask(reqwest::Method::PATCH, &format!("/api/v1/flows/{flow}"), Some(&own), &[]).await;
    assert!(saved.status.is_success(), "{}", saved.body);
    assert!(saved.body["warnings"].to_string().contains("takes over from itself"), "{}", saved.body);
    client.start(&flow).await;
    let refused = client
        .until("/api/v1/audit-log?event_type=chain_refused", |rows| {
            !rows["items"].as_array().expect("a list").is_empty()
        })
        .await;
    assert_eq!(refused["items"][0]["details"], json!({"chain_depth": 4, "max_chain_depth": 3}));
    assert_eq!(client.items("/api/v1/runs").await.len(), 4, "one by hand and three that took over");
}

async fn a_fallback_outlives_a_crash(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let rescue = client.save(&quiet("rescue", "manual", json!({}))).await;
    client.save(&failing("work", &rescue)).await;
    let (user, installation) = (client.user, bed.installation);
    let mut server = bed.server;
    server.terminate();
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        let mut server = Server::start_with(&installation, &environment).expect("there is nothing to start yet");
        Client::of(&server, user).lost("/api/v1/flows/work/trigger").await;
        server.wait();
        let mut server = Server::start(&installation);
        let client = Client::of(&server, user);
        let of = |runs: &Value, name: &str| {
            let runs = runs["items"].as_array().expect("items").iter();
            runs.filter(|run| run["flow_name"] == name && run["run_status"] == "completed").count()
        };
        client.until("/api/v1/runs?limit=500", |runs| of(runs, "rescue") == no + 1).await;
        let runs = client.items("/api/v1/runs?limit=500").await;
        assert_eq!(runs.len(), 2 * (no + 1), "{point}: a run of each flow");
        server.terminate();
    }
}

on_both_stores!(a_failed_run_hands_over, a_circle_of_fallbacks_ends, a_fallback_outlives_a_crash);
