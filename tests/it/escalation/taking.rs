//! Taking an escalation: by the API, the command line and the link in a message; and what that stops.

use reqwest::Method;
use serde_json::{Value, json};

use super::{event, fail, flow, model, outbox, reported};
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::sink::Sink;
use crate::support::{SERVICE_KEY, StoreKind};

/// Two rules about two flows, one of whose events is taken: the other one says when the time of the next level has come.
async fn an_acknowledgement_stops_the_climb_and_what_is_being_sent(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    // The chat does not answer: its message is in flight when somebody takes the escalation.
    let chat = Sink::start();
    chat.hold(true);
    for client in bed.clients() {
        let rule = |name: &str, second: f64| {
            json!({
                "rule_name": name, "applies_to_flows": [name],
                "escalation_levels": [
                    {"level": 1, "actions": ["notify_user"], "notify_channels": [
                        {"channel": "slack", "payload": {"url": format!("{}/slack", chat.url)}}]},
                    {"level": 2, "delay_minutes": second, "actions": ["notify_admin"]},
                ],
            })
        };
        for (name, second) in [("taken", 0.05), ("left", 0.06)] {
            client.post("/api/v1/escalation-rules", rule(name, second), 201).await;
            client.save(&flow(&bed, name)).await;
        }
        fail(&bed, &client, "taken").await;
        let taken = event(&client, |event| event["escalation_level"] == 1).await;
        let id = taken["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/v1/escalation-events/{id}");
        let acked = client.post(&format!("{path}/acknowledge"), json!({}), 200).await;
        let expected = json!(["acknowledged", client.user.to_string()]);
        assert_eq!(pick(&acked, "status acknowledged_by"), expected);
        // On a busy machine the second level may have come first.
        let level = acked["escalation_level"].clone();
        let has_stopped = |page: &Value| {
            let rows = page["items"].as_array().cloned().unwrap_or_default();
            rows.iter().any(|row| row["channel"] == "slack" && row["status"] == "cancelled")
        };
        client.until("/api/v1/escalation-outbox", has_stopped).await;
        let again = client.ask(Method::POST, &format!("{path}/acknowledge"), Some(&json!({})), &[]).await;
        assert_eq!(again.status.as_u16(), 409, "{}", again.body);
        fail(&bed, &client, "left").await;
        let climbed =
            |page: &Value| page["items"].as_array().is_some_and(|all| all.iter().any(|e| e["escalation_level"] == 2));
        client.until("/api/v1/escalation-events?status=escalated", climbed).await;
        let still = client.get(&path).await;
        assert_eq!(pick(&still, "status escalation_level"), json!(["acknowledged", level]), "it climbs no further");
        let resolved = client.post(&format!("{path}/resolve"), json!({"notes": "card scheme was down"}), 200).await;
        let shown = pick(&resolved, "status resolution_notes resolved_by next_wake_at");
        assert_eq!(shown, json!(["resolved", "card scheme was down", client.user.to_string(), null]));
        let active = client.items("/api/v1/escalation-events/active").await;
        assert_eq!(active.len(), 1, "the other one is open");
        let figures = client.items("/api/v1/escalation-events/analytics?interval_minutes=60").await;
        let sums = |name: &str| figures.iter().map(|row| row[name].as_i64().unwrap_or_default()).sum::<i64>();
        assert_eq!([sums("total"), sums("resolved"), sums("suppressed")], [2, 1, 0]);
        let other = active[0]["id"].as_str().expect("an id");
        client.post(&format!("/api/v1/escalation-events/{other}/resolve"), json!({"failed": true}), 200).await;
    }
}

async fn a_link_asks_first_and_its_buttons_act_as_the_person(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    client.post("/api/v1/escalation-rules", model(&bed, "model", 10.0, 20.0), 201).await;
    client.save(&flow(&bed, "checkout")).await;
    fail(&bed, &client, "checkout").await;
    let has_one = |page: &Value| page["items"].as_array().is_some_and(|items| !items.is_empty());
    let inbox = client.until("/api/v1/notifications", has_one).await;
    let link = inbox["items"][0]["action_url"].as_str().expect("a link").to_owned();
    assert!(link.starts_with("/api/v1/ack/"), "{link}");
    let url = format!("{}{link}", bed.server.url);
    let ask = async |method: Method, url: &str| {
        let response = bed.server.http.request(method, url).send().await.expect("it answers");
        (response.status().as_u16(), response.text().await.expect("a text"))
    };
    let (status, page) = ask(Method::GET, &url).await;
    assert!(status == 200 && page.contains("<form method=\"post\">"), "{status} {page}");
    let untouched = event(&client, |_| true).await;
    assert_eq!(untouched["status"], "triggered", "whoever only follows links acknowledges nothing");
    let (status, forged) = ask(Method::POST, &format!("{url}x")).await;
    assert_eq!(status, 404, "{forged}");
    for _ in 0..2 {
        let (status, page) = ask(Method::POST, &url).await;
        assert!(status == 200 && page.contains("Acknowledged"), "{status} {page}");
    }
    let acked = event(&client, |event| event["status"] == "acknowledged").await;
    assert_eq!(acked["acknowledged_by"], client.user.to_string());
    let page = ask(Method::GET, &url).await.1;
    assert!(
        page.contains("?do=resolve") && !page.contains("?do=acknowledge"),
        "nothing is left to acknowledge: {page}"
    );
    let (status, odd) = ask(Method::POST, &format!("{url}?do=dance")).await;
    assert_eq!(status, 422, "{odd}");
    for _ in 0..2 {
        let (status, page) = ask(Method::POST, &format!("{url}?do=resolve")).await;
        assert!(status == 200 && page.contains("Resolved"), "{status} {page}");
    }
    let ended = event(&client, |event| event["status"] == "resolved").await;
    assert_eq!(ended["resolved_by"], client.user.to_string());
    assert!(!ask(Method::GET, &url).await.1.contains("<form"), "nothing is left to do");
}

async fn the_command_line_takes_lists_and_says_why(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let user = crate::support::USER.parse().expect("a user");
    let client = Client::of(&bed.server, user);
    client.post("/api/v1/escalation-rules", model(&bed, "model", 10.0, 20.0), 201).await;
    client.save(&flow(&bed, "checkout")).await;
    fail(&bed, &client, "checkout").await;
    let told = event(&client, |event| event["escalation_level"] == 1 && super::all_sent(event)).await;
    let id = told["id"].as_str().expect("an id").to_owned();
    let server = bed.server.url.clone();
    let key = client.post("/api/v1/tokens", json!({"name": "cli", "roles": ["admin"]}), 201).await;
    let key = key["key"].as_str().expect("a key").to_owned();
    let run = |arguments: &[&str]| {
        let mut command = bed.installation.command(arguments);
        command.args(["--server", &server]).env("CORE314_KEY", &key);
        let output = command.output().expect("the binary runs");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap_or(-1), text)
    };
    assert_ne!(key, SERVICE_KEY);
    let (code, text) = run(&["escalation", "list"]);
    assert!(code == 0 && text.contains(&id) && text.contains("triggered"), "{code} {text}");
    let (code, text) = run(&["escalation", "why", &id]);
    assert!(code == 0 && text.contains("acts"), "{code} {text}");
    let (code, text) = run(&["ack", &id]);
    assert!(code == 0 && text.contains("acknowledged"), "{code} {text}");
    let (code, text) = run(&["resolve", &id, "--notes", "done"]);
    assert!(code == 0 && text.contains("resolved"), "{code} {text}");
    let (code, text) = run(&["ack", &id]);
    assert!(code == 1 && text.contains("ended by"), "{code} {text}");
    let (code, text) = run(&["escalation", "rules"]);
    assert!(code == 0 && text.contains("model"), "{code} {text}");
    assert_eq!(outbox(&client).await, ["1 in_app sent"]);
}

/// What the actor of a rule knows of an event saves a read, and no more: whatever has changed the event since is noticed.
async fn what_became_of_an_event_elsewhere_is_noticed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let rule = json!({"rule_name": "slow", "trigger_conditions": "trigger.reason == 'reported'",
        "escalation_levels": [{"level": 1, "delay_minutes": 30, "actions": ["notify_user"]}]});
    client.post("/api/v1/escalation-rules", rule, 201).await;
    let report = async || reported(&client, json!({"subject": "disk"})).await;
    let path = report().await;
    let service = if kind == StoreKind::Postgres { "SET ROLE core314_service;" } else { "" };
    for changed in ["version = version + 1", "version = version + 1, open_subject = NULL, status = 'resolved'"] {
        for _ in 0..2 {
            assert_eq!(report().await, path);
        }
        bed.installation.meddle(&format!("{service} UPDATE escalations SET {changed}")).await;
    }
    let joined = client.get(&path).await;
    assert_eq!(joined["failure_count"], 5, "{joined}");
    let next = report().await;
    assert_ne!(next, path, "the one that was ended takes no more");
    assert_eq!(client.get(&next).await["failure_count"], 1);
}

on_both_stores!(
    an_acknowledgement_stops_the_climb_and_what_is_being_sent,
    a_link_asks_first_and_its_buttons_act_as_the_person,
    the_command_line_takes_lists_and_says_why,
    what_became_of_an_event_elsewhere_is_noticed,
);
