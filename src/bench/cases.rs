//! What one user feels: the ten end-to-end cases of orchestration, each over HTTP and through to its durable end.
//!
//! One request at a time on an installation that does nothing else, so that a figure is the way through and no queue.
//! What a case needs beforehand (a flow, a run that waits) is made without being timed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::{Context, bail};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::lists::Case;
use super::measure::{Latency, Meter};
use super::{Figures, Installation, NodeOptions, Plan, Workload};

/// How often each case is asked, if its time allows.
const SAMPLES: u64 = 200;
const USER: Uuid = Uuid::from_u128(314);
const STRANGER: Uuid = Uuid::from_u128(315);
/// Whoever waits for an end waits this long.
const PATIENCE_SECONDS: u64 = 30;

/// Somebody who asks the server under test.
struct Caller<'a> {
    client: reqwest::Client,
    url: String,
    key: String,
    plan: &'a Plan,
    say: &'a dyn Fn(&str),
    cases: Vec<Case>,
}

/// Asks all of them.
pub async fn cases(installation: &impl Installation, plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Figures> {
    let receiver = receiver().await?;
    let node = installation.start(NodeOptions { http: true, ..NodeOptions::default() }).await?;
    let url = node.url.clone().context("the node has an HTTP surface")?;
    let mut caller =
        Caller { client: reqwest::Client::new(), url, key: node.key.clone(), plan, say, cases: Vec::new() };
    let meter = Meter::now();
    let done = caller.all(&receiver).await;
    let count = caller.cases.iter().map(|case| case.samples as u64).sum();
    let figures = Figures::of(Workload::Cases, installation, "requests", count, meter.since());
    (node.stop)().await;
    done?;
    Ok(Figures { cases: caller.cases, ..figures })
}

impl Caller<'_> {
    async fn all(&mut self, receiver: &str) -> anyhow::Result<()> {
        self.measure("create a flow", "user", async |this, n| {
            let flow = flow(&format!("case-{n}"), &json!({}));
            this.ask(USER, Method::POST, "/api/v1/flows", Some(&flow), 201).await
        })
        .await?;
        let plain = self.save(&flow("plain", &json!({}))).await?;
        self.measure("trigger it: the run is durable", "user", async |this, _| {
            this.ask(USER, Method::POST, &format!("/api/v1/flows/{plain}/trigger"), Some(&json!({})), 202).await
        })
        .await?;
        let later = self.save(&flow("later", &json!({"scheduled_for": "2999-01-01T00:00:00Z"}))).await?;
        let entry = self.start(&later).await?;
        let path = format!("/api/v1/executions/{entry}");
        self.read("read its entry of the queue", "user", USER, &path, 200).await?;
        self.execute(&later).await?;
        let path = format!("/api/v1/execution-log?execution_queue_id={}", self.ended(&plain).await?);
        self.read("read its row of the log", "user", USER, &path, 200).await?;
        self.approve().await?;
        let path = format!("/api/v1/executions/{entry}");
        self.read("ask for another's entry: 404", "stranger", STRANGER, &path, 404).await?;
        self.read("statistics of a day", "user", USER, "/api/v1/execution-log/statistics?hours=24", 200).await?;
        self.call("an action that fails, to its end", &format!("{receiver}/fails"), "failed").await?;
        self.call("an action that is retried, to its end", &format!("{receiver}/flaky"), "completed").await
    }

    async fn execute(&mut self, later: &str) -> anyhow::Result<()> {
        let mut entries = Vec::new();
        for _ in 0..SAMPLES {
            entries.push(self.start(later).await?);
        }
        self.measure("execute an entry, and its result", "user", async |this, n| {
            let body = json!({"execution_queue_id": entries[n as usize]});
            let (answer, took) = this.ask(USER, Method::POST, "/functions/v1/execute-action", Some(&body), 200).await?;
            if answer["success"] != true {
                bail!("the entry was not executed: {answer}");
            }
            Ok((answer, took))
        })
        .await
    }

    async fn approve(&mut self) -> anyhow::Result<()> {
        let mut document = flow("asks", &json!({}));
        document["flow_steps"][0]["requires_approval"] = json!(true);
        let asks = self.save(&document).await?;
        let mut entries = Vec::new();
        for _ in 0..SAMPLES {
            entries.push(self.start(&asks).await?);
        }
        self.measure("approve an entry", "user", async |this, n| {
            let path = format!("/api/v1/executions/{}/approve", entries[n as usize]);
            this.ask(USER, Method::POST, &path, Some(&json!({})), 200).await
        })
        .await
    }

    /// Runs of a flow that calls the receiver, each to its end.
    async fn call(&mut self, asked: &str, url: &str, status: &str) -> anyhow::Result<()> {
        let step = json!({"id": "call", "config": {"action_type": "api_call", "action_target": "receiver",
            "action_payload": {"method": "POST", "url": url}}});
        let flow = self
            .save(&json!({"flow_name": asked.replace([' ', ','], "-"), "trigger_type": "manual", "flow_steps": [step],
                "retry_policy": {"max_attempts": 2, "backoff_seconds": 0.001, "jitter": "none"}}))
            .await?;
        self.measure(asked, "user", async |this, _| {
            let body = json!({"wait_seconds": PATIENCE_SECONDS});
            let path = format!("/api/v1/flows/{flow}/trigger");
            let (run, took) = this.ask(USER, Method::POST, &path, Some(&body), 200).await?;
            if run["run_status"] != status {
                bail!("{asked}: the run is {}: {}", run["run_status"], run["error"]);
            }
            Ok((run, took))
        })
        .await
    }

    async fn read(
        &mut self,
        asked: &str,
        who: &'static str,
        user: Uuid,
        path: &str,
        status: u16,
    ) -> anyhow::Result<()> {
        self.measure(asked, who, async |this, _| this.ask(user, Method::GET, path, None, status).await).await
    }

    /// Asks a case again and again, as long as the plan says.
    async fn measure(
        &mut self,
        asked: &str,
        who: &'static str,
        once: impl AsyncFn(&Self, u64) -> anyhow::Result<(Value, Duration)>,
    ) -> anyhow::Result<()> {
        (self.say)(asked);
        let (until, mut latencies) = (Instant::now() + Duration::from_secs(self.plan.seconds), Vec::new());
        for n in 0..SAMPLES {
            latencies.push(once(self, n).await?.1);
            if Instant::now() > until {
                break;
            }
        }
        let (samples, latency) = (latencies.len(), Latency::of(latencies));
        self.cases.push(Case { asked: asked.to_owned(), who, is_indexed: true, samples, ended: 0, latency });
        Ok(())
    }

    /// Saves a flow, and gives its id.
    async fn save(&self, document: &Value) -> anyhow::Result<String> {
        let (flow, _) = self.ask(USER, Method::POST, "/api/v1/flows", Some(document), 201).await?;
        Ok(flow["id"].as_str().context("a flow has an id")?.to_owned())
    }

    /// Starts a run, and gives the id of its first execution.
    async fn start(&self, flow: &str) -> anyhow::Result<String> {
        let path = format!("/api/v1/flows/{flow}/trigger");
        let (run, _) = self.ask(USER, Method::POST, &path, Some(&json!({})), 202).await?;
        Ok(run["execution_queue_ids"][0].as_str().context("a run has executions")?.to_owned())
    }

    /// An execution that has ended.
    async fn ended(&self, flow: &str) -> anyhow::Result<String> {
        let execution = self.start(flow).await?;
        let body = json!({"execution_queue_id": execution});
        self.ask(USER, Method::POST, "/functions/v1/execute-action", Some(&body), 200).await?;
        Ok(execution)
    }

    /// The answer to a request, and how long it took to its last byte.
    async fn ask(
        &self,
        user: Uuid,
        method: Method,
        path: &str,
        body: Option<&Value>,
        status: u16,
    ) -> anyhow::Result<(Value, Duration)> {
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        let request = request.header("X-User-Id", user.to_string());
        let request = body.into_iter().fold(request, reqwest::RequestBuilder::json);
        let started = Instant::now();
        let response = request.send().await?;
        let answered = response.status().as_u16();
        let text = response.bytes().await?;
        let took = started.elapsed();
        if answered != status {
            bail!("{path} was answered with {answered}: {}", String::from_utf8_lossy(&text));
        }
        Ok((serde_json::from_slice(&text)?, took))
    }
}

/// A flow of one step that the runtime performs inside itself, with more in its config.
fn flow(name: &str, more: &Value) -> Value {
    let mut config = json!({"action_type": "transform", "action_payload": {"values": {"n": 1}}});
    core314_domain::json::merge_patch(&mut config, more);
    json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [{"id": "a", "config": config}]})
}

/// Starts a receiver on a free port of the loopback, on a thread that ends with the process: `/fails` answers 503, `/flaky`
/// the first time that a key comes.
async fn receiver() -> anyhow::Result<String> {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            let url = format!("http://{}", listener.local_addr()?);
            let seen = web::Data::new(Seen::default());
            let server = HttpServer::new(move || App::new().app_data(seen.clone()).default_service(web::to(answer)))
                .workers(1)
                .disable_signals()
                .listen(listener)?
                .run();
            // Nobody waits when the workload has been given up.
            drop(send.send(url));
            server.await
        })
    });
    receive.await.context("the receiver did not start")
}

/// The idempotency keys that came.
#[derive(Default)]
struct Seen(Mutex<HashSet<String>>);

async fn answer(request: HttpRequest, seen: web::Data<Seen>) -> HttpResponse {
    let key = request.headers().get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let is_first = seen.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
    match request.path() {
        "/flaky" if !is_first => HttpResponse::Ok().finish(),
        _ => HttpResponse::ServiceUnavailable().finish(),
    }
}
