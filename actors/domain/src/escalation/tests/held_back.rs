//! What limits hold back is told in the end, by whichever message comes first.

use super::*;

#[test]
fn limits_say_until_when_they_hold_back() {
    let rule = rule(json!({
        "rule_name": "w", "max_escalations_per_hour": 3, "throttles": [{"max": 2, "minutes": 5}],
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
    }));
    let windows = Windows::of(&rule.document);
    let mut recent = Recent::default();
    let full = |recent: &Recent, minute: i64| {
        let until_ms = recent.full_until_ms(&windows, START + minute * MINUTE);
        until_ms.map(|until_ms| (until_ms - START) / MINUTE)
    };
    recent.add(START, "a");
    assert_eq!(full(&recent, 1), None);
    recent.add(START + MINUTE, "b");
    assert_eq!(full(&recent, 2), Some(5), "the first of two leaves five minutes after it came");
    assert_eq!(full(&recent, 5), None);
    recent.add(START + 6 * MINUTE, "c");
    assert_eq!(full(&recent, 7), Some(60), "three in an hour, however few in five minutes");
    let held = recent.holds_back(&windows, "d", START + 60 * MINUTE - 1);
    assert_eq!((held.is_some(), full(&recent, 60)), (true, None), "to the moment");
}

#[test]
fn what_was_held_back_is_told_each_time_under_a_key_of_its_own_also_after_the_end() {
    let rule = model();
    let open = opened(&rule).event;
    let resolve = Command::Resolve { by: "user:a".to_owned(), notes: None, failed: false };
    let ended = open.decide(&rule, &resolve, &Surroundings::default(), START + MINUTE).expect("it is open").event;
    let mut keys = Vec::new();
    for stored in [open, ended] {
        let mut event = reloaded(&stored);
        for _ in 0..2 {
            let decision = event.sum_up(&rule, Some(7), START + 2 * MINUTE);
            assert_eq!((decision.event.status, decision.stops, decision.next_wake_ms), (event.status, false, Some(7)));
            assert!(decision.tasks.iter().all(Task::bundles) && decision.tasks.len() == 1);
            keys.extend(decision.tasks.iter().map(|task| task.key(RowId(Uuid::nil()))));
            event = reloaded(&decision.event);
        }
    }
    assert_eq!((keys[0] == keys[2], keys[0] == keys[1]), (true, false), "{keys:?}");
}

#[test]
fn only_who_is_told_anything_is_told_what_was_held_back() {
    let mut document = model().document;
    document.urgency = Urgency::Low;
    let low = Rule::compile(RowId(Uuid::from_u128(1)), document).expect("a rule");
    assert!(opened(&low).event.sum_up(&low, None, START).tasks.is_empty() && !low.document.tells_anybody());
    let ticket =
        rule(json!({"rule_name": "t", "escalation_levels": [{"level": 1, "actions": ["create_ticket", "halt_flow"]}]}));
    assert!(opened(&ticket).event.sum_up(&ticket, None, START).tasks.is_empty() && !ticket.document.tells_anybody());
    for says in [
        json!({"notify_channels": [{"channel": "in_app"}]}),
        json!({"recipients": ["role:admin"]}),
        json!({"actions": ["notify_user"]}),
    ] {
        let mut level = json!({"level": 1, "actions": ["create_ticket"]});
        level.as_object_mut().expect("an object").extend(says.as_object().cloned().expect("an object"));
        let told = rule(json!({"rule_name": "t", "escalation_levels": [level]}));
        assert!(told.document.tells_anybody(), "{says}");
        assert!(!opened(&told).event.sum_up(&told, None, START).tasks.is_empty(), "{says}");
    }
    // The first level only makes a ticket: the nearest one that tells somebody does.
    let late = rule(json!({"rule_name": "late", "escalation_levels": [
        {"level": 1, "actions": ["create_ticket"]}, {"level": 2, "delay_minutes": 5, "actions": ["notify_admin"]}]}));
    let told = opened(&late).event.sum_up(&late, None, START).tasks;
    assert_eq!(told.iter().map(|task| said(task, START)).collect::<Vec<_>>(), ["0 held_back 0.1 in_app"]);
}

#[test]
fn a_message_tells_what_was_held_back_since_the_last_one() {
    let mut event = opened(&model()).event;
    event.bundle(3);
    event.bundle(2);
    let event = reloaded(&event);
    assert_eq!((event.held_back, event.bundled), (5, 2));
}

#[test]
fn an_event_of_an_earlier_release_is_read() {
    let mut stored = serde_json::to_value(opened(&model()).event).expect("it is written");
    let fields = stored.as_object_mut().expect("an object");
    for name in ["bundled", "summaries", "untold_breaches"] {
        fields.remove(name);
    }
    let event: Event = serde_json::from_value(stored).expect("it is read");
    assert_eq!(event, opened(&model()).event);
}
