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

/// The runs of a flow once there are so many, and so many of the flow `mark`, whose threshold is exceeded here and clears:
/// whatever was pushed before has been looked at then. Occurrences start side by side, so each count is waited for; a run
/// too many shows at the latest in the next count.
async fn runs(client: &Client<'_>, flow: &str, (expected, marks): (usize, usize)) -> Vec<Value> {
    let of = |runs: &Value, name: &str| -> Vec<Value> {
        let runs = runs["items"].as_array().expect("items").iter();
        runs.filter(|run| run["flow_name"] == name).cloned().collect()
    };
    for value in [1, 0] {
        let mark = json!({"metrics": [{"metric_name": "mark", "value": value}]});
        client.post("/api/v1/metrics-data", mark, 202).await;
    }
    let is_there = |runs: &Value| of(runs, "mark").len() == marks && of(runs, flow).len() >= expected;
    let found = of(&client.until("/api/v1/runs?limit=500", is_there).await, flow);
    assert_eq!(found.len(), expected, "runs of {flow} at mark {marks}");
    found
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
        // It wavers, and does not clear.
        let found = runs(&client, "high", (1, 1)).await;
        let context = &found[0]["trigger_context"];
        assert_eq!((&context["value"], &context["threshold"]), (&json!(91), &json!(90)), "{context}");
        assert_eq!((&context["labels"]["host"], &context["operator"]), (&json!("a"), &json!(">")));

        push(&client, "b", &[(99.0, "01")]).await;
        // Another series is watched apart.
        runs(&client, "high", (2, 2)).await;
        push(&client, "a", &[(80.0, "05"), (95.0, "06")]).await;
        // It has cleared, and exceeds again.
        runs(&client, "high", (3, 3)).await;

        push(&client, "c", &[(96.0, "10"), (99.0, "19")]).await;
        // Nine seconds are not ten.
        runs(&client, "lasting", (0, 4)).await;
        push(&client, "c", &[(96.0, "20")]).await;
        runs(&client, "lasting", (1, 5)).await;
        push(&client, "c", &[(10.0, "21"), (96.0, "22"), (96.0, "31")]).await;
        // It began anew.
        runs(&client, "lasting", (1, 6)).await;
        runs(&client, "lasting", (1, 7)).await;

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
