//! What tells nobody, and says why: throttles, silences, dependencies, subjects that are open already.

use reqwest::Method;
use serde_json::{Value, json};

use super::{event, fail, flow};
use crate::orchestration::bed::{Bed, Client, pick};
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

const TEST: &str = "/api/v1/escalation-rules/test";

async fn report(client: &Client<'_>, subject: &str, urgency: &str) -> Value {
    super::report(client, json!({"subject": subject, "urgency": urgency})).await
}

fn rule(name: &str) -> Value {
    json!({"rule_name": name, "trigger_conditions": "trigger.reason == 'reported'",
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]})
}

async fn what_is_held_back_is_counted_and_told_with_the_next_message(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut limited = rule("limited");
        limited["throttles"] = json!([{"max": 2, "minutes": 0.2}]);
        client.post("/api/v1/escalation-rules", limited, 201).await;
        assert_eq!(report(&client, "a", "high").await["admission"], "opened");
        let joined = report(&client, "a", "critical").await;
        assert_eq!(joined["admission"], "joined");
        assert_eq!(report(&client, "b", "high").await["admission"], "opened");
        for _ in 0..3 {
            let held = report(&client, "c", "high").await;
            assert_eq!(held["admission"], "held_back", "{held}");
            assert!(held["held_back_by"].as_str().is_some_and(|why| why.contains("2 times")), "{held}");
        }
        let suppressed = client.items("/api/v1/escalation-events?status=suppressed").await;
        assert_eq!(suppressed.len(), 1, "one row for a subject");
        assert_eq!(pick(&suppressed[0], "subject failure_count bundled_into"), json!(["c", 3, null]));
        let why =
            client.get(&format!("/api/v1/escalation-events/{}/why", suppressed[0]["id"].as_str().expect("id"))).await;
        assert!(why["summary"].as_str().is_some_and(|text| text.starts_with("nobody was told")), "{why}");
        // The window slides: the next one that is told carries what was held back.
        let opened = loop {
            let taken = report(&client, "d", "high").await;
            if taken["admission"] == "opened" {
                break taken;
            }
        };
        let id = opened["escalation_event_id"].as_str().expect("an event");
        let next = client.get(&format!("/api/v1/escalation-events/{id}")).await;
        let held: i64 = next["held_back_count"].as_i64().expect("a count");
        assert!(held >= 3, "what was held back is not dropped: {next:#}");
        let bundled = client.items("/api/v1/escalation-events?status=suppressed").await;
        assert!(bundled.iter().all(|row| row["bundled_into"] == id), "{bundled:#?}");
        let told = |page: &Value| {
            let items = page["items"].as_array().cloned().unwrap_or_default();
            items.iter().any(|note| note["message"].as_str().is_some_and(|text| text.contains("were held back")))
        };
        client.until("/api/v1/notifications", told).await;
        let all = client.items("/api/v1/escalation-events?status=triggered").await;
        let first = all.iter().find(|event| event["subject"] == "a").expect("the first");
        assert_eq!(pick(first, "failure_count urgency"), json!([2, "critical"]));
    }
}

/// How many messages say that something was held back.
async fn told_of_held_back(client: &Client<'_>) -> usize {
    let inbox = client.items("/api/v1/notifications?limit=100").await;
    inbox.iter().filter(|note| note["message"].as_str().is_some_and(|text| text.contains(" held back"))).count()
}

/// No other failure comes: the next level tells it, and where there is none the rule does so by itself.
async fn what_a_throttle_holds_back_is_told_though_nothing_else_fails(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let user = bed.clients()[0].user;
    let bundled = |page: &Value, subject: &str, id: &Value| {
        let rows = page["items"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["subject"] == subject && row["bundled_into"] == *id)
    };
    let suppressed = "/api/v1/escalation-events?status=suppressed";
    let id = {
        let [client, _] = bed.clients();
        let mut limited = rule("limited");
        limited["throttles"] = json!([{"max": 1, "minutes": 0.4}]);
        let again = json!({"level": 2, "delay_minutes": 0.1, "actions": ["notify_user"]});
        limited["escalation_levels"].as_array_mut().expect("levels").push(again);
        client.post("/api/v1/escalation-rules", limited, 201).await;
        let opened = report(&client, "a", "high").await;
        assert_eq!(report(&client, "b", "high").await["admission"], "held_back");
        let id = opened["escalation_event_id"].clone();
        client.until(suppressed, |page| bundled(page, "b", &id)).await;
        let event = client.get(&format!("/api/v1/escalation-events/{}", id.as_str().expect("an id"))).await;
        assert_eq!(pick(&event, "escalation_level held_back_count"), json!([2, 1]), "the second level tells it");
        let held = report(&client, "c", "high").await;
        assert_eq!(held["admission"], "held_back", "{held}");
        id
    };
    // Its time is a row: a process that dies forgets nothing of it.
    bed.restart();
    let client = Client::of(&bed.server, user);
    client.until(suppressed, |page| bundled(page, "c", &id)).await;
    let path = format!("/api/v1/escalation-events/{}", id.as_str().expect("an id"));
    let is_sent = |event: &Value| {
        let sent = event["notifications_sent"].as_array().cloned().unwrap_or_default();
        sent.iter().any(|row| row["purpose"] == "held_back" && row["status"] == "sent")
    };
    client.until(&path, is_sent).await;
    assert_eq!(told_of_held_back(&client).await, 2, "the second level, and the rule by itself");
}

async fn a_silence_keeps_still_and_an_event_holds_what_depends_on_it(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let mut database = rule("database");
    database["trigger_conditions"] = json!({"subject": "db"});
    let mut checkout = rule("checkout");
    checkout["trigger_conditions"] = json!({"subject": "shop"});
    checkout["depends_on"] = json!(["database"]);
    let mut orders = rule("orders");
    orders["trigger_conditions"] = json!({"subject": "orders"});
    orders["depends_on"] = json!(["checkout"]);
    for rule in [database, checkout, orders] {
        client.post("/api/v1/escalation-rules", rule, 201).await;
    }
    let silence = json!({"name": "works", "matcher": {"subject": "db"}, "ends_at": "2099-01-01T00:00:00Z"});
    let silence = client.post("/api/v1/silences", silence, 201).await;
    let held = report(&client, "db", "high").await;
    assert_eq!(held["held_back_by"], "the silence 'works' covers it");
    let path = format!("/api/v1/silences/{}", silence["id"].as_str().expect("an id"));
    assert_eq!(client.ask(Method::DELETE, &path, None, &[]).await.status.as_u16(), 204);
    let opened = report(&client, "db", "high").await;
    assert_eq!(opened["admission"], "opened");
    let held = report(&client, "shop", "high").await;
    assert_eq!(held["held_back_by"], "an event of 'database', on which the rule depends, is open");
    // What it depends on has no event of its own, because that is held back.
    let held = report(&client, "orders", "high").await;
    assert_eq!(held["held_back_by"], "an event of 'database', on which the rule depends, is open");
    let id = opened["escalation_event_id"].as_str().expect("an event");
    client.post(&format!("/api/v1/escalation-events/{id}/resolve"), json!({}), 200).await;
    assert_eq!(report(&client, "shop", "high").await["admission"], "opened");
    let endless = client.ask(Method::POST, "/api/v1/silences", Some(&json!({"name": "x"})), &[]).await;
    assert_eq!((endless.status.as_u16(), &endless.body["errors"][0]["pointer"]), (422, &json!("/ends_at")));
}

async fn a_silence_is_changed_and_what_it_holds_back_has_an_event(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for (client, stranger) in bed.clients().into_iter().zip(bed.strangers()) {
        let mut database = rule("database");
        database["trigger_conditions"] = json!({"subject": "db"});
        client.post("/api/v1/escalation-rules", database, 201).await;
        let silence = json!({"name": "works", "matcher": {"subject": "db"}, "ends_at": "2099-01-01T00:00:00Z"});
        let silence = client.post("/api/v1/silences", silence, 201).await;
        let held = report(&client, "db", "high").await;
        let suppressed = client.items("/api/v1/escalation-events?status=suppressed").await;
        assert_eq!(pick(&held, "admission escalation_event_id"), json!(["held_back", suppressed[0]["id"]]));
        let asked = json!({"escalation_reason": "again", "trigger_context": {"subject": "db"}});
        let answer = client.post("/functions/v1/escalation-handler", asked, 200).await;
        let expected = json!([true, suppressed[0]["id"], 0, "the silence 'works' covers it"]);
        assert_eq!(pick(&answer, "success escalation_event_id escalation_level error"), expected);

        let path = format!("/api/v1/silences/{}", silence["id"].as_str().expect("an id"));
        let change = json!({"matcher": {"subject": "shop"}, "reason": "the other one"});
        let by_a_stranger = stranger.ask(Method::PATCH, &path, Some(&change), &[]).await;
        assert_eq!(by_a_stranger.status.as_u16(), 404, "{}", by_a_stranger.body);
        let endless = client.ask(Method::PATCH, &path, Some(&json!({"ends_at": null})), &[]).await;
        assert_eq!((endless.status.as_u16(), &endless.body["errors"][0]["pointer"]), (422, &json!("/ends_at")));
        let changed = client.ask(Method::PATCH, &path, Some(&change), &[]).await;
        assert_eq!(changed.status.as_u16(), 200, "{}", changed.body);
        assert_eq!(pick(&changed.body, "id name matcher"), json!([silence["id"], "works", {"subject": "shop"}]));
        assert_eq!(changed.body["ends_at"], silence["ends_at"], "what a patch does not name stays");
        assert_eq!(report(&client, "db", "high").await["admission"], "opened", "it is silent no more");
        patches_at_once_are_all_kept(&client, &path).await;
    }
}

/// Whoever says which version they have read is told where it has gone; whoever does not, changes what is there.
async fn patches_at_once_are_all_kept(client: &Client<'_>, path: &str) {
    let read = client.ask(Method::GET, path, None, &[]).await;
    assert_eq!((read.header("etag"), &read.body["version"]), ("\"v2\"", &json!(2)), "{}", read.body);
    let reason = json!({"reason": "late"});
    let stale = client.ask(Method::PATCH, path, Some(&reason), &[("If-Match", "\"v1\"")]).await;
    assert_eq!(stale.status.as_u16(), 412, "{}", stale.body);
    let fresh = client.ask(Method::PATCH, path, Some(&reason), &[("If-Match", read.header("etag"))]).await;
    assert_eq!((fresh.status.as_u16(), fresh.header("etag")), (200, "\"v3\""), "{}", fresh.body);
    let rounds = 8;
    for round in 0..rounds {
        let (name, reason) = (json!({"name": format!("works {round}")}), json!({"reason": format!("reason {round}")}));
        let one = client.ask(Method::PATCH, path, Some(&name), &[]);
        let other = client.ask(Method::PATCH, path, Some(&reason), &[]);
        let (one, other) = futures_util::future::join(one, other).await;
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200), "{} {}", one.body, other.body);
        let now = client.get(path).await;
        assert_eq!((&now["name"], &now["reason"]), (&name["name"], &reason["reason"]), "round {round}: {now}");
        assert_eq!(now["version"], 3 + 2 * (round + 1), "each is a version of its own");
    }
}

async fn rules_are_checked_tried_out_and_changed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, stranger] = bed.clients();
    let text = "rule_name: r\nescalation_levels:\n  - level: 1\n    actons: [notify_user]\n";
    let refused = client.post_as("/api/v1/escalation-rules", "application/yaml", text.to_owned()).await;
    let said = refused.body["errors"][0]["message"].as_str().expect("a message").to_owned();
    assert!(refused.status.as_u16() == 422 && said.contains("line 4") && said.contains("actions"), "{said}");
    for (change, pointer) in [
        (json!({"escalation_levels": [{"level": 1, "actions": ["no_such_action"]}]}), "/escalation_levels/0/actions/0"),
        (
            json!({"escalation_levels": [{"level": 1, "notify_channels": ["fax"]}]}),
            "/escalation_levels/0/notify_channels/0",
        ),
        (
            json!({"escalation_levels": [{"level": 1, "notify_channels": ["slack"]}]}),
            "/escalation_levels/0/notify_channels/0",
        ),
        (json!({"trigger_conditions": "trigger.a ="}), "/trigger_conditions"),
    ] {
        let mut document = rule("bad");
        document.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let refused = client.ask(Method::POST, "/api/v1/escalation-rules", Some(&document), &[]).await;
        assert_eq!(refused.status.as_u16(), 422, "{}", refused.body);
        let found = refused.body["errors"][0]["pointer"].as_str().expect("a pointer");
        assert!(found.starts_with(pointer), "{found}: {}", refused.body);
    }
    let saved = client.ask(Method::POST, "/api/v1/escalation-rules", Some(&rule("r")), &[]).await;
    let (id, tag) = (saved.body["id"].as_str().expect("an id").to_owned(), saved.header("etag").to_owned());
    let twice = client.ask(Method::POST, "/api/v1/escalation-rules", Some(&rule("r")), &[]).await;
    assert_eq!((twice.status.as_u16(), &twice.body["code"]), (409, &json!("name_taken")));
    stranger.post("/api/v1/escalation-rules", rule("r"), 201).await;
    let path = format!("/api/v1/escalation-rules/{id}");
    let change = json!({"priority": 2, "trigger_conditions": {"severity": "high"}});
    let patched = client.ask(Method::PATCH, &path, Some(&change), &[("If-Match", &tag)]).await;
    assert_eq!(pick(&patched.body, "priority version"), json!([2, 2]), "{}", patched.body);
    let lost = client.ask(Method::PATCH, &path, Some(&json!({"priority": 3})), &[("If-Match", &tag)]).await;
    assert_eq!(lost.status.as_u16(), 412);
    // A failure that was, against the rules as they are and as they were.
    client.save(&flow(&bed, "checkout")).await;
    let run = fail(&bed, &client, "checkout").await;
    let execution = client.items(&format!("/api/v1/executions?flow_run_id={run}")).await.remove(0);
    let tried = client.post("/api/v1/escalation-rules/test", json!({"execution_id": execution["id"]}), 200).await;
    assert_eq!((&tried["acting"], &tried["asked"][0]["verdict"]), (&json!([]), &json!("unmet")), "{tried}");
    let then = json!({"context": {"severity": "low"}, "at": saved.body["created_at"]});
    let tried = client.post("/api/v1/escalation-rules/test", then, 200).await;
    assert_eq!(tried["acting"], json!(["r"]), "its first version asked for less: {tried}");
    let deleted = client.ask(Method::DELETE, &path, None, &[]).await;
    assert_eq!(deleted.status.as_u16(), 204);
    let tried = client.post("/api/v1/escalation-rules/test", json!({"context": {"severity": "high"}}), 200).await;
    assert_eq!(tried["asked"], json!([]));
    what_was_is_asked_as_it_was(&bed, [&client, &stranger]).await;
}

/// The verdict of a replay is the one that there was, whichever name the failure is called by.
async fn what_was_is_asked_as_it_was(bed: &Bed, [client, stranger]: [&Client<'_>; 2]) {
    let rule = json!({"rule_name": "status",
        "trigger_conditions": "trigger.reason == 'execution_failed' && trigger.http_status_code == 500",
        "escalation_levels": [{"level": 1, "delay_minutes": 5, "actions": ["notify_user"]}]});
    let rule = client.post("/api/v1/escalation-rules", rule, 201).await;
    let run = fail(bed, client, "checkout").await;
    let happened = event(client, |event| event["flow_run_id"] == run.as_str()).await;
    let execution = client.items(&format!("/api/v1/executions?flow_run_id={run}")).await.remove(0);
    for past in [json!({"execution_id": execution["id"]}), json!({"escalation_event_id": happened["id"]})] {
        let tried = client.post(TEST, past, 200).await;
        assert_eq!(tried["acting"], json!(["status"]), "{tried}");
    }
    let tried = client.post(TEST, json!({"run_id": run}), 200).await;
    assert_eq!((&tried["acting"], &tried["asked"][0]["verdict"]), (&json!([]), &json!("unmet")), "{tried}");
    let both = json!({"run_id": run, "escalation_event_id": happened["id"]});
    client.post(TEST, both, 422).await;
    for foreign in [json!({"run_id": run}), json!({"escalation_event_id": happened["id"]})] {
        stranger.post(TEST, foreign, 404).await;
    }
    let asked = json!({"execution_queue_id": execution["id"], "escalation_reason": "execution_failed"});
    let answer = client.post("/functions/v1/escalation-handler", asked, 200).await;
    assert_eq!(
        pick(&answer, "escalation_rule_id escalation_event_id"),
        json!([rule["id"], happened["id"]]),
        "{answer}"
    );
}

async fn schedules_say_who_is_on_call(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let saved = client.post("/api/v1/on-call", super::on_call(super::ON_CALL), 201).await;
    let path = format!("/api/v1/on-call/{}", saved["id"].as_str().expect("an id"));
    let now = client.get(&format!("{path}/now")).await;
    assert_eq!(pick(&now, "user_id by"), json!([super::ON_CALL, "all"]));
    let other = "0190a000-0000-7000-8000-0000000004cb";
    let over =
        json!({"on_call_user_id": other, "starts_at": "2027-06-01T08:00:00Z", "ends_at": "2027-06-01T10:00:00Z"});
    let over = client.post(&format!("{path}/overrides"), over, 201).await;
    let during = client.get(&format!("{path}/now?at=2027-06-01T09:00:00Z")).await;
    assert_eq!(pick(&during, "user_id by until"), json!([other, "override", "2027-06-01T10:00:00.000Z"]));
    let gone = format!("/api/v1/on-call/overrides/{}", over["id"].as_str().expect("an id"));
    assert_eq!(client.ask(Method::DELETE, &gone, None, &[]).await.status.as_u16(), 204);
    assert_eq!(client.get(&format!("{path}/now?at=2027-06-01T09:00:00Z")).await["user_id"], super::ON_CALL);
    let bad = json!({"name": "x", "time_zone": "Mars", "layers": []});
    let refused = client.ask(Method::POST, "/api/v1/on-call", Some(&bad), &[]).await;
    assert_eq!(refused.status.as_u16(), 422);
    // Nobody is on call: the page says so, instead of being dropped in silence.
    let mut page = rule("page");
    page["escalation_levels"] = json!([{"level": 1, "actions": [{"action": "page_oncall", "target": "nobody"}]}]);
    let saved = client.post("/api/v1/escalation-rules", page, 201).await;
    let warned = json!([{"pointer": "/escalation_levels/0/actions/0/target",
        "message": "there is no on-call schedule 'nobody' yet"}]);
    assert_eq!(saved["warnings"], warned, "who saves it hears of it before the incident tells");
    report(&client, "a", "high").await;
    let paged = event(&client, |event| event["escalation_level"] == 1).await;
    let sent = &paged["notifications_sent"][0];
    assert_eq!(pick(sent, "status error"), json!(["failed", "there is no on-call schedule 'nobody'"]));
    let path = format!("/api/v1/escalation-rules/{}", saved["id"].as_str().expect("an id"));
    let run = json!({"depends_on": ["db"], "escalation_levels": [
        {"level": 1, "recipients": ["on_call:primary"], "actions": [{"action": "run_flow", "target": "mend"}]}]});
    let patched = client.ask(Method::PATCH, &path, Some(&run), &[]).await;
    let places: Vec<&Value> =
        patched.body["warnings"].as_array().expect("a list").iter().map(|warning| &warning["pointer"]).collect();
    assert_eq!(places, ["/depends_on/0", "/escalation_levels/0/actions/0/target"], "{}", patched.body);
    let idle = json!({"sla_breach_actions": ["page_oncall", {"action": "notify_user", "target": "user:x"}]});
    let refused = client.ask(Method::PATCH, &path, Some(&idle), &[]).await;
    let errors = refused.body["errors"].to_string();
    assert!(errors.contains("/sla_breach_actions/0") && errors.contains("/sla_breach_actions/1/target"), "{errors}");
}

on_both_stores!(
    a_silence_is_changed_and_what_it_holds_back_has_an_event,
    what_is_held_back_is_counted_and_told_with_the_next_message,
    what_a_throttle_holds_back_is_told_though_nothing_else_fails,
    a_silence_keeps_still_and_an_event_holds_what_depends_on_it,
    rules_are_checked_tried_out_and_changed,
    schedules_say_who_is_on_call,
);
