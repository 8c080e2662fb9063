//! What the log says in figures: statistics with percentiles, a timeline, the slowest and the failed attempts.

use serde_json::{Value, json};

use super::bed::{Bed, pick};
use super::on_both_stores;
use crate::support::StoreKind;

async fn the_log_is_counted(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("counted", &["call"]);
        let shape = json!({"id": "shape", "config": {"action_type": "transform", "action_payload": {"n": 1}}});
        flow["flow_steps"] = json!([bed.call("call"), shape]);
        let flow = client.save(&flow).await;
        bed.sink.answer(200);
        for _ in 0..3 {
            let run = client.start(&flow).await;
            client.run(run.id(), "completed").await;
        }
        // Held back, so that it takes longer than all others.
        bed.sink.hold(true);
        let slow = client.start(&flow).await;
        client.execution(slow.execution(0), "in_progress").await;
        let begun = std::time::Instant::now();
        client.until("/api/v1/runs", |_| begun.elapsed().as_millis() > 300).await;
        bed.sink.hold(false);
        client.run(slow.id(), "completed").await;
        bed.sink.answer(400);
        let failed = client.start(&flow).await;
        client.run(failed.id(), "failed").await;

        let found = client.until("/api/v1/execution-log/statistics?hours=1", |f| f["total_executions"] == 9).await;
        let counts = pick(&found, "successful_executions failed_executions total_actions_by_type");
        assert_eq!(counts, json!([8, 1, {"api_call": 5, "transform": 4}]));
        assert!((found["success_rate"].as_f64().expect("a rate") - 8.0 / 9.0).abs() < 1e-9, "{found}");
        let figure = |name: &str| found[name].as_f64().unwrap_or_else(|| panic!("{name}: {found}"));
        assert!(figure("p50_duration_ms") <= figure("p95_duration_ms"), "{found}");
        assert!(figure("p95_duration_ms") <= figure("p99_duration_ms"), "{found}");
        assert!(figure("p99_duration_ms") >= 290.0 && figure("avg_duration_ms") >= 30.0, "{found}");

        let timeline = client.get("/api/v1/execution-log/timeline?hours=1&interval_minutes=5").await;
        assert_eq!(timeline["interval_minutes"], 5);
        let items = timeline["items"].as_array().expect("a list");
        let sum = |column: &str| items.iter().filter_map(|item| item[column].as_i64()).sum::<i64>();
        assert_eq!((sum("total_executions"), sum("successful_executions"), sum("failed_executions")), (9, 8, 1));
        for bad in [
            "timeline?interval_minutes=7",
            "timeline?hours=8784&interval_minutes=5",
            "statistics?hours=0",
            "slowest?limit=101",
            "failed?limit=0",
            "statistics?days=1",
        ] {
            let answer = client.ask(reqwest::Method::GET, &format!("/api/v1/execution-log/{bad}"), None, &[]).await;
            assert_eq!(answer.status.as_u16(), 422, "{bad}: {}", answer.body);
        }

        let slowest = client.items("/api/v1/execution-log/slowest?hours=1&limit=1").await;
        assert_eq!(slowest.iter().map(|row| &row["flow_run_id"]).collect::<Vec<&Value>>(), [slow.id()]);
        let failures = client.items("/api/v1/execution-log/failed").await;
        assert_eq!(failures.iter().map(|row| &row["flow_run_id"]).collect::<Vec<&Value>>(), [failed.id()]);
        assert_eq!(pick(&failures[0], "success http_status_code is_final"), json!([false, 400, true]));
    }
}

on_both_stores!(the_log_is_counted);
