//! Mending what has failed: the run is taken up again or taken back, a backup takes over; and nothing where nothing is to be
//! tried.

use reqwest::Method;
use serde_json::{Value, json};

use super::{EVENTS, event, fail, flow};
use crate::orchestration::bed::{Bed, pick};
use crate::orchestration::on_both_stores;
use crate::sink::Sink;
use crate::support::StoreKind;

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1/charge";

fn rule(name: &str, flow: &str, more: Value) -> Value {
    let mut rule = json!({"rule_name": name, "applies_to_flows": [flow], "escalation_levels": [
        {"level": 1, "delay_minutes": 5, "actions": ["notify_user"]}]});
    let Value::Object(more) = more else { panic!("an object: {more}") };
    rule.as_object_mut().expect("an object").extend(more);
    rule
}

fn remedies(actions: &Value) -> Value {
    json!({"auto_remediation_enabled": true, "remediation_actions": actions})
}

/// A flow that reserves, which can be taken back, and then fails.
fn reserving(bed: &Bed, name: &str, undo: bool) -> Value {
    let call = |id: &str, url: String| {
        json!({"id": id, "config": {"action_type": "api_call", "action_target": "receiver",
            "action_payload": {"method": "POST", "url": url, "json": {}}}})
    };
    let mut reserve = call("reserve", format!("{}/reserve", bed.sink.url));
    if undo {
        reserve["undo"] = json!({"action_type": "api_call", "action_target": "receiver",
            "action_payload": {"method": "POST", "url": format!("{}/release", bed.sink.url), "json": {}}});
    }
    json!({"flow_name": name, "trigger_type": "manual", "retry_policy": {"max_attempts": 1},
        "flow_steps": [reserve, call("charge", NOBODY.to_owned())]})
}

fn paths(sink: &Sink) -> Vec<String> {
    sink.received().into_iter().map(|request| request.path).collect()
}

/// Of an event: what was tried, in short.
fn tried(event: &Value) -> Vec<String> {
    let actions = event["actions_performed"].as_array().cloned().unwrap_or_default();
    let said = |row: &Value| format!("{} {}", row["action"], row["status"]).replace('"', "");
    actions.iter().map(said).collect()
}

async fn what_a_run_did_is_taken_back_and_that_resolves(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let before = bed.sink.count();
        client.save(&reserving(&bed, "reserving", true)).await;
        client
            .post("/api/v1/escalation-rules", rule("back", "reserving", remedies(&json!(["rollback_changes"]))), 201)
            .await;
        let run = client.start("reserving").await;
        let mended = event(&client, |event| event["status"] == "resolved").await;
        let shown = pick(&mended, "remediation_attempted remediation_successful resolution_notes notifications_sent");
        assert_eq!(shown, json!([true, true, "the remediation succeeded", []]));
        assert_eq!(tried(&mended), ["rollback_changes sent"]);
        client.run(run.id(), "rolled_back").await;
        assert_eq!(paths(&bed.sink)[before..], ["/reserve", "/release"], "taken back once");
        // Its end asks no rule again: the next failure is the second event, and not the third.
        client.save(&flow(&bed, "fence")).await;
        client.post("/api/v1/escalation-rules", rule("fence", "fence", json!({})), 201).await;
        fail(&bed, &client, "fence").await;
        client.until(EVENTS, |page| page["items"].as_array().is_some_and(|all| all.len() == 2)).await;
    }
}

async fn what_cannot_be_taken_back_is_told_at_once(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    client.save(&reserving(&bed, "reserving", false)).await;
    let levels = json!({"escalation_levels": [{"level": 1, "actions": ["notify_user"],
        "remediation": {"action": "rollback_changes", "grace_minutes": 60}}]});
    client.post("/api/v1/escalation-rules", rule("back", "reserving", levels), 201).await;
    client.start("reserving").await;
    let is_told = |event: &Value| event["notifications_sent"].as_array().is_some_and(|all| !all.is_empty());
    let told = event(&client, is_told).await;
    assert_eq!(pick(&told, "status remediation_attempted remediation_successful"), json!(["triggered", true, false]));
    let error = told["actions_performed"][0]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("no step that completed has an undo"), "{error}");
}

async fn a_backup_takes_over_and_the_run_is_taken_up_again(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let (first, second) = (Sink::start(), Sink::start());
    for client in bed.clients() {
        let (before, spare) = (first.count(), second.count());
        // By itself the breaker would not open for long.
        let policy = json!({"min_calls": 1000, "open_seconds": 3, "half_open_calls": 1});
        let pair = json!({"name": "pair", "kind": "http", "endpoint": first.url, "backup_endpoint": second.url, "breaker": policy});
        client.post("/api/v1/integrations", pair, 201).await;
        let alone = json!({"name": "alone", "kind": "http", "endpoint": first.url});
        client.post("/api/v1/integrations", alone, 201).await;
        let step = json!({"id": "pay", "config": {"action_type": "api_call", "action_target": "pair",
            "action_payload": {"method": "POST", "path": "pay", "json": {}}}});
        let flow = json!({"flow_name": "pay", "trigger_type": "manual", "flow_steps": [step], "retry_policy": {"max_attempts": 1}});
        client.save(&flow).await;
        for (target, words) in [("alone", "has no backup_endpoint"), ("nowhere", "there is no integration 'nowhere'")] {
            let wrong = rule("wrong", "pay", remedies(&json!([{"action": "switch_to_backup", "target": target}])));
            let refused = client.ask(Method::POST, "/api/v1/escalation-rules", Some(&wrong), &[]).await;
            assert_eq!(refused.status.as_u16(), 422, "{}", refused.body);
            assert_eq!(refused.body["errors"][0]["pointer"], "/remediation_actions/0/target");
            let said = refused.body["errors"][0]["message"].as_str().expect("a message");
            assert!(said.contains(words), "{said}");
        }
        let both = remedies(&json!(["switch_to_backup", "retry"]));
        client.post("/api/v1/escalation-rules", rule("spare", "pay", both), 201).await;
        first.answer(503);
        let run = client.start("pay").await;
        let mended = event(&client, |event| event["status"] == "resolved").await;
        assert_eq!(tried(&mended), ["switch_to_backup sent", "retry sent"]);
        assert_eq!(pick(&mended, "remediation_successful notifications_sent"), json!([true, []]));
        client.run(run.id(), "completed").await;
        assert_eq!(first.count() - before, 1, "the failure alone");
        let calls: Vec<String> = paths(&second)[spare..].to_vec();
        assert!(calls.len() == 2 && calls[1].ends_with("/pay"), "a test, and then the call: {calls:?}");
        // The primary is healthy again, and is asked when its time has come.
        first.answer(200);
        let called = first.count();
        while first.count() == called {
            let run = client.start("pay").await;
            client.run(run.id(), "completed").await;
        }
        let breaker = client.get("/api/v1/integrations/pair/breaker").await;
        assert_eq!((&breaker["uses_backup"], &breaker["primary"]["state"]), (&json!(false), &json!("closed")));
    }
}

async fn a_backup_that_does_not_answer_takes_nothing_over(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let spare = Sink::start();
    spare.answer(500);
    let pair = json!({"name": "pair", "kind": "http", "endpoint": bed.sink.url, "backup_endpoint": spare.url});
    client.post("/api/v1/integrations", pair, 201).await;
    let switch = json!([{"action": "switch_to_backup", "target": "pair"}]);
    client.post("/api/v1/escalation-rules", rule("spare", "checkout", remedies(&switch)), 201).await;
    client.save(&flow(&bed, "checkout")).await;
    fail(&bed, &client, "checkout").await;
    let still = event(&client, |event| event["remediation_successful"] == false).await;
    assert_eq!((&still["status"], tried(&still)), (&json!("triggered"), vec!["switch_to_backup failed".to_owned()]));
    let error = still["actions_performed"][0]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("its backup endpoint does not answer as it should"), "{error}");
    assert_eq!(client.get("/api/v1/integrations/pair/breaker").await["uses_backup"], false);
}

async fn a_level_that_retries_resolves_and_nothing_is_tried_against_a_word(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    client.save(&flow(&bed, "checkout")).await;
    let levels = json!({"escalation_levels": [{"level": 1, "actions": ["retry"]},
        {"level": 2, "delay_minutes": 5, "actions": ["notify_user"]}]});
    client.post("/api/v1/escalation-rules", rule("again", "checkout", levels), 201).await;
    bed.sink.answer(500);
    bed.sink.answer_after(1, 200);
    let run = client.start("checkout").await.id().to_owned();
    let mended = event(&client, |event| event["status"] == "resolved").await;
    let shown = pick(&mended, "remediation_attempted remediation_successful resolution_notes escalation_level");
    assert_eq!(shown, json!([true, true, "what a level tried succeeded", 1]));
    client.run(&run, "completed").await;

    client.save(&flow(&bed, "billing")).await;
    // The failure itself may not have been asked about yet: the rule is for what is reported below alone.
    let fix = json!({"trigger_conditions": {"auto_remediate": false}, "escalation_levels": [{"level": 1, "actions": ["notify_user", "retry"],
        "remediation": {"action": "retry", "grace_minutes": 60}}]});
    let run = fail(&bed, &client, "billing").await;
    client.post("/api/v1/escalation-rules", rule("fix", "billing", fix), 201).await;
    let execution = client.items(&format!("/api/v1/executions?flow_run_id={run}")).await.remove(0);
    let asked = json!({"execution_queue_id": execution["id"], "escalation_reason": "execution_failed", "auto_remediate": false});
    let answer = client.post("/functions/v1/escalation-handler", asked, 200).await;
    let shown =
        pick(&answer, "success escalation_level actions_performed remediation_attempted remediation_successful");
    assert_eq!(shown, json!([true, 1, [], false, null]), "{answer}");
    assert_eq!(answer["notifications_sent"].as_array().map(Vec::len), Some(1), "people are told at once: {answer}");
    client.run(&run, "failed").await;

    let recover = rule("later", "billing", remedies(&json!(["recover"])));
    let refused = client.ask(Method::POST, "/api/v1/escalation-rules", Some(&recover), &[]).await;
    let said = refused.body["errors"][0]["message"].as_str().expect("a message");
    assert!(refused.status.as_u16() == 422 && said.contains("self-healing engine"), "{}", refused.body);
}

/// The flow that takes over is the failed flow's own.
async fn a_fallback_flow_takes_over(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let spare = json!({"id": "spare", "config": {"action_type": "api_call", "action_target": "receiver", "action_payload": {
        "method": "POST", "url": format!("{}/spare", bed.sink.url),
        "json": {"of": "{{ trigger.flow_name }}", "host": "{{ trigger.context.host }}"}}}});
    let spare = json!({"flow_name": "spare", "trigger_type": "manual", "flow_steps": [spare]});
    let fallback = client.save(&spare).await;
    let mut broken = reserving(&bed, "checkout", false);
    broken["fallback_flow_id"] = json!(fallback);
    client.save(&broken).await;
    client
        .post("/api/v1/escalation-rules", rule("over", "checkout", remedies(&json!(["retry_with_fallback"]))), 201)
        .await;
    client.start("checkout").await;
    let mended = event(&client, |event| event["status"] == "resolved").await;
    assert_eq!(
        (tried(&mended), &mended["remediation_successful"]),
        (vec!["retry_with_fallback sent".to_owned()], &json!(true))
    );
    let calls = bed.sink.received();
    let spare: Vec<&Value> = calls.iter().filter(|call| call.path == "/spare").map(|call| &call.body).collect();
    assert_eq!(spare, [&json!({"of": "checkout", "host": "web-1"})]);
}

on_both_stores!(
    what_a_run_did_is_taken_back_and_that_resolves,
    what_cannot_be_taken_back_is_told_at_once,
    a_backup_takes_over_and_the_run_is_taken_up_again,
    a_backup_that_does_not_answer_takes_nothing_over,
    a_level_that_retries_resolves_and_nothing_is_tried_against_a_word,
    a_fallback_flow_takes_over,
);
