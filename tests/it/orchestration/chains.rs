//! Flows that start when another one has ended.

use serde_json::{Value, json};

use super::bed::{Bed, Client, pick};
use super::events::quiet;
use super::on_both_stores;
use crate::support::{Server, StoreKind};

async fn the_end_of_a_flow_starts_those_that_wait_for_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let backup = client.save(&quiet("backup", "manual", json!({}))).await;
        client.save(&quiet("check", "flow_finished", json!({"flow": "backup"}))).await;
        client.save(&quiet("by-id", "flow_finished", json!({"flow": backup, "match": "all"}))).await;
        let failing = json!({"flow": "backup", "statuses": ["cancelled"], "match": "all"});
        client.save(&quiet("mourn", "flow_finished", failing)).await;
        let run = client.start("backup").await;
        client.run(run.id(), "completed").await;
        let children = format!("/api/v1/runs?parent_run_id={}", run.id());
        let children =
            client.until(&children, |runs| runs["items"].as_array().is_some_and(|runs| runs.len() == 2)).await;
        let children = children["items"].as_array().expect("items");
        let mut names: Vec<&str> = children.iter().filter_map(|run| run["flow_name"].as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["by-id", "check"]);
        let seen = &children[0]["trigger_context"];
        let expected = json!([run.id(), backup, "backup", "completed", 1]);
        assert_eq!(pick(seen, "run_id flow_id flow_name run_status chain_depth"), expected);
        assert_eq!(seen["output"]["seen"], json!({"host": "web-1"}), "{seen}");
        assert_eq!(seen["input"], json!({"host": "web-1"}));
    }
}

async fn a_circle_ends(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[("CORE314__ENGINE__MAX_CHAIN_DEPTH", "3".to_owned())]).await;
    for client in bed.clients() {
        client.save(&quiet("first", "manual", json!({}))).await;
        client.save(&quiet("ping", "flow_finished", json!({"flow": "pong"}))).await;
        let saved = client.post("/api/v1/flows", quiet("pong", "flow_finished", json!({"flow": "ping"})), 201).await;
        let warning = saved["warnings"][0]["message"].as_str().expect("a warning");
        assert!(warning.contains("pong → ping → pong") || warning.contains("ping → pong"), "{warning}");
        let mut begin = quiet("begin", "flow_finished", json!({"flow": "first"}));
        begin["flow_name"] = json!("begin");
        let saved = client.post("/api/v1/flows", begin, 201).await;
        assert_eq!(saved["warnings"], json!([]));
        // A link into the circle.
        let hop = quiet("hop", "flow_finished", json!({"flow": "hop"}));
        assert!(
            client.post("/api/v1/flows", hop, 201).await["warnings"][0]["message"]
                .as_str()
                .expect("a text")
                .contains("hop → hop")
        );
        client.start("hop").await;
        let refused = client
            .until("/api/v1/audit-log?event_type=chain_refused", |rows| {
                !rows["items"].as_array().expect("a list").is_empty()
            })
            .await;
        assert_eq!(refused["items"][0]["details"], json!({"chain_depth": 4, "max_chain_depth": 3}));
        let runs = client.items("/api/v1/runs").await;
        assert_eq!(runs.iter().filter(|run| run["flow_name"] == "hop").count(), 4, "one by hand and three links");
    }
}

/// The process dies at an end that somebody waits for: before anything is started, and when it is and nobody knows.
async fn a_chain_outlives_a_crash(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    client.save(&quiet("backup", "manual", json!({}))).await;
    client.save(&quiet("check", "flow_finished", json!({"flow": "backup"}))).await;
    let (user, installation) = (client.user, bed.installation);
    let mut server = bed.server;
    server.terminate();
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        let mut server = Server::start_with(&installation, &environment).expect("there is nothing to start yet");
        // It dies before or after its answer.
        Client::of(&server, user).lost("/api/v1/flows/backup/trigger").await;
        server.wait();
        let mut server = Server::start(&installation);
        let client = Client::of(&server, user);
        let of = |runs: &Value, name: &str| {
            let runs = runs["items"].as_array().expect("items").iter();
            runs.filter(|run| run["flow_name"] == name && run["run_status"] == "completed").count()
        };
        client.until("/api/v1/runs?limit=500", |runs| of(runs, "check") == no + 1).await;
        let runs = client.items("/api/v1/runs?limit=500").await;
        assert_eq!(runs.len(), 2 * (no + 1), "{point}: a run of each flow");
        server.terminate();
    }
}

on_both_stores!(the_end_of_a_flow_starts_those_that_wait_for_it, a_circle_ends, a_chain_outlives_a_crash);
