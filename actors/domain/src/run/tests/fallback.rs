//! Which ends hand over to another flow.

#![expect(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "calls read better")]

use super::*;

const OTHER: &str = "0190a000-0000-7000-8000-000000000001";

fn with(action: &str, steps: &[Value], extra: Value) -> Bench {
    let mut more = json!({"on_error_action": action, "fallback_flow_id": OTHER});
    merge_patch(&mut more, &extra);
    Bench::begun(flow("parallel", steps, more))
}

fn other() -> Option<FlowId> {
    Some(OTHER.parse().unwrap())
}

#[test]
fn a_failed_run_hands_over_where_its_step_or_its_flow_says_so() {
    let mut bench = with("fallback", &two(), json!({}));
    bench.completes(0);
    assert_eq!(bench.run.fallback(), None, "it has not ended");
    bench.fails(1);
    assert_eq!((bench.run.state.status, bench.run.fallback()), (RunStatus::Failed, other()));
    let own_word = [step("a", json!({"on_error": "fallback"})), step("b", json!({}))];
    let mut bench = with("stop", &own_word, json!({}));
    bench.completes(1);
    bench.fails(0);
    assert_eq!(bench.run.fallback(), other());
    let mut bench = with("stop", &own_word, json!({}));
    bench.completes(0);
    bench.fails(1);
    assert_eq!(
        (bench.run.state.status, bench.run.fallback()),
        (RunStatus::Failed, None),
        "the other step fails as ever"
    );
}

#[test]
fn no_other_end_hands_over() {
    let tolerant = [step("a", json!({"on_error": "continue"})), step("b", json!({}))];
    let mut bench = with("fallback", &tolerant, json!({}));
    bench.fails(0);
    bench.completes(1);
    assert_eq!((bench.run.state.status, bench.run.fallback()), (RunStatus::Completed, None));
    let mut bench = with("fallback", &two(), json!({"max_execution_time_seconds": 5}));
    bench.tell(&Command::Cancel { reason: "enough".into() });
    bench.ends(0, Outcome::Cancelled);
    bench.ends(1, Outcome::Cancelled);
    assert_eq!((bench.run.state.status, bench.run.fallback()), (RunStatus::Cancelled, None));
}

#[test]
fn a_failed_phase_is_taken_back_first() {
    let undo = json!({"action_type": "noop", "action_payload": {}});
    let steps =
        [step("a", json!({"phase": 1})), step("b", json!({"phase": 2, "undo": undo})), step("c", json!({"phase": 2}))];
    let mut bench = with("fallback", &steps, json!({}));
    bench.completes(0);
    bench.completes(1);
    bench.fails(2);
    assert_eq!((bench.run.state.status, bench.run.fallback()), (RunStatus::Compensating, None));
    let undo = *bench.run.state.loose.keys().next().unwrap();
    bench.completes(undo);
    assert_eq!((bench.run.state.status, bench.run.fallback()), (RunStatus::RolledBack, other()));
}
