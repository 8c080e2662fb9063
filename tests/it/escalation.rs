//! Escalation from end to end: the real binary over HTTP, on both stores. Delays are fractions of a minute, and whoever waits
//! waits for a row, never for a time.

mod bounds;
mod faults;
mod kills;
mod levels;
mod page;
mod pagers;
mod phases;
mod remedies;
mod restraint;
mod services;
mod starts;
mod taking;

use reqwest::Method;
use serde_json::{Value, json};

use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::support::{Server, StoreKind};

/// Who is on call.
const ON_CALL: &str = "0190a000-0000-7000-8000-0000000004ca";

/// Every event of a test.
const EVENTS: &str = "/api/v1/escalation-events?limit=500";

/// A flow whose one step posts to the receiver, once.
fn flow(bed: &Bed, name: &str) -> Value {
    let mut flow = bed.flow(name, &["charge"]);
    flow["retry_policy"] = json!({"max_attempts": 1});
    flow
}

/// A schedule of one person.
fn on_call(user: &str) -> Value {
    let layer = json!({"name": "all", "users": [user], "starts_at": "2026-01-05T09:00"});
    json!({"name": "primary", "time_zone": "Europe/Berlin", "layers": [layer]})
}

/// The model rule, in fractions of a minute: notify, then admin and ticket, then page and halt.
fn model(bed: &Bed, name: &str, second: f64, third: f64) -> Value {
    let ticket = json!({"action": "api_call", "target": "tickets",
        "payload": {"method": "POST", "url": format!("{}/ticket", bed.sink.url), "json": {"flow": "{{ trigger.flow_name }}"}}});
    json!({
        "rule_name": name, "applies_to_flows": ["checkout"], "tags": ["money"],
        "escalation_levels": [
            {"level": 1, "delay_minutes": 0, "actions": ["notify_user"]},
            {"level": 2, "delay_minutes": second, "actions": ["notify_admin", ticket]},
            {"level": 3, "delay_minutes": third, "actions": [{"action": "page_oncall", "target": "primary"}, "halt_flow"]},
        ],
    })
}

/// Fails a run of the flow, and gives its id.
async fn fail(bed: &Bed, client: &Client<'_>, flow: &str) -> String {
    bed.sink.answer(500);
    let run = client.start(flow).await;
    client.run(run.id(), "failed").await;
    bed.sink.answer(200);
    run.id().to_owned()
}

/// Reports a failure, and gives what the first rule that acts has made of it.
async fn report(client: &Client<'_>, context: Value) -> Value {
    let answer = client.post("/api/v1/escalation-events", json!({"context": context}), 200).await;
    answer["taken"][0].clone()
}

/// The same, and gives the path of the event.
async fn reported(client: &Client<'_>, context: Value) -> String {
    let taken = report(client, context).await;
    let id = taken["escalation_event_id"].as_str().unwrap_or_else(|| panic!("an event: {taken}"));
    format!("/api/v1/escalation-events/{id}")
}

/// The one event there is, once it is as it should be.
async fn event(client: &Client<'_>, is_so: impl Fn(&Value) -> bool) -> Value {
    let first = |page: &Value| page["items"].as_array().and_then(|items| items.first()).cloned();
    let page = client.until("/api/v1/escalation-events", |page| first(page).is_some_and(|event| is_so(&event))).await;
    first(&page).expect("it is there")
}

/// What an event wanted done, in short and in order.
async fn outbox(client: &Client<'_>) -> Vec<String> {
    let mut rows = client.items("/api/v1/escalation-outbox?limit=100").await;
    rows.sort_by_key(|row| row["id"].as_str().unwrap_or_default().to_owned());
    let said = |row: &Value| {
        let [level, channel, status] =
            ["escalation_level", "channel", "status"].map(|name| row[name].to_string().replace('"', ""));
        format!("{level} {channel} {status}")
    };
    rows.iter().map(said).collect()
}

fn all_sent(event: &Value) -> bool {
    let lists = [&event["notifications_sent"], &event["actions_performed"]];
    lists.into_iter().filter_map(Value::as_array).flatten().all(|task| task["status"] == "sent")
}

async fn a_failure_climbs_the_levels_each_once_whatever_dies_in_between(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let flow_id = {
        let [client, _] = bed.clients();
        client.post("/api/v1/on-call", on_call(&user.to_string()), 201).await;
        client.post("/api/v1/escalation-rules", model(&bed, "model", 0.03, 0.08), 201).await;
        let flow_id = client.save(&flow(&bed, "checkout")).await;
        fail(&bed, &client, "checkout").await;
        event(&client, |event| event["escalation_level"] == 1).await;
        flow_id
    };
    // It dies after the first level, and again after the second.
    for level in [2, 3] {
        bed.server.kill();
        bed.server = Server::start(&bed.installation);
        let client = Client::of(&bed.server, user);
        event(&client, |event| event["escalation_level"].as_i64() >= Some(level)).await;
    }
    let client = Client::of(&bed.server, user);
    let done = |event: &Value| event["escalation_level"] == 3 && all_sent(event);
    let event = event(&client, done).await;
    let expected = ["1 in_app sent", "2 in_app sent", "2 api_call sent", "3 in_app sent", "3 halt_flow sent"];
    assert_eq!(outbox(&client).await, expected);
    assert_eq!(pick(&event, "status escalation_reason failure_count"), json!(["escalated", "execution_failed", 1]));
    assert_eq!(pick(&event, "orchestration_flow_id tags"), json!([flow_id, ["money"]]));
    let inbox = client.items("/api/v1/notifications").await;
    assert_eq!(inbox.len(), 3, "the user of the run, who is the admin and on call: {inbox:#?}");
    let tickets = bed.sink.received().into_iter().filter(|request| request.path == "/ticket");
    let tickets: Vec<Value> = tickets.map(|request| request.body).collect();
    assert_eq!(tickets, [json!({"flow": "checkout"})], "the ticket is made once");
    assert_eq!(client.get(&format!("/api/v1/flows/{flow_id}")).await["is_active"], false, "the flow is halted");
    let page = event["notifications_sent"].as_array().expect("a list").iter().find(|sent| sent["level"] == 3);
    assert_eq!(page.expect("the page")["target"], format!("user:{user}"));
    let rule = client.items("/api/v1/escalation-rules").await.remove(0);
    assert_eq!(pick(&rule, "total_escalations successful_resolutions"), json!([1, 0]));
}

async fn killed_at_every_send_nothing_is_lost_and_nothing_doubled(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let rounds = if crate::support::long() { 200 } else { 8 };
    {
        let [client, _] = bed.clients();
        client.post("/api/v1/escalation-rules", told_rule(), 201).await;
        client.save(&flow(&bed, "checkout")).await;
    }
    for round in 0..rounds {
        bed.server.terminate();
        let point = if round % 2 == 0 { "escalation.before_send" } else { "escalation.after_send" };
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@{}", 1 + round / 2 % 2))];
        bed.server = Server::start_with(&bed.installation, &environment).expect("it starts");
        let report = json!({"context": {"subject": format!("round-{round}")}});
        // The answer may die with the server, and its event is durable all the same, or was never accepted.
        let path = "/api/v1/escalation-events";
        drop(
            bed.server
                .http
                .post(format!("{}{path}", bed.server.url))
                .bearer_auth(crate::support::SERVICE_KEY)
                .header("X-User-Id", user.to_string())
                .json(&report)
                .send()
                .await,
        );
        let started = std::time::Instant::now();
        while !bed.server.has_died() {
            assert!(started.elapsed().as_secs() < 60, "round {round}: it does not die");
            tokio::task::yield_now().await;
        }
        bed.server = Server::start(&bed.installation);
        // What is left is done before the next round begins.
        let client = Client::of(&bed.server, user);
        client.until(EVENTS, |page| page["items"].as_array().is_some_and(|all| all.iter().all(all_sent))).await;
    }
    let client = Client::of(&bed.server, user);
    let path = EVENTS;
    client.until(path, |page| page["items"].as_array().is_some_and(|all| all.iter().all(all_sent))).await;
    let events = client.items(path).await;
    assert_eq!(events.len(), rounds, "every report was taken before a send was tried");
    let inbox = client.items("/api/v1/notifications?limit=500").await;
    assert_eq!(inbox.len(), 2 * rounds, "one message for each event, level and person");
    println!("{kind:?}: {rounds} kills, {} messages", inbox.len());
}

/// A rule that tells two people's inboxes, of which one is the user's own: two sends at once.
fn told_rule() -> Value {
    json!({"rule_name": "told", "trigger_conditions": "trigger.reason == 'reported'",
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]},
            {"level": 2, "actions": ["notify_user"]}]})
}

async fn the_function_answers_in_its_shape_and_a_remediation_that_succeeds_resolves(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let rule = json!({"rule_name": "mend", "applies_to_flows": ["checkout"], "auto_remediation_enabled": true,
            "remediation_actions": ["retry"], "escalation_levels": [
                {"level": 1, "delay_minutes": 5, "actions": ["notify_user"]}]});
        client.save(&flow(&bed, "checkout")).await;
        let run = fail(&bed, &client, "checkout").await;
        client.post("/api/v1/escalation-rules", rule, 201).await;
        let execution = client.items(&format!("/api/v1/executions?flow_run_id={run}")).await.remove(0);
        let asked = json!({"execution_queue_id": execution["id"], "escalation_reason": "execution_failed",
            "trigger_context": {"customer": "acme"}, "ignored": true});
        let answer = client.post("/functions/v1/escalation-handler", asked, 200).await;
        let names: Vec<&str> = answer.as_object().expect("an object").keys().map(String::as_str).collect();
        let expected = [
            "actions_performed",
            "error",
            "escalation_event_id",
            "escalation_level",
            "escalation_rule_id",
            "notifications_sent",
            "remediation_attempted",
            "remediation_successful",
            "success",
        ];
        assert_eq!(names, expected);
        assert_eq!(pick(&answer, "success escalation_level remediation_attempted"), json!([true, 0, true]), "{answer}");
        let event = event(&client, |event| event["status"] == "resolved").await;
        assert_eq!(pick(&event, "remediation_successful notifications_sent resolved_by"), json!([true, [], null]));
        assert_eq!(event["context_data"]["customer"], "acme");
        client.run(&run, "completed").await;
        let none = json!({"escalation_reason": "nobody asked"});
        let answer = client.post("/functions/v1/escalation-handler", none, 404).await;
        assert_eq!((&answer["success"], answer["error"].is_string()), (&json!(false), true), "{answer}");
    }
}

async fn a_heartbeat_that_stays_away_is_told_and_one_that_comes_is_not(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let rule = |name: &str, minutes: f64| {
        json!({"rule_name": name, "heartbeat": {"every_minutes": minutes},
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]})
    };
    let quiet = client.post("/api/v1/escalation-rules", rule("nightly backup", 60.0), 201).await;
    let id = quiet["id"].as_str().expect("an id");
    let beat = client.post(&format!("/api/v1/escalation-rules/{id}/heartbeat"), json!({}), 200).await;
    assert!(beat["due_at"].is_string(), "{beat}");
    client.post("/api/v1/escalation-rules", rule("feed", 0.03), 201).await;
    let event = event(&client, |event| event["status"] == "triggered").await;
    assert_eq!(event["escalation_reason"], "heartbeat_missed");
    let rules = client.items("/api/v1/escalation-rules").await;
    let totals: Vec<&Value> = rules.iter().map(|rule| &rule["total_escalations"]).collect();
    assert_eq!(totals, [&json!(1), &json!(0)], "the newest first");
    let refused = client.ask(Method::POST, "/api/v1/escalation-rules", Some(&rule("x", 0.0)), &[]).await;
    assert_eq!(refused.body["errors"][0]["pointer"], "/heartbeat/every_minutes");
}

on_both_stores!(
    a_failure_climbs_the_levels_each_once_whatever_dies_in_between,
    killed_at_every_send_nothing_is_lost_and_nothing_doubled,
    the_function_answers_in_its_shape_and_a_remediation_that_succeeds_resolves,
    a_heartbeat_that_stays_away_is_told_and_one_that_comes_is_not,
);
