//! Phases of runs that end in the middle of them: each transition has its end.

use serde_json::json;

use super::*;
use crate::words::PhaseStatus;

/// The ends of phases that a decision makes, with what they are blamed on.
fn ends(decision: &Decision) -> Vec<(u32, PhaseStatus, Option<&str>)> {
    let moved = decision.changes.iter().filter_map(|change| match change {
        Change::PhaseMoved(moved) if moved.status != PhaseStatus::Started => Some(moved),
        _ => None,
    });
    moved.map(|moved| (moved.phase, moved.status, moved.error.as_deref())).collect()
}

/// A run in the second of three phases.
fn in_the_second(more: Value) -> Bench {
    let steps = [1, 2, 3].map(|n| step(&format!("p{n}"), json!({"phase": n})));
    let mut bench = Bench::begun(flow("parallel", &steps, more));
    bench.completes(0);
    bench
}

#[test]
fn a_phase_fails_with_a_run_that_is_cancelled_or_late() {
    let mut cancelled = in_the_second(json!({}));
    cancelled.now_ms = 700;
    cancelled.tell(&Command::Cancel { reason: "enough".into() });
    let ended = cancelled.ends(1, Outcome::Cancelled);
    assert_eq!(ends(&ended), [(2, PhaseStatus::Failed, Some("enough"))]);
    assert_eq!(cancelled.run.state.status, RunStatus::Cancelled);
    // Taken up again, it begins anew.
    let again = cancelled.tell(&Command::Retry { step: None });
    assert!(again.changes.iter().any(|change| matches!(change, Change::PhaseMoved(moved) if moved.phase == 2)));
    (1..3).for_each(|no| drop(cancelled.completes(no)));
    assert_eq!(cancelled.run.state.status, RunStatus::Completed);

    let mut late = in_the_second(json!({"max_execution_time_seconds": 5}));
    late.at(5_000, &Command::Wake);
    let ended = late.ends(1, Outcome::Cancelled);
    assert_eq!(ends(&ended).iter().map(|end| (end.0, end.1)).collect::<Vec<_>>(), [(2, PhaseStatus::Failed)]);
    assert_eq!(late.run.state.status, RunStatus::TimedOut);
}

#[test]
fn a_phase_whose_steps_were_too_late_to_be_cut_off_has_completed() {
    let mut bench = in_the_second(json!({}));
    bench.tell(&Command::Cancel { reason: "enough".into() });
    assert_eq!(ends(&bench.completes(1)), [(2, PhaseStatus::Completed, None)]);
    assert_eq!(bench.run.state.status, RunStatus::Cancelled);
    bench.tell(&Command::Retry { step: None });
    assert_eq!((bench.letters().as_str(), bench.run.state.phase.current), ("CCI", 3));
}

#[test]
fn a_stop_ends_the_phase_that_it_stands_in() {
    let stopped = |word: &str| {
        let stop = json!({"id": "s", "type": "stop", "phase": 1, "config": {"status": word}});
        let steps = [step("a", json!({"phase": 1})), stop, step("b", json!({"phase": 2}))];
        let mut bench = Bench::begun(flow("sequential", &steps, json!({})));
        let decision = bench.completes(0);
        let status = ends(&decision).iter().map(|end| end.1).collect::<Vec<_>>();
        (bench.run.state.status, status)
    };
    assert_eq!(stopped("completed"), (RunStatus::Completed, vec![PhaseStatus::Completed]));
    assert_eq!(stopped("failed"), (RunStatus::Failed, vec![PhaseStatus::Failed]));
    // All of the first phase was done.
    assert_eq!(stopped("cancelled"), (RunStatus::Cancelled, vec![PhaseStatus::Completed]));
}
