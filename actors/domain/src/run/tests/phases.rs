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

/// What a decision notes of phases that take too long.
fn late(decision: &Decision) -> Vec<(u32, i64)> {
    let noted = |change: &Change| match change {
        Change::PhaseLate { phase, duration_ms } => Some((*phase, *duration_ms)),
        _ => None,
    };
    decision.changes.iter().filter_map(noted).collect()
}

/// Whether the ends of phases in a decision were known to be late.
fn known_late(decision: &Decision) -> Vec<bool> {
    let ended = |change: &Change| match change {
        Change::PhaseMoved(moved) if moved.status != PhaseStatus::Started => Some(moved.is_known_late),
        _ => None,
    };
    decision.changes.iter().filter_map(ended).collect()
}

#[test]
fn a_phase_that_takes_too_long_is_noted_while_it_runs_and_once() {
    let bounded =
        || pipeline(2, json!({"phases": [{"number": 1, "sla_seconds": 30}, {"number": 2, "sla_seconds": 5}]}));
    let mut bench = bounded();
    assert_eq!(bench.timing(None).wake_at_ms, Some(30_001));
    assert!(late(&bench.at(30_000, &Command::Wake)).is_empty(), "as long as it may be is not too long");
    assert_eq!(late(&bench.at(30_500, &Command::Wake)), [(1, 30_500)]);
    assert_eq!(bench.timing(None).wake_at_ms, None);
    // It is known through a restart.
    bench.run.state = RunState::load(&bench.run.save()).expect("it was saved");
    let again = bench.at(40_000, &Command::Recover { under_way: vec![0] });
    assert_eq!((late(&again), bench.timing(None).wake_at_ms), (vec![], None));
    bench.now_ms = 50_000;
    assert_eq!(known_late(&bench.completes(0)), [true]);
    // The next phase has a time of its own.
    assert_eq!(bench.timing(None).wake_at_ms, Some(55_001));
    bench.now_ms = 60_000;
    assert_eq!(known_late(&bench.completes(1)), [false], "nobody was told: its end tells");

    let mut paused = bounded();
    paused.tell(&Command::Pause { by: "user:1".into() });
    assert_eq!(late(&paused.at(31_000, &Command::Wake)), [(1, 31_000)], "whoever pauses it stops no clock");
    let mut cancelled = bounded();
    cancelled.tell(&Command::Cancel { reason: "enough".into() });
    assert_eq!(cancelled.timing(None).wake_at_ms, None, "what ends needs no word about its time");
    cancelled.now_ms = 10_000;
    cancelled.ends(0, Outcome::Cancelled);
    assert_eq!(cancelled.run.state.status, RunStatus::Cancelled);
    let again = cancelled.at(90_000, &Command::Retry { step: None });
    assert_eq!((late(&again), cancelled.timing(None).wake_at_ms), (vec![], Some(120_001)), "the phase begins anew");
    assert_eq!(pipeline(2, json!({})).timing(None).wake_at_ms, None, "without a threshold nothing is too long");
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

/// A run whose last step fails: what took place before it is taken back once a person agrees.
fn asks_before_it_takes_back() -> Bench {
    let undo = |id: &str, more: Value| {
        let mut undo = json!({"action_type": "noop", "action_payload": {"undo": id}});
        merge_patch(&mut undo, &more);
        step(id, json!({"undo": undo, "retry": {"max_attempts": 1}}))
    };
    let own = json!({"requires_approval": true, "expires_in_seconds": 60, "timeout_seconds": 7,
        "retry": {"max_attempts": 2, "backoff_seconds": 3, "jitter": "none"}});
    let steps = [undo("a", json!({})), undo("b", own), step("c", json!({}))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({"on_error_action": "rollback"})));
    (0..2).for_each(|no| drop(bench.completes(no)));
    let decision = bench.fails(2);
    assert!(decision.changes.contains(&Change::ApprovalRequested { step: Some(3) }), "{decision:?}");
    assert_eq!((status(&bench), starts(&decision)), (RunStatus::Compensating, vec![]));
    bench
}

#[test]
fn an_undo_may_ask_for_approval_and_has_its_own_policy() {
    let mut bench = asks_before_it_takes_back();
    let reason = &bench.run.why(0)[0];
    assert_eq!(
        (reason.code, reason.step_id.as_deref(), reason.wakes_at_ms),
        (Waiting::Approval, Some("b"), Some(60_000))
    );
    assert_eq!((reason.message.as_str(), reason.held_by.len()), (super::super::why::TAKES_BACK, 1));
    assert_eq!(bench.run.step_plan(3).timeout_ms, Some(7_000));
    let decision = bench.tell(&Command::Approve { step: Some(3), by: person() });
    assert_eq!(starts(&decision), [json!({"undo": "b"})]);
    bench.fails_for_now(3, None);
    assert_eq!((bench.timing(None).wake_at_ms, status(&bench)), (Some(3_000), RunStatus::Compensating));
    let again = bench.at(3_000, &Command::Wake);
    assert_eq!(starts(&again), [json!({"undo": "b"})], "the step itself has one attempt, its undo two");
    assert_eq!(starts(&bench.completes(3)), [json!({"undo": "a"})], "this one asks nobody");
    bench.fails_for_now(4, None);
    let error = bench.run.state.error.clone().unwrap_or_default();
    assert!(error.starts_with("compensation_failed: the undo of step 'a' failed;"), "the step's own policy: {error}");
}

#[test]
fn an_undo_that_is_refused_or_not_agreed_to_in_time_is_parked() {
    let refuse: fn(&mut Bench) = |bench| drop(bench.tell(&Command::Reject { step: Some(3), by: person() }));
    let expire: fn(&mut Bench) = |bench| drop(bench.at(bench.now_ms + 60_000, &Command::Wake));
    let ends = [(refuse, "was refused by a person"), (expire, "expired")];
    for (end, words) in ends {
        let mut bench = asks_before_it_takes_back();
        end(&mut bench);
        assert_eq!(status(&bench), RunStatus::Failed);
        let error = bench.run.state.error.clone().unwrap_or_default();
        assert!(error.starts_with(&format!("compensation_failed: the undo of step 'b' {words};")), "{error}");
        assert_eq!(bench.run.undo_plan(0), [1, 0]);
        // Tried again, it asks again.
        let again = bench.tell(&Command::Undo { way: UndoWay::Retry });
        assert!(again.changes.contains(&Change::ApprovalRequested { step: Some(3) }), "{again:?}");
        end(&mut bench);
        let next = bench.tell(&Command::Undo { way: UndoWay::Skip { reason: "gone".to_owned() } });
        assert_eq!(starts(&next), [json!({"undo": "a"})]);
        bench.completes(4);
        assert_eq!(status(&bench), RunStatus::RolledBack);
    }
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

/// A step that can be taken back, by the word that its undo is given.
#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn undoable(id: &str, more: Value) -> Value {
    let mut made = step(id, json!({"undo": {"action_type": "noop", "action_payload": {"undo": id}}}));
    merge_patch(&mut made, &more);
    made
}

/// A later phase is taken back first, although its steps wait for nothing; and a step before those that stand in it.
#[test]
fn what_came_later_is_taken_back_first() {
    let phased = |id: &str, inputs: &[&str], phase: u32| {
        undoable(id, json!({"phase": phase, "connections": {"inputs": inputs}}))
    };
    let lanes = json!([{"id": "l", "steps": [undoable("inner", json!({}))]}]);
    let undo = json!({"action_type": "noop", "action_payload": {"undo": "p"}});
    let holds = json!({"id": "p", "type": "parallel", "phase": 2, "config": {"branches": lanes}, "undo": undo});
    let steps = [phased("c", &[], 3), holds, phased("a", &[], 1), phased("b", &["a"], 1), phased("z", &[], 4)];
    let mut bench = Bench::begun(flow("mixed", &steps, json!({"rollback": {"to": "start"}})));
    let undone = |decision: &Decision| starts(decision)[0]["undo"].clone();
    // In the document's order: c 0, p 1, inner 2, a 3, b 4, z 5.
    for no in [3, 4, 2, 0] {
        bench.completes(no);
    }
    let first = bench.fails(5);
    let mut order = vec![undone(&first)];
    for no in 6..10 {
        order.push(undone(&bench.completes(no)));
    }
    assert_eq!(order, ["c", "p", "inner", "b", "a"]);
    bench.completes(10);
    assert_eq!(status(&bench), RunStatus::RolledBack);
}

/// What was taken back because nobody knew is no question any more when the phase fails once more.
#[test]
fn an_unknown_outcome_is_taken_back_once() {
    let once = json!({"phase": 2, "retry": {"max_attempts": 1}});
    let steps = [undoable("a", json!({"phase": 1})), undoable("b", once)];
    let again = json!({"rollback": {"to": "previous", "then": "retry", "retries": 1}});
    let mut bench = Bench::begun(flow("parallel", &steps, again));
    bench.completes(0);
    let died = bench.tell(&Command::Recover { under_way: vec![] });
    assert_eq!(starts(&died), [json!({"undo": "b"})], "it may have taken effect");
    bench.completes(2);
    assert_eq!(bench.letters(), "CI", "the phase is tried again");
    let failed = bench.fails(1);
    assert_eq!((starts(&failed), status(&bench)), (vec![], RunStatus::RolledBack), "this time it did nothing");
}

/// A probe that found no effect leaves nothing to take back.
#[test]
fn what_a_probe_found_undone_is_not_taken_back() {
    let probe = json!({"phase": 2, "retry": {"max_attempts": 1}, "on_unknown_outcome": "verify", "verify": {"action_type": "noop"}});
    let steps = [undoable("a", json!({"phase": 1})), undoable("b", probe)];
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    bench.completes(0);
    bench.tell(&Command::Recover { under_way: vec![] });
    bench.fails(1);
    assert_eq!(bench.letters(), "CI", "the probe has failed for good, and the step is tried again");
    bench.fails(1);
    assert_eq!((bench.log.iter().filter(|e| e.step > 1).count(), status(&bench)), (0, RunStatus::RolledBack));
}

/// A person takes up a run that a failure has paused: the step may end once more.
#[test]
fn a_paused_run_is_taken_up_from_its_failure() {
    let mut bench = Bench::begun(flow("sequential", &[step("a", json!({"on_error": "pause"}))], json!({})));
    bench.fails(0);
    assert_eq!((status(&bench), bench.run.state.reopened), (RunStatus::Paused, 0));
    bench.tell(&Command::Retry { step: None });
    assert_eq!(
        (status(&bench), bench.run.state.reopened, bench.run.state.paused_by.as_deref()),
        (RunStatus::Running, 1, None)
    );
    bench.completes(0);
    assert_eq!((status(&bench), bench.log.len()), (RunStatus::Completed, 2));
}

/// A phase that fails at once, again and again, comes to its end in one decision.
#[test]
fn a_phase_that_fails_at_once_is_tried_again_and_ends() {
    let raises = json!({"id": "b", "type": "raise", "phase": 2, "config": {"message": "no"}});
    let again = json!({"rollback": {"to": "start", "then": "retry", "retries": 2}});
    let sets = json!({"id": "a", "type": "set", "phase": 1, "config": {"values": {"n": "1"}}});
    let bench = Bench::begun(flow("parallel", &[sets, raises], again));
    assert_eq!((status(&bench), bench.log.len()), (RunStatus::RolledBack, 6));
}

/// A step of a phase that has not begun is not for a person to take up: the phases before it come first.
#[test]
fn a_later_phase_is_not_taken_up_before_the_one_that_failed() {
    let mut bench = pipeline(3, json!({"rollback": {"to": "off"}}));
    bench.fails(0);
    assert_eq!((status(&bench), bench.letters()), (RunStatus::Failed, "FXX".to_owned()));
    assert!(
        matches!(bench.decide(&Command::Retry { step: Some(2) }), Err(Refusal::StepNotNow(2, _, why)) if why.contains("phase"))
    );
    bench.tell(&Command::Retry { step: None });
    (0..3).for_each(|no| drop(bench.completes(no)));
    assert_eq!(status(&bench), RunStatus::Completed);
}

/// A step whose probe is under way belongs to its phase all the same.
#[test]
fn a_phase_waits_for_a_step_that_is_looked_after() {
    let probe = json!({"phase": 1, "on_unknown_outcome": "verify", "verify": {"action_type": "noop"}});
    let steps = [step("a", probe), step("b", json!({"phase": 1})), step("c", json!({"phase": 2}))];
    let mut bench = Bench::begun(flow("parallel", &steps, json!({})));
    bench.tell(&Command::Recover { under_way: vec![1] });
    bench.completes(1);
    assert_eq!((bench.letters().as_str(), bench.run.state.phase.current), ("ICB", 1), "the probe is under way");
    bench.completes(0);
    assert_eq!((bench.letters().as_str(), bench.run.state.phase.current), ("CCI", 2));
}

/// Whoever cancels a run that takes back stops it: what was too late to be cut off is done, and the rest waits for a person.
#[test]
fn a_cancelled_rollback_waits_for_a_person() {
    let steps = ["a", "b", "c"].map(|id| undoable(id, json!({"phase": 1})));
    let last = step("d", json!({"phase": 2}));
    let steps = [&steps[..], &[last]].concat();
    let mut bench = Bench::begun(flow("parallel", &steps, json!({"rollback": {"to": "start", "then": "retry"}})));
    (0..3).for_each(|no| drop(bench.completes(no)));
    bench.fails(3);
    bench.tell(&Command::Cancel { reason: "enough".into() });
    bench.completes(4);
    assert_eq!(status(&bench), RunStatus::Failed);
    let error = bench.run.state.error.clone().unwrap_or_default();
    assert!(error.starts_with("compensation_failed: the undo of step 'b' was not begun; "), "{error}");
    let again = bench.tell(&Command::Undo { way: UndoWay::Retry });
    assert_eq!(starts(&again), [json!({"undo": "b"})]);
    bench.completes(5);
    // The last one ends although it is told not to: all is taken back, and nothing is tried again.
    bench.tell(&Command::Cancel { reason: "enough".into() });
    bench.completes(6);
    assert_eq!(status(&bench), RunStatus::RolledBack);
}

/// A run that is paused while it ends is taken up again only once it has ended: nothing would start before.
#[test]
fn a_run_that_is_ending_is_not_retried() {
    let mut bench = Bench::begun(flow("parallel", &[step("a", json!({})), step("b", json!({}))], json!({})));
    bench.fails(0);
    bench.tell(&Command::Pause { by: "user:1".into() });
    let refused = bench.decide(&Command::Retry { step: None });
    assert!(
        matches!(refused, Err(Refusal::RunNotNow(RunStatus::Paused, why)) if why.contains("ending")),
        "{refused:?}"
    );
    bench.completes(1);
    assert_eq!(status(&bench), RunStatus::Failed);
    bench.tell(&Command::Retry { step: None });
    assert_eq!(status(&bench), RunStatus::Running);
}

/// What a run did is taken back after its end where somebody asks for it: all of it, once, and it is not tried again.
#[test]
fn a_run_that_has_ended_badly_is_taken_back_by_order() {
    let steps = [undoable("a", json!({})), undoable("b", json!({})), step("c", json!({}))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({"rollback": {"to": "off", "then": "retry"}})));
    assert!(matches!(bench.decide(&Command::Rollback), Err(Refusal::RunNotNow(RunStatus::Running, _))));
    (0..2).for_each(|no| drop(bench.completes(no)));
    bench.fails(2);
    assert_eq!(status(&bench), RunStatus::Failed);
    let decision = bench.tell(&Command::Rollback);
    assert_eq!((status(&bench), starts(&decision)), (RunStatus::Compensating, vec![json!({"undo": "b"})]));
    bench.completes(3);
    bench.completes(4);
    assert_eq!(status(&bench), RunStatus::RolledBack);
    assert!(bench.run.state.error.as_deref().is_some_and(|error| error.starts_with("step 'c'")), "why it had failed");
    assert!(matches!(bench.decide(&Command::Rollback), Err(Refusal::RunNotNow(RunStatus::RolledBack, _))));

    let mut nothing = Bench::begun(flow("sequential", &[step("a", json!({})), step("b", json!({}))], json!({})));
    nothing.completes(0);
    nothing.fails(1);
    let refused = nothing.decide(&Command::Rollback);
    assert!(matches!(refused, Err(Refusal::RunNotNow(_, why)) if why.contains("no step that completed has an undo")));
}
