//! Versions: looked at, compared, restored, and given to a share of the runs.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::bed::{Bed, Client, pick};
use super::on_both_stores;
use crate::scripted::Scripted;
use crate::support::StoreKind;

async fn an_earlier_version_comes_back(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&bed.flow("ages", &["one"])).await;
        let path = format!("/api/v1/flows/{flow}");
        let change = json!({"flow_description": "second", "flow_steps": [bed.call("one"), bed.call("two")]});
        client.ask(Method::PATCH, &path, Some(&change), &[]).await;
        let first = client.get(&format!("{path}/versions/1")).await;
        assert_eq!((&first["flow_version"], &first["document"]["flow_description"]), (&json!(1), &json!("")));
        for nothing in ["9", "0", "x"] {
            let answer = client.ask(Method::GET, &format!("{path}/versions/{nothing}"), None, &[]).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{nothing}");
        }
        let told = client.get(&format!("{path}/diff")).await;
        let places: Vec<&Value> = told["differences"].as_array().expect("a list").iter().map(|d| &d["place"]).collect();
        assert_eq!(
            (pick(&told, "from to"), places),
            (json!([1, 2]), vec![&json!("/flow_description"), &json!("/flow_steps/two")])
        );
        let back = client.get(&format!("{path}/diff?from=2&to=1")).await;
        assert_eq!(back["differences"][1]["after"], Value::Null);

        let restored = client.post(&format!("{path}/rollback"), json!({"version": 1}), 200).await;
        assert_eq!(pick(&restored, "flow_version flow_description"), json!([3, ""]));
        assert_eq!(client.get(&format!("{path}/diff?from=1&to=3")).await["differences"], json!([]));
        let again = client.post(&format!("{path}/rollback"), json!({"version": 1}), 200).await;
        assert_eq!(again["flow_version"], 3, "nothing changed");
        client.post(&format!("{path}/rollback"), json!({"version": 7}), 404).await;
        let stale = [("If-Match", "\"v2\"")];
        let answer = client.ask(Method::POST, &format!("{path}/rollback"), Some(&json!({"version": 2})), &stale).await;
        assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    }
}

/// A flow whose one step asks for this path.
fn asking(receiver: &str, path: &str) -> Value {
    json!({"flow_name": "gradual", "trigger": "manual", "retry_policy": {"max_attempts": 1},
        "flow_steps": [{"call": {"post": format!("{receiver}/{path}")}}]})
}

/// Starts runs until one of each version has been seen, and waits for the end of all.
async fn runs_of_both(client: &Client<'_>, flow: &str) -> Vec<i64> {
    let mut versions = Vec::new();
    for _ in 0..40 {
        let run = client.start(flow).await;
        versions.push(run.0["flow_version"].as_i64().expect("a version"));
        let ended = |row: &Value| row["run_status"] == "completed" || row["run_status"] == "failed";
        client.until(&format!("/api/v1/runs/{}", run.id()), ended).await;
    }
    versions
}

async fn a_worse_version_goes_back_by_itself(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let receiver = Scripted::start(|asked| (if asked.what.ends_with("/bad") { 400 } else { 200 }, json!({})));
    for client in bed.clients() {
        let flow = client.save(&asking(&receiver.url, "good")).await;
        let path = format!("/api/v1/flows/{flow}/rollout");
        assert_eq!(client.ask(Method::GET, &path, None, &[]).await.status, StatusCode::NOT_FOUND);
        let worse = asking(&receiver.url, "bad");
        let begun = client
            .post(&path, json!({"document": worse, "percent": 50, "min_runs": 5, "max_error_rate_increase": 0.1}), 201)
            .await;
        assert_eq!(pick(&begun, "version base_version rollout_status"), json!([2, 1, "running"]));
        client.post(&path, json!({"version": 1, "percent": 5}), 409).await;
        // What a flow does must not change meanwhile; whether it is active may.
        let own = format!("/api/v1/flows/{flow}");
        let change = client.ask(Method::PATCH, &own, Some(&json!({"flow_description": "x"})), &[]).await;
        assert_eq!(change.status, StatusCode::CONFLICT, "{}", change.body);
        let versions = runs_of_both(&client, &flow).await;
        assert!(versions.contains(&1) && versions.contains(&2), "{versions:?}");
        let ended = client.until(&path, |row| row["rollout_status"] != "running").await;
        assert_eq!(ended["rollout_status"], "returned", "{ended:#}");
        assert!(ended["reason"].as_str().is_some_and(|why| why.contains("runs of version 2 failed")), "{ended:#}");
        let now = client.get(&format!("/api/v1/flows/{flow}")).await;
        assert_eq!(now["flow_version"], 3);
        assert_eq!(client.get(&format!("/api/v1/flows/{flow}/diff?from=1&to=3")).await["differences"], json!([]));
        let events = client.items(&format!("/api/v1/audit-log?subject_id={flow}")).await;
        let told: Vec<&Value> = events.iter().map(|event| &event["event_type"]).collect();
        assert!(told.contains(&&json!("rollout_started")) && told.contains(&&json!("rollout_returned")), "{told:?}");
    }
}

async fn a_good_version_is_promoted_and_people_may_end_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let receiver = Scripted::start(|_| (200, json!({})));
    for client in bed.clients() {
        let flow = client.save(&asking(&receiver.url, "one")).await;
        let path = format!("/api/v1/flows/{flow}/rollout");
        let better = asking(&receiver.url, "two");
        let terms = json!({"document": better, "percent": 100, "min_runs": 2, "promote_after_runs": 2});
        client.post(&path, terms, 201).await;
        for _ in 0..2 {
            let run = client.start(&flow).await;
            assert_eq!(run.0["flow_version"], 2);
            client.run(run.id(), "completed").await;
        }
        let ended = client.until(&path, |row| row["rollout_status"] != "running").await;
        assert_eq!(pick(&ended, "rollout_status version"), json!(["promoted", 2]));
        assert_eq!(client.get(&format!("/api/v1/flows/{flow}")).await["flow_version"], 2, "it was the present one");

        // The old version again, for nobody but those with this key; and back by a person's word.
        let terms = json!({"version": 1, "percent": 100, "key": "trigger.host"});
        client.post(&path, terms, 201).await;
        assert_eq!(client.start(&flow).await.0["flow_version"], 1);
        let returned = client.post(&format!("{path}/return"), json!({}), 200).await;
        assert_eq!(pick(&returned, "rollout_status base_version"), json!(["returned", 2]));
        assert_eq!(client.start(&flow).await.0["flow_version"], 2);
        client.post(&format!("{path}/promote"), json!({}), 409).await;
        let wrong = json!({"version": 1, "percent": 0, "min_runs": 0, "key": "trigger."});
        let refused = client.post(&path, wrong, 422).await;
        let places: Vec<&Value> = refused["errors"].as_array().expect("a list").iter().map(|e| &e["pointer"]).collect();
        assert_eq!(places, ["/percent", "/min_runs", "/key"]);
        client.post(&path, json!({"percent": 5}), 422).await;
        client.post(&path, json!({"version": 9, "percent": 5}), 404).await;
    }
}

async fn a_short_document_is_taken_and_doubts_are_told(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let short = |name: &str| json!({"flow_name": name, "trigger": "webhook", "flow_steps": [{"call": {"post": format!("{}/x", bed.sink.url)}}]});
        let first = client.post("/api/v1/flows", short("first"), 201).await;
        assert_eq!(pick(&first, "trigger_type warnings"), json!(["webhook", []]));
        let second = client.post("/api/v1/flows", short("second"), 201).await;
        let told = second["warnings"][0]["message"].as_str().expect("a warning");
        assert!(told.contains("'first' is not started by a webhook any more"), "{told}");
        let checked = client.post("/api/v1/flows/validate", short("third"), 200).await;
        assert_eq!(checked["warnings"].as_array().map(Vec::len), Some(2), "{checked}");
        let mut wrong = short("wrong");
        wrong["flow_steps"][0]["call"]["headers"] = json!(3);
        wrong["flow_steps"][0]["call"]["after"] = json!(["nobody"]);
        let refused = client.post("/api/v1/flows", wrong, 422).await;
        let places: Vec<&Value> = refused["errors"].as_array().expect("a list").iter().map(|e| &e["pointer"]).collect();
        assert_eq!(places, ["/flow_steps/0/call/after/0", "/flow_steps/0/call/headers"], "in the short text");
    }
}

on_both_stores! {
    an_earlier_version_comes_back, a_worse_version_goes_back_by_itself,
    a_good_version_is_promoted_and_people_may_end_it, a_short_document_is_taken_and_doubts_are_told,
}
