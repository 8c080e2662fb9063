//! The end of a run: what it gives, and whom its flow tells when it ends badly.

use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::on_both_stores;
use crate::support::{Installation, Server, StoreKind};

fn values(values: &Value) -> Value {
    json!({"id": "a", "type": "transform", "config": {"values": values}})
}

fn flow(name: &str, step: &Value) -> Value {
    json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [step]})
}

async fn an_output_is_computed_and_checked_by_its_schema(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut mapped = flow("mapped", &values(&json!({"n": "20 + 1"})));
        mapped["output_schema"] = json!({"type": "object", "required": ["total"], "properties": {
            "total": {"type": "integer", "x-value": "steps.a.output.n * 2"}, "unit": {"type": "string", "default": "ms"}}});
        let id = client.save(&mapped).await;
        let run = client.start(&id).await;
        let ended = client.run(run.id(), "completed").await;
        assert_eq!(ended["output"], json!({"total": 42, "unit": "ms"}));
        assert_eq!(client.get(&format!("/api/v1/flows/{id}")).await["output_schema"], mapped["output_schema"]);

        let mut wrong = flow("wrong", &values(&json!({"n": "'many'"})));
        wrong["output_schema"] = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let run = client.start(&client.save(&wrong).await).await;
        let ended = client.run(run.id(), "failed").await;
        assert_eq!(ended["error"], "the output does not fit output_schema: /n must be of type integer");
        assert_eq!(client.execution(run.execution(0), "completed").await["execution_status"], "completed");

        wrong["output_schema"]["properties"]["n"]["x-value"] = json!("steps.b.output");
        wrong["flow_name"] = json!("unknown");
        let refused = client.post("/api/v1/flows", wrong, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/output_schema/properties/n/x-value", "{refused}");
    }
}

fn raising(channels: &Value) -> Value {
    let raise = json!({"id": "a", "type": "raise", "config": {"error": "no_room", "message": "no {{ '{{' }} room"}});
    let mut flow = flow("raising", &raise);
    flow["error_notification_channels"] = channels.clone();
    flow
}

async fn told(client: &Client<'_>, count: usize) -> Vec<Value> {
    let is_there = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() >= count);
    client.until("/api/v1/notifications", is_there).await["items"].as_array().expect("items").clone()
}

async fn a_bad_end_is_told_to_the_channels_of_its_flow(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let saved = client.post("/api/v1/flows", raising(&json!(["in_app", "email"])), 201).await;
        assert_eq!(saved["warnings"][0]["pointer"], "/error_notification_channels/1", "{saved}");
        let run = client.start(saved["id"].as_str().expect("an id")).await;
        client.run(run.id(), "failed").await;
        let items = told(&client, 1).await;
        assert_eq!(items.len(), 1, "{items:#?}");
        assert_eq!((&items[0]["title"], &items[0]["severity"]), (&json!("raising: failed"), &json!("high")));
        assert_eq!(items[0]["message"], "step 'a': no {{ room", "nothing in an error is a template");
        assert_eq!(items[0]["action_url"], json!(format!("/runs/{}", run.id())));
        // What a person stops, or ends well, is told to nobody; nor is a flow that names nobody.
        let quiet = client.save(&flow("quiet", &values(&json!({"n": "1"})))).await;
        client.run(client.start(&quiet).await.id(), "completed").await;
        assert_eq!(client.items("/api/v1/notifications").await.len(), 1);
    }
}

/// Killed before the channels are told and after: they are told, once.
async fn a_bad_end_is_told_once_over_a_crash(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    server.create("/api/v1/flows", raising(&json!(["in_app"]))).await;
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        server.terminate();
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        server = Server::start_with(&installation, &environment).expect("it starts");
        // The answer may be lost: the run is durable all the same, or the caller would come back.
        let body = json!({"run_key": format!("k-{no}")});
        server.request(reqwest::Method::POST, "/api/v1/flows/raising/trigger", Some(body)).await.ok();
        server.wait();
        server = Server::start(&installation);
        while server.all("/api/v1/notifications").await.len() <= no {
            tokio::task::yield_now().await;
        }
    }
    // What the last life left is taken up once more, and tells nobody again.
    server.terminate();
    let server = Server::start(&installation);
    assert_eq!(server.all("/api/v1/notifications").await.len(), 2, "one for each run");
}

on_both_stores!(
    an_output_is_computed_and_checked_by_its_schema,
    a_bad_end_is_told_to_the_channels_of_its_flow,
    a_bad_end_is_told_once_over_a_crash,
);
