//! A real client: Prometheus Alertmanager posts an alert to a webhook, the flow's conditions pick it, and three steps
//! reach a real HTTP server in order.

use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::json;

use super::sink::Sink;
use super::support::{Installation, Server, StoreKind, free_port};

struct Alertmanager {
    child: Child,
    url: String,
    _dir: tempfile::TempDir,
}

impl Alertmanager {
    fn start(hook: &str) -> Self {
        let binary = std::env::var("CORE314_TEST_ALERTMANAGER")
            .expect("CORE314_TEST_ALERTMANAGER names no Alertmanager: run `make test`, which provides one");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("alertmanager.yml");
        let text = format!(
            "route:\n  receiver: core314\n  group_by: [severity]\n  group_wait: 0s\n  group_interval: 1s\nreceivers:\n  - name: core314\n    \
             webhook_configs:\n      - url: {hook}\n        send_resolved: false\n"
        );
        std::fs::write(&config, text).expect("the configuration is written");
        let port = free_port();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Alertmanager starts");
        Self { child, url: format!("http://127.0.0.1:{port}"), _dir: dir }
    }

    /// Fires an alert, as Prometheus does.
    async fn fire(&self, http: &reqwest::Client, severity: &str) {
        let alerts = json!([{
            "labels": {"alertname": "HostDown", "instance": "web-1", "severity": severity},
            "annotations": {"summary": "web-1 does not answer"},
        }]);
        for _ in 0..10_000 {
            let sent = http.post(format!("{}/api/v2/alerts", self.url)).json(&alerts).send().await;
            if sent.is_ok_and(|response| response.status().is_success()) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("Alertmanager does not answer");
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn an_alert_becomes_three_actions_in_order(kind: StoreKind) {
    let sink = Sink::start();
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let step = |id: &str, path: &str| {
        json!({"id": id, "config": {"action_type": "api_call", "action_target": "sink", "action_payload": {
            "method": "POST", "url": format!("{}/{path}", sink.url),
            "json": {"host": "{{ trigger.alerts[0].labels.instance }}", "status": "{{ trigger.status }}"},
        }}})
    };
    let hook = server
        .flow_with_webhook(json!({
            "flow_name": "host-down", "trigger_type": "webhook", "execution_mode": "sequential",
            "conditions": "trigger.status == 'firing' && trigger.commonLabels.severity in ['high', 'critical']",
            "flow_steps": [step("diagnose", "diagnose"), step("restart", "restart"), step("tell", "tell")],
        }))
        .await;
    let alertmanager = Alertmanager::start(&format!("{}{hook}", server.url));
    alertmanager.fire(&server.http, "low").await;
    alertmanager.fire(&server.http, "critical").await;
    let received = sink.until(3).await;
    let paths: Vec<&str> = received.iter().map(|r| r.path.as_str()).collect();
    assert_eq!(paths, ["/diagnose", "/restart", "/tell"]);
    assert_eq!(received[0].body, json!({"host": "web-1", "status": "firing"}));
    let started = std::time::Instant::now();
    let runs = loop {
        assert!(started.elapsed().as_secs() < 60, "the run does not end");
        let runs = server.all("/api/v1/runs?run_status=completed").await;
        if !runs.is_empty() {
            break runs;
        }
    };
    assert_eq!(runs.len(), 1, "the alert of low severity started nothing");
    let run = runs[0]["id"].as_str().expect("a run has an id");
    let (_, log) = server
        .request(Method::GET, &format!("/api/v1/execution-log?flow_run_id={run}"), None)
        .await
        .expect("the server answers");
    let mut attempts: Vec<(String, i64)> = log["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|row| {
            (row["started_at"].as_str().expect("a time").to_owned(), row["http_status_code"].as_i64().expect("a code"))
        })
        .collect();
    attempts.sort();
    assert_eq!(attempts.len(), 3);
    assert!(attempts.iter().all(|(_, code)| *code == 200), "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_alert_becomes_three_actions_in_order_on_sqlite() {
    an_alert_becomes_three_actions_in_order(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_alert_becomes_three_actions_in_order_on_postgres() {
    an_alert_becomes_three_actions_in_order(StoreKind::Postgres).await;
}
