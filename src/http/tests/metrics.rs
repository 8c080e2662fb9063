//! `/metrics` as Prometheus reads it, after work of every kind.

use std::collections::BTreeMap;

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use serde_json::json;

use super::prometheus::{self, Family};
use super::support::{Server, flow_document};

/// What a page must have: the metric, its kind, and its labels.
const METRICS: [(&str, &str, &[&str]); 50] = [
    ("core314_runs_accepted_total", "counter", &[]),
    ("core314_runs_ended_total", "counter", &["status"]),
    ("core314_executions_ended_total", "counter", &["action_type", "status"]),
    ("core314_attempts_started_total", "counter", &[]),
    ("core314_attempts_failed_total", "counter", &[]),
    ("core314_attempts_under_way", "gauge", &["action_type"]),
    ("core314_executor_seconds", "histogram", &["action_type"]),
    ("core314_dispatch_latency_seconds", "histogram", &[]),
    ("core314_ready_entries", "gauge", &[]),
    ("core314_integration_waiting", "gauge", &[]),
    ("core314_breakers", "gauge", &["state"]),
    ("core314_integration_calls", "gauge", &[]),
    ("core314_limit_waiting", "gauge", &[]),
    ("core314_limit_holding", "gauge", &[]),
    ("core314_limit_gathering", "gauge", &[]),
    ("core314_queue_age_seconds", "gauge", &[]),
    ("core314_waiting_checked_total", "counter", &[]),
    ("core314_waiting_passes_total", "counter", &[]),
    ("core314_waiting_violations", "gauge", &[]),
    ("workflow_phase_started", "counter", &["flow", "phase"]),
    ("workflow_phase_completed", "histogram", &["flow", "phase"]),
    ("workflow_phase_failed", "histogram", &["flow", "phase"]),
    ("workflow_phase_rolled_back", "counter", &["flow", "phase"]),
    ("core314_phase_values_lost_total", "counter", &[]),
    ("core314_resident_runs", "gauge", &[]),
    ("core314_schedules_fired_total", "counter", &[]),
    ("core314_schedules_not_fired_total", "counter", &["reason"]),
    ("core314_schedule_delay_seconds", "histogram", &[]),
    ("core314_failures_taken_total", "counter", &["admission"]),
    ("core314_escalation_sends_total", "counter", &["status"]),
    ("core314_free_credits", "gauge", &[]),
    ("core314_refused_total", "counter", &[]),
    ("core314_commits_total", "counter", &[]),
    ("core314_commit_writes_total", "counter", &[]),
    ("core314_commit_retries_total", "counter", &[]),
    ("core314_commit_batch_writes", "histogram", &[]),
    ("core314_commit_seconds", "histogram", &[]),
    ("core314_actors", "gauge", &["kind"]),
    ("core314_mailbox_depth", "gauge", &["kind"]),
    ("core314_actor_restarts_total", "counter", &[]),
    ("core314_http_requests_total", "counter", &["method", "route", "status"]),
    ("core314_http_request_seconds", "histogram", &["route"]),
    ("core314_http_in_flight", "gauge", &[]),
    ("core314_streams", "gauge", &[]),
    ("core314_streams_dropped_total", "counter", &[]),
    ("core314_deliveries_left_out_total", "counter", &[]),
    ("core314_webhooks_refused_total", "counter", &[]),
    ("core314_rate_limited_total", "counter", &[]),
    ("core314_spans_dropped_total", "counter", &[]),
    ("core314_build_info", "gauge", &["version"]),
];

async fn page(server: &Server) -> BTreeMap<String, Family> {
    let here = TestRequest::with_uri("/metrics").peer_addr("127.0.0.1:9".parse().unwrap());
    let answer = server.send(here).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    prometheus::read(&answer.text)
}

/// The sum of the samples whose labels are among these; for metrics that count.
fn value(page: &BTreeMap<String, Family>, family: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let is_it = |key: &str, text: &str| labels.contains(&(key, text));
    let samples = page[family].samples.iter().filter(|sample| sample.name == name);
    samples.filter(|s| s.labels.iter().all(|(key, text)| is_it(key, text))).map(|s| s.value as u64).sum()
}

#[actix_web::test]
async fn the_page_has_every_metric_and_nothing_that_prometheus_would_refuse() {
    let server = Server::start().await;
    server.flow(&flow_document("orders")).await;
    assert_eq!(server.post("/api/v1/flows/orders/trigger", &json!({})).await.status, StatusCode::ACCEPTED);
    let brew = TestRequest::with_uri("/made-up/by-client?user=x").method(Method::from_bytes(b"BREW").unwrap());
    server.send(brew).await;
    let started = std::time::Instant::now();
    let page = loop {
        let page = page(&server).await;
        if value(&page, "core314_runs_ended_total", "core314_runs_ended_total", &[("status", "completed")]) > 0 {
            break page;
        }
        assert!(started.elapsed().as_secs() < 20, "the run does not end: {page:?}");
        actix_web::rt::task::yield_now().await;
    };
    for (name, kind, labels) in METRICS {
        let family = page.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(family.kind, kind, "{name}");
        for sample in &family.samples {
            let own: Vec<&str> = sample.labels.keys().map(String::as_str).filter(|key| *key != "le").collect();
            assert_eq!(own, labels, "{name}: no label beside those that are bounded");
            assert!(sample.labels.values().all(|value| !value.contains("made-up")), "{sample:?}");
        }
    }
    assert_eq!(page.len(), METRICS.len(), "every metric is in the list: {:?}", page.keys());

    let manual = include_str!("../../../docs/operations.md");
    for (name, kind, labels) in METRICS {
        let line = format!("| `{name}` | {kind} | ");
        let line =
            manual.lines().find_map(|l| l.strip_prefix(&line)).unwrap_or_else(|| panic!("'{line}' in the manual"));
        let mut said: Vec<&str> = line.split('|').next().unwrap_or_default().trim().split(", ").collect();
        said.retain(|label| !label.is_empty());
        said.sort_unstable();
        assert_eq!(said, labels, "labels of {name} in the manual");
    }
    let scripted = [("action_type", "scripted"), ("status", "completed")];
    assert_eq!(value(&page, "core314_executions_ended_total", "core314_executions_ended_total", &scripted), 2);
    assert_eq!(value(&page, "core314_executor_seconds", "core314_executor_seconds_count", &scripted), 2);
    assert_eq!(value(&page, "core314_dispatch_latency_seconds", "core314_dispatch_latency_seconds_count", &[]), 2);
    assert!(value(&page, "core314_commit_seconds", "core314_commit_seconds_count", &[]) >= 3);
    let other = [("route", "unmatched"), ("method", "other"), ("status", "4xx")];
    assert_eq!(value(&page, "core314_http_requests_total", "core314_http_requests_total", &other), 1);
    assert_eq!(value(&page, "core314_http_in_flight", "core314_http_in_flight", &[]), 1, "the one that asks");
}
