//! Metrics that exceed thresholds.

use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::events::quiet;
use super::on_both_stores;
use crate::support::StoreKind;

async fn push(client: &Client<'_>, host: &str, values: &[(f64, &str)]) {
    let values: Vec<Value> = values
        .iter()
        .map(|(value, second)| {
            json!({"metric_name": "cpu", "value": value, "labels": {"host": host, "core": "0"},
                "recorded_at": format!("2026-01-01T00:00:{second}Z")})
        })
        .collect();
    let taken = client.post("/api/v1/metrics-data", json!({"metrics": values}), 202).await;
    assert_eq!(taken["accepted"], values.len());
}

/// Waits for so many runs of a flow, after everything pushed so far has been looked at: a run of `last` tells.
async fn runs(client: &Client<'_>, flow: &str, marks: usize) -> Vec<Value> {
    let count = |runs: &Value, name: &str| {
        runs["items"].as_array().expect("items").iter().filter(|run| run["flow_name"] == name).count()
    };
    client.post("/api/v1/metrics-data", json!({"metrics": [{"metric_name": "mark", "value": 1}]}), 202).await;
    client.post("/api/v1/metrics-data", json!({"metrics": [{"metric_name": "mark", "value": 0}]}), 202).await;
    let all = client.until("/api/v1/runs?limit=500", |runs| count(runs, "mark") == marks).await;
    let all = all["items"].as_array().expect("items").clone();
    all.into_iter().filter(|run| run["flow_name"] == flow).collect()
}

async fn a_threshold_starts_once_until_it_has_cleared(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let config = json!({"metric": "cpu", "operator": ">", "value": 90, "clear": 80, "labels": {"core": "0"}});
        client.save(&quiet("high", "threshold_exceeded", config)).await;
        let lasting = json!({"metric": "cpu", "operator": ">", "value": 95, "for": 10, "labels": {"host": "c"}});
        client.save(&quiet("lasting", "threshold_exceeded", lasting)).await;
        client.save(&quiet("mark", "threshold_exceeded", json!({"metric": "mark", "operator": ">", "value": 0}))).await;

        push(&client, "a", &[(91.0, "01"), (97.0, "02"), (85.0, "03"), (92.0, "04")]).await;
        let found = runs(&client, "high", 1).await;
        assert_eq!(found.len(), 1, "it wavers, and does not clear");
        let context = &found[0]["trigger_context"];
        assert_eq!((&context["value"], &context["threshold"]), (&json!(91), &json!(90)), "{context}");
        assert_eq!((&context["labels"]["host"], &context["operator"]), (&json!("a"), &json!(">")));

        push(&client, "b", &[(99.0, "01")]).await;
        assert_eq!(runs(&client, "high", 2).await.len(), 2, "another series is watched apart");
        push(&client, "a", &[(80.0, "05"), (95.0, "06")]).await;
        assert_eq!(runs(&client, "high", 3).await.len(), 3, "it has cleared, and exceeds again");

        push(&client, "c", &[(96.0, "10"), (99.0, "19")]).await;
        assert_eq!(runs(&client, "lasting", 4).await.len(), 0, "nine seconds are not ten");
        push(&client, "c", &[(96.0, "20")]).await;
        assert_eq!(runs(&client, "lasting", 5).await.len(), 1);
        push(&client, "c", &[(10.0, "21"), (96.0, "22"), (96.0, "31")]).await;
        assert_eq!(runs(&client, "lasting", 6).await.len(), 1, "it began anew");

        let values = client.items("/api/v1/metrics-data?metric_name=cpu&limit=500").await;
        assert_eq!(values.len(), 13);
        assert_eq!(values[0]["metric_type"], "gauge");
        for wrong in
            [json!({"metrics": []}), json!({"metrics": [{"metric_name": "", "value": 1}]}), json!({"metric": 1})]
        {
            client.post("/api/v1/metrics-data", wrong, 422).await;
        }
    }
}

on_both_stores!(a_threshold_starts_once_until_it_has_cleared);
