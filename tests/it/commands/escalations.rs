//! `core314 escalation`, `on-call`, `silence` and `notification`, and what `run` has for signals and undo, against the real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::orchestration::bed::{Bed, Client};
use crate::orchestration::on_both_stores;
use crate::scripted::Scripted;
use crate::support::StoreKind;

/// A rule, and a case beside it.
const RULES: &str = "rules:
  - rule_name: payments
    trigger_conditions: {subject: till}
    metadata: {team: money, tier: 1}
    throttles: [{max: 50, minutes: 60}]
    escalation_levels:
      - {level: 1, actions: [notify_user]}
cases:
  - name: the till fails
    failure: {context: {subject: till}}
    expect: {rule: payments}
";
const TILL: &str = "{\"subject\": \"till\"}";

/// Somebody at a command line.
struct Desk<'b> {
    bed: &'b Bed,
    user: String,
}

impl<'b> Desk<'b> {
    fn of(bed: &'b Bed) -> Self {
        Self { bed, user: bed.clients()[0].user.to_string() }
    }

    fn client(&self) -> Client<'b> {
        let [client, _] = self.bed.clients();
        client
    }

    /// Runs a command that must end so, and gives what it printed.
    fn run(&self, words: &[&str], exit: i32) -> String {
        let server = ["--server", self.bed.server.url.as_str(), "--user", &self.user];
        let all: Vec<&str> = words.iter().copied().chain(server).collect();
        let (code, text) = self.bed.installation.run(&all);
        assert_eq!(code, exit, "{words:?}: {text}");
        text
    }

    /// What a command prints for programs.
    fn json(&self, words: &[&str]) -> Value {
        let all: Vec<&str> = words.iter().copied().chain(["-o", "json"]).collect();
        let text = self.run(&all, 0);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.bed.installation.dir.path().join(name), text).expect("a file");
    }
}

async fn rules_are_files(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let desk = Desk::of(&bed);
    let rules = |words: &[&'static str]| [&["escalation", "rules"][..], words].concat();
    desk.write("rules.yaml", RULES);
    assert!(desk.run(&rules(&["apply", "rules.yaml"]), 0).starts_with("created payments (version "));
    assert!(desk.run(&rules(&["apply", "rules.yaml"]), 0).starts_with("unchanged payments (version "));

    // What the file no longer says is gone, however deep it stood.
    let shorter = RULES.replace("money, tier: 1", "cash").replace("    throttles: [{max: 50, minutes: 60}]\n", "");
    desk.write("rules.yaml", &shorter);
    let applied = desk.json(&rules(&["apply", "rules.yaml"]));
    assert_eq!(applied[0]["result"], "updated", "{applied}");
    let shown = desk.json(&rules(&["show", "payments"]));
    assert_eq!(shown["document"]["metadata"], json!({"team": "cash"}));
    assert_eq!(shown["document"]["throttles"], Value::Null);
    assert!(desk.run(&rules(&[]), 0).contains("payments"));

    let exported = desk.run(&rules(&["export", "payments"]), 0);
    assert!(exported.contains("rule_name: payments"), "{exported}");
    desk.write("one.yaml", &exported);
    desk.write("all.json", &desk.run(&rules(&["export", "--all", "-o", "json"]), 0));
    for file in ["one.yaml", "all.json"] {
        assert!(desk.run(&rules(&["apply", file]), 0).starts_with("unchanged payments "), "{file}");
    }
    desk.write("twice.yaml", "rules: [{rule_name: a}, {rule_name: a}]\n");
    assert!(desk.run(&rules(&["apply", "twice.yaml"]), 2).contains("named twice"));
    desk.write("wrong.yaml", "rules:\n  - rule_name: a\n    priority: first\n");
    assert!(desk.run(&rules(&["apply", "rules.yaml", "wrong.yaml"]), 2).contains("wrong.yaml: line 3"));
    desk.write("null.yaml", &exported.replace("team: cash", "team: null"));
    assert!(desk.run(&rules(&["apply", "null.yaml"]), 1).contains("cannot set a key to null"));

    assert!(desk.run(&rules(&["heartbeat", "payments"]), 1).contains("no heartbeat"));
    let levels = "escalation_levels: [{level: 1, actions: [notify_admin]}]";
    desk.write("beat.yaml", &format!("rule_name: backup\nheartbeat: {{every_minutes: 60}}\n{levels}\n"));
    desk.run(&rules(&["apply", "beat.yaml"]), 0);
    assert!(desk.json(&rules(&["heartbeat", "backup"]))["due_at"].is_string());
    assert!(desk.run(&rules(&["delete", "backup"]), 0).contains("backup is deleted"));
    for verb in ["show", "export", "delete", "heartbeat"] {
        assert!(desk.run(&rules(&[verb, "backup"]), 3).contains("there is no escalation rule 'backup'"));
    }
}

async fn rules_are_tried_out_by_the_server(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let desk = Desk::of(&bed);
    desk.write("rules.yaml", RULES);
    desk.run(&["escalation", "rules", "apply", "rules.yaml"], 0);
    let tries = ["escalation", "rules", "test"];
    let asked = desk.run(&[&tries[..], &["--context", TILL]].concat(), 0);
    assert!(asked.contains("acts") && asked.contains("it would be taken by payments"), "{asked}");
    let other =
        desk.run(&[&tries[..], &["--context", "{\"subject\": \"lamp\"}", "--reason", "run_failed"]].concat(), 0);
    assert!(other.contains("unmet") && other.contains("no rule acts"), "{other}");
    let missing = uuid::Uuid::from_u128(7).to_string();
    desk.run(&[&tries[..], &["--execution", &missing]].concat(), 3);
    desk.run(&[&tries[..], &["--reason", "boredom"]].concat(), 2);

    let suite = [&tries[..], &["--suite", "rules.yaml"]].concat();
    assert_eq!(desk.run(&suite, 0), "passed   the till fails\n");
    desk.write("rules.yaml", &RULES.replace("expect: {rule: payments}", "expect: {rule: none}"));
    let said = desk.run(&suite, 1);
    assert!(said.contains("FAILED   the till fails") && said.contains("1 of 1 cases failed"), "{said}");
    assert_eq!(desk.json(&["escalation", "list"]), json!([]), "nothing of it is an escalation");
}

async fn a_failure_is_reported_and_taken(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let desk = Desk::of(&bed);
    desk.write("rules.yaml", RULES);
    desk.run(&["escalation", "rules", "apply", "rules.yaml"], 0);
    let report = ["escalation", "report", "--context"];
    let taken = desk.json(&[&report[..], &[TILL]].concat());
    assert_eq!(taken["taken"][0]["admission"], "opened", "{taken}");
    let event = taken["taken"][0]["escalation_event_id"].as_str().expect("an id").to_owned();
    assert!(desk.run(&[&report[..], &[TILL]].concat(), 0).contains("joined"));
    assert!(desk.run(&[&report[..], &["{\"subject\": \"lamp\"}"]].concat(), 0).contains("no rule acts"));
    desk.client().until("/api/v1/notifications/unread-count", |count| count["unread_count"] == 1).await;

    let outbox = desk.run(&["escalation", "outbox", "--escalation", &event], 0);
    assert!(outbox.contains("in_app"), "{outbox}");
    assert_eq!(desk.json(&["escalation", "outbox", "--status", "failed"]), json!([]));
    assert!(desk.run(&["escalation", "why", &event], 0).contains("summary"));
    assert!(desk.run(&["ack", &event], 0).contains("acknowledged"));
    assert!(desk.run(&["resolve", &event, "--notes", "a new till"], 0).contains("resolved"));
    let figures = desk.json(&["escalation", "analytics", "--hours", "2", "--rule", "payments"]);
    assert_eq!(figures["items"][0]["resolved"], 1, "{figures}");
    assert!(desk.run(&["escalation", "analytics"], 0).starts_with("FROM "));
    desk.run(&["escalation", "analytics", "--rule", "nobody"], 3);

    assert_eq!(desk.json(&["notification", "count"]), json!({"unread_count": 1}));
    let inbox = desk.json(&["notification", "list", "--status", "unread"]);
    let message = inbox[0]["id"].as_str().expect("an id");
    assert_eq!(desk.json(&["notification", "read", message])["status"], "read");
    assert_eq!(desk.json(&["notification", "read", "--all"]), json!({"read_count": 0}));
    assert!(desk.run(&["notification", "archive", message], 0).contains("archived"));
    assert!(desk.run(&["notification", "list", "--type", "alert", "--severity", "low"], 0).starts_with("SINCE "));
    desk.run(&["notification", "read"], 2);
    desk.run(&["notification", "read", &uuid::Uuid::from_u128(7).to_string()], 3);
}

async fn people_are_on_call_and_silences_hold(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let desk = Desk::of(&bed);
    let other = uuid::Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0c01).to_string();
    let layer = format!("{{name: all, users: [{}], starts_at: \"2020-01-06T09:00\"}}", desk.user);
    desk.write("primary.yaml", &format!("name: primary\ntime_zone: Europe/Berlin\nlayers: [{layer}]\n"));
    assert!(desk.run(&["on-call", "apply", "primary.yaml"], 0).starts_with("created primary (version "));
    assert!(desk.run(&["on-call", "apply", "primary.yaml"], 0).starts_with("unchanged primary (version "));
    desk.write("primary.yaml", &format!("name: primary\ntime_zone: Asia/Tokyo\nlayers: [{layer}]\n"));
    assert_eq!(desk.json(&["on-call", "apply", "primary.yaml"])[0]["result"], "updated");
    assert!(desk.run(&["on-call", "list"], 0).contains("Asia/Tokyo"));
    assert_eq!(desk.json(&["on-call", "now", "primary"])["user_id"], desk.user);
    assert!(desk.run(&["on-call", "now"], 0).contains(&desk.user), "of all schedules");

    let add = ["on-call", "override", "add", "primary", &other, "--until", "2099-01-01T00:00:00Z", "--reason", "leave"];
    let over = desk.json(&add)["id"].as_str().expect("an id").to_owned();
    let now = desk.json(&["on-call", "now", "primary"]);
    assert_eq!((&now["user_id"], &now["by"]), (&json!(other), &json!("override")));
    let before = desk.json(&["on-call", "now", "primary", "--at", "2021-01-01T00:00:00Z"]);
    assert_eq!(before["user_id"], desk.user, "it begins now");
    assert!(desk.run(&["on-call", "override", "list", "primary"], 0).contains("leave"));
    desk.run(&["on-call", "override", "remove", &over], 0);
    assert_eq!(desk.json(&["on-call", "override", "list"]), json!([]));
    desk.write("again.yaml", &desk.run(&["on-call", "export", "primary"], 0));
    assert!(desk.run(&["on-call", "apply", "again.yaml"], 0).starts_with("unchanged primary "));
    assert!(desk.run(&["on-call", "show", "primary"], 0).contains("layers:"));
    desk.run(&["on-call", "delete", "primary"], 0);
    assert!(desk.run(&["on-call", "show", "primary"], 3).contains("core314 on-call list"));

    desk.write("rules.yaml", RULES);
    desk.run(&["escalation", "rules", "apply", "rules.yaml"], 0);
    desk.write("quiet.yaml", "name: works\nmatcher: {subject: till}\nends_at: \"2099-01-01T00:00:00Z\"\n");
    let silence = desk.json(&["silence", "add", "quiet.yaml"])["id"].as_str().expect("an id").to_owned();
    assert!(desk.run(&["silence", "list"], 0).contains("works"));
    assert!(desk.run(&["silence", "show", &silence], 0).contains("subject: till"));
    let held = desk.json(&["escalation", "report", "--context", TILL]);
    assert_eq!(held["taken"][0]["admission"], "held_back", "{held}");
    assert!(desk.run(&["silence", "end", &silence], 0).contains("is over"));
    desk.run(&["silence", "end", &silence], 3);
    desk.write("endless.yaml", "name: works\n");
    assert!(desk.run(&["silence", "add", "endless.yaml"], 1).contains("a silence must end"));
}

async fn a_signal_reaches_its_run_and_a_parked_undo_is_settled(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let desk = Desk::of(&bed);
    let client = desk.client();
    let wait = json!({"id": "go", "type": "wait", "config": {"signal": "go"}});
    client.save(&json!({"flow_name": "waits", "trigger_type": "manual", "flow_steps": [wait]})).await;
    let run = client.start("waits").await;
    desk.run(&["run", "signal", run.id(), "go", "--payload", "{\"by\": \"hand\"}"], 0);
    client.run(run.id(), "completed").await;
    let log = client.items(&format!("/api/v1/execution-log?flow_run_id={}", run.id())).await;
    assert!(log[0]["execution_result"].to_string().contains("\"by\":\"hand\""), "{log:#?}");
    desk.run(&["run", "signal", run.id(), "go", "--payload", "{"], 2);

    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = is_mended.clone();
    let systems = Scripted::start(move |asked| {
        let is_well = asked.what == "POST /do" || (asked.what == "POST /undo" && mended.load(Ordering::SeqCst));
        if is_well { (200, json!({})) } else { (422, json!({"error": "no room"})) }
    });
    for way in ["retry", "skip", "done"] {
        is_mended.store(false, Ordering::SeqCst);
        let run = parked(&client, &format!("{way} it"), &systems.url).await;
        let plan = desk.run(&["run", "undo-plan", &run], 0);
        assert!(plan.contains("back to its start") && plan.contains("build"), "{plan}");
        is_mended.store(way == "retry", Ordering::SeqCst);
        let mut words = vec!["run", "undo", run.as_str(), way];
        if way == "skip" {
            assert!(desk.run(&words, 2).contains("--reason"));
            words.extend(["--reason", "the machine is gone"]);
        }
        desk.run(&words, 0);
        client.run(&run, "rolled_back").await;
        assert!(desk.run(&["run", "undo-plan", &run], 0).contains("nothing is left"));
        assert!(desk.run(&["run", "phases", &run], 0).contains("rolled_back"));
        desk.run(&words, 1);
    }
    desk.run(&["run", "undo", run.id(), "forget"], 2);
    assert!(desk.run(&["phase", "list", "--flow", "skip it"], 0).contains("making"));
    assert!(desk.run(&["phase", "late"], 0).contains("making"), "nothing is made in so short a time");
    let figures = desk.json(&["phase", "analytics", "--flow", "skip it"]);
    assert_eq!(figures["items"][0]["phase_name"], "making", "{figures}");
    assert!(desk.run(&["phase", "analytics", "--hours", "1"], 0).starts_with("PHASE "));
}

/// A run whose second phase has failed, and whose first cannot be taken back.
async fn parked(client: &Client<'_>, name: &str, url: &str) -> String {
    let call = |path: &str| {
        json!({"action_type": "api_call", "action_target": "systems",
            "action_payload": {"method": "POST", "url": format!("{url}/{path}")}})
    };
    let flow = json!({
        "flow_name": name, "trigger_type": "manual", "execution_mode": "sequential", "rollback": {"to": "start"},
        "retry_policy": {"max_attempts": 1},
        "phases": [{"number": 1, "name": "making", "sla_seconds": 0.0001}],
        "flow_steps": [
            {"id": "build", "phase": 1, "config": call("do"), "undo": call("undo")},
            {"id": "ship", "phase": 2, "config": call("fail")},
        ],
    });
    let flow = client.save(&flow).await;
    let run = client.start(&flow).await;
    client.run(run.id(), "failed").await;
    run.id().to_owned()
}

on_both_stores!(
    rules_are_files,
    rules_are_tried_out_by_the_server,
    a_failure_is_reported_and_taken,
    people_are_on_call_and_silences_hold,
    a_signal_reaches_its_run_and_a_parked_undo_is_settled,
);
