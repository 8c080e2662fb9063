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
