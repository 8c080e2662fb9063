//! Steps that wait for an event.

use super::kinds::{kind, output, status};
use super::*;
use crate::ids::RowId;
use crate::words::RunStatus;

fn event(no: u128, total: i64) -> Command {
    let content = json!({"type": "order.paid", "subject": "web-1", "id": no.to_string(), "data": {"total": total}});
    Command::Event { step: 0, id: RowId(Uuid::from_u128(no)), event: Arc::new(content) }
}

fn waiting(more: &Value) -> Bench {
    let mut config = json!({"event": {"type": "order.paid", "key": "trigger.host"}});
    merge_patch(&mut config, more);
    Bench::begun(flow("sequential", &[kind("w", "wait", config)], json!({})))
}

#[test]
fn a_wait_takes_the_first_event_that_its_match_holds_for() {
    let matched = json!({"event": {"match": "event.data.total > trigger.port || event.data.total > 10"}});
    let wrong = waiting(&json!({"event": {"match": "event.data.total > 10"}, "timeout_seconds": 60}));
    let opened = wrong.decide(&Command::Wake).unwrap();
    assert!(opened.changes.is_empty());
    assert_eq!((wrong.letters(), wrong.timing(None).wake_at_ms), ("W".to_owned(), Some(60_000)));
    assert_eq!(wrong.run.state.event_keys.get(&0).map(String::as_str), Some("web-1"));
    let why = wrong.run.why(wrong.now_ms);
    assert!(why.iter().any(|reason| reason.held_by == ["event:order.paid:web-1"]), "{why:?}");

    let mut bench = wrong;
    assert!(bench.tell(&event(1, 10)).changes.is_empty(), "an event that does not match leaves nothing");
    let taken = bench.tell(&event(2, 11));
    assert!(taken.changes.iter().any(|change| matches!(change,
        Change::WaitClosed { step: 0, taken: Some(id) } if id.0.as_u128() == 2)));
    assert_eq!(status(&bench), RunStatus::Completed);
    assert_eq!(
        (&output(&bench, "w")["payload"]["id"], &output(&bench, "w")["timed_out"]),
        (&json!("2"), &json!(false))
    );
    assert!(bench.run.state.event_keys.is_empty());
    assert!(bench.tell(&event(3, 12)).changes.is_empty(), "a run that has ended hears nothing");

    let mut fails = waiting(&matched);
    fails.tell(&event(1, 1));
    let error = fails.run.state.error.clone().unwrap_or_default();
    assert!(error.starts_with("step 'w':") && error.contains("port"), "{error}");
}

#[test]
fn a_wait_for_an_event_ends_by_its_patience() {
    let mut late = waiting(&json!({"timeout_seconds": 10, "on_timeout": "continue"}));
    late.at(10_000, &Command::Wake);
    assert_eq!(output(&late, "w"), json!({"timed_out": true, "payload": null}));
    let mut fails = waiting(&json!({"timeout_seconds": 10}));
    fails.at(10_000, &Command::Wake);
    assert_eq!(status(&fails), RunStatus::Failed);
}

#[test]
fn a_key_that_is_none_fails_the_step() {
    let bench = waiting(&json!({"event": {"key": "null"}}));
    let error = bench.run.state.error.clone().unwrap_or_default();
    assert!(error.contains("must be a text, a number or a bool, is null"), "{error}");
}

#[test]
fn what_an_event_is_matched_by_is_checked_when_it_is_saved() {
    let problems = |event: Value| {
        let config = json!({"event": event});
        let document = FlowDocument::from_value(flow("sequential", &[kind("w", "wait", config)], json!({}))).unwrap();
        let found = FlowPlan::compile(&document, &["noop"], &PlanLimits::default()).err().unwrap_or_default();
        found.into_iter().map(|problem| problem.pointer).collect::<Vec<_>>()
    };
    assert_eq!(problems(json!({"type": "t", "key": "event.subject"})), ["/flow_steps/0/config/event/key"]);
    assert_eq!(
        problems(json!({"type": "t", "key": "'k'", "match": "loop.index == 1"})),
        ["/flow_steps/0/config/event/match"]
    );
    assert_eq!(problems(json!({"type": "", "key": "'k'"})), ["/flow_steps/0/config/event/type"]);
    assert_eq!(problems(json!({"type": "t", "key": "'k'", "match": "event.data.n == 1"})), [""; 0]);
}
