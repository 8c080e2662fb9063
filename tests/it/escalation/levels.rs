//! What levels do beside telling: flows and their runs are halted and let go on, others are started, people are told again; and
//! what keeps a climb, or does not.

use reqwest::Method;
use serde_json::{Value, json};

use super::{ON_CALL, all_sent, on_call};
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

const RULES: &str = "/api/v1/escalation-rules";
const INBOX: &str = "/api/v1/notifications?limit=100";

/// A rule for what is reported on a subject.
#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn rule(subject: &str, levels: Value) -> Value {
    json!({"rule_name": subject, "trigger_conditions": {"subject": subject}, "escalation_levels": levels})
}

/// Reports a failure, and gives the path of its event.
async fn report(client: &Client<'_>, subject: &str) -> String {
    let answer = client.post("/api/v1/escalation-events", json!({"context": {"subject": subject}}), 200).await;
    let id = answer["taken"][0]["escalation_event_id"].as_str().unwrap_or_else(|| panic!("an event: {answer}"));
    format!("/api/v1/escalation-events/{id}")
}

/// The event, once it has come to this level and all that it wants is done.
async fn at_level(client: &Client<'_>, path: &str, level: i64) -> Value {
    client.until(path, |event| event["escalation_level"] == level && all_sent(event)).await
}

/// How many times longer a climb is made, one after the other, where it was over before this test could do what it must do
/// in the middle of it: that happens on a slow machine.
const LONGER: [f64; 3] = [1.0, 3.0, 8.0];

/// Whether the climb has not yet come to the second level.
async fn is_early(client: &Client<'_>, path: &str) -> bool {
    client.get(path).await["escalation_level"] == 1
}

/// What people were sent of an event, once at least so many messages were.
async fn told(client: &Client<'_>, path: &str, least: usize, fields: &str) -> Vec<Value> {
    let sent = |event: &Value| event["notifications_sent"].as_array().cloned().unwrap_or_default();
    let event = client.until(path, |event| all_sent(event) && sent(event).len() >= least).await;
    sent(&event).iter().map(|row| pick(row, fields)).collect()
}

/// What an event has done, in short.
fn done(event: &Value) -> Vec<String> {
    let actions = event["actions_performed"].as_array().cloned().unwrap_or_default();
    actions.iter().map(|row| format!("{} {}", row["action"], row["status"]).replace('"', "")).collect()
}

async fn a_halted_flow_and_its_runs_stand_still_until_a_level_lets_them_go_on(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let mut checkout = bed.flow("checkout", &["charge", "ship"]);
    checkout["limits"] = json!({"concurrency": {"max": 2}});
    let checkout = client.save(&checkout).await;
    let checkout = format!("/api/v1/flows/{checkout}");
    let mut note = bed.call("note");
    note["config"]["action_payload"]["json"] = json!({"of": "{{ trigger.subject }}"});
    client.save(&json!({"flow_name": "after", "trigger_type": "manual", "flow_steps": [note]})).await;
    let go = json!([{"action": "resume_flow", "target": "checkout"}, {"action": "run_flow", "target": "after"}]);
    for (subject, actions) in [("stop", json!([{"action": "halt_flow", "target": "checkout"}])), ("go", go)] {
        client.post(RULES, rule(subject, json!([{"level": 1, "actions": actions}])), 201).await;
    }
    bed.sink.hold(true);
    let runs = [client.start("checkout").await, client.start("checkout").await];
    bed.sink.until(2).await;
    let in_line = client.start("checkout").await;
    client.run(in_line.id(), "pending").await;

    let stop = report(&client, "stop").await;
    assert_eq!(done(&at_level(&client, &stop, 1).await), ["halt_flow sent"]);
    assert_eq!(client.get(&checkout).await["is_active"], false);
    for run in runs.iter().chain([&in_line]) {
        client.run(run.id(), "paused").await;
    }
    // What is under way ends, and nothing begins behind it.
    bed.sink.hold(false);
    for run in &runs {
        client.execution(run.execution(0), "completed").await;
        client.run(run.id(), "paused").await;
    }
    let body = json!({"trigger_context": {}});
    let refused = client.ask(Method::POST, "/api/v1/flows/checkout/trigger", Some(&body), &[]).await;
    assert_eq!((refused.status.as_u16(), &refused.body["code"]), (409, &json!("flow_inactive")), "{}", refused.body);
    assert_eq!(bed.sink.count(), 2, "nothing is shipped");

    let go = report(&client, "go").await;
    assert_eq!(done(&at_level(&client, &go, 1).await), ["resume_flow sent", "run_flow sent"]);
    assert_eq!(client.get(&checkout).await["is_active"], true);
    for run in runs.iter().chain([&in_line]) {
        client.run(run.id(), "completed").await;
    }
    let received = bed.sink.received();
    let mut paths: Vec<&str> = received.iter().map(|request| request.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/charge", "/charge", "/charge", "/note", "/ship", "/ship", "/ship"], "each once");
    let note = received.iter().find(|request| request.path == "/note").expect("it is there");
    assert_eq!(note.body, json!({"of": "go"}), "the flow that is run hears what it is about");
    let all = client.items("/api/v1/runs?limit=100").await;
    let started = all.iter().find(|run| run["flow_name"] == "after").expect("it is there");
    assert_eq!(pick(started, "trigger_type run_status"), json!(["escalation", "completed"]));
}

/// An event that somebody takes once two have been told of it again, and before its second level.
async fn taken_in_time(client: &Client<'_>) -> (String, f64) {
    for longer in LONGER {
        let subject = format!("db {longer}");
        let levels = json!([
            {"level": 1, "actions": ["notify_user"], "repeat": {"every_minutes": 0.02, "times": 2}},
            {"level": 2, "delay_minutes": 0.12 * longer, "actions": ["notify_user"]},
            {"level": 3, "delay_minutes": 0.16 * longer, "actions": ["notify_user"], "until": "resolved"},
        ]);
        client.post(RULES, rule(&subject, levels), 201).await;
        let path = report(client, &subject).await;
        told(client, &path, 3, "level").await;
        client.post(&format!("{path}/acknowledge"), json!({}), 200).await;
        if is_early(client, &path).await {
            return (path, longer);
        }
    }
    panic!("no climb is long enough for this machine");
}

async fn people_are_told_again_and_what_lasts_until_the_end_is_reached_though_somebody_has_taken_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let (path, longer) = taken_in_time(&client).await;
    let event = at_level(&client, &path, 3).await;
    assert_eq!(event["status"], "acknowledged", "{event}");
    let expected = [
        json!([1, "level", 0, "sent"]),
        json!([1, "repeat", 1, "sent"]),
        json!([1, "repeat", 2, "sent"]),
        json!([3, "level", 0, "sent"]),
    ];
    let told = told(&client, &path, 4, "level purpose round status").await;
    assert_eq!(told, expected, "the second level is kept from being reached, the third is not");
    // Events that were not taken in time have told people as well.
    let inbox = client.items(INBOX).await.len();
    assert!(if longer > LONGER[0] { inbox >= 4 } else { inbox == 4 }, "{inbox}");
    client.post(&format!("{path}/resolve"), json!({"notes": "mended"}), 200).await;
    assert_eq!(pick(&client.get(&path).await, "status resolution_notes"), json!(["resolved", "mended"]));
}

/// An event that was silenced once it had begun to climb and before its second level, the subject of another one of the
/// same rule, and the silence.
async fn silenced_in_time(client: &Client<'_>) -> (String, String, String, f64) {
    for longer in LONGER {
        let [db, shop] = [format!("db {longer}"), format!("shop {longer}")];
        let page = json!({"action": "page_oncall", "target": "primary"});
        let levels = json!([{"level": 1, "actions": ["notify_user"]},
            {"level": 2, "delay_minutes": 0.06 * longer, "actions": [page]}]);
        let mut both = rule(&format!("climb {longer}"), levels);
        both["trigger_conditions"] = json!(format!("trigger.subject in ['{db}', '{shop}']"));
        client.post(RULES, both, 201).await;
        let held = report(client, &db).await;
        told(client, &held, 1, "level").await;
        let silence = json!({"name": "works", "matcher": {"subject": db}, "ends_at": "2099-01-01T00:00:00Z"});
        let silence = client.post("/api/v1/silences", silence, 201).await;
        if is_early(client, &held).await {
            let id = silence["id"].as_str().expect("an id");
            return (held, shop, format!("/api/v1/silences/{id}"), longer);
        }
    }
    panic!("no climb is long enough for this machine");
}

async fn a_silence_holds_a_climb_and_a_page_reaches_who_stands_in(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let schedule = client.post("/api/v1/on-call", on_call(ON_CALL), 201).await;
    let stand_in = client.user;
    let over = json!({"on_call_user_id": stand_in, "starts_at": "2020-01-01T00:00:00Z",
        "ends_at": "2099-01-01T00:00:00Z", "reason": "leave"});
    let overrides = format!("/api/v1/on-call/{}/overrides", schedule["id"].as_str().expect("an id"));
    client.post(&overrides, over, 201).await;

    // Another event of the rule shows that the time of the silenced one has come.
    let (held, shop, silence, longer) = silenced_in_time(&client).await;
    let free = report(&client, &shop).await;
    at_level(&client, &free, 2).await;
    let still = at_level(&client, &held, 1).await;
    let only_first = told(&client, &held, 1, "level status").await;
    assert_eq!((&still["status"], only_first), (&json!("triggered"), vec![json!([1, "sent"])]), "{still}");

    let ended = client.ask(Method::DELETE, &silence, None, &[]).await;
    assert_eq!(ended.status.as_u16(), 204, "{}", ended.body);
    for path in [&held, &free] {
        let event = at_level(&client, path, 2).await;
        let pages = event["notifications_sent"].as_array().expect("a list").iter().filter(|sent| sent["level"] == 2);
        let pages: Vec<Value> =
            pages.map(|page| pick(page, "target /found_by/on_call/schedule /found_by/on_call/layer")).collect();
        assert_eq!(pages, [json!([format!("user:{stand_in}"), "primary", "override"])], "and nobody else: {event}");
        assert_eq!(told(&client, path, 2, "level status").await, [json!([1, "sent"]), json!([2, "sent"])]);
    }
    // Events that were not silenced in time have told people as well.
    let inbox = client.items(INBOX).await.len();
    assert!(if longer > LONGER[0] { inbox >= 4 } else { inbox == 4 }, "whoever stands in has got the pages: {inbox}");
}

on_both_stores!(
    a_halted_flow_and_its_runs_stand_still_until_a_level_lets_them_go_on,
    people_are_told_again_and_what_lasts_until_the_end_is_reached_though_somebody_has_taken_it,
    a_silence_holds_a_climb_and_a_page_reaches_who_stands_in,
);
