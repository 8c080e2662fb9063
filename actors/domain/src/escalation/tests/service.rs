//! Service times: announced, breached, held and stopped.

use super::*;

#[test]
fn service_clocks_announce_and_breach_once_and_keep_paused_time() {
    let rule = rule(json!({
        "rule_name": "sla", "sla_enabled": true, "sla_response_time_minutes": 30, "sla_resolution_time_minutes": 120,
        "sla_warning_minutes": 10, "sla_breach_actions": ["notify_admin"], "sla_by_urgency": {"critical": {"resolution_minutes": 60}},
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
    }));
    let (event, told) = live(&rule, opened(&rule), START + 300 * MINUTE);
    let expected = [
        "0 level 1.0 in_app",
        "20 sla_warning 0.0 in_app",
        "30 sla_breach 0.0 in_app",
        "110 sla_warning 0.1 in_app",
        "120 sla_breach 0.1 in_app",
    ];
    assert_eq!(told, expected);
    assert_eq!(event.response.as_ref().and_then(|clock| clock.breached_ms), Some(START + 30 * MINUTE));

    let none = Surroundings::default();
    let tell = |event: &Event, command: &Command, minute: i64| {
        event.decide(&rule, command, &none, START + minute * MINUTE).expect("open").event
    };
    let pause = Command::PauseClocks { by: "user:a".to_owned(), reason: "the vendor's turn".to_owned() };
    let event = tell(&opened(&rule).event, &pause, 10);
    let event = tell(&event, &Command::ResumeClocks, 25);
    assert_eq!(event.deadlines(&rule), (Some(START + 45 * MINUTE), Some(START + 135 * MINUTE)));
    let event = tell(&event, &Command::SetUrgency { urgency: Urgency::Critical }, 26);
    assert_eq!(event.deadlines(&rule).1, Some(START + 75 * MINUTE), "paused time is not lost");
    let event = tell(&event, &Command::Acknowledge { by: "user:a".to_owned() }, 46);
    let clock = event.response.expect("a clock");
    assert_eq!(clock.breached_ms, Some(START + 45 * MINUTE), "whoever comes late has come late");
}

fn watched() -> Rule {
    rule(json!({
        "rule_name": "sla", "sla_enabled": true, "sla_response_time_minutes": 30, "sla_warning_minutes": 10,
        "sla_breach_actions": ["notify_admin"], "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
    }))
}

fn silent(until: i64) -> Surroundings {
    let hold = Hold { reason: "works".to_owned(), since_ms: START, until_ms: Some(START + until * MINUTE) };
    Surroundings { hold: Some(hold), next_hold_ms: None }
}

/// Decides a command at a minute, on the event as it is stored, and says what it wants done.
fn at(rule: &Rule, event: &Event, command: &Command, around: &Surroundings, minute: i64) -> (Decision, Vec<String>) {
    let now_ms = START + minute * MINUTE;
    let decision = reloaded(event).decide(rule, command, around, now_ms).expect("it is open");
    let told = decision.tasks.iter().map(|task| said(task, now_ms)).collect();
    (decision, told)
}

#[test]
fn a_breach_in_a_silence_is_marked_in_its_time_and_told_at_its_end() {
    let rule = watched();
    let (held, told) = at(&rule, &opened(&rule).event, &Command::Look, &silent(60), 10);
    assert_eq!((told.len(), held.next_wake_ms), (0, Some(START + 30 * MINUTE)), "no warning wakes it");
    let (late, told) = at(&rule, &held.event, &Command::Look, &silent(60), 30);
    let breached_ms = late.event.response.as_ref().and_then(|clock| clock.breached_ms);
    assert_eq!((told.len(), breached_ms), (0, Some(START + 30 * MINUTE)), "it is marked, and nobody is told");
    assert_eq!(late.next_wake_ms, Some(START + 60 * MINUTE));
    let (over, told) = at(&rule, &late.event, &Command::Look, &Surroundings::default(), 60);
    assert_eq!(told, ["60 sla_breach 0.0 in_app"]);
    let (_, told) = at(&rule, &over.event, &Command::Look, &Surroundings::default(), 61);
    assert_eq!(told.len(), 0, "once");
}

#[test]
fn a_breach_in_a_silence_is_told_though_the_event_ends_in_it() {
    let rule = watched();
    let (held, _) = at(&rule, &opened(&rule).event, &Command::Look, &silent(60), 10);
    let resolve = Command::Resolve { by: "user:a".to_owned(), notes: None, failed: false };
    let (ended, told) = at(&rule, &held.event, &resolve, &silent(60), 40);
    assert_eq!((ended.event.status, told), (EscalationStatus::Resolved, vec!["40 sla_breach 0.0 in_app".to_owned()]));
}

#[test]
fn what_is_announced_waits_for_the_end_of_a_silence() {
    let rule = watched();
    let (held, told) = at(&rule, &opened(&rule).event, &Command::Look, &silent(25), 21);
    assert_eq!(told.len(), 0, "it was due at 20, and the look came later");
    let (_, told) = at(&rule, &held.event, &Command::Look, &Surroundings::default(), 25);
    assert_eq!(told, ["25 sla_warning 0.0 in_app"]);
}

#[test]
fn a_rule_of_low_urgency_marks_its_breaches_and_tells_nobody() {
    let mut document = watched().document;
    document.urgency = Urgency::Low;
    let call = json!({"action": "api_call", "target": "receiver"});
    let names = ["notify_user", "page_oncall", "send_notification"].map(|name| json!({"action": name, "target": "x"}));
    let actions: Vec<Value> = names.into_iter().chain([call]).collect();
    document.sla_breach_actions = serde_json::from_value(json!(actions)).expect("actions");
    let rule = Rule::stored(RowId(Uuid::from_u128(1)), document).expect("a rule");
    let (event, told) = live(&rule, opened(&rule), START + 60 * MINUTE);
    assert_eq!(told, ["30 sla_breach 0.0 api_call"], "what is done is done, and nobody is told");
    assert!(event.response.is_some_and(|clock| clock.breached_ms.is_some()));
}

#[test]
fn a_clock_that_an_urgency_adds_stood_still_with_the_one_that_was_there() {
    let rule = rule(json!({
        "rule_name": "sla", "sla_enabled": true, "sla_resolution_time_minutes": 120,
        "sla_by_urgency": {"critical": {"response_minutes": 15}},
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
    }));
    let none = Surroundings::default();
    let pause = Command::PauseClocks { by: "user:a".to_owned(), reason: "the vendor's turn".to_owned() };
    let critical = Command::SetUrgency { urgency: Urgency::Critical };
    let paused = at(&rule, &opened(&rule).event, &pause, &none, 5).0.event;

    let gone_on = at(&rule, &paused, &Command::ResumeClocks, &none, 17).0.event;
    let raised = at(&rule, &gone_on, &critical, &none, 18).0.event;
    assert_eq!(raised.deadlines(&rule), (Some(START + 27 * MINUTE), Some(START + 132 * MINUTE)));
    assert_eq!(raised.response.and_then(|clock| clock.breached_ms), None, "twelve of its minutes stood still");

    // While they stand still the new one stands still as well, and both go on together.
    let (raised, told) = at(&rule, &paused, &critical, &none, 40);
    assert_eq!((told.len(), raised.event.response.as_ref().is_some_and(|clock| clock.paused.is_some())), (0, true));
    let (still, _) = at(&rule, &raised.event, &Command::Look, &none, 60);
    assert_eq!(still.event.response.as_ref().and_then(|clock| clock.breached_ms), None);
    let gone_on = at(&rule, &still.event, &Command::ResumeClocks, &none, 65).0.event;
    assert_eq!(gone_on.deadlines(&rule).0, Some(START + 75 * MINUTE), "five of its minutes had passed");
}
