//! What may be tried to mend, and what may not.

use super::*;

const MESSAGES: [&str; 4] = ["notify_user", "notify_admin", "page_oncall", "send_notification"];

fn document(more: Value) -> RuleDocument {
    let mut document = json!({"rule_name": "told", "auto_remediation_enabled": true,
        "escalation_levels": [{"level": 1, "delay_minutes": 5, "actions": ["notify_user"]}]});
    let Value::Object(more) = more else { panic!("an object: {more}") };
    document.as_object_mut().expect("an object").extend(more);
    RuleDocument::from_value(document).expect("its shape is right")
}

/// An action by its name, which says to whom where it must.
fn action(name: &str) -> Value {
    json!({"action": name, "target": "primary"})
}

#[test]
fn a_message_is_no_remedy_and_a_rule_that_names_one_is_not_saved() {
    for name in MESSAGES {
        let levels = json!([{"level": 1, "actions": ["notify_user"],
            "remediation": {"action": action(name), "grace_minutes": 5}}]);
        for (more, pointer) in [
            (json!({"remediation_actions": ["retry", action(name)]}), "/remediation_actions/1"),
            (json!({"escalation_levels": levels}), "/escalation_levels/0/remediation/action"),
        ] {
            let problems = Rule::compile(RowId(Uuid::nil()), document(more)).map(drop).expect_err(name);
            let found: Vec<&str> = problems.iter().map(|problem| problem.pointer.as_str()).collect();
            assert!(found.contains(&pointer), "{name}: {found:?}");
            assert!(problems.iter().any(|problem| problem.message.contains("mends nothing")), "{name}");
        }
    }
}

#[test]
fn a_stored_rule_that_names_a_message_as_a_remedy_is_still_asked_and_the_message_tries_nothing() {
    for name in MESSAGES {
        let document = document(json!({"remediation_actions": [action(name)]}));
        let rule = Rule::stored(RowId(Uuid::from_u128(1)), document).expect("an earlier release has saved it");
        let opened = opened(&rule);
        assert_eq!(opened.tasks.len(), 1, "{name}: it is sent all the same");
        assert!(!opened.tasks[0].mends() && !opened.event.remediation_attempted, "{name}");
        let (event, told) = live(&rule, opened, START + 10 * MINUTE);
        assert_eq!((told.last().map(String::as_str), event.level), (Some("5 level 1.0 in_app"), 1), "{name}");
    }
}
