//! The life of events in simulated time, and properties that hold for every rule and every history.

mod held_back;
mod remedies;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::ids::{Owner, RowId, UserId};
use crate::words::Urgency;

const START: i64 = 1_767_603_600_000;
const MINUTE: i64 = 60_000;

fn rule(document: Value) -> Rule {
    let document = RuleDocument::from_value(document).expect("a document");
    Rule::compile(RowId(Uuid::from_u128(1)), document).expect("a rule")
}

fn model() -> Rule {
    rule(json!({
        "rule_name": "model",
        "escalation_levels": [
            {"level": 1, "delay_minutes": 0, "actions": ["notify_user"]},
            {"level": 2, "delay_minutes": 15, "actions": ["notify_admin", "create_ticket"]},
            {"level": 3, "delay_minutes": 60, "actions": [{"action": "page_oncall", "target": "primary"}, "halt_flow"]},
        ],
    }))
}

fn failure(context: Value) -> Failure {
    Failure::described(EscalationReason::ExecutionFailed, Arc::new(context), START)
}

fn owner() -> Owner {
    Owner::new(UserId(Uuid::from_u128(7)), None)
}

fn opened(rule: &Rule) -> Decision {
    let cause = (RowId(Uuid::from_u128(9)), owner().user, "s".to_owned());
    Event::open(rule, &failure(json!({})), cause, 0, &Surroundings::default(), START)
}

/// A task in short: the minute, its purpose, level and round, and what it is.
fn said(task: &Task, now_ms: i64) -> String {
    let what = match &task.what {
        What::Notify { is_page: true, .. } => "page".to_owned(),
        What::Notify { channel, .. } => channel.channel.clone(),
        What::Act { action } => action.action.clone(),
    };
    format!("{} {} {}.{} {what}", (now_ms - START) / MINUTE, task.purpose, task.level, task.round)
}

/// Lives an event from wake to wake, written down and read again each time, until it ends or nothing wakes it.
fn live(rule: &Rule, first: Decision, until_ms: i64) -> (Event, Vec<String>) {
    let mut told: Vec<String> = first.tasks.iter().map(|task| said(task, START)).collect();
    let (mut event, mut wake) = (first.event, first.next_wake_ms);
    while let Some(now_ms) = wake.filter(|at_ms| *at_ms <= until_ms) {
        event = reloaded(&event);
        let decision = event.decide(rule, &Command::Look, &Surroundings::default(), now_ms).expect("it is open");
        told.extend(decision.tasks.iter().map(|task| said(task, now_ms)));
        (event, wake) = (decision.event, decision.next_wake_ms);
    }
    (event, told)
}

fn reloaded(event: &Event) -> Event {
    let text = serde_json::to_string(event).expect("it is written");
    serde_json::from_str(&text).expect("it is read")
}

#[test]
fn the_model_rule_reaches_each_level_once_with_a_reload_at_every_timer() {
    let rule = model();
    let (event, told) = live(&rule, opened(&rule), START + 24 * 60 * MINUTE);
    let expected = [
        "0 level 1.0 in_app",
        "15 level 2.0 in_app",
        "15 level 2.0 create_ticket",
        "60 level 3.0 page",
        "60 level 3.0 halt_flow",
    ];
    assert_eq!(told, expected);
    assert_eq!((event.status, event.level), (EscalationStatus::Escalated, 3));
}

#[test]
fn an_acknowledgement_stops_the_climb_and_a_level_may_wait_for_the_resolution() {
    let by = || Command::Acknowledge { by: "user:a".to_owned() };
    let rule = model();
    let first = opened(&rule);
    let acked = first.event.decide(&rule, &by(), &Surroundings::default(), START + 10 * MINUTE).expect("it is open");
    assert!(acked.stops, "what is in flight is stopped");
    let (event, told) = live(&rule, acked, START + 24 * 60 * MINUTE);
    assert_eq!((told.len(), event.status), (0, EscalationStatus::Acknowledged));
    let again = event.decide(&rule, &by(), &Surroundings::default(), START + 20 * MINUTE);
    assert_eq!(again, Err(Refused::Acknowledged("user:a".to_owned())));

    let mut document = model().document;
    document.escalation_levels[2].until = Until::Resolved;
    let rule = Rule::compile(RowId(Uuid::from_u128(1)), document).expect("a rule");
    let acked = opened(&rule).event.decide(&rule, &by(), &Surroundings::default(), START + 16 * MINUTE).expect("open");
    let (event, told) = live(&rule, acked, START + 24 * 60 * MINUTE);
    assert_eq!(told, ["60 level 3.0 page", "60 level 3.0 halt_flow"], "the level between is passed over");
    assert_eq!(event.status, EscalationStatus::Acknowledged, "it is in somebody's hands however far it climbs");
}

#[test]
fn an_event_that_nobody_ends_fails_once_and_nothing_follows() {
    let rule = model();
    let (event, _) = live(&rule, opened(&rule), START + 30 * 24 * 60 * MINUTE);
    assert_eq!((event.status, event.ended.as_ref().map(|deed| &*deed.by)), (EscalationStatus::Failed, Some("nobody")));
    let late = event.decide(&rule, &Command::Look, &Surroundings::default(), START);
    assert!(matches!(late, Err(Refused::Ended(EscalationStatus::Failed, _))));
}

#[test]
fn fix_first_tells_nobody_who_need_not_know() {
    let rule = rule(json!({
        "rule_name": "fix", "escalation_levels": [
            {"level": 1, "actions": ["notify_user"], "remediation": {"action": "retry", "grace_minutes": 5}},
            {"level": 2, "delay_minutes": 3, "actions": ["notify_admin"]},
        ],
    }));
    let first = opened(&rule);
    assert_eq!(first.tasks.iter().map(|task| said(task, START)).collect::<Vec<_>>(), ["0 fix_first 1.0 retry"]);
    let told = |success: bool, minute: i64| {
        let command = Command::Remedied { purpose: Purpose::FixFirst, success };
        let now_ms = START + minute * MINUTE;
        let decision = first.event.decide(&rule, &command, &Surroundings::default(), now_ms).expect("open");
        let told: Vec<String> = decision.tasks.iter().map(|task| said(task, now_ms)).collect();
        (decision.event.status, told)
    };
    assert_eq!(told(true, 2), (EscalationStatus::Resolved, vec![]), "mended: nobody is told");
    let still = vec!["2 level 1.0 in_app".to_owned()];
    assert_eq!(told(false, 2), (EscalationStatus::Triggered, still), "still broken: nobody waits for the grace");
    let (_, told) = live(&rule, first, START + 10 * MINUTE);
    assert_eq!(told, ["0 fix_first 1.0 retry", "5 level 1.0 in_app", "5 level 2.0 in_app"], "level by level");
}

#[test]
fn nothing_is_tried_where_whoever_reports_it_says_so() {
    let rule = rule(json!({
        "rule_name": "fix", "auto_remediation_enabled": true, "remediation_actions": ["rollback_changes"],
        "sla_enabled": true, "sla_resolution_time_minutes": 8, "sla_breach_actions": ["retry", "notify_admin"],
        "escalation_levels": [{"level": 1, "actions": ["notify_user", "retry", "halt_flow"],
            "remediation": {"action": "retry", "grace_minutes": 5}}],
    }));
    let tried = |context: Value| {
        let cause = (RowId(Uuid::from_u128(9)), owner().user, "s".to_owned());
        let opened = Event::open(&rule, &failure(context), cause, 0, &Surroundings::default(), START);
        let (event, mut told) = live(&rule, opened, START + 10 * MINUTE);
        told.iter_mut().for_each(|told| *told = told.split_once(' ').expect("a minute").1.to_owned());
        (event.remediation_attempted, told.join(", "))
    };
    let all =
        "remediation 0.0 rollback_changes, fix_first 1.0 retry, level 1.0 in_app, level 1.0 retry, level 1.0 halt_flow";
    let late = "sla_breach 0.1 retry, sla_breach 0.1 in_app";
    assert_eq!(tried(json!({})), (true, format!("{all}, {late}")));
    let told = "level 1.0 in_app, level 1.0 halt_flow, sla_breach 0.1 in_app";
    assert_eq!(tried(json!({"auto_remediate": false})), (false, told.to_owned()));
}

#[test]
fn a_level_repeats_as_often_as_it_says() {
    let rule = rule(json!({
        "rule_name": "repeat", "escalation_levels": [
            {"level": 1, "actions": ["notify_user", "create_ticket"], "repeat": {"every_minutes": 10, "times": 2}},
        ],
    }));
    let (_, told) = live(&rule, opened(&rule), START + 60 * MINUTE);
    let expected = ["0 level 1.0 in_app", "0 level 1.0 create_ticket", "10 repeat 1.1 in_app", "20 repeat 1.2 in_app"];
    assert_eq!(told, expected, "the ticket is not made again");
}

#[test]
fn a_silence_holds_the_climb_and_moves_what_was_due_by_its_length() {
    let rule = model();
    let first = opened(&rule);
    let since_ms = START + 10 * MINUTE;
    let hold = Hold { reason: "works".to_owned(), since_ms, until_ms: Some(START + 40 * MINUTE) };
    let silent = Surroundings { hold: Some(hold), next_hold_ms: None };
    let still = first.event.decide(&rule, &Command::Look, &silent, START + 10 * MINUTE).expect("open");
    assert_eq!((still.tasks.len(), still.next_wake_ms), (0, Some(START + 40 * MINUTE)));
    let (_, told) = live(&rule, still, START + 200 * MINUTE);
    assert_eq!(
        told,
        ["45 level 2.0 in_app", "45 level 2.0 create_ticket", "90 level 3.0 page", "90 level 3.0 halt_flow"]
    );
}

#[test]
fn a_failure_is_counted_once_however_often_it_is_reported() {
    let rule = model();
    let event = opened(&rule).event;
    let join = |cause: u128, urgency| Command::Join { cause: RowId(Uuid::from_u128(cause)), urgency };
    let none = Surroundings::default();
    assert_eq!(event.decide(&rule, &join(9, None), &none, START), Err(Refused::Counted));
    let joined = event.decide(&rule, &join(10, Some(Urgency::Critical)), &none, START).expect("another").event;
    assert_eq!((joined.count, joined.urgency), (2, Urgency::Critical));
    assert_eq!(joined.decide(&rule, &join(10, None), &none, START), Err(Refused::Counted));
}

#[test]
fn the_rule_of_the_highest_priority_acts_and_the_others_say_why_not() {
    let make = |no: u128, document: Value| {
        let mut all =
            json!({"rule_name": format!("r{no}"), "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]});
        all.as_object_mut().expect("an object").extend(document.as_object().expect("an object").clone());
        Arc::new(
            Rule::compile(RowId(Uuid::from_u128(no)), RuleDocument::from_value(all).expect("one")).expect("a rule"),
        )
    };
    let rules = [
        make(1, json!({"priority": 9})),
        make(2, json!({"priority": 1, "applies_to_flows": ["other"]})),
        make(3, json!({"priority": 2, "trigger_conditions": "trigger.attempts > 3 && trigger.flow_name == 'f'"})),
        make(4, json!({"priority": 3, "is_active": false})),
        make(5, json!({"priority": 4, "continue": true})),
        make(6, json!({"priority": 5, "trigger_conditions": "trigger.nope"})),
        make(7, json!({"priority": 6})),
    ];
    let failure = failure(json!({"flow_name": "f", "attempts": 2}));
    let asked = ask(&rules, &failure, &owner());
    let verdicts: BTreeMap<&str, &Verdict> = asked.iter().map(|a| (a.rule_name.as_str(), &a.verdict)).collect();
    assert_eq!(*verdicts["r2"], Verdict::Filtered { filter: "applies_to_flows", found: "f".to_owned() });
    assert_eq!(*verdicts["r3"], Verdict::Unmet { clause: "trigger.attempts > 3".to_owned() });
    assert_eq!(*verdicts["r4"], Verdict::Inactive);
    assert!(matches!(verdicts["r6"], Verdict::Unclear { .. }));
    assert_eq!(*verdicts["r1"], Verdict::Behind { rule_name: "r7".to_owned() });
    let acts: Vec<&str> = acting(&rules, &asked).iter().map(|rule| rule.document.rule_name.as_str()).collect();
    assert_eq!(acts, ["r5", "r7"]);
}

#[test]
fn what_is_wrong_with_a_rule_is_named_with_its_place() {
    let level = json!({"level": 1, "actions": ["notify_user"]});
    for (change, pointer, words) in [
        (json!({"rule_name": ""}), "/rule_name", "1 to 200"),
        (json!({"priority": 0}), "/priority", "1 (asked first)"),
        (json!({"trigger_conditions": "steps.a"}), "/trigger_conditions", "steps"),
        (json!({"dedup_key": "trigger."}), "/dedup_key", ""),
        (json!({"escalation_levels": []}), "/escalation_levels", "would do nothing"),
        (
            json!({"escalation_levels": [{"level": 2, "actions": ["notify_user"]}]}),
            "/escalation_levels/0/level",
            "must be 1",
        ),
        (json!({"escalation_levels": [{"level": 1}]}), "/escalation_levels/0", "does nothing"),
        (
            json!({"escalation_levels": [{"level": 1, "actions": ["page_oncall"]}]}),
            "/escalation_levels/0/actions",
            "schedule",
        ),
        (
            json!({"escalation_levels": [{"level": 1, "recipients": ["bob"]}]}),
            "/escalation_levels/0/recipients/0",
            "user:ID",
        ),
        (
            json!({"escalation_levels": [{"level": 1, "actions": ["recover"]}]}),
            "/escalation_levels/0/actions/0",
            "does not have",
        ),
        (json!({"sla_enabled": true}), "/sla_enabled", "needs"),
        (json!({"throttles": [{"max": 0, "minutes": 5}]}), "/throttles/0/max", "1 to"),
        (json!({"depends_on": ["r"]}), "/depends_on", "itself"),
        (json!({"sla_calendar": {"time_zone": "Mars", "hours": {}}}), "/sla_calendar/time_zone", "Mars"),
        (json!({"cooldown_period_minutes": -1}), "/cooldown_period_minutes", "0 to"),
    ] {
        let mut document = json!({"rule_name": "r", "escalation_levels": [level]});
        document.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let document = RuleDocument::from_value(document).expect("its shape is right");
        let problems = Rule::compile(RowId(Uuid::nil()), document).map(drop).expect_err(pointer);
        assert_eq!(problems[0].pointer, pointer, "{}", problems[0].message);
        assert!(problems[0].message.contains(words), "{}", problems[0].message);
    }
    let unknown =
        RuleDocument::from_value(json!({"rule_name": "r", "escalation_levels": [{"level": 1, "actons": []}]}));
    let error = unknown.expect_err("an unknown key");
    assert_eq!(error.pointer, "/escalation_levels/0/actons");
    assert!(error.message.contains("did you mean `actions`"), "{}", error.message);
}

#[test]
fn windows_and_cooldown_hold_back_and_say_which() {
    let rule = rule(json!({
        "rule_name": "w", "max_escalations_per_hour": 3, "throttles": [{"max": 2, "minutes": 5}],
        "cooldown_period_minutes": 10, "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
    }));
    let windows = Windows::of(&rule.document);
    let mut recent = Recent::default();
    let mut ask = |minute: i64, subject: &str| {
        let now_ms = START + minute * MINUTE;
        recent.forget(&windows, now_ms);
        let held = recent.holds_back(&windows, subject, now_ms);
        if held.is_none() {
            recent.add(now_ms, subject);
        }
        held
    };
    assert_eq!(ask(0, "a"), None);
    assert_eq!(ask(1, "a"), Some(HeldBack::Cooldown { until_ms: START + 10 * MINUTE }));
    assert_eq!(ask(1, "b"), None);
    assert_eq!(ask(2, "c"), Some(HeldBack::Throttle { max: 2, minutes: "5".to_owned() }));
    assert_eq!(ask(6, "c"), None);
    assert_eq!(ask(30, "d"), Some(HeldBack::Throttle { max: 3, minutes: "60".to_owned() }));
    assert_eq!(ask(61, "d"), None, "windows slide");
}

#[test]
fn a_silence_comes_again_by_its_cron_and_covers_what_matches() {
    let document = json!({"name": "nightly", "cron": "0 2 * * *", "time_zone": "UTC", "duration_minutes": 60,
        "matcher": {"flow_name": "backup"}});
    let document: SilenceDocument = serde_json::from_value(document).expect("a document");
    let silence = Silence::compile(RowId(Uuid::nil()), document, 0).expect("a silence");
    let at = |text: &str| chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis();
    assert_eq!(silence.until(at("2026-05-01T01:59:59Z")), None);
    assert_eq!(silence.until(at("2026-05-01T02:00:00Z")), Some(at("2026-05-01T03:00:00Z")));
    assert_eq!(silence.until(at("2026-05-01T03:00:00Z")), None);
    assert_eq!(silence.next_start(at("2026-05-01T03:00:00Z")), Some(at("2026-05-02T02:00:00Z")));
    let covers = |flow: &str| silence.covers(RowId(Uuid::nil()), &failure(json!({"flow_name": flow})), &owner());
    assert!(covers("backup") && !covers("checkout"));
    let endless: SilenceDocument = serde_json::from_value(json!({"name": "x"})).expect("a document");
    assert_eq!(Silence::compile(RowId(Uuid::nil()), endless, 0).expect_err("it must end")[0].pointer, "/ends_at");
}

#[test]
fn a_suite_replays_its_cases_without_sending() {
    let suite = json!({
        "rules": [{
            "rule_name": "payments", "applies_to_flows": ["checkout"], "cooldown_period_minutes": 30,
            "escalation_levels": [
                {"level": 1, "actions": ["notify_user"]},
                {"level": 2, "delay_minutes": 15, "actions": [{"action": "page_oncall", "target": "primary"}, "halt_flow"]},
            ],
        }],
        "silences": [{"name": "works", "starts_at": "2026-01-05T12:00:00Z", "ends_at": "2026-01-05T13:00:00Z"}],
        "cases": [
            {"name": "it climbs", "failure": {"context": {"flow_name": "checkout"}},
             "expect": {"rule": "payments", "status": "escalated", "level": 2,
                        "tasks": ["0 1 in_app owner", "15 2 page on_call:primary", "15 2 halt_flow"]}},
            {"name": "somebody takes it", "failure": {"context": {"flow_name": "checkout"}}, "acknowledge_after_minutes": 10,
             "again_after_minutes": [1, 2], "expect": {"status": "acknowledged", "level": 1, "count": 3}},
            {"name": "resolved, and soon again", "failure": {"context": {"flow_name": "checkout"}},
             "resolve_after_minutes": 5, "again_after_minutes": [6], "expect": {"status": "resolved", "held_back": 1}},
            {"name": "silent", "at": "2026-01-05T12:30:00Z", "failure": {"context": {"flow_name": "checkout"}},
             "expect": {"rule": "payments", "held_back": 1, "tasks": []}},
            {"name": "another flow", "failure": {"context": {"flow_name": "other"}}, "expect": {"rule": "none"}},
            {"name": "this one is wrong", "failure": {"context": {"flow_name": "other"}}, "expect": {"rule": "payments"}},
        ],
    });
    let suite: Suite = serde_json::from_value(suite).expect("a suite");
    let reports = suite.perform().expect("it can be performed");
    let failures: Vec<&[String]> = reports.iter().map(|report| report.failures.as_slice()).collect();
    assert_eq!(failures[..5], [&[] as &[String]; 5]);
    assert_eq!(failures[5], ["rule: expected payments, found none"]);
}

/// What may happen to an event.
#[derive(Debug, Clone)]
enum Step {
    Wait(i64),
    Hold(i64),
    Acknowledge,
    Resolve,
    Join(u128),
    Remedied(bool),
    Pause,
    Resume,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_i64..40).prop_map(Step::Wait),
        1 => (1_i64..30).prop_map(Step::Hold),
        1 => Just(Step::Acknowledge),
        1 => Just(Step::Resolve),
        1 => (1_u128..20).prop_map(Step::Join),
        1 => any::<bool>().prop_map(Step::Remedied),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    /// Whatever happens: no task comes twice, levels come in their order, and after the end nothing comes.
    #[test]
    fn no_history_doubles_a_task_or_breaks_the_order(steps in steps(), fix_first: bool, repeats in 0_u32..3, wait_for: bool) {
        let repeat = (repeats > 0).then(|| json!({"every_minutes": 7, "times": repeats}));
        let remediation = fix_first.then(|| json!({"action": "retry", "grace_minutes": 4}));
        let until = if wait_for { "resolved" } else { "acknowledged" };
        let rule = rule(json!({
            "rule_name": "any", "sla_enabled": true, "sla_response_time_minutes": 20, "sla_resolution_time_minutes": 50,
            "sla_breach_actions": ["notify_admin"], "escalation_levels": [
                {"level": 1, "actions": ["notify_user"], "repeat": repeat},
                {"level": 2, "delay_minutes": 10, "actions": ["notify_admin", "create_ticket"], "remediation": remediation},
                {"level": 3, "delay_minutes": 30, "until": until, "actions": ["halt_flow"]},
            ],
        }));
        let first = opened(&rule);
        let mut keys: Vec<String> = first.tasks.iter().map(|task| task.key(RowId(Uuid::nil()))).collect();
        let (mut event, mut now_ms, mut hold_until) = (first.event, START, START);
        for step in steps {
            event = reloaded(&event);
            let by = || "user:a".to_owned();
            let command = match step {
                Step::Wait(minutes) => { now_ms += minutes * MINUTE; Command::Look }
                Step::Hold(minutes) => { hold_until = now_ms + minutes * MINUTE; Command::Look }
                Step::Acknowledge => Command::Acknowledge { by: by() },
                Step::Resolve => Command::Resolve { by: by(), notes: None, failed: false },
                Step::Join(cause) => Command::Join { cause: RowId(Uuid::from_u128(cause)), urgency: None },
                Step::Remedied(success) => Command::Remedied { purpose: Purpose::FixFirst, success },
                Step::Pause => Command::PauseClocks { by: by(), reason: "r".to_owned() },
                Step::Resume => Command::ResumeClocks,
            };
            let hold = (now_ms < hold_until)
                .then(|| Hold { reason: "h".to_owned(), since_ms: now_ms, until_ms: Some(hold_until) });
            let around = Surroundings { hold, next_hold_ms: None };
            let was_closed = event.status.is_closed();
            let level = event.level;
            match event.decide(&rule, &command, &around, now_ms) {
                Ok(decision) => {
                    prop_assert!(!was_closed, "nothing happens after the end");
                    keys.extend(decision.tasks.iter().map(|task| task.key(RowId(Uuid::nil()))));
                    prop_assert!(decision.event.level >= level);
                    let is_open = !decision.event.status.is_closed();
                    prop_assert_eq!(decision.next_wake_ms.is_some(), is_open, "what is open has a time to wake");
                    prop_assert!(decision.next_wake_ms.is_none_or(|at_ms| at_ms > now_ms));
                    if decision.event.acknowledged.is_some() && !wait_for {
                        let climbs = decision.tasks.iter().any(|task| task.purpose == Purpose::Level);
                        prop_assert!(event.acknowledged.is_none() || !climbs, "an acknowledged event told a level");
                    }
                    event = decision.event;
                }
                Err(Refused::Ended(..)) => prop_assert!(was_closed),
                Err(_) => {}
            }
        }
        let mut once = keys.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), keys.len(), "a task came twice: {:?}", keys);
    }

    /// Working time that lies between an instant and the deadline that was computed from it is the target.
    #[test]
    fn a_deadline_lies_as_much_working_time_away_as_it_should(start in 0_i64..400 * 24 * 60, target in 1_i64..10_000) {
        let days = ["mon", "tue", "wed", "thu", "fri"];
        let hours: BTreeMap<String, Vec<String>> =
            days.map(|day| (day.to_owned(), vec!["08:30-12:00".to_owned(), "12:45-17:15".to_owned()])).into();
        for time_zone in ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"] {
            let holidays = vec!["2026-04-03".to_owned(), "2026-12-25".to_owned()];
            let document = CalendarDocument { time_zone: time_zone.to_owned(), hours: hours.clone(), holidays };
            let calendar = WorkingCalendar::compile(&document).expect("a calendar");
            let (from_ms, target_ms) = (START + start * MINUTE, target * MINUTE);
            let deadline_ms = calendar.add(from_ms, target_ms);
            prop_assert_eq!(calendar.between(from_ms, deadline_ms), target_ms);
            prop_assert!(calendar.between(from_ms, deadline_ms - 1) < target_ms);
        }
    }
}
