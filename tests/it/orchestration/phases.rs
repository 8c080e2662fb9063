//! The pipeline of seven phases whose fourth fails, in the real binary on both stores: what is taken back, and where the
//! run then stands, for every way of going back; its rows, views and metrics; an undo that fails, with the three ways on; and who
//! is told of transitions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::bed::{Bed, Client};
use super::on_both_stores;
use crate::scripted::Scripted;
use crate::support::{Installation, Server, StoreKind};

/// Thresholds of a pipeline of seven, in milliseconds, where the flow names none.
const DEFAULT_SLA_MS: [i64; 7] = [30_000, 60_000, 120_000, 90_000, 10_000, 15_000, 60_000];

/// Systems that do things and take them back, but for those that are broken.
struct Systems {
    server: Arc<Scripted>,
    broken: Arc<Mutex<BTreeSet<String>>>,
}

impl Systems {
    /// Those that are broken for as long as nobody mends them; `once`: mended by being asked.
    fn start(broken: &[&str], once: bool) -> Self {
        let broken: BTreeSet<String> = broken.iter().map(ToString::to_string).collect();
        let broken = Arc::new(Mutex::new(broken));
        let shared = broken.clone();
        let server = Scripted::start(move |asked| {
            let path = asked.what.trim_start_matches("POST /").to_owned();
            let mut broken = shared.lock().expect("nobody panics with it");
            let is_broken = if once { broken.remove(&path) } else { broken.contains(&path) };
            if is_broken { (422, json!({"error": "no room"})) } else { (200, json!({"done": path})) }
        });
        Self { server, broken }
    }

    fn mend(&self) {
        self.broken.lock().expect("nobody panics with it").clear();
    }

    /// What was asked, in its order.
    fn asked(&self) -> Vec<String> {
        self.server.take().iter().map(|asked| asked.what.trim_start_matches("POST /").to_owned()).collect()
    }
}

/// A release in seven phases: a step each, that can be taken back.
fn pipeline(name: &str, systems: &Systems, rollback: &Value) -> Value {
    let call = |path: String| {
        json!({"action_type": "api_call", "action_target": "systems",
            "action_payload": {"method": "POST", "url": format!("{}/{path}", systems.server.url)}})
    };
    let steps: Vec<Value> = (1..=7)
        .map(|n| json!({"id": format!("p{n}"), "phase": n, "config": call(format!("do/p{n}")), "undo": call(format!("undo/p{n}"))}))
        .collect();
    json!({
        "flow_name": name, "trigger_type": "manual", "execution_mode": "sequential", "rollback": rollback,
        "retry_policy": {"max_attempts": 1},
        "phases": [{"number": 2, "name": "build", "sla_seconds": 0.0001}, {"number": 4, "name": "deploy"}],
        "flow_steps": steps,
    })
}

/// Runs a pipeline to its end.
async fn ended(client: &Client<'_>, flow: &Value) -> (String, Value) {
    let flow = client.save(flow).await;
    let run = client.start(&flow).await;
    let over = ["completed", "failed", "rolled_back", "cancelled", "timed_out"];
    let is_over = |run: &Value| over.iter().any(|status| run["run_status"] == *status);
    (flow, client.until(&format!("/api/v1/runs/{}", run.id()), is_over).await)
}

fn id(row: &Value) -> &str {
    row["id"].as_str().expect("an id")
}

/// The transitions of a run's phases, in their order: number, state, and where a rollback went.
async fn moves(client: &Client<'_>, run: &Value) -> Vec<(i64, String, Option<i64>)> {
    let mut rows = client.items(&format!("/api/v1/runs/{}/phases?limit=100", id(run))).await;
    rows.reverse();
    let word = |row: &Value| row["status"].as_str().expect("a word").to_owned();
    rows.iter()
        .map(|row| (row["phase_number"].as_i64().expect("a number"), word(row), row["rollback_to_phase"].as_i64()))
        .collect()
}

/// The transitions of phases that went well.
fn done(phases: std::ops::RangeInclusive<i64>) -> Vec<(i64, String, Option<i64>)> {
    phases.flat_map(|phase| ["started", "completed"].map(|word| (phase, word.to_owned(), None))).collect()
}

/// The transitions of a phase that failed; `to`: and was taken back to the end of this one.
fn failed(phase: i64, to: Option<i64>) -> Vec<(i64, String, Option<i64>)> {
    let mut all = vec![(phase, "started".to_owned(), None), (phase, "failed".to_owned(), None)];
    all.extend(to.map(|to| (phase, "rolled_back".to_owned(), Some(to))));
    all
}

fn paths(kind: &str, numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("{kind}/p{n}")).collect()
}

async fn the_fourth_phase_fails(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let cases = [
        (json!({"to": "previous"}), "rolled_back", Some(3), vec![]),
        (json!({"to": "start"}), "rolled_back", Some(0), paths("undo", [3, 2, 1])),
        (json!({"to": 1}), "rolled_back", Some(1), paths("undo", [3, 2])),
        (json!({"to": "off"}), "failed", None, vec![]),
    ];
    for (no, (rollback, status, to, undone)) in cases.into_iter().enumerate() {
        let systems = Systems::start(&["do/p4"], false);
        let (_, run) = ended(&client, &pipeline(&format!("release {no}"), &systems, &rollback)).await;
        assert_eq!((&run["run_status"], &run["current_phase"]), (&json!(status), &json!(4)), "{rollback}: {run:#}");
        let error = run["error"].as_str().expect("it says why");
        assert!(error.starts_with("step 'p4': ") && error.contains("422"), "{rollback}: {error}");
        let wanted: Vec<String> = paths("do", 1..=4).into_iter().chain(undone).collect();
        assert_eq!(systems.asked(), wanted, "{rollback}");
        assert_eq!(moves(&client, &run).await, [done(1..=3), failed(4, to)].concat(), "{rollback}");
        let log = client.items(&format!("/api/v1/execution-log?flow_run_id={}&limit=100", id(&run))).await;
        assert_eq!(log.len(), wanted.len(), "an attempt a row: {rollback}");
        let plan = client.get(&format!("/api/v1/runs/{}/undo-plan", id(&run))).await;
        assert_eq!(plan["undo"], json!([]), "{rollback}: nothing after that is left");
    }
}

async fn a_failed_phase_is_tried_again(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    // At first there is no room; then there is.
    let systems = Systems::start(&["do/p4"], true);
    let rollback = json!({"to": 2, "then": "retry", "retries": 1});
    let (_, run) = ended(&client, &pipeline("again", &systems, &rollback)).await;
    assert_eq!((&run["run_status"], &run["current_phase"]), (&json!("completed"), &json!(7)), "{run:#}");
    let wanted = [paths("do", 1..=4), paths("undo", [3]), paths("do", 3..=7)].concat();
    assert_eq!(systems.asked(), wanted);
    assert_eq!(moves(&client, &run).await, [done(1..=3), failed(4, Some(2)), done(3..=7)].concat());
    // There is none, however often it is tried.
    let systems = Systems::start(&["do/p4"], false);
    let rollback = json!({"to": "start", "then": "retry", "retries": 2});
    let (_, run) = ended(&client, &pipeline("in vain", &systems, &rollback)).await;
    assert_eq!(run["run_status"], json!("rolled_back"), "{run:#}");
    let once = [paths("do", 1..=4), paths("undo", [3, 2, 1])].concat();
    assert_eq!(systems.asked(), vec![once; 3].concat());
    assert_eq!(moves(&client, &run).await, vec![[done(1..=3), failed(4, Some(0))].concat(); 3].concat());
}

async fn an_undo_that_fails_waits_for_a_person(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let ways = [
        (json!({"way": "retry"}), paths("undo", [2, 1])),
        (json!({"way": "skip", "reason": "the cluster is gone"}), paths("undo", [1])),
        (json!({"way": "done"}), paths("undo", [1])),
    ];
    for (no, (way, rest)) in ways.into_iter().enumerate() {
        let systems = Systems::start(&["do/p4", "undo/p2"], false);
        let (_, run) = ended(&client, &pipeline(&format!("stuck {no}"), &systems, &json!({"to": "start"}))).await;
        let error = run["error"].as_str().expect("it says why");
        assert!(error.starts_with("compensation_failed: the undo of step 'p2'"), "{way}: {run:#}");
        assert_eq!(run["run_status"], json!("failed"));
        assert_eq!(systems.asked(), [paths("do", 1..=4), paths("undo", [3, 2])].concat());
        let path = format!("/api/v1/runs/{}", id(&run));
        let plan = client.get(&format!("{path}/undo-plan")).await;
        let left: Vec<&Value> = plan["undo"].as_array().expect("a list").iter().map(|step| &step["step_id"]).collect();
        assert_eq!(left, [&json!("p2"), &json!("p1")], "{plan}");
        client.post(&format!("{path}/retry"), json!({}), 409).await;
        systems.mend();
        client.post(&format!("{path}/undo"), way.clone(), 200).await;
        let run = client.run(id(&run), "rolled_back").await;
        assert_eq!(systems.asked(), rest, "{way}");
        assert_eq!(moves(&client, &run).await, [done(1..=3), failed(4, Some(0))].concat(), "{way}");
        let audit = client.items("/api/v1/audit-log?limit=100").await;
        let of_run = |event: &str| {
            audit.iter().filter(|row| row["event_type"] == event && row["subject_id"] == run["id"]).count()
        };
        assert_eq!((of_run("rollback_started"), of_run("undo_settled"), of_run("rollback_ended")), (1, 1, 1), "{way}");
    }
}

/// The value of a sample of `/metrics`.
fn sample(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

async fn phases_are_counted_analysed_and_shown(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let systems = Systems::start(&["do/p4"], false);
    let (flow, run) = ended(&client, &pipeline("figures", &systems, &json!({"to": "start"}))).await;
    let metrics = bed.server.get_text("/metrics").await;
    let of = |name: &str, phase: i64| sample(&metrics, &format!("{name}{{phase=\"{phase}\",flow=\"{flow}\"}}"));
    for (name, phase, count) in [
        ("workflow_phase_started", 1, 1.0),
        ("workflow_phase_started", 4, 1.0),
        ("workflow_phase_completed_count", 3, 1.0),
        ("workflow_phase_completed_count", 4, 0.0),
        ("workflow_phase_failed_count", 4, 1.0),
        ("workflow_phase_failed_count", 3, 0.0),
        ("workflow_phase_rolled_back", 4, 1.0),
    ] {
        assert_eq!(of(name, phase), Some(count), "{name} of phase {phase}: {metrics}");
    }
    assert_eq!(of("workflow_phase_started", 5), None, "it never began");
    assert_eq!(sample(&metrics, "core314_phase_values_lost_total"), Some(0.0));

    // Values of metrics come a moment later.
    let of_phases = |page: &Value| {
        let items = page["items"].as_array().cloned().unwrap_or_default();
        let ours = |row: &Value| row["metric_name"].as_str().is_some_and(|name| name.starts_with("workflow_phase_"));
        items.into_iter().filter(ours).collect::<Vec<Value>>()
    };
    let page = client.until("/api/v1/metrics-data?limit=100", |page| of_phases(page).len() == 9).await;
    let values = of_phases(&page);
    let failed = values.iter().find(|row| row["metric_name"] == "workflow_phase_failed").expect("it failed");
    assert_eq!(failed["metric_type"], json!("histogram"));
    let labels = json!({"phase": "deploy", "flow": "figures", "user_id": run["user_id"], "workflow_id": run["id"]});
    assert_eq!(failed["labels"], labels);
    assert!(failed["value"].as_f64().is_some_and(|seconds| seconds > 0.0), "{failed}");

    let rows = client.items(&format!("/api/v1/workflow-phase-logs?workflow_id={}&limit=100", id(&run))).await;
    for row in &rows {
        let phase = row["phase_number"].as_i64().expect("a number");
        let wanted = if phase == 2 { 0 } else { DEFAULT_SLA_MS[phase as usize - 1] };
        assert_eq!(row["metadata"]["sla_ms"], json!(wanted), "{row}");
    }
    let late = client.items("/api/v1/phases/sla-violations").await;
    let late: Vec<&Value> = late.iter().filter(|row| row["workflow_id"] == run["id"]).collect();
    assert_eq!(late.len(), 1, "{late:?}");
    assert_eq!((&late[0]["phase_name"], &late[0]["status"]), (&json!("build"), &json!("completed")));

    let analytics = client.get(&format!("/api/v1/phases/analytics?flow_id={flow}")).await;
    let phases = analytics["items"].as_array().expect("items");
    let figures = |phase: &Value| {
        ["phase_number", "started", "completed", "failed", "rolled_back"].map(|name| phase[name].clone())
    };
    let wanted = [[1, 1, 1, 0, 0], [2, 1, 1, 0, 0], [3, 1, 1, 0, 0], [4, 1, 0, 1, 1]];
    assert_eq!(phases.iter().map(figures).collect::<Vec<_>>(), wanted.map(|row| row.map(Value::from)), "{analytics:#}");
    let slow: Vec<&Value> = phases.iter().filter(|phase| phase["is_slow"] == json!(true)).collect();
    assert_eq!(slow.len(), 1, "{analytics:#}");
    assert_eq!((&slow[0]["phase_name"], &slow[0]["costliest_step"]), (&json!("build"), &json!("p2")), "{analytics:#}");
    assert_eq!((&slow[0]["sla_violations"], &slow[0]["longest_run_id"]), (&json!(1), &run["id"]));
    assert_eq!(phases[3]["costliest_step"], json!(null), "only of those that are slow");

    // The views say the same to whoever asks the database.
    let query = "SELECT phase_number || ':' || total || ':' || completed || ':' || failed || ':' || rolled_back \
                 FROM workflow_phase_analytics ORDER BY phase_number";
    assert_eq!(bed.installation.rows(query).await, ["1:1:1:0:0", "2:1:1:0:0", "3:1:1:0:0", "4:1:0:1:1"]);
    let query = "SELECT phase_name || ':' || sla_threshold_ms FROM workflow_phase_sla_violations";
    assert_eq!(bed.installation.rows(query).await, ["build:0"]);
}

/// A flow of two phases, the second of which fails. Its transitions are told.
fn told() -> Value {
    let step = |no: u32, kind: &str, config: Value| json!({"id": format!("s{no}"), "phase": no, "type": kind, "config": config});
    json!({
        "flow_name": "told", "trigger_type": "manual", "execution_mode": "sequential",
        "phases": [
            {"number": 1, "name": "build", "sla_seconds": 60},
            {"number": 2, "name": "deploy", "alert_channels": ["in_app", "email"]},
        ],
        "flow_steps": [
            step(1, "transform", json!({"values": {"n": "1"}})),
            step(2, "raise", json!({"error": "no_room", "message": "no {{ '{{' }} room"})),
        ],
    })
}

async fn the_channels_of_a_phase_are_told_of_its_transitions(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let saved = client.post("/api/v1/flows", told(), 201).await;
        let warns = |pointer: &str| {
            saved["warnings"].as_array().is_some_and(|all| all.iter().any(|warning| warning["pointer"] == pointer))
        };
        assert!(warns("/phases/1/alert_channels/1") && !warns("/phases/1/alert_channels/0"), "{saved}");
        let run = client.start(id(&saved)).await;
        client.run(run.id(), "rolled_back").await;
        let are_there = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() >= 3);
        let page = client.until("/api/v1/notifications", are_there).await;
        let items = page["items"].as_array().expect("items");
        let mut said: Vec<[&str; 2]> =
            items.iter().map(|item| ["title", "severity"].map(|name| item[name].as_str().expect("a text"))).collect();
        said.sort_unstable();
        let wanted = [
            ["told: phase 2 (deploy) failed", "high"],
            ["told: phase 2 (deploy) rolled back", "high"],
            ["told: phase 2 (deploy) started", "low"],
        ];
        assert_eq!(said, wanted, "{items:#?}");
        let failed = items.iter().find(|item| item["title"] == wanted[0][0]).expect("it is there");
        let message = failed["message"].as_str().expect("a text");
        assert!(message.starts_with("step 's2': no {{ room. It took "), "nothing in an error is a template: {message}");
        assert_eq!(failed["action_url"], json!(format!("/runs/{}", run.id())));
    }
}

/// Killed before somebody is told and after: they are told, once.
async fn a_transition_is_told_once_over_a_crash(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    server.create("/api/v1/flows", told()).await;
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        server.terminate();
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        server = Server::start_with(&installation, &environment).expect("it starts");
        // The answer may be lost: the run is durable all the same, or the caller would come back.
        let body = json!({"run_key": format!("k-{no}")});
        server.request(reqwest::Method::POST, "/api/v1/flows/told/trigger", Some(body)).await.ok();
        server.wait();
        server = Server::start(&installation);
        while server.all("/api/v1/notifications").await.len() < 3 * (no + 1) {
            tokio::task::yield_now().await;
        }
    }
    // What the last life left is taken up once more, and tells nobody again.
    server.terminate();
    let server = Server::start(&installation);
    assert_eq!(server.all("/api/v1/notifications").await.len(), 6, "three for each run");
}

on_both_stores!(
    the_fourth_phase_fails,
    a_failed_phase_is_tried_again,
    an_undo_that_fails_waits_for_a_person,
    phases_are_counted_analysed_and_shown,
    the_channels_of_a_phase_are_told_of_its_transitions,
    a_transition_is_told_once_over_a_crash,
);
