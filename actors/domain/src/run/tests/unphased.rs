//! Steps of a pipeline that belong to no phase: when they are taken back, and when they are done again.

use serde_json::json;

use super::*;

/// A step that can be taken back, of a phase or of none.
fn undoable(id: &str, phase: Option<u32>) -> Value {
    step(id, json!({"phase": phase, "undo": {"action_type": "noop", "action_payload": {"undo": id}}}))
}

/// What the undos that a decision starts take back.
fn undos(decision: &Decision) -> Vec<String> {
    let undo = |effect: &Effect| match effect {
        Effect::StartAttempt { payload, .. } => payload.get("undo").map(|id| id.as_str().unwrap_or("?").to_owned()),
        _ => None,
    };
    decision.effects.iter().filter_map(undo).collect()
}

/// A first phase, and a second with a step of none in it.
fn within(rollback: &Value) -> Bench {
    let steps = [undoable("a", Some(1)), undoable("b", Some(2)), undoable("u", None), undoable("c", Some(2))];
    Bench::begun(flow("sequential", &steps, json!({"rollback": rollback})))
}

#[test]
fn what_was_done_in_a_phase_is_taken_back_with_it() {
    let mut bench = within(&json!({"to": "previous"}));
    (0..3).for_each(|no| drop(bench.completes(no)));
    assert_eq!(bench.run.undo_plan(bench.run.would_go_back_to()), [2, 1], "it can be asked before");
    assert_eq!(undos(&bench.fails(3)), ["u"]);
    assert_eq!(undos(&bench.completes(4)), ["b"]);
    bench.completes(5);
    assert_eq!((bench.run.state.status, bench.letters().as_str()), (RunStatus::RolledBack, "CCCF"));
}

#[test]
fn what_fails_in_a_phase_is_done_again_with_it() {
    let mut bench = within(&json!({"to": 1, "then": "retry", "retries": 2}));
    (0..2).for_each(|no| drop(bench.completes(no)));
    for undo in [4, 5] {
        assert_eq!(undos(&bench.fails(2)), ["b"]);
        bench.completes(undo);
        assert_eq!((bench.run.state.status, bench.letters().as_str()), (RunStatus::Running, "CIBB"));
        bench.completes(1);
        assert_eq!(bench.letters(), "CCIB", "it is tried once more");
    }
    let mut mended = within(&json!({"to": 1, "then": "retry", "retries": 1}));
    (0..2).for_each(|no| drop(mended.completes(no)));
    mended.fails(2);
    mended.completes(4);
    (1..4).for_each(|no| drop(mended.completes(no)));
    assert_eq!(mended.run.state.status, RunStatus::Completed);
    // Twice is enough.
    bench.fails(2);
    bench.completes(6);
    assert_eq!(bench.run.state.status, RunStatus::RolledBack);
}

/// What came before the end of a phase stays with it; what came after all of it had ended goes with the next.
#[test]
fn the_end_of_a_phase_divides_what_belongs_to_none() {
    let steps = [undoable("t", None), undoable("a", Some(1)), undoable("u", None), undoable("b", Some(2))];
    let mut bench = Bench::begun(flow("sequential", &steps, json!({"rollback": {"then": "retry"}})));
    (0..3).for_each(|no| drop(bench.completes(no)));
    assert_eq!((bench.run.undo_plan(1), bench.run.undo_plan(0)), (vec![2], vec![2, 1, 0]));
    assert_eq!(undos(&bench.fails(3)), ["u"]);
    bench.completes(4);
    assert_eq!(bench.letters(), "CCIB", "what was taken back is done again");
    (2..4).for_each(|no| drop(bench.completes(no)));
    assert_eq!(bench.run.state.status, RunStatus::Completed);
}

/// A step that began with the first phase is none of the second; but one that failed is what has to be done again.
#[test]
fn one_that_began_before_stays_unless_it_failed() {
    let steps = [undoable("w", None), undoable("a", Some(1)), undoable("b", Some(2))];
    let begun = || {
        let more = json!({"rollback": {"then": "retry", "retries": 1}, "retry_policy": {"max_attempts": 1}});
        let mut bench = Bench::begun(flow("parallel", &steps, more));
        bench.completes(1);
        bench
    };
    let mut stays = begun();
    stays.completes(0);
    let failed = stays.fails(2);
    assert_eq!((undos(&failed), stays.letters().as_str()), (vec![], "CCI"), "the phase is made again at once");

    let mut fails = begun();
    fails.fails(0);
    assert_eq!(undos(&fails.completes(2)), ["b"]);
    fails.completes(3);
    assert_eq!(fails.letters(), "ICI");

    // Nobody knows whether it took effect: before it is done again it is taken back.
    let mut unknown = begun();
    unknown.tell(&Command::Recover { under_way: vec![2] });
    assert_eq!(undos(&unknown.completes(2)).len(), 1);
    let second = unknown.completes(3);
    assert_eq!(undos(&second).len(), 1);
    unknown.completes(4);
    assert_eq!(unknown.letters(), "ICI");
}

/// A run that is taken up again from an earlier phase: what joined a later one was there before this one's end.
#[test]
fn a_phase_that_begins_anew_has_what_came_before_it() {
    let off = json!({"on_error_action": "continue", "rollback": {"to": "off"}});
    let mixed = |id: &str, inputs: &[&str], phase: Option<u32>| {
        let mut made = undoable(id, phase);
        merge_patch(&mut made, &json!({"connections": {"inputs": inputs}}));
        made
    };
    // `d` of the first phase is skipped, as `x` fails; `u` comes with the second.
    let steps = [
        mixed("x", &[], None),
        mixed("d", &["x"], Some(1)),
        mixed("a", &[], Some(1)),
        mixed("b", &[], Some(2)),
        mixed("u", &["a"], None),
        mixed("c", &["u", "d"], Some(2)),
    ];
    let mut bench = Bench::begun(flow("mixed", &steps, off));
    bench.fails(0);
    bench.completes(2);
    assert_eq!((bench.letters().as_str(), bench.run.state.phase.current), ("FUCIIU", 2));
    (3..5).for_each(|no| drop(bench.completes(no)));
    assert_eq!((bench.run.state.status, bench.run.undo_plan(1)), (RunStatus::Failed, vec![3, 4]));
    bench.tell(&Command::Retry { step: None });
    assert_eq!((bench.run.state.phase.current, bench.run.undo_plan(1)), (1, vec![3]), "the first begins anew");
}

#[test]
fn it_is_known_through_a_restart_and_states_of_earlier_releases_are_read() {
    let mut bench = within(&json!({"to": "previous"}));
    (0..3).for_each(|no| drop(bench.completes(no)));
    let saved = bench.run.save();
    assert_eq!(RunState::load(&saved).as_ref(), Ok(&bench.run.state));
    let before = saved.state.replace(r#","m":{"2":[[2,2]]}"#, "");
    assert_ne!(before, saved.state, "{before}");
    bench.run.state = RunState::load(&SavedState { state: before, ..saved }).expect("it was saved");
    assert_eq!(bench.run.undo_plan(1), [1], "as that release would have taken it back");
}
