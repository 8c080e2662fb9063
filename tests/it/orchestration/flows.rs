//! Definitions: checked, cloned, versioned, tried out, exported, paused and deleted.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, pick};
use super::on_both_stores;
use crate::support::StoreKind;

async fn a_flow_is_changed_by_whoever_has_read_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("versioned", &["call"]);
        flow["metadata"] = json!({"applied_from": "v.yaml"});
        let flow = client.save(&flow).await;
        let path = format!("/api/v1/flows/{flow}");
        let change = async |etag: &str, patch: Value| {
            client.ask(Method::PATCH, &path, Some(&patch), &[("If-Match", etag)]).await
        };
        let changed = change("\"v1\"", json!({"flow_description": "second"})).await;
        assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"v2\""), "{}", changed.body);
        let stale = change("\"v1\"", json!({"flow_description": "third"})).await;
        assert_eq!(
            (stale.status, &stale.body["code"]),
            (StatusCode::PRECONDITION_FAILED, &json!("precondition_failed"))
        );
        assert_eq!(change("\"v2\"", json!({"speed": 1})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            change("\"v2\"", json!({"flow_description": "second"})).await.header("etag"),
            "\"v2\"",
            "nothing changed"
        );
        let versions = client.items(&format!("{path}/versions")).await;
        let told: Vec<Value> =
            versions.iter().map(|v| json!([v["flow_version"], v["document"]["flow_description"]])).collect();
        assert_eq!(told, [json!([2, "second"]), json!([1, ""])]);

        let clone = client.post(&format!("{path}/clone"), json!({"flow_name": "copy"}), 201).await;
        assert_eq!(pick(&clone, "flow_name flow_version flow_description"), json!(["copy", 1, "second"]));
        assert_eq!(clone["metadata"]["applied_from"], Value::Null, "it came from no file, and pruning leaves it alone");
        assert_ne!(clone["id"], flow);
        let same = client.post(&format!("{path}/clone"), json!({"flow_name": "versioned"}), 201).await;
        assert_eq!(same["metadata"]["applied_from"], "v.yaml");
        assert_eq!(same["id"], flow, "under its own name it is a version of the same flow");
        client.post(&format!("{path}/clone"), json!({"flow_name": "copy"}), 409).await;
        client.post(&format!("{path}/clone"), json!({}), 422).await;
        let gone = client.ask(Method::DELETE, &path, None, &[("If-Match", "\"v1\"")]).await;
        assert_eq!(gone.status, StatusCode::PRECONDITION_FAILED);
    }
}

async fn a_document_is_tried_before_it_is_trusted(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut wrong = bed.flow("wrong", &["a", "b"]);
        wrong["flow_steps"][1]["config"]["action_type"] = json!("teleport");
        wrong["flow_steps"][0]["when"] = json!("trigger.x ==");
        let checked = client.post("/api/v1/flows/validate", wrong.clone(), 200).await;
        let at: Vec<&Value> = checked["errors"].as_array().expect("a list").iter().map(|e| &e["pointer"]).collect();
        assert_eq!(
            (&checked["valid"], at),
            (&json!(false), vec![&json!("/flow_steps/0/when"), &json!("/flow_steps/1/config/action_type")])
        );
        let refused = client.post("/api/v1/flows", wrong, 422).await;
        assert_eq!(refused["code"], "invalid_flow");
        let mut flow = bed.flow("tried", &["call", "after"]);
        flow["conditions"] = json!({"host": "web-1"});
        flow["flow_steps"][1]["config"]["action_payload"]["json"] = json!("{{ steps.call.output.body }}");
        let id = client.save(&flow).await;
        let path = format!("/api/v1/flows/{id}");
        let dry = client.post(&format!("{path}/dry-run"), json!({"trigger_context": {"host": "web-1"}}), 200).await;
        assert_eq!(pick(&dry, "matches clause"), json!([true, null]));
        assert_eq!(dry["steps"][0]["action_payload"]["json"], json!({"host": "web-1"}));
        assert_eq!(pick(&dry["steps"][1], "inputs action_payload"), json!([["call"], null]));
        assert!(dry["steps"][1]["unknown"].is_string(), "{dry:#}");
        let no = client.post(&format!("{path}/dry-run"), json!({"trigger_context": {"host": "db-1"}}), 200).await;
        assert!(no["matches"] == false && no["clause"].is_string(), "{no:#}");

        let yaml = client.ask(Method::GET, &format!("{path}/export"), None, &[]).await;
        assert_eq!((yaml.status, yaml.header("content-type")), (StatusCode::OK, "application/yaml"));
        assert!(yaml.body.as_str().is_some_and(|text| text.contains("flow_name: tried")), "{}", yaml.body);
        let exported = client.get(&format!("{path}/export?format=json")).await;
        assert!(exported.get("flow_version").is_none() && exported.get("id").is_none(), "{exported:#}");
        let mut copy = exported;
        copy["flow_name"] = json!("again");
        client.save(&copy).await;
        let odd = client.ask(Method::GET, &format!("{path}/export?format=xml"), None, &[]).await;
        assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_eq!(bed.sink.received().len(), 0, "trying does nothing");
    assert_eq!(bed.installation.rows("SELECT flow_name FROM runs").await, Vec::<String>::new());
}

async fn a_paused_flow_starts_nothing_and_a_deleted_one_lets_its_runs_go_on(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("leaving", &["ask", "call"]);
        flow["flow_steps"][0]["requires_approval"] = json!(true);
        let id = client.save(&flow).await;
        let path = format!("/api/v1/flows/{id}");
        let run = client.start(&id).await;
        assert_eq!(client.post(&format!("{path}/pause"), json!({}), 200).await["is_active"], false);
        let refused = client.post(&format!("{path}/trigger"), json!({}), 409).await;
        assert_eq!(refused["code"], "flow_inactive");
        let bulk = client.post(&format!("{path}/trigger/bulk"), json!({"triggers": [{}]}), 409).await;
        assert_eq!(bulk["code"], "flow_inactive");
        assert_eq!(client.post(&format!("{path}/resume"), json!({}), 200).await["is_active"], true);
        let second = client.start(&id).await;
        let version = client.get(&path).await["flow_version"].clone();
        let tag = format!("\"v{version}\"");
        let gone = client.ask(Method::DELETE, &path, None, &[("If-Match", tag.as_str())]).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.body);
        for gone in [&path, &format!("{path}/versions"), &format!("{path}/export")] {
            assert_eq!(client.ask(Method::GET, gone, None, &[]).await.status, StatusCode::NOT_FOUND, "{gone}");
        }
        client.post(&format!("{path}/trigger"), json!({}), 404).await;
        for run in [&run, &second] {
            client.post(&format!("/api/v1/executions/{}/approve", run.execution(0)), json!({}), 200).await;
            client.run(run.id(), "completed").await;
        }
        assert_eq!(client.items(&format!("/api/v1/executions?flow_run_id={}", run.id())).await.len(), 2);
        client.post(&format!("/api/v1/runs/{}/restart", run.id()), json!({}), 404).await;
        client.save(&flow).await;
        let audit = client.items(&format!("/api/v1/audit-log?subject_id={id}&event_type=flow_deleted")).await;
        assert_eq!(audit.len(), 1);
    }
}

on_both_stores!(
    a_flow_is_changed_by_whoever_has_read_it,
    a_document_is_tried_before_it_is_trusted,
    a_paused_flow_starts_nothing_and_a_deleted_one_lets_its_runs_go_on,
);
