//! Phases, and taking back what they did.

use serde_json::json;

use super::*;
use crate::words::PhaseStatus;

/// A pipeline: a step a phase, each with an undo, and what the flow says of rolling back.
fn pipeline(count: u32, more: Value) -> Bench {
    let steps: Vec<Value> = (1..=count)
        .map(|n| {
            step(&format!("p{n}"), json!({"phase": n, "undo": {"action_type": "noop", "action_payload": {"undo": n}}}))
        })
        .collect();
    Bench::begun(flow("parallel", &steps, more))
}

/// Every transition of a phase that a decision makes: its number, its state, and where a rollback goes.
fn moves(decision: &Decision) -> Vec<(u32, PhaseStatus, Option<u32>)> {
    let moved = |change: &Change| match change {
        Change::PhaseMoved(moved) => Some((moved.phase, moved.status, moved.rollback_to)),
        _ => None,
    };
    decision.changes.iter().filter_map(moved).collect()
}

/// What the attempts that a decision starts are given.
fn starts(decision: &Decision) -> Vec<Value> {
    let start = |effect: &Effect| match effect {
        Effect::StartAttempt { payload, .. } => Some(Value::clone(payload)),
        _ => None,
    };
    decision.effects.iter().filter_map(start).collect()
}

fn status(bench: &Bench) -> RunStatus {
    bench.run.state.status
}

#[test]
fn a_phase_begins_when_the_one_before_has_completed() {
    let mut bench = pipeline(3, json!({}));
    assert_eq!(bench.letters(), "IBB");
    assert_eq!(bench.run.why(0)[1].message, "phase 2 has not begun: phase 1 is under way");
    bench.now_ms = 400;
    let decision = bench.completes(0);
    assert_eq!(moves(&decision), [(1, PhaseStatus::Completed, None), (2, PhaseStatus::Started, None)]);
    let Some(Change::PhaseMoved(ended)) = decision.changes.iter().find(|c| matches!(c, Change::PhaseMoved(_))) else {
        panic!("{decision:?}")
    };
    assert_eq!((ended.duration_ms, ended.at_ms), (Some(400), 400));
    bench.completes(1);
    assert_eq!(moves(&bench.completes(2)), [(3, PhaseStatus::Completed, None)]);
    assert_eq!(status(&bench), RunStatus::Completed);
}

/// The fourth phase of seven fails.
fn fourth_fails(more: Value) -> (Bench, Decision) {
    let mut bench = pipeline(7, more);
    (0..3).for_each(|no| drop(bench.completes(no)));
    let decision = bench.fails(3);
    (bench, decision)
}

#[test]
fn a_failed_phase_goes_back_to_the_end_of_the_one_before() {
    let (bench, decision) = fourth_fails(json!({}));
    // The failed step did nothing, and phase 3 stands: there is nothing to take back.
    assert_eq!(moves(&decision), [(4, PhaseStatus::Failed, None), (4, PhaseStatus::RolledBack, Some(3))]);
    assert_eq!((status(&bench), bench.letters()), (RunStatus::RolledBack, "CCCFXXX".to_owned()));
    assert_eq!(bench.run.state.error.as_deref(), Some("step 'p4': no"));
}

#[test]
fn to_the_start_takes_back_everything_in_reverse() {
    let (mut bench, decision) = fourth_fails(json!({"rollback": {"to": "start"}}));
    assert_eq!((status(&bench), starts(&decision)), (RunStatus::Compensating, vec![json!({"undo": 3})]));
    let base = 7;
    assert_eq!(starts(&bench.completes(base)), [json!({"undo": 2})]);
    assert_eq!(starts(&bench.completes(base + 1)), [json!({"undo": 1})]);
    let decision = bench.completes(base + 2);
    assert_eq!(moves(&decision), [(4, PhaseStatus::RolledBack, Some(0))]);
    assert_eq!(status(&bench), RunStatus::RolledBack);
    assert_eq!(bench.log.len(), 7, "three steps, one failure, three undos");
}

#[test]
fn off_leaves_everything_as_it_is_and_phase_one_has_nothing_to_go_back_to() {
    let (bench, _) = fourth_fails(json!({"rollback": {"to": "off"}}));
    assert_eq!(status(&bench), RunStatus::Failed);
    let mut first = pipeline(2, json!({"rollback": {"to": "start"}}));
    first.fails(0);
    assert_eq!(status(&first), RunStatus::Failed);
}

#[test]
fn then_retry_makes_the_phase_again_as_often_as_it_may() {
    let (mut bench, decision) = fourth_fails(json!({"rollback": {"to": 2, "then": "retry", "retries": 1}}));
    assert_eq!(starts(&decision), [json!({"undo": 3})]);
    let decision = bench.completes(7);
    assert_eq!(moves(&decision), [(4, PhaseStatus::RolledBack, Some(2)), (3, PhaseStatus::Started, None)]);
    assert_eq!((status(&bench), bench.letters()), (RunStatus::Running, "CCIBBBB".to_owned()));
    bench.completes(2);
    let decision = bench.fails(3);
    assert_eq!(starts(&decision), [json!({"undo": 3})], "phase 3 was done again");
    bench.completes(8);
    assert_eq!(status(&bench), RunStatus::RolledBack);
}

/// A rollback whose second undo has failed for good.
fn stuck() -> Bench {
    let (mut bench, _) = fourth_fails(json!({"rollback": {"to": "start"}}));
    bench.completes(7);
    bench.fails(8);
    assert_eq!(status(&bench), RunStatus::Failed);
    let error = bench.run.state.error.clone().unwrap();
    assert!(error.starts_with("compensation_failed: the undo of step 'p2'"), "{error}");
    bench
}

#[test]
fn an_undo_that_fails_stands_still_until_a_person_settles_it() {
    for way in [UndoWay::Skip { reason: "gone".to_owned() }, UndoWay::Done] {
        let mut bench = stuck();
        let decision = bench.tell(&Command::Undo { way });
        assert_eq!(starts(&decision), [json!({"undo": 1})]);
        bench.completes(9);
        assert_eq!(status(&bench), RunStatus::RolledBack);
    }
    let mut bench = stuck();
    assert!(matches!(bench.decide(&Command::Retry { step: None }), Err(Refusal::RunNotNow(..))));
    let decision = bench.tell(&Command::Undo { way: UndoWay::Retry });
    assert_eq!(starts(&decision), [json!({"undo": 2})]);
    bench.completes(8);
    bench.completes(9);
    assert_eq!(status(&bench), RunStatus::RolledBack);
    assert_eq!(bench.decide(&Command::Undo { way: UndoWay::Done }), Err(Refusal::NoFailedUndo));
}

#[test]
fn without_phases_a_flow_may_ask_for_it_and_unknown_outcomes_count() {
    let undo =
        |n: u32| json!({"undo": {"action_type": "noop", "action_payload": {"undo": n}}, "retry": {"max_attempts": 1}});
    let steps = [step("a", undo(1)), step("b", undo(2)), step("c", json!({}))];
    let more = json!({"on_error_action": "rollback"});
    let mut fails = Bench::begun(flow("sequential", &steps, &more));
    fails.completes(0);
    fails.completes(1);
    assert_eq!(starts(&fails.fails(2)), [json!({"undo": 2})]);
    // The second was under way when the runtime died: it may have taken effect.
    let mut unknown = Bench::begun(flow("sequential", &steps, &more));
    unknown.completes(0);
    let decision = unknown.tell(&Command::Recover { under_way: vec![] });
    assert_eq!(starts(&decision), [json!({"undo": 2})]);
    let mut step_asks = Bench::begun(flow(
        "sequential",
        &[step("a", undo(1)), step("b", json!({"on_error": "compensate"}))],
        json!({}),
    ));
    step_asks.completes(0);
    assert_eq!(starts(&step_asks.fails(1)), [json!({"undo": 1})]);
}

#[test]
fn rounds_of_a_loop_are_taken_back_with_what_they_had() {
    let body = json!({"id": "make", "config": {"action_type": "noop", "action_payload": {"item": "{{ loop.item }}"}},
        "undo": {"action_type": "noop", "action_payload": {"undo": "{{ loop.item }}", "gave": "{{ steps.make.output.n }}"}}});
    let each = json!({"id": "each", "type": "for_each", "config": {"collection": "['a', 'b']", "concurrency": 2, "steps": [body]}});
    let steps = [each, step("z", json!({}))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({"on_error_action": "rollback"})));
    bench.completes(3);
    bench.completes(4);
    assert_eq!(starts(&bench.fails(1)), [json!({"undo": "b", "gave": 4})]);
    assert_eq!(starts(&bench.completes(5)), [json!({"undo": "a", "gave": 3})]);
    bench.completes(6);
    assert_eq!(status(&bench), RunStatus::RolledBack);
}

#[test]
fn what_would_be_taken_back_can_be_asked_at_any_time() {
    let mut bench = pipeline(3, json!({}));
    assert_eq!(bench.run.undo_plan(0), Vec::<StepNo>::new());
    bench.completes(0);
    bench.completes(1);
    assert_eq!((bench.run.undo_plan(0), bench.run.undo_plan(1)), (vec![1, 0], vec![1]));
}
