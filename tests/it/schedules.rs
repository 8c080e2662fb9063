//! Schedules from end to end: the real binary over HTTP, on both stores, and killed around the firing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Timelike};
use reqwest::Method;
use serde_json::{Value, json};

use crate::faults::looks;
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::supervised::without_database;
use crate::support::{Installation, Server, StoreKind};

/// A flow of one step that does nothing, or calls the receiver.
fn flow(name: &str, config: &Value) -> Value {
    json!({"flow_name": name, "trigger_type": "schedule", "trigger_config": config,
        "flow_steps": [{"id": "x", "config": {"action_type": "transform", "action_payload": {"value": 1}}}]})
}

fn path(flow: &str, rest: &str) -> String {
    format!("/api/v1/flows/{flow}/schedule{rest}")
}

async fn runs_of(client: &Client<'_>, flow: &str) -> Vec<Value> {
    client.items(&format!("/api/v1/runs?orchestration_flow_id={flow}&limit=500")).await
}

/// The second for which a run was started.
fn second(run: &Value) -> i64 {
    let text = run["trigger_context"]["scheduled_for"].as_str().expect("a time");
    let time = DateTime::parse_from_rfc3339(text).expect("RFC 3339");
    assert_eq!(time.nanosecond(), 0, "{text}");
    time.timestamp()
}

async fn a_schedule_fires_by_itself_and_tells_of_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let id = client.save(&flow("each-second", &json!({"cron": "* * * * * *", "missed": "all"}))).await;
        let fired = client.until(&path(&id, ""), |row| row["fired_count"] != json!(0)).await;
        assert_eq!(pick(&fired, "schedule_status schedule timezone"), json!(["scheduled", "* * * * * *", "UTC"]));
        assert_eq!(fired["next"].as_array().expect("a list").len(), 10);
        client.until(&path(&id, ""), |row| row["fired_count"].as_i64() >= Some(3)).await;
        let paused = client.post(&path(&id, "/pause"), json!({}), 200).await;
        assert_eq!(pick(&paused, "schedule_status next"), json!(["paused", []]));
        assert!(paused["paused_by"].as_str().is_some_and(|by| by.contains(':')), "{paused:#}");
        let again = client.post(&path(&id, "/pause"), json!({}), 200).await;
        assert_eq!(again["paused_at"], paused["paused_at"], "it was paused already");

        let runs = runs_of(&client, &id).await;
        assert_eq!(json!(runs.len()), paused["fired_count"]);
        let seconds: Vec<i64> = runs.iter().rev().map(second).collect();
        assert!(seconds.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seconds:?}");
        let created = client.get(&format!("/api/v1/flows/{id}")).await["created_at"].take();
        let created = DateTime::parse_from_rfc3339(created.as_str().expect("a time")).expect("RFC 3339").timestamp();
        assert_eq!(seconds[0], created + 1, "the first instant after the save");
        let last = &runs[0];
        assert_eq!(pick(last, "trigger_type trigger_source"), json!(["schedule", format!("schedule:{id}")]));
        assert_eq!(last["trigger_context"]["schedule"], "* * * * * *");
        assert_eq!(pick(&paused, "last_run_id"), json!([last["id"]]));
        client.run(last["id"].as_str().expect("an id"), "completed").await;

        let resumed = client.post(&path(&id, "/resume"), json!({}), 200).await;
        assert_eq!(pick(&resumed, "schedule_status paused_at paused_by"), json!(["scheduled", null, null]));
        client.until(&path(&id, ""), |row| row["fired_count"].as_i64() > paused["fired_count"].as_i64()).await;
        client.post(&format!("/api/v1/flows/{id}/pause"), json!({}), 200).await;
        let row = client.get(&path(&id, "")).await;
        assert_eq!(pick(&row, "schedule_status next"), json!(["inactive", []]));
        let audit = client.items(&format!("/api/v1/audit-log?subject_id={id}")).await;
        let events: Vec<&str> = audit.iter().rev().filter_map(|row| row["event_type"].as_str()).collect();
        assert_eq!(events, ["flow_created", "schedule_paused", "schedule_resumed", "flow_updated"]);
        let deleted = client.ask(Method::DELETE, &format!("/api/v1/flows/{id}"), None, &[]).await;
        assert_eq!(deleted.status.as_u16(), 204);
        assert_eq!(client.ask(Method::GET, &path(&id, ""), None, &[]).await.status.as_u16(), 404);
    }
    let metrics = bed.server.get_text("/metrics").await;
    assert!(metrics.contains("core314_schedules_not_fired_total{reason=\"missed\"}"), "{metrics}");
}

async fn what_does_not_fire_says_why(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut unmet = flow("unmet", &json!({"cron": "* * * * * *"}));
        unmet["conditions"] = json!("trigger.missed > 1000");
        let id = client.save(&unmet).await;
        let row = client.until(&path(&id, ""), |row| row["conditions_count"].as_i64() >= Some(2)).await;
        assert_eq!(row["fired_count"], 0);
        assert_eq!(pick(&row["last_not_fired"], "reason detail"), json!(["conditions", "trigger.missed > 1000"]));
        client.post(&path(&id, "/pause"), json!({}), 200).await;

        bed.sink.hold(true);
        let mut slow = flow("slow", &json!({"cron": "* * * * * *", "overlap": "skip"}));
        slow["flow_steps"] = json!([bed.call("call")]);
        slow["flow_steps"][0]["config"]["action_payload"]["json"] = json!("{{ trigger }}");
        let id = client.save(&slow).await;
        let row = client.until(&path(&id, ""), |row| row["overlap_count"].as_i64() >= Some(2)).await;
        assert_eq!(row["fired_count"], 1);
        let run = row["last_run_id"].as_str().expect("an id");
        let detail = row["last_not_fired"]["detail"].as_str().expect("a text");
        assert!(row["last_not_fired"]["reason"] == "overlap" && detail.contains(run), "{row:#}");
        assert_eq!(client.get(&format!("/api/v1/runs/{run}")).await["run_key"], "schedule");
        let queue = json!({"trigger_config": {"overlap": "queue"}});
        let patched = client.ask(Method::PATCH, &format!("/api/v1/flows/{id}"), Some(&queue), &[]).await;
        assert_eq!(patched.status.as_u16(), 200, "{}", patched.body);
        client.until(&path(&id, ""), |row| row["schedule_status"] == "waiting").await;
        bed.sink.hold(false);
        client.until(&path(&id, ""), |row| row["fired_count"].as_i64() >= Some(3)).await;
        client.post(&path(&id, "/pause"), json!({}), 200).await;
        for run in runs_of(&client, &id).await {
            client.run(run["id"].as_str().expect("an id"), "completed").await;
        }
    }
}

async fn schedules_are_checked_previewed_and_filled_in(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        for (config, pointer) in [
            (json!({}), "/trigger_config/cron"),
            (json!({"cron": "0 0 30 2 *"}), "/trigger_config/cron"),
            (json!({"cron": "@daily", "timezone": "Mars/Olympus"}), "/trigger_config/timezone"),
            (json!({"cron": "@daily", "speed": 1}), "/trigger_config/speed"),
            (json!({"every": "0s"}), "/trigger_config/every"),
        ] {
            let refused = client.post("/api/v1/flows", flow("wrong", &config), 422).await;
            assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused:#}");
            let preview = client.post("/api/v1/schedules/preview", json!({"trigger_config": config}), 422).await;
            assert_eq!(preview["errors"][0]["pointer"], pointer, "{preview:#}");
        }
        let config = json!({"cron": "30 2 * * *", "timezone": "Europe/Berlin"});
        let asked = json!({"trigger_config": config, "count": 2, "from": "2026-03-29T00:00:00Z"});
        let preview = client.post("/api/v1/schedules/preview", asked, 200).await;
        let local: Vec<&Value> = preview["instants"].as_array().expect("a list").iter().map(|i| &i["local"]).collect();
        assert_eq!(local, ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);

        let id = client.save(&flow("daily", &config)).await;
        let mut range = json!({"from": "2020-03-28T00:00:00Z", "to": "2020-03-31T00:00:00Z", "preview": true});
        let preview = client.post(&path(&id, "/backfill"), range.clone(), 200).await;
        assert_eq!(pick(&preview, "count started"), json!([3, 0]));
        assert_eq!(preview["results"][1]["local"], "2020-03-29T03:00:00+02:00");
        assert!(runs_of(&client, &id).await.is_empty(), "a preview does nothing");
        range["max"] = json!(2);
        let refused = client.post(&path(&id, "/backfill"), range.clone(), 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/max");
        (range["preview"], range["max"]) = (json!(false), json!(3));
        let filled = client.post(&path(&id, "/backfill"), range.clone(), 200).await;
        assert_eq!(pick(&filled, "count started"), json!([3, 3]), "{filled:#}");
        let again = client.post(&path(&id, "/backfill"), range, 200).await;
        assert_eq!((&again["started"], &again["results"][0]["result"]), (&json!(0), &json!("repeated")));
        assert_eq!(again["results"][0]["run_id"], filled["results"][0]["run_id"]);
        let runs = runs_of(&client, &id).await;
        assert_eq!(runs.len(), 3);
        assert_eq!(runs[0]["trigger_source"], format!("schedule:{id}"));
        let future = json!({"from": "2020-01-01T00:00:00Z", "to": "2999-01-01T00:00:00Z"});
        client.post(&path(&id, "/backfill"), future, 422).await;
        client.post(&path(&id, "/backfill"), json!({"from": "x"}), 422).await;

        let mut held = flow("held", &json!({"every": "1s", "paused": true}));
        let id = client.save(&held).await;
        let row = client.get(&path(&id, "")).await;
        assert_eq!(pick(&row, "schedule_status paused_by next"), json!(["paused", "document", []]));
        client.post(&path(&id, "/resume"), json!({}), 409).await;
        held["flow_name"] = json!("by-hand");
        held["trigger_type"] = json!("manual");
        held["trigger_config"] = json!({});
        let id = client.save(&held).await;
        for rest in ["", "/pause", "/resume", "/backfill"] {
            let (method, body) = if rest.is_empty() {
                (Method::GET, None)
            } else {
                (
                    Method::POST,
                    Some(if rest == "/backfill" { json!({"from": "2020-01-01T00:00:00Z"}) } else { json!({}) }),
                )
            };
            assert_eq!(client.ask(method, &path(&id, rest), body.as_ref(), &[]).await.status.as_u16(), 404, "{rest}");
        }
    }
}

/// Each start is killed at one of these points, at its second or third firing.
const POINTS: [&str; 4] = ["schedule.before", "schedule.after", "accept.after", "commit.after"];

async fn a_server_that_dies_around_its_firings_loses_and_doubles_nothing(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    let saved =
        server.create("/api/v1/flows", flow("each-second", &json!({"cron": "* * * * * *", "missed": "all"}))).await;
    let id = saved["id"].as_str().expect("an id").to_owned();
    for (nth, point) in POINTS.iter().enumerate() {
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@{}", 2 + nth % 2))];
        server.kill();
        let Some(next) = Server::start_with(&installation, &environment) else { continue };
        server = next;
        let started = Instant::now();
        while !server.has_died() {
            assert!(started.elapsed() < Duration::from_secs(30), "{point}: it is not passed");
            tokio::task::yield_now().await;
        }
    }
    server = Server::start(&installation);
    every_instant_has_one_run(&server, &id).await;
}

/// Waits until the schedule has fired three times more, and looks at all that it has done: nobody stops it meanwhile.
async fn every_instant_has_one_run(server: &Server, id: &str) {
    let path = |rest: &str| path(id, rest);
    let before = server.get(&path("")).await["fired_count"].as_i64().expect("a number");
    let started = Instant::now();
    while server.get(&path("")).await["fired_count"].as_i64() < Some(before + 3) {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not go on");
    }
    let paused = server.request(Method::POST, &path("/pause"), Some(json!({}))).await.expect("the server answers");
    assert_eq!(paused.0.as_u16(), 200, "{}", paused.1);
    let row = server.get(&path("")).await;
    let runs = server.all(&format!("/api/v1/runs?orchestration_flow_id={id}")).await;
    let seconds: BTreeSet<i64> = runs.iter().map(second).collect();
    assert_eq!(seconds.len(), runs.len(), "an instant has two runs");
    assert_eq!(row["fired_count"].as_i64(), Some(runs.len() as i64));
    let (first, last) = (*seconds.first().expect("runs"), *seconds.last().expect("runs"));
    assert_eq!(last - first + 1, seconds.len() as i64, "an instant has no run: {row:#}");
    assert_eq!(row["missed_count"], 0, "fewer than a hundred instants passed");
}

/// Its actor dies in the middle of its work, once and again.
async fn a_panic_of_its_actor_loses_and_doubles_no_firing(kind: StoreKind) {
    for nth in [2, 3, 5] {
        let installation = Installation::new(kind).await;
        let environment = [("CORE314_FAILPOINTS", format!("actor.schedules=panic@{nth}"))];
        let server = Server::start_with(&installation, &environment).expect("it becomes ready");
        let config = json!({"cron": "* * * * * *", "missed": "all"});
        let saved = server.create("/api/v1/flows", flow("each-second", &config)).await;
        let restarted = "SELECT event_type FROM audit WHERE event_type = 'actor_restarted'";
        let (started, mut looks) = (Instant::now(), looks());
        while installation.rows(restarted).await.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(30), "{nth}: it does not die");
            looks.tick().await;
        }
        every_instant_has_one_run(&server, saved["id"].as_str().expect("an id")).await;
    }
}

/// Instants pass while nobody can write down that they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_is_gone_loses_and_doubles_no_firing() {
    let installation = Installation::new(StoreKind::Postgres).await;
    let server = Server::start(&installation);
    let config = json!({"cron": "* * * * * *", "missed": "all"});
    let saved = server.create("/api/v1/flows", flow("each-second", &config)).await;
    let id = saved["id"].as_str().expect("an id");
    let started = Instant::now();
    while server.get(&path(id, "")).await["fired_count"].as_i64() < Some(1) {
        assert!(started.elapsed() < Duration::from_secs(30), "it does not fire");
    }
    without_database(&server, &installation, Duration::from_secs(3)).await;
    every_instant_has_one_run(&server, id).await;
}

on_both_stores!(
    a_schedule_fires_by_itself_and_tells_of_it,
    what_does_not_fire_says_why,
    schedules_are_checked_previewed_and_filled_in,
    a_server_that_dies_around_its_firings_loses_and_doubles_nothing,
    a_panic_of_its_actor_loses_and_doubles_no_firing,
);
