//! What an earlier release has left, with work in flight, is taken over by this one.
//!
//! There is no earlier release yet, but its states of the schema: every migration that was published is one. A server of today is
//! killed in the middle of its work, and what it leaves is put into a database whose schema is a former one: rows without the
//! columns and tables that came later. Before 0007 columns had other names; from there on nothing was renamed or dropped.
//! What is in the columns is as today's program writes it; that it reads what earlier ones wrote is for the tests beside the code
//! (`it_is_known_through_a_restart_and_states_of_earlier_releases_are_read` and its like).

#[path = "upgrade/former.rs"]
mod former;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::faults::checks::{all_have_completed, done_once, store_holds};
use super::sink::Sink;
use super::support::{Installation, Server, StoreKind};

/// Runs whose first call is under way when the server dies.
const CALLS: usize = 12;
/// Those that wait for a time and for a person.
const OTHERS: usize = 2;

/// What there was before the server died.
struct Work {
    hook: String,
    /// The run of the trigger with the name `order-0`.
    first_run: String,
}

impl Work {
    async fn begin(server: &Server, sink: &Sink) -> Self {
        let call = |id: &str| {
            json!({"id": id, "config": {"action_type": "api_call", "action_target": "sink", "action_payload": {
                "method": "POST", "url": format!("{}/{id}", sink.url), "json": {"n": "{{ trigger.n }}"}}}})
        };
        let calls = json!({"flow_name": "calls", "trigger_type": "webhook", "execution_mode": "sequential",
            "retry_policy": {"max_attempts": 5, "backoff_seconds": 0.01}, "flow_steps": [call("a"), call("b")]});
        let later = json!({"flow_name": "later", "trigger_type": "manual", "flow_steps": [
            {"id": "rest", "config": {"action_type": "delay", "action_target": "runtime", "action_payload": {"seconds": 3}}}]});
        let asking = json!({"flow_name": "asking", "trigger_type": "manual", "execution_mode": "sequential", "flow_steps": [
            {"id": "ask", "type": "approval", "config": {"allow_self": true}}, call("told")]});
        let hook = server.flow_with_webhook(calls).await;
        sink.hold(true);
        let mut work = Self { hook, first_run: String::new() };
        for n in 0..CALLS {
            let run = work.order(server, &format!("order-{n}")).await;
            if n == 0 {
                work.first_run = run;
            }
        }
        for flow in [later, asking] {
            let name = flow["flow_name"].as_str().expect("a name").to_owned();
            server.create("/api/v1/flows", flow).await;
            let path = format!("/api/v1/flows/{name}/trigger");
            let (status, run) = server
                .request(Method::POST, &path, Some(json!({"trigger_context": {"n": 0}})))
                .await
                .expect("an answer");
            assert_eq!(status, StatusCode::ACCEPTED, "{run}");
        }
        sink.until(CALLS).await;
        work
    }

    /// Sends a trigger with this name, and gives its run.
    async fn order(&self, server: &Server, name: &str) -> String {
        let request = server.http.post(format!("{}{}", server.url, self.hook)).header("Idempotency-Key", name);
        let answer = request.json(&json!({"n": 1})).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let body: Value = answer.json().await.expect("JSON");
        body["run_ids"][0].as_str().expect("its run").to_owned()
    }
}

async fn work_in_flight_is_taken_over(kind: StoreKind) {
    let (installation, sink) = (Installation::new(kind).await, Sink::start());
    let mut server = Server::start(&installation);
    let work = Work::begin(&server, &sink).await;
    server.kill();
    sink.hold(false);
    for number in former::NUMBERS {
        println!("as of migration {number:04}");
        let former = former::copy(&installation, number).await;
        goes_on(&former, &work).await;
    }
}

/// Starts this release on what the former one has left.
async fn goes_on(former: &Installation, work: &Work) {
    let mut server = Server::start(former);
    // A sender that has heard nothing sends again, and is answered as before.
    assert_eq!(work.order(&server, "order-0").await, work.first_run);
    let asked = server.get("/api/v1/executions/pending-approvals").await;
    let asked = asked["items"][0]["id"].as_str().expect("somebody is asked");
    let (status, answer) = server
        .request(Method::POST, &format!("/api/v1/executions/{asked}/approve"), Some(json!({})))
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::OK, "{answer}");
    work.order(&server, "a-new-order").await;
    all_have_completed(former).await;
    let runs = former.rows("SELECT CAST(count(*) AS text) FROM runs").await;
    assert_eq!(runs, [(CALLS + OTHERS + 1).to_string()], "every trigger has its run, and no other");
    let repeated = done_once(former).await.iter().filter(|done| done.attempts > 1).count();
    assert_eq!(repeated, CALLS, "what was under way is of unknown outcome, and was done again");
    store_holds(former);
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn work_in_flight_under_a_former_schema_is_taken_over_on_sqlite() {
    work_in_flight_is_taken_over(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn work_in_flight_under_a_former_schema_is_taken_over_on_postgres() {
    work_in_flight_is_taken_over(StoreKind::Postgres).await;
}
